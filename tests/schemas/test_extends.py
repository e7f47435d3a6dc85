"""A file over its bases: what merges and what replaces, where each value says it comes from, and what is refused."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.schemas.extends import MAX_FILES, MAX_LEVELS, merged
from runjob.schemas.read import JobFileError, override_job, read_job
from runjob.schemas.schema import published_schema
from runjob.schemas.yaml import MapNode, Node, compose_text

CASES = Path(__file__).parent.parent / "cases"
SMALLEST = (CASES / "valid" / "smallest.yaml").read_text(encoding="utf-8")
EDITOR = jsonschema.Draft202012Validator(published_schema())


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smallest job as base.yaml, in a directory that the test stands in."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(SMALLEST, encoding="utf-8")
    return tmp_path


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lines_of(path: Path, *sets: str) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        read_job(path, sets)
    return str(caught.value).split("\n")


def test_three_lines_change_three_values_and_each_says_where_it_stands():
    child = write("child.yaml", "extends: base.yaml\nname: child\ntraining:\n  learning_rate: 1e-3\n")
    base, resolved = read_job(Path("base.yaml")), read_job(child)
    assert (resolved.job.name, resolved.job.training.learning_rate) == ("child", 1e-3)
    changed = {path for path, origin in resolved.origins.items() if origin != base.origins[path]}
    assert changed == {"name", "training.learning_rate"}
    assert resolved.origins["name"] == "child.yaml:2:7"
    assert resolved.origins["training.learning_rate"] == "child.yaml:4:18"
    assert resolved.origins["training.length"] == base.origins["training.length"] == "base.yaml:18:11"
    assert resolved.origins["seed"] == "default"
    assert [(one.path, one.content.decode()) for one in resolved.bases] == [(Path("base.yaml"), SMALLEST)]


def test_a_list_replaces_and_null_is_a_value():
    write("middle.yaml", "extends: base.yaml\nevaluation: {prompts: [een, twee], best: loss}\n")
    child = write("child.yaml", "extends: middle.yaml\nevaluation: {prompts: [drie], best: null}\n")
    evaluation = read_job(child).job.evaluation
    assert (evaluation.prompts, evaluation.best) == (("drie",), None)


@pytest.mark.parametrize(
    ("said", "schedule"),
    [
        ("{final: 0.2}", {"kind": "linear", "warmup": "5 steps", "final": 0.2}),
        ("{kind: linear, final: 0.2}", {"kind": "linear", "warmup": "5 steps", "final": 0.2}),
        ("{kind: cosine, final: 0.2}", {"kind": "cosine", "warmup": 0.05, "final": 0.2}),
    ],
)
def test_a_mapping_of_another_kind_replaces_and_one_of_the_same_merges(said: str, schedule):
    write("middle.yaml", "extends: base.yaml\ntraining: {schedule: {kind: linear, warmup: 5 steps}}\n")
    child = write("child.yaml", f"extends: middle.yaml\ntraining: {{schedule: {said}}}\n")
    assert read_job(child).values["training"]["schedule"] == schedule


def test_the_file_wins_over_its_bases_the_later_base_over_the_earlier_and_set_over_all():
    write("one.yaml", "seed: 1\ntraining: {gradient_clipping: 0.1}\noutput: {license: one, language: nl}\n")
    write("two.yaml", "seed: 2\ntraining: {gradient_clipping: 0.2}\noutput: {license: two}\n")
    child = write("child.yaml", "extends: [base.yaml, one.yaml, two.yaml]\nseed: 3\n")
    resolved = read_job(child, ["training.gradient_clipping=0.4"])
    assert (resolved.job.seed, resolved.job.training.gradient_clipping) == (3, 0.4)
    assert (resolved.job.output.license, resolved.job.output.language) == ("two", "nl")
    assert resolved.origins["training.gradient_clipping"] == "--set"
    assert resolved.origins["output.license"] == "two.yaml:3:19"


def test_paths_are_relative_to_the_file_that_says_them(here: Path):
    data = "data: {path: texts/a.txt, split: {kind: files, validation: b.txt}}\n"
    write("common/deep/base.yaml", f"extends: ../../base.yaml\n{data}")
    child = write("mine/child.yaml", "extends: ../common/deep/base.yaml\ndata: {split: {validation: b.txt}}\n")
    values = read_job(child).values["data"]
    assert values["path"] == f"{here}/common/deep/texts/a.txt"
    assert values["split"]["validation"] == f"{here}/mine/b.txt"


def test_a_resolved_job_is_changed_by_set_without_its_files(here: Path):
    resolved = read_job(write("child.yaml", "extends: base.yaml\nseed: 3\n"))
    for file in ("child.yaml", "base.yaml"):
        Path(file).unlink()
    changed = override_job(resolved, ["training.learning_rate=1"])
    assert changed.values == {**resolved.values, "training": {**resolved.values["training"], "learning_rate": 1.0}}
    assert changed.origins == {**resolved.origins, "training.learning_rate": "--set"}


def test_every_problem_stands_at_the_file_and_line_of_its_value_the_own_file_first():
    write("base.yaml", SMALLEST.replace("length: 30 steps", "lenth: 30 steps"))
    child = write("child.yaml", "extends: base.yaml\ntraining: {learning_rate: fast}\n")
    assert lines_of(child, "seed=-1") == [
        "child.yaml:2:27: training.learning_rate: expected a number, such as `0.0006`, not the text `fast`",
        "base.yaml:18:3: training.lenth: unknown key; did you mean `length`?",
        "--set seed=-1: must be at least 0, not -1",
    ]


def test_what_is_missing_is_missing_in_the_file_that_begins_the_section():
    write("base.yaml", SMALLEST.replace("  length: 30 steps\n", ""))
    child = write("child.yaml", "extends: base.yaml\ntraining:\n  learning_rate: 1e-3\n")
    assert lines_of(child) == ["child.yaml:2:1: training.length: missing; write for example `length: 10000 steps`"]


def test_files_that_extend_each_other_in_a_circle_are_refused_by_whatever_name():
    write("a.yaml", "extends: sub/b.yaml\n")
    write("sub/b.yaml", "seed: 1\nextends: [../base.yaml, ../c.yaml]\n")
    Path("c.yaml").symlink_to("a.yaml")
    circle = "a.yaml -> sub/b.yaml -> c.yaml"
    assert lines_of(Path("a.yaml")) == [f"sub/b.yaml:2:25: extends: the files extend each other in a circle: {circle}"]


def test_levels_and_files_are_counted():
    for level in range(MAX_LEVELS + 1):
        write(f"{level}.yaml", f"extends: {level + 1}.yaml\n")
    write(f"{MAX_LEVELS + 1}.yaml", SMALLEST)
    assert read_job(Path("1.yaml")).job.name == "smallest"
    said = f"{MAX_LEVELS + 1}.yaml is more than {MAX_LEVELS} levels below the job's own file"
    assert lines_of(Path("0.yaml")) == [f"{MAX_LEVELS}.yaml:1:10: extends: {said}"]
    for number in range(MAX_FILES):
        write(f"many/{number}.yaml", "seed: 1\n")
    for half in (0, 1):
        names = ", ".join(f"many/{number}.yaml" for number in range(half * 16, half * 16 + 16))
        write(f"half{half}.yaml", f"extends: [{names}]\n")
    lines = lines_of(write("all.yaml", "extends: [half0.yaml, half1.yaml]\n"))
    assert lines == [
        f"half1.yaml:1:{column}: extends: more than {MAX_FILES} files that extend each other" for column in (207, 221)
    ]


def test_a_file_that_is_reached_in_a_million_ways_is_read_once():
    for level in range(MAX_LEVELS):
        write(f"{level}.yaml", f"extends: [{', '.join([f'{level + 1}.yaml'] * 16)}]\n")
    write(f"{MAX_LEVELS}.yaml", SMALLEST)
    assert len(read_job(Path("0.yaml")).bases) == MAX_LEVELS


def test_what_is_wrong_with_a_base_is_all_that_is_said():
    write("list.yaml", "- 3\n")
    write("broken.yaml", "seed: [1\n")
    write("twice.yaml", "seed: 1\nseed: 2\n")
    child = write("child.yaml", "extends: [no.yaml, ., list.yaml, broken.yaml, twice.yaml]\n")
    assert lines_of(child) == [
        "child.yaml:1:11: extends: no.yaml: can't be read: No such file or directory; such a path is relative to the "
        "file that says it",
        "child.yaml:1:20: extends: .: is no file",
        "list.yaml:1:1: extends: expected a job file or a part of one, not a list",
        "broken.yaml:2:1: not YAML: a `[` is not closed, or a comma is missing",
        "twice.yaml:2:1: seed: the key stands twice, first at 1:1; delete one",
    ]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("3", '10: extends: expected text or a list, such as `base.yaml`, not the number `3`; write "3" with quotes'),
        ("[]", "10: extends: expected a list of at least 1, such as `[base.yaml, cluster.yaml]`, not of 0"),
        ("[{}]", "11: extends[0]: expected text, not keys with values"),
        ("", "9: extends: expected text or a list, such as `base.yaml`, not nothing"),
    ],
)
def test_what_stands_after_extends_is_a_name_or_a_list_of_names(said: str, message: str):
    assert [line.partition(":1:")[2] for line in lines_of(write("child.yaml", f"extends: {said}\n"))] == [message]


def test_set_comes_too_late_to_extend():
    said = "--set extends=a.yaml: files are laid over each other before --set; write it in the file"
    assert lines_of(Path("base.yaml"), "extends=a.yaml") == [said]


KEYS = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    st.integers(0, 9) | st.none() | st.lists(st.integers(0, 9), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=3)


def plain(node: Node) -> object:
    if isinstance(node, MapNode):
        return {key: plain(entry.node) for key, entry in node.entries.items()}
    return node.value if not hasattr(node, "items") else [plain(item) for item in node.items]


def tree(value: object) -> Node:
    return compose_text(json.dumps(value), "x").node


def over(below: object, above: object) -> object:
    """What is meant, in a line."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: over(below[key], value) if key in below else value for key, value in above.items()}


@given(MAPPINGS, MAPPINGS)
def test_merging_is_what_is_meant(below, above):
    assert plain(merged(tree(below), tree(above))) == over(below, above)


# --- the schema that editors get ------------------------------------------------------------------------------------


def test_the_published_schema_is_a_valid_schema():
    jsonschema.Draft202012Validator.check_schema(published_schema())


@pytest.mark.parametrize("path", sorted((CASES / "valid").glob("*.yaml")), ids=lambda path: path.stem)
def test_to_an_editor_a_whole_job_is_fine_and_one_with_a_field_less_is_not(path: Path):
    values = read_job(path).values
    assert EDITOR.is_valid(values)
    del values["training"]["length"]
    assert not EDITOR.is_valid(values)
    assert EDITOR.is_valid({**values, "extends": "base.yaml"})


@pytest.mark.parametrize(
    ("child", "fine"),
    [
        ({"model": {"init": {"dropout": 0.0}}}, True),
        ({"training": {"learning_rate": 1e-3, "schedule": {"warmup": 0.1}}}, True),
        ({"data": {"tokenizer": {"vocab_size": 100}}, "hardware": {"slurm": {"partition": "gpu"}}}, True),
        ({}, True),
        ({"training": {"learning_rat": 1e-3}}, False),
        ({"training": {"learning_rate": "fast"}}, False),
        ({"model": {"init": {"kind": "scratch", "drop": 0.0}}}, False),
        ({"objective": {"kind": "clm", "probability": 0.15}}, False),
        ({"extend": "base.yaml"}, False),
    ],
)
def test_to_an_editor_a_file_that_extends_another_may_say_any_part_and_nothing_wrong(child, fine: bool):
    assert EDITOR.is_valid({"extends": "base.yaml", **child}) is fine
