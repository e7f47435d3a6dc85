"""`runjob generate`: let a finished model go on from prompts, or measure how fast it does.

The target is a run (its model/, with prompts and settings from its job) or any model directory of transformers. Models
of characters (objective char_ar) fill gaps in order instead (generate_characters.py). A
prompt begins a document: as in training, an EOS stands before it unless the tokenizer sets a beginning of its own.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from runjob.runner.worker.export import load_network
from runjob.runner.worker.fill_characters import GAP
from runjob.runner.worker.generate_characters import CharacterWriter
from runjob.runner.worker.generate_speed import measure_speed
from runjob.runner.worker.models.canine_ordered import CanineForOrderedCharacters
from runjob.runner.worker.models.loading import refuse_labels, task_of
from runjob.runner.worker.prompts import (
    Target,
    add_questions,
    answer,
    converse,
    find_target,
    keep_samples,
    read_prompts,
)
from runjob.runner.worker.sampling import Continuation, Sampling, continue_prompts
from runjob.runner.worker.texts import Text
from runjob.schemas.errors import JobError, MissingError

# Prompts computed together: enough to fill a matrix product, few enough for the cache of a large model.
TOGETHER = 8


class Writer:
    """A network with its tokenizer: prompts in, texts out."""

    def __init__(self, model: Path, network: PreTrainedModel) -> None:
        self.network = network
        self.tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(model, local_files_only=True)
        self.eos_id: int | None = self.tokenizer.eos_token_id

    def encode(self, prompt: str) -> list[int]:
        if not prompt.strip():
            raise JobError("the prompt is empty; type at least one word")
        ids: list[int] = self.tokenizer(prompt).input_ids
        begun = not ids or ids[0] in self.tokenizer.all_special_ids
        return ids if begun or self.eos_id is None else [self.eos_id, *ids]

    def write(self, prompts: Sequence[str], sampling: Sampling) -> Iterator[Text]:
        """A text for each prompt, in their order, computed TOGETHER at a time."""
        encoded = [self.encode(prompt) for prompt in prompts]
        for start in range(0, len(prompts), TOGETHER):
            some = slice(start, start + TOGETHER)
            found = continue_prompts(self.network, encoded[some], sampling, eos_id=self.eos_id)
            yield from map(self._text, prompts[some], encoded[some], found)

    def _text(self, prompt: str, ids: Sequence[int], found: Continuation) -> Text:
        text = self.tokenizer.decode([*ids, *found.tokens], skip_special_tokens=True)
        return Text(prompt=prompt, text=text, tokens=len(found.tokens), ended=found.ended)


def open_writer(model: Path, *, device: str) -> Writer | CharacterWriter:
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingError("--device cuda: torch sees no GPU here; try --device cpu")
    network: PreTrainedModel = load_network(model).to(device)
    refuse_labels(model, network.config)
    if isinstance(network, CanineForOrderedCharacters):
        return CharacterWriter(model, network)
    if task_of(network.config) != "clm":
        raise JobError(f"{model}: this model fills gaps and can't go on from a text; type: runjob fill-mask")
    return Writer(model, network)


def settings(options: argparse.Namespace, target: Target) -> Sampling:
    """The job's settings, each replaced by its option where that was typed."""
    chosen = {
        name: getattr(target.generation if getattr(options, name) is None else options, name)
        for name in ("max_new_tokens", "temperature", "top_k", "top_p")
    }
    if options.span is not None:
        chosen["max_new_tokens"] = options.span
    if options.greedy:
        chosen["temperature"] = 0.0
    return Sampling(**chosen, seed=target.seed if options.seed is None else options.seed)


def show(text: Text, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(vars(text), ensure_ascii=False), flush=True)
    else:
        print(f"{text.text}\n", flush=True)


def generate(options: argparse.Namespace) -> None:
    target = find_target(options.target.absolute())
    options.prompt += options.complete
    needed = not options.interactive and not options.benchmark
    writer = open_writer(target.model, device=options.device)  # first: it refuses a model that writes nothing
    prompts = read_prompts(options, target, needed=needed, example="Er was eens")
    sampling = settings(options, target)
    refuse_options(options, writer, target.model, prompts)
    if options.benchmark:
        report = measure_speed(writer.network, sampling)
        print(json.dumps([vars(row) for row in report]) if options.json else "\n".join(map(str, report)))
        return
    if not options.interactive or options.prompt or options.prompts_file:
        found = []
        for text in writer.write(prompts, sampling):
            show(text, as_json=options.json)
            found.append((text.prompt, text.text))
        keep_samples(target, found)
    if options.interactive:
        converse(lambda prompt: show(next(writer.write([prompt], sampling)), as_json=options.json))


def refuse_options(
    options: argparse.Namespace, writer: Writer | CharacterWriter, model: Path, prompts: Sequence[str]
) -> None:
    """JobError for an option that this kind of model has no use for."""
    if isinstance(writer, CharacterWriter):
        if options.benchmark:
            raise JobError("--benchmark measures models that write token by token; type: runjob fill-mask --benchmark")
        full = [text for text in options.complete if GAP in text]
        if full:
            raise JobError(f"--complete {full[0]!r} has gaps of its own; type it with --prompt")
        if options.span is not None and prompts and all(GAP in prompt for prompt in prompts):
            raise JobError(
                f"--span {options.span}: the text has gaps of its own, and each is one character; leave it out"
            )
        return
    for name, typed in (("--complete", options.complete), ("--span", options.span)):
        if typed:
            said = "is for models that fill gaps in order (objective char_ar)"
            raise JobError(f"{name} {said}, not for {model}; type --prompt and --max-new-tokens")


def _number(text: str, kind: type[int] | type[float], *, low: float, high: float = math.inf) -> int | float:
    """An option's number, or argparse's own complaint with the bounds in it."""
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number of the kind {kind.__name__}") from None
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(
            f"{text} is below {low}" if value < low else f"{text} is not between {low} and {high}"
        )
    return value


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runjob generate", usage=argparse.SUPPRESS, description="Let a finished model go on from prompts."
    )
    parser.add_argument(
        "--max-new-tokens", type=partial(_number, kind=int, low=1), help="tokens after the prompt, at most"
    )
    parser.add_argument(
        "--temperature",
        type=partial(_number, kind=float, low=0),
        help="below 1 is more careful; 0 takes the likeliest token",
    )
    parser.add_argument(
        "--top-k", type=partial(_number, kind=int, low=0), help="sample among so many likeliest tokens; 0: all"
    )
    parser.add_argument(
        "--top-p",
        type=partial(_number, kind=float, low=1e-9, high=1),
        help="sample among the likeliest that reach this probability",
    )
    parser.add_argument(
        "--seed", type=partial(_number, kind=int, low=0), help="the same seed gives the same text again"
    )
    parser.add_argument("--greedy", action="store_true", help="the same as --temperature 0")
    parser.add_argument(
        "--complete", action="append", default=[], help="models of characters: a beginning to go on from; repeatable"
    )
    parser.add_argument(
        "--span", type=partial(_number, kind=int, low=1), help="models of characters: how many to go on by"
    )
    add_questions(parser, prompt=f"a text to go on from, or for models of characters with {GAP} in it")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    return answer(lambda: generate(options))


if __name__ == "__main__":
    sys.exit(main())
