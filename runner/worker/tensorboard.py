"""TensorBoard's files in the run directory: the numbers of events.jsonl as curves, the job's values as
hyper-parameters, and what the finished model wrote as text.

torch's writer is imported here alone, and only where a job asks for it: it costs the start 0.1 s.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from runjob.runner.worker.tracking import SENT, numbers
from runjob.schemas.run import RunDir, read_json


class TensorBoard:
    def __init__(self, run: RunDir, from_step: int) -> None:
        from torch.utils.tensorboard.summary import hparams

        self._writer = _open(run, from_step)
        # `add_hparams` would make a directory beside this one, and a run in it without curves
        for summary in hparams(dict(settings_of(read_json(run.job)["job"])), {"eval/loss": None}):
            self._writer.file_writer.add_summary(summary)

    def log(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        if event in SENT:
            for name, value in numbers(event, values).items():
                self._writer.add_scalar(name, value, step)
        if event == "samples":
            for number, sample in enumerate(values["texts"], start=1):
                said = sample["text"] if "text" in sample else f"*{sample['problem']}*"
                self._writer.add_text(f"samples/{number}", f"**{sample['prompt']}**\n\n{said}", step)

    def go_back(self, run: RunDir, step: int) -> None:
        self._writer.close()
        self._writer = _open(run, step)

    def close(self, step: int) -> None:
        self._writer.close()


def _open(run: RunDir, from_step: int) -> Any:  # noqa: ANN401 - torch's writer is untyped
    from torch.utils.tensorboard import SummaryWriter

    # purge_step hides what was written beyond the step that is gone on from
    return SummaryWriter(str(run.tensorboard), purge_step=from_step + 1 if from_step else None)


def settings_of(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    """Each value of a job by its dotted path; what says nothing (null) is left out.

    >>> dict(settings_of({"seed": 1, "data": {"path": ["a", "b"], "dtype": None}}))
    {'seed': 1, 'data.path': '["a", "b"]'}
    """
    for key, value in values.items():
        here = f"{path}{key}"
        if isinstance(value, dict):
            yield from settings_of(value, f"{here}.")
        elif isinstance(value, bool | int | float | str):
            yield here, value
        elif value is not None:
            yield here, json.dumps(value, ensure_ascii=False)
