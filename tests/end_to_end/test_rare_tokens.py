"""A run that goes by its added tokens: measured in the same pass as the loss, in every place where numbers go, equal on
any number of ranks, and remembered through a kill."""

import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM

from runjob.data.added import added_ids
from runjob.data.store import Store
from runjob.data.tokenizers import train_wordpiece
from runjob.runner.worker.objective import open_reader
from runjob.schemas.read import read_job_json
from runjob.schemas.run import RunDir, read_json
from tests.end_to_end.conftest import Bench, assert_same_run, records

pytestmark = pytest.mark.slow

RARE = (
    "data.tokenizer={kind: train, algorithm: wordpiece, vocab_size: 400, terms: {words: words.txt}}",
    "model.init.architecture=bert",
    "objective={kind: mlm, unit: word, probability: 0.4}",
    "evaluation={every: 5 steps, best: rare_token_perplexity, early_stopping: "
    "{metric: rare_token_perplexity, patience: 3 evaluations, min_delta: 10000}}",
    "training.length=40 steps",
    "tracking.tensorboard=true",
)


def write_terms(folder: Path) -> None:
    """The fifty most frequent long words of the corpus."""
    words = Counter(re.findall(r"[a-z]{9,}", (folder / "corpus.txt").read_text(encoding="utf-8")))
    (folder / "words.txt").write_text("".join(f"{word}\n" for word, _ in words.most_common(50)), encoding="utf-8")


def by_hand(run: RunDir) -> tuple[float, int]:
    """The exported model, row by row over the validation side, summed over labels that are added tokens."""
    store = Store.open(Path(read_json(run.data)["store"]))
    rows = open_reader(read_job_json(run.job).job, store).open(store.validation)
    network = AutoModelForMaskedLM.from_pretrained(run.model).eval()
    rare, nats, count = set(added_ids(store.tokenizer)), 0.0, 0
    for number in range(len(rows)):
        row = rows.row(number, position=None)
        with torch.no_grad():
            logits = network(torch.from_numpy(row.input_ids)[None]).logits[0].double()
        for place, label in enumerate(row.labels.tolist()):
            if label in rare:
                nats -= float(F.log_softmax(logits[place], dim=0)[label])
                count += 1
    return nats, count


def test_it_equals_brute_force_goes_everywhere_and_survives_a_kill(bench: Bench) -> None:
    write_terms(bench.job.parent)
    unbroken = bench.submit(*RARE)
    broken = bench.start(*RARE)
    bench.reach(broken, 12)
    bench.kill_everything(broken)
    bench.resume(broken)
    assert_same_run(unbroken, broken)
    # the fourth evaluation after the one to beat at step 5: counted on both sides of the kill
    for run in (unbroken, broken):
        [stopped] = records(run, "early_stop")
        assert (stopped["metric"], stopped["step"], stopped["best_step"]) == ("rare_token_perplexity", 20, 5)

    evaluations = {record["step"]: record for record in records(unbroken, "eval")}
    [finish] = records(unbroken, "finish")
    assert finish["best_step"] == min(
        (step for step in evaluations if step), key=lambda step: evaluations[step]["rare_token_perplexity"]
    )
    assert finish["eval_rare_token_perplexity"] == evaluations[20]["rare_token_perplexity"]
    best = evaluations[finish["model_step"]]
    nats, count = by_hand(unbroken)
    assert count == best["rare_tokens"] > 3
    assert {record["fragmentation"] for record in evaluations.values()} == {0.0}
    assert best["rare_token_perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-4)
    board = EventAccumulator(str(unbroken.tensorboard)).Reload()
    shown = {scalar.step: scalar.value for scalar in board.Scalars("eval/rare_token_perplexity")}
    assert shown == pytest.approx({step: record["rare_token_perplexity"] for step, record in evaluations.items()})
    card = (unbroken.model / "README.md").read_text(encoding="utf-8")
    assert f"perplexity of added tokens ({count} of them) | {best['rare_token_perplexity']:.2f} |" in card
    assert "| added terms that the tokenizer splits | 0.00% |" in card

    two = bench.submit(*RARE, "training.length=6 steps", "training.schedule.warmup=1 steps", "hardware.ranks=2")
    fresh = records(two, "eval")[0]
    assert fresh["rare_tokens"] == evaluations[0]["rare_tokens"]
    assert fresh["rare_token_perplexity"] == pytest.approx(evaluations[0]["rare_token_perplexity"], rel=1e-6)


def test_a_job_that_goes_by_added_tokens_needs_some(bench: Bench) -> None:
    lines = (bench.job.parent / "corpus.txt").read_text(encoding="utf-8").splitlines()
    train_wordpiece(lambda: lines, vocab_size=300, lowercase=True).save_pretrained(bench.job.parent / "extended")
    sets = (*RARE, "data.tokenizer={kind: pretrained, path: extended}")
    done = bench.runjob("prepare", bench.job, *(word for one in sets for word in ("--set", one)))
    assert done.returncode == 2
    assert "evaluation.best: rare_token_perplexity is measured on added tokens" in done.stderr
