"""Plans built by hand whose stages are small real programs, and patience with a deadline."""

import time
from collections.abc import Callable
from pathlib import Path

from runjob.launchers.local import LocalLauncher
from runjob.schemas.lifeline import read_process
from runjob.schemas.plan import Batch, Plan, Resources, Stage
from runjob.schemas.run import Attempt, RunDir, Status

PROGRAM = Path(__file__).with_name("stage_program.py")


def make_plan(train: str, *, prepare: str | None = None, stop_deadline_s: int = 20) -> Plan:
    def stage(name: str, what: str) -> Stage:
        return Stage(name=name, argv=("{python}", str(PROGRAM), what, "{run}"), env={"FROM_PLAN": "a b'c"})

    before = (stage("prepare", prepare),) if prepare else ()
    return Plan(
        name="small",
        resources=Resources(
            device="cpu", nodes=1, ranks_per_node=1, gpus_per_node=0, threads=1, memory=None, time=None
        ),
        batch=Batch(global_batch=1, ranks=1, micro_batch=1, accumulation=1, micro_tokens=None),
        stages=(*before, stage("train", train)),
        deepspeed={},
        steps=3,
        tokens_per_step=1,
        parameters=None,
        unknown=(),
        stop_deadline_s=stop_deadline_s,
    )


def make_run(home: Path, plan: Plan, name: str = "small") -> tuple[RunDir, Attempt]:
    run = RunDir.create(home, name)
    run.plan.write_text(plan.to_json())
    run.job_yaml.write_text("name: small\n")
    attempt = run.new_attempt()
    run.write_status("pending", attempt=attempt.number)
    return run, attempt


def start(home: Path, train: str, *, prepare: str | None = None, stop_deadline_s: int = 20) -> tuple[RunDir, Attempt]:
    plan = make_plan(train, prepare=prepare, stop_deadline_s=stop_deadline_s)
    run, attempt = make_run(home, plan)
    LocalLauncher().submit(run, plan, attempt)
    return run, attempt


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)


def wait_for_state(run: RunDir, *states: str, seconds: float = 20.0) -> Status:
    launcher = LocalLauncher()
    wait_until(lambda: launcher.state(run).state in states, what=f"{states}, is {launcher.state(run)}", seconds=seconds)
    return launcher.state(run)


def is_alive(pid: int) -> bool:
    facts = read_process(pid)
    return facts is not None and not facts.zombie
