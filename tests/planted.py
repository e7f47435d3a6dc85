"""Secrets planted in the environment of whoever types, and the search for them in what became of it."""

import gzip
import secrets
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

# Others in each process of pytest: two tests at a time look through all processes of the machine
PLANTED = {"HF_TOKEN": f"hf_planted{secrets.token_hex(12)}", "WANDB_API_KEY": secrets.token_hex(20)}
CLOUD = {
    "AWS_ACCESS_KEY_ID": f"AKIA{secrets.token_hex(8).upper()}",
    "AWS_SECRET_ACCESS_KEY": f"planted-secret-{secrets.token_hex(12)}",
    "AWS_SESSION_TOKEN": f"planted-session-{secrets.token_hex(12)}",
}


def files_with(planted: Iterable[str], *folders: Path) -> list[str]:
    """`file: secret` for each that stands in a file below, as it is or under gzip (pickles and archives keep texts as
    they are). What vanishes while we look is of a process that is ending."""
    found = []
    for path in (path for folder in folders for path in folder.rglob("*")):
        try:
            raw = path.read_bytes() if path.is_file() else b""
        except OSError:
            continue
        found += [f"{path}: {one}" for one in planted if one.encode() in raw or one.encode() in unpacked(raw)]
    return found


def unpacked(raw: bytes) -> bytes:
    try:
        return gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else b""
    except (OSError, EOFError, zlib.error):
        return b""


def processes_with(planted: Iterable[str], part: str) -> Iterator[tuple[int, list[bytes]]]:
    """(pid, words) of every process that has one of these in this part of /proc/PID (cmdline, environ)."""
    wanted = [one.encode() for one in planted]
    for entry in (entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            held = (entry / part).read_bytes()
        except OSError:
            continue
        if any(one in held for one in wanted):
            yield int(entry.name), words
