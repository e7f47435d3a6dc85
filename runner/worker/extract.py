"""`runjob extract`: from raw text to sentences, entities and relations, a record a document.

    corpus -> documents -> sentences -> entities (extract_models.py: Tagger) -> pairs -> relations (Relater)
           -> offsets in the raw text, compared with it -> OUT.partial -> OUT (extract_file.py)

Documents come some at a time, so that rows of like length can be asked together; neither how many nor the size of a
batch leaves a trace in what is written.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from runjob.data.digests import DigestCache
from runjob.data.documents import Document
from runjob.data.samples import TOKENIZER
from runjob.data.sources import FileSource
from runjob.runner.worker.extract_file import Output, Totals, Writer, open_corpus
from runjob.runner.worker.extract_models import Relater, Tagger
from runjob.runner.worker.extractor import Extractor, windows
from runjob.runner.worker.prompts import answer
from runjob.schemas.errors import JobError, MissingError
from runjob.schemas.extraction import ModelName, Models
from runjob.schemas.job_json import read_job_json
from runjob.schemas.quantities import counted
from runjob.schemas.run import RunDir, cache_home, read_json
from runjob.schemas.weights import weights_sha256

# Documents are gathered until they have so many sentences together
WINDOW = 1024
Tell = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the command line asks for."""

    ner: RunDir
    re: RunDir | None
    corpus: str
    out: Path
    field: str | None
    bad_rows: float
    batch: int
    device: str
    overwrite: bool
    quiet: bool


def extract(order: Order, *, window: int = WINDOW) -> None:
    source = open_corpus(order.corpus, field=order.field, bad_rows=order.bad_rows, marked=order.re is not None)
    output, rate = Output(order.out), None
    written = [path for path in (output.out, output.partial, output.made_by) if path.exists()]
    if any(path.samefile(file.path) for path in written for file in source.files):
        raise JobError(f"-o {order.out}: is the corpus itself, or would write over it; name another file")
    with bar(shown=not order.quiet and sys.stderr.isatty()) as progress:
        # all that is wrong with the corpus is said before anything is written
        total = sum(1 for _ in _told(source.documents(), progress("reading", None)))
        models = Models(ner=_named(order.ner), re=None if order.re is None else _named(order.re))
        with output.opened(identity_of(order, source, models), overwrite=order.overwrite) as writer:
            if writer is not None:
                extractor = Extractor(
                    Tagger(order.ner, device=order.device, batch=order.batch),
                    None if order.re is None else Relater(order.re, device=order.device, batch=order.batch),
                    models,
                )
                rate = write_all(source, extractor, writer, output.totals, progress("extracting", total), window=window)
                for line in left_out(source, output.totals):
                    print(line, file=sys.stderr)
    print(summary(order.out, output.totals, rate))


def write_all(
    source: FileSource, extractor: Extractor, writer: Writer, totals: Totals, tell: Tell, *, window: int
) -> float:
    """Every record that is not there yet; sentences a second."""
    done, before, began = totals.documents, totals.sentences, time.perf_counter()
    tell(done)
    for documents in windows(islice(source.documents(), done, None), sentences=window):
        records = extractor.extract(documents, first=totals.documents)
        for record, document in zip(records, documents, strict=True):
            writer.write(record, document.text)
        writer.flush()
        tell(totals.documents)
    rate = (totals.sentences - before) / (time.perf_counter() - began)
    writer.finish()
    return rate


def _told(documents: Iterable[Document], tell: Tell) -> Iterator[Document]:
    for number, document in enumerate(documents, 1):
        if number % 1000 == 0:
            tell(number)
        yield document


def left_out(source: FileSource, totals: Totals) -> Iterator[str]:
    if source.empty:
        yield f"{counted(source.empty, 'row')} without text: no record of these"
    if source.bad.count:
        yield from source.bad.first
        yield f"{counted(source.bad.count, 'row')} can't be read: no record of these"
    if totals.unasked:
        yield f"{counted(totals.unasked, 'pair')} not asked about: longer with its marks than a row of the model"


def summary(out: Path, totals: Totals, rate: float | None) -> str:
    """`out.jsonl: 3 documents, 7 sentences (812.4 sentences/s); entities: TAXON 4, TIME 1; relations: none`"""
    speed = "" if rate is None else f" ({rate:,.1f} sentences/s)"
    entities, relations = (
        ", ".join(f"{label} {count:,}" for label, count in sorted(counts.items())) or "none"
        for counts in (totals.entities, totals.relations)
    )
    what = f"{counted(totals.documents, 'document')}, {counted(totals.sentences, 'sentence')}{speed}"
    return f"{out}: {what}; entities: {entities}; relations: {relations}"


def identity_of(order: Order, source: FileSource, models: Models) -> dict[str, Any]:
    """All that decides what is written, by name; of large things their sums."""
    return {
        "format": 1,
        "runjob": version("runjob"),
        "--ner": {"id": models.ner.id, "digest": _digest(order.ner, models.ner)},
        "--re": None
        if order.re is None or models.re is None
        else {
            "id": models.re.id,
            "digest": _digest(order.re, models.re),
        },
        "corpus": order.corpus,
        "contents of the corpus": source.digest(DigestCache(cache_home() / "digests.json")),
        "--field": order.field,
        "--bad-rows": order.bad_rows,
        "--device": order.device,
    }


def _digest(run: RunDir, named: ModelName) -> str:
    """Of the weights, the tokenizer and what the job does to a text."""
    values = read_job_json(run.job)
    try:
        pieces = hashlib.sha256((run.model / TOKENIZER).read_bytes()).hexdigest()
    except OSError as error:
        way_on = f"`runjob export {run.id} --step latest --to DIR` writes one that may be put there"
        raise MissingError(f"{run.model / TOKENIZER}: {error.strerror}; {way_on}") from error
    made_from = read_json(run.data)["origin"]
    normalize, objective = values.values["data"]["normalize"], values.values["objective"]
    parts = [named.sha256, pieces, normalize, objective, made_from["tokenizer"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _named(run: RunDir) -> ModelName:
    return ModelName(id=run.id, sha256=weights_sha256(run.model))


@contextmanager
def bar(*, shown: bool) -> Iterator[Callable[[str, int | None], Tell]]:
    """Begins a stage of so many documents, and is told how many are done; nothing to see where it is not `shown`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("documents"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as progress:

        def begin(stage: str, total: int | None) -> Tell:
            for task in progress.task_ids:
                progress.remove_task(task)
            task = progress.add_task(stage, total=total)
            return lambda done: progress.update(task, completed=done)

        yield begin


def order_of(arguments: Mapping[str, Any]) -> Order:
    return Order(
        ner=RunDir(Path(arguments["ner"])),
        re=None if arguments["re"] is None else RunDir(Path(arguments["re"])),
        corpus=arguments["corpus"],
        out=Path(arguments["out"]),
        field=arguments["field"],
        bad_rows=arguments["bad_rows"],
        batch=arguments["batch_size"],
        device=arguments["device"],
        overwrite=arguments["overwrite"],
        quiet=arguments["quiet"],
    )


def main(arguments: list[str] | None = None) -> int:
    (given,) = sys.argv[1:] if arguments is None else arguments
    return answer(lambda: extract(order_of(json.loads(given))))


if __name__ == "__main__":
    sys.exit(main())
