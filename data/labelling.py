"""What a job learns from besides text, and how much of it there is."""

from collections import Counter

from runjob.data.beside import Beside
from runjob.data.classes import DocumentLabels
from runjob.data.label_counts import LabelsSummary
from runjob.data.labels import Labelling
from runjob.data.pairs import Pairing
from runjob.data.store import SideSummary
from runjob.data.text_pairs import TextPairing
from runjob.schemas.job import Job, learns_from_pairs
from runjob.schemas.job_data import ConllData, JsonlData
from runjob.schemas.job_model import (
    RelationClassification,
    SentenceEmbedding,
    SequenceClassification,
    TokenClassification,
)
from runjob.schemas.quantities import counted


def labelling_of(job: Job) -> Beside | None:
    """None where the job learns from text alone."""
    match job.objective:
        case RelationClassification() as objective:
            assert isinstance(job.data, JsonlData), "a rule of the job"
            assert job.data.target is not None
            assert job.data.relations is not None
            return Pairing.of(objective, target=job.data.target, relations=job.data.relations, seed=job.seed)
        case SequenceClassification() as objective:
            assert isinstance(job.data, JsonlData), "a rule of the job"
            assert job.data.target is not None
            return DocumentLabels(field=job.data.target, labels=objective.labels)
        case SentenceEmbedding() if learns_from_pairs(job):
            assert isinstance(job.data, JsonlData), "a rule of the job"
            assert job.data.target is not None
            return TextPairing(field=job.data.target)
        case TokenClassification() as objective:
            assert isinstance(job.data, JsonlData | ConllData), "a rule of the job"
            field = job.data.target if isinstance(job.data, JsonlData) else None
            return Labelling(field=field, labels=objective.labels, scheme=objective.scheme)
        case _:
            return None


def labelled_documents(job: Job) -> bool:
    """Has every document one label: the kind of a text, the relation of a pair?"""
    return isinstance(labelling_of(job), DocumentLabels | Pairing)


def describe_labels(job: Job, side: SideSummary) -> str | None:
    """`812 spans (TAXON 500, TIME 312); 3 of them are left out: ...`, `95 pairs (NO_RELATION 80, PART_OF 15)`,
    `90 documents (school 30, mail 60)`; None
    where the job learns from text alone."""
    labelling, found = labelling_of(job), side.labels
    if labelling is None or found is None:
        return None
    if isinstance(labelling, TextPairing):
        return f"{counted(min(found.counts), 'pair')} of texts"
    if isinstance(labelling, Labelling):
        return _spans(labelling, found)
    each = zip(labelling.tags.names, found.counts, strict=True)
    of = "pair" if isinstance(labelling, Pairing) else "document"
    return f"{counted(sum(found.counts), of)} ({', '.join(f'{name} {count:,}' for name, count in each)})"


def _spans(labelling: Labelling, found: LabelsSummary) -> str:
    tags = labelling.tags
    begin = [number for number, name in enumerate(tags.names) if name[:2] in ("B-", "U-")]
    each = Counter({label: 0 for label in tags.labels})
    for number in begin:
        each[tags.names[number][2:]] += found.counts[number]
    said = f"{counted(found.spans, 'span')} ({', '.join(f'{label} {count:,}' for label, count in each.items())})"
    if found.unmet:
        said += f"; nothing is asked at {found.unmet:,} of them, which begin or end inside of a token or of what"
        said += " data.normalize made one character"
    return said
