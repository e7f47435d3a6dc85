"""How many sentences a second `runjob extract` tags, beside a plain `transformers` pipeline on the same model: the same
sentences, normalised alike, in turn in one process, medians of the repeats by processor time of one thread. Both must
find the same entities, where both ways of joining tags agree.

    python benchmarks/extract.py --ner paleo_ner_tiny@latest --corpus sample:paleo_gold

What is compared is text in, entities out; cutting sentences and writing stay out of it: the pipeline does neither.
`pipeline 32` is the same with its own batches, which are not sorted by length.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import pipeline

from runjob.data.labels import Tags
from runjob.data.sentences import cut_sentences
from runjob.runner.commands_extract import model_run
from runjob.runner.worker.extract_file import open_corpus
from runjob.runner.worker.extract_models import Tagger, Tagging
from runjob.schemas.tags import NOTHING

# (begin, end, label) in the normalised text
Entities = set[tuple[int, int, str]]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    same: int
    of: int


def sentences_of(corpus: str, *, field: str, most: int) -> list[str]:
    source = open_corpus(corpus, field=field, bad_rows=0.0, marked=False)
    every = (doc.text[begin:end] for doc in source.documents() for begin, end in cut_sentences(doc.text))
    return list(itertools.islice(every, most))


def ours(tagger: Tagger, tagged: list[Tagging]) -> list[Entities]:
    return [{(one.begin, one.end, tagger.tags.labels[one.label]) for one in each.found} for each in tagged]


def theirs(texts: list[str], answers: list[Any]) -> list[Entities]:
    """Their spans begin with the white space that some pieces hold."""
    found = []
    for text, answer in zip(texts, answers, strict=True):
        spans: Entities = set()
        for one in answer:
            begin, end = one["start"], one["end"]
            inside = text[begin:end]
            begin += len(inside) - len(inside.lstrip())
            spans.add((begin, begin + len(inside.strip()), one["entity_group"]))
        found.append(spans)
    return found


def to_the_letter(texts: list[str], answers: list[Any], tags: Tags) -> list[Entities]:
    """The same of the pipeline's tags without joining (it leaves out O), read as we read ours."""
    found = []
    for text, answer in zip(texts, answers, strict=True):
        by_token = {one["index"]: one for one in answer}
        said = [by_token[n]["entity"] if n in by_token else NOTHING for n in range(max(by_token, default=0) + 1)]
        joined = [
            {"start": by_token[first]["start"], "end": by_token[behind - 1]["end"], "entity_group": tags.labels[label]}
            for first, behind, label in tags.spans([tags.names.index(name) for name in said])
        ]
        found += theirs([text], [joined])
    return found


def agreement(mine: list[Entities], other: list[Entities]) -> Agreement:
    """Of sentences; a tag I that nothing begins is an entity to the pipeline and none to us."""
    return Agreement(same=sum(a == b for a, b in zip(mine, other, strict=True)), of=len(mine))


def measure(ways: dict[str, Callable[[], object]], *, repeats: int) -> dict[str, list[float]]:
    """Seconds of processor time of each repeat; the ways take turns, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            if number:
                seconds[name].append(time.process_time() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ner", required=True)
    parser.add_argument("--corpus", default="sample:paleo_ner")
    parser.add_argument("--field", default="text")
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = model_run(options.ner, option="--ner")
    sentences = sentences_of(options.corpus, field=options.field, most=options.sentences)
    tagger = Tagger(run, device="cpu", batch=32)
    texts = [tagger.network.normalizer(sentence) for sentence in sentences]
    plain = pipeline("token-classification", model=str(run.model), aggregation_strategy="simple", device="cpu")
    ways: dict[str, Callable[[], Any]] = {
        "extract": lambda: tagger.tag(sentences),
        "pipeline": lambda: plain(texts),
        "pipeline 32": lambda: plain(texts, batch_size=32),
    }
    found = ours(tagger, ways["extract"]())
    agreed = agreement(found, theirs(texts, ways["pipeline"]()))
    unjoined = pipeline("token-classification", model=plain.model, tokenizer=plain.tokenizer, device="cpu")
    letter = agreement(found, to_the_letter(texts, unjoined(texts), tagger.tags))
    seconds = measure(ways, repeats=options.repeats)
    print(f"{len(sentences)} sentences of {options.corpus}, {sum(map(len, found))} entities, model of {run.id}")
    print(
        f"the same entities in {letter.same} of {letter.of} sentences by tags, {agreed.same} as the pipeline joins them"
    )
    if letter.same != letter.of:
        raise SystemExit("both have read other tags: the figures are of two different things")
    base = statistics.median(seconds["pipeline"])
    for name, times in seconds.items():
        middle = statistics.median(times)
        spread = f"{len(sentences) / max(times):,.0f} to {len(sentences) / min(times):,.0f}"
        print(f"{name:<12} {len(sentences) / middle:8,.0f} sentences/s ({spread}), {base / middle:.2f} x the pipeline")


if __name__ == "__main__":
    main()
