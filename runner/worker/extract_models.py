"""The two networks that `runjob extract` asks, each with what its own job does to a text: a tagger finds the entities
of a sentence, a relater says how two of them are related.

Rows go through a network by their length, some at a time, and an answer must not depend on which. Sums of another shape
are rounded in other places, which moves a probability by 1e-7 to 1e-5; so where a tag is nearly as likely as the next
one, or a confidence lies on the border between two decimals, the row is asked again alone, and that answer holds. All
others are what the row alone would have been given, too (data/found.py: NOISE, MARGIN).

Legend: B rows, L tokens of the longest, T tags, C classes.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel

from runjob.data.found import (
    MARGIN,
    Found,
    Said,
    at_border,
    cut_windows,
    is_doubtful,
    join_windows,
    read_entities,
)
from runjob.data.labelling import labelling_of
from runjob.data.labels import Labelling, Tags
from runjob.data.normalize import SPACE, Normalizer, open_normalizer
from runjob.data.pairs import MARKS, Pairing, Relations
from runjob.data.terms import fingerprint, read_terms
from runjob.data.tokenizers import backend_for_corpus
from runjob.data.vocabulary import WHERE
from runjob.runner.worker.export import load_network
from runjob.runner.worker.models.configs import positions_of
from runjob.runner.worker.models.document_attention import seen_by
from runjob.runner.worker.models.loading import refuse_other_labels
from runjob.runner.worker.models.pair_classes import at_marks
from runjob.schemas.errors import CheckpointError, JobError, MissingError, NumericsError
from runjob.schemas.job_data import CharacterTokenizer, Data
from runjob.schemas.job_json import read_job_json
from runjob.schemas.run import RunDir, read_json
from runjob.schemas.tags import UNRELATED

Row = list[int]
# Of rows (B, L) and the network's outputs (B, L, T): what is asked of each
Read = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Network:
    """The network of a run, in fp32, and what its job does to a text; `batch` rows are asked at once."""

    def __init__(self, run: RunDir, *, device: str, batch: int) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise MissingError("--device cuda: torch sees no GPU here; try --device cpu")
        job = read_job_json(run.job).job
        self.run = run
        self.network: PreTrainedModel = load_network(run.model).to(device)
        tokenizer: Any = AutoTokenizer.from_pretrained(run.model, local_files_only=True)
        self.tokenizer = tokenizer
        self.backend = backend_for_corpus(tokenizer)
        self.normalizer = normalizer_of(run, job.data)
        self.labelling = labelling_of(job)
        self.batch = batch
        self._before = [one for one in (tokenizer.cls_token_id,) if one is not None]
        self._after = [one for one in (tokenizer.sep_token_id,) if one is not None]
        limits = (job.data.sequence_length, positions_of(self.network.config))
        # of text, beside the tokenizer's marks
        self.longest = min(limit for limit in limits if limit is not None) - len(self._before) - len(self._after)

    def expect_outputs(self, names: Sequence[str]) -> None:
        """CheckpointError where the outputs of the head are others than those of the job."""
        try:
            refuse_other_labels(self.network.config, names)
        except ValueError as error:
            raise CheckpointError(f"{self.run.model}: {error}") from error

    def length(self, raw: str) -> int:
        """Of a raw text, in tokens."""
        return len(self.backend.encode(self.normalizer(raw), add_special_tokens=False).ids)

    def frame(self, ids: Row) -> Row:
        return [*self._before, *ids, *self._after]

    @property
    def shift(self) -> int:
        """Tokens of a row before its text."""
        return len(self._before)

    @torch.inference_mode()
    def ask(self, rows: Sequence[Row], read: Read, *, batch: int) -> Iterator[tuple[int, list[Any], list[Any]]]:
        """Of each row its number, the two likeliest outputs wherever it was asked something, and their probabilities;
        the longest rows first."""
        order = sorted(range(len(rows)), key=lambda number: (-len(rows[number]), number))
        for place in range(0, len(order), batch):
            numbers = order[place : place + batch]
            longest = len(rows[numbers[0]])
            padding = self.tokenizer.pad_token_id or 0
            ids_BL = torch.tensor([rows[number] + [padding] * (longest - len(rows[number])) for number in numbers])
            lengths_B = torch.tensor([len(rows[number]) for number in numbers])
            mask_BL = (torch.arange(longest)[None] < lengths_B[:, None]).long()
            ids_BL, mask_BL = ids_BL.to(self.network.device), mask_BL.to(self.network.device)
            outputs_BLT = self.network(input_ids=ids_BL, **seen_by(self.network, mask_BL, None)).logits
            top = read(ids_BL, outputs_BLT.double()).softmax(-1).topk(2)
            if not bool(top.values.isfinite().all()):
                raise NumericsError(f"{self.run.id}: the model answers NaN or Inf: its training has diverged")
            yield from zip(numbers, top.indices.tolist(), top.values.tolist(), strict=True)


def normalizer_of(run: RunDir, data: Data) -> Normalizer:
    """As training read its texts; JobError where the lists whose terms it joined are others by now."""
    if data.normalize.join_terms and not isinstance(data.tokenizer, CharacterTokenizer):
        terms = read_terms(data.tokenizer.terms, where=f"{run.id}: {WHERE}")
        trained: str = read_json(run.data)["origin"]["tokenizer"]["terms"]
        if fingerprint(terms) != trained:
            files = ", ".join(data.tokenizer.terms.values())
            said = f"{run.id}: the terms that it joins are not those that it was trained with: {files} changed since"
            raise JobError(f"{said}; put the lists back as they were, or train with the new ones")
    return open_normalizer(data)


@dataclass(frozen=True, kw_only=True)
class Tagging:
    """The entities of a text in its normalised form, which is `text`."""

    text: str
    found: tuple[Found, ...]


class Tagger:
    """Texts in, entities out."""

    def __init__(self, run: RunDir, *, device: str, batch: int) -> None:
        self.network = Network(run, device=device, batch=batch)
        assert isinstance(self.network.labelling, Labelling), "runner/commands_extract.py has looked"
        self.tags: Tags = self.network.labelling.tags
        self.network.expect_outputs(self.tags.names)

    def tag(self, raws: Sequence[str]) -> list[Tagging]:
        """Of each raw text, which is a sentence, its entities; of one longer than a row by windows."""
        network = self.network
        texts = [network.normalizer(raw) for raw in raws]
        encodings = network.backend.encode_batch(texts, add_special_tokens=False)
        offsets, windows, rows = [], [], []
        for text, encoding in zip(texts, encodings, strict=True):
            places, ids = encoding.offsets, encoding.ids
            offsets.append(places)
            windows.append(cut_windows(text, places, longest=network.longest) if ids else [])
            rows.append([network.frame(ids[first:end]) for first, end in windows[-1]])
        answers = iter(self._said([row for of_one in rows for row in of_one], batch=network.batch))
        tagged = []
        for text, places, cuts, mine in zip(texts, offsets, windows, rows, strict=True):
            said = list(islice(answers, len(cuts)))
            entities = self._entities(text, places, cuts, said)
            if entities is None:
                entities = self._entities(text, places, cuts, self._said(mine, batch=1), last=True) or []
            tagged.append(Tagging(text=text, found=tuple(entities)))
        return tagged

    def _entities(
        self,
        text: str,
        places: Sequence[tuple[int, int]],
        cuts: Sequence[tuple[int, int]],
        said: Sequence[Said],
        *,
        last: bool = False,
    ) -> list[Found] | None:
        """None where the sentence has to be asked again alone; the `last` answer holds."""
        if not cuts:
            return []
        whole = join_windows(cuts, said)
        entities = read_entities(text, places, whole, self.tags)
        return entities if last or not is_doubtful(whole, entities) else None

    def _said(self, rows: Sequence[Row], *, batch: int) -> list[Said]:
        said: dict[int, Said] = {}
        shift = self.network.shift
        for number, indices, values in self.network.ask(rows, lambda _, outputs: outputs, batch=batch):
            end = len(rows[number]) - len(self.network.frame([])) + shift
            said[number] = Said(
                numbers=[first for first, _ in indices[shift:end]],
                probabilities=[first for first, _ in values[shift:end]],
                margins=[first - second for first, second in values[shift:end]],
            )
        return [said[number] for number in range(len(rows))]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`label` of a pair and its probability."""

    label: str
    confidence: float


class Relater:
    """Marked pairs in, relations out."""

    def __init__(self, run: RunDir, *, device: str, batch: int) -> None:
        self.network = Network(run, device=device, batch=batch)
        assert isinstance(self.network.labelling, Pairing), "runner/commands_extract.py has looked"
        self.pairing: Pairing = self.network.labelling
        self.relations: Relations = self.pairing.tags
        self.network.expect_outputs(self.relations.outputs)
        marks = {mark: self.network.tokenizer.convert_tokens_to_ids(mark) for pair in MARKS for mark in pair}
        self._marks = frozenset(marks.values())
        self._openings = tuple(marks[opening] for opening, _ in MARKS)

    def beginning(self, sentence: str) -> str:
        """As much of a sentence as matters to a row, in which its marks are tokens too: all of it, or up to the first
        white space behind twice a row's length. (All pairs of a list of 216 names without a full stop took 6.6 GB when
        each was marked in the whole of it.)"""
        limit = 2 * self.network.longest
        if self.network.length(sentence) <= limit:
            return sentence
        spaces = [space.start() for space in SPACE.finditer(sentence)]
        first = bisect_left(spaces, limit, key=lambda place: self.network.length(sentence[:place]))
        return sentence[: spaces[first]] if first < len(spaces) else sentence

    def relate(self, marked: Sequence[str]) -> list[Verdict | None]:
        """What is said of each marked text; None of one whose marks do not all stand within a row, which training asks
        nothing of either."""
        network = self.network
        encodings = network.backend.encode_batch(
            [network.normalizer(text) for text in marked], add_special_tokens=False
        )
        rows = [network.frame(encoding.ids[: network.longest]) for encoding in encodings]
        whole = [number for number, row in enumerate(rows) if self._marks <= set(row)]
        verdicts: list[Verdict | None] = [None] * len(rows)
        doubtful = self._judge(whole, rows, verdicts, batch=network.batch)
        self._judge(doubtful, rows, verdicts, batch=1)
        return verdicts

    def _judge(
        self, numbers: Sequence[int], rows: Sequence[Row], verdicts: list[Verdict | None], *, batch: int
    ) -> list[int]:
        """Fills in the verdicts of these rows; the numbers of those that have to be asked again alone."""
        doubtful = []
        chosen = [rows[number] for number in numbers]
        for place, (first, _), (likeliest, second) in self.network.ask(chosen, self._at_marks, batch=batch):
            label = self.relations.names[first]
            verdicts[numbers[place]] = Verdict(label=label, confidence=likeliest)
            if likeliest - second < MARGIN or (label != UNRELATED and at_border(likeliest)):
                doubtful.append(numbers[place])
        return doubtful

    def _at_marks(self, ids_BL: torch.Tensor, outputs_BLT: torch.Tensor) -> torch.Tensor:
        return at_marks(outputs_BLT, ids_BL, self._openings)
