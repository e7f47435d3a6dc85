"""One host as the user's own ssh calls it: how it is asked, and what is said when it does not answer.

The `ssh` program with the user's configuration, agent, jumps and known hosts. Nothing is ever asked of a human
(BatchMode), a host key that is not known is never accepted, and all commands of a while share one connection, unless
the user's configuration shares connections in its own way.
"""

import contextlib
import functools
import hashlib
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runjob.launchers.shell import Answer, end, first_byte, for_login_shell, run_to_end, start_here
from runjob.schemas.errors import LaunchError, MissingError, RunjobError

# `state` may not keep its caller waiting; a host that takes longer to shake hands is as good as away.
CONNECT_S = 4
# A link that is down sends no news: three unanswered questions end the connection.
ALIVE_EVERY_S, ALIVE_TIMES = 5, 3
# A following process asks each second; a minute of silence and the connection ends by itself.
PERSIST_S = 60
FORGET_S = 2.0
SSH_FAILED = 255


class UnreachableError(LaunchError):
    """The host did not answer; what runs there goes on, as far as anybody knows."""


@dataclass(frozen=True, kw_only=True)
class SshTarget:
    """A host by the name that ssh knows it by, with the configuration file that says more."""

    host: str
    config_file: str | None

    def start(self, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
        return start_here([*self.ssh(), "-T", "--", self.host, for_login_shell(argv)])

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float | None = None,
        first_s: float | None = None,
    ) -> Answer:
        """The answer of a command there, of one that speaks at once within `first_s` too. UnreachableError, or
        MissingError where ssh itself is refused."""
        try:
            process = self.start(argv)
            if first_s is not None and not first_byte(process, within_s=first_s):
                end(process)
                raise subprocess.TimeoutExpired(argv[0], first_s)
            answer = run_to_end(process, stdin=stdin, timeout_s=timeout_s)
        except subprocess.TimeoutExpired as error:
            self.forget()
            raise UnreachableError(f"{self.host}: no answer for {error.timeout:.0f} s") from error
        if answer.code == SSH_FAILED:
            raise explain(self.host, answer.err)
        return answer

    def ssh(self) -> list[str]:
        """`ssh` and its options, without the host."""
        config = ["-F", self.config_file] if self.config_file is not None else []
        return ["ssh", *config, *options({**FIXED, **sharing(self)})]

    def forget(self) -> None:
        """End the shared connection: it may be what hangs."""
        if sharing(self):
            with contextlib.suppress(subprocess.TimeoutExpired):
                run_to_end(start_here([*self.ssh(), "-O", "exit", "--", self.host]), timeout_s=FORGET_S)

    def settings(self) -> dict[str, str]:
        """What ssh makes of the user's configuration for this host (`ssh -G`; asks no network)."""
        return dict(read_settings(self))


FIXED = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    # else the far end of a tunnel, which is localhost by its address, would be trusted unseen where a user set that
    "NoHostAuthenticationForLocalhost": "no",
    "ConnectTimeout": str(CONNECT_S),
    "ServerAliveInterval": str(ALIVE_EVERY_S),
    "ServerAliveCountMax": str(ALIVE_TIMES),
    "RequestTTY": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
}


def options(values: dict[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]


@functools.lru_cache(maxsize=64)
def read_settings(target: SshTarget) -> tuple[tuple[str, str], ...]:
    config = ["-F", target.config_file] if target.config_file is not None else []
    answer = run_to_end(start_here(["ssh", *config, "-G", "--", target.host]), timeout_s=CONNECT_S)
    if answer.code != 0:
        raise MissingError(f"{target.host}: ssh can't read its configuration: {answer.err}")
    lines = [line.partition(" ") for line in answer.out.decode("utf-8", errors="replace").splitlines()]
    return tuple((name, value) for name, _, value in lines)


def sharing(target: SshTarget) -> dict[str, str]:
    """One connection for all commands, by a socket in a private folder; nothing where the user's configuration has
    such a socket already, or where there is no private folder."""
    if target.settings().get("controlpath", "none") != "none":
        return {}
    folder = private_folder()
    if folder is None:
        return {}
    config = hashlib.sha256(os.fsencode(target.config_file or "")).hexdigest()[:8]
    return {"ControlMaster": "auto", "ControlPath": str(folder / f"{config}-%C"), "ControlPersist": str(PERSIST_S)}


def private_folder() -> Path | None:
    """A folder of ours alone with a short name: the path of a socket has room for 104 letters, and ssh takes 57."""
    folder = Path(tempfile.gettempdir() if len(tempfile.gettempdir()) < 20 else "/tmp", f".runjob-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
    return folder if ours else None


# What OpenSSH says, and what the user can do about it. The first that fits is told.
REFUSALS = (
    (r"Could not resolve hostname", "no such host; `ssh {host}` must work, by DNS or a `Host` entry of ssh's config"),
    (r"IDENTIFICATION HAS CHANGED", "its host key is not the one that is known. If the host was set up anew, remove "
     "the old key with `ssh-keygen -R {host}` and connect once by hand; if not, somebody may be in between"),
    (r"Host key verification failed|No .* host key is known", "its host key is not known; connect once by hand with "
     "`ssh {host}` and compare the key, or add it to known_hosts"),
    (r"Permission denied", "it refuses this user's key; `ssh {host}` must work without a password (an agent or an "
     "IdentityFile, and the public key in authorized_keys there)"),
    (r"Bad owner or permissions|Bad configuration option|Can't open user config file|terminating, \d+ bad", "ssh can't "
     "read its configuration"),
)  # fmt: skip


def explain(host: str, err: str) -> RunjobError:
    """ssh ended with 255: why, and what to type. What a human has to mend is MissingError (exit code 2)."""
    said = last_words(err)
    for pattern, remedy in REFUSALS:
        if re.search(pattern, err):
            return MissingError(f"{host}: {remedy.format(host=host)} (ssh says: {said})")
    return UnreachableError(f"{host}: {said or 'ssh ended without a word'}")


def last_words(err: str) -> str:
    """The line that says it; ssh decorates a changed key with ten lines of at signs."""
    lines = [line.strip() for line in err.splitlines() if line.strip() and not line.startswith("@")]
    return lines[-1] if lines else ""
