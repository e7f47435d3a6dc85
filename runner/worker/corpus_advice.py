"""What a run says of its corpus before the first step, where somebody should know it: too few documents by the job's
own measure, characters that the network's head has no class for."""

import numpy as np
from transformers import PreTrainedConfig

from runjob.data.characters import reads_characters, sample_characters
from runjob.data.store import Store
from runjob.schemas.job import Job
from runjob.schemas.job_data import streamed


def advise_on_corpus(job: Job, store: Store, config: PreTrainedConfig) -> tuple[str, ...]:
    found = [few_documents(job, store)]
    if reads_characters(store.summary.tokenizer):
        found.append(beyond_the_table(store, table=config.character_table))
    return tuple(text for text in found if text is not None)


def few_documents(job: Job, store: Store) -> str | None:
    least, documents = job.data.warn_below, store.summary.train.documents
    if least is None or documents >= least or streamed(job.data):  # nobody knows how many a stream has
        return None
    return (
        f"{documents:,} training documents are fewer than data.warn_below {least:,}: the model may learn them and not "
        "what they have in common; add more, or lower the number if it is known to be enough"
    )


def beyond_the_table(store: Store, *, table: int) -> str | None:
    """Of the characters that are looked at (data/characters.py), how many share class 0."""
    characters = sample_characters(store.train if store.train.summary.documents else store.validation)
    beyond = characters[characters >= table]
    if not len(beyond):
        return None
    return (
        f"{100 * len(beyond) / len(characters):.2g} % of the characters ({len(np.unique(beyond)):,} different ones) "
        f"lie beyond the {table:,} that the head tells apart: they are read as they are, and predicted and measured "
        "as one class, 0; a larger character_table tells them apart (docs/canine.md)"
    )
