"""What JSON Schema can't say about a job."""

from collections.abc import Mapping
from typing import Any

from runjob.schemas.problems import Mark, Problem


def find_broken_rules(values: dict[str, Any], marks: Mapping[str, Mark]) -> list[Problem]:
    return []
