"""The facts of a model card, gathered from the job, the prepared data and what the run itself recorded.

Paths of the machine where the data lay are nobody's business: a file is named, its folder is not.
"""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from runjob.data.blocks import Index
from runjob.data.corpus import alone
from runjob.data.store import LeftOut, Summary
from runjob.runner.worker.card import CardFacts, DataFacts, EvaluationFacts, ModelFacts, SeenOnce, TrainingFacts
from runjob.runner.worker.card_classes import ENTITY_METRICS, class_facts
from runjob.runner.worker.card_vectors import vector_facts
from runjob.runner.worker.metrics import Metrics
from runjob.schemas.embedding_rules import OF_RETRIEVAL
from runjob.schemas.job import AdamW, ConstantSchedule, Job, Schedule
from runjob.schemas.job_data import (
    CharacterTokenizer,
    Data,
    FilesSplit,
    FirstSplit,
    HashSplit,
    HubData,
    MixData,
    Normalize,
    PretrainedTokenizer,
    Split,
    SubsetsSplit,
    streamed,
)
from runjob.schemas.job_model import (
    CausalLM,
    CharAR,
    Classification,
    GuideInit,
    MaskedLM,
    Model,
    Objective,
    PermutedLM,
    PretrainedInit,
    RunInit,
    SentenceEmbedding,
    TileInit,
)
from runjob.schemas.run import RunDir

UNITS = {"token": "tokens", "word": "words", "char": "characters"}
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
ALGORITHMS = {"bpe": "BPE", "wordpiece": "WordPiece", "unigram": "unigram pieces"}


def gather_facts(
    run: RunDir,
    job: Job,
    summary: Summary,
    config: Any,  # noqa: ANN401 - a configuration of transformers
    *,
    parameters: int,
    step: int,
    planned: int,
    tokens: int,
    test: Metrics | None,
) -> CardFacts:
    """Facts of the model of `step`, up to which `tokens` went through the network (those of its checkpoint); `test`
    is what it reached on the test side."""
    events = list(run.read_events())
    return CardFacts(
        name=job.name,
        id=run.id,
        license=job.output.license,
        language=job.output.language,
        description=job.output.description,
        data=data_facts(job, summary, left_out_until(run, job, summary, step)),
        model=ModelFacts(
            init=_init(job.model),
            architecture=config.architectures[0] if config.architectures else config.model_type,
            parameters=parameters,
            sizes={name: getattr(config, name) for name in SIZES if getattr(config, name, None) is not None},
        ),
        training=_training(job, _last(events, "start"), step=step, planned=planned, tokens=tokens),
        evaluation=_evaluation(job, events, step),
        test=_seen_once(summary, test),
        masking=_masking(job.objective),
        classes=class_facts(job, summary),
        vectors=vector_facts(job, summary, width=config.hidden_size, init=_last(events, "init")),
        prompts=job.evaluation.prompts,
        generation=job.evaluation.generation,
    )


def left_out_until(run: RunDir, job: Job, summary: Summary, step: int) -> LeftOut:
    """What no model saw, by its reason: of a stream what was left out of the blocks that began up to `step`, once,
    however often the source was read."""
    left_out = summary.left_out
    if streamed(job.data):
        index = Index(run.stream_index(summary.fingerprint))
        index.refresh()
        for record in index.begun_in(range(step * job.training.global_batch)):
            left_out = left_out.plus(record.left_out) if record.begin.cycle == 0 else left_out
    return left_out


def data_facts(job: Job, summary: Summary, left_out: LeftOut) -> DataFacts:
    data, seed = job.data, job.seed
    source, sample = _source(data)
    return DataFacts(
        source=source,
        license=_sample_license(sample) if sample is not None else None,
        train_documents=summary.train.documents,
        validation_documents=summary.validation.documents,
        train_tokens=summary.train.tokens,
        validation_tokens=summary.validation.tokens,
        train_bytes=summary.train.bytes,
        validation_bytes=summary.validation.bytes,
        left_out=left_out.words(),
        split=_split(data.split, seed),
        normalized=_normalized(data.normalize),
        rows=_rows(data, job.objective),
        truncated=data.long_documents == "truncate",
        tokenizer=_tokenizer(data),
        vocab_size=summary.tokenizer.vocab_size,
    )


def describe_schedule(schedule: Schedule) -> str:
    kind = schedule.kind.replace("_", "-")
    warmup = (
        f"{float(schedule.warmup.amount):.3g} of the run" if schedule.warmup.unit == "share" else schedule.warmup.text
    )
    end = "" if isinstance(schedule, ConstantSchedule) else f" to {schedule.final:g} of the peak"
    return f"{kind}{end}, warm-up over {warmup}"


def _source(data: Data) -> tuple[str, str | None]:
    """How the card names the corpus, and the name of the shipped sample if it is one."""
    if isinstance(data, MixData):
        sources = zip(alone(data), data.sources, strict=True)
        names = [f"{_source(single)[0]} (weight {source.weight:g})" for single, source in sources]
        return f"a mixture of {'; '.join(names)}", None
    if isinstance(data, HubData):
        config = f", configuration {data.config}" if data.config is not None else ""
        revision = f", revision {data.revision}" if data.revision is not None else ""
        name = Path(data.path).name if Path(data.path).is_absolute() else data.path
        return f"{name}{config}, subset {data.subset}{revision}, field {data.field}", None
    samples = [path.removeprefix("sample:") for path in data.path if path.startswith("sample:")]
    names = [path if path.startswith("sample:") else Path(path).name for path in data.path]
    return ", ".join(names), samples[0] if len(samples) == len(data.path) == 1 else None


def _sample_license(name: str) -> str | None:
    """The licence's name from the notice that lies beside the sample."""
    notice = files("runjob.data.samples").joinpath(f"{name}.LICENSE")
    if not notice.is_file():
        return None
    found = re.search(r"^License:\s*([^,\n]+)", notice.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].strip() if found is not None else None


def _split(split: Split, seed: int) -> str:
    match split:
        case HashSplit(validation=validation, test=test):
            tested = "" if test is None else f" and {test:g} for the test"
            return f"{validation:g} of the documents for validation{tested}, by a hash of seed {seed} and document"
        case FirstSplit(validation=validation, test=test):
            tested = "" if test is None else f", the next {test:,} for the test"
            return f"the first {validation:,} documents for validation{tested}"
        case FilesSplit(test=test):
            return "files of their own for validation" + ("" if test is None else " and for the test")
        case SubsetsSplit(validation=validation, test=test):
            return f"subset {validation} for validation" + ("" if test is None else f", {test} for the test")


def _tokenizer(data: Data) -> str:
    if isinstance(data.tokenizer, CharacterTokenizer):
        return "characters by their code points"
    if isinstance(data.tokenizer, PretrainedTokenizer):
        path = Path(data.tokenizer.path)
        return path.name if path.is_absolute() else data.tokenizer.path
    return f"{ALGORITHMS[data.tokenizer.algorithm]} trained on the training documents"


def _normalized(settings: Normalize) -> str | None:
    """In the order in which it was done (data/normalize.py)."""
    done = [] if settings.unicode is None else [f"in Unicode's form {settings.unicode}"]
    done += {
        "keep": [],
        "strip": ["without white space at its ends"],
        "collapse": ["with one space for all white space, and none at its ends"],
    }[settings.whitespace]
    done += ["in lower case"] if settings.lowercase else []
    done += {None: [], "ascii": ["with host names as `xn--...`"], "unicode": ["with host names as they are read"]}[
        settings.idn
    ]
    done += ["with terms of several words joined as their list has them"] if settings.join_terms else []
    return ", ".join(done) or None


def _rows(data: Data, objective: Objective) -> str:
    rows = f"rows of {data.sequence_length:,} tokens, packed"
    if data.attention == "document":
        rows += ", each document attending to itself alone"
    if data.layout == "lines":
        longer = "cut off there" if data.long_documents == "truncate" else "in several"
        rows = f"rows of at most {data.sequence_length:,} tokens, one document each, longer ones {longer}"
    if isinstance(objective, MaskedLM | CharAR | PermutedLM | Classification | SentenceEmbedding):
        return f"{rows}, between the tokenizer's special tokens"
    return f"{rows}; an end-of-text token closes every document and is learnt"


def _masking(objective: Objective) -> str | None:
    if isinstance(objective, CausalLM | Classification | SentenceEmbedding):
        return None
    if isinstance(objective, PermutedLM):
        shares = objective.replace
        return (
            f"{100 * objective.probability:g} % of {UNITS[objective.unit]} hidden, predicted one after another in a "
            f"shuffled order, each knowing those before it and the places of all (MPNet); {100 * shares.mask:g} % of "
            f"them masked until then, {100 * shares.random:g} % replaced by another, {100 * shares.keep:g} % kept"
        )
    runs = "" if objective.span is None else f", in runs of up to {objective.span.longest}"
    if isinstance(objective, CharAR):
        return (
            f"{100 * objective.probability:g} % of characters masked{runs}, predicted one after another in a shuffled "
            "order, each knowing those before it"
        )
    hidden, shares = f"{100 * objective.probability:g} % of {UNITS[objective.unit]} hidden{runs}", objective.replace
    return (
        f"{hidden}: {100 * shares.mask:g} % of them masked, "
        f"{100 * shares.random:g} % replaced by another, {100 * shares.keep:g} % kept"
    )


def _init(model: Model) -> str:
    match model.init:
        case RunInit(id=run):
            return f"the weights of the run {run}"
        case PretrainedInit(path=path):
            return _name(path)
        case GuideInit(teacher=teacher):
            return f"embeddings and layers of {_name(teacher)}, projected (GUIDE); the rest random, from the job's seed"
        case TileInit(teacher=teacher):
            return f"the weights of {_name(teacher)}, tiled"
    return "random, drawn from the job's seed"


def _name(path: str) -> str:
    return Path(path).name if Path(path).is_absolute() else path


def _training(job: Job, start: dict[str, Any] | None, *, step: int, planned: int, tokens: int) -> TrainingFacts:
    training = job.training
    hardware = "unknown hardware" if start is None else _hardware(start)
    return TrainingFacts(
        steps=step,
        planned=planned,
        tokens=tokens,
        global_batch=training.global_batch,
        learning_rate=training.learning_rate,
        schedule=describe_schedule(training.schedule),
        optimizer=_optimizer(training.optimizer),
        precision=training.precision,
        seed=job.seed,
        hardware=hardware,
        versions={} if start is None else dict(start["versions"]),
    )


def _optimizer(optimizer: AdamW) -> str:
    return (
        f"AdamW, betas {optimizer.betas[0]:g} and {optimizer.betas[1]:g}, eps {optimizer.eps:g}, "
        f"weight decay {optimizer.weight_decay:g} (none on biases and norms)"
    )


def _hardware(start: dict[str, Any]) -> str:
    return f"{start['ranks']} x {start['device_name']}, ZeRO {start['zero']}"


def _evaluation(job: Job, events: list[dict[str, Any]], step: int) -> EvaluationFacts | None:
    """What was recorded for the exported step."""
    found = next((event for event in events if event["event"] == "eval" and event["step"] == step), None)
    if found is None:
        return None
    baseline = _last(events, "baseline")
    return EvaluationFacts(
        step=step,
        loss=found["loss"],
        perplexity=found["perplexity"],
        bits_per_byte=found.get("bits_per_byte"),
        masked_bits_per_byte=found.get("masked_bits_per_byte"),
        rare=(found["rare_token_perplexity"], found["rare_tokens"]) if "rare_tokens" in found else None,
        fragmentation=found.get("fragmentation"),
        entities={name: value for name, value in found.items() if name.partition("/")[0] in ENTITY_METRICS},
        retrieval={name: value for name, value in found.items() if name in OF_RETRIEVAL},
        best_of=job.evaluation.best,
        baseline=None if baseline is None else (baseline["method"], baseline["perplexity"]),
    )


def _seen_once(summary: Summary, metrics: Metrics | None) -> SeenOnce | None:
    side = summary.test
    if side is None or metrics is None:
        return None
    return SeenOnce(documents=side.documents, tokens=side.tokens, bytes=side.bytes, metrics=metrics)


def _last(events: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((event for event in reversed(events) if event["event"] == name), None)
