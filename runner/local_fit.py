"""Do the tokenizer and the checkpoint of this machine go together, and with what the job wants of them? Each problem
with its place in the job file, before a run exists, as far as their files tell without the libraries that run them; the
worker judges all of it again."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runjob.data.samples import locate_model, locate_tokenizer
from runjob.schemas.errors import MissingError
from runjob.schemas.job import Job
from runjob.schemas.job_data import PretrainedTokenizer
from runjob.schemas.job_model import (
    FinishedInit,
    GuideInit,
    MaskedLM,
    PermutedLM,
    ScratchMPNet,
    SentenceEmbedding,
    TileInit,
)
from runjob.schemas.json_object import read_object
from runjob.schemas.tokenizer_files import (
    TOKENIZER_FILES,
    TokenizerFiles,
    no_words,
    padding_problem,
    read_tokenizer,
    rows_problem,
    vocabulary_problem,
    word_scheme,
)

# (path in the job, what is wrong)
Findings = Iterator[tuple[str, str]]


def find_misfits(job: Job) -> Findings:
    """Of a tokenizer that the job names and that lies here."""
    if not isinstance(job.data.tokenizer, PretrainedTokenizer):
        return
    try:
        folder = Path(locate_tokenizer(job.data.tokenizer.path))
        where, path, checkpoint = _checkpoint(job)
        taught = _teacher(job)
    except MissingError:  # a sample that there is not: local_files.py says so
        return
    tokenizer = read_tokenizer(folder)
    if tokenizer is None:
        return
    whole_words = isinstance(job.objective, MaskedLM | PermutedLM) and job.objective.unit == "word"
    if whole_words and word_scheme(tokenizer.engine) is None:
        yield "objective.unit", no_words(tokenizer.engine)
    config = _config(checkpoint)
    mpnet = isinstance(job.model.init, ScratchMPNet) or config.get("model_type") == "mpnet"
    # where no file says which token pads, transformers may know
    if mpnet and tokenizer.padding is not None and (said := padding_problem(tokenizer.padding)):
        yield "data.tokenizer.path", said
    if checkpoint is not None and checkpoint != folder:
        yield from _other_tokens(tokenizer, checkpoint, config, where=where, path=path)
    if taught is not None and taught[1] != folder:
        path, teacher = taught
        yield from _other_tokens(tokenizer, teacher, _config(teacher), where="objective.teacher", path=path)


def _other_tokens(
    tokenizer: TokenizerFiles, checkpoint: Path, config: Mapping[str, Any], *, where: str, path: str
) -> Findings:
    theirs = read_tokenizer(checkpoint)
    if theirs is not None:
        said = vocabulary_problem(tokenizer.tokens, theirs.tokens, added=tokenizer.added, where=where, path=path)
    elif "vocab_size" in config and not any((checkpoint / name).exists() for name in TOKENIZER_FILES):
        said = rows_problem(tokenizer.size, rows=config["vocab_size"], where=where, path=path)
    else:
        said = None
    if said is not None:
        yield "data.tokenizer.path", said


def _checkpoint(job: Job) -> tuple[str, str, Path | None]:
    """Where the job names one, what it writes there, and the directory; None for one that is not here."""
    match job.model.init:
        case FinishedInit() as init:
            where, path, found = "model.init.path", init.path, Path(init.path)
        case GuideInit() | TileInit() as init:
            where, path, found = "model.init.teacher", init.teacher, Path(locate_model(init.teacher))
        case _:
            return "model.init", "", None
    return where, path, found if found.is_absolute() and found.is_dir() else None


def _teacher(job: Job) -> tuple[str, Path] | None:
    """Of vectors: what the job writes, and the directory; None where there is none, or it is not here."""
    if not isinstance(job.objective, SentenceEmbedding) or job.objective.taught_by is None:
        return None
    found = Path(locate_model(job.objective.taught_by))
    return (job.objective.taught_by, found) if found.is_absolute() and found.is_dir() else None


def _config(checkpoint: Path | None) -> Mapping[str, Any]:
    """An empty one where there is none that can be read."""
    return {} if checkpoint is None else read_object(checkpoint / "config.json")
