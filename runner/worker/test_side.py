"""The test side of a job: evaluated once, after training, on the weights that are exported, and never before.

All ranks take part, each with its share of the rows. The network is built anew from the checkpoint in fp32, as it is
exported, because what stands in the engine is the last step's, rounded and cut as training wanted it.
"""

from collections.abc import Iterable

import torch
from torch import nn

from runjob.data.batches import MicroBatch
from runjob.runner.worker.assemble import Assembly, evaluation_limit, load_weights
from runjob.runner.worker.checkpoint import Checkpoint
from runjob.runner.worker.evaluate import Evaluator
from runjob.runner.worker.metrics import Metrics
from runjob.runner.worker.models.causal_lm import Nats
from runjob.runner.worker.models.dense import add_dense
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.objective import (
    head_labels,
    open_module,
    open_other_shares,
    open_reader,
    open_retrieval,
    tags_of,
)
from runjob.runner.worker.seeds import seed_of


class Finished:
    """A module that learns no more."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module = module.to(device).eval()
        self.device = device

    @torch.no_grad()
    def evaluate(self, micro_batches: Iterable[MicroBatch]) -> Nats:
        """Summed losses of this rank's rows."""
        total = Nats()
        for micro in micro_batches:
            answer = self.module(**{name: tensor.to(self.device) for name, tensor in micro.tensors.items()})
            total.add(answer)
        return total


def evaluate_test_side(assembly: Assembly, checkpoint: Checkpoint) -> Metrics | None:
    """The metrics of an evaluation, on the test side; None where the job has none. Collective."""
    parts, store = assembly.parts, assembly.store
    job = parts.job
    if store.test is None:
        return None
    network, _ = build_network(
        job.model,
        job.objective.kind,
        tokenizer=store.summary.tokenizer,
        seed=seed_of(job.seed, "init"),
        tokenizer_at=store.tokenizer,
        filled_later=True,
        labels=head_labels(job),
    )
    if assembly.teacher is not None:
        add_dense(network, assembly.teacher.width, seed=job.seed)
    load_weights(network, checkpoint)
    reader = open_reader(job, store)
    rows = reader.open(store.test)
    evaluator = Evaluator(
        rows=rows,
        limit=evaluation_limit(job, network.config),
        exchange=parts.exchange,
        objective=job.objective.kind,
        token_bytes=reader.token_bytes,
        added=reader.added,
        sources=(),
        others=open_other_shares(job, store, store.test),
        tags=tags_of(job),
        retrieval=open_retrieval(job, rows),
    )
    labels, tokenizer = store.summary.train.labels, store.summary.tokenizer
    module = open_module(job, network, tokenizer, labels, store.tokenizer, assembly.teacher)
    return evaluator.run(Finished(module, parts.engine.device))
