"""`doctor`: is this machine fit to train, and what is to be typed where it is not."""

import dataclasses
from argparse import ArgumentParser, Namespace
from pathlib import Path

from runjob.runner.command import Command, add_json
from runjob.runner.text import print_json


def run_doctor(args: Namespace) -> int:
    from runjob.runner.doctor import examine
    from runjob.schemas.run import home

    findings = examine(home(), None if args.job is None else Path(args.job))
    failed = [finding for finding in findings if finding.verdict == "fail"]
    if args.json:
        print_json([dataclasses.asdict(finding) for finding in findings])
        return 1 if failed else 0
    for one in findings:
        print(f"{one.verdict:<5} {one.name:<10} {one.said}")
        if one.remedy:
            print(f"{'':16} {one.remedy}")
    warned = sum(finding.verdict == "warn" for finding in findings)
    print(f"{len(findings)} looked at: {len(failed)} in the way, {warned} to know of")
    return 1 if failed else 0


def configure_doctor(parser: ArgumentParser) -> None:
    parser.add_argument("--job", metavar="JOB.yaml", help="and has it what this job needs?")
    add_json(parser)


COMMANDS = (
    Command(
        name="doctor",
        usage="[--job JOB]",
        summary="is this machine fit to train?",
        configure=configure_doctor,
        run=run_doctor,
        examples=("runjob doctor", "runjob doctor --job jobs/gpt2_dutch_small.yaml --json"),
    ),
)
