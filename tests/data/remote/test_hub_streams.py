"""A data set that is streamed from a hub on loopback: the commit of a run's beginning is that of all its attempts, and
an identity stands for one commit."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.data.remote.test_hub_commits import NAME, NEW, OLD, Hub


class RangedHub(Hub):
    """Gives parts of files too, which is how they are streamed."""

    def _say(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        wanted = self.headers["Range"]
        if status != 200 or self.command != "GET" or wanted is None:
            super()._say(status, data, headers)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(data) - 1), len(data) - 1)
        span = {"Content-Range": f"bytes {begin}-{end}/{len(data)}"}
        super()._say(206, data[begin : end + 1], {**(headers or {}), **span})


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(RangedHub, branches={"main": OLD})) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()


PROGRAM = """
import json, os, sys, urllib.request
from pathlib import Path
from runjob.data.streaming import FIRST, open_streamed
from runjob.schemas.errors import RunjobError
from runjob.schemas.read import read_job

def data(*sets):
    return read_job(Path(sys.argv[1]), ["data.path=" + sys.argv[2], *sets]).job.data

def show(data, commit):
    streamed = open_streamed(data, commit=commit)
    reading = streamed.read(FIRST)
    documents = reading.documents()
    seen = [next(documents).text]
    state = json.loads(json.dumps(reading.state))
    seen += [document.text for document in streamed.read(state).documents()]
    print(json.dumps([seen, streamed.commit, streamed.identity]))
    return streamed.commit

first = show(data(), None)
urllib.request.urlopen(sys.argv[3] + "/move").close()
show(data(), first)
show(data(), None)
try:
    show(data("data.revision=nowhere"), None)
except RunjobError as error:
    print(json.dumps(str(error)))
os._exit(0)
"""


def test_a_stream_stays_at_the_commit_that_it_began_with(hub: str, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "PYTHONUNBUFFERED": "1"}
    case = ROOT / "tests" / "cases" / "valid" / "hub_streaming.yaml"
    command = (sys.executable, "-c", PROGRAM, case, NAME, hub)
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, going_on, later, nowhere = [json.loads(line) for line in done.stdout.splitlines()]
    assert first[:2] == [["een", "twee"], OLD]
    assert going_on == first
    assert later[:2] == [["drie"], NEW] and later[2] != first[2]
    assert "data.path: " in nowhere and "nowhere" in nowhere
