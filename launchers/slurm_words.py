"""How Slurm writes things: durations, the facts of `scontrol show`, and how exactly it keeps a time limit."""

import re

# Slurm looks at its limits twice a minute, and by its manual may give its warning a minute early.
WARNING_EARLY_S = 60


def seconds(text: str) -> int | None:
    """`1-02:03:04` or `30:00` in seconds; None for UNLIMITED, `infinite` and whatever else is no duration.

    >>> seconds("1-00:01:40"), seconds("30:00"), seconds("infinite")
    (86500, 1800, None)
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if found is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def read_facts(line: str) -> dict[str, str]:
    """`JobId=7 JobState=RUNNING ...` as a mapping. The first of two counts: what a user may name, a folder with
    ` Reason=` in it say, stands at the end of Slurm's line.

    >>> read_facts("JobId=7 JobState=RUNNING WorkDir=/a JobState=FAILED")["JobState"]
    'RUNNING'
    """
    return dict(reversed(re.findall(r"(\w+)=(\S*)", line)))
