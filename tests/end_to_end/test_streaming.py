"""A streamed run that is broken in every way in which a stream, a disk or a machine breaks equals an unbroken one."""

import functools
import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runjob.data import tokenizers
from runjob.data.samples import locate
from runjob.schemas.processes import descendants
from runjob.schemas.run import RunDir, read_json
from tests.conftest import Home, Processes, make_home, run_script, wait_until
from tests.end_to_end.conftest import JOB, Bench, assert_same_run, kill, records

pytestmark = pytest.mark.slow

FILES = 6
BAD = {2: (10,), 4: (20, 21, 22)}  # rows without text, by file
STREAM = """
  kind: hub
  path: ./published
  streaming: true
  block_documents: 25
  min_length: 50
  bad_rows: 0.2
  sequence_length: 32
  tokenizer: {kind: pretrained, path: ./tokenizer}
  split: {kind: first, validation: 20, test: 10}
"""


def write_stream(folder: Path) -> Path:
    """The small job on a data set of six Parquet files in Hub layout; 60 steps go once through it and on."""
    with gzip.open(locate("dutch"), "rt", encoding="utf-8") as file:
        lines = [line for line in file.read(100_000).splitlines() if line.strip()]
    (folder / "published" / "data").mkdir(parents=True)
    for number in range(FILES):
        rows: list[str | None] = [*lines[number * 50 : number * 50 + 50]]
        for place in BAD.get(number, ()):
            rows[place] = None
        table = pa.table({"text": rows})
        pq.write_table(table, shard(folder, number), row_group_size=20)
    tokenizers.save(tokenizers.train_bpe(lines, vocab_size=512), folder / "tokenizer")
    before, _, behind = JOB.partition("data:\n")
    job = folder / "stream.yaml"
    job.write_text(f"{before}data:{STREAM}{behind[behind.index('model:') :]}".replace("20 steps", "60 steps", 1))
    return job


def shard(folder: Path, number: int) -> Path:
    return folder / "published" / "data" / f"train-{number:05d}-of-{FILES:05d}.parquet"


@pytest.fixture(scope="module")
def straight_stream(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    home = make_home(tmp_path_factory.mktemp("straight-stream"))
    done = run_script(home, write_stream(home.path))
    assert done.returncode == 0, done.stdout + done.stderr
    return RunDir(home.runs / done.stdout.splitlines()[0])


@pytest.fixture
def stream_bench(home: Home, processes: Processes) -> Bench:
    """Where what breaks off is given up within a second."""
    impatient = replace(home, env={**home.env, "RUNJOB_TEST_WAITS": "0.1 0.1"})
    runjob = functools.partial(run_script, impatient)
    return Bench(home=impatient, runjob=runjob, processes=processes, job=write_stream(home.path))


def test_a_stream_goes_through_its_source_and_begins_again(straight_stream: RunDir) -> None:
    (index,) = straight_stream.stream.glob("*.jsonl")
    blocks = [json.loads(line) for line in index.read_text().splitlines()]
    assert {block["begin"]["cycle"] for block in blocks} == {0, 1}
    start = next(record for record in straight_stream.read_events() if record["event"] == "start")
    assert start["rows"] is None and start["steps"] == 60
    told = [record for record in straight_stream.read_events() if record["event"] == "bad_rows"]
    assert sum(record["count"] for record in told) == 4  # of the first turn; the second has the same ones
    rows = [row.partition(": ")[0] for record in told for row in record["first"]]
    places = [(file, place + 1) for file, places in BAD.items() for place in places]
    assert [Path(row).name for row in rows] == [f"{shard(Path(), file).name}:row {row}" for file, row in places]
    card = (straight_stream.model / "README.md").read_text(encoding="utf-8")
    assert re.search(r"- left out: 4 that can't be read, \d+ shorter than data\.min_length\n", card)
    said = (straight_stream.path / "attempts" / "1" / "prepare.log").read_text()
    assert re.search(r"left out up to there: \d+ shorter than data\.min_length", said)


def test_a_stream_broken_in_many_ways_equals_an_unbroken_one(stream_bench: Bench, straight_stream: RunDir) -> None:
    bench = stream_bench
    run = bench.start("data.disk_budget=20KB")
    bench.reach(run, 3)
    last = shard(bench.home.path, FILES - 1)
    content = last.read_bytes()
    last.unlink()
    wait_until(lambda: not bench.processes.alive(), within_s=180, what="the run to end without its data")
    outcome = run.list_attempts()[-1].read_exit()
    assert outcome is not None and outcome.outcome == "preempted"
    assert "broke off again and again" in outcome.reason and last.name in outcome.reason
    assert read_json(run.status)["state"] == "preempted"
    assert bench.why(run)["class"] == "data"
    assert (run.checkpoints / f"step-{outcome.step:08d}").is_dir()

    pq.write_table(pa.table({"text": ["something else"] * 50}), last)
    assert "belongs to other data" in bench.resume(run, expect=1)

    last.write_bytes(content)
    shutil.rmtree(bench.home.cache)  # as on another machine
    bench.resume(run, "--detach")
    bench.reach(run, outcome.step + 5)
    bench.kill_everything(run)
    bench.resume(run)
    assert_same_run(straight_stream, run)
    assert bad_rows(run) == bad_rows(straight_stream)  # told once, whatever was taken back
    assert not list((bench.home.cache / "streams").iterdir())  # a finished run leaves no block


def test_two_ranks_see_the_same_batches_and_survive_the_reader(stream_bench: Bench, straight_stream: RunDir) -> None:
    bench = stream_bench
    run = bench.start("hardware.ranks=2")
    bench.reach(run, 5)
    kill(reader_of(run))
    wait_until(lambda: not bench.processes.alive(), within_s=180, what="the run to end without its reader")
    outcome = run.list_attempts()[-1].read_exit()
    assert outcome is not None and outcome.outcome == "failed"
    assert "the reader of the stream was killed by signal 9" in outcome.error
    assert (run.checkpoints / f"step-{outcome.step:08d}").is_dir()
    bench.resume(run)
    names = ("batch", "tokens", "predicted", "samples", "learning_rate")
    seen, expected = (
        [[record[name] for name in names] for record in records(each, "train")] for each in (run, straight_stream)
    )
    assert seen == expected


def test_more_bad_rows_than_are_allowed_end_the_run_with_a_checkpoint(stream_bench: Bench) -> None:
    done = stream_bench.runjob(stream_bench.job, "--set", "data.bad_rows=0.05")
    assert done.returncode == 1, done.stdout
    run = RunDir(stream_bench.home.runs / done.stdout.splitlines()[0])
    outcome = run.list_attempts()[-1].read_exit()
    assert outcome is not None and outcome.outcome == "failed" and outcome.step > 0
    last = outcome.error.splitlines()[-1]
    assert re.match(r"[23] rows of \d+ can't be read \(.* %, where bad_rows allows 5 %\); mend", last)
    assert f"{shard(stream_bench.home.path, 4)}:row 21: column 'text' holds NoneType" in outcome.error
    assert (run.checkpoints / f"step-{outcome.step:08d}").is_dir()
    assert re.search(r"left out of block \d+: 1 row that can't be read\n", done.stdout)
    assert f"\n  {shard(stream_bench.home.path, 2)}:row 11: column 'text'" in done.stdout


def bad_rows(run: RunDir) -> list[list[int]]:
    return [[record[name] for name in ("step", "block", "count")] for record in records(run, "bad_rows")]


def reader_of(run: RunDir) -> int:
    """The pid of the process that reads for a run."""
    for facts in descendants(read_json(run.handle)["pid"]):
        if b"runjob.runner.worker.reader" in Path(f"/proc/{facts.pid}/cmdline").read_bytes():
            return facts.pid
    raise AssertionError("no reader runs")
