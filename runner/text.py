"""Tables and JSON on standard output, and the nearest word to a mistyped one."""

import json
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

WATCH_S = 2.0


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by spaces; a cell holds no line break, so that a line stays a row.

    >>> print(table(["ID", "STATE"], [["a-1", "running"], ["long-2", "lost"]]))
    ID      STATE
    a-1     running
    long-2  lost
    """
    clean = [[" ".join(cell.split()) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in clean) for column in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in clean]
    return "\n".join("  ".join(row).rstrip() for row in padded)


def did_you_mean(word: str, known: Collection[str]) -> str:
    import difflib  # 3 ms, and only a mistake needs it

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


def watch(show: Callable[[], str], *, until: Callable[[], bool] = lambda: False) -> None:
    """Draw again every two seconds until Ctrl-C, or until there is nothing more to see."""
    try:
        while True:
            text = show()
            clear = "\x1b[2J\x1b[H" if sys.stdout.isatty() else ""
            print(f"{clear}{text}", flush=True)
            if until():
                return
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return
