"""What a plan says of memory, by arithmetic: exact where DeepSpeed's layout decides, and of activations what papers and
the calibration say (tests/worker/test_memory_estimate.py measures)."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.runner.compile import compile_job
from runjob.runner.memory_activations import bytes_of, loss_bytes, table
from runjob.runner.memory_estimate import Memory, Part, estimate_memory, estimate_stages, total
from runjob.runner.memory_room import Room, gpu_bytes, room_of, too_little
from runjob.runner.memory_sizes import Micro, sizes_of
from runjob.runner.model_shape import Shape, shape_of
from runjob.schemas.machine import Machine
from runjob.schemas.read import read_job
from tests.conftest import ROOT, Home, Runjob

GIB = 2**30
FOUR = Machine(cores=48, gpus=("NVIDIA A10G",) * 4, processor="some processor")
SMALL = 124_439_808  # parameters of GPT-2 small


def estimated(name: str, *sets: str) -> Memory:
    job = read_job(ROOT / "jobs" / f"{name}.yaml", sets).job
    plan = compile_job(job, FOUR)
    found = estimate_memory(job, plan.batch, ranks_per_node=plan.resources.ranks_per_node)
    assert found is not None
    return found


def sizes(parts: tuple[Part, ...]) -> dict[str, int]:
    return {part.name: part.bytes for part in parts}


@pytest.mark.parametrize(
    ("zero", "weights", "masters", "moments", "gradients"),
    [(0, 4, 0, 8, 4), (1, 4, 1, 2, 4), (2, 4, 1, 2, 1), (3, 1, 1, 2, 1)],
)
def test_four_ranks_cut_what_their_zero_stage_cuts(zero, weights, masters, moments, gradients) -> None:
    parts = sizes(estimated("gpt2_dutch_small", f"hardware.zero={zero}").device)
    assert parts["weights"] == weights * SMALL
    assert parts.get("fp32 weights", 0) == masters * SMALL
    assert parts["optimiser"] == moments * SMALL
    assert parts["gradients"] == gradients * SMALL
    assert parts.get("bucket", 0) == (0 if zero == 0 else 4 * 500_000_000)


def test_parameters_in_16_bits_have_a_copy_in_32_and_autocast_none() -> None:
    parts = sizes(estimated("gpt2_dutch_small", "training.precision=bf16_params", "hardware.zero=1").device)
    assert (parts["weights"], parts["fp32 weights"], parts["gradients"]) == (2 * SMALL, SMALL, 2 * SMALL)
    halved = sizes(estimated("gpt2_dutch_small", "training.precision=fp16").device)
    assert (halved["weights"], halved["fp32 weights"], halved["optimiser"]) == (2 * SMALL, 4 * SMALL, 8 * SMALL)


def test_a_bucket_is_as_large_as_the_job_says() -> None:
    said = 'hardware.deepspeed={"zero_optimization": {"reduce_bucket_size": 1000000}}'
    assert sizes(estimated("gpt2_dutch_small", "hardware.zero=1", said).device)["bucket"] == 4_000_000


def test_what_is_offloaded_lies_in_main_memory() -> None:
    sets = ("hardware.zero=3", "hardware.offload.optimizer=cpu", "hardware.offload.parameters=cpu")
    memory = estimated("gpt2_dutch_small", *sets)
    assert {"optimiser", "fp32 weights", "weights"} <= set(sizes(memory.main))
    assert not {"optimiser", "fp32 weights", "weights"} & set(sizes(memory.device))
    assert memory.main_bytes == 4 * total(memory.main) + 12 * SMALL


def test_without_a_gpu_all_of_it_is_main_memory() -> None:
    memory = estimated("tiny/gpt2_dutch")
    assert memory.device == () and memory.device_bytes == 0
    assert {"weights", "activations", "process"} <= set(sizes(memory.main))


def test_the_seeds_jobs_fit_the_gpus_that_they_were_written_for() -> None:
    assert estimated("paleo_dapt").device_bytes < 11 * GIB
    assert estimated("canine_domains").device_bytes < 16 * GIB
    assert estimated("gpt2_dutch_small").device_bytes < 24 * GIB


def test_a_layer_of_gpt2_in_16_bits_keeps_what_the_literature_counts() -> None:
    """34 bytes a place and unit of width with inner layers four times as wide (Korthikanti et al. 2022, equation 1,
    without the probabilities, which a fused attention does not keep), and a number a query and head."""
    kept = table()["gpt2"]["gpu bf16_params"]["drops"]["kept"]
    assert kept["layer width"] + 4 * kept["layer inner"] == pytest.approx(34, rel=0.01)


def test_no_layer_is_kept_but_its_input_where_it_is_computed_again() -> None:
    for name in ("gpt2", "bert", "deberta-v2", "mpnet plm"):
        for operations, hows in table()[name].items():
            recomputed = hows["recomputed"]["kept"]
            # behind a fused norm the residual is of 16 bits
            narrow = operations.endswith("bf16_params") or (operations.endswith("fused") and name != "gpt2")
            assert recomputed["layer width"] == pytest.approx(2 if narrow else 4, rel=0.06), (name, operations)
            assert not {"layer inner", "layer pairs"} & set(recomputed), (name, operations)


def test_every_network_that_a_job_can_train_is_in_the_table() -> None:
    names = {"bert", "canine", "canine char_ar", "deberta-v2", "gpt2", "modernbert", "mpnet", "mpnet plm"}
    assert set(table()) == names
    operations = {"fp32", "bf16", "bf16 fused", "bf16_params", "gpu fp32", "gpu bf16", "gpu bf16_params"}
    for name, network in table().items():
        hows = {"drops", "plain"} if name == "mpnet" else {"drops", "plain", "recomputed"}
        assert set(network) == operations and {frozenset(one) for one in network.values()} == {frozenset(hows)}


def test_roberta_is_a_bert_to_the_table() -> None:
    job = read_job(ROOT / "tests" / "cases" / "valid" / "smallest.yaml").job
    shape = Shape(family="roberta", width=8, layers=2, inner=32, heads=2, classes=99, buckets=0, drops=True)
    assert bytes_of(job, shape) is not None
    other = Shape(family="llama", width=8, layers=2, inner=32, heads=2, classes=99, buckets=0, drops=True)
    assert bytes_of(job, other) is None


@given(rows=st.integers(1, 64), length=st.integers(1, 2048), layers=st.integers(1, 48))
def test_activations_of_more_rows_or_layers_are_never_fewer(rows: int, length: int, layers: int) -> None:
    def priced(rows: int, layers: int) -> float:
        shape = Shape(family="gpt2", width=64, layers=layers, inner=256, heads=4, classes=99, buckets=0, drops=True)
        micro = Micro(rows=rows, length=length, hidden=None, masked=False, apart=False, again=False, objective="clm")
        kept = table()["gpt2"]["gpu bf16"]["drops"]["kept"]
        return sum(sizes_of(shape, micro)[name] * each for name, each in kept.items())

    assert priced(rows, layers) < priced(rows + 1, layers) and priced(rows, layers) < priced(rows, layers + 1)


def test_logits_are_there_a_chunk_at_a_time() -> None:
    job = read_job(ROOT / "jobs" / "gpt2_dutch_small.yaml").job
    shape = shape_of(job)
    assert shape is not None
    # 8 x 1024 rows of 50,304 classes in bf16 are 824 MB: four chunks of 2,048 rows, each 206 MB, a block of 64 MiB in
    # fp32, the matrix in bf16 and a product of its size; and its gradient is kept in fp32 instead of bf16
    matrix = 50_304 * 768
    assert loss_bytes(job, shape, 8 * 1024) == (2048 * 50_304 * 2 + 64 * 2**20 + 2 * matrix * 2, matrix * 2)


def test_a_network_that_nobody_knows_here_has_no_estimate(home: Home, runjob: Runjob) -> None:
    done = runjob(
        "plan", ROOT / "jobs/tiny/gpt2_dutch.yaml", "--set", 'model.init={"kind": "pretrained", "path": "no/x"}'
    )
    assert "memory         unknown: neither the job nor a file here says the network's sizes" in done.stdout


def test_the_plan_shows_parts_and_stages_and_says_so_to_programs(home: Home, runjob: Runjob) -> None:
    file = ROOT / "jobs/gpt2_dutch_small.yaml"
    text = runjob("plan", file).stdout
    assert "memory         about " in text and " of each GPU, " in text
    for line in ("GPU     weights ", "GPU     activations ", "GPU     overhead ", "main    checkpoint copy "):
        assert line in text
    assert [line[:4] for line in text.splitlines() if line[:4] in ("0   ", "1   ", "2   ", "3   ")] == [
        "0   ",
        "1   ",
        "2   ",
        "3   ",
    ]
    told = json.loads(runjob("plan", file, "--json").stdout)
    assert told["memory"]["device_bytes"] == sum(part["bytes"] for part in told["memory"]["device"])
    assert [one["zero"] for one in told["stages_of_zero"]] == [0, 1, 2, 3]


def test_stages_that_a_job_can_not_have_are_left_out() -> None:
    def stages(*sets: str) -> list[int]:
        job = read_job(ROOT / "jobs" / "gpt2_dutch_small.yaml", sets).job
        return [one.zero for one in estimate_stages(job, compile_job(job, FOUR).batch, ranks_per_node=4)]

    assert stages("training.precision=bf16_params", "hardware.zero=1") == [1, 2, 3]
    assert stages("training.compile=true") == [0, 1, 2]


def test_what_is_too_much_for_the_gpu_or_the_machine_is_said(tmp_path: Path) -> None:
    job = read_job(ROOT / "jobs" / "gpt2_dutch_small.yaml", ["hardware.memory=4GiB", "training.micro_batch=64"]).job
    memory = estimate_memory(job, compile_job(job, FOUR).batch, ranks_per_node=4)
    assert memory is not None
    room = room_of(job, FOUR)
    assert room == Room(device=24 * GIB, main=4 * GIB, gpu="NVIDIA A10G")
    (of_gpu,) = too_little(memory, Room(device=24 * GIB, main=None, gpu="NVIDIA A10G"))
    assert of_gpu.startswith("a GPU would need about ") and "NVIDIA A10G has 24 GiB; `runjob fit FILE` says" in of_gpu
    assert too_little(memory, Room(device=2**50, main=2**50, gpu="one that has all")) == ()
    (of_main,) = too_little(memory, Room(device=None, main=GIB, gpu=""))
    assert "hardware.memory is 1 GiB" in of_main


@pytest.mark.parametrize(
    ("name", "gib"),
    [("NVIDIA A100-SXM4-80GB", 80), ("NVIDIA A100", 40), ("NVIDIA A10G", 24), ("Tesla V100-PCIE-32GB", 32)],
)
def test_the_memory_of_a_gpu_is_in_its_name_or_in_the_table(name: str, gib: int) -> None:
    assert gpu_bytes(name) == gib * GIB
    assert gpu_bytes("some GPU") is None
