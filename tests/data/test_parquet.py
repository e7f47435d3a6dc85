"""Documents of Parquet files: real ones, in several row groups, and those that can't be read."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runjob.data.prepare import prepare
from runjob.data.sources import open_source
from runjob.data.store import Store
from runjob.schemas.errors import DataError, MissingError
from runjob.schemas.job_data import FirstSplit, ParquetData, TrainedTokenizer
from tests.data.conftest import PLAIN


def parquet(*paths: Path, field: str = "text") -> ParquetData:
    return ParquetData(
        kind="parquet",
        path=tuple(map(str, paths)),
        field=field,
        min_length=0,
        **PLAIN,
        sequence_length=16,
        tokenizer=TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=270, terms={}),
        split=FirstSplit(kind="first", validation=2, test=None),
    )


def texts(data: ParquetData) -> list[str]:
    return [document.text for document in open_source(data).documents()]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Five documents in row groups of two; other columns beside them."""
    table = pa.table(
        {
            "id": list(range(6)),
            "text": ["één", "twee\nregels", " ", "vier", "vijf", "zes"],
            "tags": [["a", "b"]] * 6,
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    return tmp_path / "a.parquet"


def test_documents_come_row_group_by_row_group_in_the_order_of_files(corpus: Path, tmp_path: Path):
    pq.write_table(pa.table({"text": ["zeven"]}), tmp_path / "b.parquet")
    source = open_source(parquet(tmp_path / "*.parquet"))
    documents = list(source.documents())
    assert [document.text for document in documents] == ["één", "twee\nregels", "vier", "vijf", "zes", "zeven"]
    assert documents[2].origin == f"{corpus}:row 4"
    assert (source.empty, source.done) == (1, source.total)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_text_may_be_stored_in_other_ways(tmp_path: Path, kind: pa.DataType):
    column = pa.array(["een", "twee", "een"]).cast(kind)
    pq.write_table(pa.table({"body": column, "number": [1, 2, 3]}), tmp_path / "a.parquet")
    assert texts(parquet(tmp_path / "a.parquet", field="body")) == ["een", "twee", "een"]
    with pytest.raises(DataError, match=r"'number' of .* holds int64 and not text; columns of text: body$"):
        texts(parquet(tmp_path / "a.parquet", field="number"))


def test_a_store_is_made_of_them_and_found_again(corpus: Path, tmp_path: Path, no_report):
    first, again = (prepare(parquet(corpus), seed=1, cache=tmp_path / "cache", report=no_report) for _ in range(2))
    assert (first.built, again.built) == (True, False)
    assert (first.summary.train.documents, first.summary.validation.documents) == (3, 2)
    assert first.summary.left_out.empty == 1
    Store.open(first.path).verify()


def test_a_column_of_lists_is_no_text(corpus: Path):
    with pytest.raises(DataError, match=r"column 'tags' of .*a\.parquet holds list<.*> and not text; .*: text$"):
        texts(parquet(corpus, field="tags"))


def test_a_column_that_is_not_there_is_answered_with_those_that_are(corpus: Path):
    with pytest.raises(DataError, match=r"data\.field: .*a\.parquet has no column 'body', but id, text, tags"):
        texts(parquet(corpus, field="body"))


def test_rows_that_hold_no_text_are_named(tmp_path: Path):
    broken = pa.array([b"goed", None, b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    with pytest.raises(DataError) as caught:
        texts(parquet(tmp_path / "a.parquet"))
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/a.parquet:row 2: column 'text' is null and not text",
        f"{tmp_path}/a.parquet:row 3: is not UTF-8 (unexpected end of data)",
        "2 rows can't be read; mend or remove them and start again",
    ]


def test_what_is_no_parquet_file_is_said(tmp_path: Path):
    for content in (b"", b"PAR1 nothing of the kind"):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.parquet: can't be read as Parquet"):
            texts(parquet(tmp_path / "a.parquet"))
    with pytest.raises(MissingError, match=r"is a directory; name its files, for example .*/\*\.parquet"):
        texts(parquet(tmp_path))
