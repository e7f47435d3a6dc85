"""What was rented for a job, for how much an hour, from when to when (<run>/aws/rented.jsonl), and the end of it, which
is written there too. A budget is the job's and not the attempt's, so every machine that it ever had has its line."""

import json
import time

from runjob.launchers.aws_client import Clients
from runjob.launchers.aws_instance import Rented, end_machines, find_machines
from runjob.launchers.aws_prices import cost_of
from runjob.launchers.aws_survey import settings_of
from runjob.schemas.errors import RunjobError
from runjob.schemas.run import RunDir, write_atomic

# of rented.jsonl
Line = dict[str, str | float | None]


def record(run: RunDir, attempt: int, machine: Rented) -> None:
    """One line a machine; when it ended is filled in by whoever ends it, or sees that it has."""
    line: Line = {"machine": machine.id, "attempt": attempt, "kind": machine.kind, "region": machine.region}
    line |= {"spot": int(machine.spot), "usd_hour": cost_of(settings_of(run), machine.region).hourly}
    _write(run, [*read_rented(run), {**line, "from": machine.launched, "to": None}])


def record_end(run: RunDir, machine: str) -> None:
    lines = read_rented(run)
    for line in lines:
        if line["machine"] == machine and line["to"] is None:
            line["to"] = time.time()
    _write(run, lines)


def read_rented(run: RunDir) -> list[Line]:
    file = run.aws / "rented.jsonl"
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    except ValueError as error:
        way = "`runjob aws ls` shows what is rented by what the account says"
        raise RunjobError(f"{file}: damaged: {error}; {way}") from error


def _write(run: RunDir, lines: list[Line]) -> None:
    run.aws.mkdir(mode=0o700, exist_ok=True)
    write_atomic(run.aws / "rented.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))


def rented_by(run: RunDir, attempt: int) -> list[str]:
    return [str(line["machine"]) for line in read_rented(run) if line["attempt"] == attempt]


def spent(run: RunDir) -> float:
    """What earlier machines of this job have cost at their list price; one whose end nobody saw counts until now."""
    return sum(map(cost_of_line, read_rented(run)))


def hours_of(line: Line) -> float:
    end = time.time() if line["to"] is None else float(line["to"])
    return (end - float(line["from"] or end)) / 3600


def cost_of_line(line: Line) -> float:
    return hours_of(line) * float(line["usd_hour"] or 0.0)


def end_all(clients: Clients, run: RunDir) -> list[str]:
    """Every machine that carries the job's tag, and its end in the books, also of one that nobody wrote down."""
    there = find_machines(clients, job=run.id)
    known = {line["machine"] for line in read_rented(run)}
    for machine in there:
        if machine.id not in known:
            record(run, run.read_status().attempt, machine)
    end_machines(clients, [machine.id for machine in there])
    for machine in there:
        record_end(run, machine.id)
    return [machine.id for machine in there]


def give_up(clients: Clients, run: RunDir) -> str:
    """After a submission that failed: what to add to the message."""
    try:
        ended = end_all(clients, run)
    except RunjobError as error:
        return f"; its machine may still be rented ({error}): runjob aws down {run.id}"
    return f"; {', '.join(ended)} was ended" if ended else ""


def ended_text(run: RunDir, machine: str) -> str:
    for line in read_rented(run):
        if line["machine"] == machine and line["usd_hour"] is not None:
            return f"{machine} was ended after {hours_of(line):.2f} h, ${cost_of_line(line):.2f} at the list price"
    return f"{machine} was ended"
