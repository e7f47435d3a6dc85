"""`ps status logs cancel`: the life of jobs, read from their directories."""

import dataclasses
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from runjob.runner.asking import state_soon, states_of
from runjob.runner.command import Command, add_id, add_id_or_group, add_json, add_watch, job_id
from runjob.runner.commands_fetch import fetch_at_the_end, tell
from runjob.runner.follow import has_ended
from runjob.runner.listing import SHOWN, Listing, list_jobs
from runjob.runner.run_tail import RunTail
from runjob.runner.runs import (
    Summary,
    ago,
    checkpoint_steps,
    damaged_files,
    is_elsewhere,
    newest_attempt,
    state_of,
    summarise,
)
from runjob.runner.text import print_json, table, watch
from runjob.schemas.errors import NotFoundError
from runjob.schemas.group import GroupDir, find_jobs
from runjob.schemas.plan import Plan
from runjob.schemas.run import ALIVE_STATES, STORED_STATES, RunDir, find_run, home
from runjob.schemas.upload import Upload, read_upload

POLL_S = 0.2


def run_ps(args: Namespace) -> int:
    def jobs() -> Listing:
        if args.group is None:
            return list_jobs(home(), everything=args.all or args.json)
        found = find_jobs(home(), args.group)
        runs = found.runs() if isinstance(found, GroupDir) else [found]
        return Listing(rows=tuple(map(summarise, runs, states_of(runs))), left_out=0)

    if args.json:
        print_json([dataclasses.asdict(row) for row in jobs().rows])
    elif args.watch:
        watch(lambda: ps_table(jobs()))
    else:
        print(ps_table(jobs()))
    return 0


def ps_table(jobs: Listing) -> str:
    if not jobs.rows:
        return f"no jobs under {home()}"
    shown, classes = class_column(jobs.rows)
    head = ["ID", "STATE", *shown, "STEP", "LOSS", "AGE", "LAUNCHER", "MESSAGE"]
    rows = [
        [row.id, row.state, *kind, steps(row), loss(row), ago(row.created), row.launcher, row.message]
        for row, kind in zip(jobs.rows, classes, strict=True)
    ]
    more = f"\n{jobs.left_out:,} more that have ended: runjob ps --all" if jobs.left_out else ""
    return table(head, rows) + more


def class_column(rows: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Its head and a cell a row; neither where no class says more than the state, as that of most lost ones."""
    known = [row.failure if row.failure != row.state else None for row in rows]
    if not any(known):
        return [], [[] for _ in rows]
    return ["CLASS"], [[kind or "-"] for kind in known]


def steps(row: Summary) -> str:
    """`40/200`; `from 40/200` while the attempt has made no step of its own."""
    if row.step is None:
        return "-"
    said = f"{row.step}/{row.steps}" if row.steps is not None else str(row.step)
    return said if row.goes_on_from is None else f"from {said}"


def loss(row: Summary) -> str:
    return f"{row.loss:.4f}" if row.loss is not None else "-"


def run_status(args: Namespace) -> int:
    run = find_jobs(home(), args.id)
    if isinstance(run, GroupDir):
        from runjob.runner.text_group import show_group

        return show_group(run, as_json=args.json, watching=args.watch)
    if args.json:
        row, upload = summarise(run, state_soon(run)), read_upload(run)
        remote = None if upload is None else dataclasses.asdict(upload)
        more = {"directory": str(run.path), "checkpoints": checkpoint_steps(run), "remote": remote}
        print_json({**dataclasses.asdict(row), **more, "damaged": damaged_files(run)})
    elif args.watch:
        watch(lambda: status_text(run), until=lambda: has_ended(state_soon(run)))
    else:
        print(status_text(run))
    return 0


def status_text(run: RunDir) -> str:
    status = state_soon(run)
    row = summarise(run, status)
    saved = checkpoint_steps(run)
    upload = read_upload(run)
    profiles = sorted(run.profile.glob("steps-*.txt"))
    facts = [
        ("id", row.id),
        ("state", row.state),
        ("message", row.message),
        *([("class", row.failure)] if row.failure else []),
        ("attempt", str(row.attempt)),
        ("step", steps(row) + ("" if row.goes_on_from is None else f": attempt {row.attempt} has made no step yet")),
        ("loss", loss(row)),
        ("checkpoints", ", ".join(map(str, saved)) or ("none here" if is_elsewhere(run) else "none")),
        *(("damaged", said) for said in damaged_files(run)),
        *([("profile", ", ".join(map(str, profiles)))] if profiles else []),
        *([("remote", upload.describe())] if upload is not None else []),
        *([("to send it", f"runjob upload {run.id}")] if left_behind(row, upload) else []),
        ("launcher", row.launcher),
        ("submitted", f"{ago(row.created)} ago"),
        ("last sign", f"{ago(row.updated)} ago"),
        ("directory", str(run.path)),
    ]
    return "\n".join(f"{name:<12} {value}".rstrip() for name, value in facts)


def left_behind(row: Summary, upload: Upload | None) -> bool:
    """Has it ended, and not everything is at its `output.remote`?"""
    ended = row.state in STORED_STATES and row.state not in ALIVE_STATES
    return ended and upload is not None and bool(upload.problem())


def run_logs(args: Namespace) -> int:
    from runjob.runner.requeue import begin_next, goes_on

    run = find_run(home(), args.id)
    tails = RunTail(run, since=newest_attempt(run).number)
    followed = False  # has it ended before our eyes? Nothing is rented or fetched for somebody who only reads
    while True:
        status = state_of(run)
        followed |= args.follow and not has_ended(status)
        for line in tails.new_lines(args.rank, status):
            print(line, flush=args.follow)
        for damaged in tails.events.take_damaged():
            print(f"runjob: {run.events}: a line is damaged and left out: {damaged}", file=sys.stderr)
        if followed and has_ended(status) and (why := goes_on(run, status)):
            print(why, flush=True)
            if not begin_next(run, status, told=tell):
                break
        elif not args.follow or has_ended(status):
            break
        time.sleep(POLL_S)
    if args.rank is not None and not tails.logs:
        raise NotFoundError(f"{run.id}: attempt {newest_attempt(run).number} has no log of rank {args.rank}")
    if followed and has_ended(status) and status.state != "lost":
        fetch_at_the_end(run)
    return 0


def run_cancel(args: Namespace) -> int:
    from runjob.runner.cancel import ASKED, WHILE_PREEMPTED, cancel, wait_for_end

    run = find_jobs(home(), args.id)
    if isinstance(run, GroupDir):
        from runjob.runner.follow_group import cancel_group

        return cancel_group(run, wait=not args.no_wait)
    said = cancel(run)
    print(said, flush=True)
    if args.no_wait:
        return 0
    status = state_soon(run)
    if status.state in ALIVE_STATES or said.endswith(ASKED):  # it may have ended since
        deadline_s = Plan.read(run.plan).stop_deadline_s
        status = wait_for_end(run, timeout_s=deadline_s + 30)
        print(f"{run.id} is {status.state}: {status.message}")
        if has_ended(status):
            fetch_at_the_end(run)
    elif status.state == "cancelled" and status.message == WHILE_PREEMPTED:
        # nobody goes on there now: its last checkpoint comes home, and a rented machine is ended
        fetch_at_the_end(run)
    return 0


def configure_ps(parser: ArgumentParser) -> None:
    shown = f"all jobs, not only those that run and the newest {SHOWN} of the others (--json has all)"
    parser.add_argument("group", metavar="GROUP", nargs="?", type=job_id, help="only the cells of this matrix")
    parser.add_argument("--all", action="store_true", help=shown)
    add_json(parser)
    add_watch(parser)


def configure_status(parser: ArgumentParser) -> None:
    add_id_or_group(parser)
    add_json(parser)
    add_watch(parser)


def configure_logs(parser: ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    parser.add_argument("--rank", type=int, metavar="R", help="the log of one rank instead of the stages'")


def configure_cancel(parser: ArgumentParser) -> None:
    add_id_or_group(parser)
    parser.add_argument("--no-wait", action="store_true", help="return at once instead of when the job has saved")


COMMANDS = (
    Command(
        name="ps",
        examples=(
            "runjob ps",
            "runjob ps --all --json",
            "runjob ps --watch",
        ),
        usage="[GROUP]",
        summary="all jobs here",
        configure=configure_ps,
        run=run_ps,
    ),
    Command(
        name="status",
        examples=(
            "runjob status latest",
            "runjob status gpt2_dutch-1a2b --json",
        ),
        usage="ID [--watch]",
        summary="one job",
        configure=configure_status,
        run=run_status,
    ),
    Command(
        name="logs",
        examples=(
            "runjob logs latest -f",
            "runjob logs gpt2_dutch-1a2b --rank 1",
        ),
        usage="ID [-f] [--rank R]",
        summary="what it wrote",
        configure=configure_logs,
        run=run_logs,
    ),
    Command(
        name="cancel",
        examples=(
            "runjob cancel latest",
            "runjob cancel gpt2_dutch-1a2b --no-wait",
        ),
        usage="ID",
        summary="save and stop",
        configure=configure_cancel,
        run=run_cancel,
    ),
)
