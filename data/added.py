"""Which tokens somebody added to a vocabulary (`data.tokenizer.terms`, `runjob tokenizer extend`), read from the
tokenizer itself: in its tokenizer.json they stand beside the vocabulary of its model, and are not special."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runjob.data.store import Store
from runjob.data.terms import read_table
from runjob.schemas.errors import JobError
from runjob.schemas.job import Job, watched_metrics


def added_ids(tokenizer: Path) -> tuple[int, ...]:
    """Ids of the added tokens of a tokenizer directory, ascending; a token that the vocabulary has anyway, and was
    only named again, is none. Without a tokenizer.json (characters) nothing can have been added."""
    file = tokenizer / "tokenizer.json"
    if not file.is_file():
        return ()
    engine: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = engine["model"]["vocab"]
    base = set(vocabulary) if isinstance(vocabulary, dict) else {piece for piece, _ in vocabulary}
    return tuple(
        sorted(
            int(token["id"])
            for token in engine["added_tokens"]
            if not token["special"] and token["content"] not in base
        )
    )


@dataclass(frozen=True, kw_only=True)
class Added:
    """The added tokens of a run: `ids`, and the share of the job's terms that the tokenizer splits, None
    where the job names none."""

    ids: tuple[int, ...]
    fragmentation: float | None

    def among(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of these labels are added tokens; what is not predicted (a negative label) never is."""
        found: npt.NDArray[np.bool_] = np.isin(labels, self.ids)
        return found


def fragmentation(tokenizer: Path) -> float | None:
    """Share of the terms in the table beside a tokenizer that it cuts into several tokens; None without a table. Terms
    that were added are whole, unless the tokenizer reads them otherwise than they were written."""
    from tokenizers import Tokenizer

    table = read_table(tokenizer)
    terms = [] if table is None else [term for held in table.terms.values() for term in held]
    if not terms:
        return None
    engine = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    engine.no_truncation()
    return sum(len(engine.encode(term, add_special_tokens=False).ids) > 1 for term in terms) / len(terms)


def open_added(job: Job, store: Store) -> Added | None:
    """Of a run's store; None where nobody added tokens. JobError if the job goes by what can't be measured then."""
    ids = added_ids(store.tokenizer)
    if not ids:
        refuse_rare_metric(job)
        return None
    return Added(ids=ids, fragmentation=fragmentation(store.tokenizer))


def refuse_rare_metric(job: Job) -> None:
    for path, metric in watched_metrics(job.evaluation).items():
        if metric == "rare_token_perplexity":
            raise JobError(
                f"{path}: rare_token_perplexity is measured on added tokens, and nobody added any to this tokenizer; "
                "name term files in data.tokenizer.terms, or write `loss`"
            )
