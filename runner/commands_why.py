"""`runjob why`: the class of a failure, what shows it, what to change and what to type."""

from argparse import ArgumentParser, Namespace

from runjob.runner.asking import state_soon
from runjob.runner.command import Command, add_id, add_json
from runjob.runner.text import print_json
from runjob.runner.why.answer import answer, as_json, details
from runjob.schemas.run import find_run, home


def run_why(args: Namespace) -> int:
    run = find_run(home(), args.id)
    status = state_soon(run)
    found = answer(run, status)
    if args.json:
        print_json(as_json(found))
        return 0
    print(found.head)
    print(f"{run.id} is {status.state}" + (f": {status.message}" if status.message else ""))
    print("\n".join(details(found)))
    return 0


def configure_why(parser: ArgumentParser) -> None:
    add_id(parser)
    add_json(parser)


COMMANDS = (
    Command(
        name="why",
        examples=(
            "runjob why latest",
            "runjob why gpt2_dutch@latest --json",
        ),
        usage="ID",
        summary="why it ended, and what to change",
        configure=configure_why,
        run=run_why,
    ),
)
