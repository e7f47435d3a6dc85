"""What a stream needs before training: the documents that `split` keeps for validation and test, tokenised into a store
whose training side is empty, and the place behind them, where training begins.

    <cache>/stores/<fingerprint>/   as any other store (data/store.py), and in it
        stream.json                 where training begins
        engine.json                 the tokenizer's engine: a reader, which is started often, loads nothing else of it

The fingerprint stands for the whole stream: the data set at its commit, every setting that decides which documents are
kept and how they are cut into blocks, the tokenizer. What the blocks hold is not known before they are read.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data import tokenizers
from runjob.data.block_maker import Turn
from runjob.data.blocks import Place, in_batches
from runjob.data.documents import SHOWN
from runjob.data.file_sums import settle_files
from runjob.data.locks import only_one
from runjob.data.normalize import describe_normalize
from runjob.data.patience import patiently
from runjob.data.prepare import PreparedStore, anything, open_verified
from runjob.data.progress import Progress, Reporter
from runjob.data.store import FORMAT, SideName, SideSummary, Store, Summary, write_sum
from runjob.data.streaming import FIRST, State, Streamed, open_streamed
from runjob.data.terms import TermTable
from runjob.data.vocabulary import describe, open_extension, save_extended
from runjob.data.writer import SideWriter, token_type
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import CharacterTokenizer, FirstSplit, HubData, PretrainedTokenizer
from runjob.schemas.quantities import counted, parse_count
from runjob.schemas.run import read_json, sync_path, write_json


@dataclass(frozen=True, kw_only=True)
class PreparedStream:
    """`commit`: what the job's revision means from now on; None for a directory."""

    store: PreparedStore
    commit: str | None


def prepare_stream(
    data: HubData,
    *,
    commit: str | None,
    cache: Path,
    report: Callable[[Progress], None],
    say: Callable[[str], None],
    admit: Callable[[Mapping[str, Any]], None] = anything,
    whole: bool = False,
) -> PreparedStream:
    """Find the store of this stream, or build it; `say` is told when the source broke off and is tried again, `admit`
    and `whole` as in prepare.py."""
    assert isinstance(data.tokenizer, PretrainedTokenizer | CharacterTokenizer), "a rule of the job"
    extension = open_extension(data.tokenizer)
    base = tokenizers.open_finished(data.tokenizer)
    tokenizer, table = extension.apply(base)
    streamed = patiently(
        lambda: open_streamed(data, commit=commit),
        what=f"opening {data.path}",
        say=say,
    )
    origin = _describe(data, streamed, describe(data.tokenizer, base, extension))
    admit(origin)
    fingerprint = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
    path = cache / "stores" / fingerprint
    found = path.exists()
    turn = Turn(streamed, data, Place(cycle=0, tokens=0, state=FIRST))
    reporter = Reporter(report, turn.corpus)
    bad_rows: tuple[str, ...] = ()
    if not found:
        with only_one(path.with_suffix(".lock"), waiting=reporter.waiting):
            found = path.exists()  # made by the process that we waited for
            if not found:
                bad_rows = patiently(
                    lambda: _build(
                        path, data, streamed, tokenizer, table, reporter, fingerprint=fingerprint, origin=origin
                    ),
                    what=streamed.name,
                    say=say,
                )
    summary = (open_verified(path, reporter, whole=whole) if found else Store.open(path)).summary
    reporter.begin("done")
    store = PreparedStore(
        path=path, fingerprint=fingerprint, built=not found, summary=summary, sources={}, bad_rows=bad_rows
    )
    return PreparedStream(store=store, commit=streamed.commit)


def read_start(store: Path) -> State:
    """Where the documents for training begin."""
    start: State = read_json(store / "stream.json")["start"]
    return start


def read_engine(store: Path) -> Any:  # noqa: ANN401 - tokenizers has no types
    """What makes tokens of a document."""
    return tokenizers.read_backend((store / "engine.json").read_text(encoding="utf-8"))


def _build(
    path: Path,
    data: HubData,
    streamed: Streamed,
    tokenizer: Any,  # noqa: ANN401 - transformers has no types
    table: TermTable | None,
    reporter: Reporter,
    *,
    fingerprint: str,
    origin: dict[str, Any],
) -> tuple[str, ...]:
    """Make the store at `path`; whatever interrupts this, `path` holds all of it or does not exist. The first of the
    rows that could not be read."""
    building = path.with_name(f".building-{path.name}")
    if building.exists():  # of a process that was killed, or of a try that broke off
        shutil.rmtree(building)
    building.mkdir(parents=True)
    turn = Turn(streamed, data, Place(cycle=0, tokens=0, state=FIRST))
    reporter.begin("tokenising")
    sides: dict[SideName, SideSummary] = {}
    bad_rows: list[str] = []
    try:
        for side, count in _sides(data):
            sides[side] = _write_side(building / side, turn, count, tokenizer, reporter)
            bad_rows += turn.judge()
        reporter.end()
        _refuse_short(data, sides)
    except DataError:  # the stream is not fit: nothing to go on with
        shutil.rmtree(building)
        raise
    save_extended(tokenizer, table, building / "tokenizer")
    write_json(building / "stream.json", {"start": turn.place.state})
    (building / "engine.json").write_text(tokenizers.write_backend(tokenizer), encoding="utf-8")
    summary = Summary(
        format=FORMAT,
        fingerprint=fingerprint,
        token_type=token_type(len(tokenizer)),
        train=sides["train"],
        validation=sides["validation"],
        test=sides.get("test"),
        left_out=turn.left_out,
        budget=None,
        tokenizer=tokenizers.summarise(tokenizer),
        files=settle_files(building, [path for path in building.rglob("*") if path.is_file()]),
        origin=origin,
    )
    write_json(building / "store.json", dataclasses.asdict(summary))
    write_sum(building / "store.json")
    sync_path(building)
    building.rename(path)
    sync_path(path.parent)
    return tuple(bad_rows[:SHOWN])


def _sides(data: HubData) -> list[tuple[SideName, int]]:
    """How many documents each side takes, in the order of the stream; what comes behind them is trained on."""
    assert isinstance(data.split, FirstSplit), "a rule of the job"
    sides: list[tuple[SideName, int]] = [("validation", data.split.validation)]
    if data.split.test is not None:
        sides.append(("test", data.split.test))
    return [*sides, ("train", 0)]


def _write_side(path: Path, turn: Turn, count: int, tokenizer: Any, reporter: Reporter) -> SideSummary:  # noqa: ANN401
    backend = tokenizers.backend_for_corpus(tokenizer)
    with SideWriter(
        path, eos_id=tokenizers.end_of_document(tokenizer), token_type=token_type(len(tokenizer))
    ) as writer:
        for texts in in_batches(turn.take(count)):
            encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
            for text, encoding in zip(texts, encodings, strict=True):
                writer.append(text, encoding.ids)
            reporter.advance(documents=len(texts), tokens=sum(map(len, encodings)))
        return writer.close()


def _refuse_short(data: HubData, sides: Mapping[SideName, SideSummary]) -> None:
    for side, count in _sides(data):
        if sides[side].documents < count:
            raise DataError(
                f"data.split.{side}: {counted(count, 'document')} asked for, and the stream has "
                f"{sides[side].documents:,} there before it ends; lower it"
            )


def _describe(data: HubData, streamed: Streamed, tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides a token of the stream or its place in the order, as JSON."""
    return {
        "format": FORMAT,
        "kind": "stream",
        "source": streamed.identity,
        "state": sorted(FIRST),
        "field": data.field,
        **describe_normalize(data.normalize),
        "min_length": data.min_length,
        "filter": dataclasses.asdict(data.filter),
        "bad_rows": data.bad_rows,
        "token_budget": None if data.token_budget is None else parse_count(data.token_budget),
        "block_documents": data.block_documents,
        "tokenizer": tokenizer,
        "split": dataclasses.asdict(data.split),
    }
