"""What a job adds to its tokenizer: the terms of `data.tokenizer.terms`, beside those that a finished one brings."""

import copy
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data import tokenizers
from runjob.data.extend import extend
from runjob.data.samples import locate_tokenizer
from runjob.data.terms import Term, TermTable, fingerprint, read_table, read_terms
from runjob.data.unigram import TRAINER
from runjob.schemas.job_data import CharacterTokenizer, PretrainedTokenizer, Tokenizer, TrainedUnigram

WHERE = "data.tokenizer.terms."


@dataclass(frozen=True, kw_only=True)
class Extension:
    """`before` is the table that a finished tokenizer came with; `markers` are tokens that the objective's rows hold
    beside the text."""

    terms: tuple[Term, ...]
    before: TermTable | None
    markers: tuple[str, ...] = ()

    def apply(self, tokenizer: Any) -> tuple[Any, TermTable | None]:  # noqa: ANN401 - transformers has no types
        """The tokenizer with the terms, and the table of them; as it is where there are none."""
        table = self.before
        if self.terms:
            tokenizer, table = extend(tokenizer, self.terms, before=self.before)
        return (add_markers(tokenizer, self.markers) if self.markers else tokenizer), table

    def describe(self) -> dict[str, str]:
        """What of it decides tokens of a store, or the table in it, as JSON; nothing where nothing is added."""
        described = {"terms": fingerprint(self.terms)} if self.terms else {}
        if self.before is not None:
            table = json.dumps(dataclasses.asdict(self.before), sort_keys=True)
            described["table"] = hashlib.sha256(table.encode()).hexdigest()
        return described | ({"markers": " ".join(self.markers)} if self.markers else {})


def add_markers(tokenizer: Any, markers: Sequence[str]) -> Any:  # noqa: ANN401
    """The tokenizer with these tokens too. The space before one belongs to it, so that the word behind it is cut as it
    is behind any space. Not special ones: the corpus is read with special tokens taken for text (tokenizers.py)."""
    from tokenizers import AddedToken

    marked = copy.deepcopy(tokenizer)
    added = [AddedToken(marker, lstrip=True, rstrip=False, normalized=False, special=False) for marker in markers]
    marked.add_tokens(added)
    return marked


def open_extension(settings: Tokenizer, *, markers: tuple[str, ...] = ()) -> Extension:
    if isinstance(settings, CharacterTokenizer):
        return Extension(terms=(), before=None)
    before = read_table(Path(locate_tokenizer(settings.path))) if isinstance(settings, PretrainedTokenizer) else None
    return Extension(terms=read_terms(settings.terms, where=WHERE), before=before, markers=markers)


def save_extended(tokenizer: Any, table: TermTable | None, folder: Path) -> None:  # noqa: ANN401
    tokenizers.save(tokenizer, folder)
    if table is not None:
        table.write(folder)


def describe(settings: Tokenizer, tokenizer: Any, extension: Extension) -> dict[str, Any]:  # noqa: ANN401
    """What decides the ids of a text: of a finished tokenizer what it does and not what it is called."""
    if isinstance(settings, PretrainedTokenizer):
        return {"kind": "pretrained", "fingerprint": tokenizers.fingerprint(tokenizer), **extension.describe()}
    described = {name: value for name, value in dataclasses.asdict(settings).items() if name != "terms"}
    if isinstance(settings, TrainedUnigram):  # the others' trainer is the library's
        described["trainer"] = TRAINER
    return {**described, **extension.describe()}
