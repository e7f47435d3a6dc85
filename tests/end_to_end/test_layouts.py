"""The layouts through the real thing: documents as rows under a budget of tokens, and packed documents kept apart."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from runjob.data.batches import batch_digest
from runjob.data.cut import Limit
from runjob.data.order import Order
from runjob.data.rows import DocumentRows, PackedRows
from runjob.data.store import Store
from runjob.data.stream import TrainStream
from runjob.schemas.run import RunDir, read_json
from tests.end_to_end.conftest import Bench, assert_same_run, flags, records

pytestmark = pytest.mark.slow

LINES = (
    "data.layout=lines",
    "data.documents=line",
    "training.micro_batch=null",
    "training.micro_tokens=48",
    "hardware.ranks=2",
    "training.length=12 steps",
)


def store_of(run: RunDir) -> Store:
    return Store.open(Path(read_json(run.data)["store"]))


def test_lines_by_tokens_killed_and_resumed_on_two_ranks_equal_an_unbroken_run(bench: Bench) -> None:
    straight = bench.submit(*LINES)
    broken = bench.start(*LINES)
    bench.reach(broken, 9)
    bench.kill_everything(broken)
    bench.resume(broken)
    assert_same_run(straight, broken)

    rows = DocumentRows(store_of(straight).train, 32, truncate=False)
    train = records(straight, "train")
    stream = TrainStream(rows, Order(len(rows), 42), global_batch=8, limit=Limit(rows=8, tokens=None), rank=0, ranks=1)
    steps = [stream.step(number) for number in range(1, 13)]
    stream.close()
    assert [record["batch"] for record in train] == [batch_digest(step.in_sample_order(step.digests)) for step in steps]
    assert [record["predicted"] for record in train] == [step.predicted for step in steps]
    assert train[-1]["tokens"] == sum(step.tokens for step in steps)
    assert len({record["predicted"] for record in train}) > 6  # rows of many lengths

    planned = json.loads(bench.runjob("plan", bench.job, *flags(LINES), "--json").stdout)
    assert (planned["batch"]["micro_batch"], planned["batch"]["micro_tokens"]) == (1, 48)
    assert (planned["rows"]["rows"], planned["rows"]["tokens"]) == (len(rows), rows.predicted)
    assert 0 < planned["rows"]["padding"] < 0.2
    least, most = planned["rows"]["micro_batches"]["2"]
    assert 1 <= least < most <= 4


def test_documents_apart_are_evaluated_as_each_of_them_alone(bench: Bench) -> None:
    run = bench.submit("data.attention=document", "data.documents=line", "training.length=8 steps")
    last = records(run, "eval")[-1]
    network = AutoModelForCausalLM.from_pretrained(run.model, dtype=torch.float32)
    rows = PackedRows(store_of(run).validation, 32, apart=True)
    assert last["loss"] == min(record["loss"] for record in records(run, "eval"))
    nats, documents = 0.0, 0
    with torch.inference_mode():
        for number in range(len(rows)):
            row = rows.row(number)
            assert row.position_ids is not None
            starts = [*(row.position_ids == 0).nonzero()[0].tolist(), len(row.input_ids)]
            for start, end in pairwise(starts):
                ids, labels = (torch.from_numpy(part[start:end]) for part in (row.input_ids, row.labels))
                nats += float(torch.nn.functional.cross_entropy(network(ids[None]).logits[0], labels, reduction="sum"))
                documents += 1
    assert documents > len(rows)
    assert last["loss"] == pytest.approx(nats / rows.predicted, rel=1e-5)
