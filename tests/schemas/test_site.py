"""The site file lies under the job's own blocks: --set over the job over the site over the defaults, each value with
the place where it was said, and its mistakes reported at their own line."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runjob.schemas.read import JobFileError, Resolved, override_job, read_job
from runjob.schemas.site import BLOCKS, block_schema, read_site, site_path

SMALLEST = Path(__file__).parent.parent / "cases" / "valid" / "smallest.yaml"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration directory of the test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def site(config: Path):
    def write(text: str) -> Path:
        path = config / "runjob" / "site.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def job(tmp_path: Path):
    """The smallest job with these lines in its `hardware`."""

    def write(*lines: str) -> Path:
        text = SMALLEST.read_text(encoding="utf-8")
        assert text.count("hardware: {device: cpu}") == 1
        block = "".join(f"\n  {line}" for line in ("device: cpu", *lines))
        path = tmp_path / "job.yaml"
        path.write_text(text.replace("hardware: {device: cpu}", f"hardware:{block}"), encoding="utf-8")
        return path

    return write


def block_of(resolved: Resolved, name: str) -> dict:
    return resolved.values["hardware"][name]


def lines_of(path: Path, *sets: str) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        read_job(path, sets)
    return str(caught.value).split("\n")


SITE = """\
hardware:
  slurm:
    partition: gpu
    account: nlp
  aws: {region: eu-central-1}
"""


def test_without_a_site_file_nothing_is_said_of_where_a_job_could_run(job):
    assert {name: block_of(read_job(job()), name) for name in BLOCKS} == dict.fromkeys(BLOCKS)


def test_a_job_that_says_nothing_of_slurm_has_the_sites(job, site):
    path = site(SITE)
    resolved = read_job(job())
    assert (resolved.job.hardware.slurm.partition, resolved.job.hardware.slurm.account) == ("gpu", "nlp")
    assert resolved.origins["hardware.slurm.partition"] == f"{path}:3:16"
    assert resolved.origins["hardware.slurm.qos"] == "default"


def test_set_wins_over_the_job_and_that_over_the_site_and_that_over_the_default(job, site):
    path = site(SITE)
    file = job("slurm: {account: own, qos: high}")
    resolved = read_job(file, ["hardware.slurm.qos=low"])
    assert [resolved.origins[f"hardware.slurm.{key}"] for key in ("qos", "account", "partition", "gres")] == [
        "--set",
        f"{file}:{resolved.origins['hardware.slurm.account'].removeprefix(f'{file}:')}",
        f"{path}:3:16",
        "default",
    ]
    slurm = resolved.job.hardware.slurm
    assert (slurm.qos, slurm.account, slurm.partition, slurm.gres) == ("low", "own", "gpu", None)
    assert read_job(job(), ["hardware.slurm.qos=low"]).job.hardware.slurm.partition == "gpu"


def test_null_in_the_job_or_on_the_command_line_means_none(job, site):
    site(SITE)
    assert block_of(read_job(job("slurm: null")), "slurm") is None
    assert block_of(read_job(job(), ["hardware.slurm=null"]), "slurm") is None


def test_a_block_that_lacks_what_each_job_must_say_waits_for_it(job, site):
    assert set(block_schema("aws")["required"]) == {"instance", "max_hours"}
    site(SITE)
    assert block_of(read_job(job()), "aws") is None
    rented = read_job(job("aws: {instance: g5.xlarge, max_hours: 2}")).job.hardware.aws
    assert (rented.instance, rented.region) == ("g5.xlarge", "eu-central-1")


def test_a_resume_takes_the_site_where_nobody_has_said_anything(job, site):
    before = read_job(job("slurm: {account: own}"))
    site(SITE)
    slurm = override_job(before, ["hardware.slurm.qos=high"]).job.hardware.slurm
    assert (slurm.account, slurm.partition, slurm.qos) == ("own", "gpu", "high")
    assert override_job(read_job(job()), []).job.hardware.slurm.account == "nlp"


def test_what_a_job_took_from_the_site_stays_when_the_site_changes(job, site):
    site(SITE)
    before = read_job(job())
    site(SITE.replace("gpu", "other"))
    assert override_job(before, []).job.hardware.slurm.partition == "gpu"


def test_a_path_of_the_site_begins_where_the_site_file_lies(job, site):
    path = site("hardware: {ssh: {host: gpu0, config_file: ssh_config}}")
    assert read_job(job()).job.hardware.ssh.config_file == str(path.parent / "ssh_config")
    own = job("ssh: {host: gpu0, config_file: ssh_config}")
    assert read_job(own).job.hardware.ssh.config_file == str(own.parent / "ssh_config")


HOLDS = "a site file holds `hardware` with `slurm`, `ssh` or `aws`"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hardware: {slurm: {partiton: gpu}}", "1:20: hardware.slurm.partiton: unknown key; did you mean `partition`?"),
        ("hardware: {aws: {regoin: x}}", "1:18: hardware.aws.regoin: unknown key; did you mean `region`?"),
        ("hardware:\n  device: cuda", f"2:3: hardware.device: unknown key; {HOLDS}"),
        ("training: {}", f"1:1: training: unknown key; {HOLDS}"),
        ("hardware: 5", f"1:11: hardware: expected keys and values, not the number `5`; {HOLDS}"),
        ("hardware: {ssh: [a]}", f"1:17: hardware.ssh: expected keys and values, not a list; {HOLDS}"),
        (
            "hardware: {slurm: {qos: a, qos: b}}",
            "1:28: hardware.slurm.qos: the key stands twice, first at 1:20",
        ),
        ("hardware: {slurm: [", "2:1: not YAML: "),
        ("hardware: {slurm: {partition: 'a; b'}}", "1:31: hardware.slurm.partition: expected "),
    ],
)
def test_a_mistake_of_the_site_file_is_reported_at_its_place(job, site, text, said):
    path = site(text)
    (line,) = [line for line in lines_of(job()) if line.startswith(str(path))]
    assert line.startswith(f"{path}:{said}"), line


def test_mistakes_of_the_job_and_of_the_site_are_told_together(job, site):
    path = site("hardware: {slurm: {nodes: 2}}")
    file = job("rank: 2")
    assert [line.split(":")[0] for line in lines_of(file)] == [str(file), str(path)]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "hardware:\n", "hardware: {}\n", "hardware: {slurm: }\n"])
def test_an_empty_site_file_says_nothing(job, site, text):
    site(text)
    assert block_of(read_job(job()), "slurm") is None


def test_a_site_file_that_can_not_be_read_is_said(job, config):
    (config / "runjob" / "site.yaml").mkdir(parents=True)
    assert lines_of(job()) == [f"{config}/runjob/site.yaml: can't be read: Is a directory"]


def test_a_relative_configuration_directory_is_ignored_as_the_standard_says(monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", "here")
    assert site_path() == Path("~/.config/runjob/site.yaml").expanduser()
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert site_path() == Path("~/.config/runjob/site.yaml").expanduser()


def test_where_there_is_no_site_file_it_costs_a_look_and_no_import():
    began = time.perf_counter()
    for _ in range(1000):
        assert read_site().file == ""
    assert (time.perf_counter() - began) / 1000 < 0.002
    code = "import json, sys, runjob.schemas.site; print(json.dumps('platformdirs' in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) is False
