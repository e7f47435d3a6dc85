"""Everything that the bench starts. Each in a session of its own, as runjob's supervisor makes itself one: where the
kernel shares processors out by session, a niceness of the bench's own would else hold for the peers alone."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class BenchError(Exception):
    """A column did not come to its end; the text is the end of what it said."""


def execute(argv: list[str], variables: Mapping[str, str], folder: Path) -> str:
    """What it said; BenchError with the end of it where it failed."""
    done = subprocess.run(
        argv,
        env=dict(variables),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise BenchError(f"{' '.join(argv)}\nended with exit code {done.returncode}:\n{last}")
    return done.stdout
