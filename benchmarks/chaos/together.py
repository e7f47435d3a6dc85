"""Many who want the same at once: three who resume a run, one who cancels it meanwhile, and fifty who submit. The job
ends by itself while it prepares, for want of its tokenizer, so that what is tried is who may begin, and no training."""

import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.chaos.jobs import References
from benchmarks.chaos.place import Place, settle
from benchmarks.chaos.results import Enough, Named, Trial
from runjob.schemas.errors import RunjobError
from runjob.schemas.run import RunDir, list_runs

ROUNDS = 30
SUBMITTED = 50
JOB = """\
schema: 1
name: together
data:
  kind: text
  path: text.txt
  sequence_length: 32
  tokenizer: {kind: pretrained, path: ./tokenizer}
model:
  init: {kind: scratch, architecture: gpt2, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 1,
    max_position_embeddings: 32}
objective: {kind: clm}
training: {length: 1 steps, global_batch: 1, micro_batch: 1, learning_rate: 1e-3}
hardware: {device: cpu, ranks: 1}
"""


def trials(place: Place, references: References, chance: random.Random, enough: Enough) -> Iterator[Named]:
    (place.path / "text.txt").write_text("een twee drie\n", encoding="utf-8")
    (place.path / "tokenizer").mkdir(exist_ok=True)
    (place.path / "tokenizer" / "tokenizer.json").write_text("{}", encoding="utf-8")
    job = place.path / "together.yaml"
    job.write_text(JOB, encoding="utf-8")
    yield f"{SUBMITTED} submit at once", submitted(place, job)
    run = place.submit(job, ())
    for number in range(ROUNDS):
        if enough(number + 1):
            return
        with_cancel = number % 2 == 1
        words = [["resume", run.id, "--detach"]] * 3 + [["cancel", run.id]] * with_cancel
        fault = "two resume and one cancels at once" if with_cancel else "three resume at once"
        yield fault, judged(place, run, words[with_cancel:])


def submitted(place: Place, job: Path) -> Trial:
    """Each has a run of its own, which comes to the end that it must."""
    before = {one.id for one in list_runs(place.runs)}
    said = answers([place.start(job, "--detach") for _ in range(SUBMITTED)])
    made = [one for one in list_runs(place.runs) if one.id not in before]
    states = [settle(one) for one in made]
    whole = len(made) == SUBMITTED and set(states) == {"failed"} and all(code == 0 for code, _ in said)
    for one in made:
        shutil.rmtree(one.path)
    words = " ".join(text.strip()[-300:] for code, text in said if code)
    note = "" if whole else f"{len(made)} runs, {sorted(set(states))}, {sorted({code for code, _ in said})}: {words}"
    return Trial(lost=not whole, detected=True, note=note)


def judged(place: Place, run: RunDir, commands: Sequence[Sequence[str]]) -> Trial:
    """Every answer is one of runjob's own, and no attempt was made twice, left out, or left without its end."""
    before = len(run.list_attempts())
    said = answers([place.start(*words) for words in commands])
    state = settle(run)
    numbers = [attempt.number for attempt in run.list_attempts()]
    broken = [text for code, text in said if code not in (0, 2) or "Traceback" in text]
    in_order = numbers == list(range(1, len(numbers) + 1)) and len(numbers) > before
    good = in_order and not broken and state in ("failed", "cancelled") and is_whole(run)
    named = any("somebody else" in text or "is pending" in text for _, text in said)
    note = "" if good else f"{state}, attempts {numbers}: {' '.join(broken)[-300:]}"
    return Trial(lost=not good, detected=named, note=note)


def is_whole(run: RunDir) -> bool:
    try:
        return run.read_status().attempt == run.list_attempts()[-1].number
    except RunjobError:
        return False


def answers(processes: "Sequence[subprocess.Popen[str]]") -> list[tuple[int, str]]:
    found = []
    for process in processes:
        out, err = process.communicate(timeout=600)
        found.append((process.returncode, out + err))
    return found
