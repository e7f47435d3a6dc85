"""What may change on a resume: every value of a job has a verdict, and the dangerous ones are refused."""

import json
from pathlib import Path

import pytest

from runjob.runner.changes import RULES, find_changes, judge, leaves
from runjob.schemas.read import read_job

CASES = sorted((Path(__file__).parent.parent / "cases" / "valid").glob("*.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_value_of_every_job_has_a_verdict(case: Path):
    for path, value in leaves(read_job(case).values, ""):
        assert judge(path, value, None).reason


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        ("data.path", "refused"),
        ("data.tokenizer.vocab_size", "refused"),
        ("seed", "refused"),
        ("model.init.hidden_size", "refused"),
        ("objective.kind", "refused"),
        ("training.global_batch", "refused"),
        ("data.disk_budget", "free"),
        ("training.learning_rate", "accept"),
        ("training.schedule.warmup", "accept"),
        ("training.length", "accept"),
        ("training.optimizer.betas", "accept"),
        ("evaluation.best", "accept"),
        ("training.micro_batch", "exact"),
        ("hardware.zero", "exact"),
        ("hardware.ranks", "exact"),
        ("training.log_every", "free"),
        ("training.checkpoint.every", "free"),
        ("training.on_bad_step.not_finite", "accept"),
        ("training.on_bad_step.spike.above", "accept"),
        ("training.on_bad_step.rewinds", "free"),
        ("training.hung_after.factor", "free"),
        ("evaluation.prompts", "free"),
        ("evaluation.generation.top_k", "free"),
        ("tracking.tensorboard", "free"),
        ("output.license", "free"),
    ],
)
def test_the_table_of_verdicts(path: str, verdict: str):
    assert judge(path, 1, 2).verdict == verdict


def test_changes_are_the_leaves_that_differ_and_nothing_else():
    old = {"seed": 1, "training": {"length": "20 steps", "checkpoint": {"every": "5 steps", "keep": 2}}}
    new = json.loads(json.dumps(old))
    assert find_changes(old, new) == []
    new["training"]["checkpoint"]["keep"] = 3
    (change,) = find_changes(old, new)
    assert (change.path, change.old, change.new) == ("training.checkpoint.keep", 2, 3)
    assert str(change) == "training.checkpoint.keep: 2 -> 3 (free: a run that saves equals a run that doesn't)"


def test_a_section_that_appears_is_a_change_from_nothing():
    old = {"evaluation": {"early_stopping": None}}
    (change,) = find_changes(old, {"evaluation": {"early_stopping": {"metric": "loss"}}})
    assert (change.path, change.old, change.new) == ("evaluation.early_stopping.metric", None, "loss")


def test_no_row_of_the_table_is_untried():
    """Each prefix decides for itself and for what lies below it, unless a longer one does."""
    counted = {verdict: 0 for verdict in ("free", "exact", "accept", "refused")}
    for prefix, (verdict, reason) in RULES.items():
        for path in (prefix, f"{prefix}.something"):
            change = judge(path, 1, 2)
            assert (change.verdict, change.reason) == (verdict, reason), path
            assert str(change) == f"{path}: 1 -> 2 ({verdict}: {reason})"
        counted[verdict] += 1
    assert counted == {"free": 21, "exact": 5, "accept": 12, "refused": 8}


def test_every_rule_says_why():
    assert all(len(reason) > 10 for _, reason in RULES.values())
