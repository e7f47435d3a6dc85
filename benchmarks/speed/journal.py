"""An entry of docs/journal.md: dated, newest first."""

from collections.abc import Sequence
from pathlib import Path

from runjob.schemas.run import write_atomic

HEADING = "## "


def entry(title: str, table: Sequence[str], notes: Sequence[str]) -> str:
    return "\n".join([f"{HEADING}{title}", "", *notes, "", *table, "", ""])


def insert(journal: Path, text: str) -> None:
    """Before the first entry, behind what the journal says of itself."""
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    first = next((index for index, line in enumerate(lines) if line.startswith(HEADING)), len(lines))
    write_atomic(journal, "".join([*lines[:first], text, *lines[first:]]))
