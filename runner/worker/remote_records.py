"""The small files of a run and how they get to `output.remote`: whole, when they have changed, and never as the word of
an attempt that another has taken over from."""

import json
import secrets
import socket
import time
from pathlib import Path

from runjob.runner.worker.remote_run import RemoteRun, claim_of
from runjob.runner.worker.remote_store import Store
from runjob.schemas.run import Attempt, RunDir, write_json

# What changes all the time and is no use to a resume
NEWS = ("progress.json", "status.json")
# What a resume reads, and people do; relative to the run directory, in the order in which they are put
KEPT = (
    "job.yaml",
    "job.json",
    "plan.json",
    "deepspeed.json",
    "data.json",
    "init.json",
    "statistics.json",
    "wandb.json",
    "handle.json",
    "stream/*.jsonl",
    "attempts/*/*.json",
    "attempts/*/*.jsonl",
)


class Superseded(Exception):
    """Somebody goes on with the job elsewhere: from now on the copy there is theirs."""


class Records:
    def __init__(self, run: RunDir, attempt: Attempt, store: Store) -> None:
        self.run, self.attempt, self.store = run, attempt, store
        self.put_before: dict[str, tuple[int, int, int]] = {}

    def claim(self) -> bool:
        """Make this attempt's uploader the one whose word counts. False for one that was killed: it finds its own
        claim."""
        self.refuse_superseded()
        mine = self.attempt.path / "claim.json"
        if not mine.exists():
            write_json(mine, {"token": secrets.token_hex(8), "host": socket.gethostname(), "time": time.time()})
        there = self.store.read(claim_of(self.attempt.number))
        if there is None:
            self.store.put(mine, claim_of(self.attempt.number))
            return True
        if there != mine.read_bytes():
            raise Superseded(
                f"attempt {self.attempt.number} of this job runs on {_host(there)} too and was there first"
            )
        return False

    def refuse_superseded(self) -> None:
        """A later attempt that was begun elsewhere has claimed the copy."""
        there = self.store.read(claim_of(self.attempt.number + 1))
        if there is not None:
            raise Superseded(f"attempt {self.attempt.number + 1} of this job was begun on {_host(there)}")

    def put_start(self, remote: RemoteRun) -> None:
        """Everything but events, which belong to the newest checkpoint there until there is a newer one."""
        self._put_changed(KEPT)
        remote.put_code(self.run.code)

    def put_news(self) -> None:
        self.refuse_superseded()
        self._put_changed((*KEPT, *NEWS))

    def put_all(self, *, final: bool) -> None:
        """Before a checkpoint counts, and at the end: with the events, cut at a whole line."""
        self.refuse_superseded()
        self._put_changed(KEPT if final else (*KEPT, *NEWS))
        self._put_changed(("progress.json", "events.jsonl") if final else ("events.jsonl",))

    def put_status(self, state: str, message: str) -> None:
        """How it ended. The supervisor writes it here only when this has been brought away."""
        status = {"state": state, "attempt": self.attempt.number, "updated": time.time(), "message": message}
        self.store.put_bytes((json.dumps(status, indent=2, ensure_ascii=False) + "\n").encode(), "status.json")

    def _put_changed(self, patterns: tuple[str, ...]) -> None:
        for pattern in patterns:
            for path in sorted(self.run.path.glob(pattern)):
                # Whoever adopts the run knows nothing of where a copy's inputs were put
                moved = path == self.run.job and self.run.job_of_home.exists()
                source = self.run.job_of_home if moved else path
                self._put_if_changed(source, path.relative_to(self.run.path).as_posix())

    def _put_if_changed(self, path: Path, name: str) -> None:
        facts = path.stat()
        signature = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if self.put_before.get(name) != signature:
            data = path.read_bytes()
            if name.endswith(".jsonl"):
                data = data[: data.rfind(b"\n") + 1]  # somebody may be in the middle of a line
            self.store.put_bytes(data, name)
            self.put_before[name] = signature


def _host(claim: bytes) -> str:
    return str(json.loads(claim)["host"])
