"""The rules of `schemas/rules.py` that are about data alone: sides, mixtures, trained tokenizers."""

import math
from collections.abc import Iterator
from fractions import Fraction

from runjob.schemas.quantities import parse_count
from runjob.schemas.urls import is_url, url_problem
from runjob.schemas.values import Values

# A byte-level tokenizer begins with the 256 bytes; end of text, padding and unknown come on top.
BYTES_AND_SPECIALS = 256 + 3
# A mixture repeats its proportions after so many rows at most (data/order.py).
LONGEST_CYCLE = 10_000


def tokens_fit_the_vocabulary(job: Values) -> Iterator[tuple[str, str]]:
    size, algorithm = job["data.tokenizer.vocab_size"], job["data.tokenizer.algorithm"]
    if algorithm == "bpe" and size < BYTES_AND_SPECIALS:
        said = f"{size} holds not even the 256 bytes and the special tokens; write {BYTES_AND_SPECIALS} or more"
        yield "data.tokenizer.vocab_size", said


def joined_terms_are_named(job: Values) -> Iterator[tuple[str, str]]:
    if not job["data.normalize.join_terms"]:
        return
    if job["data.tokenizer.kind"] == "characters" or not job["data.tokenizer.terms"]:
        said = "true, and no terms are named that could be joined; name their files in data.tokenizer.terms"
        yield "data.normalize.join_terms", f"{said}, or write false"


def token_budget_is_something(job: Values) -> Iterator[tuple[str, str]]:
    budget = job["data.token_budget"]
    if budget is not None and parse_count(budget) < 1:
        yield "data.token_budget", f"{budget} is less than one token; write for example 10M, or null for all there is"


def split_leaves_something_to_train_on(job: Values) -> Iterator[tuple[str, str]]:
    if job["data.split.kind"] != "hash" or (test := job["data.split.test"]) is None:
        return
    validation = job["data.split.validation"]
    if Fraction(str(validation)) + Fraction(str(test)) >= 1:
        said = f"{test:g} and validation {validation:g} leave nothing to train on; together they must be below 1"
        yield "data.split.test", said


def split_fits_the_source(job: Values) -> Iterator[tuple[str, str]]:
    split, kind = job["data.split.kind"], job["data.kind"]
    if split == "files" and kind == "hub":
        said = (
            "`files` names files and a data set of the Hub has subsets; write `{kind: subsets, validation: validation}`"
        )
        yield "data.split.kind", said
    elif split == "subsets" and kind in ("text", "jsonl", "parquet", "conll"):
        yield "data.split.kind", f"`subsets` is for `kind: hub`; for {kind} write `files`, hash or first"
    elif split in ("files", "subsets") and kind == "mix":
        yield "data.split.kind", f"`{split}` can't say which of several sources is meant; write hash or first"


def subsets_are_three(job: Values) -> Iterator[tuple[str, str]]:
    if job["data.split.kind"] != "subsets":
        return
    train, validation, test = job["data.subset"], job["data.split.validation"], job["data.split.test"]
    if validation == train:
        yield "data.split.validation", f"{validation} is what data.subset trains on; name another subset"
    if test in (train, validation):
        yield "data.split.test", f"{test} is used for training or validation already; name another subset, or null"


def a_budget_has_one_source(job: Values) -> Iterator[tuple[str, str]]:
    if job["data.kind"] == "mix" and (budget := job["data.token_budget"]) is not None:
        said = f"{budget} would be used up by the first of several sources; what is trained on is limited by"
        yield "data.token_budget", f"{said} training.length (`10M tokens`), how much of each by its weight; write null"


def weights_make_a_cycle(job: Values) -> Iterator[tuple[str, str]]:
    weights = [source["weight"] for source in job["data.sources"] if isinstance(source, dict)]
    if len(weights) < len(job["data.sources"]) or not all(isinstance(weight, float | int) for weight in weights):
        return
    if (length := sum(cycle_of(weights))) > LONGEST_CYCLE:
        said = f"their proportions take {length:,} rows to come out even, more than {LONGEST_CYCLE:,}"
        yield "data.sources", f"{said}; write weights of fewer digits, such as 3 and 1, or 0.7, 0.2 and 0.1"


def cycle_of(weights: list[float]) -> tuple[int, ...]:
    """How many rows each source has in the shortest run of rows in which the proportions are exact.

    >>> cycle_of([0.7, 0.2, 0.1]), cycle_of([3.0, 1.0])
    ((7, 2, 1), (3, 1))
    """
    exact = [Fraction(str(weight)) for weight in weights]
    whole = math.lcm(*(weight.denominator for weight in exact))
    counts = [int(weight * whole) for weight in exact]
    common = math.gcd(*counts)
    return tuple(count // common for count in counts)


def addresses_hold_no_secret(job: Values) -> Iterator[tuple[str, str]]:
    """In every text of the section: where an address may stand is the schema's to say."""
    for name, value in job["data"].items():
        for text in _texts(value):
            if is_url(text) and (said := url_problem(text)):
                yield f"data.{name}", said


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


DATA_RULES = (
    addresses_hold_no_secret,
    tokens_fit_the_vocabulary,
    joined_terms_are_named,
    token_budget_is_something,
    split_leaves_something_to_train_on,
    split_fits_the_source,
    subsets_are_three,
    a_budget_has_one_source,
    weights_make_a_cycle,
)
