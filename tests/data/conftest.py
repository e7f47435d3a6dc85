"""What the data tests share: sections of jobs with everything but the point of the test filled in, and small sides."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from runjob.data.normalize import NOTHING
from runjob.data.progress import Progress
from runjob.data.store import Side
from runjob.data.writer import SideWriter
from runjob.schemas.job_data import (
    Filter,
    HashSplit,
    JsonlData,
    Normalize,
    Split,
    TextData,
    Tokenizer,
    TrainedTokenizer,
)

EOS = 9

MakeSide = Callable[[Sequence[Sequence[int]]], Side]
MakeText = Callable[..., TextData]
MakeJsonl = Callable[..., JsonlData]

BPE = TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=300, terms={})
HALF = HashSplit(kind="hash", validation=0.5, test=None)
EVERY = Filter(keep=None, drop=None)
# Of a section `data` what most tests are not about
PLAIN = {
    "bad_rows": 0.0,
    "normalize": NOTHING,
    "warn_below": None,
    "filter": EVERY,
    "deduplicate": False,
    "token_budget": None,
    "layout": "pack",
    "attention": "row",
    "long_documents": "split",
}


@pytest.fixture
def make_side(tmp_path: Path) -> MakeSide:
    """A side of these documents, closed by the token 9."""

    def make(documents: Sequence[Sequence[int]]) -> Side:
        path = tmp_path / f"side-{len(list(tmp_path.iterdir()))}"
        with SideWriter(path, eos_id=EOS, token_type="uint8") as writer:
            for document in documents:
                writer.append("x" * len(document), document)
            return Side(path, summary=writer.close(), token_type="uint8")

    return make


@pytest.fixture
def make_text() -> MakeText:
    def make(
        *paths: Path | str,
        documents: str = "line",
        tokenizer: Tokenizer = BPE,
        split: Split = HALF,
        length: int = 16,
        bad_rows: float = 0.0,
        min_length: int = 0,
        filter: Filter = EVERY,
        normalize: Normalize = NOTHING,
        token_budget: int | str | None = None,
        deduplicate: bool = False,
    ) -> TextData:
        return TextData(
            kind="text",
            path=tuple(map(str, paths)),
            documents=documents,  # type: ignore[arg-type]
            min_length=min_length,
            sequence_length=length,
            **{
                **PLAIN,
                "bad_rows": bad_rows,
                "normalize": normalize,
                "filter": filter,
                "deduplicate": deduplicate,
                "token_budget": token_budget,
            },
            tokenizer=tokenizer,
            split=split,
        )

    return make


@pytest.fixture
def make_jsonl() -> MakeJsonl:
    def make(
        *paths: Path | str,
        field: str = "text",
        target: str | None = None,
        relations: str | None = None,
        filter: Filter = EVERY,
        bad_rows: float = 0.0,
        normalize: Normalize = NOTHING,
        tokenizer: Tokenizer = BPE,
    ) -> JsonlData:
        return JsonlData(
            kind="jsonl",
            path=tuple(map(str, paths)),
            field=field,
            target=target,
            relations=relations,
            min_length=0,
            sequence_length=16,
            **{**PLAIN, "bad_rows": bad_rows, "filter": filter, "normalize": normalize},
            tokenizer=tokenizer,
            split=HALF,
        )

    return make


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A corpus of 200 different lines, of which every word is made of few syllables."""
    syllables = ["ka", "to", "mi", "ren", "é", "soo", "vlu", "huis"]

    def word(number: int) -> str:
        return syllables[number % 8] + syllables[number // 8 % 8]

    lines = [
        " ".join(word(line * 7 + place * place) for place in range(3 + line % 9)) + f" {line}" for line in range(200)
    ]
    path = tmp_path / "words.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def no_report() -> Callable[[Progress], None]:
    return lambda progress: None
