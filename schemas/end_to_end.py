"""Which jobs compute their rows end to end, without padding (runner/worker/models/end_to_end.py): whoever cuts a global
batch, plans one or measures one must know whether padding counts."""

from runjob.schemas.job import Job

# transformers' names; of these the attention alone sees which row a token is of, and it takes a name of ours
FAMILIES = frozenset({"bert", "modernbert", "roberta"})


def end_to_end(job: Job, *, family: str | None) -> bool:
    """`family` None: nobody knows it yet, and rows count as padded. A compiled network would be compiled anew for every
    number of tokens."""
    masked_lines = job.objective.kind == "mlm" and job.data.layout == "lines"
    return masked_lines and not job.training.compile and family in FAMILIES
