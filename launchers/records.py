"""What of a run comes home from a copy of it elsewhere: news while it runs, small and brought by themselves; and the
folders that are large and wait until they are fetched. Home's own files (job, handle, code) never come from there."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from runjob.schemas.run import RunDir

SMALL = ("progress.json", "data.json", "init.json", "statistics.json", "wandb.json", "upload.json")
# Of attempts/N what home itself wrote
NO_NEWS = ("stop.json", "resume.json", "plan.json", "deepspeed.json", "job.json", "handle.json")
# Beside the checkpoints, which have their own way
FETCHED = ("model", "tensorboard", "wandb", "profile")


def small_records(run: RunDir) -> Iterator[Path]:
    """Without the attempts' own files; events last."""
    yield from (run.path / name for name in SMALL if (run.path / name).is_file())
    yield from (path for path in (run.stream.glob("*.json*") if run.stream.is_dir() else ()) if is_news(path.name))
    if run.events.is_file():
        yield run.events


def news(run: RunDir) -> list[Path]:
    """All that is brought home while the job runs, events last; status.json goes its own way."""
    own = [path for attempt in run.list_attempts() for path in attempt.path.iterdir() if path.is_file()]
    return [*(path for path in own if is_news(path.name)), *small_records(run)]


def is_news(name: str) -> bool:
    return not name.startswith(".") and name not in NO_NEWS


def may_come(name: PurePosixPath) -> bool:
    """Is this one of a run's news, by its name below the run directory?"""
    match name.parts:
        case (one,):
            return one in (*SMALL, "events.jsonl")
        case ("attempts", number, file):
            return number.isdecimal() and is_news(file)
        case ("stream", file):
            return is_news(file)
    return False
