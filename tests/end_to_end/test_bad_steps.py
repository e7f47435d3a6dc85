"""Training that goes wrong, in whole runs: a batch that no loss can be computed of, a batch of rubbish, a rank that
stands still. Nothing is injected: the model has a broken position that one long line reaches, and some lines are made
of words that no others have."""

import json
import math
import os
import signal
from pathlib import Path
from random import Random

import pytest
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from runjob.launchers.watchdog import rank_of
from runjob.schemas.json_object import read_object
from runjob.schemas.manifest import damage, folders_in
from runjob.schemas.processes import descendants
from runjob.schemas.run import read_json
from tests.conftest import Home, Processes, Runjob, wait_until
from tests.end_to_end.conftest import Bench, digest, losses, records

pytestmark = pytest.mark.slow

ROWS, BATCH = 320, 8
# What stands at these places comes in the tenth and in the twenty-third step (seed 42)
LONG_LINE, RUBBISH = 134, (0, 45, 97, 133)
BROKEN_POSITION = 28
LEFT_OUT = [(10, "not_finite"), (22, "rewound"), (23, "rewound")]

JOB = f"""
schema: 1
name: bad
seed: 42
data:
  kind: text
  path: corpus.txt
  documents: line
  layout: lines
  sequence_length: 32
  tokenizer: {{kind: pretrained, path: model}}
  split: {{kind: files, validation: validation.txt}}
model:
  init: {{kind: pretrained, path: model}}
objective: {{kind: clm}}
training:
  length: 44 steps
  stop_after: 40 steps
  global_batch: {BATCH}
  micro_batch: 4
  learning_rate: 2e-2
  schedule: {{kind: constant, warmup: 0 steps}}
  log_every: 1 steps
  checkpoint: {{every: 4 steps, keep: all}}
  on_bad_step:
    not_finite: skip
    spike: {{action: rewind, above: 8, window: 8}}
    rewind_skips: 2
evaluation: {{every: 10 steps, best: null}}
hardware: {{device: cpu, threads: 1}}
tracking: {{tensorboard: false}}
"""


def write_corpus(folder: Path) -> None:
    """Short lines of eight words that follow one another, a long one, some of words that never come again."""
    random = Random(7)

    def line(words: int) -> str:
        begin = random.randrange(8)
        return " ".join(f"w{(begin + place + random.randrange(2)) % 8}" for place in range(words))

    lines = [line(random.randrange(10, 20)) for _ in range(ROWS)]
    lines[LONG_LINE] = line(BROKEN_POSITION + 2)
    for place in RUBBISH:
        lines[place] = " ".join(f"w{random.randrange(20, 60)}" for _ in range(26))
    (folder / "corpus.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "validation.txt").write_text("\n".join(line(15) for _ in range(8)) + "\n", encoding="utf-8")


def write_model(folder: Path) -> None:
    """A small GPT-2 that knows words, one of whose positions is NaN."""
    words = {word: number for number, word in enumerate(["<|endoftext|>", "?", *(f"w{n}" for n in range(60))])}
    bare = Tokenizer(models.WordLevel(words, unk_token="?"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|endoftext|>", unk_token="?").save_pretrained(folder)
    sizes = {"n_positions": 32, "n_embd": 32, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    network = GPT2LMHeadModel(GPT2Config(vocab_size=len(words), **sizes))
    network.transformer.wpe.weight.data[BROKEN_POSITION] = math.nan
    network.config.save_pretrained(folder)
    save_file(dict(network.transformer.state_dict(prefix="transformer.")), folder / "model.safetensors")


@pytest.fixture
def bench(home: Home, runjob: Runjob, processes: Processes) -> Bench:
    write_corpus(home.path)
    write_model(home.path / "model")
    job = home.path / "bad.yaml"
    job.write_text(JOB, encoding="utf-8")
    return Bench(home=home, runjob=runjob, processes=processes, job=job)


def test_bad_batches_are_left_out_and_a_run_that_is_killed_leaves_out_the_same(bench: Bench) -> None:
    whole = bench.submit(expect=75)  # a model that answers NaN is not exported
    skipped = records(whole, "skip")
    assert [(one["step"], one["reason"]) for one in skipped] == LEFT_OUT
    assert skipped[0]["loss"] is None and skipped[0]["why"] == "loss nan, gradient norm nan"
    assert skipped[0]["samples"] == [72, 79]
    [went_back] = records(whole, "rewind")
    assert {key: went_back[key] for key in ("step", "checkpoint", "bad_step", "reason", "passed_by")} == {
        "step": 20,
        "checkpoint": "step-00000020",
        "bad_step": 23,
        "reason": "spike",
        "passed_by": [22, 23],
    }
    trained = [record["step"] for record in records(whole, "train")]
    assert trained == [step for step in range(1, 41) if step not in (10, 22, 23)]
    assert all(math.isfinite(loss) for loss in losses(whole))
    assert records(whole, "train")[-1]["samples"] == 40 * BATCH
    state = read_json(whole.checkpoints / "step-00000040" / "state.json")
    assert state["state"]["skipped"] == 3
    assert state["optimizer"]["adam_step"] == 37
    discarded = [json.loads(line) for line in whole.attempt(1).discarded.read_text().splitlines()]
    assert [record["step"] for record in discarded if record["event"] == "train"] == [21, 22]
    # it dies after it went back, while it saves the first checkpoint that knows of it
    broken = bench.submit(expect=1, env={"RUNJOB_TEST_FAULT": "checkpoint-before-manifest@24"})
    assert max(folders_in(broken.checkpoints)) == 20
    bench.resume(broken, expect=75)
    assert records(broken) == records(whole)
    last = whole.latest.read_text()
    assert last == broken.latest.read_text() == "step-00000040\n"
    for name in ("weights", "exp_avg", "exp_avg_sq"):
        file = f"{last.strip()}/{name}-00001.safetensors"
        assert digest(whole.checkpoints / file) == digest(broken.checkpoints / file)
    assert records(broken, "skip") == skipped
    assert [record["attempt"] for record in broken.read_events() if record["event"] == "rewind"] == [1, 2]


def test_a_rank_that_stands_still_ends_the_attempt_with_the_stacks_of_all_of_them(bench: Bench) -> None:
    run = bench.start(
        "hardware.ranks=2",
        "hardware.zero=2",
        "training.length=20000 steps",
        "training.stop_after=null",
        "training.checkpoint={every: 20 steps, keep: 3}",
        "evaluation.every=never",
        "training.on_bad_step.rewinds=1000",
        "training.hung_after={factor: 2, at_least: 3 s, first: 17 min}",
    )
    wait_until(lambda: read_object(run.progress).get("stage") == "train", within_s=120, what="the ranks to be ready")
    # nothing has been measured yet, and a hang is bounded all the same
    assert (read_object(run.progress)["step"], read_object(run.progress)["hung_after_s"]) == (0, 17 * 60.0)
    bench.reach(run, 45)
    ranks = {rank_of(facts.pid): facts.pid for facts in descendants(read_json(run.handle)["pid"])}
    os.kill(ranks[1], signal.SIGSTOP)
    wait_until(lambda: read_json(run.status)["state"] == "failed", within_s=60, what="it to fail")
    said = run.attempt(1).read_exit()
    assert said is not None
    assert (said.outcome, said.code, said.reason) == ("failed", 1, "HungError")
    assert said.step >= 40
    assert "rank 1 is stopped (SIGSTOP, or a debugger)" in said.error
    for rank in (0, 1):
        log = run.attempt(1).rank_log(rank).read_text(encoding="utf-8")
        assert "(most recent call first)" in log
        assert "train.py" in log
    wait_until(lambda: not bench.processes.alive(), what="the supervisor to end too")
    kept = folders_in(run.checkpoints)
    assert max(kept) >= 40 and not [fault for folder in kept.values() for fault in damage(folder)]
    # two ranks with ZeRO 2 left out and went back as one rank does
    assert [(one["step"], one["reason"]) for one in records(run, "skip")][:3] == LEFT_OUT
    assert records(run, "rewind")[0]["step"] == 20
    assert [record["step"] for record in records(run, "train")][:9] == [*range(1, 10)]
