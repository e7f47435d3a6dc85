"""Following on a real terminal: the bar, and what Ctrl-C asks."""

import fcntl
import os
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.runner.bar import open_bar
from runjob.runner.follow import PlainView
from runjob.runner.lines import event_line
from runjob.schemas.run import RunDir, Status


def begin_session() -> None:
    """The terminal is this process's own, and Ctrl-C means something there even where the tests run in the background
    of a shell, which ignores it for them."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A command on a pseudo-terminal of its own, as in a user's window."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path) -> None:
        self.master, slave = os.openpty()
        self.process = subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=begin_session,
        )
        os.close(slave)
        self.text = ""

    def read_until(self, wanted: str, *, within_s: float = 20) -> None:
        deadline = time.monotonic() + within_s
        while wanted not in self.text:
            ready, _, _ = select.select([self.master], [], [], 0.1)
            try:
                self.text += os.read(self.master, 65536).decode(errors="replace") if ready else ""
            except OSError:  # Linux: the other side is closed
                break
            assert time.monotonic() < deadline, f"waited in vain for {wanted!r} in {self.text!r}"
        assert wanted in self.text, self.text

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    break
        return self.process.wait(timeout=5)


@pytest.fixture
def terminal(home, plugin, job, processes) -> Iterator[Terminal]:
    env = {**home.env, **plugin, "SMALL": "long", "TERM": "xterm", "COLUMNS": "120"}
    opened = Terminal(["runjob", "--launcher", "small", str(job)], env, home.path)
    yield opened
    opened.process.kill()
    opened.process.wait()
    os.close(opened.master)


COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]")


def test_the_bar_shows_stage_loss_and_rate_and_without_colour_where_none_is_wanted(terminal: Terminal):
    terminal.read_until("tokens/s")
    terminal.read_until("train")
    terminal.read_until("loss")
    assert "\x1b[" in terminal.text  # it moves
    assert not COLOUR.search(terminal.text)  # NO_COLOR is set in every test's environment


def test_the_bar_has_colours_and_tells_of_eval_time_left_and_waiting_for_data(monkeypatch, capsys):
    """What a record of training and one of an evaluation leave on the screen, drawn once."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with open_bar() as bar:
        train = {"event": "train", "step": 5, "attempt": 1, "loss": 3.25, "tokens_per_s": 8123.4, "data_wait": 0.12}
        bar.event({"event": "eval", "step": 5, "attempt": 1, "time": 0.0, "loss": 3.5}, steps=20)
        bar.event(train, steps=20)
    shown = capsys.readouterr().out
    assert COLOUR.search(shown)
    for part in ("5/20", "loss 3.2500", "eval 3.5000", "8,123 tokens/s", "data wait 12%", "-:--:--"):
        assert part in shown


def test_a_terminal_that_can_do_nothing_gets_plain_lines(home, plugin, job, processes):
    env = {**home.env, **plugin, "SMALL": "finish", "TERM": "dumb"}
    opened = Terminal(["runjob", "--launcher", "small", str(job)], env, home.path)
    opened.read_until("is finished: all steps done")
    assert opened.end() == 0
    assert "\x1b" not in opened.text
    assert "\nstep 1/20  loss 4.0000  10 tokens/s\r\n" in opened.text
    os.close(opened.master)


def test_quiet_is_the_id_and_the_end(small, job, only_run):
    done = small("finish", "--launcher", "small", "--quiet", job)
    run = only_run().name
    assert done.stdout == f"{run}\n{run} is finished: all steps done\n"
    assert done.stderr == ""


def test_ctrl_c_asks_and_d_leaves_the_job_running(terminal: Terminal, only_run):
    terminal.read_until("tokens/s")
    terminal.type("\x03")
    terminal.read_until("d = detach")
    terminal.type("d\n")
    assert terminal.end() == 0
    assert RunDir(only_run()).read_status().state == "running"


def test_nothing_moves_under_the_question(terminal: Terminal):
    terminal.read_until("tokens/s")
    terminal.type("\x03")
    terminal.read_until("Enter = d: ")
    said = terminal.text
    time.sleep(1)  # a bar is drawn ten times a second
    assert not select.select([terminal.master], [], [], 0)[0]
    assert terminal.text == said
    terminal.type("\n")
    assert terminal.end() == 0


def test_ctrl_c_asks_and_s_saves_and_stops(terminal: Terminal, only_run):
    terminal.read_until("tokens/s")
    terminal.type("\x03")
    terminal.read_until("s = save and stop")
    terminal.type("s\n")
    assert terminal.end() == 130
    assert RunDir(only_run()).read_status().state == "cancelled"


def test_a_second_ctrl_c_detaches(terminal: Terminal, only_run):
    terminal.read_until("tokens/s")
    terminal.type("\x03")
    terminal.read_until("d = detach")
    terminal.type("\x03")
    assert terminal.end() == 0
    assert RunDir(only_run()).read_status().state == "running"


def test_plain_lines_are_few_but_evaluations_and_the_last_step_are_always_there(capsys):
    view = PlainView()
    for step in range(1, 11):
        view.event({"event": "train", "step": step, "loss": 1.0, "attempt": 1}, steps=10)
    view.event({"event": "eval", "step": 10, "loss": 0.5, "attempt": 1, "time": 0.0}, steps=10)
    status = Status(state="running", attempt=1, updated=0.0, message="stage train")
    view.status(status, note="")
    view.status(status, note="")
    assert capsys.readouterr().out.splitlines() == [
        "step 1/10  loss 1.0000",
        "step 10/10  loss 1.0000",
        "step 10/10  eval  loss 0.5000",
        "running: stage train",
    ]


def test_an_event_of_a_kind_unknown_here_is_told_by_its_short_facts():
    record = {
        "event": "early_stop",
        "step": 5,
        "time": 1.0,
        "attempt": 1,
        "best_step": 4,
        "long": "x" * 500,
        "list": [1],
    }
    assert event_line(record, steps=None) == "step 5  early stop  best step 4"


def test_a_sources_name_is_shown_as_it_is():
    record = {
        "event": "eval",
        "step": 5,
        "loss": 4.0,
        "loss/my_{1}.txt": 4.25,
        "loss/empty.txt": None,
        "rare_tokens": 1200,
    }
    assert event_line(record, steps=None) == "step 5  eval  loss 4.0000  loss/my_{1}.txt 4.2500  rare tokens 1,200"


def test_rows_that_are_left_out_are_shown_by_their_place():
    record = {
        "event": "bad_rows",
        "step": 5,
        "block": 2,
        "count": 1200,
        "first": ["a:row 1: is null", "a:row 7: is null"],
    }
    assert event_line(record, steps=9) == (
        "step 5/9  left out of block 2: 1,200 rows that can't be read\n  a:row 1: is null\n  a:row 7: is null"
    )
