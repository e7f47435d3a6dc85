"""What a resume may not change is refused before anything starts: no attempt, no process, the run as it was."""

import pytest

from runjob.schemas.run import RunDir
from tests.chaos.conftest import LOCAL
from tests.conftest import contents


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("hardware.ranks=3", "8 is not a multiple of 3 (3 ranks); the nearest that work are 6 and 9"),
        ("training.micro_batch=3", "8 is not a multiple of 3 (micro_batch 3 x 1 rank)"),
        ("hardware.zero=4", "hardware.zero"),
        ("data.tokenizer.vocab_size=600", "data.tokenizer.vocab_size: 512 -> 600 (refused: "),
        ("data.sequence_length=16", "data.sequence_length: 32 -> 16 (refused: "),
        ("model.init.hidden_size=64", "model.init.hidden_size: 32 -> 64 (refused: "),
        ("training.global_batch=16", "training.global_batch: 8 -> 16 (refused: "),
        ("seed=1", "seed: 42 -> 1 (refused: "),
        ("training.learning_rate=1e-3", "if that is meant, say it with --accept"),
        ("training.precision=bf16", "if that is meant, say it with --accept"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_starts(stopped: RunDir, small, change: str, said: str):
    before = contents(stopped.path)
    done = small("exact", "resume", stopped.id, *LOCAL, "--set", change)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert contents(stopped.path) == before


def test_other_pieces_of_the_same_batch_are_taken_and_the_weaker_promise_is_said(stopped: RunDir, small):
    sets = ("--set", "hardware.ranks=2", "--set", "hardware.zero=1", "--set", "training.micro_batch=2")
    done = small("exact", "resume", stopped.id, *LOCAL, *sets)
    assert done.returncode == 0, done.stderr
    assert "promised: the same batches, token counts and learning rates; losses agree" in done.stdout
    assert "hardware.zero: 0 -> 1 (exact: where and in how many pieces the same batches are computed)" in done.stdout
