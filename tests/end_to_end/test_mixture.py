"""Two sources by weight and a test side through the real thing: killed, resumed, on one rank and on two."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from runjob.data.batches import batch_digest, sample_digest
from runjob.data.mixture import MixedOrder, open_order
from runjob.data.rows import PackedRows
from runjob.data.store import Store
from runjob.schemas.job_data import MixData
from runjob.schemas.read import read_job_json
from runjob.schemas.run import read_json
from tests.end_to_end.conftest import Bench, records

pytestmark = pytest.mark.slow


def test_a_mixture_killed_and_resumed_on_two_ranks_has_the_batches_of_one_rank_and_is_tested_once(bench: Bench) -> None:
    text = bench.job.read_text(encoding="utf-8")
    one_source = "  kind: text\n  path: corpus.txt\n  documents: paragraph\n"
    two_sources = (
        "  kind: mix\n  sources:\n    - {weight: 3, kind: text, path: corpus.txt, documents: paragraph}\n"
        "    - {kind: jsonl, path: 'sample:paleo'}\n"
    )
    assert one_source in text
    bench.job.write_text(text.replace(one_source, two_sources), encoding="utf-8")
    sets = (
        "data.split={kind: first, validation: 5, test: 3}",
        "training.length=12 steps",
        "training.log_every=1 steps",
    )
    straight = bench.submit(*sets)
    broken = bench.start(*sets, "hardware.ranks=2")
    bench.reach(broken, 9)
    bench.kill_everything(broken)
    bench.resume(broken)

    job = read_job_json(straight.job).job
    assert isinstance(job.data, MixData)
    store = Store.open(Path(read_json(straight.data)["store"]))
    rows = PackedRows(store.train, 32)
    order = open_order(job.data, rows.sections, seed=job.seed)
    assert isinstance(order, MixedOrder)
    batches = []
    for step in range(12):
        numbers = order.rows_at(step * 8, 8).tolist()
        assert sum(number < rows.sections[0] for number in numbers) == 6
        batches.append(batch_digest(sample_digest(number, rows.row(number)) for number in numbers))
    for run in (straight, broken):
        assert [record["batch"] for record in records(run, "train")] == batches

    predicted = [section.predicted for section in store.validation.summary.sections]
    for measured, again in zip(records(straight, "eval"), records(broken, "eval"), strict=True):
        losses = [measured["loss/corpus.txt"], measured["loss/sample:paleo"]]
        both = sum(loss * number for loss, number in zip(losses, predicted, strict=True)) / sum(predicted)
        assert measured["loss"] == pytest.approx(both, rel=1e-6)
        assert again["loss/sample:paleo"] == pytest.approx(losses[1], rel=1e-3)

    assert store.test is not None
    assert [section.documents for section in store.test.summary.sections] == [3, 3]
    network = AutoModelForCausalLM.from_pretrained(straight.model, dtype=torch.float32)
    unseen = PackedRows(store.test, 32)
    nats = 0.0
    with torch.inference_mode():
        for number in range(len(unseen)):
            ids, labels = (torch.from_numpy(part) for part in (unseen.row(number).input_ids, unseen.row(number).labels))
            nats += float(torch.nn.functional.cross_entropy(network(ids[None]).logits[0], labels, reduction="sum"))
    loss = nats / unseen.predicted
    (finish,) = records(straight, "finish")
    (other,) = records(broken, "finish")
    assert finish["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert finish["test_perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert other["test_loss"] == pytest.approx(loss, rel=1e-3)
    assert not [record for record in records(straight, "eval") if "test_loss" in record]
    card = (straight.model / "README.md").read_text(encoding="utf-8")
    assert f"On the test side (6 documents, {store.test.summary.tokens:,} tokens" in card
    assert "- source: a mixture of corpus.txt (weight 3); sample:paleo (weight 1)" in card
