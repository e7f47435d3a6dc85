"""upload.json: how far the copy of a run at its `output.remote` is behind the run directory.

The uploader alone writes it (runner/worker/upload.py); the supervisor reads it for its last message, `status` for
people.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from runjob.schemas.json_object import read_object
from runjob.schemas.run import RunDir, write_json

UploadState = Literal["starting", "uploading", "waiting", "failing", "superseded", "finished"]


@dataclass(frozen=True, kw_only=True)
class Upload:
    """`there` and `here`: the newest complete checkpoint's step at either end; `uploading` the one on its way;
    `skipped`: checkpoints that were gone here before their turn came; `error`: why the last try failed."""

    url: str
    attempt: int
    state: UploadState
    there: int | None
    here: int | None
    uploading: int | None
    skipped: tuple[int, ...]
    model: bool
    error: str
    updated: float

    def write(self, run: RunDir) -> None:
        write_json(run.upload, dataclasses.asdict(self))

    def problem(self) -> str:
        """What is not there, in a sentence; empty where everything is that should be.

        >>> Upload(url="s3://b/p", attempt=1, state="failing", there=7, here=14, uploading=14, skipped=(), model=False,
        ...        error="the server answers 503", updated=0.0).problem()
        'the checkpoint of step 14 is only here, the newest at s3://b/p is of step 7: the server answers 503'
        """
        why = f": {self.error}" if self.error else ""
        if self.here is not None and self.there != self.here:
            newest = "none" if self.there is None else f"of step {self.there}"
            return f"the checkpoint of step {self.here} is only here, the newest at {self.url} is {newest}{why}"
        return f"not everything is at {self.url}{why}" if self.state != "finished" else ""

    def describe(self) -> str:
        """One line for `status`."""
        said = "no checkpoint there yet" if self.there is None else f"step {self.there} there"
        parts = [said, self.state if self.uploading is None else f"{self.state} step {self.uploading}"]
        if self.skipped:
            parts.append(f"skipped {', '.join(map(str, self.skipped))}")
        return f"{self.url}: {', '.join(parts)}" + (f": {self.error}" if self.error else "")


def read_upload(run: RunDir) -> Upload | None:
    """None where nothing is uploaded, nothing was yet, or the file is damaged: the uploader writes it anew."""
    raw = read_object(run.upload)
    try:
        return Upload(**{**raw, "skipped": tuple(raw["skipped"])})
    except (TypeError, KeyError):
        return None
