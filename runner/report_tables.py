"""The parts of a report that are words and tables: runs, attempts, data and masking, configuration, environment."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from runjob.runner.comparison import ON_OTHER_DATA, on_other_data, short_names
from runjob.runner.comparison import Row as Compared
from runjob.runner.grid import duration, in_words
from runjob.runner.history import History
from runjob.runner.html import Content, Html, Row, joined, table, tag
from runjob.runner.report import Reported, day_and_time
from runjob.runner.run_facts import Fact, Group
from runjob.schemas.direction import best_of

SIDES = ("train", "validation", "test")
MISSING = "-"


def runs_table(rows: Sequence[Compared]) -> Html:
    """As `compare` has it: what varies between the jobs, and how well each did."""
    metrics = list(rows[0].metrics)
    varying = list(dict.fromkeys(path for row in rows for path in row.varying))
    head = ["Run", "State", *short_names(varying), "Step", "Tokens"]
    for metric in metrics:
        head += [metric, f"best {metric}", "at step"]
    head += ["Tokens/s", "Working time"]
    numbers = range(2 + len(varying), len(head))
    lowest = {metric: best_of((row.metrics[metric].best for row in rows), metric) for metric in metrics}
    marked = len(rows) > 1 and not on_other_data(rows)
    drawn = []
    for row in rows:
        steps = f"{row.step:,}" if row.steps is None else f"{row.step:,} of {row.steps:,}"
        cells: list[Content] = [row.id, row.state]
        cells += [in_words(row.varying[path]) if path in row.varying else MISSING for path in varying]
        cells += [steps, _whole(row.tokens)]
        for metric in metrics:
            one = row.metrics[metric]
            best = marked and one.best is not None and one.best == lowest[metric]
            said = joined([tag("span", "best ", class_="best") if best else "", _number(one.best)])
            cells += [_number(one.last), said, _whole(one.best_step)]
        rate = MISSING if row.tokens_per_s is None else f"{row.tokens_per_s:,.0f}"
        drawn.append(Row(cells=[*cells, rate, duration(row.seconds)]))
    drawn_table = table("How the runs did", head, drawn, numbers=numbers)
    return joined([drawn_table, tag("p", ON_OTHER_DATA)]) if on_other_data(rows) else drawn_table


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4f}"


def _whole(value: int | None) -> str:
    return MISSING if value is None else f"{value:,}"


def attempts_table(run: Reported) -> Html:
    rows = [
        Row(
            cells=[
                str(one.attempt),
                f"{one.first_step:,}",
                f"{one.last_step:,}",
                f"{one.taken_back:,}",
                day_and_time(one.began),
                duration(one.seconds),
                end,
            ]
        )
        for one, end in zip(run.history.stretches, run.ends, strict=True)
    ]
    head = ["Attempt", "From step", "To step", "Recorded steps made again", "Began", "Took", "How it ended"]
    return table(f"Attempts of {run.id}", head, rows, numbers=range(1, 4))


def data_table(run: Reported) -> Html:
    """What was trained on, as far as it is known here."""
    facts = [Row(cells=[name, value]) for name, value in (*_data_facts(run), *_masking_facts(run))]
    return table(f"Data of {run.id}", ["What", "Value"], facts)


def _data_facts(run: Reported) -> Iterator[tuple[str, str]]:
    job = run.facts["job"]
    for path in ("data.kind", "data.path", "data.layout", "data.sequence_length", "data.split.kind"):
        if path in job:
            yield path, in_words(job[path].value)
    for name, fact in run.facts["data"].items():
        yield name, in_words(fact.value)
    if not run.store:
        yield "documents", "unknown: the prepared store is not on this machine"
        return
    for side in SIDES:
        if (counted := run.store.get(side)) is not None:
            yield (
                f"{side} side",
                f"{counted['documents']:,} documents, {counted['tokens']:,} tokens, {counted['bytes']:,} bytes",
            )
    left_out = {reason: count for reason, count in run.store.get("left_out", {}).items() if count}
    yield "left out", ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "nothing"
    if "tokenizer" in run.store:
        yield "vocabulary", f"{run.store['tokenizer']['vocab_size']:,}"


def _masking_facts(run: Reported) -> Iterator[tuple[str, str]]:
    """What the objective was told to hide, and what share of the tokens the recorded steps really predicted."""
    job = run.facts["job"]
    for path, fact in job.items():
        if path.startswith("objective."):
            yield path, in_words(fact.value)
    shares = predicted_shares(run.history, int(job["training.global_batch"].value))
    if shares:
        mean = sum(shares) / len(shares)
        said = f"{mean:.2%} of the tokens that went in, {min(shares):.2%} to {max(shares):.2%} a step"
        yield "predicted", f"{said} (of {len(shares):,} recorded steps)"


def predicted_shares(history: History, global_batch: int) -> list[float]:
    """By each record's own rates: the tokens of its step are the samples of its step times tokens a sample."""
    return [
        record["predicted"] * record["samples_per_s"] / (record["tokens_per_s"] * global_batch)
        for record in history.train
        if record.get("tokens_per_s") and record.get("samples_per_s")
    ]


def statistics_text(run: Reported) -> Html | None:
    """What `prepare --stats` measured, where it was asked to."""
    if not run.statistics:
        return None
    return tag(
        "details",
        tag("summary", f"Statistics of the data of {run.id}"),
        tag("pre", json.dumps(run.statistics, indent=2, ensure_ascii=False), tabindex="0"),
    )


def facts_table(name: str, runs: Sequence[Reported], group: Group) -> Html:
    """A row a value, a column a run; where they disagree the row says so in words and in colour."""
    names = dict.fromkeys(one for run in runs for one in run.facts[group])
    several = len(runs) > 1
    head = ["Value", *(run.id for run in runs), *(["Same?"] if several else [])]
    rows = []
    for one in names:
        facts = [run.facts[group].get(one) for run in runs]
        differs = any(_value(fact) != _value(facts[0]) for fact in facts)
        same = ["differs" if differs else "same"] if several else []
        rows.append(Row(cells=[one, *map(_fact, facts), *same], differs=differs))
    return table(name, head, rows)


def _value(fact: Fact | None) -> Any:  # noqa: ANN401 - any JSON value, or that there is none
    return (fact is not None, fact and fact.value)


def _fact(fact: Fact | None) -> Content:
    if fact is None:
        return MISSING
    return joined([in_words(fact.value), tag("small", fact.origin) if fact.origin else ""])


def advice_list(run: Reported) -> Html:
    told = run.history.of("advice")
    if not told:
        return tag("p", "Nothing was said.", class_="faint")
    return tag("ul", *(tag("li", f"Step {record['step']:,}: {record['advice']}") for record in told))


def samples_list(run: Reported) -> Html:
    if not run.samples:
        command = tag("code", f"runjob generate {run.id}")
        return tag("p", "None yet: ", command, " (or fill-mask) keeps what it makes of the job's own prompts.")
    return joined(
        joined([tag("p", tag("strong", "Prompt: "), sample.prompt), tag("blockquote", sample.text)])
        for sample in run.samples
    )
