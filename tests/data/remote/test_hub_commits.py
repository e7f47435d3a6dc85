"""A data set of the Hub through the real `datasets`, from a hub on loopback: a branch is looked up once a run, and no
other commit than the one that is meant is ever taken for it."""

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT

OLD, NEW, NEVER = "a" * 40, "b" * 40, "c" * 40
NAME = "owner/CamelNames"


def files_of(*texts: str) -> dict[str, bytes]:
    packed = io.BytesIO()
    pq.write_table(pa.table({"text": list(texts)}), packed)
    card = b"---\nlicense: cc0-1.0\n---\n"
    return {
        "README.md": card,
        "data/train-00000.parquet": packed.getvalue(),
        "data/notes.md": "\n".join(texts).encode(),
    }


def entry(path: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "path": path, "size": len(data)}


class Hub(BaseHTTPRequestHandler):
    """What `datasets` asks a hub for, of one data set with two commits. GET /move lets `main` be the newer one."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *words, branches: dict[str, str]) -> None:
        self.branches = branches
        super().__init__(*words)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        """Which of the paths in the question are files?"""
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        wanted = [path for path in COMMITS[OLD] if path in asked or urllib.parse.quote_plus(path) in asked]
        files = COMMITS[self.branches.get(self.path.rpartition("/")[2], NEW)] if NAME in self.path else {}
        self._say(200, json.dumps([entry(path, files[path]) for path in wanted if path in files]).encode())

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/")
        if path == "move":
            self.branches["main"] = NEW
            return self._say(200, b"")
        api = path.removeprefix(f"api/datasets/{NAME}/")
        kind, _, rest = path.removeprefix(f"datasets/{NAME}/").partition("/") if api == path else api.partition("/")
        if NAME not in path:
            return self._say(404, b"", {"X-Error-Code": "RepoNotFound"})
        revision, _, name = rest.partition("/")
        commit = self.branches.get(revision, revision)
        if commit not in COMMITS:
            return self._say(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = COMMITS[commit]
        if kind == "revision":
            facts = {"id": NAME, "sha": commit, "private": False, "tags": [], "disabled": False, "gated": False}
            return self._say(200, json.dumps({**facts, "downloads": 0, "likes": 0, "siblings": []}).encode())
        if kind == "tree":
            return self._say(200, json.dumps(self._tree(files, name)).encode())
        if name not in files:
            return self._say(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        sha = hashlib.sha1(files[name]).hexdigest()
        return self._say(200, files[name], {"X-Repo-Commit": commit, "ETag": f'"{sha}"'})

    @staticmethod
    def _tree(files: dict[str, bytes], folder: str) -> list[dict[str, object]]:
        if not folder:
            return [{"type": "directory", "oid": "0" * 40, "path": "data", "size": 0}]
        inside = {name: data for name, data in files.items() if name.startswith(f"{folder}/")}
        return [entry(name, data) for name, data in inside.items()]

    def _say(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *words: object) -> None:
        return


COMMITS = {OLD: files_of("een", "twee"), NEW: files_of("drie")}


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, branches={"main": OLD, "v1": OLD})) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()


PROGRAM = """
import json, sys, urllib.request
from pathlib import Path
from runjob.data.downloads import Downloads
from runjob.data.sources import open_source
from runjob.schemas.errors import RunjobError
from runjob.schemas.read import read_job

for step in json.loads(sys.argv[2]):
    if step == "move":
        urllib.request.urlopen(sys.argv[3] + "/move").close()
        continue
    sets, pinned = step
    downloads = Downloads(Path("cache"), report=lambda one: None, pinned=pinned)
    try:
        source = open_source(read_job(Path(sys.argv[1]), sets).job.data, downloads=downloads)
        print(json.dumps([[document.text for document in source.documents()], downloads.used]))
    except RunjobError as error:
        print(json.dumps(str(error)))
"""


def job(*more: str, name: str = NAME) -> list[str]:
    tokenizer = "tokenizer: {kind: train, algorithm: bpe, vocab_size: 300}"
    return [f"data={{kind: hub, path: {name}, sequence_length: 16, {tokenizer}}}", *more]


def run(hub: str, home: Path, steps: list[object], *, offline: bool) -> list[object]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    env |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    smallest = ROOT / "tests" / "cases" / "valid" / "smallest.yaml"
    command = (sys.executable, "-c", PROGRAM, smallest, json.dumps(steps), hub)
    done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_run_keeps_the_commit_that_it_began_with_also_offline(hub: str, tmp_path: Path):
    main = f"{NAME}@main"
    old, new = [["een", "twee"], {main: OLD}], [["drie"], {main: NEW}]
    pinned = [job(), {main: OLD}]
    file = f"hf://datasets/{NAME}/data/notes.md"
    text = [["data.kind=text", f"data.path={file}"], {}]
    first, going_on, later, tag, nowhere, nobody, notes = run(
        hub,
        tmp_path,
        [
            [job(), {}],
            "move",
            pinned,
            [job(), {}],
            [job("data.revision=v1"), {}],
            [job("data.revision=nowhere"), {}],
            [job(name="owner/nobody"), {}],
            text,
        ],
        offline=False,
    )
    assert [first, going_on, later] == [old, old, new]
    assert tag == [["een", "twee"], {f"{NAME}@v1": OLD}]
    assert "Revision 'nowhere' doesn't exist" in str(nowhere)
    assert notes[0] == ["drie"]
    assert "Dataset 'owner/nobody' doesn't exist on the Hub or cannot be accessed" in str(nobody)

    going_on, later, tag, never, unknown, notes = run(
        hub,
        tmp_path,
        [
            pinned,
            [job(), {}],
            [job("data.revision=v1"), {}],
            [job(f"data.revision={NEVER}"), {}],
            [job("data.revision=nowhere"), {}],
            text,
        ],
        offline=True,
    )
    assert [going_on, later] == [old, new]
    assert notes[0] == ["drie"]
    assert tag == [["een", "twee"], {f"{NAME}@v1": OLD}]
    assert f"at {NEVER} ({NEVER}) is not here and could not be fetched; the cache holds " in str(never)
    assert "at nowhere (of unknown commit) is not here" in str(unknown)
