"""Takes the picture on top of README.md: its first block of commands, typed into a real terminal, and their answers.
Usage: .venv/bin/python scripts/make_terminal_picture.py   (minutes: it trains, kills, resumes, and does it all again)

As in the text, `...` stands for lines that are left out; all others are those that the terminal showed."""

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "pictures" / "terminal.svg"
WIDTH = 108
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ID = re.compile(r"\b[a-z0-9][a-z0-9_]*-[0-9a-f]{8}\b")
# Rich would have the reader's browser fetch them from elsewhere
FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
# Only waits; nobody wants to see it
WAITING = "until "


def main() -> None:
    found = BLOCK.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None, "README.md opens with a console block"
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        shutil.copytree(ROOT / "jobs", place / "jobs")
        ids: dict[str, str] = {}
        for typed, shown in commands(found[1]):
            answer = type_in(with_ids(typed, ids), place)
            kept = keep(answer, shown)
            for line, pattern in zip(kept, shown, strict=True):
                ids |= dict(zip(ID.findall(pattern), ID.findall(Text.from_ansi(line).plain), strict=False))
            if typed.startswith(WAITING):
                continue
            console.print(Text.assemble(("$ ", "bold green"), (with_ids(typed, ids).replace("\n", "\n> "), "bold")))
            for line in kept:
                console.print(Text.from_ansi(line, style="bright_black" if line == "..." else ""), soft_wrap=True)
    drawn = console.export_svg(title="runjob", unique_id="terminal")
    TARGET.write_text(FONTS.sub("", drawn), encoding="utf-8")


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """What is typed, and the lines that are shown below it."""
    for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        first, *lines = entry.splitlines()
        more = [line for line in lines if line.startswith("> ")]
        yield "\n".join([first, *(line[2:] for line in more)]), lines[len(more) :]


def with_ids(typed: str, ids: dict[str, str]) -> str:
    return ID.sub(lambda one: ids.get(one[0], one[0]), typed)


def type_in(typed: str, place: Path) -> list[str]:
    """The lines that the command left on a terminal of its own."""
    ours, theirs = pty.openpty()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "RUNJOB_HOME": str(place / "runs"), "COLUMNS": str(WIDTH), "TERM": "xterm"}
    process = subprocess.Popen(["bash", "-c", typed], cwd=place, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while more := os.read(ours, 65536):
            said += more
    except OSError:  # how Linux says that nobody holds the other end any more
        pass
    assert process.wait() == 0, said.decode()
    return [line.rpartition("\r")[2] for line in said.decode().replace("\r\n", "\n").splitlines()]


def keep(answer: Sequence[str], shown: Sequence[str]) -> list[str]:
    """Of each shown line the true one, `...` for those that are left out."""
    kept, rest = [], list(answer)
    for pattern in shown:
        if pattern == "...":
            kept.append(pattern)
            continue
        words = "".join(".*" if part == "..." else re.escape(part) for part in re.split(r"(\.\.\.)", pattern))
        fits = re.compile(re.sub(r"\d+", r"\\d+", re.sub(ID, "ID", words.replace("\\-", "-"))))
        while rest and not fits.fullmatch(re.sub(ID, "ID", Text.from_ansi(rest[0]).plain).rstrip()):
            del rest[0]
        if not rest:
            sys.exit(f"README.md shows {pattern!r}, and the terminal none like it:\n" + "\n".join(answer))
        kept.append(rest.pop(0))
    return kept


if __name__ == "__main__":
    main()
