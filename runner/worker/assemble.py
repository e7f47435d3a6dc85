"""A run directory becomes the parts of a training run: the one room that knows how they fit together. All ranks come
here alike; what only rank 0 may decide (which checkpoint is good) it tells the others."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed
from transformers import PreTrainedConfig

from runjob.data.block_rows import PATIENCE_S
from runjob.data.corpus import names_of
from runjob.data.cut import Limit
from runjob.data.mixture import open_order
from runjob.data.rows import Rows, count_tokens
from runjob.data.store import Store
from runjob.data.stream import TrainStream
from runjob.runner.worker.cadence import Cadence
from runjob.runner.worker.checkpoint import Checkpoint
from runjob.runner.worker.copies import Copies
from runjob.runner.worker.engine import Engine
from runjob.runner.worker.evaluate import Evaluator
from runjob.runner.worker.exchange import Exchange
from runjob.runner.worker.feed import open_feed
from runjob.runner.worker.journal import Journal, SilentJournal
from runjob.runner.worker.kernels.choice import Kernels, choose_kernels
from runjob.runner.worker.kernels.families import install
from runjob.runner.worker.models.document_attention import check_documents_apart
from runjob.runner.worker.models.init import (
    InitReport,
    build_network,
    check_positions,
    enable_gradient_checkpointing,
)
from runjob.runner.worker.models.kept_gradient import keep_gradients
from runjob.runner.worker.models.taught_vectors import Teacher
from runjob.runner.worker.objective import (
    guessed_among,
    head_labels,
    identity_of,
    open_module,
    open_other_shares,
    open_reader,
    open_retrieval,
    tags_of,
)
from runjob.runner.worker.optimizer_state import scatter
from runjob.runner.worker.parts import Parts
from runjob.runner.worker.profiling import Profiler
from runjob.runner.worker.pulse import Pulse
from runjob.runner.worker.schedule import Clock, LearningRate
from runjob.runner.worker.seeds import seed_of
from runjob.runner.worker.start import Start, choose_start, refuse_foreign
from runjob.runner.worker.state import TrainingState
from runjob.runner.worker.stopping import StopWatch
from runjob.runner.worker.teaching import add_teaching, open_teacher
from runjob.runner.worker.writing import Writing
from runjob.schemas.data_rules import cycle_of
from runjob.schemas.end_to_end import end_to_end
from runjob.schemas.errors import MissingError
from runjob.schemas.job import Job
from runjob.schemas.job_data import MixData, streamed
from runjob.schemas.job_model import group_of
from runjob.schemas.machine import missing_compiler
from runjob.schemas.plan import Plan
from runjob.schemas.run import Attempt, RunDir


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """The parts, and what the first events say of how they came to be."""

    parts: Parts
    start: Start
    init: InitReport
    store: Store
    config: PreTrainedConfig
    kernels: Kernels
    teacher: Teacher | None


def assemble(run: RunDir, attempt: Attempt, job: Job, plan: Plan, stop_watch: StopWatch) -> Assembly:
    exchange = Exchange()
    store = Store.open(Path(run.read_data()["store"]))
    reader = open_reader(job, store)
    feed = (
        open_feed(run, attempt, job, store, reader, exchange=exchange, stop_watch=stop_watch)
        if streamed(job.data)
        else None
    )
    rows = reader.open(store.train) if feed is None else feed.rows
    measured = rows if feed is None else reader.open(store.validation)  # nobody knows the rows of a stream
    clock = Clock.of(
        job.training.length,
        rows=len(rows),
        global_batch=plan.batch.global_batch,
        tokens_per_step=tokens_per_step(measured, plan),
    )
    start = choose_start(run, attempt, rank=exchange.rank)
    network, init = build_network(
        job.model,
        job.objective.kind,
        tokenizer=store.summary.tokenizer,
        seed=seed_of(job.seed, "init"),
        tokenizer_at=store.tokenizer,
        filled_later=start.checkpoint is not None,
        labels=head_labels(job),
    )
    teacher = open_teacher(job, store)
    if teacher is not None:
        init = add_teaching(network, init, teacher, job)
    check_positions(network, sequence_length=job.data.sequence_length)
    if job.data.attention == "document":
        check_documents_apart(network)
    network.config.architectures = [type(network).__name__]
    identity = run_identity(job, store, network)
    if init.taught is not None:
        identity["teacher"] = init.taught.sha256
    if start.checkpoint is not None:
        refuse_foreign(start.checkpoint, identity)
        load_weights(network, start.checkpoint)
    if job.training.gradient_checkpointing and job.objective.kind != "plm":  # which does it by itself
        enable_gradient_checkpointing(network)
    kernels = choose_kernels(job, exchange)
    if kernels.why_not is None:
        install(network)
    module = open_module(job, network, store.summary.tokenizer, store.summary.train.labels, store.tokenizer, teacher)
    if job.training.compile and (lacking := missing_compiler(job.hardware.device)) is not None:
        raise MissingError(lacking)
    engine = Engine(module, run.deepspeed, ranks=exchange.ranks, compiled=job.training.compile)
    if engine.plain and engine.device.type == "cpu" and not job.training.compile:
        keep_gradients(network)
    learning_rate = LearningRate(job.training.schedule, clock, peak=engine.peak_learning_rate)
    if start.checkpoint is not None:
        restore_optimizer(engine, start.checkpoint)
    validation = reader.open(store.validation)
    state = start.checkpoint.state if start.checkpoint is not None else TrainingState()
    if start.after_finish:
        state.give_another_chance()
    journal = open_journal(run, attempt, job, start) if exchange.rank == 0 else SilentJournal()
    parts = Parts(
        run=run,
        attempt=attempt,
        job=job,
        plan=plan,
        clock=clock,
        stream=TrainStream(
            rows,
            open_order(job.data, rows.sections, seed=job.seed) if feed is None else feed.order,
            global_batch=plan.batch.global_batch,
            limit=training_limit(job, network.config),
            rank=exchange.rank,
            ranks=exchange.ranks,
        ),
        evaluator=Evaluator(
            rows=validation,
            limit=evaluation_limit(job, network.config),
            objective=job.objective.kind,
            token_bytes=reader.token_bytes,
            added=reader.added,
            sources=names_of(job.data) if isinstance(job.data, MixData) else (),
            others=open_other_shares(job, store, store.validation),
            tags=tags_of(job),
            retrieval=open_retrieval(job, validation),
            exchange=exchange,
        ),
        exchange=exchange,
        engine=engine,
        learning_rate=learning_rate,
        journal=journal,
        state=state,
        stop_watch=stop_watch,
        identity=identity,
        log_cadence=Cadence(job.training.log_every, clock),
        evaluation_cadence=Cadence(job.evaluation.every, clock),
        save_cadence=Cadence(job.training.checkpoint.every, clock),
        saved_step=state.step,
        copies=Copies(),
        writing=Writing(run, sync_journal=journal.sync),
        profiler=Profiler(
            job.tracking.profile if exchange.rank == 0 else None, run.profile, cuda=job.hardware.device == "cuda"
        ),
        pulse=Pulse(job.training.hung_after, wait_s=0.0 if feed is None else PATIENCE_S),
        classes=guessed_among(job, network.config),
        feed=feed,
    )
    return Assembly(
        parts=parts, start=start, init=init, store=store, config=network.config, kernels=kernels, teacher=teacher
    )


def tokens_per_step(rows: Rows, plan: Plan) -> int:
    """What an amount like `100M tokens` is divided by: where rows differ in length, what a step holds on average."""
    if not rows.bucketed:
        return plan.tokens_per_step
    return max(round(plan.batch.global_batch * count_tokens(rows) / len(rows)), 1)


def training_limit(job: Job, config: PreTrainedConfig) -> Limit:
    padded = not end_to_end(job, family=config.model_type)
    return Limit(
        rows=job.training.micro_batch,
        tokens=job.training.micro_tokens,
        padded=padded,
        group=group_of(job.objective),
    )


def evaluation_limit(job: Job, config: PreTrainedConfig) -> Limit:
    """The job's own, else that of its training section: what the file says, so that no number of ranks changes which
    rows are evaluated together."""
    if job.evaluation.micro_batch is not None:
        return Limit(rows=job.evaluation.micro_batch, tokens=None, group=group_of(job.objective))
    return training_limit(job, config)


def open_journal(run: RunDir, attempt: Attempt, job: Job, start: Start) -> Journal:
    return Journal(run, attempt, tracking=job.tracking, from_step=start.step)


def run_identity(job: Job, store: Store, network: torch.nn.Module) -> dict[str, object]:
    """What a checkpoint belongs to: a resume with another tokenizer, corpus, network or order of data is refused."""
    # by what the tensors are, not by a library's configuration keys, which change from version to version
    shapes = [(name, tuple(parameter.shape)) for name, parameter in network.named_parameters()]
    return {
        "data": identity_of_data(job, store),
        "tokenizer": store.summary.tokenizer.fingerprint,
        "architecture": hashlib.sha256(repr(shapes).encode()).hexdigest(),
        "objective": identity_of(job),
        "sequence_length": job.data.sequence_length,
        "global_batch": job.training.global_batch,
        "seed": job.seed,
    }


def identity_of_data(job: Job, store: Store) -> str:
    """What the tokens are; of a stream, whose tokens come later, what they come from (data/streaming_prepare.py)."""
    if isinstance(job.data, MixData):  # the weights decide no token, but which comes when
        shares = cycle_of([source.weight for source in job.data.sources])
        return hashlib.sha256(f"{store.summary.content} {shares}".encode()).hexdigest()
    if not streamed(job.data):
        return store.summary.content
    return hashlib.sha256(f"{store.summary.fingerprint} {store.summary.content}".encode()).hexdigest()


@torch.no_grad()
def load_weights(network: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Before the engine is built: it then partitions, or rounds to bf16, the right weights."""
    places = dict(network.named_parameters())
    for name, tensor in checkpoint.weights():
        places[name].copy_(tensor)


def restore_optimizer(engine: Engine, checkpoint: Checkpoint) -> None:
    scatter(engine.deepspeed, engine.stage, checkpoint.read, step=checkpoint.optimizer["adam_step"])
    engine.restore_loss_scaler(checkpoint.optimizer["loss_scaler"])
    engine.deepspeed.global_steps = checkpoint.step
    if distributed.get_world_size() > 1:
        distributed.barrier()
