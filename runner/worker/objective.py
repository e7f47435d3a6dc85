"""The one place that knows what each objective needs: how it reads a corpus, what the loop trains, what is measured
besides the loss. Behind it every objective is rows in, and a summed loss with a count out."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from runjob.data import tokenizers
from runjob.data.added import Added, open_added
from runjob.data.beside import Names
from runjob.data.characters import reads_characters, utf8_bytes
from runjob.data.class_rows import ClassRows
from runjob.data.classes import Classes
from runjob.data.corruptions import Masking
from runjob.data.label_counts import LabelsSummary
from runjob.data.labelled_rows import LabelledRows
from runjob.data.labelling import labelling_of
from runjob.data.labels import Tags
from runjob.data.masked_rows import MaskedRows, build_masking, character_masking, marks_of
from runjob.data.ordered_rows import OrderedRows
from runjob.data.pair_rows import PairRows
from runjob.data.pairs import MARKERS, Relations
from runjob.data.rows import Rows, open_rows
from runjob.data.store import Side, Store, TokenizerSummary
from runjob.data.text_pair_rows import TextPairRows
from runjob.data.text_pairs import TextPairing
from runjob.data.text_rows import TextRows
from runjob.data.words import marks_words, text_bytes
from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.models.configs import ids_in
from runjob.runner.worker.models.document_classes import DocumentClassesObjective, check_row_family
from runjob.runner.worker.models.filling import has_filling
from runjob.runner.worker.models.masked_lm import MaskedLMObjective, check_family
from runjob.runner.worker.models.ordered_characters import OrderedCharactersObjective
from runjob.runner.worker.models.pair_classes import PairClassesObjective
from runjob.runner.worker.models.permuted_lm import PermutedLMObjective, check_streams
from runjob.runner.worker.models.row_classes import row_weights
from runjob.runner.worker.models.taught_vectors import TaughtVectorsObjective, Teacher
from runjob.runner.worker.models.text_vectors import TextVectorsObjective
from runjob.runner.worker.models.token_classes import TokenClassesObjective, check_token_family, weights_of
from runjob.runner.worker.retrieval import Retrieval
from runjob.schemas.end_to_end import end_to_end
from runjob.schemas.errors import JobError
from runjob.schemas.job import Job, learns_from_pairs, watched_metrics
from runjob.schemas.job_data import Data
from runjob.schemas.job_model import (
    CausalLM,
    CharAR,
    MaskedLM,
    PermutedLM,
    RelationClassification,
    Replace,
    SentenceEmbedding,
    SequenceClassification,
    TokenClassification,
)
from runjob.schemas.label_rules import BESIDE_TEXT

# What of vectors decides what is learnt; of a teacher its weights do (assemble.py)
OF_CONTRASTIVE = ("kind", "loss", "temperature", "pooling", "group")
OF_MSE = ("kind", "loss", "pooling", "teacher_pooling")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How an objective reads. `data` is the job's, with `sequence_length` what a row holds of text; `finish` makes of
    rows of text those that the network gets; `token_bytes` (by id) counts the text that is predicted, None where that
    is all of it, or where the tokenizer doesn't tell; `added` is None where nobody added tokens to the vocabulary, or
    nobody predicts them."""

    data: Data
    eos: bool
    finish: Callable[[Rows], Rows]
    token_bytes: npt.NDArray[np.int64] | None
    added: Added | None

    def open(self, side: Side) -> Rows:
        return self.finish(open_rows(side, self.data, eos=self.eos))


def open_reader(job: Job, store: Store) -> Reader:
    """JobError where the tokenizer can't serve the objective."""
    match job.objective:
        case CausalLM():
            return Reader(
                data=job.data, eos=True, finish=lambda rows: rows, token_bytes=None, added=open_added(job, store)
            )
        case MaskedLM() as objective:
            return _masked_reader(job, objective, store)
        case CharAR() as objective:
            return _ordered_reader(job, objective, store)
        case PermutedLM() as objective:
            return _permuted_reader(job, objective, store)
        case TokenClassification() | RelationClassification() | SequenceClassification():
            return _labelled_reader(job, store)
        case SentenceEmbedding():
            return _vectors_reader(job, store)


def _vectors_reader(job: Job, store: Store) -> Reader:
    tokenizer, pairs = store.summary.tokenizer, learns_from_pairs(job)
    return Reader(
        data=within_marks(job.data, tokenizer),
        eos=False,
        finish=lambda rows: TextPairRows(rows, tokenizer) if pairs else TextRows(rows, tokenizer),
        token_bytes=None,
        added=None,
    )


def _masked_reader(job: Job, objective: MaskedLM, store: Store) -> Reader:
    summary = store.summary.tokenizer
    if reads_characters(summary):
        # of a stream nothing but the sides that are not trained on is known yet
        text = store.train if store.train.summary.documents else store.validation
        return _masked(job, store, character_masking(objective, text), utf8_bytes())
    tokenizer = tokenizers.load_saved(store.tokenizer)
    masking = build_masking(objective, tokenizer)
    marked = marks_words(tokenizer)
    if not marked and "masked_bits_per_byte" in watched_metrics(job.evaluation).values():
        raise JobError("evaluation: this tokenizer doesn't tell the bytes of its tokens; write `loss` as the metric")
    return _masked(job, store, masking, text_bytes(tokenizer) if marked else None)


def _masked(job: Job, store: Store, masking: Masking, token_bytes: npt.NDArray[np.int64] | None) -> Reader:
    tokenizer = store.summary.tokenizer
    return Reader(
        data=within_marks(job.data, tokenizer),
        eos=False,
        finish=lambda rows: MaskedRows(rows, tokenizer, masking, seed=job.seed),
        token_bytes=token_bytes,
        added=open_added(job, store),
    )


def _ordered_reader(job: Job, objective: CharAR, store: Store) -> Reader:
    """Masked rows whose hidden characters all become the mask, and their order."""
    replace = Replace(mask=1.0, random=0.0, keep=0.0)
    masked = MaskedLM(kind="mlm", unit="char", probability=objective.probability, replace=replace, span=objective.span)
    return _with_order(_masked_reader(job, masked, store), seed=job.seed)


def _permuted_reader(job: Job, objective: PermutedLM, store: Store) -> Reader:
    """Masked rows, and the order of what they hide. (The paper permutes the visible tokens too; each of them sees all
    others and knows its own place, so their order is of no consequence.)"""
    masked = MaskedLM(
        kind="mlm", unit=objective.unit, probability=objective.probability, replace=objective.replace, span=None
    )
    return _with_order(_masked_reader(job, masked, store), seed=job.seed)


def _with_order(reader: Reader, *, seed: int) -> Reader:
    return dataclasses.replace(reader, finish=lambda rows: OrderedRows(reader.finish(rows), seed=seed))


def _labelled_reader(job: Job, store: Store) -> Reader:
    tags, tokenizer = tags_of(job), store.summary.tokenizer
    ids = marker_ids(store.tokenizer) if isinstance(tags, Relations) else {}

    def finish(rows: Rows) -> Rows:
        if isinstance(tags, Classes):
            return ClassRows(rows, tokenizer)
        return LabelledRows(rows, tokenizer, tags) if isinstance(tags, Tags) else PairRows(rows, tokenizer, ids)

    return Reader(
        data=within_marks(job.data, tokenizer),
        eos=False,
        finish=finish,
        token_bytes=None,
        added=None,
    )


def within_marks(data: Data, tokenizer: TokenizerSummary) -> Data:
    """What is left of a row between the tokenizer's marks."""
    return dataclasses.replace(data, sequence_length=data.sequence_length - marks_of(tokenizer))


def marker_ids(tokenizer_at: Path) -> dict[str, int]:
    """The ids of the marks around the spans of a pair."""
    tokenizer = tokenizers.load_saved(tokenizer_at)
    return {marker: tokenizer.convert_tokens_to_ids(marker) for marker in MARKERS}


def tags_of(job: Job) -> Names | None:
    """None where the objective classifies nothing."""
    labelling = labelling_of(job)
    return None if labelling is None or isinstance(labelling, TextPairing) else labelling.tags


def head_labels(job: Job) -> tuple[str, ...]:
    """What the outputs of a head of its own are called, in their order; none where the head is the vocabulary's."""
    tags = tags_of(job)
    if isinstance(tags, Relations):
        return tags.outputs
    return () if tags is None else tags.names


def guessed_among(job: Job, config: PreTrainedConfig) -> int | None:
    """Among how many ids whoever knows nothing guesses, whose loss is their logarithm; None where no tokens are
    predicted: a loss of labels has weights, and one of vectors counts from the targets of a group."""
    return None if job.objective.kind in BESIDE_TEXT else ids_in(config)


def open_other_shares(job: Job, store: Store, side: Side) -> dict[str, Rows]:
    """The side's rows with other shares of them hidden (evaluation.also_hide), by the ending of what is measured."""
    objective = job.objective
    if not isinstance(objective, MaskedLM):
        return {}
    jobs = {
        f"hiding_{100 * share:g}": dataclasses.replace(job, objective=dataclasses.replace(objective, probability=share))
        for share in job.evaluation.also_hide
    }
    return {name: open_reader(one, store).open(side) for name, one in jobs.items()}


def open_retrieval(job: Job, rows: Rows) -> Retrieval | None:
    """None where no text has another to look for; `rows` of the side that is measured."""
    if not learns_from_pairs(job):
        return None
    assert isinstance(rows, TextPairRows)
    return Retrieval(rows)


def open_module(
    job: Job,
    network: PreTrainedModel,
    tokenizer: TokenizerSummary,
    labels: LabelsSummary | None = None,
    tokenizer_at: Path | None = None,
    teacher: Teacher | None = None,
) -> nn.Module:
    """What the engine trains; `labels` of the training side, `tokenizer_at`: where its marks are looked up; `teacher`
    of vectors."""
    vocabulary = tokenizer.vocab_size if has_filling(job.model) else None
    match job.objective:
        case CausalLM():
            return CausalLMObjective(network)
        case MaskedLM():
            check_family(network)
            together = end_to_end(job, family=network.config.model_type)
            return MaskedLMObjective(network, vocabulary=vocabulary, end_to_end=together)
        case CharAR():
            return OrderedCharactersObjective(network)
        case PermutedLM():
            check_streams(network)
            return PermutedLMObjective(network, vocabulary=vocabulary, recompute=job.training.gradient_checkpointing)
        case TokenClassification() as objective:
            check_token_family(network)
            tags = tags_of(job)
            assert isinstance(tags, Tags)
            return TokenClassesObjective(network, tags, weights_of(objective, tags, labels))
        case RelationClassification() as objective:
            check_token_family(network)
            relations = tags_of(job)
            assert isinstance(relations, Relations)
            assert tokenizer_at is not None
            weights = row_weights(objective, relations, labels)
            return PairClassesObjective(network, marker_ids(tokenizer_at), weights)
        case SequenceClassification() as objective:
            check_row_family(network)
            classes = tags_of(job)
            assert isinstance(classes, Classes)
            return DocumentClassesObjective(network, row_weights(objective, classes, labels))
        case SentenceEmbedding() as objective:
            check_token_family(network)
            if teacher is not None:
                return TaughtVectorsObjective(network, objective, teacher, pairs=learns_from_pairs(job))
            return TextVectorsObjective(network, objective)


def identity_of(job: Job) -> object:
    """What must be equal for two runs to learn the same from the same rows."""
    match job.objective:
        case CausalLM():
            return job.objective.kind
        case MaskedLM() | CharAR() | PermutedLM() as objective:
            return dataclasses.asdict(objective)
        case SentenceEmbedding() as objective:
            read = OF_MSE if objective.loss == "mse" else OF_CONTRASTIVE  # where a teacher lies is no matter
            return {name: value for name, value in dataclasses.asdict(objective).items() if name in read}
        case TokenClassification() as objective:
            return {**dataclasses.asdict(objective), "labels": list(objective.labels)}  # as JSON has it
        case RelationClassification() | SequenceClassification() as objective:
            identity: object = json.loads(json.dumps(dataclasses.asdict(objective)))  # as JSON has it
            return identity
