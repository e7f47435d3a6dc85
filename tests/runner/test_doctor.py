"""`runjob doctor` on this machine and on worse ones: a torch that does not load, programs that answer otherwise, a disk
that can't be written. What torch says is judged by values, since few machines have its every trouble."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from runjob.runner.doctor import Finding
from runjob.runner.doctor_torch import Driver, ask_driver, judge_bf16, judge_build, judge_gpus
from tests.conftest import ROOT

GIB = 1024**3
NO_LIBRARY = 'raise ImportError("libcudart.so.12: cannot open shared object file")\n'
KILLED = "import os, signal\nprint('started')\nos.kill(os.getpid(), signal.SIGKILL)\n"
GPU = {"name": "NVIDIA A10G", "bytes": 24 * GIB, "free": 23 * GIB, "bf16": True}
CPU_BUILD = {"version": "2.13.0+cpu", "cuda": None, "available": False, "gpus": [], "processor": "AVX2"}
CUDA_BUILD = {**CPU_BUILD, "version": "2.13.0", "cuda": "12.8"}

Doctor = Callable[..., tuple[int, dict[str, list[dict[str, str]]]]]


@pytest.fixture
def doctor(runjob, tmp_path: Path) -> Doctor:
    """`doctor(torch=NO_LIBRARY, programs={"sinfo": ...})`: exit code and findings by name, with a torch of this text in
    the place of the installed one (which takes seconds) and shell programs on PATH."""

    def run(*words: str | Path, torch: str = NO_LIBRARY, programs: dict[str, str] | None = None, **env: str):
        site, bin_ = tmp_path / "site", tmp_path / "bin"
        (site / "torch").mkdir(parents=True, exist_ok=True)
        (site / "torch" / "__init__.py").write_text(torch)
        bin_.mkdir(exist_ok=True)
        for name, text in (programs or {}).items():
            (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
            (bin_ / name).chmod(0o755)
        path = f"{bin_}:{runjob.args[0].env['PATH']}"
        done = runjob("doctor", "--json", *words, env={"PYTHONPATH": str(site), "PATH": path, **env}, timeout_s=60)
        found: dict[str, list[dict[str, str]]] = {}
        for finding in json.loads(done.stdout):
            found.setdefault(finding["name"], []).append(finding)
        assert done.stderr == ""
        return done.returncode, found

    return run


ORDER = (
    *("python", "packages", "torch", "deepspeed", "compiler", "memory", "threads", "home", "disk", "clock", "hub"),
    *("ssh", "slurm", "job"),
)


def test_everything_that_is_wrong_is_said_at_once_with_what_to_type(doctor, tmp_path: Path):
    facts = tmp_path / "site" / "runjob-9.dist-info"
    facts.mkdir(parents=True)
    needs = "Requires-Dist: pyyaml\nRequires-Dist: no-such-thing>=2\nRequires-Dist: boto3; extra == 'none'\n"
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: runjob\nVersion: 9\n{needs}")
    code, found = doctor(
        *("--job", ROOT / "jobs" / "gpt2_dutch_small.yaml"),
        torch=NO_LIBRARY,
        programs={"ssh-add": "echo '256 SHA256:x key (ED25519)'", "sinfo": "echo 'Unable to contact' >&2; exit 1"},
        RUNJOB_HOME="/proc/runs",
        OMP_NUM_THREADS="4096",
        CXX="no-such-compiler",
        SSH_AUTH_SOCK="/nowhere",
        CUDA_VISIBLE_DEVICES="",
        HF_HUB_OFFLINE="0",
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_TOKEN="hf_secret",
    )
    assert code == 1
    assert tuple(found) == ORDER
    said = {name: (one[0]["verdict"], one[0]["said"]) for name, one in found.items()}
    typed = {name: one[0]["remedy"] for name, one in found.items()}
    assert said["packages"] == ("fail", "not installed: no-such-thing")
    assert typed["packages"] == "pip install no-such-thing"
    assert said["torch"] == ("fail", "ImportError: libcudart.so.12: cannot open shared object file")
    assert typed["torch"] == "install torch anew: pip install --force-reinstall torch"
    assert said["deepspeed"][0] == "fail"
    assert (said["compiler"][0], typed["compiler"]) == ("warn", "apt-get install g++")
    assert (said["threads"][0], "OMP_NUM_THREADS=4096" in said["threads"][1]) == ("warn", True)
    assert typed["threads"].startswith("unset it, or export OMP_NUM_THREADS=")
    assert said["home"][0] == "fail"
    assert said["home"][1].startswith("/proc/runs on proc: can't be written: ")
    assert typed["home"] == "point RUNJOB_HOME to a local disk: export RUNJOB_HOME=~/runs"
    assert said["hub"] == ("warn", "does not answer, with a token")
    assert "an agent with 1 key(s)" in said["ssh"][1]
    assert said["slurm"] == ("warn", "sinfo fails: Unable to contact")
    assert {one["verdict"] for one in found["job"]} == {"fail"}
    assert "hardware.gpus: the job asks for all" in said["job"][1]
    assert typed["job"] == "a small twin of this job runs on any machine: jobs/tiny/gpt2_dutch.yaml"
    assert "hf_secret" not in json.dumps(found)


@pytest.fixture
def hub() -> Iterator[str]:
    """A Hub that answers with an error page, which is an answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *words):
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_torch_that_dies_is_a_finding_and_the_rest_is_looked_at(doctor, hub: str, home, tmp_path: Path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_secret")
    code, found = doctor(
        *("--job", ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"),
        torch=KILLED,
        programs={"sinfo": "echo 'gpu* up 4'; echo 'cpu down 12'"},
        HF_HUB_OFFLINE="0",
        HF_ENDPOINT=hub,
        HF_HOME=str(tmp_path / "hf"),
    )
    assert code == 1
    assert tuple(found) == ORDER
    said = {name: (one[0]["verdict"], one[0]["said"]) for name, one in found.items()}
    assert said["torch"] == ("fail", "importing it ended the process (-9): ")
    assert said["hub"] == ("ok", "answers, with a token")
    assert said["slurm"] == ("ok", "gpu* (up, 4 nodes), cpu (down, 12 nodes)")
    assert said["job"] == ("ok", "gpt2_dutch_tiny has all that it needs here")
    assert said["home"][1].endswith(": locks, rename, mkdir, mode 0700")
    assert list(home.runs.iterdir()) == list(home.path.iterdir()) == []


def test_a_job_that_is_none_is_an_error_of_usage(runjob, home):
    done = runjob("doctor", "--job", "none.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.yaml" in done.stderr


def found(name: str, verdict: str, said: str, remedy: str = "") -> Finding:
    return Finding(name=name, verdict=verdict, said=said, remedy=remedy)


@pytest.mark.parametrize(
    ("torch", "here", "driver", "verdict", "said"),
    [
        (CPU_BUILD, (), None, "ok", "torch 2.13.0+cpu, without CUDA"),
        (CUDA_BUILD, (), None, "ok", "torch 2.13.0, built for CUDA 12.8"),
        ({**CUDA_BUILD, "available": True}, ("A10G",), (12, 8), "ok", "torch 2.13.0, built for CUDA 12.8"),
        (CPU_BUILD, ("A10G",), (12, 8), "fail", "nvidia-smi lists 1 GPU(s) and torch reaches none"),
        (CUDA_BUILD, ("A10G",), (11, 4), "fail", "the driver is for CUDA 11.4 at most"),
        (CUDA_BUILD, ("A10G",), (13, 0), "fail", "nvidia-smi lists 1 GPU(s) and torch reaches none"),
    ],
)
def test_a_torch_that_does_not_reach_its_gpus_is_told_why(torch, here, driver, verdict: str, said: str):
    finding = judge_build(torch, Driver(gpus=here, cuda=driver))
    assert (finding.verdict, said in finding.said) == (verdict, True)
    assert bool(finding.remedy) == (verdict == "fail")


def test_gpus_are_judged_by_their_memory_and_by_bf16():
    assert judge_gpus([], Driver()).verdict == "ok"
    assert judge_gpus([GPU], Driver()) == found("gpu", "ok", "NVIDIA A10G, 24.7 GB of 25.8 GB free")
    held = judge_gpus([GPU, {**GPU, "free": GIB}], Driver())
    assert (held.verdict, held.remedy) == ("warn", "see who holds the memory: nvidia-smi")
    broken = judge_gpus([{"name": "A10G", "error": "CUDA error: out of memory"}], Driver())
    assert (broken.verdict, broken.said) == ("fail", "A10G: CUDA error: out of memory")
    assert judge_bf16({**CUDA_BUILD, "gpus": [GPU]}) == found("bf16", "ok", "in the GPUs")
    old = judge_bf16({**CUDA_BUILD, "gpus": [{**GPU, "name": "V100", "bf16": False}]})
    assert old == found("bf16", "warn", "not on V100", "write `precision: fp16` for these GPUs")


SMI = """\
case "$1" in
--query-gpu=name) echo 'NVIDIA A10G' ;;
*) echo '| NVIDIA-SMI 470.82   Driver Version: 470.82   CUDA Version: 11.4 |' ;;
esac"""


@pytest.mark.parametrize(
    ("program", "driver"),
    [
        (SMI, Driver(gpus=("NVIDIA A10G",), cuda=(11, 4))),
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            Driver(trouble="nvidia-smi fails (18): Failed to initialize NVML: Driver/library version mismatch"),
        ),
    ],
)
def test_the_driver_is_as_nvidia_smi_says(tmp_path: Path, monkeypatch, program: str, driver: Driver):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert ask_driver() == driver
    if driver.trouble:
        assert judge_gpus([], driver).verdict == "fail"
