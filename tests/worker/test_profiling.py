"""Which steps are watched; what a whole run says of them stands in tests/end_to_end/test_exact_resume.py."""

from pathlib import Path

import pytest
import torch

from runjob.runner.worker.profiling import Profiled, Profiler
from runjob.schemas.job import Profile


def watch(profiler: Profiler, *steps: int) -> list[Profiled | None]:
    """What is known after each step of a network that multiplies once a step."""
    found = []
    for step in steps:
        profiler.before(step)
        torch.mm(torch.ones(8, 8), torch.ones(8, 8))
        found.append(profiler.after(step))
    return found


def calls(profiled: Profiled | None) -> int:
    assert profiled is not None
    (found,) = [operator.calls for operator in profiled.top if operator.name == "aten::mm"]
    return found


@pytest.mark.parametrize(
    ("steps", "first", "last"),
    [
        ((1, 2, 3, 4, 5), 2, 4),
        ((3, 4, 5), 3, 4),  # an attempt that goes on from step 2
    ],
)
def test_the_named_steps_are_watched_as_far_as_an_attempt_makes_them(
    tmp_path: Path, steps: tuple[int, ...], first: int, last: int
) -> None:
    found = watch(Profiler(Profile(first=2, last=4), tmp_path / "profile", cuda=False), *steps)
    (profiled,) = [one for one in found if one is not None]
    assert (profiled.first, profiled.last, calls(profiled)) == (first, last, last - first + 1)
    assert profiled.to_event(tmp_path)["table"] == f"profile/steps-{first}-{last}.txt"


def test_a_loop_that_ends_before_the_last_of_them_keeps_what_was_seen(tmp_path: Path) -> None:
    profiler = Profiler(Profile(first=2, last=9), tmp_path / "profile", cuda=False)
    assert watch(profiler, 1, 2, 3) == [None, None, None]
    profiled = profiler.end(3)
    assert calls(profiled) == 2
    assert profiler.end(3) is None


@pytest.mark.parametrize("wanted", [None, Profile(first=20, last=21)])
def test_nothing_is_watched_or_written_otherwise(tmp_path: Path, wanted: Profile | None) -> None:
    profiler = Profiler(wanted, tmp_path / "profile", cuda=False)
    assert watch(profiler, 1, 2) == [None, None]
    assert profiler.end(2) is None
    assert not (tmp_path / "profile").exists()
