"""A matrix becomes jobs: every combination once, in order, each value with its place, each mistake with its cells."""

import itertools
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runjob.schemas.matrix import MAX_CELLS
from runjob.schemas.read import JobFileError, override_job, read_cells, read_job, read_job_json, write_job_json
from runjob.schemas.schema import published_schema

SMALLEST = (Path(__file__).parent.parent / "cases" / "valid" / "smallest.yaml").read_text(encoding="utf-8")
SWEEP = """\
extends: base.yaml
name: sweep
matrix:
  training.learning_rate: [1e-3, 3e-4]
  seed: [1, 2]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(SMALLEST, encoding="utf-8")
    return tmp_path


def sweep(matrix: str = "", text: str = "extends: base.yaml\n") -> Path:
    path = Path("sweep.yaml")
    path.write_text(text + (f"matrix: {matrix}\n" if matrix else ""), encoding="utf-8")
    return path


def lines_of(path: Path, *sets: str) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        read_cells(path, sets)
    return str(caught.value).split("\n")


def test_every_combination_is_a_job_with_a_number_and_the_place_of_its_values():
    cells = read_cells(sweep(text=SWEEP))
    found = [(cell.number, cell.resolved.job.name, *cell.varied.values()) for cell in cells]
    assert found == [
        (1, "sweep_1", 0.001, 1),
        (2, "sweep_2", 0.001, 2),
        (3, "sweep_3", 0.0003, 1),
        (4, "sweep_4", 0.0003, 2),
    ]
    for cell in cells:
        job = cell.resolved.job
        assert {"training.learning_rate": job.training.learning_rate, "seed": job.seed} == cell.varied
    origins = cells[2].resolved.origins
    assert origins["training.learning_rate"] == "matrix: sweep.yaml:4:34"
    assert origins["seed"] == "matrix: sweep.yaml:5:10"
    assert (origins["name"], origins["training.length"]) == ("sweep.yaml:2:7", "base.yaml:18:11")


def test_a_file_without_a_matrix_is_one_job_and_one_with_null_too():
    (only,) = read_cells(Path("base.yaml"))
    assert (only.number, only.varied, only.resolved) == (0, {}, read_job(Path("base.yaml")))
    for sets in ((), ("matrix=null",)):
        text = SWEEP if sets else f"{SWEEP.partition('matrix')[0]}matrix:\n"
        assert read_job(sweep(text=text), sets).job.name == "sweep"


def test_zip_goes_side_by_side_and_is_crossed_with_the_rest():
    sizes = "zip: {model.init.hidden_size: [32, 64, 96], model.init.num_attention_heads: [2, 4, 6]}"
    cells = read_cells(sweep(f"{{seed: [1, 2], {sizes}}}"))
    assert [tuple(cell.varied.values()) for cell in cells] == [
        (seed, 16 * heads, heads) for seed in (1, 2) for heads in (2, 4, 6)
    ]


def test_exclude_leaves_out_the_cells_that_have_all_of_its_values():
    text = SWEEP + "  exclude: [{seed: 2, training.learning_rate: 0.001}]\n"
    assert [tuple(cell.varied.values()) for cell in read_cells(sweep(text=text))] == [
        (0.001, 1),
        (0.0003, 1),
        (0.0003, 2),
    ]


def test_a_value_may_be_a_list_or_a_section_and_replaces_what_the_file_says():
    (Path("sub")).mkdir()
    Path("sub/base.yaml").write_text("extends: ../base.yaml\nmatrix: {data.path: [a.txt]}\n", encoding="utf-8")
    schedules = "training.schedule: [{kind: linear, final: 0.5}, {kind: constant}]"
    text = f"extends: sub/base.yaml\nmatrix: {{{schedules}, training.optimizer.betas: [[0.8, 0.9]]}}\n"
    first, second = read_cells(sweep(text=text))
    assert first.resolved.values["training"]["schedule"] == {"kind": "linear", "warmup": 0.05, "final": 0.5}
    assert second.resolved.values["training"]["schedule"] == {"kind": "constant", "warmup": 0.05}
    assert first.resolved.job.training.optimizer.betas == (0.8, 0.9)
    # the list stands in sub/base.yaml, and so do its paths
    assert first.resolved.values["data"]["path"] == str(Path("sub/a.txt").absolute())
    assert first.resolved.origins["training.schedule.warmup"] == "default"
    assert first.resolved.origins["training.schedule.final"] == "matrix: sweep.yaml:2:52"


def test_a_job_that_gets_its_rate_from_the_matrix_need_not_say_one():
    Path("base.yaml").write_text(SMALLEST.replace("  learning_rate: 5e-4\n", ""), encoding="utf-8")
    assert len(read_cells(sweep("{training.learning_rate: [1, 0.5]}"))) == 2
    editor = jsonschema.Draft202012Validator(published_schema())
    part = {"training": {"length": "3 steps"}, "matrix": {"training.learning_rate": [1, 0.5]}}
    assert editor.is_valid(part)
    assert editor.is_valid({**part, "matrix": {"zip": {"seed": [1]}, "exclude": [{"seed": 1}]}})
    assert not editor.is_valid({**part, "matrix": {"training.learning_rate": 1}})
    assert not editor.is_valid({**part, "matrix": {"zip": [1]}})
    assert not editor.is_valid({"training": part["training"]})


def test_set_changes_every_cell_and_the_matrix_itself():
    cells = read_cells(sweep(text=SWEEP), ["training.length=3 steps", "matrix.seed=[7]"])
    assert [cell.resolved.job.seed for cell in cells] == [7, 7]
    assert {str(cell.resolved.job.training.length) for cell in cells} == {"3 steps"}
    assert cells[0].resolved.origins["seed"] == "--set"
    cells = read_cells(sweep(text=SWEEP), ["matrix.training.learning_rate=[0.5]", "matrix.exclude=[{seed: 1}]"])
    assert [cell.varied for cell in cells] == [{"training.learning_rate": 0.5, "seed": 2}]
    beside = ["matrix={}", "matrix.zip.seed=[1, 2]", "matrix.zip.training.learning_rate=[0.5, 0.25]"]
    assert [tuple(cell.varied.values()) for cell in read_cells(sweep(text=SWEEP), beside)] == [(1, 0.5), (2, 0.25)]
    (line, *_) = lines_of(sweep(text=SWEEP), "seed=9")
    assert line == "sweep.yaml:3:1: matrix: cells 1 and 2 are the same job"


def test_a_cell_that_is_changed_later_still_says_what_came_from_the_matrix(tmp_path: Path):
    cell = read_cells(sweep(text=SWEEP))[2]
    write_job_json(tmp_path / "job.json", cell.resolved)
    changed = override_job(read_job_json(tmp_path / "job.json"), ["training.learning_rate=0.5"])
    assert (changed.origins["seed"], changed.origins["training.learning_rate"]) == ("matrix: sweep.yaml:5:10", "--set")
    assert changed.origins == {**cell.resolved.origins, "training.learning_rate": "--set"}


def test_a_command_for_one_job_refuses_a_matrix_and_says_how():
    with pytest.raises(JobFileError) as caught:
        read_job(sweep(text=SWEEP))
    said = "4 jobs, and one is wanted here: --set matrix=null, and what varied by further --set values"
    assert str(caught.value) == f"sweep.yaml:3:1: matrix: {said}"


def test_each_problem_is_said_once_with_the_cells_that_have_it():
    matrix = "{training.learning_rate: [1e-3, fast], training.lenth: [1], model.init.num_attention_heads: [2, 3]}"
    assert lines_of(sweep(matrix)) == [
        "sweep.yaml:2:41: training.learning_rate: expected a number, such as `0.0006`, not the text `fast` "
        "(cells 3, 4)",
        "sweep.yaml:2:48: training.lenth: unknown key; did you mean `length`?",
        "base.yaml:12:18: model.init.hidden_size: 32 is not divisible by num_attention_heads 3; 30 and 33 are "
        "(cells 2, 4)",
    ]
    assert lines_of(sweep("{seed: [1, -1, 2], evaluation.best: [loss, null]}", "extends: base.yaml\n")) == [
        "sweep.yaml:2:20: seed: must be at least 0, not -1 (cells 3, 4)"
    ]
    assert lines_of(sweep("{seed: [1, -1]}")) == ["sweep.yaml:2:20: seed: must be at least 0, not -1 (cell 2: seed=-1)"]


A_LIST = "expected a list, such as `[0.001, 0.0003]`, not"
LONG = "what goes side by side is of one length"


@pytest.mark.parametrize(
    ("matrix", "column", "path", "message"),
    [
        ("{}", 1, "", "nothing varies; write for example `matrix: {seed: [1, 2, 3]}`"),
        ("{seed: 3}", 16, ".seed", f"{A_LIST} the number `3`"),
        ("{training: {seed: [1]}}", 20, ".training", f"{A_LIST} keys with values"),
        ("{seed: []}", 16, ".seed", "expected a list of at least 1, such as `[0.001, 0.0003]`, not of 0"),
        ("{schema: [1]}", 10, ".schema", "can't vary: all cells are of one version"),
        ("{.seed: [a]}", 10, "..seed", "expected a path such as `training.learning_rate`"),
        ("{data: [1], data.path: [a]}", 21, ".data.path", "varies already, by `data`"),
        ("{seed: [1], zip: {seed: [2]}}", 27, ".seed", "varies already, by `seed`"),
        ("{zip: {seed: [1, 2], data: [a]}}", 36, ".zip.data", f"1 values, and `seed` beside it has 2: {LONG}"),
        ("{seed: [1], exclude: [{seed: 3}]}", 31, ".exclude[0]", "is no cell's; it names values of the lists above"),
        ("{seed: [1], exclude: [{sed: 1}]}", 32, ".exclude[0].sed", "does not vary here"),
        ("{seed: [1], exclude: [{seed: 1}]}", 30, ".exclude", "leaves out every cell"),
        ("{seed: [1, 2, 1]}", 1, "", "cells 1 and 3 are the same job"),
        ("{training.learning_rate: [1, 1.0]}", 1, "", "cells 1 and 2 are the same job"),
    ],
)
def test_a_matrix_that_is_none_is_refused_at_its_place(matrix: str, column: int, path: str, message: str):
    assert lines_of(sweep(matrix)) == [f"sweep.yaml:2:{column}: matrix{path}: {message}"]


def test_a_path_below_a_value_is_refused_as_in_set():
    said = "`seed` holds no keys in the job file, so none can be set in it"
    Path("base.yaml").write_text(f"{SMALLEST}seed: 7\n", encoding="utf-8")
    assert lines_of(sweep("{seed.x: [1]}")) == [f"sweep.yaml:2:10: {said}"]


def test_a_thousand_cells_are_the_most():
    many = list(range(MAX_CELLS))
    assert lines_of(sweep(f"{{seed: {many}, evaluation.best: [loss, null]}}")) == [
        "sweep.yaml:2:1: matrix: 2,000 cells; 1,000 are the most"
    ]
    many = list(range(20))
    cells = read_cells(sweep(f"{{seed: {many}}}"))
    assert [cell.resolved.job.name for cell in cells][::19] == ["smallest_01", "smallest_20"]


def test_a_name_that_has_no_room_for_the_number_is_refused():
    text = f"extends: base.yaml\nname: {'a' * 40}\nmatrix: {{seed: [1]}}\n"
    (line,) = lines_of(sweep(text=text))
    assert line.startswith("sweep.yaml:2:7: name: expected a lower-case letter or digit, then up to 40 of")


VALUES = st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True)
PATHS = ("seed", "evaluation.generation.max_new_tokens", "training.gradient_clipping")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES, min_size=1, max_size=3))
def test_the_cells_are_the_cross_product_in_its_order(lists):
    lists = [[one + 1 for one in values] for values in lists]
    matrix = dict(zip(PATHS, lists, strict=False))
    cells = read_cells(sweep(json.dumps(matrix)))
    assert [tuple(cell.varied.values()) for cell in cells] == list(itertools.product(*lists))
    assert [cell.number for cell in cells] == list(range(1, len(cells) + 1))
