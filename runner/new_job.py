"""A new job file out of a recipe and what its author has: the recipe's values with other data, other first weights,
another machine. Pure but for the shipped job that is read; what comes out is judged by `read_job` like any other."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data.samples import PREFIX, list_samples
from runjob.runner.commented import commented
from runjob.runner.recipes import Recipe, Size
from runjob.runner.shipped import find_job
from runjob.schemas.errors import JobError
from runjob.schemas.schema import BUNDLE, Schema, bundled_schema, follow, variants
from runjob.schemas.urls import is_url
from runjob.schemas.yaml import ListNode, MapNode, Node, compose_bytes

HUB = "hub:"
# Devlin et al. 2019, appendix A.3: the largest of the rates that suit weights which are trained already
ADAPTING_RATE = 5e-5
KINDS = {".jsonl": "jsonl", ".parquet": "parquet"}
PACKED = (".gz", ".bz2", ".xz", ".zst")

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """`data` and `from_model` as typed: relative to the current directory. None leaves what the recipe has."""

    recipe: Recipe
    size: Size
    objective: str | None
    data: str | None
    from_model: str | None
    device: str
    launcher: str


def job_text(wishes: Wishes, file: Path, *, schema: str = BUNDLE) -> str:
    """The whole file; `schema` is where its editor finds the schema from there."""
    values = compose_values(wishes, file)
    what = wishes.recipe.summary
    elsewhere = "" if wishes.launcher == "local" else f"--launcher {wishes.launcher} "
    opening = [
        f"# yaml-language-server: $schema={schema}",
        "#",
        f"# {what[0].upper()}{what[1:]}: recipe {wishes.recipe.name}, size {wishes.size}.",
        f"# `runjob validate {file.name}` judges it, `runjob plan {file.name}` says what would run,",
        f"# `runjob {elsewhere}{file.name}` trains.",
        "# Above each value stands what the schema says of it. A field that is left out has its default; an editor",
        "# that goes by the first line completes them all.",
    ]
    return "\n".join(opening) + "\n\n" + commented(values, bundled_schema())


def compose_values(wishes: Wishes, file: Path) -> Values:
    values = written_values(wishes.recipe.job(wishes.size))
    values["name"] = job_name(file.stem) or wishes.recipe.name
    if wishes.data is not None or wishes.size == "base":
        # where a job of full size has its data nobody else has any
        small = written_values(wishes.recipe.small)["data"]
        source = small if wishes.data is None else source_of(wishes.data, file.parent)
        replace_source(values, source, own=wishes.data is not None)
    if wishes.objective not in (None, values["objective"]["kind"]):
        values["objective"] = fields_of("objective", {**values["objective"], "kind": wishes.objective})
        values["evaluation"].pop("baseline", None)  # is one of the objective that the recipe has
    if wishes.from_model is not None:
        start_from(values, named_from(wishes.from_model, file.parent), Path(wishes.from_model).exists())
    place_on(values, wishes.device, wishes.launcher)
    return values


def job_name(stem: str) -> str:
    """Of a file's name what a job may be called.

    >>> job_name("My Job.v2"), job_name("--"), job_name("een" * 20)
    ('my_job_v2', '', 'eeneeneeneeneeneeneeneeneeneeneeneeneenee')
    """
    return re.sub(r"[^a-z0-9_-]+", "_", stem.lower()).strip("_-")[:41]


def source_of(typed: str, folder: Path) -> Values:
    """What kind of data a word is: a sample, a data set of the Hub, or a file by its ending."""
    if typed.startswith(PREFIX):
        samples = {sample.name: sample for sample in list_samples()}
        name = typed.removeprefix(PREFIX)
        if name not in samples:
            raise JobError(f"init --data {typed}: no such sample, there are: {', '.join(samples)}")
        if samples[name].document == "object":
            return {"kind": "jsonl", "path": typed, "field": "text"}
        return {"kind": "text", "path": typed, "documents": samples[name].document}
    if typed.startswith(HUB):
        return {"kind": "hub", "path": typed.removeprefix(HUB), "subset": "train", "field": "text"}
    ending = next(suffix for suffix in [*reversed(Path(typed).suffixes), ""] if suffix not in PACKED)
    kind = KINDS.get(ending, "text")
    return {"kind": kind, "path": named_from(typed, folder), **({"field": "text"} if kind != "text" else {})}


def replace_source(values: Values, source: Values, *, own: bool) -> None:
    """Where the data come from, and nothing else of how they become rows. Of one's own data the recipe knows neither
    terms nor prompts nor language."""
    old = values["data"]
    # what a text has too: streaming, a configuration and the like are the old source's own
    rows = fields_of("data", {**old, "kind": "text"})
    kept = {key: value for key, value in rows.items() if key not in ("kind", "path", "documents")}
    split = old["split"] if old["split"]["kind"] == "hash" else {"kind": "hash", "validation": 0.05}
    tokenizer = {key: value for key, value in old["tokenizer"].items() if key != "terms"}
    given: Values = {key: source[key] for key in ("kind", "path", "subset", "field", "documents") if key in source}
    values["data"] = fields_of("data", {**given, **kept, "tokenizer": tokenizer, "split": split})
    if values["data"].get("normalize", {}).pop("join_terms", None) and not values["data"]["normalize"]:
        del values["data"]["normalize"]
    evaluation = values["evaluation"]
    if evaluation.get("best") == "rare_token_perplexity":
        evaluation["best"] = evaluation["early_stopping"]["metric"] = "loss"
    if own:
        evaluation.pop("prompts", None)
    values.pop("output", None)


def start_from(values: Values, path: str, local: bool) -> None:
    """From a finished model, with its own tokenizer (characters need none) and at a rate for such weights."""
    trained = values["model"]["init"]["kind"] == "pretrained"
    init = {"kind": "pretrained", "path": path if not local else dotted(path)}
    values["model"] = {**values["model"], "init": init}
    if values["data"]["tokenizer"]["kind"] == "characters":
        values["model"]["allow_new"] = ["head"]
    else:
        values["data"]["tokenizer"] = fields_of("data.tokenizer", {**values["data"]["tokenizer"], **init})
    if not trained:
        values["training"]["learning_rate"] = ADAPTING_RATE


def place_on(values: Values, device: str, launcher: str) -> None:
    values["hardware"] = {"device": device, **({"gpus": 1} if device == "cuda" else {})}
    values["training"]["precision"] = "bf16" if device == "cuda" else "fp32"
    values["training"].pop("compile", None)
    if launcher != "local":
        values["hardware"][launcher] = required_of(launcher)


def required_of(launcher: str) -> Values:
    """What its block can't do without, as in the schema's own examples: the author's to say."""
    block = follow(follow(bundled_schema()["properties"]["hardware"])["properties"][launcher])
    return {key: follow(block["properties"][key])["examples"][0] for key in block.get("required", ())}


def fields_of(section: str, values: Values) -> Values:
    """Of `values` the fields that this variant of the section has, by the schema."""
    schema: Schema = follow({"$ref": f"#/$defs/{section}"})
    found = variants(schema)
    name = " ".join([values["kind"], *([values["algorithm"]] if values["kind"] == "train" else [])])
    return {key: value for key, value in values.items() if key in found[name]["properties"]}


def named_from(typed: str, folder: Path) -> str:
    """As the job file names what was typed here: relative to its own folder where it lies on this disk."""
    here = Path(typed)
    if is_url(typed) or here.is_absolute() or (not here.exists() and not typed.startswith((".", "~"))):
        return typed
    return os.path.relpath(here.expanduser(), folder)


def dotted(path: str) -> str:
    """A directory that is no name on the Hub."""
    return path if path.startswith((".", "/")) else f"./{path}"


def written_values(job: str) -> Values:
    """What a shipped job says, without any default."""
    path = find_job(job)
    values: Values = plain_value(compose_bytes(path.read_bytes(), str(path)).node)
    return values


def plain_value(node: Node) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(node, MapNode):
        return {key: plain_value(entry.node) for key, entry in node.entries.items()}
    return list(map(plain_value, node.items)) if isinstance(node, ListNode) else node.value
