"""What the card of a model says that makes vectors of texts: how they are asked for, and how well a text finds its own
target by them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data.store import Summary
from runjob.runner.worker.metrics import Metrics
from runjob.runner.worker.models.text_vectors import CANDIDATES
from runjob.schemas.job import Job, learns_from_pairs
from runjob.schemas.job_model import SentenceEmbedding
from runjob.schemas.quantities import counted

POOLED = {
    "mean": ["mask = inputs.attention_mask[:, :, None]", "vectors = (states * mask).sum(1) / mask.sum(1)"],
    "cls": ["vectors = states[:, 0]"],
}

# A last layer, which transformers doesn't know
BEHIND = [
    "from safetensors.torch import load_file",
    'last = load_file(f"{here}/2_Dense/model.safetensors")',
    'vectors = vectors @ last["linear.weight"].T + last["linear.bias"]',
]


@dataclass(frozen=True, kw_only=True)
class VectorFacts:
    """`pairs` of the validation side, None where a row has one text; a text is cut off after `longest` tokens.
    `numbers` of a vector behind a layer (models/dense.py), None without one."""

    objective: SentenceEmbedding
    longest: int
    pairs: int | None
    numbers: int | None

    @property
    def asked(self) -> str:
        """What a loss is of."""
        return "text" if self.objective.loss == "mse" else "pair"


def vector_facts(job: Job, summary: Summary, *, width: int, init: dict[str, Any] | None) -> VectorFacts | None:
    """None where the job makes no vectors. `width` of the network; `init`: the event of the run's start, which knows
    how many numbers a teacher's vectors have."""
    if not isinstance(job.objective, SentenceEmbedding):
        return None
    return VectorFacts(
        objective=job.objective,
        longest=job.data.sequence_length,
        pairs=summary.validation.documents // 2 if learns_from_pairs(job) else None,
        numbers=_other_numbers(width, init),
    )


def _other_numbers(width: int, init: dict[str, Any] | None) -> int | None:
    if init is None or "taught" not in init or init["taught"]["numbers"] == width:
        return None
    return int(init["taught"]["numbers"])


def _teacher_name(teacher: str) -> str:
    """What a reader elsewhere knows it by.

    >>> [_teacher_name(one) for one in ("/runs/a-1a2b3c4d/model", "/models/b", "c/d")]
    ['the run a-1a2b3c4d', 'b', 'c/d']
    """
    path = Path(teacher)
    if not path.is_absolute():
        return teacher
    return f"the run {path.parent.name}" if path.name == "model" else path.name


def use_of_vectors(vectors: VectorFacts) -> list[str]:
    return [
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        'model = SentenceTransformer("path/to/this/directory")',
        'print(model.similarity(model.encode(["..."]), model.encode(["...", "..."])))',
        "```",
        "",
        "The same numbers without that library; texts that belong together have a large cosine:",
        "",
        "```python",
        "import torch",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        'here = "path/to/this/directory"',
        "tokenizer, model = AutoTokenizer.from_pretrained(here), AutoModel.from_pretrained(here)",
        "inputs = tokenizer(",
        f'    ["...", "..."], padding=True, truncation=True, max_length={vectors.longest}, return_tensors="pt"',
        ")",
        "with torch.no_grad():",
        "    states = model(**inputs).last_hidden_state",
        *POOLED[vectors.objective.pooling],
        *(BEHIND if vectors.numbers is not None else []),
        "print(torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:]))",
        "```",
    ]


def retrieval_lines(vectors: VectorFacts, found: Metrics, evaluated: str) -> list[str]:
    """`evaluated`: when that was, and what else."""
    if vectors.pairs is None:
        return [f"Texts of the validation side, compared with their teacher's vectors, {evaluated}."]
    searched = min(vectors.pairs, CANDIDATES)
    which = "all" if searched == vectors.pairs else "the first"
    return [
        f"Each anchor against {which} {counted(searched, 'target')} of the validation side, by cosine, {evaluated}:",
        "",
        "| | |",
        "|---|---|",
        *[f"| {name} | {value:.4f} |" for name, value in found.items() if value is not None],
    ]


def vectors_line(vectors: VectorFacts) -> str:
    objective = vectors.objective
    pooling = "the mean over its tokens" if objective.pooling == "mean" else "its first token"
    if objective.taught_by is not None:
        behind = "" if vectors.numbers is None else f", and behind it a layer of {vectors.numbers:,} numbers"
        teacher = _teacher_name(objective.taught_by)
        return f"a text's vector is {pooling}{behind}; learnt from the vectors of {teacher} (MSE)"
    return (
        f"a text's vector is {pooling}; contrastive loss over groups of {objective.group} pairs, temperature "
        f"{objective.temperature:g}"
    )
