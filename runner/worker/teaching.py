"""Who teaches a run: the encoder that `objective.teacher` names, looked at before anything is learnt from it."""

import dataclasses
from pathlib import Path

from transformers import PreTrainedModel

from runjob.data.samples import locate_model
from runjob.data.store import Store
from runjob.runner.worker.models.init import (
    InitReport,
    Taught,
    add_vector_layer,
    build_teacher,
    check_positions,
)
from runjob.runner.worker.models.loading import Source
from runjob.runner.worker.models.taught_vectors import Teacher
from runjob.runner.worker.models.token_classes import FAMILIES
from runjob.runner.worker.seeds import seed_of
from runjob.schemas.errors import JobError
from runjob.schemas.job import Job
from runjob.schemas.job_model import SentenceEmbedding
from runjob.schemas.teacher import encoder_problems

FIELD = "objective.teacher"


def open_teacher(job: Job, store: Store) -> Teacher | None:
    """None where nobody teaches. JobError for one that reads other tokens, or is no encoder."""
    objective = job.objective
    if not isinstance(objective, SentenceEmbedding) or objective.taught_by is None:
        return None
    source = Source(field=FIELD, path=locate_model(objective.taught_by), revision=objective.teacher_revision)
    if problems := [f"{where}: {said}" for where, said in encoder_problems(objective, Path(source.path))]:
        raise JobError("\n".join(problems))
    network = build_teacher(source, tokenizer=store.summary.tokenizer, tokenizer_at=store.tokenizer)
    if network.config.model_type not in FAMILIES:
        said = f"{objective.taught_by} is of the family {network.config.model_type}, and vectors are made by"
        raise JobError(f"{FIELD}: {said} {', '.join(FAMILIES)}")
    check_positions(network, sequence_length=job.data.sequence_length)
    return Teacher(network=network, pooling=objective.teacher_pooling)


def add_teaching(network: PreTrainedModel, init: InitReport, teacher: Teacher, job: Job) -> InitReport:
    """The network as wide as its teacher's vectors, and the account of both."""
    assert isinstance(job.objective, SentenceEmbedding) and job.objective.taught_by is not None
    taught = Taught(
        teacher=job.objective.taught_by,
        sha256=teacher.sha256,
        parameters=sum(weight.numel() for weight in teacher.network.parameters()),
        numbers=teacher.width,
    )
    wide = add_vector_layer(network, init, width=teacher.width, seed=seed_of(job.seed, "init", "dense"))
    return dataclasses.replace(wide, taught=taught)
