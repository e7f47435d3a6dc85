"""Does a student learn faster from its teacher's weights? jobs/tiny/modernbert_student.yaml is trained from different
first weights, on the same rows in the same order with the same places hidden, and its evaluations are set side by side.
They are over the lines that the teacher's own training left out (jobs/tiny/modernbert_teacher.yaml), so that neither
teacher nor student has seen what they are judged by; the students learn from the lines that the teacher learnt from.

    python -m benchmarks.guide [--steps 500] [--seeds 1 2 3] [--starts random tile guide] [--to FILE.json] [--svg FILE]

With --to, what is there already is not trained again; --svg draws what the file holds: the mean over the seeds, and a
band from the lowest to the highest.
"""

import argparse
import gzip
import json
import math
import sys
import tempfile
from pathlib import Path

from benchmarks.trained import evaluations
from benchmarks.trained import train as run_job
from runjob.data.samples import locate
from runjob.data.split import hash_side
from runjob.schemas.job_data import HashSplit
from runjob.schemas.read import read_job

JOBS = Path(__file__).parent.parent / "jobs" / "tiny"
JOB = JOBS / "modernbert_student.yaml"
# as deep as the teacher, so that all layers can be projected too
SIZES = "hidden_size: 64, num_hidden_layers: 4, num_attention_heads: 2, intermediate_size: 128, local_attention: 32"
COMMON = f"{SIZES}, max_position_embeddings: 512"
TEACHER = "teacher: sample:modernbert_teacher"
STARTS = {
    "random": f"{{kind: scratch, architecture: modernbert, {COMMON}}}",
    "tile": f"{{kind: tile, {TEACHER}, {COMMON}}}",
    "guide": f"{{kind: guide, {TEACHER}, {COMMON}, embedding_scale: fresh}}",
    "guide, teacher's scale": f"{{kind: guide, {TEACHER}, {COMMON}, embedding_scale: teacher}}",
    "guide, uniform": f"{{kind: guide, {TEACHER}, {COMMON}, embedding_scale: fresh, layers: uniform}}",
}
EVERY = 50
COLOURS = ("#444444", "#c44e52", "#4c72b0", "#dd8452", "#55a868")

# start -> seed -> [(step, loss), ...]
Curves = dict[str, dict[str, list[tuple[int, float]]]]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=["random", "tile", "guide"])
    parser.add_argument("--to", type=Path)
    parser.add_argument("--svg", type=Path)
    args = parser.parse_args()
    curves: Curves = json.loads(args.to.read_text()) if args.to is not None and args.to.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        sides = write_sides(Path(folder))
        for seed in args.seeds:  # a seed of every start before the next one
            for start in args.starts:
                if str(seed) in curves.get(start, {}):
                    continue
                curves.setdefault(start, {})[str(seed)] = train(start, sides, seed=seed, steps=args.steps)
                if args.to is not None:
                    args.to.write_text(json.dumps(curves))
    print(table(curves))
    if args.svg is not None:
        args.svg.write_text(draw(curves), encoding="utf-8")
    return 0


def write_sides(folder: Path) -> tuple[str, ...]:
    """The corpus as two files, cut as the teacher's job cuts it; the values that name them."""
    teacher = read_job(JOBS / "modernbert_teacher.yaml").job
    assert isinstance(teacher.data.split, HashSplit)
    seen, unseen = folder / "seen.txt", folder / "unseen.txt"
    with (
        gzip.open(locate("english"), "rt", encoding="utf-8") as corpus,
        seen.open("w") as train,
        unseen.open("w") as rest,
    ):
        for line in corpus:
            text, share = line.rstrip("\r\n"), teacher.data.split.validation
            side = hash_side(text, validation=share, test=None, seed=teacher.seed)
            (train if side == "train" else rest).write(f"{text}\n")
    return f"data.path={seen}", f"data.split={{kind: files, validation: {unseen}}}"


def train(start: str, sides: tuple[str, ...], *, seed: int, steps: int) -> list[tuple[int, float]]:
    """The evaluations of one run."""
    sets = [
        *sides,
        f"seed={seed}",
        f"model.init={STARTS[start]}",
        f"training.length={steps} steps",
        "training.global_batch=16",
        "training.micro_batch=16",
        "training.checkpoint.every=never",
        f"evaluation.every={EVERY} steps",
        "evaluation.also_hide=[]",
        "evaluation.best=null",
        "tracking.tensorboard=false",
        "hardware.threads=1",
    ]
    return [(event["step"], event["loss"]) for event in evaluations(run_job(JOB, sets))]


def table(curves: Curves) -> str:
    """Mean and spread of the evaluation loss, and the steps until a random start's last loss is reached."""
    steps = [step for step, _ in next(iter(next(iter(curves.values())).values()))]
    shown = [step for step in steps if step in (0, 50, 100, 200, 300, steps[-1])]
    lines = ["| start | " + " | ".join(f"step {step}" for step in shown) + " | as good as random at its end |"]
    lines.append("|---" * (len(shown) + 2) + "|")
    for start in curves:
        cells = [f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, low, high in map(spread_of(curves[start]), shown)]
        lines.append(f"| {start} | " + " | ".join(cells) + f" | {overtakes(curves, start)} |")
    return "\n".join(lines)


def spread_of(runs: dict[str, list[tuple[int, float]]]):  # noqa: ANN201 - a function of a step
    def spread(step: int) -> tuple[float, float, float]:
        found = [dict(run)[step] for run in runs.values()]
        return sum(found) / len(found), min(found), max(found)

    return spread


def overtakes(curves: Curves, start: str) -> str:
    """The first evaluation whose mean is no worse than that of a random start at its end."""
    if "random" not in curves:
        return "-"
    steps = [step for step, _ in next(iter(curves[start].values()))]
    goal = spread_of(curves["random"])(steps[-1])[0]
    reached = [step for step in steps if spread_of(curves[start])(step)[0] <= goal]
    return f"step {reached[0]}" if reached else "never"


def draw(curves: Curves) -> str:
    """An SVG: steps to the right, loss upwards, a line a start with the band of its seeds."""
    width, height, left, top = 640, 400, 56, 16
    right, bottom = width - 16, height - 40
    steps = [step for step, _ in next(iter(next(iter(curves.values())).values()))]
    every = [value for start in curves for step in steps for value in spread_of(curves[start])(step)]
    low, high = math.floor(min(every) * 2) / 2, math.ceil(max(every) * 2) / 2

    def place(step: float, loss: float) -> str:
        across = left + (right - left) * step / steps[-1]
        return f"{across:.1f},{bottom - (bottom - top) * (loss - low) / (high - low):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    ticks = [low + 0.5 * number for number in range(round((high - low) * 2) + 1)]
    for tick in ticks[:: max(len(ticks) // 8, 1)]:
        y = place(0, tick).partition(",")[2]
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y}" y2="{y}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y}" dy="4" text-anchor="end">{tick:g}</text>')
    for step in range(0, steps[-1] + 1, 100):
        x = place(step, low).partition(",")[0]
        parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{step}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{height - 6}" text-anchor="middle">steps</text>')
    for number, start in enumerate(curves):
        colour = COLOURS[list(STARTS).index(start)]
        found = [(step, *spread_of(curves[start])(step)) for step in steps]
        band = [place(s, lo) for s, _, lo, _ in found] + [place(s, hi) for s, _, _, hi in reversed(found)]
        parts.append(f'<polygon points="{" ".join(band)}" fill="{colour}" opacity="0.2"/>')
        line = " ".join(place(s, mean) for s, mean, _, _ in found)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{right - 180}" y="{top + 16 + 16 * number}" fill="{colour}">{start}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
