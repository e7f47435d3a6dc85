"""Run a command here or on another machine, and the one place where words become shell text.

A command is a list of words everywhere in runjob. Only ssh wants a string, which the login shell there reads first,
whatever shell that is: it gets one word of letters and digits that `sh` unpacks (`for_login_shell`), so that no path,
name or value that a user or a colleague chose is ever read as shell by accident.
"""

import contextlib
import os
import selectors
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Protocol

from runjob.schemas.errors import LaunchError
from runjob.schemas.secret_names import environment_for

# Letters that mean themselves within single quotes to every shell (fish takes backslashes there, csh exclamation marks)
# and, after that, within double quotes and to printf
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=,./:@ ")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a command ended; `out` as it came, `err` as text for a message."""

    code: int
    out: bytes
    err: str


class Shell(Protocol):
    """Somewhere commands can be run."""

    def start(self, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
        """A running command with pipes to all three of its streams."""
        ...


class Here:
    """This machine."""

    def start(self, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
        return start_here(argv)


def start_here(argv: Sequence[str]) -> "subprocess.Popen[bytes]":
    """In a session of its own: Ctrl-C is for us, and what a half-done transfer needs is an orderly end."""
    try:
        return subprocess.Popen(
            list(argv),
            env=environment_for("ssh", os.environ),  # which stays behind for minutes, to be asked again
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise LaunchError(f"{argv[0]} can't be started: {error.strerror}") from error


def run_to_end(process: "subprocess.Popen[bytes]", *, stdin: bytes = b"", timeout_s: float | None = None) -> Answer:
    """Its answer, or TimeoutExpired; the process has ended either way."""
    try:
        out, err = process.communicate(stdin, timeout=timeout_s)
    except BaseException:
        end(process)
        raise
    return Answer(code=process.returncode, out=out, err=err.decode("utf-8", errors="replace").strip())


def first_byte(process: "subprocess.Popen[bytes]", *, within_s: float) -> bool:
    """Has it said anything, or ended, in this time?"""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return bool(selector.select(within_s))


def end(process: "subprocess.Popen[bytes]") -> None:
    """Not left behind, also if it did not read what it was given."""
    process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        close(pipe)
    process.wait()


def close(pipe: IO[bytes] | None) -> None:
    with contextlib.suppress(OSError):
        if pipe is not None:
            pipe.close()


def for_login_shell(argv: Sequence[str]) -> str:
    """The command as text that every login shell hands to `sh` unread.

    >>> for_login_shell(["echo", "it's"])
    'sh -c \\'eval "$(printf %b "echo \\\\0047it\\\\0047\\\\0042\\\\0047\\\\0042\\\\0047s\\\\0047")"\\''
    """
    coded = "".join(chr(byte) if byte in PLAIN else f"\\0{byte:03o}" for byte in quote(argv).encode("utf-8"))
    return f"""sh -c 'eval "$(printf %b "{coded}")"'"""


def quote(argv: Sequence[str]) -> str:
    """The words as `sh` reads them back. A null character has no place in a command."""
    for word in argv:
        if "\0" in word:
            raise LaunchError(f"a command can't hold a null character: {word!r}")
    return shlex.join(argv)


def with_setup(lines: Sequence[str], argv: Sequence[str]) -> list[str]:
    """The command after the user's own shell lines (`module load cuda`): they are the only shell text there is, one
    argument of `bash -c`, and ours are its further arguments. What the lines print goes to the log; the first that
    fails ends it."""
    if not lines:
        return list(argv)
    script = [
        "exec 3>&1 4<&0 >&2 </dev/null; set -e",
        *lines,
        'set +e; exec >&3 3>&- <&4 4<&-; exec "$@"',
    ]
    return ["bash", "-c", "\n".join(script), "runjob", *argv]
