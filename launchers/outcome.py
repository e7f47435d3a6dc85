"""How an attempt ended, in the words of status.json.

Rank 0 says it in exit.json (of a run that has hung watchdog.py does), and only that is believed: torchrun turns every
non-zero code into 1 and ends with 1 even after an orderly preemption. Without exit.json the attempt failed, and the
signal or code is all there is to tell.
"""

import signal

from runjob.launchers.torchrun_report import read_report
from runjob.schemas.errors import RunjobError
from runjob.schemas.run import Attempt, State

# As many bytes of an error as a table cell or a status line bears; the whole of it stands in exit.json.
MESSAGE_CHARACTERS = 300


def describe_end(code: int) -> str:
    """`ended with code 1`, `was ended by signal 9 (SIGKILL)`.

    >>> describe_end(-9)
    'was ended by signal 9 (SIGKILL)'
    >>> describe_end(137)
    'ended with code 137 (a child was ended by signal 9, SIGKILL)'
    """
    if code < 0:
        return f"was ended by signal {-code} ({_name(-code)})"
    if code == 127:
        return "could not be started (code 127)"
    if 128 < code < 128 + signal.NSIG:
        return f"ended with code {code} (a child was ended by signal {code - 128}, {_name(code - 128)})"
    return f"ended with code {code}"


def outcome_of(attempt: Attempt, stage: str, code: int, *, kernel: str = "") -> tuple[State, str]:
    """State and message from exit.json, or from what is left where there is none; `kernel` is what the kernel's counts
    say of memory meanwhile, which explains a SIGKILL and nothing else."""
    try:
        said = attempt.read_exit()
    except RunjobError as error:
        return "failed", str(error)
    if said is not None:
        error_lines = said.error.strip().splitlines()
        reason = error_lines[0] if error_lines else said.reason
        culprit = with_kernel(killed_rank(attempt, stage), kernel) if said.outcome == "failed" else ""
        return said.outcome, "; rank 0: ".join(filter(None, [culprit, reason]))[:MESSAGE_CHARACTERS]
    asked = attempt.stop_reason()
    end = f"stage {stage} {describe_end(code)} and left no exit.json"
    if asked == "cancel":
        return "cancelled", f"stopped as asked, but without saving: {end}"
    if asked == "preempt":
        return "failed", f"it was asked to save and stop, and did not save: {end}"
    end = with_kernel("; ".join(filter(None, [killed_rank(attempt, stage), end])), kernel)
    return "failed", f"{end}; see {attempt.stage_log(stage)}"


def with_kernel(end: str, kernel: str) -> str:
    return f"{end}; {kernel}" if kernel and "SIGKILL" in end else end


def killed_rank(attempt: Attempt, stage: str) -> str:
    """`rank 1 was ended by signal 9 (SIGKILL)` if torchrun's report says so. Rank 0 only sees a broken connection."""
    # SIGTERM is what it sends the others itself
    found = [end for end in read_report(attempt.stage_log(stage)) if end.code < 0 and end.code != -signal.SIGTERM]
    return f"rank {found[-1].rank} {describe_end(found[-1].code)}" if found else ""


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a real-time signal"
