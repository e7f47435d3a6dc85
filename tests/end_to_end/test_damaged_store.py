"""A bit of the prepared data flips while a job is stopped, in a part that is read late."""

import shutil
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Bench, Straight, assert_same_run, records

pytestmark = pytest.mark.slow


def test_a_flipped_bit_ends_the_job_where_its_part_is_read_first_and_it_goes_on_when_the_store_is_built_again(
    bench: Bench, straight: Straight
):
    run = bench.submit(
        "training.stop_after=6 steps", "evaluation.at_start=false", "evaluation.every=10 steps", expect=75
    )
    store = Path(run.read_data()["store"])
    tokens = store / "validation" / "tokens.bin"
    content = bytearray(tokens.read_bytes())
    content[len(content) // 2] ^= 1
    tokens.write_bytes(content)
    said = bench.resume(run, "--set", "training.stop_after=null", expect=1)
    named = f"{tokens}: damaged: part 1 of 1 (bytes 0 to {len(content) - 1}) is not what was prepared"
    assert f"{named}, and nothing of it was used; delete {store}, and `runjob resume` builds it again" in said
    # step 10 is trained, and what is evaluated after it is not
    assert [record["step"] for record in records(run, "train")] == list(range(1, 11))
    assert not records(run, "eval")
    why = bench.why(run)
    assert why["class"] == "data"
    assert str(tokens) in str(why)
    shutil.rmtree(store)
    bench.resume(run)
    assert tokens.read_bytes() != bytes(content)
    assert_same_run(straight("evaluation.at_start=false", "evaluation.every=10 steps"), run)
