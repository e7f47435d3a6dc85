"""What the supervisor sees of an attempt's end, written to attempts/N/ended.json: the wait status of each stage, the
ranks in torchrun's report, whom the kernel killed, how full the disks are. Message texts are left to those who wrote
them."""

import os
import socket
import time
from collections import deque
from pathlib import Path

from runjob.launchers.kernel import count_group_oom_kills, count_oom_kills, killed_by_kernel
from runjob.launchers.place import boot_id
from runjob.launchers.torchrun_report import read_report
from runjob.schemas.ended import Disk, Ended, OutOfMemoryKills, StageEnd
from runjob.schemas.own_log import say
from runjob.schemas.run import Attempt, RunDir, cache_home

LOOK_EVERY_S = 5.0
# A rank's death ends the others within torchrun's 30 s of patience. What the kernel killed long before that, it killed
# for somebody else's sake.
WINDOW_S = 60.0
Counts = tuple[int | None, int | None]


class Witness:
    def __init__(self, run: RunDir, attempt: Attempt) -> None:
        self.run = run
        self.attempt = attempt
        self.stages: list[StageEnd] = []
        # (time, counts of the machine and of the control group), the oldest the last one from before the window
        self.looks: deque[tuple[float, Counts]] = deque()
        self.oom_kills = OutOfMemoryKills()
        self.disks: tuple[Disk, ...] = ()
        self.look()

    def look(self) -> None:
        """The kernel's counts as they are now, every few seconds: what matters is what changed at the end."""
        now = time.monotonic()
        if self.looks and now - self.looks[-1][0] < LOOK_EVERY_S:
            return
        self.looks.append((now, (count_oom_kills(), count_group_oom_kills())))
        while len(self.looks) > 1 and self.looks[1][0] < now - WINDOW_S:
            self.looks.popleft()

    def stage_ended(self, end: StageEnd) -> None:
        """To be called at once: room on a disk that was full is often made within seconds."""
        self.stages.append(end)
        began, (machine, group) = self.looks[0]
        self.oom_kills = OutOfMemoryKills(
            machine=_rise(machine, count_oom_kills()),
            control_group=_rise(group, count_group_oom_kills()),
            pids=killed_by_kernel(began - WINDOW_S) if end.code != 0 else None,
        )
        self.disks = tuple(_free(path) for path in (self.run.path, cache_home()) if path.exists())

    def tell(self) -> bool:
        """Write it down. A full disk must not end anything: whether it could be written is the answer."""
        last = self.stages[-1] if self.stages else None
        log = self.attempt.stage_log(last.name) if last is not None and last.code != 0 else None
        try:
            Ended(
                host=socket.gethostname(),
                boot_id=boot_id(),
                time=time.time(),
                stages=tuple(self.stages),
                ranks=read_report(log) if log is not None else (),
                oom_kills=self.oom_kills,
                disks=self.disks,
            ).write(self.attempt.ended)
        except OSError as error:
            say(f"{self.attempt.ended.name} can't be written: {error}")
            return False
        return True


def _rise(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _free(path: Path) -> Disk:
    found = os.statvfs(path)
    # file systems that make room for files as they need it have a count of 0 for all of them
    files = found.f_favail if found.f_files else -1
    return Disk(path=str(path), free_bytes=found.f_bavail * found.f_frsize, free_files=files)
