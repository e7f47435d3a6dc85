"""The documents tell the truth: their links lead somewhere, and what they show a user typing does what they show.

Every fenced `console` block of README.md and docs/*.md is typed line by line (`$ command`, `> ` goes on with it) into
bash, in a directory that holds a copy of jobs/, and the shown output is compared: a line `...` stands for any lines,
`...` within a line for any text, an id such as gpt2_dutch-1a2b3c4d for whatever id the run got (and for the same one
afterwards). A command shown without output may print what it likes. An HTML comment on the line above the fence says
more, separated by commas: `<!-- slow -->` runs under the slow marker only, `<!-- exit 2 -->` is the code of its last
command, `<!-- numbers vary -->` takes any number for any number. What must not be typed here (git clone, make) stands
in a fence of another language, `sh`.
"""

import html
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MARKDOWN = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part == "runs" for part in path.relative_to(ROOT).parts)
)
PLAYED = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"(?:^<!-- ([^\n]*?) -->\n)?^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ID = re.compile(r"\b[a-z0-9][a-z0-9_-]{0,40}-(?:[0-9a-f]{8}|x{8})\b")
NUMBER = r"[0-9][0-9,]*(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One `$ ` line with the output shown below it; `line` is where it stands in its document."""

    line: int
    typed: str
    shown: tuple[str, ...]
    exit_code: int
    slow: bool
    numbers_vary: bool


def read_commands(text: str) -> list[Command]:
    commands = []
    for block in BLOCK.finditer(text):
        notes = {note.strip() for note in (block[1] or "").split(",")} - {""}
        codes = [int(note.removeprefix("exit ")) for note in notes if re.fullmatch(r"exit \d+", note)]
        first = text.count("\n", 0, block.start(2)) + 1
        unknown = notes - {"slow", "numbers vary"} - {f"exit {code}" for code in codes}
        assert not unknown, f"line {first}: what does {unknown} ask for?"
        typed = split_block(block[2], first)
        for number, (line, command, shown) in enumerate(typed, start=1):
            commands.append(
                Command(
                    line=line,
                    typed=command,
                    shown=shown,
                    exit_code=codes[0] if codes and number == len(typed) else 0,
                    slow="slow" in notes,
                    numbers_vary="numbers vary" in notes,
                )
            )
    return commands


def split_block(block: str, first: int) -> list[tuple[int, str, tuple[str, ...]]]:
    """(line, command, shown output) of one block."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for number, text in enumerate(block.splitlines(), start=first):
        if text.startswith("$ "):
            found.append((number, text[2:], ()))
            continue
        assert found, f"line {number}: a console block opens with a `$ ` line"
        line, command, shown = found.pop()
        if text.startswith("> ") and not shown:
            found.append((line, f"{command}\n{text[2:]}", ()))
        else:
            found.append((line, command, (*shown, text.rstrip())))
    return found


def output_pattern(shown: tuple[str, ...], ids: dict[str, str], *, numbers_vary: bool) -> "re.Pattern[str]":
    """The regular expression for shown output; ids not met before become groups named id0, id1, ..."""
    new: dict[str, str] = {}

    def one_id(written: str) -> str:
        if written in ids:
            return re.escape(ids[written])
        if written in new:
            return f"(?P={new[written]})"
        new[written] = f"id{len(new)}"
        return f"(?P<{new[written]}>{re.escape(written[:-8])}[0-9a-f]{{8}})"

    def numbers(text: str) -> str:
        return NUMBER.join(map(re.escape, re.split(NUMBER, text))) if numbers_vary else re.escape(text)

    def between(text: str) -> str:
        return ".*".join(map(numbers, text.split("...")))

    def one_line(text: str) -> str:
        written = [match[0] for match in ID.finditer(text)]
        plain = [between(part) for part in ID.split(text)]
        return "".join(part + (one_id(written[i]) if i < len(written) else "") for i, part in enumerate(plain)) + "\n"

    return re.compile("".join(r"(?:.*\n)*?" if text == "..." else one_line(text) for text in shown))


def compare(command: Command, output: str, ids: dict[str, str]) -> bool:
    """Does the output fit what is shown? Ids met for the first time are learnt."""
    text = "".join(line.rstrip() + "\n" for line in output.splitlines())
    match = output_pattern(command.shown, ids, numbers_vary=command.numbers_vary).fullmatch(text)
    if match is None:
        return False
    written = dict.fromkeys(found for line in command.shown for found in ID.findall(line) if found not in ids)
    ids.update(zip(written, match.groups(), strict=True))
    return True


def play(document: Path, home, *, slow: bool) -> None:
    """Type the document's commands in order, as its reader would."""
    shutil.copytree(ROOT / "jobs", home.path / "jobs")
    ids: dict[str, str] = {}
    for command in read_commands(document.read_text(encoding="utf-8")):
        if command.slow and not slow:
            continue
        typed = ID.sub(lambda match: ids.get(match[0], match[0]), command.typed)
        answer = subprocess.run(
            ["bash", "-c", typed],
            env=home.env,
            cwd=home.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=500,
            check=False,
        )
        where = f"{document.name}:{command.line}: $ {typed}"
        assert answer.returncode == command.exit_code, f"{where}\n{answer.stdout}"
        if command.shown:
            shown = "\n".join(command.shown)
            assert compare(command, answer.stdout, ids), (
                f"{where}\nprinted\n{answer.stdout}\nbut the document shows\n{shown}"
            )


def test_the_picture_on_top_of_the_readme_shows_what_its_first_block_types():
    """scripts/make_terminal_picture.py takes it anew; it leaves out what only waits."""
    drawn = (ROOT / "docs" / "pictures" / "terminal.svg").read_text(encoding="utf-8")
    assert "url(http" not in drawn, "a picture asks no network"
    shown = html.unescape(re.sub(r"<[^>]+>", "", drawn)).replace("\xa0", " ")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.index("docs/pictures/terminal.svg") < readme.index("```console")
    first = BLOCK.search(readme)
    assert first is not None
    typed = [line for _, command, _ in split_block(first[2], 1) for line in command.splitlines()]
    missing = [line for line in typed if not line.startswith("until ") and ID.split(line)[0].strip() not in shown]
    assert missing == []


def plays() -> list[object]:
    """Each document without its slow blocks and, where it has some, with them too."""
    fast = [pytest.param(document, False, id=document.name) for document in PLAYED]
    trains = [path for path in PLAYED if any(one.slow for one in read_commands(path.read_text(encoding="utf-8")))]
    return fast + [pytest.param(path, True, id=f"{path.name}, slow too", marks=pytest.mark.slow) for path in trains]


@pytest.mark.parametrize(("document", "slow"), plays())
def test_what_a_document_shows_is_what_a_user_gets(document, slow, home, processes):
    play(document, home, slow=slow)


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    for target in LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        path = (document.parent / file) if file else document
        assert path.exists(), f"{document.name}: the link to {target} leads nowhere"
        if heading:
            assert heading in headings(path), f"{document.name}: {path.name} has no heading #{heading}"


def headings(path: Path) -> set[str]:
    """The anchors that a Markdown renderer makes of a file's headings."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


EXAMPLE = """
<!-- slow, exit 3 -->
```console
$ echo tiny-xxxxxxxx loss 3.25
tiny-xxxxxxxx loss 3.25
$ false \\
> || exit 3
```
"""


def test_a_block_is_read_with_its_notes():
    first, second = read_commands(EXAMPLE)
    assert (first.line, first.typed, first.shown) == (4, "echo tiny-xxxxxxxx loss 3.25", ("tiny-xxxxxxxx loss 3.25",))
    assert (first.slow, first.exit_code) == (True, 0)
    assert (second.typed, second.shown, second.exit_code) == ("false \\\n|| exit 3", (), 3)


@pytest.mark.parametrize(
    ("shown", "printed", "fits"),
    [
        ("loss 3.25", "loss 3.25", True),
        ("loss 3.25", "loss 3.26", False),
        ("a\n...\nz", "a\nb\nc\nz", True),
        ("a\n...\nz", "a\nz", True),
        ("a\n...\nz", "a\nb", False),
        ("took ... s", "took 12 s", True),
        ("tiny-xxxxxxxx", "tiny-0123abcd", True),
        ("tiny-xxxxxxxx", "large-0123abcd", False),
        ("tiny-aaaaaaaa tiny-aaaaaaaa", "tiny-0123abcd tiny-ffffffff", False),
        ("a", "a\nmore", False),
    ],
)
def test_output_is_compared_with_care(shown, printed, fits):
    command = Command(line=1, typed="", shown=tuple(shown.split("\n")), exit_code=0, slow=False, numbers_vary=False)
    assert compare(command, printed, {}) is fits


def test_marked_numbers_may_be_others_and_words_may_not():
    command = Command(line=1, typed="", shown=("step 1,000: 3.25e-2",), exit_code=0, slow=False, numbers_vary=True)
    assert compare(command, "step 400: 7", {})
    assert not compare(command, "step 400: nan", {})


def test_an_id_once_met_stays_the_same():
    command = Command(line=1, typed="", shown=("tiny-xxxxxxxx",), exit_code=0, slow=False, numbers_vary=False)
    ids: dict[str, str] = {}
    assert compare(command, "tiny-0123abcd", ids)
    assert ids == {"tiny-xxxxxxxx": "tiny-0123abcd"}
    assert not compare(command, "tiny-ffffffff", ids)
