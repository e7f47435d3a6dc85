"""`report ID...`: one HTML page about runs, to look at, to send, to keep."""

import importlib.metadata
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from runjob.runner.command import Command, job_id
from runjob.runner.comparison import compare_runs, find_runs
from runjob.runner.run_facts import look_at
from runjob.schemas.run import home


def run_report(args: Namespace) -> int:
    from runjob.runner.report import gather, read_plotly, write_report
    from runjob.runner.report_page import build_page

    plotly = read_plotly()
    seen = look_at(find_runs(home(), args.ids))
    rows = compare_runs(seen, args.metric)
    version = importlib.metadata.version("runjob")
    page = build_page(gather(seen), rows, plotly=plotly, version=version, now=time.time())
    write_report(args.output, page)
    print(args.output)
    return 0


def configure_report(parser: ArgumentParser) -> None:
    named = "jobs' ids; the name of a job stands for all its runs, a group for its cells"
    parser.add_argument("ids", metavar="ID|GROUP", nargs="+", type=job_id, help=named)
    kept = "the file to write (default: report.html); only an earlier report is written over"
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, default=Path("report.html"), help=kept)
    shown = "what the table goes by, as the eval records call it (repeatable; default: what the jobs go by)"
    parser.add_argument("--metric", action="append", default=[], metavar="NAME", help=shown)


COMMANDS = (
    Command(
        name="report",
        usage="ID...",
        summary="a page with the curves",
        configure=configure_report,
        run=run_report,
        examples=("runjob report latest", "runjob report mine-1a2b mine-3c4d -o curves.html"),
    ),
)
