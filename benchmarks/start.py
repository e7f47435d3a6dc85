"""How long a user waits for an answer that needs no training: `runjob validate` of the shipped jobs, and `--help`.

Each command is started anew, after one start that fills the file cache; the median and the range of the rest are
printed, and the ratio to a bare `import yaml, jsonschema`, which any program that checks YAML by JSON Schema has to
pay. Ratios travel between machines, milliseconds do not.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNJOB = str(Path(sys.executable).parent / "runjob")
STARTS = 15


def measure(argv: list[str]) -> list[float]:
    """Milliseconds of each start but the first."""
    times = []
    for _ in range(STARTS + 1):
        begun = time.perf_counter()
        subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - begun) * 1000)
    return times[1:]


def main() -> None:
    jobs = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "jobs").rglob("*.yaml"))
    floor = [sys.executable, "-c", "import yaml, jsonschema"]
    rows = {
        "python -c 'import yaml, jsonschema'": floor,
        "runjob --help": [RUNJOB, "--help"],
        f"runjob validate ({len(jobs)} job files)": [RUNJOB, "validate", *jobs],
    }
    lowest = None
    print(f"{'started anew, ' + str(STARTS) + ' times':<42}{'median ms':>10}{'range ms':>14}{'ratio':>8}")
    for title, argv in rows.items():
        times = measure(argv)
        median = statistics.median(times)
        lowest = lowest or median
        print(f"{title:<42}{median:>10.0f}{f'{min(times):.0f}-{max(times):.0f}':>14}{median / lowest:>8.2f}")


if __name__ == "__main__":
    main()
