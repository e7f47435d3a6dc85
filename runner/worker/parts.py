"""The parts of one training run, put together by assemble.py and used by the loop: what it feeds on, what it drives,
what it remembers, when things are due."""

from dataclasses import dataclass, replace

from runjob.data.block_rows import StreamStopped
from runjob.data.stream import StepBatch, TrainStream
from runjob.runner.worker.cadence import Cadence
from runjob.runner.worker.copies import Copies
from runjob.runner.worker.engine import Engine
from runjob.runner.worker.evaluate import Evaluator
from runjob.runner.worker.exchange import GIVEN_UP, GO_ON, Agreement, Exchange
from runjob.runner.worker.feed import Feed
from runjob.runner.worker.journal import SilentJournal
from runjob.runner.worker.profiling import Profiler
from runjob.runner.worker.pulse import Pulse
from runjob.runner.worker.schedule import Clock, LearningRate
from runjob.runner.worker.state import TrainingState
from runjob.runner.worker.stopping import StopWatch
from runjob.runner.worker.writing import Writing
from runjob.schemas.job import Job
from runjob.schemas.plan import Plan
from runjob.schemas.run import Attempt, RunDir


@dataclass(kw_only=True)
class Parts:
    """`saved_step`: the step of the newest checkpoint, on disk or on its way there, 0 if there is none; `copies` and
    `writing` are that way, on rank 0. `classes`: how many ids a guess is among. `feed` where the data are
    streamed, and `given_up` once its samples can't be had."""

    run: RunDir
    attempt: Attempt
    job: Job
    plan: Plan
    clock: Clock
    stream: TrainStream
    evaluator: Evaluator
    exchange: Exchange
    engine: Engine
    learning_rate: LearningRate
    journal: SilentJournal
    state: TrainingState
    stop_watch: StopWatch
    identity: dict[str, object]
    log_cadence: Cadence
    evaluation_cadence: Cadence
    save_cadence: Cadence
    saved_step: int
    copies: Copies
    writing: Writing
    profiler: Profiler
    pulse: Pulse
    classes: int | None
    feed: Feed | None
    given_up: bool = False

    def next_batch(self, step: int) -> StepBatch:
        """This rank's share of the step; nothing where its samples can't be had, and then the ranks agree to stop."""
        if self.feed is None:
            return self.stream.step(step)
        self.feed.advance(step, last=self.clock.total_steps)
        try:
            batch = self.stream.step(step)
        except StreamStopped as error:
            self.given_up = True
            return self.feed.nothing(error)
        for told in self.feed.bad_rows(step):
            self.journal.log("bad_rows", step=step, **told)
        return batch

    def close_data(self, *, finished: bool) -> None:
        if self.feed is not None:
            self.feed.close(finished=finished)
        self.stream.close()

    def agree(self, batch: StepBatch) -> Agreement:
        """What all ranks must know before the step. Collective."""
        agreed = self.exchange.before(
            predicted=batch.predicted,
            tokens=batch.tokens,
            digests=batch.digests,
            stop=max(self.stop_watch.requested(), GIVEN_UP if self.given_up else GO_ON),
            evaluate=self.evaluation_cadence.time_is_up(),
            save=self.save_cadence.time_is_up(),
        )
        return replace(agreed, digests=batch.in_sample_order(agreed.digests))

    def rates(self, agreed: Agreement, seconds: float) -> dict[str, float]:
        """Tokens and samples a second of this step alone, waiting for data included."""
        return {"tokens_per_s": agreed.tokens / seconds, "samples_per_s": len(agreed.digests) / seconds}

    def log_due(self, step: int) -> bool:
        return step in (1, self.clock.total_steps) or self.log_cadence.due(step) or self.log_cadence.time_is_up()

    def evaluation_due(self, step: int, agreed: Agreement) -> bool:
        """At its interval, and always at the last step, so that every finished run has been evaluated."""
        return step == self.clock.total_steps or agreed.evaluate or self.evaluation_cadence.due(step)

    def save_due(self, step: int, agreed: Agreement) -> bool:
        """At its interval, and always at the last step, so that a finished run can be lengthened."""
        return step == self.clock.total_steps or agreed.save or self.save_cadence.due(step)

    def stop_after_reached(self, step: int) -> bool:
        limit = self.job.training.stop_after
        return limit is not None and step >= limit.amount and step < self.clock.total_steps
