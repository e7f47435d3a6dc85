"""One rank's whole life between `start` and `finish`: process group, parts, the first events, training, export, the
last event."""

import dataclasses
import hashlib
import os
import platform
from importlib.metadata import version

import torch
import transformers
from torch import distributed

from runjob.runner.worker.advice import few_tokens
from runjob.runner.worker.assemble import Assembly, assemble
from runjob.runner.worker.baseline import interpolated_bigram
from runjob.runner.worker.character_baseline import character_bigram
from runjob.runner.worker.corpus_advice import advise_on_corpus
from runjob.runner.worker.engine import start_process_group
from runjob.runner.worker.memory import answering_memory
from runjob.runner.worker.models.configs import ids_in
from runjob.runner.worker.recording import advise, log_profile
from runjob.runner.worker.saving import wait_for_save_after_failure
from runjob.runner.worker.stopping import StopWatch
from runjob.runner.worker.train import Ending, train
from runjob.schemas.errors import MissingError, RunjobError
from runjob.schemas.frozen import CODE_LIST
from runjob.schemas.job_json import read_job_json
from runjob.schemas.label_rules import BESIDE_TEXT
from runjob.schemas.machine import processor_name
from runjob.schemas.own_log import say
from runjob.schemas.plan import Plan
from runjob.schemas.run import Attempt, RunDir, read_json, write_json


class Session:
    """`step`: how far training has come, for the outcome of a failure too."""

    def __init__(self, run: RunDir, attempt: Attempt, stop_watch: StopWatch) -> None:
        self.run = run
        self.attempt = attempt
        self.stop_watch = stop_watch
        self.assembly: Assembly | None = None

    @property
    def step(self) -> int:
        return self.assembly.parts.state.step if self.assembly is not None else 0

    def run_to_end(self) -> Ending:
        job = read_job_json(self.run.job).job
        plan = Plan.read(self.run.plan)
        set_up_torch(plan)
        with answering_memory(job, run_id=self.run.id, ranks=plan.batch.ranks, where="training"):
            self.assembly = assemble(self.run, self.attempt, job, plan, self.stop_watch)
            announce(self.assembly)
            ending = train(self.assembly.parts)
        # of a loop that ended before the last of the steps to be watched
        log_profile(self.assembly.parts, self.assembly.parts.profiler.end(self.step))
        self.assembly.parts.close_data(finished=ending.outcome == "finished")
        if ending.outcome == "finished":
            from runjob.runner.worker.finish import finish  # export and card: no first step waits for them

            finish(self.assembly, ending)
        self.assembly.parts.journal.close()
        close_group()
        return ending

    def log_error(self, error: Exception) -> None:
        """An `error` event, if the run came so far as to have a journal; what is being written is written first."""
        if self.assembly is not None:
            wait_for_save_after_failure(self.assembly.parts)
            text = f"{type(error).__name__}: {error}"
            try:
                self.assembly.parts.journal.log("error", step=self.step, error=text)
                self.assembly.parts.journal.close()
            except (RunjobError, OSError) as again:  # most likely the same once more: what failed first is what counts
                say(f"nor can that be recorded: {again}")


def set_up_torch(plan: Plan) -> None:
    """Threads as planned, deterministic kernels on a GPU, the process group (gloo on CPU, NCCL on CUDA)."""
    torch.set_num_threads(plan.resources.threads)
    if plan.resources.device == "cuda":
        if not torch.cuda.is_available():
            raise MissingError(
                f"hardware.device: cuda, and torch {torch.__version__} sees no GPU: install a torch built for CUDA "
                "that fits the driver (nvidia-smi names it), or set hardware.device to cpu"
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    start_process_group()


def close_group() -> None:
    """All ranks leave together: a rank that is gone early looks like a failure to the others' last collective."""
    distributed.barrier()
    distributed.destroy_process_group()


def announce(assembly: Assembly) -> None:
    """The events `start`, then `init` (fresh weights) or `resume`, and advice that holds before the first step."""
    parts, journal, step = assembly.parts, assembly.parts.journal, assembly.parts.state.step
    journal.log("start", step=step, **start_facts(assembly))
    if assembly.start.checkpoint is None:
        journal.log("init", step=step, **assembly.init.to_event())
        if parts.exchange.rank == 0:
            write_json(parts.run.init, dataclasses.asdict(assembly.init))
        log_baseline(assembly)
    else:
        journal.log(
            "resume",
            step=step,
            checkpoint=assembly.start.checkpoint.path.name,
            passed_over=list(assembly.start.passed_over),
        )
    if assembly.start.checkpoint is None:
        advise_on_data(assembly)
        if assembly.kernels.unbuilt:
            journal.log("advice", step=step, name="kernels", advice=assembly.kernels.advice)
        advise(parts, advise_on_corpus(parts.job, assembly.store, assembly.config))


def advise_on_data(assembly: Assembly) -> None:
    """Of a model from scratch that is large for the text that the run will see."""
    if assembly.init.loaded or assembly.parts.job.objective.kind in BESIDE_TEXT:  # of text that is predicted alone
        return
    clock = assembly.parts.clock
    told = few_tokens(clock.total_steps * clock.tokens_per_step, parameters=assembly.init.parameters)
    if told is not None:
        advise(assembly.parts, [told])


def log_baseline(assembly: Assembly) -> None:
    """What counting alone reaches on the tokens of the evaluation, if the job asks for it."""
    parts = assembly.parts
    if parts.job.evaluation.baseline is None or parts.exchange.rank != 0:
        return
    store = assembly.store
    if parts.job.evaluation.baseline == "character_bigram":
        report = character_bigram(store.train, parts.evaluator.rows, table=ids_in(assembly.config))
    else:
        report = interpolated_bigram(store.train.tokens, store.validation.tokens, store.summary.tokenizer.vocab_size)
    parts.journal.log("baseline", step=0, **vars(report))


def start_facts(assembly: Assembly) -> dict[str, object]:
    """Everything that a later reader needs to know of where and with what this attempt ran."""
    parts, plan = assembly.parts, assembly.parts.plan
    return {
        "device": plan.resources.device,
        "device_name": device_name(plan),
        "dtype": parts.job.training.precision,
        "attention": assembly.config._attn_implementation,
        "compile": parts.job.training.compile,
        **assembly.kernels.facts(),
        "ranks": plan.batch.ranks,
        "nodes": plan.resources.nodes,
        "zero": parts.engine.stage,
        "threads": torch.get_num_threads(),
        "processor": processor_name(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "deepspeed": version("deepspeed"),
        },
        "hashes": {
            "deepspeed.json": hashlib.sha256(parts.run.deepspeed.read_bytes()).hexdigest(),
            "job.json": hashlib.sha256(parts.run.job.read_bytes()).hexdigest(),
            "code": code_hash(parts.run),
            "data": assembly.store.summary.content,
            "tokenizer": assembly.store.summary.tokenizer.fingerprint,
        },
        "steps": parts.clock.total_steps,
        "rows": parts.clock.rows if parts.feed is None else None,  # nobody knows how long a stream is
    }


def device_name(plan: Plan) -> str:
    return torch.cuda.get_device_name() if plan.resources.device == "cuda" else processor_name()


def code_hash(run: RunDir) -> str | None:
    """sha256 of the frozen code, where the run has one."""
    file = run.code / CODE_LIST
    return str(read_json(file)["sha256"]) if file.exists() else None
