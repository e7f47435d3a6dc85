"""torch, the driver of the GPUs and DeepSpeed: a child process that imports them, and what its answer means."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from runjob.data.space import in_words
from runjob.runner.doctor import Finding, fail, ok, warn
from runjob.schemas.machine import list_gpus, processor_name

# A cold disk: torch and DeepSpeed are 2 GB of files
PATIENCE_S = 120.0
DRIVER_S = 30.0
INSTALL = "install torch anew: pip install --force-reinstall torch"


@dataclass(frozen=True)
class Child:
    process: "subprocess.Popen[str]"

    @staticmethod
    def start() -> "Child":
        argv = [sys.executable, "-m", "runjob.runner.worker.doctor"]
        pipe = subprocess.PIPE
        return Child(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True))

    def answer(self) -> dict[str, Any]:
        """What it printed last; an `error` for both where it came to no answer."""
        try:
            output, errors = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return failed(f"importing it took longer than {PATIENCE_S:.0f} s")
        try:
            answer: dict[str, Any] = json.loads(output.splitlines()[-1])
        except (IndexError, ValueError):
            last = [line for line in errors.splitlines() if line.strip()][-1:]
            return failed(f"importing it ended the process ({self.process.returncode}): {''.join(last)}")
        return answer


def failed(said: str) -> dict[str, Any]:
    return {"torch": {"error": said}, "deepspeed": {"error": said}}


@dataclass(frozen=True, kw_only=True)
class Driver:
    """What nvidia-smi says: the GPUs, the newest CUDA that the driver serves, and why it says neither."""

    gpus: tuple[str, ...] = ()
    cuda: tuple[int, int] | None = None
    trouble: str = ""


def ask_driver() -> Driver:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return Driver()
    try:
        answer = subprocess.run([smi], capture_output=True, text=True, timeout=DRIVER_S, check=False)
    except subprocess.TimeoutExpired:
        return Driver(trouble=f"nvidia-smi gave no answer within {DRIVER_S:.0f} s")
    except OSError as error:
        return Driver(trouble=f"nvidia-smi can't be started: {error.strerror}")
    if answer.returncode != 0:
        last = (answer.stdout + answer.stderr).strip().splitlines()[-1:]
        return Driver(trouble=f"nvidia-smi fails ({answer.returncode}): {''.join(last)}")
    found = re.search(r"CUDA Version: *(\d+)\.(\d+)", answer.stdout)
    return Driver(gpus=list_gpus(), cuda=(int(found[1]), int(found[2])) if found else None)


def judge_torch(answer: dict[str, Any]) -> list[Finding]:
    torch, deepspeed = answer["torch"], answer["deepspeed"]
    driver = ask_driver()
    if "error" in torch:
        return [fail("torch", torch["error"], INSTALL), judge_deepspeed(deepspeed)]
    return [
        judge_build(torch, driver),
        judge_gpus(torch["gpus"], driver),
        judge_bf16(torch),
        judge_deepspeed(deepspeed),
    ]


def judge_build(torch: dict[str, Any], driver: Driver) -> Finding:
    """Does this build of torch reach the GPUs that the driver lists?"""
    built = f"torch {torch['version']}, " + (f"built for CUDA {torch['cuda']}" if torch["cuda"] else "without CUDA")
    if torch["available"] or not driver.gpus:
        return ok("torch", built)
    said = f"{built}; nvidia-smi lists {len(driver.gpus)} GPU(s) and torch reaches none"
    if torch["cuda"] is None:
        return fail("torch", said, "install a build with CUDA, as https://pytorch.org/get-started says for your driver")
    if driver.cuda is not None and driver.cuda < version_of(torch["cuda"]):
        shown = ".".join(map(str, driver.cuda))
        remedy = f"update the driver, or install a torch for CUDA {shown}"
        return fail("torch", f"{said}: the driver is for CUDA {shown} at most", remedy)
    return fail("torch", said, "look at CUDA_VISIBLE_DEVICES and `nvidia-smi`; in a container, start it with the GPUs")


def version_of(text: str) -> tuple[int, int]:
    """
    >>> version_of("12.8"), version_of("13")
    ((12, 8), (13, 0))
    """
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def judge_gpus(gpus: list[dict[str, Any]], driver: Driver) -> Finding:
    if driver.trouble:
        return fail("gpu", driver.trouble, "load the driver anew or reboot: `dmesg | grep -i nvrm` says more")
    if not gpus:
        return ok("gpu", "none: jobs with device: cpu run here, others by --launcher ssh, slurm or aws")
    if broken := [gpu for gpu in gpus if "error" in gpu]:
        said = "; ".join(f"{gpu['name']}: {gpu['error']}" for gpu in broken)
        return fail("gpu", said, "see who holds it: nvidia-smi")
    shown = [f"{gpu['name']}, {in_words(gpu['free'])} of {in_words(gpu['bytes'])} free" for gpu in gpus]
    if any(gpu["free"] < gpu["bytes"] // 2 for gpu in gpus):
        return warn("gpu", "; ".join(shown), "see who holds the memory: nvidia-smi")
    return ok("gpu", "; ".join(shown))


def judge_bf16(torch: dict[str, Any]) -> Finding:
    """Where it is done in hardware; elsewhere it is right too, and slower than fp32."""
    if torch["gpus"]:
        without = [gpu["name"] for gpu in torch["gpus"] if not gpu.get("bf16")]
        if without:
            return warn("bf16", f"not on {', '.join(without)}", "write `precision: fp16` for these GPUs")
        return ok("bf16", "in the GPUs")
    name = processor_name()
    if "amx_bf16" in name or "avx512_bf16" in name:
        return ok("bf16", f"in the processor ({torch['processor']})")
    return ok("bf16", f"emulated by this processor ({torch['processor']}): `precision: fp32` is quicker on it")


def judge_deepspeed(deepspeed: dict[str, Any]) -> Finding:
    if "error" in deepspeed:
        remedy = "install it anew: DS_BUILD_OPS=0 pip install --force-reinstall --no-deps deepspeed"
        return fail("deepspeed", deepspeed["error"], remedy)
    return ok("deepspeed", f"{deepspeed['version']}; its compiled operations are not needed")
