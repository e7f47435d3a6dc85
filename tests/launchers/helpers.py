"""Plans built by hand whose stages are small real programs."""

from pathlib import Path

from runjob.launchers.local import LocalLauncher
from runjob.schemas.plan import Batch, Plan, Resources, Stage
from runjob.schemas.processes import read_process
from runjob.schemas.run import Attempt, RunDir, Status, read_json
from tests.conftest import wait_until

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
    plan.write(run)
    run.job_yaml.write_text("name: small\n")
    attempt = run.new_attempt()
    run.write_status("pending", attempt=attempt.number)
    return run, attempt


def start(home: Path, train: str, *, prepare: str | None = None, stop_deadline_s: int = 20) -> tuple[RunDir, Attempt]:
    plan = make_plan(train, prepare=prepare, stop_deadline_s=stop_deadline_s)
    run, attempt = make_run(home, plan)
    LocalLauncher().submit(run, plan, attempt)
    return run, attempt


def wait_for_state(run: RunDir, *states: str, within_s: float = 20) -> Status:
    launcher = LocalLauncher()
    wait_until(
        lambda: launcher.state(run).state in states,
        within_s=within_s,
        what=lambda: f"{states}, is {launcher.state(run)}",
    )
    return launcher.state(run)


def steps_done(run: RunDir) -> int:
    return int(read_json(run.progress)["step"]) if run.progress.exists() else 0


def is_alive(pid: int) -> bool:
    facts = read_process(pid)
    return facts is not None and not facts.zombie
