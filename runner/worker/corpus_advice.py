"""What a run says of its corpus before the first step, where somebody should know it: too few documents by the job's
own measure, characters that the network's head has no class for. As events like those of advice.py; the thresholds are
the job's and the network's own, so they stand in no table."""

import numpy as np
from transformers import PreTrainedConfig

from runjob.data import few
from runjob.data.characters import reads_characters, sample_characters
from runjob.data.store import Store
from runjob.runner.worker.advice import Sign, Told
from runjob.schemas.job import Job
from runjob.schemas.label_rules import BESIDE_TEXT

BEFORE = "before the first step"


def advise_on_corpus(job: Job, store: Store, config: PreTrainedConfig) -> list[Told]:
    told = [few_documents(job, store)]
    if reads_characters(store.summary.tokenizer) and job.objective.kind not in BESIDE_TEXT:  # whose heads say no text
        told.append(beyond_the_table(store, table=config.character_table))
    return [one for one in told if one is not None]


def few_documents(job: Job, store: Store) -> Told | None:
    least, documents = job.data.warn_below, store.summary.train.documents
    said = few.few_documents(job.data, documents)
    if said is None or least is None:  # the one goes with the other
        return None
    sign = Sign(
        name="few_documents",
        watched="training documents: fewer than data.warn_below",
        threshold=least,
        window=BEFORE,
        advice=said,
    )
    return sign.tell(documents)


def beyond_the_table(store: Store, *, table: int) -> Told | None:
    """Of the characters that are looked at (data/characters.py), how many share class 0."""
    characters = sample_characters(store.train if store.train.summary.documents else store.validation)
    beyond = characters[characters >= table]
    if not len(beyond):
        return None
    sign = Sign(
        name="characters_beyond",
        watched="share of characters beyond the head's table: above",
        threshold=0,
        window=BEFORE,
        advice=f"{{value:.2%}} of the characters ({len(np.unique(beyond)):,} different ones) lie beyond the {table:,} "
        "that the head tells apart: they are read as they are, and predicted and measured as one class, 0; a larger "
        "character_table tells them apart (docs/canine.md)",
    )
    return sign.tell(len(beyond) / len(characters))
