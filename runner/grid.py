"""Tables whose cells have something to point out, drawn by rich: the best of a column, where a value came from. As wide
as the terminal; in a pipe as wide as they are, so that a row stays a line."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

# Wider than any table: a pipe has no edge to break lines at
NO_EDGE = 10_000
LONGEST = 160


@dataclass(frozen=True, kw_only=True)
class Cell:
    """`note` stands behind the text in a fainter colour; `best` is marked by an asterisk, which a pipe shows too."""

    text: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows under a heading of their own; an empty heading is left out."""

    heading: str
    rows: Sequence[Sequence[Cell]]


def print_grid(head: Sequence[str], parts: Iterable[Part], *, right: Sequence[int] = ()) -> None:
    """`right`: the columns whose cells stand at the right, as numbers do."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, name in enumerate(head):
        table.add_column(Text(name), justify="right" if number in right else "left", overflow="fold")
    for part in parts:
        if part.heading:
            table.add_row(Text(part.heading, style="bold"))
        for first, *others in part.rows:
            begin = Text("  " if part.heading else "").append_text(_drawn(first))
            table.add_row(begin, *(_drawn(cell) for cell in others))
    width = None if sys.stdout.isatty() else NO_EDGE
    console = Console(width=width, markup=False, highlight=False)
    if sys.stdout.isatty():
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().rstrip("\n").splitlines()))


def _drawn(cell: Cell) -> "Text":
    from rich.text import Text

    drawn = Text(legible(cell.text) + (" *" if cell.best else ""), style="bold green" if cell.best else "")
    return drawn.append(f"  {legible(cell.note)}", style="dim") if cell.note else drawn


def legible(text: str) -> str:
    """On one line, not too long, and harmless: what a job file says must not steer a terminal.

    >>> legible("two\\nlines\\x1b[31m")
    'two lines\\\\x1b[31m'
    """
    flat = " ".join(text.split())
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in flat)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def in_words(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """As YAML would have it, floats with the digits that tell them apart.

    >>> in_words(None), in_words(True), in_words(1e-05), in_words([0.9, 0.95]), in_words(6.567428349969779)
    ('null', 'true', '1e-05', '[0.9, 0.95]', '6.567428')
    """
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, list):
        return f"[{', '.join(map(in_words, value))}]"
    return str(value)


def duration(seconds: float) -> str:
    """`42 s`, `7:03 min`, `3:20 h`.

    >>> duration(42.4), duration(423), duration(12000)
    ('42 s', '7:03 min', '3:20 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"
