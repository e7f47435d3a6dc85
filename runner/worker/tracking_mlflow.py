"""MLflow, for jobs that ask for it: the numbers of events.jsonl, and what the finished model wrote, in one run of an
experiment, found again by its tag.

A resumed job goes on in that run. How far MLflow has its numbers only MLflow knows, since a kill may fall between any
two requests, so it is asked: what it lacks of events.jsonl is given to it, and steps that are trained again and that it
has are not given again. Requests are synchronous, so numbers wait here and go together.

The library is imported here alone, and only where a job asks for it: that takes a second.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runjob.runner.worker.tensorboard import settings_of
from runjob.runner.worker.tracking import SAMPLES, SENT, numbers, sample_rows
from runjob.schemas.job import Mlflow
from runjob.schemas.run import RunDir, read_json

TAG = "runjob.id"
# A request takes some hundredths of a second, in which training stands still
SEND_EVERY_S = 5.0
# What MLflow takes in one request: metrics, params, and characters of a param's value
MOST_METRICS, MOST_PARAMS, MOST_CHARACTERS = 1000, 100, 6000
# A source's own name may hold what MLflow refuses in that of a metric
REFUSED = re.compile(r"[^A-Za-z0-9_\-. :]")


class MlflowTracker:
    """One attempt's connection. The first thing that fails is said (`say`, with a step), and from then on nothing is
    sent."""

    def __init__(self, settings: Mlflow, run: RunDir, *, say: Callable[[int, str], None], step: int) -> None:
        self._say = say
        self._client: Any = None
        self._id = ""
        self._given = dict.fromkeys(SENT, -1)
        self._waiting: list[Any] = []
        self._sent_at = time.monotonic()
        self._end = "KILLED"
        self._guarded(lambda: self._begin(settings, run), step)

    def log(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        if self._client is None:
            return
        if event == "finish":
            self._end = "FINISHED"
        if event == SAMPLES:
            self._guarded(lambda: self._client.log_text(self._id, _as_markdown(values["texts"]), f"{SAMPLES}.md"), step)
        if event in SENT and step > self._given[event]:
            self._keep(event, step, time.time(), values)
        if time.monotonic() - self._sent_at >= SEND_EVERY_S:
            self._guarded(self._send, step)

    def go_back(self, run: RunDir, step: int) -> None:
        """Nothing: what was given of the steps that are trained again stays, and is not given again."""

    def close(self, step: int) -> None:
        if self._client is not None:
            self._guarded(self._send, step)
        if self._client is not None:
            self._guarded(lambda: self._client.set_terminated(self._id, self._end), step)
        self._client = None

    def _begin(self, settings: Mlflow, run: RunDir) -> None:
        from mlflow.entities import ViewType
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=settings.uri)
        found = client.get_experiment_by_name(settings.experiment)
        experiment = client.create_experiment(settings.experiment) if found is None else found.experiment_id
        own = client.search_runs([experiment], f"tags.`{TAG}` = '{run.id}'", ViewType.ACTIVE_ONLY, max_results=1)
        if own:
            self._id = own[0].info.run_id
            client.update_run(self._id, status="RUNNING")
        else:
            name = settings.name if settings.name is not None else run.id
            self._id = client.create_run(experiment, tags={TAG: run.id}, run_name=name).info.run_id
            _send_settings(client, self._id, read_json(run.job)["job"])
        self._client = client
        self._catch_up(run)

    def _catch_up(self, run: RunDir) -> None:
        """Records that stay after a resume and that an earlier attempt had no time to send."""
        for event in SENT:
            history = self._client.get_metric_history(self._id, f"{event}/loss")
            self._given[event] = max((metric.step for metric in history), default=-1)
        for record in run.read_events(*SENT):
            if record["step"] > self._given[record["event"]]:
                about = {"event", "step", "time", "attempt"}
                values = {name: value for name, value in record.items() if name not in about}
                self._keep(record["event"], record["step"], record["time"], values)
        self._send()

    def _keep(self, event: str, step: int, when: float, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        for name, value in numbers(event, values).items():
            # `loss` and `loss/SOURCE` can't both be: a store of files makes a folder of all before a slash
            shown = f"{event}/{REFUSED.sub('_', name.removeprefix(f'{event}/'))}"
            self._waiting.append(Metric(shown, value, int(when * 1000), step))
        self._given[event] = step

    def _send(self) -> None:
        self._sent_at = time.monotonic()
        while self._waiting:
            self._client.log_batch(self._id, metrics=self._waiting[:MOST_METRICS])
            del self._waiting[:MOST_METRICS]

    def _guarded(self, act: Callable[[], object], step: int) -> None:
        try:
            act()
        except Exception as error:  # a store is a library of its own (HTTP, SQL), and none of its errors may end a run
            self._client = None
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._say(step, f"tracking.mlflow: {type(error).__name__}: {first}; the run goes on without it")


def _as_markdown(texts: Sequence[Mapping[str, str]]) -> str:
    return "\n".join(f"## {prompt}\n\n{text}\n" for prompt, text in sample_rows(texts))


def _send_settings(client: Any, run_id: str, values: Mapping[str, Any]) -> None:  # noqa: ANN401 - untyped library
    """The job's values, once: MLflow lets none of them be changed."""
    from mlflow.entities import Param

    params = [Param(name, str(value)[:MOST_CHARACTERS]) for name, value in settings_of(values)]
    for first in range(0, len(params), MOST_PARAMS):
        client.log_batch(run_id, params=params[first : first + MOST_PARAMS])
