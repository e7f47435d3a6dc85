"""A new job file onto the disk: never over another one, only if it is valid, and with the schema beside it that its
first line names, so that an editor needs neither network nor knowledge of where runjob is installed."""

import os
from pathlib import Path

from runjob.runner.new_job import Wishes, job_text, required_of
from runjob.runner.place import imagine, missing_here
from runjob.schemas.errors import JobError
from runjob.schemas.problems import JobFileError
from runjob.schemas.read import Resolved, read_job
from runjob.schemas.schema import BUNDLE, bundle_text


def write_job(wishes: Wishes, file: Path) -> tuple[Resolved, str]:
    """The job as read back, and what is to be said of its schema."""
    if not file.parent.is_dir():
        raise JobError(f"init -o {file}: no such directory: {file.parent}; `mkdir -p {file.parent}` makes it")
    schema = find_schema(file.parent)
    text = job_text(wishes, file, schema=os.path.relpath(schema, file.parent))
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
    return resolved, put_schema(schema, file)


def find_schema(folder: Path) -> Path:
    """Where a repository of jobs keeps its copy: beside the job, or one folder up, or in `schemas/` there. Where there
    is none, the place beside the job."""
    places = [folder / BUNDLE, folder / ".." / BUNDLE, folder / ".." / "schemas" / BUNDLE]
    return next((place for place in places if place.is_file()), places[0])


def put_schema(schema: Path, file: Path) -> str:
    """Another runjob's copy stays: a colleague's editor may go by it."""
    if not schema.is_file():
        schema.write_text(bundle_text(), encoding="utf-8")
        return f"wrote {schema}: by it an editor completes and checks {file.name}"
    if schema.read_bytes() != bundle_text().encode():
        shown = os.path.normpath(schema)
        return f"{shown} is another runjob's: `runjob schema > {shown}` makes it this one's"
    return ""


def left_to_say(resolved: Resolved, wishes: Wishes) -> tuple[str, ...]:
    """What only its author knows, and what is not here yet."""
    examples = required_of(wishes.launcher) if wishes.launcher != "local" else {}
    words = [
        f"yours to say   hardware.{wishes.launcher}.{key}: {value} is an example" for key, value in examples.items()
    ]
    missing = missing_here(resolved, imagine(resolved.job, wishes.launcher))
    return (*words, *(f"missing here   {line}" for line in missing))
