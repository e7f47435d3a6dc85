"""Are the data of a resumed run still those that it began with? Asked by the prepare stage as soon as it knows what
there is now: before hours go into preparing another corpus, which the ranks would then refuse (start.py)."""

import json
from collections.abc import Mapping
from typing import Any

from runjob.schemas.errors import DataError
from runjob.schemas.manifest import folders_in
from runjob.schemas.run import RunDir

# Of a sha256, in a message
SHOWN = 12


def refuse_other_data(run: RunDir, origin: Mapping[str, Any]) -> None:
    """DataError if the run has a checkpoint and its store was made from something else than `origin`. Without a
    checkpoint it begins anew, with whatever there is."""
    checkpoints = [folder.name for folder in folders_in(run.checkpoints).values()]
    if not checkpoints or not run.data.exists():
        return
    began, now = run.read_data()["origin"], json.loads(json.dumps(origin))
    differing = [name for name in {**began, **now} if began.get(name) != now.get(name)]
    if differing:
        said = [f"{name}: {_short(began.get(name))} then, {_short(now.get(name))} now" for name in differing]
        raise DataError(belongs_elsewhere(checkpoints[-1], "data", said, data_changed=differing != ["tokenizer"]))


def belongs_elsewhere(checkpoint: str, to: str, differing: list[str], *, data_changed: bool) -> str:
    """The words of whoever notices that a checkpoint and a job don't fit; `to` is what may be another one."""
    back = "put the files of data.path back as they were then, or " if data_changed else ""
    return f"{checkpoint} belongs to other {to}: {'; '.join(differing)}; {back}start a new job for that"


def _short(value: object) -> str:
    if isinstance(value, dict) and "fingerprint" in value:
        value = value["fingerprint"]
    return value[:SHOWN] if isinstance(value, str) else json.dumps(value)
