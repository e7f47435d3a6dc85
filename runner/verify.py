"""`verify-resume`: does a job that is killed and resumed equal one that never was, and one that never saved?

Three runs of one job file, side by side in a folder of their own: straight; killed with SIGKILL, supervisor and ranks
together, at each of the named steps and resumed; and with `training.checkpoint.every=never`. Compared are the batches,
every train and eval record, and the bytes of the final weights.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.launchers.kill import kill_everything
from runjob.runner.from_run import settle_runs
from runjob.runner.place import plan_on, survey
from runjob.runner.resume import Wish, resume
from runjob.runner.runs import checkpoint_steps, read_progress, state_of
from runjob.runner.submit import create_run, launch
from runjob.runner.text import print_json, table
from runjob.schemas.errors import RunjobError
from runjob.schemas.read import read_job
from runjob.schemas.run import ALIVE_STATES, RunDir, list_runs

# They tell of the clock and of the attempt, not of what was computed.
UNCOMPARED = frozenset({"time", "attempt", "data_wait", "tokens_per_s", "samples_per_s", "memory"})
# Step (or file) -> what is compared of it.
Records = dict[Any, dict[str, Any]]
POLL_S = 0.02
SHOWN_DIFFERENCES = 5


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One line of the table: what was compared, how much of it, and the first differences."""

    what: str
    against: str
    compared: int
    differences: tuple[str, ...]


def verify(
    file: Path, sets: Sequence[str], *, kill_at: tuple[int, ...], home: Path, launcher: str, as_json: bool
) -> bool:
    """True if everything is equal; prints the table."""
    note = _say_nothing if as_json else _say
    # Every step is compared, however seldom the job writes one down, and these runs are thrown away, so nobody wants
    # copies of them elsewhere; what the user sets comes last and stands.
    sets = ("training.log_every=1 steps", "output.remote=null", *sets)
    with contextlib.ExitStack() as at_end:
        at_end.callback(end_all, home)
        straight = start(file, sets, home, launcher)
        note(f"straight: {straight.id}")
        wait_for_end(straight)
        total = last_step(straight)
        moments = tuple(sorted(kill_at)) or tuple(sorted({max(1, total // 3), max(1, 2 * total // 3)}))
        killed = start(file, sets, home, launcher)
        note(f"killed at {', '.join(map(str, moments))}: {killed.id}")
        kills = [kill_and_resume(killed, step, launcher) for step in moments]
        wait_for_end(killed)
        # Best checkpoints too are left out: only the last step is saved, when nothing can change any more.
        never = ("training.checkpoint.every=never", "evaluation.best=null", "evaluation.early_stopping=null")
        unsaved = start(file, [*sets, *never], home, launcher)
        note(f"without a checkpoint: {unsaved.id}")
        wait_for_end(unsaved)
    if not any(one.resumed_from is not None and one.resumed_from < total for one in kills):
        said = ", ".join(f"step {one.asked}: {one.said}" for one in kills)
        raise RunjobError(
            f"no kill came before the last step was saved ({said}): no step was trained again and nothing is shown; "
            "take earlier moments for --kill-at, or a longer training.length"
        )
    found = [*compare(straight, killed, "killed and resumed"), *compare(straight, unsaved, "never saved")]
    report(found, [f"step {one.asked}: {one.said}" for one in kills], as_json=as_json)
    return not any(one.differences for one in found)


def end_all(home: Path) -> None:
    """Whatever ends the comparison, Ctrl-C included, ends its runs: nobody else knows of them."""
    for run in list_runs(home):
        if state_of(run).state in ALIVE_STATES:
            kill_everything(run)


def start(file: Path, sets: Sequence[str], home: Path, launcher: str) -> RunDir:
    resolved = settle_runs(read_job(file, sets))
    plan = plan_on(resolved, survey(resolved, launcher))
    run = create_run(resolved, plan, source=file, home=home, launcher=launcher)
    launch(run, plan, run.attempt(1), launcher=launcher)
    return run


def wait_for_end(run: RunDir) -> None:
    """Until it finished; any other end makes the comparison meaningless."""
    while (status := state_of(run)).state in ALIVE_STATES:
        time.sleep(POLL_S)
    if status.state != "finished":
        raise RunjobError(f"{run.id} is {status.state} instead of finished: {status.message} (see {run.path})")


@dataclass(frozen=True, kw_only=True)
class Kill:
    """The step that was `asked` for, the one that training was `resumed_from` (None: it had ended before), in words."""

    asked: int
    resumed_from: int | None
    said: str


def kill_and_resume(run: RunDir, step: int, launcher: str) -> Kill:
    """SIGKILL to the whole tree once the step is reached, then resume; says which step it really was."""
    while state_of(run).state in ALIVE_STATES and step_reached(run) < step:
        time.sleep(POLL_S)
    if state_of(run).state not in ALIVE_STATES:
        return Kill(asked=step, resumed_from=None, said="it had ended before it could be killed")
    kill_everything(run)
    while state_of(run).state in ALIVE_STATES:
        time.sleep(POLL_S)
    reached, newest = step_reached(run), max(checkpoint_steps(run), default=0)
    said = resume(run, Wish(launcher=launcher), told=_say_nothing)
    return Kill(asked=step, resumed_from=newest, said=f"killed at {reached}; {said[0]}")


def step_reached(run: RunDir) -> int:
    """The newest step of any attempt: what an earlier one reached is reached."""
    progress = read_progress(run)
    return int(progress["step"]) if "step" in progress else 0


def last_step(run: RunDir) -> int:
    return max((record["step"] for record in run.read_events()), default=0)


def compare(straight: RunDir, other: RunDir, against: str) -> list[Comparison]:
    records = {kind: (records_of(straight, kind), records_of(other, kind)) for kind in ("train", "eval")}
    old_train, new_train = records["train"]
    rows = [
        ("batches", batches_of(old_train), batches_of(new_train)),
        ("train records", old_train, new_train),
        ("eval records", *records["eval"]),
        ("final weights", weight_hashes(straight), weight_hashes(other)),
    ]
    return [
        Comparison(what=what, against=against, compared=len(old), differences=tuple(differences(old, new)))
        for what, old, new in rows
    ]


def batches_of(train: Records) -> Records:
    return {step: {"batch": record["batch"]} for step, record in train.items()}


def records_of(run: RunDir, kind: str) -> Records:
    """Step -> record without its clock; a step that stands twice is a difference of its own."""
    found: Records = {}
    for record in run.read_events():
        if record["event"] == kind:
            key = record["step"] if record["step"] not in found else f"{record['step']} (again)"
            found[key] = {name: value for name, value in record.items() if name not in UNCOMPARED}
    return found


def weight_hashes(run: RunDir) -> Records:
    """Weights and both moments of the last step, as its checkpoint holds them."""
    files = sorted((run.checkpoints / run.latest.read_text(encoding="utf-8").strip()).glob("*.safetensors"))
    return {path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in files}


def differences(old: Records, new: Records) -> Iterator[str]:
    if not old:
        yield "there is nothing to compare"
    for key in [*old, *(key for key in new if key not in old)]:
        if key not in old or key not in new:
            yield f"{key}: only in the {'straight' if key in old else 'other'} run"
        elif old[key] != new[key]:
            fields = sorted({*old[key], *new[key]})
            differing = [name for name in fields if old[key].get(name) != new[key].get(name)]
            yield f"{key}: " + ", ".join(f"{name} {old[key].get(name)} != {new[key].get(name)}" for name in differing)


def report(found: Sequence[Comparison], kills: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        rows = [{**vars(one), "differences": list(one.differences)} for one in found]
        print_json({"equal": not any(one.differences for one in found), "kills": list(kills), "comparisons": rows})
        return
    print("\n".join(kills))
    head = ["COMPARED", "AGAINST", "NUMBER", "DIFFERENT"]
    print(table(head, [[one.what, one.against, str(one.compared), str(len(one.differences))] for one in found]))
    for one in found:
        for line in one.differences[:SHOWN_DIFFERENCES]:
            print(f"{one.what}, {one.against}: {line}")


def _say(text: str) -> None:
    print(text, flush=True)


def _say_nothing(text: str) -> None:
    return
