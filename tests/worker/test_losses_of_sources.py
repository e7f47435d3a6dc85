"""The loss of each source of a mixture: what evaluating it alone says, in the pass that measures all of them."""

import functools
from pathlib import Path

import pytest
import torch

from runjob.data.cut import Limit
from runjob.data.rows import DocumentRows, PackedRows, Rows
from runjob.data.store import Side
from runjob.data.stream import EvaluationStream
from runjob.data.writer import SideWriter
from runjob.runner.worker.evaluate import Evaluator
from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.test_side import Finished

NEWS = [[(number * 7 + place) % 30 + 1 for place in range(3 + number % 5)] for number in range(9)]
PALEO = [[(number * 11 + place * place) % 300 for place in range(9 + number)] for number in range(4)]
NAMES = ("news.txt", "sample:paleo", "empty.txt")


def side_of(path: Path, *sources: list[list[int]]) -> Side:
    with SideWriter(path, eos_id=0, token_type="uint16") as writer:
        for number, documents in enumerate(sources):
            if number:
                writer.end_section()
            for ids in documents:
                writer.append("x", ids)
        return Side(path, summary=writer.close(), token_type="uint16")


@pytest.mark.parametrize("layout", [PackedRows, functools.partial(DocumentRows, truncate=False)])
@pytest.mark.parametrize("limit", [Limit(rows=4, tokens=None), Limit(rows=None, tokens=64)])
def test_each_source_has_the_loss_that_it_has_alone(layout, limit: Limit, tmp_path: Path, exchange, build_small):
    finished = Finished(CausalLMObjective(build_small()), torch.device("cpu"))

    def evaluate(rows: Rows, *names: str) -> dict[str, float | None]:
        settings = {"objective": "clm", "token_bytes": None, "added": None, "sources": names}
        return Evaluator(rows=rows, limit=limit, exchange=exchange, **settings).run(finished)

    mixed = layout(side_of(tmp_path / "mixed", NEWS, PALEO, []), 8)
    whole, apart = evaluate(mixed), evaluate(mixed, *NAMES)
    assert list(apart) == [*whole, "loss/news.txt", "loss/sample:paleo", "loss/empty.txt"]
    assert [apart[name] for name in whole] == pytest.approx(list(whole.values()), rel=1e-6)
    for name, documents in zip(NAMES, (NEWS, PALEO), strict=False):
        alone = evaluate(layout(side_of(tmp_path / name, documents), 8))
        assert apart[f"loss/{name}"] == pytest.approx(alone["loss"], rel=1e-6)
    assert apart["loss/empty.txt"] is None
    shown: list[None] = []
    rest = {"objective": "clm", "token_bytes": None, "added": None, "sources": NAMES}
    Evaluator(rows=mixed, limit=limit, exchange=exchange, **rest).run(finished, moved=lambda: shown.append(None))
    sources = (
        layout(side_of(tmp_path / f"again-{name}", side), 8) for name, side in zip("ab", (NEWS, PALEO), strict=True)
    )
    assert len(shown) == sum(
        len(list(EvaluationStream(rows, span=range(len(rows)), limit=limit, rank=0, ranks=1))) for rows in sources
    ), "who watches hears of every micro batch"
    assert abs(apart["loss/news.txt"] - apart["loss/sample:paleo"]) > 0.01
