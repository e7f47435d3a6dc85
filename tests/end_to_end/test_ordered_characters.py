"""`objective: char_ar` from one file to a model that completes texts: killed and resumed bit for bit, and taken out at
any step that was saved. (That any ranks get the same orders is tested without processes in tests/worker.)"""

import json
import math

import pytest

from runjob.runner.worker.export import load_network
from tests.end_to_end.conftest import Bench, assert_same_run, records

pytestmark = pytest.mark.slow

CANINE = {
    "kind": "scratch",
    "architecture": "canine",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "dropout": 0.0,
    "num_hash_functions": 4,
    "num_hash_buckets": 256,
    "character_table": 512,
}
ORDERED = (
    "data.tokenizer={kind: characters}",
    "data.layout=lines",
    f"model.init={json.dumps(CANINE)}",
    "objective={kind: char_ar, probability: 0.3}",
)


def test_characters_learnt_one_after_another_through_a_kill_are_the_same_and_complete_texts(bench: Bench) -> None:
    unbroken = bench.submit(*ORDERED)
    broken = bench.start(*ORDERED)
    bench.reach(broken, 9)
    bench.kill_everything(broken)
    bench.resume(broken)
    assert_same_run(unbroken, broken)

    first, *_, last = records(unbroken, "eval")
    # a fresh network knows nothing: the logarithm of its table
    assert first["loss"] == pytest.approx(math.log(512), abs=0.2)
    assert last["loss"] < first["loss"] - 1
    assert last["masked_bits_per_byte"] > 0
    network = load_network(unbroken.model)
    init = json.loads(unbroken.init.read_text())
    assert sum(tensor["count"] for tensor in init["new"]) == sum(each.numel() for each in network.parameters())

    typed = bench.runjob("generate", unbroken.id, "--complete", "de ", "--span", "4", "--seed", "3", "--json")
    assert typed.returncode == 0, typed.stderr
    written = json.loads(typed.stdout)
    assert (written["text"][:3], len(written["text"]), written["tokens"]) == ("de ", 7, 4)
    out = bench.home.path / "step-15"
    taken = bench.runjob("export", unbroken.id, "--step", "15", "--to", str(out))
    assert taken.returncode == 0, taken.stderr
    assert "answers equal to" in taken.stdout
    assert "- 15 of 20 planned steps" in (out / "README.md").read_text()
