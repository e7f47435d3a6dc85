"""A run that an earlier runjob made stays readable: what its job.json lacks takes today's default and says so."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.schemas.earlier import ADDED_DEFAULT
from runjob.schemas.errors import RunjobError
from runjob.schemas.problems import ADDED_SINCE
from runjob.schemas.read import override_job, read_job, read_job_json, write_job_json
from runjob.schemas.schema import bundled_schema, follow

# What the checkouts of these commits wrote for the two job files beside it
EARLIER = Path(__file__).parent.parent / "cases" / "earlier"
PAIRS = {"04a294d": "gpt2_dutch", "b8fc42b": "small"}
TODAY = {name: read_job(EARLIER / f"{name}.yaml") for name in PAIRS.values()}


@pytest.mark.parametrize("commit", PAIRS)
def test_a_job_json_of_an_earlier_checkout_reads_as_its_job_file_reads_today(commit: str):
    written = json.loads((EARLIER / f"{commit}.job.json").read_text())
    found, today = read_job_json(EARLIER / f"{commit}.job.json"), TODAY[PAIRS[commit]]
    assert found.values == today.values
    assert found.job == today.job
    since = {path for path, origin in found.origins.items() if origin == "added since: default"}
    assert since == found.origins.keys() - written["origins"].keys()
    assert {"evaluation.also_hide", "output.remote", "hardware.slurm"} <= since
    assert all(today.origins[path] == "default" for path in since)
    assert {path: found.origins[path] for path in written["origins"]} == written["origins"]


def test_an_added_field_is_nobodys_word_and_says_where_it_comes_from_after_a_resume_too(tmp_path: Path, monkeypatch):
    """A site file fills it, as it fills what a job leaves out, and a --set is one."""
    found = read_job_json(EARLIER / "b8fc42b.job.json")
    assert override_job(found, []).origins == found.origins
    (tmp_path / "runjob").mkdir()
    (tmp_path / "runjob" / "site.yaml").write_text("hardware: {slurm: {partition: gpu}}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    filled = override_job(found, ["evaluation.also_hide=[0.3]"])
    assert filled.job.hardware.slurm.partition == "gpu"
    assert filled.origins["evaluation.also_hide"] == "--set"


def defaults_of(values: dict[str, Any], origins: dict[str, str], path: str = "") -> Iterator[tuple[str, ...]]:
    """The way to every field, section or leaf, of which nobody has said anything."""
    for key, value in values.items():
        here = f"{path}.{key}".lstrip(".")
        own = [origin for name, origin in origins.items() if name == here or name.startswith(f"{here}.")]
        if own and set(own) == {"default"}:
            yield tuple(here.split("."))
        elif isinstance(value, dict):
            yield from defaults_of(value, origins, here)


@settings(deadline=None)
@given(st.data())
def test_any_fields_that_have_a_default_may_be_missing(data: st.DataObject):
    today = TODAY[data.draw(st.sampled_from(sorted(TODAY)))]
    ways = data.draw(st.sets(st.sampled_from(sorted(defaults_of(today.values, today.origins))), min_size=1))
    values, origins = copy.deepcopy(today.values), dict(today.origins)
    for *way, last in ways:
        here = values
        for key in way:
            here = here[key]
        del here[last]
        path = ".".join([*way, last])
        origins = {name: origin for name, origin in origins.items() if name != path and not name.startswith(f"{path}.")}
    found = read_back({"job": values, "origins": origins})
    assert found.values == today.values
    assert {path for path, origin in found.origins.items() if origin == ADDED_DEFAULT} == (
        today.origins.keys() - origins.keys()
    )


def read_back(raw: dict[str, Any], folder: Path | None = None) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        path = (folder or Path(scratch)) / "job.json"
        path.write_text(json.dumps(raw))
        return read_job_json(path)


def test_fields_of_the_items_of_a_list_are_filled_too():
    raw = json.loads((EARLIER / "b8fc42b.job.json").read_text())
    del raw["job"]["data"]["sources"][1]["documents"]
    assert read_back(raw).values == TODAY["small"].values


def test_a_field_that_is_unknown_here_is_refused_with_the_runs_own_version_and_the_command_that_reads_it(tmp_path):
    raw = json.loads((EARLIER / "b8fc42b.job.json").read_text())
    raw["job"]["training"]["warp"] = 9
    raw["origins"]["training.warp"] = "default"
    with pytest.raises(RunjobError, match=r"job\.json: training\.warp is not known to runjob [^;]+; another version"):
        read_back(raw, tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "CODE.json").write_text('{"version": "9.1", "commit": "0123456789abcdef"}')
    command = f"PYTHONSAFEPATH=1 PYTHONPATH={tmp_path}/code python -m runjob.runner status {tmp_path.name}"
    with pytest.raises(RunjobError, match=rf"made by runjob 9\.1 \(commit 01234567\).*{re.escape(command)}$"):
        read_back(raw, tmp_path)
    raw["job"]["training"]["optimizer"]["kind"] = "warp"
    with pytest.raises(RunjobError, match=r"training\.optimizer\.kind is not known"):
        read_back(raw, tmp_path)


def test_a_field_that_a_later_runjob_added_for_itself_is_passed_over():
    raw = json.loads((EARLIER / "b8fc42b.job.json").read_text())
    raw["job"]["training"]["warp"] = {"speed": 9}
    raw["origins"]["training.warp.speed"] = f"{ADDED_SINCE}/etc/site.yaml:3:5"
    found = read_back(raw)
    assert found.values == TODAY["small"].values
    assert "training.warp.speed" not in found.origins


def test_what_was_filled_in_and_written_reads_the_same(tmp_path: Path):
    found = read_job_json(EARLIER / "04a294d.job.json")
    write_job_json(tmp_path / "job.json", found)
    assert read_job_json(tmp_path / "job.json") == found


def required(part: Any, path: str = "#") -> Iterator[tuple[str, list[str]]]:
    """Of every mapping of the schema the fields that must be written: required, and without a default."""
    if isinstance(part, list):
        for number, item in enumerate(part):
            yield from required(item, f"{path}/{number}")
    elif isinstance(part, dict):
        if isinstance(fields := part.get("properties"), dict) and "required" in part:
            yield path, sorted(key for key in part["required"] if "default" not in follow(fields[key]))
        for key, value in part.items():
            if key not in ("default", "examples"):
                yield from required(value, f"{path}/{key}")


def test_no_field_without_a_default_was_added_to_a_mapping_that_runs_have():
    """Their job.json would lack it for ever. If a new mapping fails here by its place alone, add it to the list."""
    frozen = json.loads((EARLIER / "required.json").read_text())
    today = dict(required(bundled_schema()))
    added = {path: sorted(set(today[path]) - set(known)) for path, known in frozen.items() if path in today}
    assert {path: keys for path, keys in added.items() if keys} == {}
    assert today.keys() - frozen.keys() == set(), "a mapping that the frozen list lacks: add it, with its required keys"
