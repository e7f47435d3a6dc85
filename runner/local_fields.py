"""Do the files of this machine have the field that a job reads? Asked of the first row of a source before a run exists,
so that nobody waits for a launch to hear of a misspelt column; `prepare` reads the rest."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from runjob.data.compression import DAMAGED, open_packed
from runjob.data.fields import open_parquet, without_field
from runjob.data.files import LIKE, is_remote, local_files
from runjob.runner.needs import sources_of
from runjob.schemas.errors import DataError, MissingError
from runjob.schemas.job_data import Data, HubData, JsonlData, MixData, MixedHub, MixedJsonl, MixedParquet, ParquetData


def find_other_fields(data: Data) -> Iterator[tuple[str, str]]:
    """(path in the job, what is wrong) of each source that has no such field."""
    if isinstance(data, JsonlData) and data.bad_rows == 0:
        for path, key in (("data.target", data.target), ("data.relations", data.relations)):
            for file in _first(data.path, "jsonl") if key is not None else ():
                if key is not None and (said := line_without(file, key)) is not None:
                    yield path, said
    for number, source in enumerate(sources_of(data)):
        said = None
        match source:
            case HubData() | MixedHub() if Path(source.path).is_absolute():
                said = none_has_column(sorted(Path(source.path).rglob("*.parquet")), source.field)
            case ParquetData() | MixedParquet():
                said = none_has_column(_first(source.path, "parquet"), source.field)
            # where rows may be bad, the first one says nothing of the others
            case JsonlData() | MixedJsonl() if data.bad_rows == 0:
                said = next(
                    filter(None, (line_without(file, source.field) for file in _first(source.path, "jsonl"))), None
                )
        if said is not None:
            yield (f"data.sources[{number}].field" if isinstance(data, MixData) else "data.field"), said


def none_has_column(files: list[Path], field: str) -> str | None:
    """What is said of the first file, where none has it: of a directory in Hub layout nobody knows which ones `subset`
    means."""
    problems = []
    for file in files:
        try:
            with file.open("rb") as raw:
                open_parquet(str(file), raw, field=field)
            return None
        except DataError as error:
            problems.append(str(error).removeprefix("data.field: "))
        except OSError:
            return None
    return problems[0] if problems else None


def line_without(file: Path, field: str) -> str | None:
    """What is said of the first line, if it is an object of other fields."""
    with contextlib.suppress(DataError, MissingError, ValueError, *DAMAGED), file.open("rb") as raw:
        line = open_packed(file, raw, name=str(file)).readline()
        row = json.loads(line)
        if isinstance(row, dict) and (said := without_field(row, field)) is not None:
            return f"{file}:1: {said}"
    return None


def _first(patterns: tuple[str, ...], kind: str) -> list[Path]:
    """The first file that is here; what is not is said elsewhere."""
    for pattern in patterns:
        with contextlib.suppress(MissingError):
            if not is_remote(pattern):
                return local_files(pattern, like=LIKE[kind])[:1]
    return []
