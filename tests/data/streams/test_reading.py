"""Reading a streamed data set: from any place, before training, and into blocks."""

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runjob.data.normalize import NOTHING
from runjob.data.prepare import Progress
from runjob.data.streaming import FIRST, Reading, open_streamed
from runjob.data.streaming_prepare import prepare_stream
from runjob.data.terms import read_table
from runjob.schemas.errors import DataError, JobError, MissingError
from runjob.schemas.job_data import CharacterTokenizer, FirstSplit, PretrainedTokenizer
from tests.data.streams.conftest import SitDown, hub


@pytest.mark.parametrize("layout", ["published", "lines"])
def test_from_any_state_the_document_that_comes_next_is_read(
    layout: str, request: pytest.FixtureRequest, tokenizer: Path
) -> None:
    streamed = open_streamed(hub(request.getfixturevalue(layout), tokenizer), commit=None)
    reading = streamed.read(FIRST)
    seen = [(document.text, json.dumps(reading.state)) for document in reading.documents()]
    assert len(seen) == {"published": 195, "lines": 200}[layout]
    for place in (0, 6, 7, 12, 13, 38, 39, 99, 100, 193, len(seen) - 1):
        again: Reading = streamed.read(json.loads(seen[place][1]))
        assert [document.text for document in again.documents()] == [text for text, _ in seen[place + 1 :]]


def test_a_copy_of_a_data_set_is_the_same_source_and_a_changed_one_is_not(published: Path, tokenizer: Path) -> None:
    def identity(path: Path) -> str:
        return open_streamed(hub(path, tokenizer), commit=None).identity

    first = identity(published)
    moved = published.rename(published.with_name("moved"))
    assert identity(moved) == first
    changed = moved / "data" / "train-00003-of-00005.parquet"
    pq.write_table(pa.table({"id": range(40), "text": ["other"] * 40}), changed)
    assert identity(moved) != first


def test_what_can_not_be_streamed_is_named(published: Path, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.field: .*no column 'body', but id, text"):
        open_streamed(hub(published, tokenizer, field="body"), commit=None)
    with pytest.raises(JobError, match="Bad split: dev"):
        open_streamed(hub(published, tokenizer, subset="dev"), commit=None)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", Path("nobody/nothing")):
        with pytest.raises(MissingError, match=rf"data\.path: .*{path.name} can't be streamed"):
            open_streamed(hub(path, tokenizer), commit=None)


def test_characters_are_streamed_like_tokens(published: Path, texts: list[str], sit_down: SitDown) -> None:
    data = dataclasses.replace(hub(published, Path()), tokenizer=CharacterTokenizer(kind="characters"))
    desk = sit_down(data)
    desk.provide(range(1))
    (first, *_) = desk.index.records
    side = desk.folder.side(first)
    found = ["".join(map(chr, side.document(number).tolist())) for number in range(first.documents)]
    kept = [text for number, text in enumerate(texts) if number % 40 not in (13, 14)]
    assert found == kept[15:45]


def test_a_row_without_text_is_named(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "gaps").mkdir()
    pq.write_table(pa.table({"text": ["one", None, "three"]}), tmp_path / "gaps" / "train.parquet")
    streamed = open_streamed(hub(tmp_path / "gaps", tokenizer), commit=None)
    with pytest.raises(DataError, match=r"train\.parquet:row 2: column 'text' holds NoneType and not a string"):
        list(streamed.read(FIRST).documents())


def test_a_file_that_is_other_than_the_first_is_named_with_the_place(lines: Path, tokenizer: Path) -> None:
    streamed = open_streamed(hub(lines, tokenizer), commit=None)
    (lines / "train-1.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one", "id": 1}\n{broken\n'))
    said = r"train-1\.jsonl\.gz: can't be read behind row 0 \(JSON parse error: .* row 1\)"
    with pytest.raises(DataError, match=said):
        list(streamed.read(FIRST).documents())


def test_a_share_of_bad_rows_is_left_out_and_judged_block_by_block(
    tmp_path: Path, texts: list[str], tokenizer: Path, sit_down: SitDown
) -> None:
    rows: list[str | None] = [*texts[:60]]
    rows[20] = None
    rows[50:54] = [None, "with NUL \0 inside", None, None]
    (tmp_path / "gaps").mkdir()
    pq.write_table(pa.table({"text": rows}), tmp_path / "gaps" / "train.parquet")
    data = hub(tmp_path / "gaps", tokenizer, bad_rows=0.1, block_documents=20)
    desk = sit_down(data, ahead=0)
    desk.provide(range(1))
    (record,) = desk.index.records
    assert record.left_out.bad == 1
    file = tmp_path / "gaps" / "train.parquet"
    assert record.bad_rows == (f"{file}:row 21: column 'text' holds NoneType and not a string",)
    for again in (
        desk,
        sit_down(data, ahead=0),
    ):  # going on, or opening the source there anew
        with pytest.raises(DataError) as refused:
            again.provide(range(desk.index.rows, desk.index.rows + 1))
        first, second, *_, last = str(refused.value).splitlines()
        assert first.startswith(f"{file}:row 51: column") and second.startswith(f"{file}:row 52: holds the character")
        assert last.startswith("4 rows of 24 can't be read (16.7 %, where bad_rows allows 10 %)")


def test_a_block_that_the_budget_ends_is_judged_too(
    tmp_path: Path, texts: list[str], tokenizer: Path, sit_down: SitDown
) -> None:
    (tmp_path / "gaps").mkdir()
    rows = [text if place < 20 or place % 2 else None for place, text in enumerate(texts[:60])]
    pq.write_table(pa.table({"text": rows}), tmp_path / "gaps" / "train.parquet")
    desk = sit_down(hub(tmp_path / "gaps", tokenizer, bad_rows=0.1, token_budget=400), ahead=0)
    with pytest.raises(DataError, match=r"can't be read \(\d+\.?\d* %, where bad_rows allows 10 %\)"):
        desk.provide(range(1))


# --- before training --------------------------------------------------------------------------------------------


def test_the_first_documents_are_for_validation_and_test_alone(
    published: Path, tokenizer: Path, sit_down: SitDown, texts: list[str]
) -> None:
    desk = sit_down(hub(published, tokenizer))
    summary = desk.store.summary
    assert summary.test is not None
    assert (summary.validation.documents, summary.test.documents, summary.train.documents) == (10, 5, 0)
    desk.provide(range(1))
    kept = [text for place, text in enumerate(texts) if place % 40 not in (13, 14)]
    assert desk.documents(desk.index.records[0]) == kept[15:45]


def test_a_stream_that_is_prepared_is_found_again(
    published: Path, tokenizer: Path, tmp_path: Path, no_report: Callable[[Progress], None]
) -> None:
    first, again, other = (
        prepare_stream(
            hub(published, tokenizer, min_length=length), commit=None, cache=tmp_path, report=no_report, say=print
        ).store
        for length in (3, 3, 4)
    )
    assert (first.built, again.built, other.built) == (True, False, True)
    assert again.path == first.path != other.path


def test_a_stream_is_normalised_and_its_tokenizer_extended_as_for_prepared_data(
    published: Path, tokenizer: Path, sit_down: SitDown, texts: list[str], tmp_path: Path
) -> None:
    (tmp_path / "terms.txt").write_text("OLENELLUS\n")
    extended = PretrainedTokenizer(
        kind="pretrained", path=str(tokenizer), revision=None, terms={"taxa": str(tmp_path / "terms.txt")}
    )
    changed = dataclasses.replace(NOTHING, lowercase=True, whitespace="collapse")
    desk = sit_down(dataclasses.replace(hub(published, tokenizer, normalize=changed), tokenizer=extended))
    table = read_table(desk.store.tokenizer)
    assert table is not None and list(table.categories["taxa"]) == ["OLENELLUS"]
    assert desk.store.path != sit_down(hub(published, tokenizer), desk="plain").store.path
    desk.provide(range(1))
    kept = [" ".join(text.lower().split()) for place, text in enumerate(texts) if place % 40 not in (13, 14)]
    assert desk.documents(desk.index.records[0]) == kept[15:45]


def test_a_stream_shorter_than_its_split_is_refused(
    published: Path, tokenizer: Path, tmp_path: Path, no_report: Callable[[Progress], None]
) -> None:
    data = hub(published, tokenizer, split=FirstSplit(kind="first", validation=500, test=None))
    with pytest.raises(DataError, match=r"data\.split\.validation: 500 documents asked for, and the stream has 190"):
        prepare_stream(data, commit=None, cache=tmp_path, report=no_report, say=print)
    assert not [path for path in (tmp_path / "stores").iterdir() if path.suffix != ".lock"]


# --- blocks -----------------------------------------------------------------------------------------------------


def test_every_turn_gives_every_document_once_and_starts_behind_the_split(
    published: Path, tokenizer: Path, sit_down: SitDown, texts: list[str]
) -> None:
    desk = sit_down(hub(published, tokenizer))
    while len(desk.index.records) < 14:
        desk.provide(range(desk.index.rows, desk.index.rows + 1))
    kept = [text for place, text in enumerate(texts) if place % 40 not in (13, 14)][15:]
    for turn in (0, 1):
        records = [record for record in desk.index.records if record.begin.cycle == turn]
        assert [record.documents for record in records] == [30, 30, 30, 30, 30, 25]
        assert [text for record in records for text in desk.documents(record)] == kept
        left_out = [record.left_out for record in records]
        assert (sum(out.empty for out in left_out), sum(out.short for out in left_out)) == (4, 4)


def test_a_turn_ends_with_the_document_that_reaches_the_token_budget(
    published: Path, tokenizer: Path, sit_down: SitDown
) -> None:
    desk = sit_down(hub(published, tokenizer, token_budget=3000))
    while desk.index.records[-1:] == [] or desk.index.records[-1].begin.cycle < 2:
        desk.provide(range(desk.index.rows, desk.index.rows + 1))
    for turn in (0, 1):
        records = [record for record in desk.index.records if record.begin.cycle == turn]
        last = desk.folder.side(records[-1])
        total = sum(record.predicted for record in records)
        assert total >= 3000 > total - len(last.document(records[-1].documents - 1)) - 1


def test_the_same_place_gives_the_same_block_to_the_byte(published: Path, tokenizer: Path, sit_down: SitDown) -> None:
    one, other = (sit_down(hub(published, tokenizer), desk=desk) for desk in ("one", "other"))
    one.provide(range(200))
    other.provide(range(1))
    other.provide(range(200))
    assert one.index.path.read_bytes() == other.index.path.read_bytes()


def test_a_source_without_training_documents_is_refused(published: Path, tokenizer: Path, sit_down: SitDown) -> None:
    desk = sit_down(hub(published, tokenizer, split=FirstSplit(kind="first", validation=185, test=5)))
    with pytest.raises(DataError, match=r"holds no document to train on behind those of data\.split"):
        desk.provide(range(1))
