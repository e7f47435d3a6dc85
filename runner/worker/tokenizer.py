"""The work of `runjob tokenizer`: `python -m runjob.runner.worker.tokenizer ACTION ARGUMENTS`, the arguments one JSON
object, which the command line has checked."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from runjob.data import tokenizer_tool
from runjob.data.fragmentation import Counts, Fragmentation, Share
from runjob.data.normalize import open_normalizer
from runjob.data.prepare import Progress, prepare
from runjob.data.terms import TermTable
from runjob.data.tokenizer_tool import Check, Corpus, written_whole
from runjob.runner.worker.prepare import progress_line
from runjob.schemas.errors import JobError, RunjobError
from runjob.schemas.job_data import PretrainedTokenizer, Trained, TrainedTokenizer, TrainedUnigram, TrainedWordPiece
from runjob.schemas.quantities import counted
from runjob.schemas.read import read_job
from runjob.schemas.run import cache_home

SHOWN = 10
Arguments = dict[str, Any]


def build(arguments: Arguments) -> int:
    to = Path(arguments["to"])
    corpus = _corpus(arguments["corpus"], arguments)
    if corpus is None:
        size = _build_of_job(Path(arguments["job"]), arguments["sets"], to)
    else:
        size = tokenizer_tool.build(corpus, _settings(arguments), to)
    print(json.dumps({"path": str(to), "vocabulary": size}) if arguments["json"] else f"{to}: {size:,} tokens")
    return 0


def _build_of_job(file: Path, sets: list[str], to: Path) -> int:
    """The tokenizer of the store that the job trains on, which is made if it isn't there."""
    job = read_job(file, sets).job
    if not isinstance(job.data.tokenizer, Trained):
        raise JobError(f"{file}: data.tokenizer.kind: {job.data.tokenizer.kind} is not trained; nothing is to be built")
    with written_whole(to) as folder:
        store = prepare(job.data, seed=job.seed, cache=cache_home(), report=_told())
        shutil.copytree(store.path / "tokenizer", folder, dirs_exist_ok=True)
    return store.summary.tokenizer.vocab_size


def _told() -> Callable[[Progress], None]:
    """Each stage of a preparation once."""
    said = []

    def tell(progress: Progress) -> None:
        if progress.stage not in said:
            said.append(progress.stage)
            print(progress_line(progress), file=sys.stderr, flush=True)

    return tell


def _settings(arguments: Arguments) -> Trained:
    size, lowercase = arguments["vocab_size"], arguments["lowercase"]
    match arguments["algorithm"]:
        case "bpe":
            return TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=size, terms={})
        case "wordpiece":
            return TrainedWordPiece(
                kind="train", algorithm="wordpiece", vocab_size=size, lowercase=lowercase, marks="bert", terms={}
            )
        case _:
            return TrainedUnigram(kind="train", algorithm="unigram", vocab_size=size, lowercase=lowercase, terms={})


def _corpus(paths: list[str], arguments: Arguments) -> Corpus | None:
    if not paths:
        return None
    return Corpus(paths=tuple(paths), field=arguments["field"], documents=arguments["documents"])


def _finished(name: str | None) -> PretrainedTokenizer | None:
    return None if name is None else PretrainedTokenizer(kind="pretrained", path=name, revision=None, terms={})


def extend(arguments: Arguments) -> int:
    base, to = _finished(arguments["base"]), Path(arguments["to"])
    assert base is not None
    table = tokenizer_tool.extend_to(base, arguments["terms"], to)
    if arguments["json"]:
        print(json.dumps({"path": str(to), "added": table.added, **dataclasses.asdict(table)}, ensure_ascii=False))
    else:
        _show_table(table)
        print(f"{to}: {table.base_tokens:,} tokens and {table.added:,} terms")
    return 0


def _show_table(table: TermTable) -> None:
    shown = Table("category", "terms", "added", "one token already")
    for category, held in table.terms.items():
        known = len(table.known[category]) if category in table.known else 0
        inner = len(table.inner[category]) if category in table.inner else 0
        shown.add_row(category, f"{len(held):,}", f"{len(held) - known - inner:,}", f"{known:,}")
    Console().print(shown)
    _show_some("repeated", [f"{one.term} in {one.category}, which stands in {one.first}" for one in table.repeated])
    inner_terms = [f"{term} in {category}" for category, held in table.inner.items() for term in held]
    _show_some("left out", [f"{term}, which is a piece of longer words here" for term in inner_terms])


def _show_some(what: str, lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"{what}: {line}")
    if len(lines) > SHOWN:
        print(f"{what}: {len(lines) - SHOWN:,} more")


def check(arguments: Arguments) -> int:
    """1 where more terms are cut than allowed."""
    where = _finished(arguments["tokenizer"])
    assert where is not None
    result = tokenizer_tool.check(
        where,
        arguments["terms"],
        sentences=arguments["sentence"],
        corpus=_corpus(arguments["corpus"], arguments),
        base=_finished(arguments["base"]),
    )
    limit, share = arguments["max_fragmentation"], result.found.overall.worse
    passed = limit is None or share <= limit
    if arguments["json"]:
        print(json.dumps(_as_json(result, limit=limit, passed=passed), ensure_ascii=False, indent=2))
    else:
        _show_check(result)
        if limit is not None:
            print(
                f"{share:.2%} of the terms are cut, where {limit:.2%} are allowed: {'passed' if passed else 'failed'}"
            )
    return 0 if passed else 1


def _as_json(result: Check, *, limit: float | None, passed: bool) -> dict[str, Any]:
    shares = {**result.found.categories, "overall": result.found.overall}
    found = {name: {**dataclasses.asdict(share), "fragmentation": share.worse} for name, share in shares.items()}
    overall = found.pop("overall")
    return {
        "categories": found,
        "overall": overall,
        "worst": [dataclasses.asdict(cut) for cut in result.found.worst],
        "corpus": None if result.counts is None else dataclasses.asdict(result.counts),
        "max_fragmentation": limit,
        "passed": passed,
    }


def _show_check(result: Check) -> None:
    _show_shares(result.found)
    for cut in result.found.worst:
        print(f"{cut.category}: {cut.term}  {' '.join(cut.pieces)}")
    if result.counts is not None:
        _show_counts(result.counts)


def _show_shares(found: Fragmentation) -> None:
    shown = Table("category", "terms", "cut alone", "cut in sentences")

    def row(name: str, share: Share) -> None:
        alone, within = share.alone / share.terms, share.within / share.terms
        shown.add_row(name, f"{share.terms:,}", f"{alone:.2%}", f"{within:.2%}")

    for name, share in found.categories.items():
        row(name, share)
    row("overall", found.overall)
    Console().print(shown)


def _show_counts(counts: Counts) -> None:
    fewer = f" ({counts.tokens / counts.before - 1:+.2%})" if counts.before else ""
    print(f"corpus: {counts.documents:,} documents, {counts.tokens:,} tokens, {counts.before:,} by the base{fewer}")
    print(f"terms in it: {counts.occurrences:,}, cut: {counts.cut:,}")


def normalize(arguments: Arguments) -> int:
    job = read_job(Path(arguments["job"]), arguments["sets"]).job
    to = Path(arguments["to"])
    count = tokenizer_tool.normalize_file(
        Path(arguments["file"]), open_normalizer(job.data), field=arguments["field"], to=to
    )
    print(f"{to}: {counted(count, 'document')} with norm_text and align_map")
    return 0


def main(action: str, arguments: Arguments) -> int:
    try:
        return {"build": build, "extend": extend, "check": check, "normalize": normalize}[action](arguments)
    except RunjobError as error:
        print(f"runjob: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
