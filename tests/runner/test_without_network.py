"""`validate` and `plan` ask no network: in a namespace that has none, no loopback and no names, they say word for word
what they say here, and here nobody who would be asked hears of them. And no library reports to its makers."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server

import pytest

from runjob.launchers.spot_notice import spot_companion
from runjob.runner.compile import compile_job
from runjob.schemas.machine import Machine
from runjob.schemas.plan import NO_TELEMETRY
from runjob.schemas.read import read_job
from tests.conftest import ROOT, SCRIPT, Home

ALONE = ("unshare", "--net", "--map-root-user")
SHIPPED = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "jobs").rglob("*.yaml"))
ADDRESS = ("--set", "data.path=https://corpora.example/text.txt.gz")


@contextmanager
def whoever_is_asked() -> Iterator[tuple[dict[str, str], "list[str]"]]:
    """An environment in which every library would ask one port here, the Hub's as a proxy's; and who has."""
    asked: list[str] = []
    with create_server(("127.0.0.1", 0)) as server:
        here = f"http://127.0.0.1:{server.getsockname()[1]}"
        names = ("HF_ENDPOINT", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        yield {**dict.fromkeys(names, here), "HF_HUB_OFFLINE": "0"}, asked
        server.setblocking(False)
        try:
            connection, address = server.accept()
            connection.close()
            asked.append(f"a connection from {address}")
        except BlockingIOError:
            return


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    done = subprocess.run((*ALONE, "true"), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no network namespace to be had here: {done.stderr.strip()}")


@pytest.mark.parametrize(
    "command",
    [
        ("validate", *SHIPPED),
        ("plan", "jobs/paleo_dapt.yaml"),
        ("plan", "jobs/tiny/gpt2_dutch.yaml", *ADDRESS),
        ("plan", "jobs/gpt2_dutch_small.yaml", "--launcher", "aws", "--json"),
    ],
    ids=lambda command: " ".join(command[:2] if command[0] == "plan" else command[:1]),
)
def test_without_a_network_it_says_the_same(home: Home, command: tuple[str, ...]):
    with whoever_is_asked() as (env, asked):
        here, alone = (
            subprocess.run(
                (*prefix, str(SCRIPT), *command),
                cwd=ROOT,
                env={**home.env, **env},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            for prefix in ((), ALONE)
        )
    assert here.returncode == 0, here.stderr
    assert (alone.returncode, alone.stdout, alone.stderr) == (0, here.stdout, here.stderr)
    assert asked == []


def test_whoever_asked_would_be_seen(home: Home):
    program = "import urllib.request as r; r.urlopen('http://corpora.example/', timeout=0.01)"
    with whoever_is_asked() as (env, asked):
        argv = (str(SCRIPT.parent / "python"), "-c", program)
        subprocess.run(argv, env={**home.env, **env}, capture_output=True, check=False)
    assert len(asked) == 1


def test_every_program_of_a_run_is_told_to_report_nothing():
    plan = compile_job(
        read_job(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml", ["output.remote=s3://somebody/runs"]).job,
        Machine(cores=2, gpus=(), processor="a"),
    )
    programs = (*plan.stages, *plan.companions, spot_companion())
    assert [program.name for program in programs] == ["prepare", "train", "upload", "spot_notice"]
    assert all(program.env.items() >= NO_TELEMETRY.items() for program in programs)


def test_so_is_every_program_that_a_command_starts(home: Home, tmp_path: Path):
    """Python runs sitecustomize first: here it writes down the environment, and ends the program."""
    noting = "import json, os, sys; said = dict(os.environ)\nif any('runner.worker' in one for one in sys.orig_argv):\n"
    noting += f"    json.dump(said, open({str(tmp_path / 'said.json')!r}, 'w')); os._exit(0)\n"
    (tmp_path / "sitecustomize.py").write_text(noting)
    (home.path / "model").mkdir()
    for command in (("fill-mask", "model"), ("prepare", str(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"))):
        env = {**home.env, "PYTHONPATH": str(tmp_path)}
        subprocess.run((str(SCRIPT), *command), cwd=home.path, env=env, capture_output=True, check=False, timeout=60)
        assert json.loads((tmp_path / "said.json").read_text()).items() >= NO_TELEMETRY.items()
        (tmp_path / "said.json").unlink()


def test_the_hubs_library_knows_each_of_its_words():
    program = "from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    for name in ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        argv = (str(SCRIPT.parent / "python"), "-c", program)
        done = subprocess.run(argv, env={name: NO_TELEMETRY[name]}, capture_output=True, text=True, check=True)
        assert done.stdout == "True\n"
