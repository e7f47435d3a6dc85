"""`extract`: a tagger and, with --re, a model of relations read a corpus. Which runs these are, and whether they fit,
is settled here from their jobs; the work is the worker's."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runjob.runner.command import Command, job_id, positive
from runjob.runner.commands_model import require_model, run_worker
from runjob.runner.commands_tokenizer import share
from runjob.schemas.errors import JobError, RunjobError
from runjob.schemas.job import Job
from runjob.schemas.job_json import read_job_json
from runjob.schemas.job_model import RelationClassification, TokenClassification
from runjob.schemas.run import RunDir, find_run, home

KINDS = {"--ner": "token_classification", "--re": "relation_classification"}


def run_extract(args: Namespace) -> int:
    ner, re = asked_runs(args)
    arguments = {**vars(args), "ner": str(ner.path), "re": None if re is None else str(re.path)}
    return run_worker("extract", [json.dumps(arguments)])


def asked_runs(args: Namespace) -> tuple[RunDir, RunDir | None]:
    """Of --ner and --re. All that is wrong with either, or with the name of the corpus, is said at once."""
    from runjob.data.files import LIKE, local_files

    problems: list[RunjobError] = []
    runs: list[RunDir] = []
    for option, wanted in (("--ner", args.ner), ("--re", args.re)):
        with noting(problems):
            runs += [] if wanted is None else [model_run(wanted, option=option)]
    with noting(problems):
        local_files(args.corpus, like=LIKE["jsonl"])
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise JobError("\n".join(map(str, problems)))
    ner, re = runs[0], None if args.re is None else runs[1]
    if re is not None:
        refuse_strangers(ner, re)
    return ner, re


@contextmanager
def noting(problems: list[RunjobError]) -> Iterator[None]:
    try:
        yield
    except RunjobError as error:
        problems.append(error)


def model_run(wanted: str, *, option: str) -> RunDir:
    """The run that a job's id, its directory or its model/ stand for, with a model for what this option asks."""
    run = run_of(wanted)
    job = read_job_json(run.job).job
    if job.objective.kind != KINDS[option]:
        other = next((name for name, kind in KINDS.items() if kind == job.objective.kind), None)
        hint = f"type {other} {wanted}" if other else f"`runjob jobs/tiny/paleo_{option[2:]}.yaml` trains one"
        said = f"{option} takes a run of objective: {{kind: {KINDS[option]}}}"
        raise JobError(f"{option} {wanted}: {run.id} is a run of {job.objective.kind}, and {said}; {hint}")
    require_model(run)
    return run


def run_of(wanted: str) -> RunDir:
    path = Path(wanted)
    if not path.is_dir():
        return find_run(home(), wanted)
    run, above = RunDir(path.absolute()), RunDir(path.absolute().parent)
    if run.job.is_file():
        return run
    if above.job.is_file() and path.absolute() == above.model:
        return above
    said = "is no run's directory, nor model/ in one; what a job does to a text before its model reads it stands in"
    raise JobError(f"{wanted}: {said} job.json, which a copy elsewhere does not have; name the run's id (`runjob ps`)")


def refuse_strangers(ner: RunDir, re: RunDir) -> None:
    """JobError where pairs of the second would never be found by the first."""
    found, wanted = labels_of(read_job_json(ner.job).job), types_of(read_job_json(re.job).job)
    strange = sorted(wanted - found)
    if strange:
        raise JobError(
            f"--re {re.id}: its pairs (objective.pairs.types) are of {', '.join(sorted(wanted))}, and {ner.id} finds "
            f"{', '.join(sorted(found))}: no {', '.join(strange)}; name an --ner with these labels, or train the "
            f"relations with types of its labels"
        )


def labels_of(job: Job) -> set[str]:
    assert isinstance(job.objective, TokenClassification), "looked at before"
    return set(job.objective.labels)


def types_of(job: Job) -> set[str]:
    """The labels of entities that a job's pairs are of; none where it takes any."""
    assert isinstance(job.objective, RelationClassification), "looked at before"
    return {label for pair in job.objective.pairs.types or () for label in pair.split(">")}


def configure_extract(parser: ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help=".jsonl or .txt (a document a line), a glob, or sample:NAME")
    said = "a job's id, NAME@latest, or the directory of a run: it finds the entities"
    parser.add_argument("--ner", required=True, type=job_id, metavar="ID", help=said)
    parser.add_argument("--re", type=job_id, metavar="ID", help="the same of a run that tells how two are related")
    parser.add_argument("-o", "--out", required=True, metavar="OUT.jsonl", help="a record a document")
    parser.add_argument("--field", metavar="NAME", help="where .jsonl has its text (default: text)")
    said = "the share of rows that may be left out because they can't be read (default: 0, none)"
    parser.add_argument("--bad-rows", type=share, default=0.0, metavar="SHARE", help=said)
    said = "rows that are computed at once (default: 32); what is written does not depend on it"
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help=said)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--overwrite", action="store_true", help="write OUT.jsonl anew where there is one")
    parser.add_argument("--quiet", action="store_true", help="print what was found, and nothing on the way")


COMMANDS = (
    Command(
        name="extract",
        usage="CORPUS",
        summary="find entities and relations in a corpus",
        configure=configure_extract,
        run=run_extract,
        examples=(
            "runjob extract corpus.jsonl --ner paleo_ner@latest -o out.jsonl",
            "runjob extract a.txt --ner paleo_ner@latest --re paleo_re@latest -o b.jsonl",
        ),
    ),
)
