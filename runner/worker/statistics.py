"""`python -m runjob.runner.worker.statistics RUN`: numbers about the store that the run's data.json names, written to
RUN/statistics.json for whoever prints them (`runjob prepare FILE --stats`)."""

import sys
import tempfile
from pathlib import Path

from runjob.data.statistics import measure_store
from runjob.data.store import Store
from runjob.runner.worker.outcome import attempt_of, report_failure
from runjob.schemas.errors import RunjobError
from runjob.schemas.job_json import read_job_json
from runjob.schemas.lifeline import die_with_parent
from runjob.schemas.run import RunDir, write_json


def main(run: RunDir) -> int:
    die_with_parent()
    try:
        store = Store.open(Path(run.read_data()["store"]))
        with tempfile.TemporaryDirectory(dir=store.path.parent, prefix=".statistics-") as scratch:
            statistics = measure_store(store, read_job_json(run.job).job, scratch=Path(scratch) / "copies")
    except RunjobError as error:
        print(f"runjob: {error}", file=sys.stderr)
        report_failure(attempt_of(run), error, step=0)
        return error.exit_code
    write_json(run.statistics, statistics.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main(RunDir(Path(sys.argv[1]))))
