"""A new job file onto the disk: never over another one, only if it is valid, and with the schema beside it that its
first line names, so that an editor needs neither network nor knowledge of where runjob is installed."""

from pathlib import Path

from runjob.runner.new_job import Wishes, job_text, required_of
from runjob.runner.place import imagine, missing_here
from runjob.schemas.errors import JobError
from runjob.schemas.problems import JobFileError
from runjob.schemas.read import Resolved, read_job
from runjob.schemas.schema import BUNDLE, bundle_text


def write_job(wishes: Wishes, file: Path) -> tuple[Resolved, Path | None]:
    """The job as read back, and the schema's copy where it was written."""
    if not file.parent.is_dir():
        raise JobError(f"init -o {file}: no such directory: {file.parent}; `mkdir -p {file.parent}` makes it")
    text = job_text(wishes, file)
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise JobError(f"init -o {file}: is there already and stays as it is; name another with -o FILE") from None
    except OSError as error:
        raise JobError(f"init -o {file}: can't be written: {error.strerror}; name another with -o FILE") from None
    try:
        resolved = read_job(file)
    except JobFileError:
        file.unlink()  # what was asked for does not fit together; the error says where
        raise
    return resolved, copy_schema(file.parent)


def copy_schema(folder: Path) -> Path | None:
    """Beside the job, unless one is there: another runjob's may be what a colleague's editor goes by."""
    copy = folder / BUNDLE
    if copy.exists():
        return None
    copy.write_text(bundle_text(), encoding="utf-8")
    return copy


def left_to_say(resolved: Resolved, wishes: Wishes) -> tuple[str, ...]:
    """What only its author knows, and what is not here yet."""
    examples = required_of(wishes.launcher) if wishes.launcher != "local" else {}
    words = [
        f"yours to say   hardware.{wishes.launcher}.{key}: {value} is an example" for key, value in examples.items()
    ]
    missing = missing_here(resolved, imagine(resolved.job, wishes.launcher))
    return (*words, *(f"missing here   {line}" for line in missing))
