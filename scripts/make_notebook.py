"""Run docs/notebooks/first_run.ipynb in a folder of its own and write it back with its outputs, free of what is another
each time: ids, counters, and what the kernel says of itself. A test runs it too, and compares."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebooks" / "first_run.ipynb"
ID = re.compile(r"\b([a-z0-9][a-z0-9_-]{0,40})-[0-9a-f]{8}\b")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        NOTEBOOK.write_text(run(Path(folder), os.environ), encoding="utf-8")
    return 0


def run(folder: Path, environment: Mapping[str, str]) -> str:
    """The notebook as it is after every cell has run in `folder`; an error in a cell is one here."""
    copy = folder / NOTEBOOK.name
    copy.write_bytes(NOTEBOOK.read_bytes())
    own = {"JUPYTER_RUNTIME_DIR": f"{folder}/runtime", "IPYTHONDIR": f"{folder}/ipython", "JUPYTER_PLATFORM_DIRS": "1"}
    argv = [Path(sys.executable).with_name("jupyter-execute"), "--inplace", copy]
    subprocess.run(argv, cwd=folder, env={**environment, **own}, check=True, timeout=300)
    return stripped(json.loads(copy.read_text(encoding="utf-8")))


def stripped(notebook: dict[str, Any]) -> str:
    cells = [cell_of(number, cell) for number, cell in enumerate(notebook["cells"], start=1)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def cell_of(number: int, cell: dict[str, Any]) -> dict[str, Any]:
    kept = {"cell_type": cell["cell_type"], "id": f"cell-{number}", "metadata": {}, "source": lines(cell["source"])}
    if cell["cell_type"] != "code":
        return kept
    return {**kept, "execution_count": None, "outputs": joined(map(output_of, cell["outputs"]))}


def joined(outputs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a cell prints comes in pieces, as it is printed."""
    found: list[dict[str, Any]] = []
    for output in outputs:
        if found and "text" in output and "text" in found[-1]:
            found[-1]["text"] += output["text"]
        else:
            found.append(output)
    return found


def output_of(output: dict[str, Any]) -> dict[str, Any]:
    if output["output_type"] == "stream":
        return {"name": output["name"], "output_type": "stream", "text": lines(without_ids(output["text"]))}
    text = lines(without_ids(output["data"]["text/plain"]))
    return {"data": {"text/plain": text}, "execution_count": None, "metadata": {}, "output_type": "execute_result"}


def without_ids(text: str | list[str]) -> str:
    return ID.sub(r"\1-xxxxxxxx", "".join(text))


def lines(text: str | list[str]) -> list[str]:
    return "".join(text).splitlines(keepends=True)


if __name__ == "__main__":
    sys.exit(main())
