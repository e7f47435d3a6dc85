"""The model card: what is true of this model and nothing else. Facts in, Markdown out.

The facts are gathered by whoever exports; a line whose fact is unknown is left out rather than guessed.
"""

from dataclasses import dataclass

from runjob.runner.worker.card_classes import ClassFacts, classified_line, entity_lines
from runjob.runner.worker.card_vectors import VectorFacts, retrieval_lines, use_of_vectors, vectors_line
from runjob.runner.worker.metrics import Metrics
from runjob.schemas.job import Generation
from runjob.schemas.quantities import counted


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """`source` as the job names it; tokens with every EOS; `license` where the corpus is one that runjob ships;
    `normalized`: what was made of every document, None where nothing was."""

    source: str
    license: str | None
    train_documents: int
    validation_documents: int
    train_tokens: int
    validation_tokens: int
    train_bytes: int
    validation_bytes: int
    left_out: str
    split: str
    normalized: str | None
    rows: str
    truncated: bool
    tokenizer: str
    vocab_size: int


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """`sizes` such as {"hidden_size": 768}, in the order they are to be read."""

    init: str
    architecture: str
    parameters: int
    sizes: dict[str, int | float]


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """`steps` that were trained and `planned` ones; `tokens` that went through the network in them."""

    steps: int
    planned: int
    tokens: int
    global_batch: int
    learning_rate: float
    schedule: str
    optimizer: str
    precision: str
    seed: int
    hardware: str
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class EvaluationFacts:
    """Of the exported step, on the whole validation side. `rare` is the perplexity of added tokens and how many of them
    were predicted, `fragmentation` the share of the job's terms that are split; `baseline` its name and perplexity;
    `entities`: precision and the like by their names in the events, `retrieval` recall and the like."""

    step: int
    loss: float
    perplexity: float
    bits_per_byte: float | None
    masked_bits_per_byte: float | None
    rare: tuple[float | None, int] | None
    fragmentation: float | None
    best_of: str | None
    baseline: tuple[str, float] | None
    entities: Metrics
    retrieval: Metrics


@dataclass(frozen=True, kw_only=True)
class SeenOnce:
    """The side that was looked at once, with the finished model; `metrics` by their names in the events."""

    documents: int
    tokens: int
    bytes: int
    metrics: Metrics


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """`masking`: what was hidden, where the model was trained to fill gaps; `classes` where it classifies tokens,
    `vectors` where it makes vectors of texts."""

    name: str
    id: str
    license: str | None
    language: str | None
    description: str | None
    data: DataFacts
    model: ModelFacts
    training: TrainingFacts
    evaluation: EvaluationFacts | None
    test: SeenOnce | None
    masking: str | None
    classes: ClassFacts | None
    vectors: VectorFacts | None
    prompts: tuple[str, ...]
    generation: Generation


def write_card(facts: CardFacts) -> str:
    """README.md of the model directory."""
    title = f"# {facts.name}\n"
    parts = [
        _front_matter(facts),
        title if facts.description is None else f"{title}\n{facts.description}\n",
        _section("Use", _use(facts)),
        _section("Evaluation", _evaluation(facts)),
        _section("Model", _model(facts.model, facts.data)),
        _section("Data", _data(facts.data)),
        _section("Training", _training(facts)),
    ]
    return "\n".join(parts)


def _front_matter(facts: CardFacts) -> str:
    lines = ["---"]
    lines += [f"license: {facts.license}"] if facts.license is not None else []
    lines += [f"language: {_quoted(facts.language)}"] if facts.language is not None else []
    task = "text-generation" if facts.masking is None else "fill-mask"
    if facts.classes is not None:
        task = facts.classes.task
    library = "transformers"
    if facts.vectors is not None:
        task, library = "sentence-similarity", "sentence-transformers"
    lines += [f"library_name: {library}", f"pipeline_tag: {task}", "---", ""]
    return "\n".join(lines)


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([f"## {title}", "", *lines, ""])


def _use(facts: CardFacts) -> list[str]:
    if facts.classes is not None:
        return facts.classes.use
    if facts.vectors is not None:
        return use_of_vectors(facts.vectors)
    if facts.model.architecture.startswith("Canine"):
        # transformers has no such class; runjob brings it
        name = facts.model.architecture
        module = "canine" if name == "CanineForMaskedLM" else "canine_ordered"
        return [
            "```python",
            f"from runjob.runner.worker.models.{module} import {name}",
            "",
            f'model = {name}.from_pretrained("path/to/this/directory")',
            "```",
            "",
            'Or in a terminal: `runjob fill-mask path/to/this/directory --prompt "goo[MASK]le.com"`.',
        ]
    if facts.masking is not None:
        return [
            "```python",
            "from transformers import pipeline",
            "",
            'fill = pipeline("fill-mask", model="path/to/this/directory")',
            'print(fill(f"... {fill.tokenizer.mask_token} ..."))',
            "```",
        ]
    prompt = facts.prompts[0] if facts.prompts else "..."
    return [
        "```python",
        "from transformers import pipeline",
        "",
        'generate = pipeline("text-generation", model="path/to/this/directory")',
        f"print(generate({prompt!r})[0]['generated_text'])",
        "```",
        "",
        f"Default settings of `generate`: {_settings(facts.generation)}.",
    ]


def _settings(generation: Generation) -> str:
    if generation.temperature == 0:
        return f"the likeliest token, at most {generation.max_new_tokens} of them"
    return (
        f"temperature {generation.temperature:g}, top_k {generation.top_k}, top_p {generation.top_p:g}, "
        f"at most {generation.max_new_tokens} new tokens"
    )


def _evaluation(facts: CardFacts) -> list[str]:
    found = facts.evaluation
    if found is None:
        return ["This model was not evaluated.", *_test(facts.test)]
    which = f"the best by {found.best_of}" if found.best_of is not None else "the last"
    predicted = f"all {facts.data.validation_tokens - 1:,} predicted tokens of the validation side"
    if facts.data.truncated:
        predicted = "the documents of the validation side, as far as a row holds them"
    if facts.masking is not None:
        predicted = "the hidden tokens of the whole validation side, the same in every evaluation"
    if facts.classes is not None:
        evaluated = f"after step {found.step:,} ({which}), with a loss of {found.loss:.4f} per {facts.classes.asked}"
        return [*entity_lines(facts.classes, found.entities, evaluated), *_test(facts.test)]
    if facts.vectors is not None:
        evaluated = f"after step {found.step:,} ({which}), with a loss of {found.loss:.4f} per {facts.vectors.asked}"
        return [*retrieval_lines(facts.vectors, found.retrieval, evaluated), *_test(facts.test)]
    lines = [
        f"On {predicted}, after step {found.step:,} ({which}):",
        "",
        "| | |",
        "|---|---|",
        f"| loss (nats per token) | {found.loss:.4f} |",
        f"| perplexity | {found.perplexity:.2f} |",
    ]
    if found.bits_per_byte is not None:
        lines.append(f"| bits per byte | {found.bits_per_byte:.4f} |")
    if found.masked_bits_per_byte is not None:
        lines.append(f"| bits per byte of what was hidden | {found.masked_bits_per_byte:.4f} |")
    if found.rare is not None:
        value, count = found.rare
        lines.append(f"| perplexity of added tokens ({count:,} of them) | {'-' if value is None else f'{value:.2f}'} |")
    if found.fragmentation is not None:
        lines.append(f"| added terms that the tokenizer splits | {found.fragmentation:.2%} |")
    if found.baseline is not None:
        name, perplexity = found.baseline
        lines.append(f"| perplexity of an {name} model on the same tokens | {perplexity:.2f} |")
    return [*lines, *_test(facts.test)]


def _test(seen: SeenOnce | None) -> list[str]:
    if seen is None:
        return []
    metrics = ", ".join(_measured(name, value) for name, value in seen.metrics.items() if value is not None)
    size = _size(seen.documents, seen.tokens, seen.bytes)
    return ["", f"On the test side ({size}), which was looked at once, with this model: {metrics}."]


def _measured(name: str, value: float) -> str:
    return f"{name.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{name.replace('_', ' ')} {value:.4f}"


def _model(model: ModelFacts, data: DataFacts) -> list[str]:
    return [
        f"- {model.architecture}, {model.parameters:,} parameters (tied ones counted once), fp32",
        *[
            f"- {name}: {value:,}" if isinstance(value, int) else f"- {name}: {value:g}"
            for name, value in model.sizes.items()
        ],
        f"- first weights: {model.init}",
        f"- tokenizer: {data.tokenizer}, {data.vocab_size:,} ids",
    ]


def _training_side(data: DataFacts) -> str:
    if not data.train_documents:  # no store has an empty training side but that of a stream
        return "streamed while training; how much there is, is unknown"
    return _size(data.train_documents, data.train_tokens, data.train_bytes)


def _size(documents: int, tokens: int, size: int) -> str:
    return f"{counted(documents, 'document')}, {counted(tokens, 'token')}, {counted(size, 'byte')}"


def _data(data: DataFacts) -> list[str]:
    licence = f" ({data.license})" if data.license is not None else ""
    return [
        f"- source: {data.source}{licence}",
        f"- training: {_training_side(data)}",
        f"- validation: {_size(data.validation_documents, data.validation_tokens, data.validation_bytes)}",
        *([f"- left out: {data.left_out}"] if data.left_out else []),
        f"- split: {data.split}",
        *([f"- text {data.normalized}; give the model such text"] if data.normalized is not None else []),
        f"- {data.rows}",
    ]


def _training(facts: CardFacts) -> list[str]:
    run = facts.training
    steps = f"{run.steps:,} steps" if run.steps == run.planned else f"{run.steps:,} of {run.planned:,} planned steps"
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return [
        f"- job `{facts.id}`, seed {run.seed}",
        f"- {steps} of {run.global_batch:,} rows, {run.tokens:,} tokens",
        f"- learning rate {run.learning_rate:g}, {run.schedule}",
        f"- {run.optimizer}",
        *([f"- {facts.masking}"] if facts.masking is not None else []),
        *([f"- {classified_line(facts.classes)}"] if facts.classes is not None else []),
        *([f"- {vectors_line(facts.vectors)}"] if facts.vectors is not None else []),
        f"- precision {run.precision}, on {run.hardware}",
        f"- {versions}",
    ]


def _quoted(language: str) -> str:
    # Bare `no` is false to readers of YAML 1.1, and Norwegian to everybody else.
    return f'"{language}"'
