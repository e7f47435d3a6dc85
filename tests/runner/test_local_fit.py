"""What is on this machine and does not go together (a column, a tokenizer, a checkpoint) is said at its place in the
job file before a run exists; where files don't tell, nobody is refused."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runjob.runner.local_files import missing_data_files, missing_files
from runjob.schemas.read import read_job

MARKS = {"mpnet": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"), "bert": ("<pad>", "<unk>", "<s>", "</s>", "<mask>")}
JOB = """\
schema: 1
name: fit
data:
  kind: text
  path: text.txt
  sequence_length: 32
  tokenizer: {kind: pretrained, path: ./tokenizer}
model:
  init: {kind: scratch, architecture: mpnet, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2,
         max_position_embeddings: 32}
objective:
  kind: plm
training: {length: 20 steps, global_batch: 8, micro_batch: 4, learning_rate: 5.0e-4}
hardware: {device: cpu}
"""
CHECKPOINT = "model.init={kind: pretrained, path: ./checkpoint}"
TEXT = "  kind: text\n  path: text.txt\n"


def write_tokenizer(folder: Path, *words: str, marks: str = "mpnet", prefix: str = "##", config: bool = True) -> None:
    """The two files that tell everything, as `save_pretrained` writes them."""
    special = MARKS[marks]
    vocabulary = {token: id_ for id_, token in enumerate((*special, *words))}
    engine = {
        "added_tokens": [{"id": id_, "content": token, "special": True} for id_, token in enumerate(special)],
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": prefix},
        "model": {"type": "WordPiece", "continuing_subword_prefix": prefix, "vocab": vocabulary},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(engine))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": "<pad>"}}))


def write_checkpoint(folder: Path, **config: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "mpnet", "vocab_size": 8, **config}))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that it names is here and fits."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("one line\n")
    write_tokenizer(tmp_path / "tokenizer", "see", "##n", "sea")
    (tmp_path / "fit.yaml").write_text(JOB)
    return tmp_path / "fit.yaml"


def said(job: Path, *sets: str) -> list[str]:
    return [str(problem).replace(f"{job.parent}/", "") for problem in missing_files(read_job(job, sets))]


def with_data(job: Path, text: str) -> Path:
    job.write_text(JOB.replace(TEXT, text))
    return job


def test_what_fits_is_not_refused(job):
    write_checkpoint(job.parent / "checkpoint")
    assert said(job) == said(job, CHECKPOINT) == []
    write_tokenizer(job.parent / "checkpoint", "see", "##n", "sea")
    assert said(job, CHECKPOINT) == []


def test_a_tokenizer_without_marks_of_words_is_refused_for_whole_words_alone(job):
    write_tokenizer(job.parent / "tokenizer", "see", "n", "sea", prefix="")
    [line] = said(job)
    # the unit is a default, and the section's kind is where it would stand
    assert line.startswith("fit.yaml:12:9: objective.unit: this tokenizer (WordPiece) has no mark for the beginning of")
    assert said(job, "objective.unit=token") == []


def test_mpnet_from_new_weights_and_from_old_ones_refuses_padding_elsewhere(job):
    write_tokenizer(job.parent / "tokenizer", "see", "##n", "sea", marks="bert")
    [line] = said(job)
    assert line.startswith(
        "fit.yaml:7:39: data.tokenizer.path: mpnet takes id 1 for padding, and the tokenizer has id 0; use a tokenizer "
        "made for MPNet or RoBERTa"
    )
    write_checkpoint(job.parent / "checkpoint")
    assert said(job, CHECKPOINT) == [line]
    assert said(job, "model.init.architecture=bert", "objective={kind: mlm}") == []
    write_checkpoint(job.parent / "checkpoint", model_type="bert")
    assert said(job, CHECKPOINT) == []


def test_padding_that_no_file_names_is_left_to_the_worker(job):
    write_tokenizer(job.parent / "tokenizer", "see", marks="bert", config=True)
    (job.parent / "tokenizer" / "tokenizer_config.json").write_text("{}")
    assert said(job) == []
    (job.parent / "tokenizer" / "special_tokens_map.json").write_text('{"pad_token": "<pad>"}')
    assert "the tokenizer has id 0" in said(job)[0]


def test_ids_that_are_other_tokens_than_the_checkpoints_are_refused_with_both(job):
    write_checkpoint(job.parent / "checkpoint")
    write_tokenizer(job.parent / "checkpoint", "see", "##s", "sky")
    [line] = said(job, CHECKPOINT)
    assert line == (
        "fit.yaml:7:39: data.tokenizer.path: 2 of its 8 ids are other tokens than in model.init.path checkpoint "
        "(6: '##n' here, '##s' there, 7: 'sea' here, 'sky' there), whose rows would stand for the wrong words; write "
        "data.tokenizer: {kind: pretrained, path: checkpoint}, or init.kind: scratch"
    )


def test_a_students_tokenizer_is_its_teachers(job):
    student = "hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 1, max_position_embeddings: 32"
    sets = (f"model.init={{kind: guide, teacher: ./checkpoint, {student}}}", "objective={kind: mlm}")
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    write_checkpoint(job.parent / "checkpoint", model_type="modernbert", **sizes)
    write_tokenizer(job.parent / "checkpoint", "see", "##n", "sky")
    [line] = said(job, *sets)
    assert "1 of its 8 ids are other tokens than in model.init.teacher checkpoint (7: 'sea' here, 'sky' there)" in line


def test_more_tokens_than_the_checkpoint_has_rows_are_refused_unless_they_were_added(job):
    write_checkpoint(job.parent / "checkpoint", vocab_size=7)
    [line] = said(job, CHECKPOINT)
    assert line.startswith("fit.yaml:7:39: data.tokenizer.path: its 8 ids do not fit the 7 rows of model.init.path")
    write_tokenizer(job.parent / "checkpoint", "see", "##n")
    [line] = said(job, CHECKPOINT)
    assert "1 of its pieces are unknown to model.init.path checkpoint ('sea') and no added terms" in line
    engine = json.loads((job.parent / "tokenizer" / "tokenizer.json").read_text())
    engine["added_tokens"].append({"id": 7, "content": "sea", "special": False})
    (job.parent / "tokenizer" / "tokenizer.json").write_text(json.dumps(engine))
    assert said(job, CHECKPOINT) == []


def test_a_field_that_no_line_has_is_answered_with_those_that_are(job):
    rows = "".join(json.dumps({"id": number, "body": "one line"}) + "\n" for number in range(3))
    (job.parent / "rows.jsonl").write_text(rows)
    (job.parent / "rows.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    with_data(job, "  kind: jsonl\n  path: rows.jsonl\n  field: txt\n")
    assert said(job) == ["fit.yaml:6:10: data.field: rows.jsonl:1: has no field 'txt', but 'id', 'body'"]
    assert said(job, "data.path=rows.jsonl.gz")[0].endswith("rows.jsonl.gz:1: has no field 'txt', but 'id', 'body'")
    assert said(job, "data.field=body") == []
    # one of many lines may lack it, where the job says so
    assert said(job, "data.bad_rows=0.5") == []
    with_data(job, "  kind: jsonl\n  path: rows.jsonl\n")
    assert said(job) == ["fit.yaml:4:9: data.field: rows.jsonl:1: has no field 'text', but 'id', 'body'"]


@pytest.mark.parametrize("content", ["", "\n", "[1]\n", "no json\n", '{"text": 1}\n'])
def test_lines_that_say_nothing_of_fields_are_prepares_to_judge(job, content):
    (job.parent / "rows.jsonl").write_text(content)
    assert said(with_data(job, "  kind: jsonl\n  path: rows.jsonl\n")) == []


def write_parquet(file: Path, columns: Mapping[str, list[object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)


def test_a_column_that_is_not_there_or_holds_no_text_is_answered_with_those_that_do(job):
    write_parquet(job.parent / "rows.parquet", {"id": [1, 2], "body": ["a", "b"]})
    with_data(job, "  kind: parquet\n  path: rows.parquet\n  field: txt\n")
    assert said(job) == ["fit.yaml:6:10: data.field: rows.parquet has no column 'txt', but id, body"]
    [line] = said(job, "data.field=id")
    assert line.endswith("data.field: column 'id' of rows.parquet holds int64 and not text; columns of text: body")
    assert said(job, "data.field=body") == []


def test_of_a_directory_in_hub_layout_one_file_with_the_column_is_enough(job):
    write_parquet(job.parent / "published" / "data" / "train-0.parquet", {"body": ["a"]})
    with_data(job, "  kind: hub\n  path: ./published\n  streaming: true\n  split: {kind: first, validation: 1}\n")
    [line] = said(job)
    assert line == "fit.yaml:4:9: data.field: published/data/train-0.parquet has no column 'text', but body"
    write_parquet(job.parent / "published" / "other" / "train-0.parquet", {"text": ["a"]})
    assert said(job) == []
    assert [problem.path for problem in missing_data_files(read_job(job, ["data.path=./none"]))] == ["data.path"]


def test_each_source_of_a_mixture_is_asked(job):
    write_parquet(job.parent / "rows.parquet", {"body": ["a"]})
    sources = "  kind: mix\n  sources:\n  - {kind: text, path: text.txt, weight: 1}\n"
    with_data(job, f"{sources}  - {{kind: parquet, path: rows.parquet, weight: 1, field: txt}}\n")
    assert said(job) == ["fit.yaml:6:3: data.sources[1].field: rows.parquet has no column 'txt', but body"]


def test_the_command_refuses_before_there_is_a_run(home, runjob):
    (home.path / "fit.yaml").write_text(JOB.replace(TEXT, "  kind: jsonl\n  path: rows.jsonl\n  field: txt\n"))
    (home.path / "rows.jsonl").write_text('{"body": "one line"}\n')
    write_tokenizer(home.path / "tokenizer", "see", "##n", "sea", marks="bert")
    done = runjob("fit.yaml")
    assert (done.returncode, done.stdout, list(home.runs.iterdir())) == (2, "", [])
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["fit.yaml:6:10", "data.field"],
        ["fit.yaml:8:39", "data.tokenizer.path"],
    ]
    prepared = runjob("prepare", "fit.yaml")
    assert prepared.returncode == 2 and "has no field 'txt', but 'body'" in prepared.stderr
    assert "has no field 'txt', but 'body'" in runjob("plan", "fit.yaml").stdout
