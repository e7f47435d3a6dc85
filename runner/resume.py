"""Go on with a job from its checkpoint: may it, with which changes, and who wins if two ask at once."""

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runjob.runner.asking import state_anew, state_soon
from runjob.runner.changes import Change, find_changes
from runjob.runner.lock import locked
from runjob.runner.moving import as_seen_there, bring_checkpoints, leave_behind
from runjob.runner.own_code import in_its_words
from runjob.runner.place import Place, foretell, plan_on, survey
from runjob.runner.promise import promise
from runjob.runner.remote_copy import bring_newer
from runjob.runner.runs import checkpoint_steps, launcher_name
from runjob.runner.submit import launch, write_plan
from runjob.schemas.errors import JobError, RunjobError, StateError
from runjob.schemas.frozen import refuse_damaged_code
from runjob.schemas.plan import Plan
from runjob.schemas.quantities import parse_quantity
from runjob.schemas.read import Resolved, override_job, read_job_json, write_job_json
from runjob.schemas.run import ALIVE_STATES, Attempt, RunDir, Status, read_json, write_json

# Between making the attempt and handing it over lie a few file writes: milliseconds, seconds on a bad disk.
ABANDONED_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user typed after `runjob resume ID`."""

    sets: tuple[str, ...] = ()
    start_from: str = "latest"
    accept: bool = False
    launcher: str | None = None


def resume(run: RunDir, wish: Wish, *, told: Callable[[str], None]) -> list[str]:
    """Start the next attempt; the lines say what is promised and why. StateError if the state forbids it. `told` hears
    what is brought home before the job leaves a place."""
    with locked(run, patience_s=0.0):
        status = state_anew(run)
        check_state(run, status, wish)
        launcher = wish.launcher or launcher_name(run)
        given_up = bring_checkpoints(run, status, accept=wish.accept, told=told)
        order = {"given_up": True} if given_up else {}
        given_up += bring_newer(run, told=told)
        status = refreshed(run, status, wish)
        start_from = check_start(run, wish.start_from)
        refuse_damaged_code(run.code)
        old = read_job_json(run.job)
        sets, said = drop_reached_pause(run, old, wish.sets)
        new = in_its_words(run, override_job(old, sets))
        changes = find_changes(old.values, new.values)
        check_changes(status, changes, wish)
        place = survey(new, launcher)
        plan = plan_on(new, place)
        old_plan, mended = earlier_plan(run, old, place)
        check_length(run, changes, plan, start_from)
        check_pause(run, new, start_from)
        told_first = foretell(new, place, done=steps_done(run, start_from))
        seen = as_seen_there(run, start_from)
        start_from = start_from if place.here else seen
        edited = edited_by_hand(run, old_plan)
        kept = edited and plan.deepspeed == old_plan.deepspeed
        attempt = next_attempt(run, status)
        keep_earlier(run, attempt)
        said += [*damage_passed_over(run, status), *mended, *given_up, *told_first, where_from(run, start_from)]
        said += tell_of_edit(kept=kept, attempt=attempt) if edited else []
        said += promise(run, changes, old_plan, plan, place, edited=kept)
        write_job_json(run.job, new)
        write_plan(run, plan, deepspeed=not kept)
        if not place.here:
            leave_behind(run, attempt, start_from)
        there = {"from": start_from, "step": steps_done(run, seen), "after": status.state, **order}
        write_json(attempt.path / "resume.json", there)
        launch(run, plan, attempt, launcher=launcher)
    return said


def refreshed(run: RunDir, status: Status, wish: Wish) -> Status:
    """The state again if a later attempt has come to light, which was begun on another machine and may run there."""
    if stored_attempt(run) in (None, status.attempt):
        return status
    newer = state_soon(run)
    check_state(run, newer, wish)
    return newer


def damage_passed_over(run: RunDir, status: Status) -> list[str]:
    """Of status.json, which the new attempt writes anew: all that it said, the attempts' own files say too."""
    return [status.message] if stored_attempt(run) is None else []


def stored_attempt(run: RunDir) -> int | None:
    """None where status.json is damaged: `status` then speaks of the newest attempt there is."""
    try:
        return run.read_status().attempt
    except RunjobError:
        return None


def check_state(run: RunDir, status: Status, wish: Wish) -> None:
    if status.state in ALIVE_STATES:
        raise StateError(f"{run.id} is {status.state}; `runjob cancel {run.id}` first, or `runjob logs -f {run.id}`")
    if status.state == "unreachable" and not wish.accept:
        raise StateError(
            f"{run.id} is unreachable: {status.message}. The old process may still run; with --accept the job goes on "
            "from the newest checkpoint here, and whatever the old one writes is never taken back"
        )
    if status.state == "finished" and not any(one.startswith("training.length=") for one in wish.sets):
        raise StateError(
            f'{run.id} is finished; to train longer say so: `runjob resume {run.id} --set training.length="... steps"`'
        )


def check_start(run: RunDir, wanted: str) -> str | int:
    """`latest`, `best`, or a step of which there is a checkpoint."""
    if wanted in ("latest", "best"):
        return wanted
    there = checkpoint_steps(run)
    if not wanted.isdecimal():
        raise JobError(f"--from {wanted}: expected a step such as 500, `best` or `latest`")
    if int(wanted) not in there:
        listing = ", ".join(map(str, there)) or "none"
        raise StateError(f"--from {wanted}: {run.id} has no checkpoint of this step; there are: {listing}")
    return int(wanted)


def where_from(run: RunDir, start_from: str | int) -> str:
    there = checkpoint_steps(run)
    if not there:
        return "there is no checkpoint yet: it begins again at step 0"
    step = there[-1] if start_from == "latest" else start_from
    return f"goes on from its {step} checkpoint" if step == "best" else f"goes on from the checkpoint of step {step}"


def drop_reached_pause(run: RunDir, old: Resolved, sets: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """A `stop_after` that was reached has done its work; left in, every resume would stop at once again."""
    pause = old.job.training.stop_after
    touched = any(one.startswith("training.stop_after=") for one in sets)
    # it saves where it pauses, and so tells of it also where its exit.json is gone
    reached = max([*checkpoint_steps(run), *ends_of(run)], default=0)
    if pause is None or touched or pause.amount > reached:
        return tuple(sets), []
    said = f"training.stop_after: {pause} is reached and dropped; the job goes on to {old.job.training.length}"
    return (*sets, "training.stop_after=null"), [said]


def check_changes(status: Status, changes: Sequence[Change], wish: Wish) -> None:
    """StateError with every change that may not be, or that wants --accept and did not get it."""
    refused = [change for change in changes if change.verdict == "refused"]
    if refused:
        raise StateError("\n".join([*map(str, refused), "start a new job for that"]))
    shorter = [change for change in changes if change.path == "training.length" and not is_longer(change)]
    if status.state == "finished" and (shorter or not any(change.path == "training.length" for change in changes)):
        raise StateError("training.length: a finished job only goes on with a longer one, in the same unit")
    # Whoever sets a longer length of a finished job has said what is meant; there is nothing else to accept.
    granted = {"training.length"} if status.state == "finished" else set()
    wanting = [change for change in changes if change.verdict == "accept" and change.path not in granted]
    if wanting and not wish.accept:
        raise StateError("\n".join([*map(str, wanting), "if that is meant, say it with --accept"]))


def steps_done(run: RunDir, start_from: str | int) -> int:
    """Steps that the next attempt need not make again; after `best` they may be more."""
    there = checkpoint_steps(run)
    return start_from if isinstance(start_from, int) else max(there, default=0)


def check_length(run: RunDir, changes: Sequence[Change], plan: Plan, start_from: str | int) -> None:
    """A length that lies at or behind the checkpoint leaves nothing to train."""
    there = checkpoint_steps(run)
    if not there or plan.steps is None or not any(change.path == "training.length" for change in changes):
        return
    start = steps_done(run, start_from)
    if plan.steps <= start:
        raise StateError(
            f"training.length: {plan.steps} steps are over at the checkpoint of step {start}; "
            f"`--from STEP` goes back to an earlier one ({', '.join(map(str, there))})"
        )


def check_pause(run: RunDir, new: Resolved, start_from: str | int) -> None:
    """A pause that lies at or behind the checkpoint would come after one step."""
    pause, start = new.job.training.stop_after, steps_done(run, start_from)
    if pause is not None and start_from != "best" and pause.amount <= start:
        raise StateError(
            f"training.stop_after: {pause} is behind it, {run.id} goes on from the checkpoint of step {start}; write "
            "more, or null to go on to the end"
        )


def is_longer(change: Change) -> bool:
    old, new = parse_quantity(change.old), parse_quantity(change.new)
    return old.unit == new.unit and new.amount > old.amount


def next_attempt(run: RunDir, status: Status) -> Attempt:
    """mkdir decides, also where locks don't work: it makes the attempt after the one that was looked at, or nothing."""
    path = run.attempts / str(status.attempt + 1)
    try:
        path.mkdir()
    except FileExistsError as error:
        if abs(time.time() - path.stat().st_mtime) < ABANDONED_S:  # a clock that was set back makes it a time to come
            raise StateError(f"{run.id} is being resumed by somebody else (attempt {path.name} exists)") from error
        # A resume that was killed before it handed its attempt over; only one of those who see it can move it.
        path.rename(path.with_name(f"{path.name}.abandoned-{secrets.token_hex(4)}"))
        return next_attempt(run, status)
    return Attempt(path)


def ends_of(run: RunDir) -> Iterator[int]:
    """At which step each attempt ended, as far as that can be read."""
    for attempt in run.list_attempts():
        with contextlib.suppress(RunjobError):
            if (end := attempt.read_exit()) is not None:
                yield end.step


def earlier_plan(run: RunDir, old: Resolved, place: Place) -> tuple[Plan, list[str]]:
    """What the last attempt was planned as; compiled once more from its job where plan.json is damaged, and said."""
    try:
        return Plan.read(run.plan), []
    except RunjobError as error:
        return plan_on(old, place), [f"{error}; it is compiled anew from job.json"]


def edited_by_hand(run: RunDir, plan: Plan) -> bool:
    """Is deepspeed.json another than the one that was compiled?"""
    try:
        return run.deepspeed.exists() and bool(read_json(run.deepspeed) != dict(plan.deepspeed))
    except RunjobError as error:
        raise RunjobError(f"{error}; delete it, and it is compiled anew from the job") from error


def tell_of_edit(*, kept: bool, attempt: Attempt) -> list[str]:
    if kept:
        return ["deepspeed.json was edited by hand and is used as it stands; the job file says otherwise"]
    earlier = f"attempts/{attempt.number - 1}/deepspeed.json"
    return [f"deepspeed.json was edited by hand; the changed job compiles it anew, the edited one is in {earlier}"]


def keep_earlier(run: RunDir, attempt: Attempt) -> None:
    """job.json, plan.json, deepspeed.json and handle.json are the newest attempt's; earlier ones are in attempts/N/."""
    earlier = run.attempt(attempt.number - 1)
    for path in (run.job, run.plan, run.deepspeed, run.handle):
        if path.exists():
            shutil.copyfile(path, earlier.path / path.name)
