"""The program that ends a rented machine from within: after its hours, or when nothing of runjob has lived for a while.

It goes over in the machine's user data and runs there as root, started by systemd and started again if it dies, so it
needs neither the laptop nor the network, nor anything of runjob that is installed later. `shutdown` ends the machine,
and the machine was rented so that its shutdown is its termination. Standard library only, for any Python since 3.7:

    python3 watchdog.py MAX_SECONDS IDLE_SECONDS POLL_SECONDS STATE_FILE
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

# What means work: whatever names runjob (supervisor, worker, transfers), and what installs the packages before that.
OURS = "runjob"
INSTALLERS = ("pip", "venv", "ensurepip")


def means_work(argv: list[str]) -> bool:
    """Does a process with these arguments say that the machine is needed?"""
    return any(OURS in word or word in INSTALLERS for word in argv)


def at_work() -> bool:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if means_work(argv):
            return True
    return False


def first_start(state: Path) -> float:
    """When the machine began, also after a reboot."""
    try:
        return float(state.read_text())
    except (OSError, ValueError):
        began = time.time()
        state.write_text(repr(began))
        return began


def end_machine(why: str) -> None:
    """Said on standard output, which the journal keeps and EC2 shows as the machine's console."""
    sys.stdout.write(f"runjob watchdog: {why}: shutting down\n")
    sys.stdout.flush()
    for order in (["shutdown", "-h", "now"], ["poweroff", "-f"]):
        try:
            if subprocess.call(order) == 0:
                return
        except OSError as error:
            sys.stdout.write(f"runjob watchdog: {order[0]}: {error}\n")


def main() -> None:
    most, idle, poll = map(float, sys.argv[1:4])
    began = first_start(Path(sys.argv[4]))
    last_work = time.monotonic()
    while True:
        if at_work():
            last_work = time.monotonic()
        if time.time() - began >= most:
            end_machine(f"its {most:.0f} s are over")
        elif time.monotonic() - last_work >= idle:
            end_machine(f"nothing of runjob has run for {idle:.0f} s")
        time.sleep(poll)


if __name__ == "__main__":
    main()
