"""A merged job as rules see it: values by dotted path, some of which may be missing or wrong."""

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any

from runjob.schemas.problems import WRONG, Mark
from runjob.schemas.quantities import Quantity, parse_quantity, parse_warmup


class Unknown(Exception):
    """A rule asked for a value that is not there or is wrong."""


class Values:
    """The merged job by dotted path, remembering what a rule has read (to see whether --set had a hand in it)."""

    def __init__(self, values: dict[str, Any], marks: Mapping[str, Mark]) -> None:
        self._values = values
        self._marks = marks
        self.read: list[str] = []

    def written(self, path: str) -> bool:
        """Does it stand in the file, or in a --set? Else it is a default, or not there."""
        return path in self._marks and not self._marks[path].is_default

    def __getitem__(self, path: str) -> Any:  # noqa: ANN401 - any JSON value
        self.read.append(path)
        here: Any = self._values
        for key in path.split("."):
            if not isinstance(here, dict) or key not in here or here[key] is WRONG:
                raise Unknown(path)
            here = here[key]
        if isinstance(here, list) and any(item is WRONG for item in here):
            raise Unknown(path)  # no rule can judge a list of which an item is missing
        return here

    def amount(self, path: str) -> Quantity | None:
        """A value with a unit (or a share of the run), or None for null."""
        value = self[path]
        if value is None:
            return None
        return parse_quantity(value) if isinstance(value, str) else parse_warmup(value)

    def watched(self) -> list[tuple[str, str]]:
        """(path, metric) of what the job goes by: its best checkpoint, its early stopping."""
        found = []
        for path in ("evaluation.best", "evaluation.early_stopping.metric"):
            with suppress(Unknown):
                found.append((path, self[path]))
        return [(path, metric) for path, metric in found if metric is not None]

    def in_run(self, path: str) -> Fraction | None:
        """An amount as a share of the run, or None where only the data can tell (epochs against steps)."""
        amount, length = self.amount(path), self.amount("training.length")
        if amount is None or length is None or not length.amount:
            return None
        if amount.unit == "share":
            return amount.amount
        if amount.unit == length.unit:
            return amount.amount / length.amount
        if {amount.unit, length.unit} == {"steps", "tokens"} and self["data.layout"] == "pack":
            tokens_per_step = self["training.global_batch"] * self["data.sequence_length"]
            in_steps = {"steps": Fraction(1), "tokens": Fraction(1, tokens_per_step)}
            return amount.amount * in_steps[amount.unit] / (length.amount * in_steps[length.unit])
        return None
