"""A student: a new ModernBERT, some of whose tensors are made of a teacher's (guide.py, tile.py), and the account of
which ones. The tokens are the teacher's: a row of the embeddings stands for the same in both."""

import math
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel

from runjob.runner.worker.models.guide import Projection, project
from runjob.runner.worker.models.loading import Source
from runjob.runner.worker.models.tile import tile
from runjob.schemas.errors import JobError, MissingError
from runjob.schemas.job_model import GuideInit, StudentInit, TileInit
from runjob.schemas.teacher import teacher_problems


@dataclass(frozen=True, kw_only=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    count: int

    @staticmethod
    def of(name: str, value: torch.Tensor) -> "Tensor":
        return Tensor(name=name, shape=tuple(value.shape), count=value.numel())


@dataclass(frozen=True, kw_only=True)
class MadeTensor(Tensor):
    """`source`: the teacher's tensor that this one was made of."""

    source: str


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a student has of its teacher. `uniform_loss`: the logarithm of the vocabulary, the loss of a network that
    takes all tokens for equally likely, which the evaluation before step 1 is to be compared with."""

    how: str
    teacher: str
    tensors: tuple[MadeTensor, ...]
    uniform_loss: float
    projection: Projection | None

    def to_event(self) -> dict[str, Any]:
        return {
            "teacher": self.teacher,
            self.how: {tensor.name: tensor.source for tensor in self.tensors},
            "uniform_loss": self.uniform_loss,
            **({} if self.projection is None else asdict(self.projection)),
        }


def refuse_teacher(init: StudentInit, source: Source) -> None:
    """JobError with everything that keeps this teacher from making this student, before its weights are read."""
    problems = [f"{where}: {said}" for where, said in teacher_problems(init, _configuration(source))]
    if problems:
        raise JobError("\n".join(problems))


def _configuration(source: Source) -> Mapping[str, Any]:
    """With what transformers adds to config.json."""
    try:
        config = AutoConfig.from_pretrained(source.path, revision=source.revision or "main", trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise MissingError(
            f"{source}: its config.json can't be read, neither in a directory of that name nor in the hub cache: fetch "
            f"it once with network: hf download {source.path}\n  {str(error).splitlines()[0]}"
        ) from error
    known: dict[str, Any] = config.to_dict()
    return known


@torch.no_grad()
def make_student(network: PreTrainedModel, teacher: PreTrainedModel, init: StudentInit, *, lacking: Set[str]) -> Made:
    """Fill the student's tensors that come of the teacher's; the others stay as they are. `lacking`: tensors that the
    teacher's checkpoint did not bring. The same bytes on any number of threads: all is computed by one, in float64."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        projection, sources = _fill(network, teacher, init, lacking)
    finally:
        torch.set_num_threads(threads)
    padding = network.config.pad_token_id
    table = network.get_input_embeddings().weight
    if padding is not None:
        table[padding] = 0.0
    places = dict(network.named_parameters())
    made = tuple(MadeTensor(**vars(Tensor.of(name, places[name])), source=source) for name, source in sources.items())
    how = "projected" if isinstance(init, GuideInit) else "tiled"
    return Made(
        how=how, teacher=init.teacher, tensors=made, uniform_loss=math.log(table.shape[0]), projection=projection
    )


def _fill(
    network: PreTrainedModel, teacher: PreTrainedModel, init: StudentInit, lacking: Set[str]
) -> tuple[Projection | None, dict[str, str]]:
    match init:
        case GuideInit():
            return project(network, teacher, init)
        case TileInit():
            return None, tile(network, teacher, lacking=lacking)
