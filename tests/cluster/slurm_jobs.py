"""Small jobs for the real Slurm: the stages are programs of seconds, everything around them is the product's."""

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runjob.launchers.slurm import SlurmLauncher
from runjob.runner.snapshot import freeze
from runjob.schemas.plan import Plan
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import Attempt, RunDir, Status, read_json
from tests.cluster.slurm_cluster import Cluster
from tests.conftest import wait_until
from tests.launchers.helpers import PROGRAM, make_plan, make_run, steps_done
from tests.small_job import small_job


@dataclass
class Bench:
    """A home on the folder that the nodes share, and one launcher that looks at all of its runs."""

    cluster: Cluster
    home: Path
    launcher: SlurmLauncher

    def make(
        self, train: str, *sets: str, prepare: str | None = None, nodes: int = 1, stop_deadline_s: int = 20
    ) -> tuple[RunDir, Attempt]:
        """A run as `runjob` makes one, its stages the small program, ready to be submitted."""
        program = self.home / PROGRAM.name
        shutil.copyfile(PROGRAM, program)
        plan = make_plan(train, prepare=prepare, stop_deadline_s=stop_deadline_s)
        stages = tuple(
            dataclasses.replace(
                stage, argv=tuple(str(program) if word == str(PROGRAM) else word for word in stage.argv)
            )
            for stage in plan.stages
        )
        plan = dataclasses.replace(
            plan, stages=stages, resources=dataclasses.replace(plan.resources, nodes=nodes, memory=None)
        )
        run, attempt = make_run(self.home, plan)
        file = self.home / "small.yaml"
        file.write_text(small_slurm_job(self.cluster))
        (self.home / "text.txt").write_text("een twee drie\n")
        write_job_json(run.job, read_job(file, sets))
        freeze(run, samples=())
        return run, attempt

    def submit(
        self, train: str, *sets: str, prepare: str | None = None, nodes: int = 1, other: str | None = None
    ) -> RunDir:
        """`other` is what bash does on every node but the first in the place of the training."""
        run, attempt = self.make(train, *sets, prepare=prepare, nodes=nodes)
        plan = Plan.read(run.plan)
        if other is not None:
            last = plan.stages[-1]
            script = f'if [ "$1" != 0 ]; then {other}; fi; shift; exec "$@"'
            argv = ("bash", "-c", script, "bash", "{node}", *last.argv)
            plan = dataclasses.replace(plan, stages=(*plan.stages[:-1], dataclasses.replace(last, argv=argv)))
        self.launcher.submit(run, plan, attempt)
        return run

    def state(self, run: RunDir) -> Status:
        return self.launcher.state(run)

    def wait_for(self, run: RunDir, *states: str, attempt: int = 1, within_s: float = 60) -> Status:
        """`attempt` or a later one: what Slurm starts again runs for a moment before it has made its attempt."""

        def there() -> bool:
            now = self.state(run)
            return now.state in states and now.attempt >= attempt

        wait_until(there, within_s=within_s, what=lambda: f"{states}, is {self.state(run)}")
        return self.state(run)

    def wait_for_step(self, run: RunDir, step: int, within_s: float = 60) -> None:
        wait_until(lambda: steps_done(run) >= step, within_s=within_s, what=lambda: f"step {step} of {self.state(run)}")


def small_slurm_job(cluster: Cluster) -> str:
    return small_job(hardware=f"slurm: {{python: {cluster.python}}}")


def job_of(run: RunDir) -> str:
    return str(read_json(run.handle)["job"])


def text_of(paths: Sequence[Path]) -> str:
    return "\n".join(path.read_text(errors="replace") for path in paths)
