"""What `runjob tokenizer` does: trains, extends and measures tokenizers outside of a job, with the same functions as a
job does. A directory appears whole or not at all."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data import tokenizers
from runjob.data.compression import open_packed
from runjob.data.extend import added_tokens, bare_engine, extend, without_tokens
from runjob.data.fields import field_reader
from runjob.data.fragmentation import SENTENCES, Counts, Fragmentation, measure_corpus, measure_terms
from runjob.data.normalize import Normalizer
from runjob.data.samples import PREFIX, locate, locate_tokenizer
from runjob.data.sources import cut_lines, not_utf8, open_source
from runjob.data.terms import TermTable, read_table, read_terms
from runjob.data.vocabulary import save_extended
from runjob.schemas.build import build_value
from runjob.schemas.check import Checker, plain_node
from runjob.schemas.errors import DataError, JobError, MissingError
from runjob.schemas.job_data import JsonlData, PretrainedTokenizer, TextData, Trained
from runjob.schemas.problems import DEFAULT
from runjob.schemas.run import sync_path

TERMS = "--terms "


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Files, globs or samples; `field` of JSON objects where they are called .jsonl, else text."""

    paths: tuple[str, ...]
    field: str
    documents: str

    def texts(self) -> Iterator[str]:
        """From the first on, each time; DataError for rows that can't be read."""
        for document in open_source(self._data()).documents():
            yield document.text

    def _data(self) -> TextData | JsonlData:
        """As a job would name them; all else is what the schema says where a job says nothing, and not looked at."""
        files = [str(locate(path)) if path.startswith(PREFIX) else path for path in self.paths]
        unread = {"sequence_length": 2, "tokenizer": {"kind": "train", "algorithm": "bpe", "vocab_size": 512}}
        if any(".jsonl" in Path(file).name for file in files):
            wanted = {"kind": "jsonl", "path": list(self.paths), "field": self.field, **unread}
        else:
            wanted = {"kind": "text", "path": list(self.paths), "documents": self.documents, **unread}
        checker = Checker(Path.cwd(), (), others={})
        values = checker.value(plain_node(wanted, DEFAULT), {"$ref": "#/$defs/data"}, "corpus", DEFAULT)
        if checker.problems:
            raise JobError("\n".join(map(str, checker.problems)))
        data: TextData | JsonlData = build_value(JsonlData if wanted["kind"] == "jsonl" else TextData, values)
        return data


@dataclass(frozen=True, kw_only=True)
class Check:
    """`counts` where a corpus was named."""

    found: Fragmentation
    counts: Counts | None


def build(corpus: Corpus, settings: Trained, to: Path) -> int:
    """Train a tokenizer on every document and write it to `to`; how many tokens it has."""
    with written_whole(to) as folder:
        if next(corpus.texts(), None) is None:
            raise DataError(f"{', '.join(corpus.paths)}: no document in it; a tokenizer learns from text")
        tokenizer = tokenizers.train(corpus.texts, settings)
        if len(tokenizer) < settings.vocab_size:
            raise DataError(
                f"--vocab-size {settings.vocab_size}: this corpus gives {len(tokenizer)} tokens and no more; "
                f"write --vocab-size {len(tokenizer)}, or name more text"
            )
        tokenizers.save(tokenizer, folder)
    return len(tokenizer)


def extend_to(base: PretrainedTokenizer, files: Mapping[str, str], to: Path) -> TermTable:
    """Write the base with the terms of the files to `to`."""
    with written_whole(to) as folder:
        terms = read_terms(files, where=TERMS)
        tokenizer, table = extend(_load(base), terms, before=_table(base))
        save_extended(tokenizer, table, folder)
    return table


def check(
    where: PretrainedTokenizer,
    files: Mapping[str, str],
    *,
    sentences: Sequence[str],
    corpus: Corpus | None,
    base: PretrainedTokenizer | None,
) -> Check:
    """Without files, of the terms in the table beside the tokenizer; without a base, against it without its terms."""
    tokenizer = _load(where)
    terms = _listed(where, files)
    for sentence in sentences:
        if "{}" not in sentence:
            raise JobError(f"--sentence {sentence!r}: has no {{}} where a term is to stand")
    found = measure_terms(tokenizer, terms, sentences or SENTENCES)
    if corpus is None:
        return Check(found=found, counts=None)
    before = bare_engine(_load(base)) if base is not None else without_tokens(tokenizer, added_tokens(tokenizer))
    return Check(found=found, counts=measure_corpus(tokenizer, before, terms, corpus.texts()))


def normalize_file(file: Path, normalizer: Normalizer, *, field: str, to: Path) -> int:
    """Every object of a JSONL file with `norm_text` and `align_map` besides: for each character of the one the span of
    `field` that it came from. How many there are; `to` appears when all of them are written."""
    if to.exists():
        raise JobError(f"{to}: exists already; name another file, or delete it")
    building, count, read = to.absolute().with_name(f".building-{to.name}"), 0, field_reader(field)
    try:
        with file.open("rb") as raw, building.open("w", encoding="utf-8") as out:
            for number, line in cut_lines(open_packed(file, raw, name=str(file))):
                if not line.strip():
                    continue
                aligned = normalizer.align(_text_of(line, read, where=f"{file}:{number}"))
                found = {**json.loads(line), "norm_text": aligned.text, "align_map": aligned.spans}
                out.write(json.dumps(found, ensure_ascii=False) + "\n")
                count += 1
        if not count:
            raise DataError(f"{file}: no object in it")
        sync_path(building)
        building.rename(to)
    except FileNotFoundError as error:
        raise MissingError(f"{error.filename}: no such file") from error
    finally:
        building.unlink(missing_ok=True)
    return count


def _text_of(line: bytes, read: Callable[[bytes], str], *, where: str) -> str:
    try:
        return read(line)
    except ValueError as error:
        raise DataError(f"{where}: {not_utf8(error) if isinstance(error, UnicodeError) else error}") from error


def _listed(where: PretrainedTokenizer, files: Mapping[str, str]) -> dict[str, list[str]]:
    if files:
        terms: dict[str, list[str]] = {}
        for term in read_terms(files, where=TERMS):
            terms.setdefault(term.category, []).append(term.text)
        return terms
    table = _table(where)
    if table is None:
        raise JobError(f"{where.path}: no terms.json beside this tokenizer; name terms with --terms CATEGORY=FILE")
    return {category: held for category, held in table.terms.items() if held}


def _load(where: PretrainedTokenizer) -> Any:  # noqa: ANN401 - transformers has no types
    try:
        return tokenizers.load_pretrained(where)
    except MissingError as error:
        raise MissingError(
            f"{where.path}: neither a tokenizer's directory, nor a job's id, nor a name in the Hugging Face cache, "
            f"nor could it be fetched; name a directory that holds tokenizer.json"
        ) from error


def _table(where: PretrainedTokenizer) -> TermTable | None:
    return read_table(Path(locate_tokenizer(where.path)))


@contextmanager
def written_whole(to: Path) -> Iterator[Path]:
    """A directory that becomes `to` when all in it is on the disk; nothing is left where that fails."""
    if to.exists():
        raise JobError(f"{to}: exists already; name another directory, or delete it")
    building = to.absolute().with_name(f".building-{to.name}")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        yield building
        for file in building.iterdir():
            sync_path(file)
        building.rename(to)
        sync_path(to.absolute().parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)
