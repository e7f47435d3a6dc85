"""Where in a row a document's text stands: a field of a JSON line, a column of a Parquet file. Without numpy, so that
the submission can look at the files of this machine too."""

import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from runjob.schemas.errors import DataError

# Said of a row that begins an array: most often all of the file is one
WHOLE_ARRAY = "a file that is one array becomes lines with `jq -c '.[]' FILE`"


def without_field(row: Mapping[str, Any], field: str) -> str | None:
    """What is said of an object that has others."""
    if field in row:
        return None
    return f"has no field {field!r}, but {', '.join(map(repr, list(row)[:8])) or 'none at all'}"


def field_reader(field: str) -> Callable[[bytes], str]:
    """A reader of one string field out of a JSON object."""

    def read(data: bytes) -> str:
        return text_in(read_object(data, field), field)

    return read


def read_object(data: bytes, field: str) -> dict[str, Any]:
    """The object of a row, which has such a field."""
    try:
        row = json.loads(data.decode())
    except json.JSONDecodeError as error:
        hint = f"; {WHOLE_ARRAY}" if data.lstrip().startswith(b"[") else ""
        raise ValueError(f"is not JSON ({error.msg} at column {error.colno}){hint}") from error
    except RecursionError as error:
        raise ValueError("is not JSON that can be read (nested too deeply)") from error
    if not isinstance(row, dict):
        hint = f"; {WHOLE_ARRAY}" if isinstance(row, list) else ""
        raise ValueError(f"is {kind_of(row)} and not an object with the field {field!r}{hint}")
    if (said := without_field(row, field)) is not None:
        raise ValueError(said)
    return row


def text_in(row: Mapping[str, Any], field: str) -> str:
    text = row[field]
    if not isinstance(text, str):
        raise ValueError(f"field {field!r} is {kind_of(text)} and not a string")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"field {field!r} holds half a surrogate pair, which no UTF-8 can write")
    return text


def kind_of(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def open_parquet(name: str, raw: Any, *, field: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    """The Parquet file `raw`, called `name`, if it has such a column of text; else DataError."""
    pyarrow, parquet = import_pyarrow()
    try:
        opened = parquet.ParquetFile(raw)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{name}: can't be read as Parquet ({str(error).splitlines()[0]})") from error
    schema = opened.schema_arrow
    if field not in schema.names:
        raise DataError(f"data.field: {name} has no column {field!r}, but {', '.join(schema.names)}")
    texts = [column.name for column in schema if _holds_text(column.type, pyarrow.types)]
    if field not in texts:
        raise DataError(
            f"data.field: column {field!r} of {name} holds {schema.field(field).type} and not text; "
            f"columns of text: {', '.join(texts) or 'none'}"
        )
    return opened


def _holds_text(kind: Any, types: Any) -> bool:  # noqa: ANN401
    inner = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(inner) or types.is_large_string(inner))


def import_pyarrow() -> tuple[Any, Any]:
    """pyarrow comes with `datasets`; it is imported only by those who read Parquet."""
    return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
