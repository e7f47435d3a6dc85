"""What the finished model makes of the job's prompts, for events.jsonl and TensorBoard: the texts that `runjob
generate` and `runjob fill-mask` would show."""

from collections.abc import Callable
from pathlib import Path

from runjob.runner.worker.sampling import Sampling
from runjob.schemas.errors import RunjobError
from runjob.schemas.job import Job


def write_samples(model: Path, job: Job) -> list[dict[str, str]]:
    """Of each prompt `text`, or the `problem` where the model can't be asked it (no gap in it, too long): the model is
    none the worse for that. On the processor, since the memory of a GPU is still the training's."""
    answer = _filler(model) if job.objective.kind in ("mlm", "plm") else _writer(model, job)
    return [_sample(prompt, answer) for prompt in job.evaluation.prompts]


def _sample(prompt: str, answer: Callable[[str], str]) -> dict[str, str]:
    try:
        return {"prompt": prompt, "text": answer(prompt)}
    except RunjobError as error:
        return {"prompt": prompt, "problem": str(error)}


def _filler(model: Path) -> Callable[[str], str]:
    from runjob.runner.worker.fill_mask import open_filler

    filler = open_filler(model, device="cpu")
    return lambda prompt: filler.fill(prompt, top_k=1).text


def _writer(model: Path, job: Job) -> Callable[[str], str]:
    from runjob.runner.worker.generate import open_writer

    writer = open_writer(model, device="cpu")
    sampling = Sampling(**vars(job.evaluation.generation), seed=job.seed)
    return lambda prompt: next(writer.write([prompt], sampling)).text
