"""The `prepare` stage: `python -m runjob.runner.worker.prepare RUN`, one process before any process group exists. Finds
or builds the store of the job's data and writes down where it is."""

import sys
import time
from pathlib import Path

from runjob.data.prepare import Progress, prepare
from runjob.runner.worker.outcome import attempt_of, report_failure
from runjob.schemas.errors import RunjobError
from runjob.schemas.lifeline import die_with_parent
from runjob.schemas.read import read_job_json
from runjob.schemas.run import RunDir, cache_home, write_json

# progress.json is for eyes: a few times a second is enough
REPORT_S = 0.3


class Reporter:
    """Progress of the preparation to progress.json, at most every REPORT_S."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.last = 0.0

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self.last < REPORT_S:
            return
        self.last = time.monotonic()
        record = {"stage": "prepare", "step": 0, **vars(progress), "updated": time.time()}
        write_json(self.run.progress, record)


def main(run: RunDir) -> int:
    die_with_parent()
    job = read_job_json(run.job).job
    try:
        store = prepare(job.data, seed=job.seed, cache=cache_home(), report=Reporter(run))
    except RunjobError as error:
        report_failure(attempt_of(run), error, step=0)
        return error.exit_code
    write_json(run.data, {"store": str(store.path), "fingerprint": store.summary.fingerprint})
    return 0


if __name__ == "__main__":
    sys.exit(main(RunDir(Path(sys.argv[1]))))
