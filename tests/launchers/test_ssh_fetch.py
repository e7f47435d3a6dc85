"""Transfers between here and a host, and what a host may give to whoever fetches from it."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path, PurePosixPath

import pytest

import runjob
from runjob.launchers.base import Handle
from runjob.launchers.records import may_come
from runjob.launchers.ssh_fetch import fetch_run, refuse_strange_names, wanted
from runjob.launchers.ssh_link import Link
from runjob.launchers.ssh_place import SshPlace
from runjob.launchers.ssh_target import SshTarget
from runjob.schemas.errors import LaunchError
from runjob.schemas.manifest import parse_manifest
from tests.cluster.remote_runs import make_run, save
from tests.conftest import contents

HONEST = {
    "checkpoints": {"step-00000020": ["manifest.json", "model.safetensors"]},
    "latest": "step-00000020",
    "files": {"model/config.json": [2, "aa"], "tensorboard/events.1": [3, "bb"]},
}


def test_what_a_run_holds_may_come_home():
    refuse_strange_names("gpu-box", HONEST)


@pytest.mark.parametrize(
    "strange",
    [
        {"files": {"model/../../../.ssh/authorized_keys": [1, "aa"]}},
        {"files": {"/etc/passwd": [1, "aa"]}},
        {"files": {"handle.json": [1, "aa"]}},
        {"files": {"code/runjob/runner/cli.py": [1, "aa"]}},
        {"files": {"": [1, "aa"]}},
        {"latest": "../../elsewhere"},
        {"checkpoints": {"../step-00000020": ["manifest.json"]}},
        {"checkpoints": {"step-00000020": ["../../../job.json"]}},
        {"checkpoints": {"step-00000020": [".."]}},
    ],
)
def test_a_host_can_not_write_over_other_files_of_ours(strange):
    with pytest.raises(LaunchError, match="it offers a"):
        refuse_strange_names("gpu-box", {**HONEST, **strange})


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("progress.json", True),
        ("events.jsonl", True),
        ("attempts/2/rank-0.log", True),
        ("stream/00ff.jsonl", True),
        ("handle.json", False),
        ("job.json", False),
        ("code/runjob/runner/cli.py", False),
        ("attempts/2/stop.json", False),
        ("attempts/x/rank-0.log", False),
        ("attempts/2/checkpoints/step-00000020/manifest.json", False),
    ],
)
def test_news_are_what_a_run_writes_while_it_runs(name: str, ours: bool):
    assert may_come(PurePosixPath(name)) is ours


@pytest.mark.parametrize(
    ("policy", "state", "names"),
    [
        ("newest", "finished", ["step-00000020"]),
        ("all", "running", ["step-00000010", "step-00000020"]),
        ("none", "finished", []),
        ("none", "preempted", ["step-00000020"]),  # it goes on from there, wherever that will be
    ],
)
def test_checkpoints_come_home_as_the_job_wants_them(tmp_path: Path, policy, state, names):
    run = make_run(tmp_path, "file:///nowhere")
    run.write_status(state, attempt=1)
    assert wanted(run, ["step-00000010", "step-00000020"], policy) == names


def test_a_manifest_speaks_of_its_own_folder_alone():
    outside = {"format": 1, "step": 20, "files": {"../../job.json": {"size": 1, "sha256": "aa"}}}
    digest = hashlib.sha256(json.dumps(outside, sort_keys=True).encode()).hexdigest()
    assert parse_manifest(json.dumps(outside | {"sha256": digest}).encode()) is None


def test_an_rsync_that_complains_of_each_file_comes_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """More than a pipe holds."""
    complain = "i=0; while [ $i -lt 3000 ]; do echo 'rsync: permission denied: some/file/of/many' >&2; i=$((i+1)); done"
    for name, text in (("rsync", f"{complain}; exit 23"), ("ssh", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    target = SshTarget(host="gpu-box", config_file=str(tmp_path / "config"))
    place = SshPlace(target=target, root="/there", python="python3", setup=(), rsync=True)
    with pytest.raises(LaunchError, match="the transfer broke off: rsync: permission denied"):
        place.get("/there", ["a"], tmp_path / "here", told=print)


@pytest.fixture
def here_as_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshTarget:
    """A host behind a program `ssh` that is this machine itself."""
    (tmp_path / "ssh").write_text(
        '#!/bin/sh\ncase " $* " in *" -G "*) exit 0;; esac\nfor word; do :; done\nexec sh -c "$word"\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return SshTarget(host="gpu-box", config_file=str(tmp_path / "config"))


def test_a_checkpoint_that_is_damaged_here_is_fetched_again(tmp_path: Path, here_as_host: SshTarget):
    far = make_run(tmp_path / "far" / "runs", "file:///nowhere")
    save(far, 7)
    shutil.rmtree(far.code)
    far.code.mkdir()
    (far.code / "runjob").symlink_to(Path(runjob.__path__[0]))
    run = make_run(tmp_path / "home", "file:///nowhere", id=far.id)
    link = Link(
        target=here_as_host,
        root=str(tmp_path / "far"),
        path=str(far.path),
        python=sys.executable,
        setup=(),
        rsync=False,
    )
    handle = Handle(launcher="ssh", attempt=1, facts=link.facts())
    handle.write(run)
    fetch_run(run, handle, link, policy="newest", told=print)
    assert contents(run.checkpoints) == contents(far.checkpoints)
    weights = run.checkpoints / "step-00000007" / "weights-00002.safetensors"
    weights.write_bytes(bytes(reversed(weights.read_bytes())))
    fetch_run(run, handle, link, policy="newest", told=print)
    assert contents(run.checkpoints) == contents(far.checkpoints)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, here_as_host: SshTarget, when: str):
    """As a tar. A folder in a file's place can be measured and not be read, also by root."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "first.txt").write_text("text")
    if when == "meanwhile":
        (tmp_path / "here" / "text.txt").mkdir()
    place = SshPlace(target=here_as_host, root=str(tmp_path), python=sys.executable, setup=(), rsync=False)
    with pytest.raises(LaunchError, match=r"here/text\.txt: can't be sent: "):
        place.put(tmp_path / "here", ["first.txt", "text.txt"], str(tmp_path / "there"), told=print)


# Answers as an errand does, with a tar that no errand of ours would send
STRANGE_HOST = """\
#!{python}
import io, json, sys, tarfile
out = sys.stdout.buffer
out.write(b"-- runjob --\\n")
if "sizes" in sys.argv:
    out.write(json.dumps({{"model/config.json": [4, 1]}}).encode())
else:
    name, kind, headers = {entry!r}
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.pax_headers = kind, 4 if kind == b"0" else 0, "/etc/passwd", headers
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"pwnd"))
"""
WHOLE = {"RUNJOB.offset": "0"}


@pytest.mark.parametrize(
    "entry",
    [
        ("../pwned", b"0", WHOLE),
        ("{tmp_path}/pwned", b"0", WHOLE),
        ("model/../../pwned", b"0", WHOLE),
        ("linked/pwned", b"0", WHOLE),
        ("job.yaml", b"0", WHOLE),
        ("model/config.json", b"2", WHOLE),
        ("model/config.json", b"1", WHOLE),
        ("model/config.json", b"0", {}),
        ("model/config.json", b"0", {"RUNJOB.offset": "here"}),
    ],
)
def test_a_host_sends_only_what_was_asked_for_and_only_files(tmp_path: Path, here_as_host: SshTarget, entry):
    host = tmp_path / "python"
    entry = (entry[0].format(tmp_path=tmp_path), *entry[1:])
    host.write_text(STRANGE_HOST.format(python=sys.executable, entry=entry))
    host.chmod(0o755)
    (tmp_path / "out").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "out")
    place = SshPlace(target=here_as_host, root="/there", python=str(host), setup=(), rsync=False)
    before = contents(tmp_path)
    with pytest.raises(LaunchError, match="gpu-box: it sends what no runjob sends"):
        place.get("/there", ["model/config.json"], tmp_path / "here", told=print)
    assert contents(tmp_path) == before
