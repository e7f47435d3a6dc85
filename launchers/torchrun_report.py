"""What torchrun says at its end of the ranks that it waited for. It turns every code into 1, so which rank ended how
stands only in the report that it writes to the log of its stage."""

import re
from pathlib import Path

from runjob.launchers.logs import tail
from runjob.schemas.ended import RankEnd

RANK = re.compile(r"rank +: (\d+) \(local_rank: \d+\)\s+exitcode +: (-?\d+) +\(pid: (\d+)\)")
REPORT_LINES = 60


def read_report(log: Path) -> tuple[RankEnd, ...]:
    """The ranks whose end made torchrun end all others, the root cause last, as torchrun sees it."""
    found = RANK.findall(tail(log, REPORT_LINES))
    return tuple(RankEnd(rank=int(rank), code=int(code), pid=int(pid)) for rank, code, pid in found)
