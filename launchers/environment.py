"""Python with runjob's packages on a machine that lacks them: `<root>/envs/<key>`, made once for each set of versions.
Sent as text and run by the Python there (`python3 -c TEXT ENVIRONMENT`, as errand.py is): standard library only.

Who comes second waits and uses what the first has made. One that was broken off has no `ready` file and is made again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

MARK = b"-- runjob --\n"
READY = "ready"


def make(target: Path, wanted: dict[str, Any]) -> None:
    """torch first and alone, as pip's own configuration there offers it; the others find it in place."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (target / READY).exists():
            return
        if target.exists():
            tell(f"{target} was broken off and is made again")
            shutil.rmtree(target)
        tell(f"making the environment {target}")
        run([sys.executable, "-m", "venv", str(target)])
        (target / "constraints.txt").write_text(wanted["constraints"], encoding="utf-8")
        pip = [str(target / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        pip += ["--constraint", str(target / "constraints.txt")]
        run([*pip, "torch"])
        run([*pip, *wanted["requirements"]])
        (target / READY).write_text("")


def run(argv: list[str]) -> None:
    """Its lines are the progress; the last ones are the reason where it fails."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    try:
        for raw in process.stdout or ():
            lines.append(raw.decode("utf-8", errors="replace").rstrip())
            tell(lines[-1])
    except OSError:
        process.kill()  # nobody listens any more, and the next one must not find pip at work in what it makes anew
        process.wait()
        raise
    if process.wait() != 0:
        said = "\n".join(line for line in lines[-12:] if line)
        raise SystemExit(f"`{' '.join(argv[:4])} ...` ended with code {process.returncode}:\n{said}")


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(words: list[str]) -> None:
    os.umask(0o077)
    make(Path(words[0]), json.load(sys.stdin))
    sys.stdout.buffer.write(MARK + b"{}")


if __name__ == "__main__":
    main(sys.argv[1:])
