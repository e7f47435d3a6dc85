"""The copy of a run at `output.remote`: <remote>/<id>/ with the names of the run directory, so that it can be read,
fetched and gone on from by anybody who knows the one.

    job.yaml job.json plan.json deepspeed.json data.json events.jsonl status.json ...   small, put whole when changed
    code/                    the frozen code, CODE.json last
    attempts/N/claim.json    who uploads for attempt N; a later attempt's claim ends the earlier uploader
    checkpoints/step-N/      manifest.json last: without it, or with a file missing, it is no checkpoint
    model/  model.json       the model, and last its own list of sizes and sha256

A file of a checkpoint or of the model is read back and its sha256 compared before what vouches for it is put.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from runjob.data.remote import RemoteError
from runjob.runner.worker.remote_store import Store
from runjob.schemas import frozen
from runjob.schemas.manifest import (
    FORMAT,
    MANIFEST,
    FileFacts,
    Manifest,
    folder_name,
    measure,
    parse_manifest,
    step_of,
)

MODEL_LIST = "model.json"
CODE_LIST = f"code/{frozen.CODE_LIST}"


def claim_of(attempt: int) -> str:
    return f"attempts/{attempt}/claim.json"


def parse_model_list(data: bytes) -> dict[str, FileFacts]:
    """Names in model/ and what they must be."""
    return {name: FileFacts(**facts) for name, facts in json.loads(data).items()}


class DamagedHere(Exception):
    """A file of a checkpoint is no longer what was written: there is nothing in it to bring away."""


class RemoteRun:
    def __init__(self, store: Store) -> None:
        self.store = store
        # What this process has read back: a try that failed half-way doesn't begin again at the first file
        self.verified: dict[str, FileFacts] = {}

    def complete(self) -> dict[int, bytes]:
        """The manifests of complete checkpoints by step: whole themselves, every file there in its size."""
        sizes = self.store.sizes("checkpoints")
        found = {}
        for name in sizes:
            folder, _, file = name.removeprefix("checkpoints/").partition("/")
            step = step_of(folder)
            if step is None or file != MANIFEST:
                continue
            data = self.store.read(name)
            manifest = None if data is None else parse_manifest(data)
            if data is not None and manifest is not None and self._whole(manifest, step, sizes):
                found[step] = data
        return found

    def _whole(self, manifest: Manifest, step: int, sizes: dict[str, int]) -> bool:
        folder = f"checkpoints/{folder_name(step)}"
        there = all(sizes.get(f"{folder}/{name}") == facts.size for name, facts in manifest.files.items())
        return manifest.format == FORMAT and manifest.step == step and there

    def put_checkpoint(self, folder: Path, step: int, *, before_manifest: Callable[[], None]) -> bytes:
        """A complete local checkpoint; answers its manifest. `before_manifest` is the last word before it counts."""
        data = (folder / MANIFEST).read_bytes()
        manifest = parse_manifest(data)
        assert manifest is not None and manifest.step == step, "the writer renames a folder when its manifest is whole"
        there = f"checkpoints/{folder_name(step)}"
        if self.store.read(f"{there}/{MANIFEST}") not in (None, data):
            self.store.remove([f"{there}/{MANIFEST}"])  # of another run of this step; its files are about to change
        for name, facts in manifest.files.items():
            self.ensure(folder / name, f"{there}/{name}", facts)
        before_manifest()
        self.store.put_bytes(data, f"{there}/{MANIFEST}")
        return data

    def ensure(self, local: Path, name: str, facts: FileFacts) -> None:
        """The file is there with these bytes: put unless it is, and read back."""
        if self.verified.get(name) == facts and self.store.size(name) == facts.size:
            return
        if self.store.size(name) != facts.size or self.store.measure(name) != facts:
            self.store.put(local, name)
            found = self.store.measure(name)
            if found != facts and measure(local) != facts:
                raise DamagedHere(f"{name} is damaged here (its sha256 is not the manifest's)")
            if found != facts:
                said = f"{name} reads back as other bytes than were sent ({found.size:,} bytes)"
                raise RemoteError(said, answered=False)
        self.verified[name] = facts

    def remove_checkpoint(self, step: int) -> None:
        """Manifest first: what is left of an interrupted removal is then no checkpoint."""
        folder = f"checkpoints/{folder_name(step)}"
        names = sorted(self.store.sizes(folder), key=lambda name: not name.endswith(f"/{MANIFEST}"))
        self.verified = {name: facts for name, facts in self.verified.items() if not name.startswith(f"{folder}/")}
        self.store.remove(names)
        self.store.remove_folder(folder)

    def put_latest(self, step: int) -> None:
        name = f"{folder_name(step)}\n".encode()
        if self.store.read("checkpoints/LATEST") != name:
            self.store.put_bytes(name, "checkpoints/LATEST")

    def put_code(self, code: Path) -> None:
        """Once: its list names the sum over all files, and is put last."""
        listed = (code / frozen.CODE_LIST).read_bytes()
        if self.store.read(CODE_LIST) == listed:
            return
        for path in sorted(code.rglob("*")):
            name = f"code/{path.relative_to(code).as_posix()}"
            if path.is_file() and "__pycache__" not in path.parts and name != CODE_LIST:
                self.store.put(path, name)
        self.store.put_bytes(listed, CODE_LIST)

    def put_model(self, model: Path) -> None:
        """With its folders: what sentence-transformers reads of a model of vectors lies in some."""
        paths = sorted(path for path in model.rglob("*") if path.is_file())
        files = {path.relative_to(model).as_posix(): measure(path) for path in paths}
        listed = json.dumps({name: dataclasses.asdict(facts) for name, facts in files.items()}, indent=2).encode()
        before = self.store.read(MODEL_LIST)
        if before == listed:
            return
        if before is not None:
            self.store.remove([MODEL_LIST])
        for name, facts in files.items():
            self.ensure(model / name, f"model/{name}", facts)
        self.store.put_bytes(listed, MODEL_LIST)
