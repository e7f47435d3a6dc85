"""The uploader: `python -m runjob.runner.worker.upload RUN`, a companion of the training (schemas/plan.py).

Behind the run and never in its way: it reads what rank 0 has finished, newest checkpoint first, and brings it to
`output.remote`. It may be killed at any point: there is then either the older complete checkpoint or the new one. What
can't be reached is tried again with longer and longer pauses; the training knows nothing of it. How far it is stands in
upload.json, what it did in attempts/N/upload.log.
"""

import os
import sys
import time
from pathlib import Path

from runjob.data.remote import RemoteError
from runjob.runner.worker.faults import waits_s
from runjob.runner.worker.holding import hold, release
from runjob.runner.worker.outcome import attempt_of
from runjob.runner.worker.remote_records import Records, Superseded
from runjob.runner.worker.remote_run import DamagedHere, RemoteRun
from runjob.runner.worker.remote_store import Store
from runjob.schemas.errors import RunjobError
from runjob.schemas.job import Job
from runjob.schemas.job_json import read_job_json
from runjob.schemas.lifeline import die_with_parent
from runjob.schemas.manifest import MANIFEST, best_of, folder_name, folders_in, parse_manifest
from runjob.schemas.own_log import say
from runjob.schemas.run import Attempt, RunDir, read_json
from runjob.schemas.upload import Upload, UploadState
from runjob.schemas.urls import hide_secrets

POLL_S = 1.0
# How often the small news (progress, status) go there when there is no checkpoint to bring
NEWS_S = 30.0
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
# After the end of the stages: so long without success, or every pause used up, and it gives up
PATIENCE_S = 120.0
SHOWN_SKIPPED = 20


class Uploader:
    def __init__(self, run: RunDir, attempt: Attempt, job: Job) -> None:
        assert job.output.remote is not None, "compile.py plans an uploader where there is an address"
        self.run, self.attempt = run, attempt
        self.keep = job.training.checkpoint.keep
        self.url = f"{job.output.remote.rstrip('/')}/{run.id}"
        self.pauses = waits_s(PAUSES_S)
        self.remote: RemoteRun | None = None
        self.records: Records | None = None
        self.there: dict[int, bytes] = {}
        self.seen: set[int] = set()
        self.left: set[int] = set()
        self.damaged: set[bytes] = set()
        self.skipped: list[int] = []
        self.failures = self.failures_since_end = 0
        self.last_success = time.monotonic()
        self.verified = 0
        self.news_at = 0.0
        self.uploading: int | None = None
        self.model = False
        self.error = ""

    def run_to_end(self) -> int:
        self.tell("starting")
        while True:
            final = self.attempt.ending.exists()  # looked at first: what comes after the last round is nothing
            try:
                idle = self.round(final=final)
            except Superseded as error:
                self.error = str(error)
                self.tell("superseded")
                return 0
            except (RemoteError, RunjobError) as error:  # also where a package is missing: somebody may install it
                if self.failed(str(error), final=final):
                    return 0
                continue
            self.failures, self.error, self.last_success = 0, "", time.monotonic()
            if final:
                self.tell("finished")
                return 0
            self.tell("waiting")
            if idle:
                time.sleep(POLL_S)

    def round(self, *, final: bool) -> bool:
        """One checkpoint, or the news, or in the final round everything; True if there was nothing to bring."""
        remote, records = self.open()
        due = self.next_step()
        while due is not None:
            self.bring(remote, records, due)
            if not final:
                return False
            due = self.next_step()
        self.leave(remote, records)
        if final:
            records.put_all(final=True)
            ending = read_json(self.attempt.ending)
            records.put_status(ending["state"], ending["message"])
            if ending["state"] == "finished" and self.run.model.is_dir():
                remote.put_model(self.run.model)
                self.model = True
        elif time.monotonic() >= self.news_at:
            records.put_news()
            self.news_at = time.monotonic() + NEWS_S
        return True

    def open(self) -> tuple[RemoteRun, Records]:
        """The address, claimed for this attempt and looked through; once, unless that fails."""
        if self.remote is None or self.records is None:
            remote = RemoteRun(Store(self.url))
            records = Records(self.run, self.attempt, remote.store)
            first = records.claim()
            records.put_start(remote)
            self.there = remote.complete()
            start = start_of(self.attempt)
            # what one that was killed brought of this attempt is not told from what came before
            self.left = {step for step in self.there if first and start is not None and step > start}
            say(f"{self.url}: complete checkpoints there: {sorted(self.there) or 'none'}")
            self.settle(remote)  # one that was killed may have left it undone
            self.remote, self.records = remote, records
        return self.remote, self.records

    def here(self) -> dict[int, bytes]:
        """The manifests of complete checkpoints in the run directory by step, and by the way who came and went."""
        found = {}
        for step, folder in folders_in(self.run.checkpoints).items():
            try:
                data = (folder / MANIFEST).read_bytes()
            except FileNotFoundError:  # pruned while we looked
                continue
            if data not in self.damaged and parse_manifest(data) is not None:
                found[step] = data
        for step in sorted(self.seen - {self.uploading} - found.keys() - self.there.keys()):
            say(f"step {step}: skipped, it was pruned here before its turn came")
            self.skipped = [*self.skipped, step][-SHOWN_SKIPPED:]
        self.seen = set(found) if self.uploading is None else {*found, self.uploading}
        return found

    def next_step(self) -> int | None:
        """The newest that is not there, but before it the best that it names: it is no use without. Then older ones."""
        here = self.here()
        lacking = [step for step in sorted(here, reverse=True) if self.there.get(step) != here[step]]
        if not lacking:
            return None
        best = named_best(self.run, lacking[0])
        return best if best in lacking else lacking[0]

    def bring(self, remote: RemoteRun, records: Records, step: int) -> None:
        """One checkpoint, then what it makes superfluous there."""
        began = time.monotonic()
        try:
            held = hold(self.run, step)
        except FileNotFoundError:
            return  # pruned since; the next look says so
        self.uploading = step
        self.tell("uploading")

        def before_manifest() -> None:
            records.refuse_superseded()
            here = self.here()
            for abandoned in [one for one in self.there if one > max(here, default=step) and one not in here]:
                say(f"step {abandoned}: removed there, the run went back to before it")
                remote.remove_checkpoint(abandoned)
                del self.there[abandoned]
            records.put_all(final=False)

        try:
            self.there[step] = remote.put_checkpoint(held, step, before_manifest=before_manifest)
        except DamagedHere as error:
            say(f"step {step}: {error}; left out")
            self.damaged.add((held / MANIFEST).read_bytes())
            return
        finally:
            self.uploading = None
            release(self.run, step)
        say(f"step {step}: complete there after {time.monotonic() - began:.1f} s")
        self.news_at = time.monotonic() + NEWS_S
        self.settle(remote)

    def settle(self, remote: RemoteRun) -> None:
        """LATEST names the newest there; old ones go as here: all but the newest `keep` and whatever is kept here (the
        best ones are)."""
        if self.there:
            remote.put_latest(max(self.there))
        if self.keep == "all":
            return
        wanted = {*sorted(self.there, reverse=True)[: self.keep], *self.here()}
        for step in sorted(self.there.keys() - wanted):
            remote.remove_checkpoint(step)
            del self.there[step]
            say(f"step {step}: pruned there")

    def leave(self, remote: RemoteRun, records: Records) -> None:
        """After `resume --from STEP` what came later is of a history that was left, and nobody may go on from it, also
        before there is a checkpoint of the new one. Not while the training has yet to set it aside here."""
        gone = self.left - self.here().keys()
        kept = self.there.keys() - gone
        if not gone or not kept:
            return
        records.refuse_superseded()
        remote.put_latest(max(kept))
        for step in sorted(gone & self.there.keys(), reverse=True):
            remote.remove_checkpoint(step)
            del self.there[step]
            say(f"step {step}: removed there, the run went back to before it")
        self.left -= gone

    def failed(self, error: str, *, final: bool) -> bool:
        """Say so and wait; True if it is time to give up."""
        self.error = hide_secrets(error)
        say(f"failed: {self.error}")
        self.tell("failing")
        verified = 0 if self.remote is None else len(self.remote.verified)
        if verified > self.verified:  # a bad line on which something gets through is no reason to give up
            self.failures = self.failures_since_end = 0
            self.last_success = time.monotonic()
        self.verified = verified
        pause = self.pauses[min(self.failures, len(self.pauses) - 1)]
        self.failures += 1
        self.failures_since_end += final
        if final and (self.failures_since_end >= len(self.pauses) or time.monotonic() - self.last_success > PATIENCE_S):
            say("the job has ended and this was the last try")
            return True
        until = time.monotonic() + pause
        while time.monotonic() < until and (final or not self.attempt.ending.exists()):
            time.sleep(min(0.2, pause))
        return False

    def tell(self, state: UploadState) -> None:
        here = self.here()
        upload = Upload(
            url=self.url,
            attempt=self.attempt.number,
            state=state,
            there=max(self.there, default=None),
            here=max(here, default=None),
            uploading=self.uploading,
            skipped=tuple(self.skipped),
            model=self.model,
            error=self.error,
            updated=time.time(),
        )
        try:
            upload.write(self.run)
        except OSError as error:  # a full disk here is no reason to leave a checkpoint here
            say(f"upload.json can't be written: {error}")


def start_of(attempt: Attempt) -> int | None:
    """The step that a resume named; None for `latest`, `best` and a first attempt."""
    order = attempt.path / "resume.json"
    start = read_json(order)["from"] if order.exists() else None
    return start if isinstance(start, int) else None


def named_best(run: RunDir, step: int) -> int | None:
    """The best checkpoint as this one knows it."""
    try:
        return best_of(run.checkpoints / folder_name(step))
    except RunjobError:  # pruned meanwhile
        return None


def main(run: RunDir) -> int:
    die_with_parent()
    os.nice(10)  # the training comes first
    return Uploader(run, attempt_of(run), read_job_json(run.job).job).run_to_end()


if __name__ == "__main__":
    sys.exit(main(RunDir(Path(sys.argv[1]))))
