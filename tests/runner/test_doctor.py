"""`runjob doctor` on this machine and on worse ones: a torch that does not load, programs that answer otherwise, a disk
that can't be written. What torch says is judged by values, since few machines have its every trouble."""

import importlib.metadata
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


def test_this_machine_is_fit_to_train_and_nothing_is_left_behind(runjob, home):
    done = runjob("doctor", "--job", ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith(("ok", "warn"))}
    assert list(lines) == [
        *(
            "python",
            "packages",
            "torch",
            "gpu",
            "bf16",
            "deepspeed",
            "compiler",
            "memory",
            "threads",
            "home",
            "disk",
            "clock",
        ),
        *("hub", "ssh", "slurm", "job"),
    ]
    assert importlib.metadata.version("torch") in lines["torch"]
    assert importlib.metadata.version("deepspeed") in lines["deepspeed"]
    assert lines["home"].endswith(": locks, rename, mkdir, mode 0700")
    assert "switched off by HF_HUB_OFFLINE" in lines["hub"]
    assert "has all that it needs here" in lines["job"]
    assert done.stdout.splitlines()[-1].startswith("16 looked at: 0 in the way")
    assert list(home.runs.iterdir()) == list(home.path.iterdir()) == []


@pytest.mark.parametrize(
    ("torch", "said"),
    [
        (NO_LIBRARY, "ImportError: libcudart.so.12: cannot open shared object file"),
        (KILLED, "importing it ended the process (-9): "),
    ],
)
def test_a_torch_that_does_not_load_is_a_finding_and_not_the_end(doctor, torch: str, said: str):
    code, found = doctor(torch=torch)
    (finding,) = found["torch"]
    assert code == 1
    assert (finding["verdict"], finding["said"]) == ("fail", said)
    assert finding["remedy"] == "install torch anew: pip install --force-reinstall torch"
    assert found["deepspeed"][0]["verdict"] == "fail"
    assert found["python"][0]["verdict"] == "ok"
    assert found["slurm"][0]["name"] == "slurm"  # the last one was looked at too


@pytest.mark.parametrize(
    ("program", "verdict", "said"),
    [
        ("echo 'gpu* up 4'; echo 'cpu down 12'", "ok", "gpu* (up, 4 nodes), cpu (down, 12 nodes)"),
        ("echo 'slurm_load_partitions: Unable to contact' >&2; exit 1", "warn", "sinfo fails: slurm_load_partitions"),
        ("exit 0", "warn", "no partition is open to you"),
    ],
)
def test_slurm_is_as_sinfo_says(doctor, program: str, verdict: str, said: str):
    _, found = doctor(programs={"sinfo": program})
    assert found["slurm"][0]["verdict"] == verdict
    assert said in found["slurm"][0]["said"]


def test_what_is_wrong_around_torch_is_said_with_what_to_type(doctor):
    code, found = doctor(
        programs={"ssh-add": "echo '256 SHA256:x key (ED25519)'"},
        RUNJOB_HOME="/proc/runs",
        OMP_NUM_THREADS="4096",
        CXX="no-such-compiler",
        SSH_AUTH_SOCK="/nowhere",
        HF_TOKEN="hf_secret",
    )
    assert code == 1
    home, threads, compiler = found["home"][0], found["threads"][0], found["compiler"][0]
    assert home["verdict"] == "fail"
    assert home["said"].startswith("/proc/runs on proc: can't be written: ")
    assert home["remedy"] == "point RUNJOB_HOME to a local disk: export RUNJOB_HOME=~/runs"
    assert (threads["verdict"], "OMP_NUM_THREADS=4096" in threads["said"]) == ("warn", True)
    assert threads["remedy"].startswith("unset it, or export OMP_NUM_THREADS=")
    assert (compiler["verdict"], compiler["remedy"]) == ("warn", "apt-get install g++")
    assert "an agent with 1 key(s)" in found["ssh"][0]["said"]
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


def test_the_hub_is_asked_and_a_token_only_looked_for(doctor, hub: str, tmp_path: Path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_secret")
    _, found = doctor(HF_HUB_OFFLINE="0", HF_ENDPOINT=hub, HF_HOME=str(tmp_path / "hf"))
    assert (found["hub"][0]["verdict"], found["hub"][0]["said"]) == ("ok", "answers, with a token")
    _, found = doctor(HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    assert (found["hub"][0]["verdict"], found["hub"][0]["said"]) == ("warn", "does not answer, without a token")


def test_a_package_that_is_not_there_is_named(doctor, tmp_path: Path):
    facts = tmp_path / "site" / "runjob-9.dist-info"
    facts.mkdir(parents=True)
    needs = "Requires-Dist: pyyaml\nRequires-Dist: no-such-thing>=2\nRequires-Dist: boto3; extra == 'none'\n"
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: runjob\nVersion: 9\n{needs}")
    code, found = doctor()
    assert code == 1
    assert found["packages"][0]["said"] == "not installed: no-such-thing"
    assert found["packages"][0]["remedy"] == "pip install no-such-thing"


def test_a_job_is_told_what_it_lacks_here_and_its_twin(doctor):
    job = ROOT / "jobs" / "gpt2_dutch_small.yaml"
    code, found = doctor("--job", job, CUDA_VISIBLE_DEVICES="")
    assert code == 1
    assert [finding["verdict"] for finding in found["job"]] == ["fail"] * len(found["job"])
    assert "hardware.gpus: the job asks for all" in found["job"][0]["said"]
    assert "BramVanroy/wikipedia_culturax_dutch" in json.dumps(found["job"])
    assert found["job"][0]["remedy"].endswith("runs on any machine: jobs/tiny/gpt2_dutch.yaml")


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
