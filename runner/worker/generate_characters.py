"""`runjob generate` for a model of characters that was trained with `char_ar`: gaps are filled one after another from
left to right, each character drawn knowing those before it. A prompt without gaps is gone on from by as many characters
as are asked for.

The model was trained on all orders and could fill in any; left to right is the one that a reader expects.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from runjob.data.characters import special_points
from runjob.runner.worker.fill_characters import GAP, CharacterText, written
from runjob.runner.worker.models.canine_ordered import CanineForOrderedCharacters, ordered_places
from runjob.runner.worker.sampling import Sampling, pick
from runjob.runner.worker.texts import Text
from runjob.schemas.errors import JobError

# Code points that are no characters of a text
SURROGATES = range(0xD800, 0xE000)


class CharacterWriter:
    """A network that fills gaps in order: prompts in, texts out."""

    def __init__(self, model: Path, network: CanineForOrderedCharacters) -> None:
        self.model = model
        self.network = network
        barred = special_points()[: network.config.character_table]  # U+0000, the class of all beyond the table, is one
        barred[[point for point in SURROGATES if point < len(barred)]] = True
        self.barred = torch.from_numpy(barred).to(network.device)

    def write(self, prompts: Sequence[str], sampling: Sampling) -> Iterator[Text]:
        for prompt in prompts:
            if not prompt:
                raise JobError("the prompt is empty; type at least one character")
            asked = prompt if GAP in prompt else prompt + GAP * sampling.max_new_tokens
            text = CharacterText(asked, self.model, self.network)
            filled = text.filled(list(map(written, self.fill(text, sampling))))
            yield Text(prompt=prompt, text=filled, tokens=len(text.places), ended="length")

    @torch.inference_mode()
    def fill(self, text: CharacterText, sampling: Sampling) -> list[int]:
        """A character for each gap, drawn in turn."""
        row = torch.tensor([text.ids], device=self.network.device)
        columns = [place + 1 for place in text.places]
        order = torch.full_like(row, -1)
        order[0, columns] = torch.arange(len(columns), device=row.device)
        draws = torch.from_numpy(np.random.Generator(np.random.Philox(sampling.seed)).random(len(columns)))
        hidden, places = self.network.canine(row).last_hidden_state, ordered_places(order)
        characters = torch.zeros_like(row)
        for turn, column in enumerate(columns):
            logits, _ = self.network.ordered_logits(hidden, characters, places)
            allowed = logits[turn : turn + 1].float().masked_fill(self.barred, -torch.inf)
            characters[0, column] = pick(allowed, sampling, draws[turn : turn + 1].to(row.device))[0]
        found: list[int] = characters[0, columns].tolist()
        return found
