"""Python on a host that has none of runjob's packages: an environment is made there once, by the host's own pip
configuration, which here knows a folder of wheels that are little more than their names."""

import importlib.metadata
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from runjob.launchers.ssh_environment import constraints, requirements
from runjob.schemas.run import RunDir, read_json
from tests.cluster.ssh_bench import SshBench, make_bench
from tests.cluster.sshd_host import SshHost, need_ssh_host, ssh_host, write_client
from tests.conftest import Home, Processes


@pytest.fixture(scope="module")
def host() -> Iterator[SshHost]:
    need_ssh_host()
    with ssh_host() as running:
        wheels = running.home / "wheels; and more"
        wheels.mkdir()
        for line in requirements():
            name = re.split(r"[\[<>=!~ ]", line)[0]
            write_wheel(wheels, name, pinned(name))
        config = running.home / ".config" / "pip" / "pip.conf"
        config.parent.mkdir(parents=True)
        config.write_text(f"[global]\nno-index = true\nfind-links = {(Path.home() / wheels.name).as_uri()}\n")
        yield running


@pytest.fixture
def bench(home: Home, processes: Processes, host: SshHost) -> SshBench:
    return make_bench(home, processes, host, write_client, python=None)


def pinned(name: str) -> str:
    found = re.search(rf"^{re.escape(name)}==(.+)$", constraints(), re.MULTILINE | re.IGNORECASE)
    assert found is not None, f"constraints.txt does not pin {name}, which an environment elsewhere needs"
    return found[1]


def write_wheel(folder: Path, name: str, version: str) -> None:
    stem = f"{name.replace('-', '_')}-{version}"
    facts = f"{stem}.dist-info"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{facts}/RECORD", "")
        if name == "pyyaml":  # the one that the control side itself imports
            for path in Path(str(yaml.__file__)).parent.glob("*.py"):
                wheel.write(path, f"yaml/{path.name}")


def test_every_requirement_of_this_installation_is_pinned_for_an_environment_elsewhere():
    names = [re.split(r"[\[<>=!~ ]", line)[0] for line in requirements()]
    assert {"torch", "deepspeed", "transformers"} <= set(names)
    assert [pinned(name) for name in names]
    assert not any("extra" in line for line in requirements())
    assert pinned("deepspeed") == importlib.metadata.version("deepspeed")


def test_an_environment_is_made_once_for_two_that_come_at_once_and_a_half_made_one_is_made_again(
    host: SshHost, bench: SshBench
):
    words = ["runjob", str(bench.job), *bench.words(), "--detach"]
    both = [bench.processes.start(*words, env={**bench.env, "SMALL": "exact"}) for _ in range(2)]
    ends = [process.communicate(timeout=150) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert any("making the environment" in err for _, err in ends)
    runs = [RunDir(bench.home.runs / out.splitlines()[0]) for out, _ in ends]
    for run in runs:
        assert bench.wait_for(run, "finished")["message"] == "all steps done"
    python = read_json(runs[0].handle)["python"]
    assert python == read_json(runs[1].handle)["python"]
    (made,) = (host.home / ".runjob" / "envs").glob("[!.]*")
    assert python == str(Path.home() / ".runjob" / "envs" / made.name / "bin" / "python")
    installed = json.loads(host.run(python, "-m", "pip", "list", "--format", "json"))
    assert {"name": "torch", "version": pinned("torch")} in installed
    before = (made / "ready").stat().st_ino
    assert bench.submit("exact").returncode == 0
    assert (made / "ready").stat().st_ino == before
    (made / "ready").unlink()
    (made / "left").write_text("from the one that was broken off")
    assert bench.submit("exact").returncode == 0
    assert (made / "ready").exists()
    assert not (made / "left").exists()


def test_a_package_that_pip_there_does_not_find_is_named(host: SshHost, bench: SshBench):
    for wheel in (host.home / "wheels; and more").glob("deepspeed*"):
        wheel.rename(wheel.with_suffix(".away"))
    for made in (host.home / ".runjob" / "envs").glob("[!.]*"):
        (made / "ready").unlink()
    done = bench.submit("exact")
    assert done.returncode == 1
    assert "deepspeed==" in done.stderr
    assert "can't be made there" in done.stderr
    assert "Traceback" not in done.stderr
