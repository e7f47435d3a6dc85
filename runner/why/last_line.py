"""The last resort: how a traceback at the end of a log begins its last line. Only the type and the errno there are
read, of few errors that can mean one thing, and never what the message says."""

import errno
import re
from pathlib import Path

from runjob.launchers.logs import tail
from runjob.runner.why.causes import class_of
from runjob.runner.why.classes import Class
from runjob.schemas.causes import Cause

LINES = 200
TRACEBACK = "Traceback (most recent call last):"
FRAME = re.compile(r'  File "[^"]+", line \d+')
ERROR = re.compile(r"(?P<type>[A-Za-z_][\w.]*)(?::|$)(?: \[Errno (?P<errno>\d+)\])?")
TYPES: dict[str, Cause] = {
    "ModuleNotFoundError": Cause(type="builtins.ImportError"),
    "ImportError": Cause(type="builtins.ImportError"),
    "MemoryError": Cause(type="builtins.MemoryError"),
    "torch.OutOfMemoryError": Cause(type="torch.OutOfMemoryError"),
    "torch.cuda.OutOfMemoryError": Cause(type="torch.OutOfMemoryError"),
}


def class_of_last_line(log: Path) -> tuple[Class, str] | None:
    """None unless the log ends with a traceback whose last line names one of these errors, or an errno."""
    line = error_line(tail(log, LINES).splitlines())
    found = ERROR.match(line)
    if found is None:
        return None
    name, number = found["type"], found["errno"]
    if name in TYPES:
        judged = class_of((TYPES[name],))
    elif number is not None and int(number) in errno.errorcode:
        judged = class_of((Cause(type=f"builtins.{name}", errno=errno.errorcode[int(number)]),))
    else:
        judged = None
    return None if judged is None else (judged[0], line)


def error_line(lines: list[str]) -> str:
    """The line after the frames of a traceback that nothing follows; empty where the log ends otherwise."""
    starts = [number for number, line in enumerate(lines) if line == TRACEBACK]
    if not starts:
        return ""
    block = [line for line in lines[starts[-1] + 1 :] if line]
    frames = [number for number, line in enumerate(block) if line.startswith("  ")]
    whole = frames == list(range(len(block) - 1))
    if not whole or not any(FRAME.match(line) for line in block):
        return ""
    return block[-1]
