"""Characters as tokens: code points in and out, what is no text, what replaces a hidden one, and how much is hidden of
rows as short as host names."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, CanineTokenizer

from runjob.data import tokenizers
from runjob.data.characters import (
    CLS,
    ENGINE,
    MASK,
    PAD,
    PRIVATE,
    SEP,
    SHARES,
    open_characters,
    replacements,
    sample_characters,
    special_points,
    utf8_bytes,
)
from runjob.data.corruptions import IGNORED, Masking, corrupt
from runjob.data.masked_rows import MaskedRows, character_masking
from runjob.data.prepare import PreparedStore, prepare
from runjob.data.rows import DocumentRows
from runjob.data.samples import locate
from runjob.data.store import Store
from runjob.schemas.errors import DataError, JobError
from runjob.schemas.job_data import CharacterTokenizer, FirstSplit, ParquetData, PretrainedTokenizer
from runjob.schemas.job_model import MaskedLM, Replace, Span

CHARACTERS = CharacterTokenizer(kind="characters")
FIRST = FirstSplit(kind="first", validation=1, test=None)
ENDS = (PAD, CLS, SEP, MASK)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[chr(p) for p in (0, *PRIVATE)]))


def prepared(data, tmp_path: Path) -> PreparedStore:
    return prepare(data, seed=1, cache=tmp_path / "cache", report=lambda progress: None)


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(TEXT, max_size=5))
def test_the_ids_are_the_code_points_and_those_of_transformers(texts):
    engine = tokenizers.read_backend(ENGINE)
    encoded = engine.encode_batch_fast(texts, add_special_tokens=False)
    assert [list(one.ids) for one in encoded] == [[ord(character) for character in text] for text in texts]
    assert [len(one) for one in encoded] == [len(text) for text in texts]
    for text, one in zip(texts, encoded, strict=True):
        assert open_characters().decode(list(one.ids)) == text


def test_a_store_of_characters_holds_the_names_and_loads_as_transformers_knows_it(tmp_path, make_text):
    names = ["example.com", "münchen.de", "中文.com", "😀.ws", "xn--bcher-kva.ch"]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    data = make_text(tmp_path / "names.txt", tokenizer=CHARACTERS, split=FIRST)
    first = prepared(data, tmp_path)
    store = Store.open(first.path)
    store.verify()
    assert (store.summary.token_type, store.summary.tokenizer.vocab_size) == ("uint32", 0x110000)
    assert ["".join(map(chr, store.train.document(n).tolist())) for n in range(4)] == names[1:]
    assert store.train.summary.bytes == sum(len(name.encode()) for name in names[1:])
    theirs = AutoTokenizer.from_pretrained(store.tokenizer)
    assert isinstance(theirs, CanineTokenizer)
    assert theirs("é\ue003.com").input_ids == [CLS, ord("é"), MASK, *map(ord, ".com"), SEP]
    assert tokenizers.summarise(tokenizers.load_saved(store.tokenizer)) == store.summary.tokenizer
    assert not prepared(data, tmp_path).built


@pytest.mark.parametrize("point", [PRIVATE[0], PRIVATE[-1], PAD])
def test_a_name_with_a_code_point_of_canines_own_or_nul_is_a_row_that_cannot_be_read(tmp_path, make_text, point):
    lines = ["a.com", f"b{chr(point)}.com", "c.com", f"{chr(point)}"]
    (tmp_path / "names.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        prepared(make_text(tmp_path / "names.txt", tokenizer=CHARACTERS, split=FIRST), tmp_path)
    said = str(caught.value)
    assert "names.txt:2: holds " in said and "names.txt:4: holds " in said and "2 rows can't be read" in said
    assert (f"U+{point:04X}" if point else "NUL") in said
    some = make_text(tmp_path / "names.txt", tokenizer=CHARACTERS, split=FIRST, bad_rows=0.5)
    assert prepared(some, tmp_path).summary.left_out.bad == 2


def test_the_same_in_a_column_of_parquet_and_nothing_of_it_with_another_tokenizer(tmp_path, make_text):
    pq.write_table(pa.table({"text": ["a.com", "b\ue000.com", "c.com"]}), tmp_path / "names.parquet")
    (tmp_path / "names.txt").write_text("a.com\nb\ue000.com\nc.com\n", encoding="utf-8")
    fields = vars(make_text(tmp_path / "names.parquet", tokenizer=CHARACTERS, split=FIRST))
    column = {**{name: value for name, value in fields.items() if name != "documents"}, "kind": "parquet"}
    with pytest.raises(DataError, match=r"names\.parquet:row 2: holds U\+E000, which CANINE's tokenizer uses itself"):
        prepared(ParquetData(**column, field="text"), tmp_path)
    assert prepared(make_text(tmp_path / "names.txt", split=FIRST), tmp_path).summary.train.documents == 2


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_list_of_names_is_refused_and_one_name_alone_too(tmp_path, make_text, content):
    file = tmp_path / "names.txt"
    for text in (content, "one.com\n"):
        file.write_text(text)
        with pytest.raises(DataError, match=r"no document|data\.split"):
            prepared(make_text(file, tokenizer=CHARACTERS, split=FIRST), tmp_path)
        assert [path for path in (tmp_path / "cache" / "stores").glob("*") if path.suffix != ".lock"] == []


def test_a_name_of_5000_characters_becomes_several_rows_or_its_first(tmp_path, make_text):
    (tmp_path / "names.txt").write_text("a.com\n" + "b" * 5000 + "\nc.com\n", encoding="utf-8")
    store = Store.open(prepared(make_text(tmp_path / "names.txt", tokenizer=CHARACTERS, split=FIRST), tmp_path).path)
    masking = character_masking(OBJECTIVE, store.train)

    def rows(*, truncate: bool) -> MaskedRows:
        texts = DocumentRows(store.train, 126, truncate=truncate, eos=False)
        return MaskedRows(texts, store.summary.tokenizer, masking, seed=1)

    split, cut = rows(truncate=False), rows(truncate=True)
    assert split.lengths(np.arange(len(split))).tolist() == [128] * 39 + [5000 - 39 * 126 + 2, 7]
    assert cut.lengths(np.arange(len(cut))).tolist() == [128, 7]


def test_a_tokenizer_of_canine_that_is_named_is_answered_with_the_kind_to_write(tmp_path):
    open_characters().save_pretrained(tmp_path)
    with pytest.raises(JobError, match=r"reads characters; write data\.tokenizer: \{kind: characters\}"):
        tokenizers.load_pretrained(PretrainedTokenizer(kind="pretrained", path=str(tmp_path), revision=None, terms={}))
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "CanineTokenizer"


def test_every_character_has_its_bytes_and_what_is_no_text_has_none():
    sizes = utf8_bytes()
    for point in (1, 0x41, 0x7F, 0x80, 0x7FF, 0x800, 0x4E2D, 0xE005, 0xFFFF, 0x10000, 0x1F600, 0x10FFFF):
        assert sizes[point] == len(chr(point).encode())
    assert sizes[[PAD, *PRIVATE]].tolist() == [0] * 6


def test_characters_replace_others_as_often_as_they_stand_in_the_text(make_side, tmp_path):
    drawn = replacements(np.array([ord("a")] * 700 + [ord("b")] * 250 + [0x4E2D] * 50))
    assert len(drawn) == SHARES
    shares = [np.count_nonzero(drawn == point) / SHARES for point in (ord("a"), ord("b"), 0x4E2D)]
    assert shares == pytest.approx([0.7, 0.25, 0.05], abs=1e-4)
    with pytest.raises(DataError, match="no character"):
        replacements(np.array([], dtype=np.int64))


OBJECTIVE = MaskedLM(
    kind="mlm",
    unit="char",
    probability=0.15,
    replace=Replace(mask=0.8, random=0.1, keep=0.1),
    span=Span(geometric=0.2, longest=10),
)


def test_of_host_names_what_is_hidden_is_what_the_job_asks_for():
    with gzip.open(locate("domains"), "rt", encoding="utf-8") as file:
        names = file.read().split()[:8_000]
    masking = Masking(
        probability=0.15,
        replace=OBJECTIVE.replace,
        span=OBJECTIVE.span,
        mask_id=MASK,
        special=special_points(),
        ordinary=replacements(np.concatenate([np.array([*map(ord, name)]) for name in names[:2000]])),
        boundaries=None,
    )
    characters = hidden = masked = kept = 0
    longest = 0
    for position, name in enumerate(names):
        ids = np.array([CLS, *map(ord, name), SEP])
        inputs, labels = corrupt(ids, masking, key=(1, "train", position))
        chosen = labels != IGNORED
        assert not chosen[[0, -1]].any()
        assert not np.isin(inputs[1:-1], [PAD, CLS, SEP]).any()
        characters += len(name)
        hidden += int(chosen.sum())
        masked += int((inputs == MASK).sum())
        kept += int((inputs[chosen] == ids[chosen]).sum())
        edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen, [0]]).astype(int)))
        longest = max(longest, *(edges[1::2] - edges[::2]).tolist(), 0)
    assert hidden / characters == pytest.approx(0.15, abs=0.005)
    assert masked / hidden == pytest.approx(0.8, abs=0.015)
    # a replacement may be the character that stood there: e is a tenth of the text
    assert kept / hidden == pytest.approx(0.105, abs=0.012)
    assert longest == 10


def test_a_sample_of_a_side_is_its_text_without_the_ends_of_documents(tmp_path, make_text):
    (tmp_path / "names.txt").write_text("x.com\nab.c\nba.c\n", encoding="utf-8")
    store = Store.open(prepared(make_text(tmp_path / "names.txt", tokenizer=CHARACTERS, split=FIRST), tmp_path).path)
    assert "".join(map(chr, sample_characters(store.train).tolist())) == "ab.cba.c"
