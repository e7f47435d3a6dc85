"""Which operations a run trains with: the fused kernels or torch's own, and why not the kernels. The `start` event says
it, so that nobody has to guess from the speed."""

from dataclasses import dataclass

from runjob.runner.worker.exchange import Exchange
from runjob.runner.worker.kernels.build import library
from runjob.schemas.errors import MissingError
from runjob.schemas.job import Job
from runjob.schemas.kernels import kernels_problem


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """`why_not` None: the run trains with the kernels. `unbuilt`: nothing but their building stands in the way."""

    why_not: str | None
    unbuilt: bool = False

    @property
    def advice(self) -> str:
        return f"{self.why_not}; attention, dropout and norms are torch's own, which are right and slower"

    def facts(self) -> dict[str, str | None]:
        """What the `start` event says."""
        return {"kernels": "torch" if self.why_not else "fused", "kernels_why": self.why_not}


def choose_kernels(job: Job, exchange: Exchange) -> Kernels:
    """Collective: all ranks have them, or none uses them. MissingError where the job insists on them."""
    training = job.training
    if training.kernels == "torch":
        return Kernels(why_not="training.kernels is torch")
    said = kernels_problem(precision=training.precision, device=job.hardware.device, compiled=training.compile)
    if said is not None:
        return Kernels(why_not=said)
    lacking = missing_library()
    if exchange.all_have(lacking is None):
        return Kernels(why_not=None)
    lacking = lacking or "the fused kernels can't be built where another rank runs"
    if training.kernels == "fused":
        raise MissingError(f"training.kernels: {lacking}; write auto or torch to do without")
    return Kernels(why_not=lacking, unbuilt=True)


def missing_library() -> str | None:
    try:
        library()
    except MissingError as error:
        return str(error)
    return None
