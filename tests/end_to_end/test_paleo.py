"""jobs/tiny/paleo_dapt.yaml, shortened, in one command: from glosses and term lists to a model that knows the terms."""

import json

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer

from runjob.data.terms import read_table
from runjob.schemas.run import RunDir
from tests.conftest import ROOT, Home, Runjob
from tests.end_to_end.conftest import flags, records

pytestmark = pytest.mark.slow

SHORT = (
    "training.length=12 steps",
    "training.schedule.warmup=2 steps",
    "training.log_every=1 steps",
    "evaluation.every=6 steps",
    "evaluation.at_start=false",
    "data.split={kind: hash, validation: 0.03}",
    "hardware.threads=1",
)


def test_the_tiny_paleo_job_ends_in_a_model_whose_tokenizer_holds_its_terms(home: Home, runjob: Runjob) -> None:
    done = runjob(ROOT / "jobs" / "tiny" / "paleo_dapt.yaml", *flags(SHORT))
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDir(home.runs / done.stdout.splitlines()[0])
    steps, evaluations = records(run, "train"), records(run, "eval")
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.5
    assert all(record["rare_tokens"] > 5 for record in evaluations)
    [finish] = records(run, "finish")
    assert finish["best_step"] in (6, 12)

    tokenizer, network = AutoTokenizer.from_pretrained(run.model), AutoModelForMaskedLM.from_pretrained(run.model)
    table = read_table(run.model)
    assert table is not None
    assert list(table.categories) == ["taxa", "chrono_units", "rocks"]
    # cut are those alone that are left out, since their letters are a piece of longer words: `ore`
    held, left_out = (sum(map(len, terms.values())) for terms in (table.categories, table.inner))
    assert {record["fragmentation"] for record in evaluations} == {left_out / (held + left_out)}
    assert left_out < 10
    term, number = next(iter(table.categories["taxa"].items()))
    assert tokenizer(f"a {term} is", add_special_tokens=False).input_ids[1] == number
    assert network.get_input_embeddings().weight.shape[0] == len(tokenizer) > 4096 + 400
    filled = runjob("fill-mask", run.id, "--json", "--top-k", "2")
    assert filled.returncode == 0, filled.stderr
    assert len([json.loads(line) for line in filled.stdout.splitlines()]) == 3
