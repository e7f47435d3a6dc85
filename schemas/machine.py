"""What this machine has, found without torch: processors, GPUs, compilers. The only room of the control side that asks
the machine; `compile_job` gets the answer as a value and stays pure."""

import os
import platform
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Machine:
    """`cores` this process may use, `gpus` by name, and the processor's own name (part of the promise of a resume)."""

    cores: int
    gpus: tuple[str, ...]
    processor: str


def detect_machine() -> Machine:
    return Machine(cores=usable_cores(), gpus=list_gpus(), processor=processor_name())


def usable_cores() -> int:
    """Cores that this process may run on (a container or taskset gives fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def list_gpus() -> tuple[str, ...]:
    """NVIDIA GPUs by name as `nvidia-smi` lists them, within CUDA_VISIBLE_DEVICES; none where it is not installed."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return ()
    query = [smi, "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    names = tuple(line.strip() for line in answer.stdout.splitlines() if line.strip()) if answer.returncode == 0 else ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return names
    return names[: len([one for one in visible.split(",") if one.strip() not in ("", "-1")])]


def processor_name() -> str:
    """The processor's model and the instruction sets that decide which kernels torch and oneDNN take."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    model = named["model name"] if "model name" in named else platform.machine()
    flags = named["flags"].split() if "flags" in named else []
    kernels = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return " ".join([model, *kernels])


def missing_compiler(device: str) -> str | None:
    """What torch.compile lacks here: it writes C++ for processors, and for GPUs a little C around its kernels; both are
    built against Python's own headers. Looked for where torch 2.13 and Triton look."""
    variable, known = ("CC", ("gcc", "clang")) if device == "cuda" else ("CXX", ("g++",))
    wanted = (os.environ[variable],) if os.environ.get(variable) else known
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    missing = []
    if not any(shutil.which(name) for name in wanted):
        missing.append(f"a compiler ({' or '.join(wanted)}; apt-get install g++)")
    if not headers.is_file():
        missing.append(f"Python's headers ({headers}; apt-get install python3-dev)")
    if not missing:
        return None
    return f"training.compile: torch.compile needs {' and '.join(missing)}, not found here; write false to do without"


def kernel_compiler() -> str | None:
    """What builds the kernels for processors (runner/worker/kernels): C++ alone, no headers of Python."""
    return shutil.which(os.environ.get("CXX") or "g++")


def missing_kernel_compiler() -> str:
    wanted = os.environ.get("CXX") or "g++"
    return f"the fused kernels want a C++ compiler, and {wanted} is not found here (apt-get install g++)"
