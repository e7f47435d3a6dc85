"""Where an attempt starts: the newest complete checkpoint, the one that `resume --from` named, or nowhere. Rank 0 reads
and verifies; the others believe it."""

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from torch import distributed

from runjob.runner.worker.checkpoint import Checkpoint, newest_complete, open_checkpoint
from runjob.runner.worker.same_data import belongs_elsewhere
from runjob.schemas.errors import CheckpointError
from runjob.schemas.manifest import folder_name, folders_in
from runjob.schemas.run import Attempt, RunDir, read_json, write_atomic


@dataclass(frozen=True, kw_only=True)
class Start:
    """`passed_over`: one line for each newer checkpoint that was damaged; `step` is -1 where the run begins anew, so
    that records of step 0 count as beyond it; `after_finish` where a finished run is lengthened."""

    checkpoint: Checkpoint | None
    passed_over: tuple[str, ...]
    after_finish: bool

    @property
    def step(self) -> int:
        return self.checkpoint.step if self.checkpoint is not None else -1


def choose_start(run: RunDir, attempt: Attempt, *, rank: int) -> Start:
    """Collective."""
    message: list[object] = [None]
    if rank == 0:
        message = [_tell(lambda: find_start(run, attempt))]
    if distributed.get_world_size() > 1:
        distributed.broadcast_object_list(message, src=0)
    found = message[0]
    if isinstance(found, CheckpointError):
        raise found
    assert isinstance(found, Start)
    if found.checkpoint is None:
        return found
    # on another host the run may lie elsewhere
    here = run.checkpoints / found.checkpoint.path.name
    return dataclasses.replace(found, checkpoint=dataclasses.replace(found.checkpoint, path=here))


def _tell(choose: Callable[[], Start]) -> Start | CheckpointError:
    """An error that rank 0 alone sees must reach the others, or they wait for it until a timeout."""
    try:
        return choose()
    except CheckpointError as error:
        return error


def find_start(run: RunDir, attempt: Attempt) -> Start:
    """What rank 0 finds; newer checkpoints are set aside. CheckpointError if there are some and none is whole."""
    wish = _wish(attempt)
    if wish.start_from == "latest":
        checkpoint, passed_over = newest_complete(run)
        if checkpoint is None and passed_over:
            raise CheckpointError(
                f"no checkpoint of {run.id} is complete: {'; '.join(passed_over)}; "
                "to begin again at step 0, move the checkpoints away"
            )
    elif wish.start_from == "best":
        checkpoint, passed_over = _best(run)
    else:
        checkpoint, passed_over = open_checkpoint(run.checkpoints / folder_name(int(wish.start_from))), []
    start = Start(checkpoint=checkpoint, passed_over=tuple(passed_over), after_finish=wish.after == "finished")
    set_aside(run, attempt, start.step)
    if checkpoint is not None:  # a run that was killed just before LATEST moved has a newer one than that names
        write_atomic(run.latest, checkpoint.path.name + "\n")
    return start


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What `runjob resume` asked for: where from, and the state that the job was in."""

    start_from: str
    after: str


def _wish(attempt: Attempt) -> Wish:
    """A first attempt has no resume.json."""
    file = attempt.path / "resume.json"
    if not file.exists():
        return Wish(start_from="latest", after="")
    raw = read_json(file)
    return Wish(start_from=str(raw["from"]), after=str(raw["after"]))


def _best(run: RunDir) -> tuple[Checkpoint, list[str]]:
    """The checkpoint that the newest complete one names as the best."""
    newest, passed_over = newest_complete(run)
    if newest is None or newest.state.best is None:
        raise CheckpointError(f"{run.id} has no best checkpoint yet (evaluation.best names the metric)")
    return open_checkpoint(run.checkpoints / folder_name(newest.state.best.step)), passed_over


def set_aside(run: RunDir, attempt: Attempt, step: int) -> None:
    """Checkpoints beyond the start are damaged or of a history that is left: they move to attempts/N/checkpoints."""
    for later, path in folders_in(run.checkpoints).items():
        if later > step:
            target = attempt.path / "checkpoints"
            target.mkdir(exist_ok=True)
            path.rename(target / path.name)
    for half_written in run.checkpoints.glob(".step-*.tmp"):
        shutil.rmtree(half_written)


def refuse_foreign(checkpoint: Checkpoint, identity: dict[str, object]) -> None:
    """CheckpointError naming everything in which the checkpoint belongs to another job."""
    differing = [
        f"{name}: {checkpoint.identity[name]} in the checkpoint, {value} now"
        for name, value in identity.items()
        if checkpoint.identity[name] != value
    ]
    if differing:
        changed = identity["data"] != checkpoint.identity["data"]
        said = belongs_elsewhere(checkpoint.path.name, "data or another model", differing, data_changed=changed)
        raise CheckpointError(said)
