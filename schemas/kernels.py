"""Which jobs the fused kernels can serve (runner/worker/kernels), as far as the job itself says it; whether a compiler
is here to build them is machine.py's to find out."""


def kernels_problem(*, precision: str, device: str, compiled: bool) -> str | None:
    """What of a job keeps torch's own operations; None where nothing does."""
    if device != "cpu":
        return f"the kernels are for processors, and hardware.device is {device}"
    if precision != "bf16":
        return f"the kernels compute in bf16, and training.precision is {precision}"
    if compiled:
        return "the kernels are not for training.compile, which makes its own"
    return None
