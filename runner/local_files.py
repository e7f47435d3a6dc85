"""What a job names on this machine and is not there, or is there and does not fit (local_fields.py, local_fit.py): each
with its place in the job file, before a run exists. That is the submission's to ask and not the schema's: `validate`
judges a job on any machine."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from runjob.data.samples import locate_model, locate_tokenizer
from runjob.runner.local_fields import find_other_fields
from runjob.runner.local_fit import find_misfits
from runjob.runner.needs import sources_of
from runjob.schemas.errors import MissingError
from runjob.schemas.job_data import (
    CharacterTokenizer,
    Data,
    FilesSplit,
    HubData,
    MixData,
    MixedHub,
    PretrainedTokenizer,
)
from runjob.schemas.job_model import FinishedInit, GuideInit, Init, Objective, SentenceEmbedding, TileInit
from runjob.schemas.problems import DEFAULT, Problem
from runjob.schemas.read import Resolved, mark_of
from runjob.schemas.teacher import encoder_problems, teacher_problems
from runjob.schemas.urls import is_url

LAST_KEY = re.compile(r"(\.[^.\[]+|\[\d+\])$")


def missing_files(resolved: Resolved) -> tuple[Problem, ...]:
    """The files and directories of the whole job that are not here, or are not what the job takes them for."""
    job = resolved.job
    model = (*find_missing_model(job.model.init), *find_missing_teacher(job.objective), *find_misfits(job))
    return (*missing_data_files(resolved), *_placed(resolved, list(model)))


def missing_data_files(resolved: Resolved) -> tuple[Problem, ...]:
    """Those of its data, which is all that `prepare` needs."""
    data = resolved.job.data
    return _placed(resolved, [*find_missing(data), *find_other_fields(data)])


# (path in the job, what is wrong)
Found = tuple[str, str]


def find_missing_model(init: Init) -> Iterator[Found]:
    """The directory of first weights; of a teacher also whether such a student can be made of it."""
    made = "`runjob export` writes one"
    match init:
        case FinishedInit():
            yield from missing_directory("model.init.path", init.path, made=made)
        case GuideInit() | TileInit():
            try:
                teacher = locate_model(init.teacher)
            except MissingError as error:
                yield "model.init.teacher", str(error).removeprefix("model.init.teacher: ")
                return
            yield from missing_directory("model.init.teacher", teacher, made=made)
            config = Path(teacher) / "config.json"
            try:
                yield from teacher_problems(init, json.loads(config.read_text(encoding="utf-8")))
            except FileNotFoundError:  # a name on the Hub
                return
            except ValueError as error:
                yield "model.init.teacher", f"{config} can't be read: {error}"


def find_missing_teacher(objective: Objective) -> Iterator[Found]:
    """Of vectors: its directory, and whether its vectors are those that the job takes them for."""
    if not isinstance(objective, SentenceEmbedding) or objective.taught_by is None:
        return
    where = "objective.teacher"
    try:
        teacher = locate_model(objective.taught_by)
    except MissingError as error:
        yield where, str(error)
        return
    yield from missing_directory(where, teacher, made="`runjob export` writes one")
    if Path(teacher).is_dir():
        yield from encoder_problems(objective, Path(teacher))


def find_missing(data: Data) -> Iterator[Found]:
    for number, source in enumerate(sources_of(data)):
        where = f"data.sources[{number}].path" if isinstance(data, MixData) else "data.path"
        if isinstance(source, HubData | MixedHub):
            yield from missing_directory(where, source.path, made="data/*.parquet in it would do")
        else:
            yield from missing_texts(where, source.path, kind=source.kind)
    if isinstance(data.split, FilesSplit):
        yield from missing_texts("data.split.validation", data.split.validation, kind=data.kind)
        yield from missing_texts("data.split.test", data.split.test or (), kind=data.kind)
    if isinstance(data.tokenizer, PretrainedTokenizer):
        yield from missing_tokenizer("data.tokenizer.path", data.tokenizer.path)
    if not isinstance(data.tokenizer, CharacterTokenizer):
        for category, path in data.tokenizer.terms.items():
            yield from missing_terms(f"data.tokenizer.terms.{category}", path)


def missing_texts(where: str, patterns: tuple[str, ...], *, kind: str) -> Iterator[Found]:
    from runjob.data.files import LIKE, is_remote, local_files

    for pattern in patterns:
        try:
            if not is_remote(pattern):
                local_files(pattern, like=LIKE[kind])
        except MissingError as error:
            yield where, f"{error}; `runjob samples` lists corpora that come with runjob"


def missing_terms(where: str, path: str) -> Iterator[Found]:
    """What stands in the file is data/terms.py's to judge; that nothing does can be seen from here."""
    if path.startswith("sample:"):
        return
    if not Path(path).is_file():
        yield (
            where,
            f"{path}: {'is a directory and no file' if Path(path).is_dir() else 'no such file'}; it holds terms",
        )
    elif not Path(path).stat().st_size:
        yield where, f"{path}: is empty (0 bytes); write one term a line, or leave the category out"


def missing_tokenizer(where: str, path: str) -> list[Found]:
    """With the commands that make one."""
    try:
        made = "`runjob tokenizer build` or `extend` makes one"
        return missing_directory(where, locate_tokenizer(path), made=made)
    except MissingError as error:
        return [(where, str(error))]


def missing_directory(where: str, path: str, *, made: str) -> list[Found]:
    """A path (names on the Hub are none; read_job has made paths absolute) that leads to no directory; `made` says how
    there would be one."""
    if is_url(path) or not Path(path).is_absolute() or Path(path).is_dir():
        return []
    what = "is a file and no directory" if Path(path).exists() else "no such directory"
    return [(where, f"{path}: {what}; {made}")]


def _placed(resolved: Resolved, found: list[Found]) -> tuple[Problem, ...]:
    return tuple(Problem.at(mark_of(_origin(resolved, where)), where, said) for where, said in found)


def _origin(resolved: Resolved, path: str) -> str:
    """Where the value was written, or the list that it is in; of a default, where its section says its kind."""
    while path not in resolved.origins:
        path = LAST_KEY.sub("", path)
    written = resolved.origins[path]
    beside = LAST_KEY.sub(".kind", path)
    return resolved.origins.get(beside, written) if mark_of(written) == DEFAULT else written
