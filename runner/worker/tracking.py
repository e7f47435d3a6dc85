"""Weights & Biases, for jobs that ask for it: the numbers of events.jsonl, and what the finished model wrote, under the
run's own id.

W&B takes steps in ascending order alone. A run that was killed trains the steps after its checkpoint again, with the
same numbers; what W&B has of them stays, and they are not given again. How far that goes stands in RUN/wandb.json. The
last moments before a kill may be missing there, since the library writes behind our back; in events.jsonl nothing is.

The library is imported here alone, and only where a job asks for it: that takes a second.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runjob.schemas.job import Wandb
from runjob.schemas.run import RunDir, read_json, write_json

SENT = ("train", "eval")
# What a service calls the model's own texts, and the columns there
SAMPLES, COLUMNS = "samples", ("prompt", "text")
# How long to wait for an answer of the service before training begins, and before the run ends
INIT_TIMEOUT_S = 60.0
FINISH_TIMEOUT_S = 120.0


class Tracker:
    """One attempt's connection. The first thing that fails is said (`say`, with a step), and from then on nothing is
    sent."""

    def __init__(
        self, settings: Wandb, run: RunDir, *, given: dict[str, int], say: Callable[[int, str], None], step: int
    ) -> None:
        self._say = say
        self._file = run.wandb_given
        self.keep(given)
        self._newest = max(step, *given.values())
        self._run: Any = None
        self._guarded(lambda: self._begin(settings, run), step)

    def log(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        if self._run is None:
            return
        if event == SAMPLES:
            # they name the step of the finished model, which may be over; W&B takes them with its newest alone
            self._guarded(lambda: self._run.log({SAMPLES: _as_table(values["texts"])}, step=self._newest), step)
        elif event in SENT and step > self._given[event]:
            self._newest = max(self._newest, step)
            self._guarded(lambda: self._run.log(numbers(event, values), step=step), step)

    def keep(self, given: dict[str, int]) -> None:
        """How far the service has been told: steps up to there are not given again."""
        self._given = given
        write_json(self._file, given)

    def go_back(self, run: RunDir, step: int) -> None:
        self.keep(given_so_far(run))

    def close(self, step: int) -> None:
        """Wait until all is written or sent."""
        if self._run is not None:
            self._guarded(lambda: self._run.finish(), step)
            self._run = None

    def _begin(self, settings: Wandb, run: RunDir) -> None:
        import wandb

        self._run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            name=settings.name if settings.name is not None else run.id,
            tags=list(settings.tags),
            mode=settings.mode,
            id=run.id,
            resume="allow" if settings.mode == "online" else None,  # offline there is nobody to ask
            dir=str(run.path),  # the library adds `wandb` itself
            config=read_json(run.job)["job"],
            settings=wandb.Settings(
                init_timeout=INIT_TIMEOUT_S,
                finish_timeout=FINISH_TIMEOUT_S,
                silent=True,
                console="off",
                save_code=False,
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )

    def _guarded(self, act: Callable[[], object], step: int) -> None:
        try:
            act()
        except Exception as error:  # its errors have no class in common, and none of them may end a run
            self._run = None
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._say(step, f"tracking.wandb: {type(error).__name__}: {first}; the run goes on without it")


def _as_table(texts: Sequence[Mapping[str, str]]) -> Any:  # noqa: ANN401 - untyped library
    import wandb

    return wandb.Table(columns=list(COLUMNS), data=[list(row) for row in sample_rows(texts)])


def sample_rows(texts: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Of each prompt what the model wrote; in brackets why it could not be asked.

    >>> sample_rows([{"prompt": "Een", "text": " twee"}, {"prompt": "Drie", "problem": "too long"}])
    [('Een', ' twee'), ('Drie', '(too long)')]
    """
    return [(one["prompt"], one["text"] if "text" in one else f"({one['problem']})") for one in texts]


def numbers(event: str, values: Mapping[str, Any]) -> dict[str, int | float]:
    """What can be drawn of a record, by `event/name`."""
    return {
        f"{event}/{name}": value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def given_so_far(run: RunDir) -> dict[str, int]:
    """By kind of record the last step that W&B was given by earlier attempts; to be asked before their records beyond
    the checkpoint are set aside. An attempt that sent nothing counts for nothing."""
    if not run.wandb_given.exists():
        return dict.fromkeys(SENT, -1)
    given: dict[str, int] = read_json(run.wandb_given)
    for record in run.read_events():
        if record["event"] in given:
            given[record["event"]] = max(given[record["event"]], record["step"])
    return given
