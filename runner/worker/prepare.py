"""The `prepare` stage: `python -m runjob.runner.worker.prepare RUN [--every-byte]`, one process before any process
group exists. Finds or builds the store of the job's data, writes down where it is, and says how far it is: a line now
and then, and progress.json."""

import functools
import sys
import time
from pathlib import Path
from typing import Any

from runjob.data.added import added_ids, refuse_rare_metric
from runjob.data.facts import measure
from runjob.data.few import few_documents
from runjob.data.labelling import describe_labels, labelling_of
from runjob.data.prepare import PreparedStore, Progress, prepare
from runjob.data.space import in_words
from runjob.data.store import Store
from runjob.data.streaming_prepare import prepare_stream
from runjob.runner.worker.outcome import attempt_of, report_failure, report_uncaught
from runjob.runner.worker.same_data import refuse_other_data
from runjob.schemas.end_to_end import rows_are_padded
from runjob.schemas.errors import RunjobError
from runjob.schemas.facts import Facts, keep_facts
from runjob.schemas.job import Job
from runjob.schemas.job_data import HubData, Trained, streamed
from runjob.schemas.job_json import read_job_json
from runjob.schemas.lifeline import die_with_parent
from runjob.schemas.quantities import counted
from runjob.schemas.records import sealed
from runjob.schemas.run import RunDir, cache_home, write_json

LINE_EVERY_S = 2.0
EVERY_BYTE = "--every-byte"


class Teller:
    """Progress of the preparation for eyes: each new stage and note at once, then a line every LINE_EVERY_S."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.stage = ("", "")
        self.last = 0.0

    def __call__(self, progress: Progress) -> None:
        stage = (progress.stage, progress.note)
        if stage == self.stage and time.monotonic() - self.last < LINE_EVERY_S:
            return
        self.stage, self.last = stage, time.monotonic()
        line = progress_line(progress)
        print(line, flush=True)
        facts = {"stage": "prepare", "doing": progress.stage, "share": progress.share, "left_s": progress.left_s}
        write_json(self.run.progress, {"step": 0, **facts, "line": line, "updated": time.time()})


def progress_line(progress: Progress) -> str:
    """`tokenising  62 %  3,100 documents  640,000 tokens  410,000 tokens/s  41 s left`, as far as they are known."""
    # behind `running: stage train`, which may come first, "done" would read as the end of the training
    parts = ["the data are prepared" if progress.stage == "done" else progress.stage, progress.note]
    if progress.share:
        parts.append(f"{100 * progress.share:.0f} %")
    if progress.documents:
        parts.append(counted(progress.documents, "document"))
    if progress.tokens:
        parts += [counted(progress.tokens, "token"), f"{progress.tokens_per_s:,.0f} tokens/s"]
    elif progress.stage == "fetching" and progress.done_bytes:
        parts.append(in_words(progress.done_bytes))
        if progress.seconds:
            parts.append(f"{in_words(int(progress.bytes_per_s))}/s")
    if progress.left_s is not None and progress.left_s >= 1:
        parts.append(f"{progress.left_s:,.0f} s left")
    return "  ".join(part for part in parts if part)


def main(run: RunDir, *, whole: bool) -> int:
    """`whole`: of a store that is found every byte is read, by `runjob prepare` and never before an attempt."""
    die_with_parent()
    report_uncaught(attempt_of(run))
    job = read_job_json(run.job).job
    try:
        if streamed(job.data):
            return prepared_stream(run, job.data, whole=whole)
        store = prepare(
            job.data,
            seed=job.seed,
            cache=cache_home(),
            report=Teller(run),
            pinned=pinned_sources(run),
            admit=functools.partial(refuse_other_data, run),
            whole=whole,
            labelling=labelling_of(job),
        )
        if not added_ids(store.path / "tokenizer"):
            refuse_rare_metric(job)
    except RunjobError as error:
        print(f"runjob: {error}", file=sys.stderr)
        report_failure(attempt_of(run), error, step=0)
        return error.exit_code
    write_json(run.data, sealed({**named(store), "sources": dict(store.sources)}))
    train, validation, test = store.summary.train, store.summary.validation, store.summary.test
    tested = "" if test is None else f"{counted(test.documents, 'test document')} of {test.tokens:,}, "
    print(
        f"{'built' if store.built else 'found'}: {counted(train.documents, 'training document')} of "
        f"{counted(train.tokens, 'token')}, "
        f"{counted(validation.documents, 'validation document')} of {validation.tokens:,}, {tested}"
        f"{vocabulary_words(job, store.summary.tokenizer.vocab_size)}"
    )
    tell_left_out("left out", store)
    tell_labels(job, store)
    if (said := few_documents(job.data, train.documents)) is not None:
        print(f"advice: {said}")
    if budget := store.summary.budget:
        print(budget.words(train.predicted))
    if train.documents:
        padded = rows_are_padded(job)
        facts = measure(job, Store.open(store.path), padded=padded)
        keep_facts(job, facts, padded=padded)
        if job.data.layout == "lines":
            print(lines_text(facts))
    return 0


def vocabulary_words(job: Job, size: int) -> str:
    """Trained on little text it may be smaller than the job has it."""
    settings = job.data.tokenizer
    if isinstance(settings, Trained) and size < settings.vocab_size:
        return f"vocabulary {size:,} ({settings.vocab_size:,} were asked for, and these texts have no more pieces)"
    return f"vocabulary {size:,}"


def tell_left_out(said: str, store: PreparedStore) -> None:
    if left_out := store.summary.left_out.words():
        print(f"{said}: {left_out}")
    for row in store.bad_rows:
        print(f"  {row}")


def tell_labels(job: Job, store: PreparedStore) -> None:
    """Of each side the spans by label, and those that no tokens say."""
    for name, side in store.summary.sides().items():
        if (said := describe_labels(job, side)) is not None:
            print(f"{name}: {said}")


def named(store: PreparedStore) -> dict[str, Any]:
    """What data.json says of a store: where it is, and what it was made from, since a cache may be emptied."""
    return {"store": str(store.path), "fingerprint": store.fingerprint, "origin": dict(store.summary.origin)}


def pinned_sources(run: RunDir) -> dict[str, Any]:
    """Which version of what lies elsewhere (an address, a data set's branch) an earlier attempt of this run used."""
    earlier: dict[str, Any] = run.read_data() if run.data.exists() else {"sources": {}}
    return dict(earlier["sources"])


def lines_text(facts: Facts) -> str:
    """What layout lines makes of the documents; what it cuts off is said."""
    said = f"rows: {facts.rows:,} of {facts.tokens / facts.rows:.3g} tokens on average, {facts.padding:.1%} padding"
    return f"{said}; {facts.left_out:,} tokens of longer documents are cut off" if facts.left_out else said


def prepared_stream(run: RunDir, data: HubData, *, whole: bool) -> int:
    """What a stream needs before training. The commit of the first attempt is that of all others."""
    commit = run.read_data()["commit"] if run.data.exists() else None
    stream = prepare_stream(
        data,
        commit=commit,
        cache=cache_home(),
        report=Teller(run),
        say=lambda text: print(text, flush=True),
        admit=functools.partial(refuse_other_data, run),
        whole=whole,
    )
    store, summary = stream.store, stream.store.summary
    write_json(run.data, sealed({**named(store), "commit": stream.commit}))
    validation, test = summary.validation, summary.test
    tested = "" if test is None else f", {counted(test.documents, 'test document')} of {test.tokens:,}"
    print(
        f"{'built' if store.built else 'found'}: {counted(validation.documents, 'validation document')} of "
        f"{counted(validation.tokens, 'token')}{tested}, vocabulary {summary.tokenizer.vocab_size:,}; training "
        f"documents are streamed: how many there are is unknown"
    )
    tell_left_out("left out up to there", store)
    return 0


if __name__ == "__main__":
    sys.exit(main(RunDir(Path(sys.argv[1])), whole=EVERY_BYTE in sys.argv[2:]))
