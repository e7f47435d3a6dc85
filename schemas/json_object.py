"""A JSON object in a file that somebody else wrote, or is writing just now, and that is no loss if it can't be read."""

import json
from pathlib import Path
from typing import Any


def read_object(file: Path) -> dict[str, Any]:
    """An empty one for a file that is not there, is damaged, or holds no object."""
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
