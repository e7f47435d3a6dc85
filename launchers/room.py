"""Was the disk full when a stage ended? Asked then, because what it could not write down nobody can read later."""

import os
from pathlib import Path

# What a log and a record of an end take; a disk that has no more is full to whoever writes a checkpoint.
LEAST_BYTES = 64 * 1024


def tell_full_disk(folder: Path) -> str:
    """In words; empty where there is room, or nothing is left to ask about."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return ""
    if disk.f_bavail * disk.f_frsize < LEAST_BYTES:
        return f"the disk of {folder} is full: make room, then resume"
    if disk.f_files and not disk.f_favail:
        return f"the disk of {folder} has no place for another file: remove some, then resume"
    return ""
