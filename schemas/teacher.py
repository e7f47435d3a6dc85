"""What a teacher must be for a student of these sizes to be made of it, or for its vectors to be learnt, judged by the
teacher's configuration alone: by the submission where the teacher lies on this machine, and by the worker wherever it
came from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runjob.schemas.job_model import GuideInit, ScratchModernBert, SentenceEmbedding, StudentInit
from runjob.schemas.json_object import read_object

FAMILY = "modernbert"
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
# (place in the job, what is wrong)
Findings = Iterator[tuple[str, str]]


def teacher_problems(init: StudentInit, config: Mapping[str, Any]) -> Findings:
    """`config` as config.json of the teacher has it; sizes that it leaves to transformers are the worker's to judge."""
    name = f"the teacher {init.teacher}"
    family = config.get("model_type")
    if family != FAMILY:
        yield "model.init.teacher", f"{init.teacher} is of the family {family}, and students are made of {FAMILY} alone"
        return
    if not all(size in config for size in SIZES):
        return
    if any(config.get(biases) for biases in ("attention_bias", "mlp_bias", "norm_bias")):
        said = f"{init.teacher} has biases in its layers, for which the student has no place"
        yield "model.init.teacher", f"{said}; take one without, as all released ModernBERTs are"
    width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    if isinstance(init, GuideInit):
        yield from _narrower(init, config)
    if init.hidden_size // init.num_attention_heads != width // heads:
        fits = f"write {max(init.hidden_size // (width // heads), 1)} heads" if _divides(init, width // heads) else ""
        said = f"{init.num_attention_heads} heads of {init.hidden_size // init.num_attention_heads} in a width of"
        said = f"{said} {init.hidden_size}, and those of {name} are of {width // heads}"
        write = fits or f"write a hidden_size that is a multiple of {width // heads}"
        yield "model.init.num_attention_heads", f"{said}: a head is taken whole; {write}"


def _narrower(init: GuideInit, config: Mapping[str, Any]) -> Findings:
    """A projection drops dimensions; it can't invent any."""
    mine = {
        "hidden_size": init.hidden_size,
        "intermediate_size": gated_size(init),
        **({"num_hidden_layers": init.num_hidden_layers} if init.layers == "uniform" else {}),
    }
    for field, value in mine.items():
        theirs = int(config[field])
        if value > theirs:
            said = f"{value} is more than the {theirs} of the teacher {init.teacher}, of which it is made"
            instead = "`layers: first`" if field == "num_hidden_layers" else "`kind: tile`"
            yield f"model.init.{field}", f"{said}; write {theirs} or less, or {instead}"


def _divides(init: StudentInit, size: int) -> bool:
    return init.hidden_size % size == 0


def gated_size(init: StudentInit | ScratchModernBert) -> int:
    """Of a ModernBERT's feed-forward layers; 1.5: the released base model (768, 1152)."""
    return init.intermediate_size if init.intermediate_size is not None else init.hidden_size * 3 // 2


def encoder_problems(objective: SentenceEmbedding, teacher: Path) -> Findings:
    """Of a teacher of vectors in the form of sentence-transformers: what its directory says that they are, and the job
    does not. A directory that says nothing of it is an encoder like any other."""
    name, pooling = objective.taught_by, read_object(teacher / "1_Pooling" / "config.json")
    behind = [path.name for path in sorted(teacher.glob("[2-9]_Dense")) if path.is_dir()]
    if behind:
        said = f"{name} has a layer behind its vectors ({', '.join(behind)}), which would be left out"
        yield "objective.teacher", f"{said}; name a teacher without one, for example the one that taught it"
    says = [how for how in ("cls", "mean") if pooling.get(f"pooling_mode_{how}_token{'s' * (how == 'mean')}") is True]
    if says and objective.teacher_pooling not in says:
        said = f"{objective.teacher_pooling}, and the vectors of {name} are made otherwise (1_Pooling/config.json)"
        yield "objective.teacher_pooling", f"{said}; write {says[0]}"
