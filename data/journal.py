"""What is safely on the disk of a store that is being made, so that a killed preparation goes on where it was.

    .building-<fingerprint>/unfinished/journal.json   written after every part, when all it speaks of is on the disk
    .building-<fingerprint>/unfinished/copies.npy     which documents are copies, once that is known
    .building-<fingerprint>/tokenizer/                there whole or not at all, once it is trained

The place in the corpus is a number of kept documents: it is read again up to there, which costs a tenth of tokenising
it, and is right for whatever a source is packed in or fetched from. What is left out is counted again on the way.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runjob.data.label_counts import read_labels
from runjob.data.store import FORMAT, LeftOut, SectionSummary, SideName
from runjob.data.writer import LabelsState, SideState
from runjob.schemas.run import read_json, write_json


def made_by() -> str:
    """The versions that decide the bytes of a store; a store begun by others is begun anew."""
    import importlib.metadata  # 40 ms that whoever finds a finished store does without

    libraries = (f"{name} {importlib.metadata.version(name)}" for name in ("tokenizers", "transformers"))
    return ", ".join([f"format {FORMAT}", *libraries])


@dataclass(frozen=True, kw_only=True)
class End:
    """Everything is written: what was left out until then, and whether the token budget was what ended it."""

    left_out: LeftOut
    read_bytes: int
    budget_reached: bool


@dataclass(frozen=True, kw_only=True)
class Journal:
    """`documents` were kept and written, up to `read_bytes` of the corpus."""

    made_by: str
    documents: int
    read_bytes: int
    sides: Mapping[SideName, SideState]
    end: End | None

    def write(self, file: Path) -> None:
        file.parent.mkdir(exist_ok=True)
        write_json(file, dataclasses.asdict(self))


def read_journal(file: Path) -> Journal | None:
    """None where there is none, or it is of other versions."""
    if not file.exists():
        return None
    raw = read_json(file)
    if raw["made_by"] != made_by():
        return None
    return Journal(
        **{
            **raw,
            "sides": {name: _read_side(side) for name, side in raw["sides"].items()},
            "end": raw["end"] and End(**{**raw["end"], "left_out": LeftOut(**raw["end"]["left_out"])}),
        }
    )


def _read_side(raw: Mapping[str, object]) -> SideState:
    sections = tuple(SectionSummary(**section) for section in raw["sections"])  # type: ignore[attr-defined]
    labels = raw["labels"] if "labels" in raw else None  # noqa: SIM401 - a journal of before there were any
    if labels is not None:
        labels = LabelsState(sha256=labels["sha256"], summary=read_labels(labels["summary"]))  # type: ignore[index]
    return SideState(**{**raw, "sections": sections, "labels": labels})  # type: ignore[arg-type]
