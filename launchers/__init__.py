"""Name -> launcher. Ours are imported when asked for, so that no command pays for another's dependencies; third
parties add theirs by the entry-point group `runjob.launchers` (a callable without arguments that returns one)."""

import functools
from typing import TYPE_CHECKING

from runjob.schemas.errors import JobError

if TYPE_CHECKING:
    from runjob.launchers.base import Launcher

OWN = ("local", "ssh", "aws", "slurm")
GROUP = "runjob.launchers"


def list_launchers() -> tuple[str, ...]:
    from importlib.metadata import entry_points  # 10 ms that `ps` and `validate` need not pay

    return tuple(sorted({*OWN, *(point.name for point in entry_points(group=GROUP))}))


@functools.cache
def find_launcher(name: str) -> "Launcher":
    """The launcher of this name, the same object each time: one that works elsewhere remembers what it has just asked.
    JobError lists those there are."""
    if name == "local":
        from runjob.launchers.local import LocalLauncher

        return LocalLauncher()
    if name == "ssh":
        from runjob.launchers.ssh import SshLauncher

        return SshLauncher()
    if name == "aws":
        from runjob.launchers.aws import AwsLauncher

        return AwsLauncher()
    if name == "slurm":
        from runjob.launchers.slurm import SlurmLauncher

        return SlurmLauncher()
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        if point.name == name:
            launcher: Launcher = point.load()()
            return launcher
    import difflib

    known = list_launchers()
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    raise JobError(f"--launcher {name}: no such launcher, there are: {', '.join(known)}{hint}")
