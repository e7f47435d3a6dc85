"""A tagger and a model of relations, trained here, read a corpus: every offset leads to its text, and neither the size
of a batch, nor where documents are parted, nor a kill at any moment leaves a trace in what is written."""

import dataclasses
import gzip
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from runjob.data.found import DECIMALS
from runjob.data.pairs import mark_pair
from runjob.runner.worker import extract as program
from runjob.runner.worker.extract_models import Relater, Tagger
from runjob.runner.worker.extractor import Extractor
from runjob.schemas.errors import JobError, RunjobError, StateError
from runjob.schemas.extraction import Entity, ModelName, Models, extraction_schema_text
from runjob.schemas.file_lock import held
from runjob.schemas.run import RunDir
from runjob.schemas.tags import UNRELATED
from tests.conftest import SCRIPT, Home, make_home, run_script, wait_until
from tests.end_to_end.extracting import JOB, Rounding, pair_of, places_of, sentence, span, write_corpus, write_names

pytestmark = pytest.mark.slow

VALIDATOR = jsonschema.Draft202012Validator(json.loads(extraction_schema_text()))


@dataclass(frozen=True, kw_only=True)
class Trained:
    home: Home
    ner: RunDir
    re: RunDir
    corpus: Path
    texts: list[str]

    def type(self, *words: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
        return run_script(self.home, "extract", *words, env=env)

    def order(self, corpus: Path, out: Path, *, batch: int) -> program.Order:
        return program.Order(
            ner=self.ner,
            re=self.re,
            corpus=str(corpus),
            out=out,
            field=None,
            bad_rows=0.0,
            batch=batch,
            device="cpu",
            overwrite=False,
            quiet=True,
        )


def use_home(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that is started there."""
    monkeypatch.setenv("RUNJOB_CACHE", str(trained.home.cache))
    monkeypatch.chdir(trained.home.path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    home = make_home(tmp_path_factory.mktemp("extract"))
    write_names(home.path / "names.jsonl")
    texts = write_corpus(home.path / "corpus.jsonl")
    ner = "{kind: token_classification, labels: [TAXON, TIME], scheme: BILOU}"
    re = "{kind: relation_classification, labels: [OCCURS_IN], pairs: {types: [TAXON>TIME], max_distance: 60}}"
    runs = []
    for name, data, objective in (("ner", "", ner), ("re", "  relations: relations\n  long_documents: truncate", re)):
        (home.path / f"{name}.yaml").write_text(JOB.format(name=name, data=data, objective=objective))
        done = run_script(home, home.path / f"{name}.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        runs.append(RunDir(home.runs / done.stdout.splitlines()[0]))
    yield Trained(home=home, ner=runs[0], re=runs[1], corpus=home.path / "corpus.jsonl", texts=texts)


@pytest.fixture(scope="module")
def out(trained: Trained) -> Path:
    """What one unbroken run writes."""
    out = trained.home.path / "out.jsonl"
    done = trained.type("corpus.jsonl", "--ner", "ner@latest", "--re", "re@latest", "-o", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{out}: 62 documents, 2")
    assert "entities: TAXON 2" in done.stdout
    assert "relations: OCCURS_IN 1" in done.stdout
    assert done.stderr == ""
    assert sorted(path.name for path in out.parent.glob("out.jsonl*")) == ["out.jsonl"]
    return out


def test_every_record_says_what_stands_in_the_raw_text_and_keeps_the_published_schema(
    trained: Trained, out: Path
) -> None:
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(one["document"], one["line"]) for one in records] == [(n, n + 1) for n in range(62)]
    for record, raw in zip(records, trained.texts, strict=True):
        VALIDATOR.validate(record)
        assert record["models"]["ner"]["id"] == trained.ner.id
        assert record["models"]["re"]["id"] == trained.re.id
        for one in record["entities"]:
            assert raw[one["start"] : one["end"]] == one["text"]
    first = records[8]
    said = [(one["text"], one["label"]) for one in first["entities"]]
    assert said == [
        (name, label) for n in (56, 57) for name, label in zip(sentence(n)[1:], ("TAXON", "TIME"), strict=True)
    ]
    assert [(one["head"], one["tail"], one["label"]) for one in first["relations"]] == [
        (0, 1, "OCCURS_IN"),
        (2, 3, "OCCURS_IN"),
    ]
    assert len(first["sentences"]) == 2, "what goes on in lower case is no sentence of its own"


def test_batches_windows_and_packing_leave_no_trace(trained: Trained, out: Path, tmp_path: Path, monkeypatch) -> None:
    use_home(trained, monkeypatch)
    expected = out.read_bytes()
    for batch, window in ((1, 1), (3, 7), (64, 1000)):
        again = tmp_path / f"{batch}.jsonl"
        program.extract(trained.order(Path("corpus.jsonl"), again, batch=batch), window=window)
        assert again.read_bytes() == expected, (batch, window)
    packed = trained.home.path / "corpus.jsonl.gz"
    packed.write_bytes(gzip.compress(trained.corpus.read_bytes()))
    program.extract(trained.order(Path("corpus.jsonl.gz"), tmp_path / "gz.jsonl", batch=8))
    assert (tmp_path / "gz.jsonl").read_bytes() == expected.replace(b'"corpus.jsonl"', b'"corpus.jsonl.gz"')


def test_what_a_batch_does_to_the_last_digits_does_not_show(trained: Trained) -> None:
    sentences = [sentence(number)[0] for number in range(240)]
    said: dict[int, list[object]] = {1: [], 7: [], 64: []}
    exact: dict[int, list[float]] = {1: [], 7: [], 64: []}
    for batch in said:
        tagger = Tagger(trained.ner, device="cpu", batch=batch)
        network = tagger.network.network
        for temperature in range(4, 16):
            tagger.network.network = Rounding(network, temperature=temperature)
            found = [one for tagging in tagger.tag(sentences) for one in tagging.found]
            said[batch] += [(one.begin, one.end, one.label, round(one.confidence, DECIMALS)) for one in found]
            exact[batch] += [one.confidence for one in found]
    assert exact[1] != exact[7] != exact[64]
    assert said[1] == said[7] == said[64]
    assert len(said[1]) > 12 * 400


def test_what_a_batch_does_to_the_last_digits_does_not_show_in_relations(trained: Trained) -> None:
    texts = [mark_pair(text, *marks) for text, *marks in map(pair_of, range(24))]
    said: dict[int, list[object]] = {1: [], 7: [], 64: []}
    exact: dict[int, list[float]] = {1: [], 7: [], 64: []}
    for batch in said:
        relater = Relater(trained.re, device="cpu", batch=batch)
        network = relater.network.network
        for eighths in range(32, 232):
            relater.network.network = Rounding(network, temperature=eighths / 8)
            verdicts = [verdict for verdict in relater.relate(texts) if verdict is not None]
            said[batch] += [(one.label, round(one.confidence, DECIMALS)) for one in verdicts if one.label != UNRELATED]
            exact[batch] += [one.confidence for one in verdicts]
    assert exact[1] != exact[7] != exact[64]
    assert said[1] == said[7] == said[64]
    assert len(exact[1]) == 200 * 24


def test_of_a_list_without_an_end_as_many_pairs_are_asked_as_a_row_may_hold(trained: Trained) -> None:
    names = [name for number in range(90) for name in sentence(number)[1:]]
    listed = "Seen: " + ", ".join(names) + " and others"
    relater = Relater(trained.re, device="cpu", batch=16)
    beginning = relater.beginning(listed)
    assert len(listed) > 3 * len(beginning) > 3 * relater.network.longest
    assert listed.startswith(beginning)
    assert relater.beginning(names[0]) == names[0]
    assert relater.beginning("x" * 2000) == "x" * 2000, "without white space no cut is safe"
    entities = [
        Entity(start=place, end=place + len(name), text=name, label=label, confidence=1.0)
        for name, label, place in places_of(listed, names)
    ]
    extractor = Extractor(Tagger(trained.ner, device="cpu", batch=16), relater, Models(ner=NOBODY, re=NOBODY))
    [related] = extractor._relations([listed], [entities])
    pairs = [(a, b) for a in entities for b in entities if a is not b and relater.pairing.asks(span(a), span(b))]
    asked = [verdict for verdict in relater.relate([mark_pair(listed, span(a), span(b)) for a, b in pairs]) if verdict]
    assert related.unasked == len(pairs) - len(asked)
    assert len(related.relations) == sum(verdict.label != UNRELATED for verdict in asked) > 0
    assert Extractor(extractor.tagger, relater, extractor.models, pairs=1)._relations([listed], [entities]) == [related]


NOBODY = ModelName(id="nobody", sha256="0")


KILLS = ("extract-record@40", "extract-written@0")


@pytest.mark.parametrize("place", KILLS)
def test_killed_and_typed_again_it_loses_nothing_and_says_nothing_twice(
    trained: Trained, out: Path, tmp_path: Path, place: str
) -> None:
    words = ("corpus.jsonl", "--ner", "ner@latest", "--re", "re@latest", "-o", tmp_path / "out.jsonl")
    killed = trained.type(*words, RUNJOB_TEST_FAULT=place)
    assert killed.returncode == 128 + signal.SIGKILL
    if place == "extract-written@0":  # as if it had come in the middle of a line
        partial = tmp_path / "out.jsonl.partial"
        os.truncate(partial, partial.stat().st_size - 2000)
    again = trained.type(*words, "--batch-size", "5")
    assert again.returncode == 0, again.stderr
    assert "62 documents, 2" in again.stdout
    assert (tmp_path / "out.jsonl").read_bytes() == out.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_with_the_command_its_worker_ends_and_what_was_written_by_hand_is_not_believed(
    trained: Trained, out: Path, tmp_path: Path
) -> None:
    words = ["extract", "corpus.jsonl", "--ner", "ner@latest", "--re", "re@latest", "-o", str(tmp_path / "out.jsonl")]
    env = {**trained.home.env, "RUNJOB_TEST_HOLD": "extract-written@0 600"}
    command = subprocess.Popen([str(SCRIPT), *words], env=env, cwd=trained.home.path)
    made_by, partial = tmp_path / "out.jsonl.partial.json", tmp_path / "out.jsonl.partial"
    wait_until(lambda: made_by.exists() and '"bytes"' in made_by.read_text(), what="the end", within_s=120)
    command.kill()
    command.wait()
    ended = StateError("the worker still holds it")
    with held(partial, patience_s=10, busy=ended, broken=StateError):
        partial.rename(tmp_path / "out.jsonl")  # where the kill would have come a moment later
    whole = (tmp_path / "out.jsonl").read_bytes()
    assert whole == out.read_bytes()
    (tmp_path / "out.jsonl").write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    refused = trained.type(*words[1:])
    assert (refused.returncode, "is there already" in refused.stderr) == (2, True), refused.stderr
    (tmp_path / "out.jsonl").write_bytes(whole)
    done = trained.type(*words[1:])
    assert (done.returncode, done.stdout.startswith(f"{tmp_path / 'out.jsonl'}: 62 documents")) == (0, True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_disk_that_is_full_is_said_and_gone_on_from(trained: Trained, out: Path, tmp_path: Path, monkeypatch) -> None:
    use_home(trained, monkeypatch)
    order = trained.order(Path("corpus.jsonl"), tmp_path / "out.jsonl", batch=32)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))
    try:
        with pytest.raises(RunjobError, match=r"out\.jsonl\.partial: can't be written: File too large; mend that and"):
            program.extract(order, window=8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert (tmp_path / "out.jsonl.partial").stat().st_size == 20_000
    program.extract(order)
    assert (tmp_path / "out.jsonl").read_bytes() == out.read_bytes()


def test_what_was_begun_otherwise_and_what_is_there_already_is_refused(
    trained: Trained, out: Path, tmp_path: Path, monkeypatch
) -> None:
    words = ("corpus.jsonl", "--ner", "ner@latest", "-o", tmp_path / "out.jsonl")
    assert trained.type(*words, RUNJOB_TEST_FAULT="extract-window@62").returncode == 128 + signal.SIGKILL
    use_home(trained, monkeypatch)
    order = dataclasses.replace(trained.order(Path("corpus.jsonl"), tmp_path / "out.jsonl", batch=32), quiet=False)
    with pytest.raises(StateError, match=r"(?s)was begun otherwise: --re was None and is re-.*--overwrite"):
        program.extract(order)
    program.extract(dataclasses.replace(order, overwrite=True))
    assert (tmp_path / "out.jsonl").read_bytes() == out.read_bytes()
    with pytest.raises(StateError, match="is there already"):
        program.extract(order)
    with pytest.raises(JobError, match="is the corpus itself"):
        program.extract(dataclasses.replace(order, out=trained.corpus, overwrite=True))
    (tmp_path / "link.jsonl").symlink_to(trained.corpus)
    for same in (tmp_path / "link.jsonl", tmp_path / ".." / tmp_path.name / "link.jsonl"):
        with pytest.raises(JobError, match="is the corpus itself"):
            program.extract(dataclasses.replace(order, out=same, overwrite=True))
    for folder in (Path(), tmp_path):
        with pytest.raises(JobError, match="is a directory; name a file in it"):
            program.extract(dataclasses.replace(order, out=folder))
    with pytest.raises(JobError, match="File name too long; name another"):
        program.extract(dataclasses.replace(order, out=tmp_path / ("x" * 300)))
    with pytest.raises(JobError, match=r"out\.jsonl\.partial can't be written"):
        program.extract(dataclasses.replace(order, out=Path("/proc/out.jsonl")))


def test_rows_that_cannot_be_read_are_said_all_at_once_before_anything_is_written(
    trained: Trained, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "Olenellus lived in the Cambrian, says page 1."}\n{"other": 1}\n\n{"text": "a [E1] b"}\n')
    words = (bad, "--ner", trained.ner.path, "--re", trained.re.path / "model", "-o", tmp_path / "out.jsonl")
    refused = trained.type(*words)
    assert refused.returncode == 1
    assert f"{bad}:2: " in refused.stderr
    assert f"{bad}:4: its text holds [E1]" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]
    allowed = trained.type(*words, "--bad-rows", "0.5")
    assert allowed.returncode == 0, allowed.stderr
    assert "1 row without text" in allowed.stderr
    assert "2 rows can't be read" in allowed.stderr
    [record] = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (record["document"], record["line"]) == (0, 1)


def test_a_run_of_another_kind_is_refused_with_what_to_type(trained: Trained, tmp_path: Path) -> None:
    words = ("corpus.jsonl", "-o", tmp_path / "out.jsonl")
    swapped = trained.type(*words, "--ner", "re@latest")
    assert (swapped.returncode, "type --re re@latest" in swapped.stderr) == (2, True)
    swapped = trained.type(*words, "--ner", "ner@latest", "--re", "ner@latest")
    assert (swapped.returncode, "type --ner ner@latest" in swapped.stderr) == (2, True)
    elsewhere = trained.home.path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    copied = trained.type(*words, "--ner", "elsewhere")
    assert (copied.returncode, "name the run's id" in copied.stderr) == (2, True)
    within = trained.type(*words, "--ner", trained.ner.path / "checkpoints")
    assert (within.returncode, "name the run's id" in within.stderr) == (2, True), "of a run its model alone answers"
    assert not list(tmp_path.iterdir())
