"""Processes that must not outlive the one that started them.

A training run is a chain: supervisor, torchrun, ranks. If the supervisor is killed with SIGKILL nobody is left to end
the others, so on Linux the kernel does it: every process of the chain asks for SIGKILL at its parent's death. Elsewhere
(macOS) there is no such request; there the ranks have to look at `supervisor_alive()` between steps.

Standard library only: ranks, supervisor and command line all import this.
"""

import ctypes
import os
import signal

from runjob.schemas.processes import LINUX, process_alive

# The supervisor's "pid start_time", inherited by every process of a run.
SUPERVISOR_VARIABLE = "RUNJOB_SUPERVISOR"
# The number of the attempt that a process of a run belongs to.
ATTEMPT_VARIABLE = "RUNJOB_ATTEMPT"
# Set where a launcher alone answers signals (Slurm sends them to every process of a job): all below it ignore them.
SIGNALS_VARIABLE = "RUNJOB_SIGNALS"

# A rank answers it with the stacks of its threads, in its log; who does not listen is left alone by it.
STACKS_SIGNAL = signal.SIGURG

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def supervisor_alive() -> bool:
    """Is the supervisor that started this run still there? True for a process that no supervisor started."""
    text = os.environ.get(SUPERVISOR_VARIABLE)
    if text is None:
        return True
    pid, _, start_time = text.partition(" ")
    return process_alive(int(pid), int(start_time))


def set_parent_death_signal() -> None:
    """Ask the kernel for SIGKILL when the parent dies; does nothing outside Linux."""
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_parent() -> None:
    """To be called first by every rank and by every process that `prepare` starts.

    The parent may have died before the request reached the kernel. Then the supervisor is dead too (its death is what
    killed the parent), or it lives and ends what is left of its stage itself.
    """
    set_parent_death_signal()
    if not supervisor_alive():
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that they can be found and ended."""
    if LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


_LIBC = ctypes.CDLL(None, use_errno=True) if LINUX else None


def _prctl(option: int, value: int) -> None:
    assert _LIBC is not None
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
