"""What a shell proposes at TAB, in the real bash, zsh and fish: each reads what `runjob completion` prints and asks the
installed program. In bash and zsh the line is typed at a terminal; fish's own `complete` says what it would offer."""

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from runjob.runner.cli import NAMES
from runjob.schemas.group import GroupDir
from runjob.schemas.run import RunDir
from tests.conftest import Home

PROMPT = "ready> "
TO_START, TO_END = "\x01", "\x05"  # Ctrl-A, Ctrl-E
# What each reads at its start instead of other people's files, with a prompt to wait for
START = {
    "bash": (["bash", "--noprofile", "--rcfile", "start/bash", "-i"], "start/bash"),
    "zsh": (["zsh", "-i"], "start/.zshrc"),
}
SETUP = {
    "bash": f"bind 'set enable-bracketed-paste off'\nsource <(runjob completion bash)\nPS1='{PROMPT}'\n",
    "zsh": f"bindkey -e\nautoload -U compinit\ncompinit -u -D\nsource <(runjob completion zsh)\nPS1='{PROMPT}'\n",
}


@pytest.fixture
def place(home) -> Home:
    (home.path / "jobs").mkdir()
    (home.path / "jobs" / "mine.yaml").write_text("")
    (home.path / "jobs" / "notes.txt").write_text("")
    return home


def needed(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs the system package {shell}")


@pytest.fixture
def fish(place) -> Callable[[str], list[str]]:
    """`fish("runjob val")`: what stands in its list, in fish's order."""
    needed("fish")

    def complete(line: str) -> list[str]:
        program = 'runjob completion fish | source; complete -C "$LINE"'
        env = {**place.env, "LINE": line, "HOME": str(place.path)}
        argv = ["fish", "--no-config", "-c", program]
        done = subprocess.run(argv, env=env, cwd=place.path, capture_output=True, text=True, check=True, timeout=60)
        return [proposed.partition("\t")[0] for proposed in done.stdout.splitlines()]

    return complete


def test_fish_proposes_commands_and_what_each_of_them_takes(fish, place):
    run = RunDir.create(place.runs, "small")
    for step in (20, 40):
        (run.checkpoints / f"step-{step:08d}").mkdir(parents=True)
        (run.checkpoints / f"step-{step:08d}" / "manifest.json").write_text("{}")
    assert {name.split()[0] for name in NAMES} | {"jobs/"} <= set(fish("runjob "))
    assert fish("runjob jobs/") == ["jobs/mine.yaml"]  # and no notes
    assert fish("runjob status sm") == [run.id]
    swept = GroupDir.create(place.runs, "sweep")
    for command in ("status", "resume", "cancel", "ps", "compare", "report"):
        assert fish(f"runjob {command} sw") == [swept.id]
    assert fish("runjob logs sw") == []
    assert fish(f"runjob resume {run.id} --from ") == ["20", "40", "best"]
    assert fish("runjob validate jobs/") == ["jobs/mine.yaml"]
    assert fish("runjob plan jobs/mine.yaml --launcher s") == ["slurm", "ssh"]
    assert fish("runjob tokenizer ") == ["build", "check", "extend", "normalize"]
    assert fish("runjob jobs/mine.yaml --set training.precision=") == [
        f"training.precision={word}" for word in ("bf16", "bf16_params", "fp16", "fp32")
    ]
    assert fish("runjob --launcher slurm plan jobs/mine.yaml --set training.micro") == [
        "training.micro_batch=",
        "training.micro_tokens=",
    ]


def typed(shell: str, place: Home, line: str) -> str:
    """The line as it stands after TAB. Without reading a terminal's drawing of it: the keys that follow make it the
    argument of a `printf` into a file."""
    needed(shell)
    argv, file = START[shell]
    (place.path / "start").mkdir()
    (place.path / "start" / ".zshenv").write_text("setopt no_global_rcs\n")
    (place.path / file).write_text(SETUP[shell])
    ours, theirs = pty.openpty()
    env = {**place.env, "TERM": "dumb", "HOME": str(place.path), "ZDOTDIR": str(place.path / "start")}
    process = subprocess.Popen(
        argv, env=env, cwd=place.path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    screen, answer = "", place.path / "answer"
    deadline = time.monotonic() + 30
    sent = False
    try:
        while not answer.is_file() or not answer.read_text().endswith(">"):
            assert time.monotonic() < deadline, f"{shell} shows {screen!r}"
            if select.select([ours], [], [], 0.05)[0]:
                screen += os.read(ours, 4096).decode(errors="replace")
            if PROMPT in screen and not sent:
                os.write(ours, f"{line}\t{TO_START}printf '<%s>' '{TO_END}' > answer\r".encode())
                sent = True
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return answer.read_text()[1:-1]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("runjob valid", "runjob validate"),
        ("runjob status sma", "runjob status {id}"),
        (
            "runjob jobs/mine.yaml --set training.gradient_clip",
            "runjob jobs/mine.yaml --set training.gradient_clipping=",
        ),
    ],
)
def test_a_line_typed_in_bash_and_zsh_is_finished_at_tab(shell: str, line: str, whole: str, place: Home):
    run = RunDir.create(place.runs, "small")
    # zsh takes its space back where something else is typed than a word
    assert typed(shell, place, line).rstrip(" ") == whole.format(id=run.id)


def test_the_scripts_of_the_shells_are_read_without_a_complaint(runjob, place):
    for shell in ("bash", "zsh", "fish"):
        done = runjob("completion", shell)
        assert (done.returncode, done.stderr) == (0, "")
        needed(shell)
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, timeout=30)
