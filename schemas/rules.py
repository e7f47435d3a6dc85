"""What JSON Schema can't say about a job: one small function a rule.

A rule asks for the values it needs (`job["training.length"]`), and yields the path to blame with what to write
instead. Where a value is missing or already found wrong, the rule is silent: that mistake has its own line.
"""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runjob.schemas.batch_rule import batch_problem
from runjob.schemas.data_rules import DATA_RULES
from runjob.schemas.derived import dotted_keys, refuse_derived
from runjob.schemas.embedding_rules import EMBEDDING_RULES
from runjob.schemas.kernels import kernels_problem
from runjob.schemas.label_rules import LABEL_RULES
from runjob.schemas.model_rules import MODEL_RULES
from runjob.schemas.problems import DEFAULT, Mark, Problem
from runjob.schemas.stream_rules import STREAM_RULES
from runjob.schemas.urls import hide_secrets, remote_problem
from runjob.schemas.values import Unknown, Values
from runjob.schemas.wording import short

# Families whose attention can be told where documents begin (runner/worker/models/document_attention.py)
APART = frozenset(["gpt2", "bert", "modernbert", "mpnet"])

# A trace of more is too large for the programs that show one
MOST_PROFILED = 100

# (path, message)
Findings = Iterator[tuple[str, str]]
Rule = Callable[[Values], Findings]


def batch_divides(job: Values) -> Findings:
    if (ranks := _ranks(job)) is None:
        return  # gpus: all is known only where the job starts; the compiler asks again
    group = 1  # of all objectives but the one that has some
    with contextlib.suppress(Unknown):
        group = job["objective.group"]
    total, micro = job["training.global_batch"], job["training.micro_batch"]
    if total % group or (micro is not None and micro % group):
        return  # embedding_rules.py says so
    said = batch_problem(total, micro, ranks, group=group)
    if said:
        yield "training.global_batch", said


def micro_batches_have_one_limit(job: Values) -> Findings:
    rows, tokens = job["training.micro_batch"], job["training.micro_tokens"]
    if rows is None and tokens is None:
        said = "missing; write `micro_batch: 8` (sequences computed at a time), or micro_tokens instead"
        yield "training.micro_batch", said
    if rows is not None and tokens is not None:
        said = f"micro_batch says already how micro batches are cut ({rows} sequences each); delete one of the two"
        yield "training.micro_tokens", said


def a_row_fits_a_micro_batch(job: Values) -> Findings:
    length, tokens = job["data.sequence_length"], job["training.micro_tokens"]
    if tokens is not None and length > tokens:
        said = f"{tokens} tokens don't hold one row (data.sequence_length {length}); write {length} or more"
        yield "training.micro_tokens", said


def only_packed_rows_hold_several_documents(job: Values) -> Findings:
    layout = job["data.layout"]
    if job["data.attention"] == "document" and layout != "pack":
        yield "data.attention", f"in layout {layout} a row is one document already; delete it"
    if job["data.long_documents"] == "truncate" and layout != "lines":
        said = f"layout {layout} joins documents and cuts none short; delete it, or write `layout: lines`"
        yield "data.long_documents", said


def documents_apart_where_the_family_can(job: Values) -> Findings:
    if job["data.attention"] == "document" and (family := job["model.init.architecture"]) not in APART:
        said = f"document is possible for {', '.join(sorted(APART))}, not for {family}; write row, or layout lines"
        yield "data.attention", said


def _ranks(job: Values) -> int | None:
    """Ranks over all nodes, as far as the file knows them."""
    nodes: int = job["hardware.nodes"]
    if job["hardware.ranks"] is not None:
        return nodes * int(job["hardware.ranks"])
    if job["hardware.device"] != "cuda":
        return nodes
    return nodes * int(job["hardware.gpus"]) if isinstance(job["hardware.gpus"], int) else None


def warmup_is_shorter_than_the_run(job: Values) -> Findings:
    share = job.in_run("training.schedule.warmup")
    if share is not None and share >= 1:
        warmup, length = job["training.schedule.warmup"], job["training.length"]
        yield "training.schedule.warmup", f"{warmup} is not shorter than the run (training.length {length})"


def decay_follows_warmup(job: Values) -> Findings:
    decay, warmup = job.in_run("training.schedule.decay"), job.in_run("training.schedule.warmup")
    if decay is not None and warmup is not None and warmup < 1 < decay + warmup:
        said = f"{job['training.schedule.decay']} and the warm-up of {job['training.schedule.warmup']} are longer"
        yield "training.schedule.decay", f"{said} than the run (training.length {job['training.length']})"


def stop_comes_before_the_end(job: Values) -> Findings:
    share = job.in_run("training.stop_after")
    if share is not None and share >= 1:
        said = f"{job['training.stop_after']} is not before the end (training.length {job['training.length']})"
        yield "training.stop_after", f"{said}; write fewer steps, or null"


def amount_is_whole(path: str) -> Rule:
    """`0 steps` and `1.5 steps` fit the pattern; `1.5k steps` is 1500 and fine."""

    def rule(job: Values) -> Findings:
        amount = job.amount(path)
        if amount is None or amount.never or amount.unit == "share":
            return
        if amount.amount == 0 and path != "training.schedule.warmup":
            yield path, f"must be more than {amount.text}{'; write `never`' if path.endswith('every') else ''}"
        elif amount.unit in ("steps", "tokens", "evaluations") and amount.amount.denominator != 1:
            yield path, f"{amount.text} is not a whole number of {amount.unit}"

    return rule


def sequence_fits_the_model(job: Values) -> Findings:
    length, positions = job["data.sequence_length"], job["model.init.max_position_embeddings"]
    if length > positions:
        said = f"{length} is longer than the model can read (model.init.max_position_embeddings {positions})"
        yield "data.sequence_length", said


def whole_documents_are_measured(job: Values) -> Findings:
    """Of truncated documents it isn't known how many bytes of text are left, and a bigram model reads all of them."""
    if job["data.long_documents"] != "truncate":
        return
    for path, metric in job.watched():
        if metric == "bits_per_byte":
            yield path, "bits_per_byte is not measured where data.long_documents truncates; write `loss`"
    if job["evaluation.baseline"] == "interpolated_bigram":
        said = "a bigram model reads whole documents, and data.long_documents truncates them; write null"
        yield "evaluation.baseline", said


def filter_is_a_regular_expression(path: str) -> Rule:
    def rule(job: Values) -> Findings:
        pattern = job[path]
        if pattern is not None and (said := _regex_problem(pattern)):
            yield path, f"{short(pattern)!r} is no regular expression: {said}"

    return rule


def _regex_problem(pattern: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a later Python may read otherwise is right today
            re.compile(pattern)
    except re.error as error:
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        return f"{error.msg}{where}; a backslash before a special character takes it as it stands"
    except (OverflowError, RecursionError) as error:
        return f"{error}; write a simpler one"
    return None


def precision_fits_the_hardware(job: Values) -> Findings:
    precision, device = job["training.precision"], job["hardware.device"]
    if precision == "fp16" and device != "cuda":
        yield "training.precision", f"fp16 needs hardware.device cuda, not {device}; write fp32 or bf16"
    if precision == "bf16_params" and job["hardware.zero"] == 0:
        why = "at stage 0 DeepSpeed wraps the optimiser in another way, which trains differently"
        yield "training.precision", f"bf16_params needs hardware.zero 1 to 3 ({why}); raise it, or write bf16"


def offload_has_a_stage(job: Values) -> Findings:
    zero = job["hardware.zero"]
    if job["hardware.offload.optimizer"] == "cpu" and zero < 1:
        yield "hardware.offload.optimizer", f"cpu needs hardware.zero 1 to 3, not {zero}"
    if job["hardware.offload.parameters"] == "cpu" and zero < 3:
        yield "hardware.offload.parameters", f"cpu needs hardware.zero 3, not {zero}"


def gpus_belong_to_cuda(job: Values) -> Findings:
    device, gpus = job["hardware.device"], job["hardware.gpus"]
    if device == "cuda" and gpus is None:
        yield "hardware.gpus", "missing; device cuda needs to know how many: write `gpus: 1` or `gpus: all`"
    if device != "cuda" and gpus is not None:
        yield "hardware.gpus", f"device {device} has none; delete it, or write `device: cuda`"


def ranks_fit_the_devices(job: Values) -> Findings:
    device, gpus, ranks = job["hardware.device"], job["hardware.gpus"], job["hardware.ranks"]
    if ranks is None:
        return
    if device == "cuda" and isinstance(gpus, int) and ranks > gpus:
        yield "hardware.ranks", f"{ranks} ranks can't have a GPU each (hardware.gpus {gpus}); write {gpus} or less"
    if device == "mps" and ranks > 1:
        yield "hardware.ranks", f"device mps is one GPU, so {ranks} ranks can't have one each; write 1"


def compile_stops_at_zero_3(job: Values) -> Findings:
    if job["training.compile"] and job["hardware.zero"] == 3:
        why = "ZeRO 3 gathers parameters in hooks, and each hook breaks the graph"
        yield "training.compile", f"true can't go with hardware.zero 3 ({why}); write false, or zero 2"


def fused_kernels_fit_the_job(job: Values) -> Findings:
    if job["training.kernels"] != "fused":
        return
    precision, compiled = job["training.precision"], job["training.compile"]
    said = kernels_problem(precision=precision, device=job["hardware.device"], compiled=compiled)
    if said is not None:
        yield "training.kernels", f"fused can't be: {said}; write auto or torch"


def metrics_need_evaluations(job: Values) -> Findings:
    if job["evaluation.every"] != "never":
        return
    if job["evaluation.early_stopping"] is not None:
        yield "evaluation.early_stopping", "needs evaluations, but evaluation.every is never; write null"
    if job["evaluation.best"] is not None:
        said = f"`{job['evaluation.best']}` needs evaluations, but evaluation.every is never; write `best: null`"
        yield "evaluation.best", said


def going_back_needs_checkpoints(job: Values) -> Findings:
    if job["training.checkpoint.every"] != "never" or job["evaluation.best"] is not None:
        return
    for path in ("not_finite", "spike.action"):
        if job[f"training.on_bad_step.{path}"] == "rewind":
            said = "training.checkpoint.every is never: there is nothing to go back to; write skip, or save"
            yield f"training.on_bad_step.{path}", f"rewind, but {said}"


def deepspeed_keys_are_not_derived(job: Values) -> Findings:
    refused: list[str] = []
    given = job["hardware.deepspeed"]
    if not isinstance(given.get("zero_optimization", {}), dict):
        yield "hardware.deepspeed.zero_optimization", "expected keys with values; the stage is hardware.zero"
    for key in dotted_keys(given):
        if any(key.startswith(f"{above}.") for above in refused):
            continue
        if said := refuse_derived(key):
            refused.append(key)
            yield f"hardware.deepspeed.{key}", said


def copies_go_where_can_be_written(job: Values) -> Findings:
    remote = job["output.remote"]
    if remote is not None and (said := remote_problem(remote)):
        yield "output.remote", said


def curves_go_without_a_password(job: Values) -> Findings:
    uri = job["tracking.mlflow.uri"]
    if hide_secrets(uri) != uri:
        said = "holds a user name, password or token, which would stand in job.json; leave it out and give it to MLflow"
        names = "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN"
        yield "tracking.mlflow.uri", f"{hide_secrets(uri)} {said} ({names})"


def few_steps_of_the_run_are_profiled(job: Values) -> Findings:
    first, last, length = job["tracking.profile.first"], job["tracking.profile.last"], job.amount("training.length")
    if last < first:
        yield "tracking.profile.last", f"{last} comes before first ({first})"
    elif last - first >= MOST_PROFILED:
        said = f"{first} to {last} are {last - first + 1} steps, and the trace of each is some megabytes"
        yield "tracking.profile.last", f"{said}; at most {MOST_PROFILED}"
    elif length is not None and length.unit == "steps" and last > length.amount:
        yield "tracking.profile.last", f"{last} is beyond the end (training.length {length})"


RULES: tuple[Rule, ...] = (
    batch_divides,
    micro_batches_have_one_limit,
    a_row_fits_a_micro_batch,
    only_packed_rows_hold_several_documents,
    documents_apart_where_the_family_can,
    warmup_is_shorter_than_the_run,
    decay_follows_warmup,
    stop_comes_before_the_end,
    amount_is_whole("training.length"),
    amount_is_whole("training.stop_after"),
    amount_is_whole("training.log_every"),
    amount_is_whole("training.checkpoint.every"),
    amount_is_whole("training.schedule.warmup"),
    amount_is_whole("training.schedule.decay"),
    amount_is_whole("evaluation.every"),
    amount_is_whole("evaluation.early_stopping.patience"),
    sequence_fits_the_model,
    whole_documents_are_measured,
    *DATA_RULES,
    filter_is_a_regular_expression("data.filter.keep"),
    filter_is_a_regular_expression("data.filter.drop"),
    precision_fits_the_hardware,
    offload_has_a_stage,
    gpus_belong_to_cuda,
    ranks_fit_the_devices,
    compile_stops_at_zero_3,
    fused_kernels_fit_the_job,
    metrics_need_evaluations,
    going_back_needs_checkpoints,
    deepspeed_keys_are_not_derived,
    copies_go_where_can_be_written,
    curves_go_without_a_password,
    few_steps_of_the_run_are_profiled,
    *STREAM_RULES,
    *MODEL_RULES,
    *LABEL_RULES,
    *EMBEDDING_RULES,
)


def find_broken_rules(values: dict[str, Any], marks: Mapping[str, Mark]) -> list[Problem]:
    """Every rule's findings, placed where the value was written."""
    problems: list[Problem] = []
    for rule in RULES:
        job = Values(values, marks)
        with contextlib.suppress(Unknown):
            for path, said in rule(job):
                problems.append(Problem.at(_place(path, job.read, marks), path, said))
    return problems


def _place(path: str, read: list[str], marks: Mapping[str, Mark]) -> Mark:
    """Where `path` was written; a --set among what the rule read, if path was not set itself; else the section."""
    own = marks.get(path, DEFAULT)
    if own.is_set:
        return own
    for other in read:
        if other in marks and marks[other].is_set:
            return marks[other]
    while own.is_default and path:
        path = path.rpartition(".")[0]
        own = marks.get(path, DEFAULT)
    return own
