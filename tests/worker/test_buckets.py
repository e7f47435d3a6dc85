"""Buckets by length change what is computed beside what, and nothing of what comes out."""

from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch

from runjob.data.batches import MicroBatch
from runjob.data.cut import Limit
from runjob.data.order import Order
from runjob.data.rows import DocumentRows, PackedRows
from runjob.data.store import SectionSummary, Side, SideSummary
from runjob.data.stream import TrainStream
from runjob.runner.compile import compile_job
from runjob.runner.worker.assemble import tokens_per_step
from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.schemas.machine import detect_machine
from runjob.schemas.read import read_job
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTH = 48
CASES = ROOT / "tests" / "cases" / "valid"


@pytest.fixture
def rows(tmp_path: Path) -> DocumentRows:
    """64 documents of 1 to 47 tokens."""
    lengths = [1 + number * 29 % 47 for number in range(64)]
    stream = np.random.default_rng(3).integers(2, 300, sum(lengths) + 65)
    offsets = np.array([1, *accumulate(lengths, lambda end, length: end + length + 1, initial=1)][1:])
    stream[offsets - 1] = 0
    stream.astype("<u2").tofile(tmp_path / "tokens.bin")
    np.save(tmp_path / "offsets.npy", offsets)
    summary = SectionSummary(documents=64, predicted=len(stream) - 1, bytes=1, words=1)
    side = Side(tmp_path, summary=SideSummary.of(summary), token_type="uint16")
    return DocumentRows(side, LENGTH, truncate=False)


def share(rows: DocumentRows, limit: Limit, *, rank: int, ranks: int) -> tuple[MicroBatch, ...]:
    stream = TrainStream(rows, Order(len(rows), 1), global_batch=32, limit=limit, rank=rank, ranks=ranks)
    batch = stream.step(1)
    stream.close()
    return batch.micro_batches


def step(objective: CausalLMObjective, micro_batches: list[MicroBatch]) -> tuple[float, torch.Tensor]:
    """Mean loss of the step, and its gradient as one vector."""
    predicted = sum(micro.predicted for micro in micro_batches)
    objective.zero_grad()
    nats = 0.0
    for micro in micro_batches:
        answer = objective(**micro.tensors)
        (answer.loss_sum / predicted).backward()
        nats += answer.loss_sum.item()
    return nats / predicted, torch.cat([parameter.grad.flatten() for parameter in objective.parameters()])


def test_loss_and_gradient_are_those_of_rows_computed_one_by_one(rows: DocumentRows, build_small) -> None:
    objective = CausalLMObjective(build_small())
    one_by_one = list(share(rows, Limit(rows=1, tokens=None), rank=0, ranks=1))
    assert len(one_by_one) == 32
    loss, gradient = step(objective, one_by_one)
    for ranks, limit in (
        (1, Limit(rows=None, tokens=256)),
        (2, Limit(rows=None, tokens=100)),
        (4, Limit(rows=4, tokens=None)),
    ):
        cut = [micro for rank in range(ranks) for micro in share(rows, limit, rank=rank, ranks=ranks)]
        assert len(cut) < 32
        bucketed, its_gradient = step(objective, cut)
        assert bucketed == pytest.approx(loss, rel=1e-6)
        assert float((its_gradient - gradient).norm() / gradient.norm()) < 1e-6


def test_little_of_what_is_computed_is_padding(rows: DocumentRows) -> None:
    def computed(limit: Limit) -> int:
        return sum(micro.tensors["input_ids"].numel() for micro in share(rows, limit, rank=0, ranks=1))

    tokens = sum(micro.tokens for micro in share(rows, Limit(rows=1, tokens=None), rank=0, ranks=1))
    assert computed(Limit(rows=1, tokens=None)) == tokens
    assert computed(Limit(rows=None, tokens=128)) < 1.1 * tokens
    assert 1.5 * tokens < 32 * LENGTH


def test_amounts_in_tokens_are_divided_by_what_a_step_holds_on_average(rows: DocumentRows) -> None:
    plan = compile_job(read_job(CASES / "lines.yaml").job, detect_machine())
    assert plan.tokens_per_step == 256 * 32
    assert tokens_per_step(rows, plan) == round(256 * rows.predicted / 64)
    assert tokens_per_step(PackedRows(rows.side, LENGTH), plan) == 256 * 32
