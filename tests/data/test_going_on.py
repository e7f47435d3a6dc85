"""A preparation that was broken off goes on after its last part, and what comes out is the same to the byte."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runjob.data.prepare import PreparedStore, Progress, Sizes, prepare
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import Data, FirstSplit, HashSplit
from tests.conftest import contents

QUARTER = HashSplit(kind="hash", validation=0.25, test=None)
SMALL = Sizes(batch=200, part=600)


class BrokenOffError(Exception):
    """As a process that is killed, but in ours."""


class Breaking:
    """Lets a stage report so many times, and at each of its batches; then it breaks the preparation off."""

    def __init__(self, stage: str, reports: int) -> None:
        self.stage = stage
        self.left = reports
        self.heard: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.heard.append(progress)
        if progress.stage == self.stage:
            if not self.left:
                raise BrokenOffError
            self.left -= 1
            time.sleep(0.21)  # longer than reports are held back for

    @property
    def stages(self) -> list[str]:
        return list(dict.fromkeys(progress.stage for progress in self.heard))


@pytest.fixture
def repeated(words: Path) -> Path:
    """The corpus with copies and lines of nothing between its documents."""
    lines = words.read_text(encoding="utf-8").splitlines()
    words.write_text("\n".join(f"{line}\n{lines[number // 2]}\n" for number, line in enumerate(lines)) + "\n")
    return words


def broken_off(data: Data, cache: Path, stage: str, reports: int) -> Breaking:
    breaking = Breaking(stage, reports)
    with pytest.raises(BrokenOffError):
        prepare(data, seed=1, cache=cache, report=breaking, sizes=SMALL)
    assert [path.name for path in (cache / "stores").iterdir() if len(path.name) == 64] == []
    return breaking


def gone_on(data: Data, cache: Path) -> tuple[PreparedStore, Breaking]:
    listening = Breaking("", 0)
    return prepare(data, seed=1, cache=cache, report=listening, sizes=Sizes(batch=330, part=500)), listening


@pytest.mark.parametrize(
    "settings",
    [
        {"split": QUARTER},
        {"split": QUARTER, "deduplicate": True, "min_length": 12},
        {"split": FirstSplit(kind="first", validation=30, test=40), "deduplicate": True},
        {"split": QUARTER, "token_budget": 5000},
    ],
    ids=["hash", "deduplicated", "first", "budget"],
)
@pytest.mark.parametrize("batches", [1, 6])
def test_a_store_that_was_broken_off_twice_is_the_same_to_the_byte(
    repeated: Path, tmp_path: Path, make_text, no_report: Callable[[Progress], None], settings: dict, batches: int
):
    data = make_text(repeated, **settings)
    whole = prepare(data, seed=1, cache=tmp_path / "whole", report=no_report)
    broken_off(data, tmp_path / "cache", "tokenising", batches)
    broken_off(data, tmp_path / "cache", "tokenising", 2)
    prepared, _ = gone_on(data, tmp_path / "cache")
    assert prepared.built
    assert contents(prepared.path) == contents(whole.path)
    assert [path.name for path in (tmp_path / "cache" / "stores").glob(".building-*")] == []


def test_no_stage_that_is_over_is_done_again(repeated: Path, tmp_path: Path, make_text):
    data = make_text(repeated, split=QUARTER, deduplicate=True)
    first = broken_off(data, tmp_path, "tokenising", 5)
    assert first.stages == ["reading", "looking for copies", "training the tokenizer", "tokenising"]
    prepared, second = gone_on(data, tmp_path)
    assert second.stages == ["reading", "finding the place again", "tokenising", "checking", "done"]
    tokenised = [progress for progress in second.heard if progress.stage == "tokenising"]
    kept = prepared.summary.train.documents + prepared.summary.validation.documents
    skipped = [progress for progress in second.heard if progress.stage == "finding the place again"][-1].documents
    assert 0 < skipped < kept
    assert tokenised[-1].documents == kept - skipped
    assert 0 < tokenised[0].share_before < tokenised[-1].share == 1


def test_broken_off_while_checking_nothing_is_read_again(repeated: Path, tmp_path: Path, make_text, no_report):
    data = make_text(repeated, split=QUARTER, token_budget=2000)
    whole = prepare(data, seed=1, cache=tmp_path / "whole", report=no_report)
    broken_off(data, tmp_path / "cache", "checking", 0)
    prepared, listening = gone_on(data, tmp_path / "cache")
    assert listening.stages == ["reading", "checking", "done"]
    assert contents(prepared.path) == contents(whole.path)


def test_what_was_not_yet_cleared_up_is_not_in_the_store(repeated: Path, tmp_path: Path, make_text, no_report):
    """As if killed between the summary and the rename."""
    data = make_text(repeated, split=QUARTER)
    whole = prepare(data, seed=1, cache=tmp_path, report=no_report)
    expected = contents(whole.path)
    building = whole.path.with_name(f".building-{whole.path.name}")
    whole.path.rename(building)
    (building / "unfinished").mkdir()
    (building / "unfinished" / "journal.json").write_text("{}")
    prepared, listening = gone_on(data, tmp_path)
    assert prepared.built
    assert listening.stages == ["reading", "done"]
    assert contents(prepared.path) == expected


def test_a_store_begun_by_other_versions_is_begun_anew(repeated: Path, tmp_path: Path, make_text):
    data = make_text(repeated, split=QUARTER)
    broken_off(data, tmp_path, "tokenising", 5)
    [journal] = tmp_path.glob("stores/.building-*/unfinished/journal.json")
    journal.write_text(journal.read_text().replace("tokenizers ", "tokenizers 9."))
    _, listening = gone_on(data, tmp_path)
    assert "finding the place again" not in listening.stages


def test_a_part_that_is_damaged_is_refused_and_cleared_away(repeated: Path, tmp_path: Path, make_text):
    data = make_text(repeated, split=QUARTER)
    broken_off(data, tmp_path, "tokenising", 5)
    [tokens] = tmp_path.glob("stores/.building-*/train/tokens.bin")
    there = tokens.read_bytes()
    tokens.write_bytes(bytes([there[0] ^ 1]) + there[1:])
    with pytest.raises(DataError, match=r"train/tokens\.bin: isn't what was written there"):
        gone_on(data, tmp_path)
    assert list(tmp_path.glob("stores/.building-*")) == []
    assert gone_on(data, tmp_path)[0].built


def test_a_corpus_that_changed_is_refused_before_the_next_part_and_leaves_nothing(words: Path, tmp_path, make_text):
    changed: list[float] = []

    def meddle(progress: Progress) -> None:
        if progress.stage == "tokenising" and not changed:
            with words.open("a") as file:
                file.write("a late line\n")
            changed.append(time.time())

    with pytest.raises(DataError, match="changed while it was being read"):
        prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=meddle, sizes=SMALL)
    assert list(tmp_path.glob("cache/stores/.building-*")) == []
