"""What torchrun says at its end of the ranks that it waited for. It turns every code into 1, so which rank ended how
stands only in the report that it writes to the log of its stage."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from runjob.launchers.logs import tail
from runjob.schemas.ended import RankEnd

RANK = re.compile(r"rank +: (\d+) \(local_rank: \d+\)\s+exitcode +: (-?\d+) +\(pid: (\d+)\)")
REPORT_LINES = 60
# A rank that paused or was cancelled ends with a code that torchrun takes for a failure, as it does every other than 0
ORDERLY = re.compile(r"torch/distributed/elastic/.* failed \(exitcode: (?:75|130)\)")
RULE = "=" * 20


def read_report(log: Path) -> tuple[RankEnd, ...]:
    """The ranks whose end made torchrun end all others, the root cause last, as torchrun sees it."""
    found = RANK.findall(tail(log, REPORT_LINES))
    return tuple(RankEnd(rank=int(rank), code=int(code), pid=int(pid)) for rank, code, pid in found)


class WithoutOrderlyEnds:
    """The lines of a log, some at a time, without torchrun's reports of ranks that ended as they were asked to: each is
    a traceback, the last of a log, and reads like a crash."""

    def __init__(self) -> None:
        self._rules_to_come = 0

    def __call__(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            if ORDERLY.search(line):
                self._rules_to_come = 2  # one above what it says, one below
            elif self._rules_to_come:
                self._rules_to_come -= line.startswith(RULE)
            else:
                yield line
