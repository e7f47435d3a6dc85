"""What runs on the other machine from the copy of a run: `python -m runjob.launchers.outpost VERB RUN ...`, one round
trip each, its answer on standard output behind a mark (some login shells greet).

    start N ...    start the supervisor for attempt N, as on any machine, once
    look           how the run is, and what was written since: what home has comes in on standard input
    cancel N       ask attempt N to save and stop
    holds          the checkpoints, the model and the curves, with sizes and digests

Standard library and runjob's light rooms only.
"""

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from runjob.launchers.base import read_handle
from runjob.launchers.checkpoint_files import complete_checkpoints
from runjob.launchers.errand import MARK
from runjob.launchers.local import LocalLauncher
from runjob.launchers.records import FETCHED, news
from runjob.schemas.errors import RunjobError
from runjob.schemas.manifest import MANIFEST, sha256_of
from runjob.schemas.plan import Plan
from runjob.schemas.run import RunDir

# One answer stays small enough for a slow line to bring it while somebody waits.
MOST_BYTES = 4 << 20
# That much of what home has is compared with what stands here: the end of a file that was only added to is the same.
COMPARED = 4096


def start(run: RunDir, number: int, post: list[str], lent: dict[str, str]) -> dict[str, Any]:
    """Start it unless it was: whoever asked may have been cut off before the answer came. `lent` are variables of its
    environment that came on standard input and stand nowhere else; `post` says which node of several this is."""
    os.environ.update(lent)
    attempt = run.attempt(number)
    handle = read_handle(run)
    if handle is None or handle.attempt != number:
        plan = Plan.read(run.plan)
        handle = LocalLauncher(post).submit(run, plan, attempt)
    return {"handle": dict(handle.facts)}


def look(run: RunDir, home: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """The state as this machine sees it, and what home lacks, oldest first; `more` if the answer had to be cut. A wish
    to stop that home has is heard: it may have been written while this machine was out of reach."""
    attempt = run.attempt(home["attempt"])
    if attempt.path.is_dir() and home["stop"] not in (None, attempt.stop_reason()):
        attempt.request_stop(home["stop"])
    at_home: dict[str, tuple[int, str]] = home["files"]
    status = LocalLauncher().state(run)
    files, parts, room = [], [], MOST_BYTES
    more = False
    for path in news(run):
        name = str(path.relative_to(run.path))
        with path.open("rb") as file:
            offset = agreed(file, *at_home.get(name, (0, "")))
            file.seek(offset)
            data = file.read(room + 1)
        more |= len(data) > room
        data = data[:room]
        room -= len(data)
        if data or offset != at_home.get(name, (-1, ""))[0]:
            files.append({"name": name, "offset": offset, "bytes": len(data)})
            parts.append(data)
    return {"status": dataclasses.asdict(status), "files": files, "more": more}, parts


def agreed(file: BinaryIO, size: int, digest: str) -> int:
    """From where on home lacks this file: its end there, if that is what stands here before that place; else all."""
    there = 0 < size <= os.fstat(file.fileno()).st_size
    return size if there and digest_before(file, size) == digest else 0


def digest_before(file: BinaryIO, size: int) -> str:
    """Of the last bytes before a place."""
    file.seek(max(0, size - COMPARED))
    return hashlib.sha256(file.read(min(COMPARED, size))).hexdigest()


def cancel(run: RunDir, number: int) -> dict[str, Any]:
    attempt = run.attempt(number)
    attempt.path.mkdir(parents=True, exist_ok=True)
    LocalLauncher().cancel(run, attempt)
    return {}


def holds(run: RunDir) -> dict[str, Any]:
    """What can be fetched: per checkpoint its files and its manifest's digest, every other file by size and
    digest."""
    checkpoints = {
        name: sorted(path.name for path in (run.checkpoints / name).iterdir() if path.is_file())
        for name in complete_checkpoints(run.checkpoints)
    }
    latest = run.latest.read_text(encoding="utf-8").strip() if run.latest.exists() else ""
    others = [path for folder in FETCHED for path in (run.path / folder).rglob("*") if path.is_file()]
    return {
        "checkpoints": checkpoints,
        "manifests": {name: sha256_of(run.checkpoints / name / MANIFEST) for name in checkpoints},
        "latest": latest,
        "files": {str(path.relative_to(run.path)): [path.stat().st_size, sha256_of(path)] for path in others},
    }


def answer(value: dict[str, Any], parts: Iterable[bytes] = ()) -> None:
    """One line of JSON, then the bytes that it announces."""
    out = sys.stdout.buffer
    out.write(MARK + json.dumps(value).encode() + b"\n")
    for part in parts:
        out.write(part)
    out.flush()


def attempt_number(words: list[str]) -> int:
    return int(words[2])


def main(words: list[str]) -> int:
    os.umask(0o077)
    run = RunDir(Path(words[1]))
    verbs: dict[str, Callable[[], None]] = {
        "start": lambda: answer(start(run, attempt_number(words), words[3:], json.load(sys.stdin))),
        "look": lambda: answer(*look(run, json.load(sys.stdin))),
        "cancel": lambda: answer(cancel(run, attempt_number(words))),
        "holds": lambda: answer(holds(run)),
    }
    try:
        verbs[words[0]]()
    except RunjobError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
