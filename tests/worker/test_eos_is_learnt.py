"""Every document ends with an EOS that the loss counts: what reaches the engine, not only what the store holds."""

from pathlib import Path

from runjob.data.cut import Limit
from runjob.data.prepare import prepare
from runjob.data.rows import PackedRows
from runjob.data.store import Store
from runjob.data.stream import EvaluationStream
from runjob.schemas.job_data import TextData
from runjob.schemas.read import read_job
from tests.conftest import ROOT


def test_each_document_gives_one_label_that_is_eos(tmp_path: Path) -> None:
    lines = [f"regel {number} van de tekst, telkens een andere: {number * 7919}" for number in range(200)]
    (tmp_path / "corpus.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sets = [f"data.path={tmp_path / 'corpus.txt'}", "data.documents=line", "data.tokenizer.vocab_size=300"]
    data = read_job(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml", sets).job.data
    assert isinstance(data, TextData)
    made = prepare(data, seed=1, cache=tmp_path / "cache", report=lambda progress: None)
    store = Store.open(made.path)
    eos = made.summary.tokenizer.eos_id
    for side in (store.train, store.validation):
        rows = PackedRows(side, 16)
        batches = list(EvaluationStream(rows, span=range(len(rows)), limit=Limit(rows=4, tokens=None), rank=0, ranks=1))
        learnt = sum(int((micro.tensors["labels"] == eos).sum()) for micro in batches)
        assert learnt == side.summary.documents
        assert sum(micro.predicted for micro in batches) == rows.predicted
    assert store.train.summary.documents + store.validation.summary.documents == 200
