"""How a run's copy on a host is reached: what handle.json keeps of it, and one word to the program that runs there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runjob.launchers.errand import MARK
from runjob.launchers.shell import Answer, with_setup
from runjob.launchers.ssh_place import SshPlace, unread
from runjob.launchers.ssh_target import SshTarget
from runjob.schemas.errors import LaunchError

# Nothing is there to look at: the copy was never finished, or somebody removed it.
NO_COPY = 66
# The first byte says that the host lives; setup lines and Python there may take their time after it.
FIRST_S = 4.5
SPEAK = 'printf . && exec "$@"'
GUARD = f'[ -f "$1/status.json" ] || exit {NO_COPY}; cd -- "$1" && shift && exec "$@"'


class NoCopyError(LaunchError):
    """The host answers, and there is no copy of the run on it."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A copy of a run on a host: `path` there, below the folder `root`; `python` runs it, after the `setup` lines."""

    target: SshTarget
    root: str
    path: str
    python: str
    setup: tuple[str, ...]
    rsync: bool

    @staticmethod
    def from_facts(facts: Mapping[str, str | int]) -> "Link":
        """As handle.json keeps it."""
        config_file = str(facts["config_file"])
        return Link(
            target=SshTarget(host=str(facts["host"]), config_file=config_file or None),
            root=str(facts["root"]),
            path=str(facts["path"]),
            python=str(facts["python"]),
            setup=tuple(line for line in str(facts["setup"]).split("\n") if line),
            rsync=bool(facts["rsync"]),
        )

    def facts(self) -> dict[str, str | int]:
        return {
            "host": self.target.host,
            "config_file": self.target.config_file or "",
            "root": self.root,
            "path": self.path,
            "python": self.python,
            "setup": "\n".join(self.setup),
            "rsync": int(self.rsync),
        }

    def place(self) -> SshPlace:
        return SshPlace(target=self.target, root=self.root, python=self.python, setup=self.setup, rsync=self.rsync)

    def ask(self, words: Sequence[str], *, stdin: Any = None, timeout_s: float) -> tuple[Any, bytes]:  # noqa: ANN401
        """One word to the outpost there: its JSON answer, and the bytes behind it."""
        verb, *rest = words
        python = [self.python, "-m", "runjob.launchers.outpost", verb, self.path, *rest]
        argv = ["sh", "-c", GUARD, "sh", self.path, "env", *self.environment(), *python]
        argv = ["sh", "-c", SPEAK, "sh", *with_setup(self.setup, argv)]
        answer = self.target.run(argv, stdin=json.dumps(stdin).encode(), timeout_s=timeout_s, first_s=FIRST_S)
        if answer.code == NO_COPY:
            raise NoCopyError(f"{self.target.host}: there is no copy of the run at {self.path}")
        if answer.code != 0:
            raise LaunchError(f"{self.target.host}: {answer.err or f'code {answer.code}'}")
        return self._read(answer)

    def _read(self, answer: Answer) -> tuple[Any, bytes]:
        _, mark, rest = answer.out.partition(MARK)
        line, _, data = rest.partition(b"\n")
        try:
            if mark:
                return json.loads(line), data
        except ValueError:
            pass
        raise unread(self.target.host, answer)

    def environment(self) -> list[str]:
        """The copy's own code and nothing of the login's, and the places of runs and stores there."""
        return [
            f"PYTHONPATH={self.path}/code",
            "PYTHONSAFEPATH=1",
            f"RUNJOB_HOME={self.root}/runs",
            f"RUNJOB_CACHE={self.root}/cache",
        ]
