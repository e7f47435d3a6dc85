"""What the card of a model says that makes vectors of texts: how they are asked for, and how well a text finds its own
target by them."""

from dataclasses import dataclass

from runjob.data.store import Summary
from runjob.runner.worker.metrics import Metrics
from runjob.runner.worker.retrieval import CANDIDATES
from runjob.schemas.job import Job
from runjob.schemas.job_model import SentenceEmbedding
from runjob.schemas.quantities import counted

POOLED = {
    "mean": ["mask = inputs.attention_mask[:, :, None]", "vectors = (states * mask).sum(1) / mask.sum(1)"],
    "cls": ["vectors = states[:, 0]"],
}


@dataclass(frozen=True, kw_only=True)
class VectorFacts:
    """`pairs` of the validation side; a text is cut off after `longest` tokens."""

    objective: SentenceEmbedding
    longest: int
    pairs: int


def vector_facts(job: Job, summary: Summary) -> VectorFacts | None:
    """None where the job makes no vectors."""
    if not isinstance(job.objective, SentenceEmbedding):
        return None
    return VectorFacts(
        objective=job.objective, longest=job.data.sequence_length, pairs=summary.validation.documents // 2
    )


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
        "print(torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:]))",
        "```",
    ]


def retrieval_lines(vectors: VectorFacts, found: Metrics, evaluated: str) -> list[str]:
    """`evaluated`: when that was, and what else."""
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
    return (
        f"a text's vector is {pooling}; contrastive loss over groups of {objective.group} pairs, temperature "
        f"{objective.temperature:g}"
    )
