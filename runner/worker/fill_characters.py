"""Gaps in texts of characters: `goo[MASK]le.com`. Each `[MASK]` is one character, and its guesses are told with the
place where it stands in the text. All gaps are filled in one pass, each by itself."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel

from runjob.data.characters import private_character
from runjob.runner.worker.models.canine import BEYOND
from runjob.runner.worker.models.configs import positions_of
from runjob.schemas.errors import JobError, NumericsError

GAP = "[MASK]"
EXAMPLE = f"goo{GAP}le.com"
# What stands in a text for a character that has no class of its own
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class CharacterText:
    """A text with gaps as a model reads it: `ids` between CLS and SEP; `places` of the gaps in the text, counted from 0
    with one for each gap."""

    def __init__(self, prompt: str, model: Path, network: PreTrainedModel) -> None:
        tokenizer = _marks_of(model)
        wrong = private_character(prompt)
        if wrong is not None:
            raise JobError(f"the prompt {wrong}; write {GAP} for a gap")
        parts = prompt.split(GAP)
        mask: int = tokenizer.mask_token_id
        self.ids: list[int] = [tokenizer.cls_token_id]
        self.places: list[int] = []
        for number, part in enumerate(parts):
            if number:
                self.places.append(len(self.ids) - 1)
                self.ids.append(mask)
            self.ids += map(ord, part)
        self.ids.append(tokenizer.sep_token_id)
        limit = positions_of(network.config)
        if limit is not None and len(self.ids) > limit:
            count = len(self.ids) - 2
            raise JobError(
                f"the text has {count} characters, gaps counted, and the model reads {limit - 2}; shorten it"
            )

    def filled(self, characters: list[str]) -> str:
        """The text with these in its gaps."""
        text = list(map(chr, self.ids[1:-1]))
        for place, character in zip(self.places, characters, strict=True):
            text[place] = character
        return "".join(text)


@cache
def _marks_of(model: Path) -> Any:  # noqa: ANN401 - transformers has no types
    """The model's own tokenizer, for its marks: an imported model has another mask. Once, since it takes seconds."""
    return AutoTokenizer.from_pretrained(model, local_files_only=True)


@torch.inference_mode()
def likeliest(network: PreTrainedModel, text: CharacterText, *, top_k: int) -> list[list[tuple[int, float]]]:
    """Of each gap its likeliest classes, with their probabilities."""
    logits = network(input_ids=torch.tensor([text.ids], device=network.device)).logits[0].float()
    if not bool(logits.isfinite().all()):
        raise NumericsError("the model answers NaN or Inf: its training has diverged; take an earlier checkpoint")
    asked = logits[[place + 1 for place in text.places]].softmax(-1)
    found = asked.topk(min(top_k, asked.shape[1]))
    return [
        list(zip(classes, chances, strict=True))
        for classes, chances in zip(found.indices.tolist(), found.values.tolist(), strict=True)
    ]


def name_of(point: int, *, table: int) -> str:
    """A class in words: its character, or a name where nobody would see one."""
    if point == BEYOND:
        return f"a character beyond U+{table - 1:04X}"
    character = chr(point)
    return character if character.isprintable() and not character.isspace() else f"U+{point:04X}"


def written(point: int) -> str:
    """A class as it stands in a text."""
    return UNKNOWN if point == BEYOND or 0xD800 <= point <= 0xDFFF else chr(point)
