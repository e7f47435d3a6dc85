"""`runjob fill-mask`: what a finished masked model would put into the gaps of a text.

A gap is written `[MASK]`, whatever the model's own tokenizer calls it. All gaps of a text are filled in one pass, each
by itself, from the text around them; a text is framed by the tokenizer's special tokens, as rows are in training. A
model of characters says besides where in the text each gap stands (fill_characters.py).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from runjob.runner.worker.export import load_network
from runjob.runner.worker.fill_characters import EXAMPLE as CHARACTERS
from runjob.runner.worker.fill_characters import GAP, CharacterText, likeliest, name_of, written
from runjob.runner.worker.fill_speed import measure_fill_speed
from runjob.runner.worker.models.configs import positions_of
from runjob.runner.worker.models.loading import refuse_labels, task_of
from runjob.runner.worker.models.masked_lm import MaskedLMObjective, check_family
from runjob.runner.worker.prompts import add_questions, answer, converse, find_target, keep_samples, read_prompts
from runjob.schemas.errors import JobError, MissingError, NumericsError

EXAMPLE = f"The {GAP} swam away."
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Guess:
    token: str
    id: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class Filled:
    """`gaps`: the likeliest tokens of each gap, in the order of the text; `text` with the likeliest of each; `places`
    of the gaps in `text`, where tokens are characters."""

    prompt: str
    text: str
    gaps: tuple[tuple[Guess, ...], ...]
    places: tuple[int, ...] | None


class Filler:
    """A network with its tokenizer: texts with gaps in, guesses out."""

    def __init__(self, model: Path, network: PreTrainedModel) -> None:
        self.network = network
        self.tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(model, local_files_only=True)
        self.predict = MaskedLMObjective(self.network).predict
        check_family(self.network)
        # a vocabulary table may be longer than the vocabulary, and nobody can read its spare rows
        self.known = len(self.tokenizer)

    def encode(self, prompt: str) -> list[int]:
        mask: str = self.tokenizer.mask_token
        text = prompt.replace(GAP, mask)
        if mask not in text:
            raise JobError(f"the prompt has no gap; write {GAP} where something is missing, as in {EXAMPLE!r}")
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
        framed = [self.tokenizer.cls_token_id, *ids, self.tokenizer.sep_token_id]
        found = [token for token in framed if token is not None]
        limit = positions_of(self.network.config)
        if limit is not None and len(found) > limit:
            raise JobError(f"the prompt has {len(found)} tokens and the model reads {limit}; shorten the prompt")
        return found

    @torch.inference_mode()
    def fill(self, prompt: str, *, top_k: int) -> Filled:
        ids = self.encode(prompt)
        row = torch.tensor([ids], device=self.network.device)
        places = [place for place, token in enumerate(ids) if token == self.tokenizer.mask_token_id]
        here = torch.zeros_like(row, dtype=torch.bool)
        here[0, places] = True
        logits = self.answer(row, here)[:, : self.known].float()
        if not bool(logits.isfinite().all()):
            raise NumericsError("the model answers NaN or Inf: its training has diverged; take an earlier checkpoint")
        likeliest = logits.softmax(-1).topk(min(top_k, self.known))
        gaps = tuple(map(self._guesses, likeliest.values.tolist(), likeliest.indices.tolist()))
        for place, gap in zip(places, gaps, strict=True):
            ids[place] = gap[0].id
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Filled(prompt=prompt, text=text, gaps=gaps, places=None)

    def answer(self, rows: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        """Logits of each gap, one after another."""
        return self.predict(self.network.base_model(input_ids=rows).last_hidden_state[gaps])

    def _guesses(self, probabilities: Sequence[float], tokens: Sequence[int]) -> tuple[Guess, ...]:
        words = self.tokenizer.convert_ids_to_tokens(list(tokens))
        return tuple(
            Guess(token=word, id=token, probability=probability)
            for word, token, probability in zip(words, tokens, probabilities, strict=True)
        )


class CharacterFiller:
    """The same for a network that reads characters."""

    def __init__(self, model: Path, network: PreTrainedModel) -> None:
        self.model = model
        self.network = network
        self.table: int = network.config.character_table

    def fill(self, prompt: str, *, top_k: int) -> Filled:
        if GAP not in prompt:
            raise JobError(f"the prompt has no gap; write {GAP} for each missing character, as in {CHARACTERS!r}")
        text = CharacterText(prompt, self.model, self.network)
        found = likeliest(self.network, text, top_k=top_k)
        gaps = tuple(tuple(map(self._guess, gap)) for gap in found)
        filled = text.filled([written(gap[0][0]) for gap in found])
        return Filled(prompt=prompt, text=filled, gaps=gaps, places=tuple(text.places))

    def answer(self, rows: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(input_ids=rows).logits[gaps]
        return logits

    def _guess(self, found: tuple[int, float]) -> Guess:
        point, probability = found
        return Guess(token=name_of(point, table=self.table), id=point, probability=probability)


def open_filler(model: Path, *, device: str) -> Filler | CharacterFiller:
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingError("--device cuda: torch sees no GPU here; try --device cpu")
    network: PreTrainedModel = load_network(model).to(device)
    refuse_labels(model, network.config)
    if task_of(network.config) == "clm":
        raise JobError(f"{model}: this model goes on from a text and has no gaps to fill; type: runjob generate")
    return CharacterFiller(model, network) if network.config.model_type == "canine" else Filler(model, network)


def show(filled: Filled, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(filled), ensure_ascii=False), flush=True)
        return
    print(filled.text)
    for number, gap in enumerate(filled.gaps, start=1):
        where = "" if filled.places is None else f" at {filled.places[number - 1]}"
        guesses = ", ".join(f"{guess.token} {guess.probability:.3f}" for guess in gap)
        print(f"  gap {number}{where}: {guesses}", flush=True)


def fill_mask(options: argparse.Namespace) -> None:
    target = find_target(options.target.absolute())
    needed = not options.interactive and not options.benchmark
    prompts = read_prompts(options, target, needed=needed, example=EXAMPLE)
    filler = open_filler(target.model, device=options.device)
    if options.benchmark:
        report = measure_fill_speed(filler.network, filler.answer)
        print(json.dumps([vars(row) for row in report]) if options.json else "\n".join(map(str, report)))
        return

    def answer(prompt: str) -> str:
        filled = filler.fill(prompt, top_k=options.top_k)
        show(filled, as_json=options.json)
        return filled.text

    if not options.interactive or options.prompt or options.prompts_file:
        keep_samples(target, [(prompt, answer(prompt)) for prompt in prompts])
    if options.interactive:
        converse(answer)


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runjob fill-mask", usage=argparse.SUPPRESS, description="Fill the gaps of texts with a masked model."
    )
    parser.add_argument("--top-k", type=count, default=SHOWN, help=f"guesses shown for each gap (default: {SHOWN})")
    add_questions(parser, prompt=f"a text with {GAP} in it")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    return answer(lambda: fill_mask(options))


if __name__ == "__main__":
    sys.exit(main())
