"""The page of a report: head, controls, curves, tables, and the two scripts, of which the browser is told the hashes,
so that it runs no other."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from runjob.runner.comparison import Row as Compared
from runjob.runner.curves import Curve, curves_of, in_one_sentence, to_json
from runjob.runner.html import Content, Html, joined, section, tag, void
from runjob.runner.report import GENERATOR, Reported, day_and_time
from runjob.runner.report_tables import (
    advice_list,
    attempts_table,
    data_table,
    facts_table,
    runs_table,
    samples_list,
    statistics_text,
)

AXES = (("step", "Steps"), ("tokens", "Tokens"), ("seconds", "Working time"))
SECTIONS = (
    ("runs", "Runs"),
    ("curves", "Curves"),
    ("attempts", "Attempts"),
    ("advice", "Advice"),
    ("samples", "Samples"),
    ("data", "Data and masking"),
    ("configuration", "Configuration"),
    ("environment", "Environment"),
    ("ends", "Why they ended"),
)


def build_page(runs: Sequence[Reported], rows: Sequence[Compared], *, plotly: str, version: str, now: float) -> str:
    """The whole document."""
    names = [run.id for run in runs]
    curves = curves_of([run.history for run in runs])
    data = page_data(runs, curves)
    own = _resource("report.js")
    title = f"Report on {names[0]}" if len(runs) == 1 else f"Report on {len(runs)} runs"
    made = f"Made on {day_and_time(now)} by runjob {version}. It holds all that it shows and asks no network."
    body = joined(
        [
            tag("a", "Skip to the contents", href="#main", class_="skip"),
            tag("header", tag("h1", title), tag("p", made, class_="faint"), navigation()),
            tag("main", *sections(runs, rows, curves, names), id="main"),
            tag("footer", tag("p", f"runjob {version}. Plots by Plotly.js (MIT).")),
            Html(f'<script type="application/json" id="report-data">{data}</script>'),
            *(Html(f"<script>{script}</script>") for script in (plotly, own)),
        ]
    )
    head = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{GENERATOR}
<meta http-equiv="Content-Security-Policy" content="{policy(plotly, own)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{tag("title", title)}
<style>
{_resource("report.css")}</style>
</head>
"""
    return f"{head}<body>\n{body}\n</body>\n</html>\n"


def _resource(name: str) -> str:
    return (files("runjob.runner") / name).read_text(encoding="utf-8")


def policy(*scripts: str) -> str:
    """Nothing from anywhere, and of scripts only these: what a run's own text would smuggle in stays text."""
    sums = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in sums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def page_data(runs: Sequence[Reported], curves: Sequence[Curve]) -> str:
    """For report.js. No `<` stands in it, so nothing in it can end the element that holds it."""
    names = [run.id for run in runs]
    drawn = [{**to_json(curve), "id": place} for place, curve in enumerate(curves)]
    marks = [mark for number, run in enumerate(runs) for mark in resume_marks(number, run)]
    value = {"runs": [{"id": name} for name in names], "curves": drawn, "marks": marks}
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def resume_marks(number: int, run: Reported) -> list[dict[str, Any]]:
    """Where each attempt but the first began, on every axis."""
    return [
        {
            "run": number,
            "attempt": one.attempt,
            "step": one.first_step,
            "tokens": run.history.tokens_at({"step": one.first_step}),
            "seconds": round(sum(earlier.seconds for earlier in run.history.stretches[:place]), 3),
            "taken_back": run.history.stretches[place - 1].taken_back,
        }
        for place, one in enumerate(run.history.stretches)
        if place
    ]


def navigation() -> Html:
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, title in SECTIONS]
    return tag("nav", tag("ul", *links), aria_label="Sections")


def sections(
    runs: Sequence[Reported], rows: Sequence[Compared], curves: Sequence[Curve], names: Sequence[str]
) -> list[Html]:
    contents: dict[str, Content] = {
        "runs": runs_table(rows),
        "curves": joined([controls(names), curve_figures(curves, names)])
        if curves
        else tag("p", "Nothing was recorded."),
        "attempts": _each(runs, attempts_table, titled=False),
        "advice": _each(runs, advice_list),
        "samples": _each(runs, samples_list),
        "data": _each(runs, _data, titled=False),
        "configuration": configuration(runs),
        "environment": joined(
            [facts_table("Where they ran", runs, "environment"), facts_table("The frozen code", runs, "code")]
        ),
        "ends": _each(runs, lambda run: tag("pre", f"{run.status.state}\n{run.why}", tabindex="0")),
    }
    return [section(name, title, contents[name]) for name, title in SECTIONS]


def _each(runs: Sequence[Reported], part: Callable[[Reported], Html], *, titled: bool = True) -> Html:
    """A part of every run, under its id where there are several and the part does not name it."""
    heads = titled and len(runs) > 1
    return joined(joined([tag("h3", run.id) if heads else "", part(run)]) for run in runs)


def _data(run: Reported) -> Html:
    return joined(filter(None, [data_table(run), statistics_text(run)]))


def configuration(runs: Sequence[Reported]) -> Html:
    whole = facts_table("Configuration, with where each value came from", runs, "job")
    engine = facts_table("deepspeed.json", runs, "deepspeed")
    return joined(
        [
            tag("details", tag("summary", "Every value of the job"), whole, class_="configuration", open=True),
            tag("details", tag("summary", "The compiled DeepSpeed file"), engine, class_="configuration"),
        ]
    )


def controls(names: Sequence[str]) -> Html:
    """What is drawn over what; of several runs, which ones."""
    axes = [
        tag("label", void("input", type="radio", name="axis", value=value, checked=value == "step"), f" {title}")
        for value, title in AXES
    ]
    parts = [tag("fieldset", tag("legend", "Over"), *axes)]
    scale = tag("label", void("input", type="checkbox", id="log-scale"), " Logarithmic")
    parts.append(tag("fieldset", tag("legend", "Upwards"), scale))
    if len(names) > 1:
        boxes = [
            tag(
                "label",
                void("input", type="checkbox", id=f"run-{number}", checked=True),
                " ",
                swatch(number),
                f" {name}",
            )
            for number, name in enumerate(names)
        ]
        parts.append(tag("fieldset", tag("legend", "Runs"), *boxes))
    return tag("div", *parts, class_="controls")


# As Plotly's own dashes, in the order of report.js
DASHES = ("none", "9 9", "3 3", "9 3 3 3")


def swatch(run: int) -> Html:
    """A line as the run's is drawn."""
    dash = DASHES[(run + run // 8) % len(DASHES)]
    line = void(
        "line", x1="0", y1="3", x2="36", y2="3", stroke=f"var(--run-{run % 8})", stroke_width="3", stroke_dasharray=dash
    )
    return tag("svg", line, width="36", height="6", class_="swatch", aria_hidden="true")


def curve_figures(curves: Sequence[Curve], names: Sequence[str]) -> Html:
    marks = (
        "A vertical line with a number is where that attempt took up the work; it is dotted where steps had been lost."
    )
    without = tag(
        "noscript", tag("p", "The curves are drawn by a script of this page, which your browser does not run.")
    )
    figures = [curve_figure(place, curve, names) for place, curve in enumerate(curves)]
    return joined([tag("p", marks, class_="faint"), without, tag("div", *figures, class_="curves")])


def curve_figure(place: int, curve: Curve, names: Sequence[str]) -> Html:
    head = ["Run", "Step", "Tokens", "Seconds", curve.unit or "Value"]
    titles = tag("tr", *(tag("th", title, scope="col") for title in head))
    values = tag(
        "table", tag("caption", f"{curve.title}, every value that is drawn"), tag("thead", titles), tag("tbody")
    )
    label = f"Values of {curve.title}"
    return tag(
        "figure",
        tag("figcaption", tag("h3", curve.title), *thinned(curve, names)),
        tag("div", id=f"plot-{place}", class_="plot", role="img", aria_label=in_one_sentence(curve, names)),
        tag(
            "details",
            tag("summary", label),
            tag("div", values, class_="scroll", tabindex="0", role="region", aria_label=label),
            id=f"values-{place}",
        ),
    )


def thinned(curve: Curve, names: Sequence[str]) -> list[Html]:
    """Says where not every value is drawn."""
    return [
        tag(
            "p",
            f"{names[one.run]}: {len(one.step):,} of {one.total:,} values, with the extremes of each stretch.",
            class_="faint",
        )
        for one in curve.points
        if len(one.step) < one.total
    ]
