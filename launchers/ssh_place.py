"""A folder on a host over ssh, as a place where runs are copied to: files by rsync where both machines have it, else as
a tar through Python there (launchers/errand.py), either way going on where an earlier transfer broke off."""

import contextlib
import json
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from runjob.launchers import errand
from runjob.launchers.base import Told
from runjob.launchers.errand import MARK, find_there, receive, send
from runjob.launchers.shell import Answer, close, end, start_here, with_setup
from runjob.launchers.ssh_target import SSH_FAILED, SshTarget, explain
from runjob.launchers.staging_place import Teller, measure
from runjob.schemas.errors import LaunchError, RunjobError

# What a command there may take that does no real work; a cold Python on a busy shared disk was seen to take seconds.
ERRAND_S = 60.0
PERCENT = re.compile(rb"\s(\d+)%\s")
# rsync has codes of its own, and passes ssh's on in words
RSYNC_SSH_FAILED = f"(code {SSH_FAILED})"
NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")


@dataclass(frozen=True, kw_only=True)
class SshPlace:
    """`python` runs our errands there, after the user's `setup` lines; `rsync` is whether both machines have it."""

    target: SshTarget
    root: str
    python: str
    setup: tuple[str, ...]
    rsync: bool

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None) -> Answer:
        return self.target.run(argv, stdin=stdin, timeout_s=timeout_s)

    def put(self, source: Path, names: Sequence[str], target: str, *, told: Told) -> None:
        if not names:
            return
        self._make(target)
        if self.rsync:
            self._rsync([f"{source}/", self._remote(target)], names, told=told, doing="sending")
            return
        try:
            self._put_as_tar(source, names, target, told=told)
        except OSError as error:
            raise LaunchError(f"{error.filename or source}: can't be sent: {error.strerror or error}") from error

    def _put_as_tar(self, source: Path, names: Sequence[str], target: str, *, told: Told) -> None:
        wanted = measure(source, names)
        there = run_errand(self.target, self.python, self.setup, ["have", target], stdin=wanted)
        missing = [(name, there.get(name, 0)) for name, size, _ in wanted if there.get(name) != size]
        if missing:
            teller = Teller("sending", wanted, there, told)
            with self._errand(["receive", target]) as process:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # what ended it stands in its last words
                    send(source, missing, process.stdin, teller)
                    process.stdin.close()

    def get(self, source: str, names: Sequence[str], target: Path, *, told: Told) -> None:
        if not names:
            return
        target.mkdir(parents=True, exist_ok=True)
        if self.rsync:
            self._rsync([self._remote(source), f"{target}/"], names, told=told, doing="fetching")
            return
        wanted = [(name, size, mtime) for name, (size, mtime) in self._sizes(source, names).items()]
        there = find_there(target, wanted)
        missing = [(name, there.get(name, 0)) for name, size, _ in wanted if there.get(name) != size]
        if missing:
            teller = Teller("fetching", wanted, there, told)
            with self._errand(["send", source]) as process:
                assert process.stdin is not None and process.stdout is not None
                with contextlib.suppress(BrokenPipeError):  # what ended it stands in its last words
                    process.stdin.write(json.dumps(missing).encode())
                    process.stdin.close()
                skip_greeting(process.stdout)
                asked = frozenset(name for name, _ in missing)
                try:
                    with contextlib.suppress(EOFError, tarfile.ReadError):
                        receive(target, process.stdout, teller, asked=asked)
                except (ValueError, KeyError) as error:
                    raise LaunchError(f"{self.target.host}: it sends what no runjob sends: {error}") from error

    def _sizes(self, source: str, names: Sequence[str]) -> dict[str, tuple[int, int]]:
        found = run_errand(self.target, self.python, self.setup, ["sizes", source], stdin=list(names))
        return {name: (size, mtime) for name, (size, mtime) in found.items()}

    def _make(self, folder: str) -> None:
        answer = self.run(["sh", "-c", 'umask 077 && mkdir -p -- "$1"', "sh", folder], timeout_s=ERRAND_S)
        if answer.code != 0:
            raise LaunchError(f"{self.target.host}: {folder} can't be made there: {answer.err}")

    @contextlib.contextmanager
    def _errand(self, words: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
        """A running errand whose end is seen to."""
        process = self.target.start(with_setup(self.setup, errand_command(self.python, words)))
        with seen_to(process, self.target.host):
            yield process

    def _remote(self, folder: str) -> str:
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        return f"{host}:{folder}/"

    def _rsync(self, ends: Sequence[str], names: Sequence[str], *, told: Told, doing: str) -> None:
        """`-s`: names travel as data and meet no shell. A broken file is kept in a hidden folder and goes on there."""
        argv = ["rsync", "-rtLs", "--from0", "--files-from=-", "--partial-dir=.rsync-partial", "--info=progress2"]
        argv += ["--chmod=Du=rwx,Dgo=,Fu=rw,Fgo=", "-e", rsync_shell(self.target.ssh()), "--", *ends]
        process = start_here(argv)
        assert process.stdin is not None and process.stdout is not None
        with seen_to(process, self.target.host):
            with contextlib.suppress(BrokenPipeError):  # what ended it stands in its last words
                process.stdin.write(b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in names))
            close(process.stdin)
            follow_rsync(process.stdout, told, doing)


@contextlib.contextmanager
def seen_to(process: "subprocess.Popen[bytes]", host: str) -> Iterator[None]:
    """The end of a transfer, whatever becomes of the body: LaunchError with its last words if it is not a good one.
    They are read beside, since a complaint about each of a thousand files fills a pipe, and it would wait for us."""
    assert process.stdout is not None and process.stderr is not None
    said: list[bytes] = []
    reader = threading.Thread(target=lambda pipe=process.stderr: said.append(pipe.read()), daemon=True)
    reader.start()
    try:
        yield
        process.stdout.read()
        code = process.wait()
        reader.join()
    except BaseException:
        end(process)
        raise
    finally:
        close(process.stdin)
        close(process.stdout)
    process.stderr.close()
    if code != 0:
        raise transfer_error(host, code, b"".join(said).decode("utf-8", errors="replace").strip())


def follow_rsync(out: IO[bytes], told: Told, doing: str) -> None:
    """rsync redraws one line of progress; every tenth of the way is worth telling."""
    tenth = 0
    text = b""
    while block := out.read1(4096):  # type: ignore[attr-defined]
        text = (text + block)[-200:]
        percent = [int(found) for found in PERCENT.findall(text)]
        if percent and percent[-1] // 10 > tenth and percent[-1] < 100:
            tenth = percent[-1] // 10
            told(f"{doing}  {percent[-1]} %")


def rsync_shell(argv: Sequence[str]) -> str:
    """rsync splits `-e` at blanks by rules of its own: within quotes a quote is doubled, nothing else has a meaning."""
    return " ".join("'" + word.replace("'", "''") + "'" for word in argv)


def transfer_error(host: str, code: int, err: str) -> RunjobError:
    if NO_SPACE.search(err):
        return LaunchError(f"{host}: the disk there is full ({last_line(err)}); make room or name another folder")
    if code == SSH_FAILED or RSYNC_SSH_FAILED in err:
        return explain(host, err)
    return LaunchError(f"{host}: the transfer broke off: {last_line(err) or f'code {code}'}")


def last_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith("rsync error: error in rsync")]
    return lines[-1].strip() if lines else ""


def errand_command(python: str, words: Sequence[str]) -> list[str]:
    """The errand's own text goes along: nothing of ours is there yet. -S -E would hide a venv's packages; -I keeps the
    current directory and PYTHONPATH of a login out."""
    return [python, "-I", "-c", errand_text(), *words]


def errand_text() -> str:
    assert errand.__file__ is not None
    return Path(errand.__file__).read_text(encoding="utf-8")


def run_errand(
    target: SshTarget,
    python: str,
    setup: Sequence[str],
    words: Sequence[str],
    *,
    stdin: Any = None,  # noqa: ANN401 - any JSON value
) -> Any:  # noqa: ANN401 - any JSON value
    """An errand whose answer is JSON."""
    argv = with_setup(setup, errand_command(python, words))
    answer = target.run(argv, stdin=json.dumps(stdin).encode(), timeout_s=ERRAND_S)
    if answer.code != 0:
        raise transfer_error(target.host, answer.code, answer.err)
    return read_answer(target.host, answer)


def read_answer(host: str, answer: Answer) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON behind the mark, whatever the login shell there printed before it."""
    _, mark, text = answer.out.partition(MARK)
    try:
        if mark:
            return json.loads(text)
    except ValueError:
        pass
    raise unread(host, answer)


def unread(host: str, answer: Answer) -> LaunchError:
    said = answer.err or answer.out.decode("utf-8", errors="replace")
    return LaunchError(f"{host}: an answer that can't be read: {last_line(said) or 'nothing'}")


def skip_greeting(out: IO[bytes]) -> None:
    while (line := out.readline()) and not line.endswith(MARK):
        continue
