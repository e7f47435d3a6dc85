"""Which jobs compute their rows end to end, without padding (runner/worker/models/end_to_end.py): whoever cuts a global
batch, plans one or measures one must know whether padding counts."""

from runjob.schemas.hub_copy import configuration_file
from runjob.schemas.job import Job
from runjob.schemas.job_model import FinishedInit, GuideInit, TileInit
from runjob.schemas.json_object import read_object

# transformers' names; of these the attention alone sees which row a token is of, and it takes a name of ours; CANINE's
# layers are called one by one (runner/worker/models/canine_end_to_end.py)
FAMILIES = frozenset({"bert", "canine", "modernbert", "roberta"})


def end_to_end(job: Job, *, family: str | None) -> bool:
    """`family` None: nobody knows it yet, and rows count as padded. A compiled network would be compiled anew for every
    number of tokens."""
    masked_lines = job.objective.kind == "mlm" and job.data.layout == "lines"
    recomputed = family == "canine" and job.training.gradient_checkpointing  # by layers that are called as a whole
    return masked_lines and not job.training.compile and not recomputed and family in FAMILIES


def rows_are_padded(job: Job) -> bool:
    """Whether a network of this job will compute the padding of its rows, as far as anybody can say beforehand."""
    return not end_to_end(job, family=family_of(job))


def family_of(job: Job) -> str | None:
    """transformers' name; None where the configuration of a checkpoint is not here."""
    match job.model.init:
        case FinishedInit() as init:
            found = read_object(configuration_file(init)).get("model_type")
            return found if isinstance(found, str) else None
        case GuideInit() | TileInit():
            return "modernbert"
        case init:
            return init.architecture.replace("_", "-")
