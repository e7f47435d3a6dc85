"""One flipped bit, half of the file, nothing of it, or no file at all: in every kind of file that a run and the cache
hold. The run was stopped at step 14 of 20. With the damage in it every command that only looks must answer, and
`resume` must either go on to what the unbroken run ends with, or name the file; put back, the run must go on.

What each kind of file is, a trial says by itself:

harmless    nobody who computes reads it, or it is made anew: the run goes on and ends equal
replaced    it is named, and the older good one is taken, or it is made again: the run goes on and ends equal
refused     it is named, with the way on, before anything starts
"""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.chaos.jobs import Narrow, References
from benchmarks.chaos.place import Place, is_outcome, trace
from benchmarks.chaos.results import Enough, Named, Trial
from runjob.schemas.run import RunDir

# Two are kept by then: 8 and 12, and the one of the pause
PAUSED_AT = 14
LOOKS = (("ps", "--json"), ("status",), ("status", "--json"), ("why",), ("why", "--json"), ("logs",), ("cancel",))


def flip(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]


def halve(content: bytes, chance: random.Random) -> bytes:
    return content[: len(content) // 2]


def empty(content: bytes, chance: random.Random) -> bytes:
    return b""


Damage = Callable[[bytes, random.Random], bytes]
DAMAGES: dict[str, Damage] = {"one bit": flip, "half": halve, "empty": empty}
# Of a rename that was none: the old is gone and the new never came
GONE = "gone"
# What was lost of these is not computed again
RECORDS = "events.jsonl"


def kinds(run: RunDir, cache: Path) -> dict[str, Path]:
    """One file of each kind, the newest, by a name that says what it is."""
    found: dict[str, Path] = {}
    for root, label in ((run.path, ""), (cache, "cache/")):
        for path in sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size):
            name = kind_of(path.relative_to(root))
            if name is not None:
                found[label + name] = path
    return found


def kind_of(relative: Path) -> str | None:
    """`checkpoints/state.json`; one file stands for all of the code, and a lock is never read."""
    parts = [part for part in relative.parts if not part.startswith(("step-", ".")) and not is_key(part)]
    if relative.suffix in (".lock", ".pyc") or relative.name.startswith("."):
        return None
    if parts[0] == "code" and relative.name != "CODE.json":
        return "code/runjob" if relative.name == "train.py" else None
    name = relative.name if not is_key(relative.stem) else f"KEY{relative.suffix}"
    folders = [part for part in parts[:-1] if not part.isdecimal()]
    return "/".join([*folders[:1], *folders[1:2], name] if folders else [name])


def is_key(part: str) -> bool:
    stem = part.partition(".")[0]
    return len(stem) >= 32 and all(letter in "0123456789abcdef" for letter in stem)


def trials(place: Place, references: References, chance: random.Random, enough: Enough) -> Iterator[Named]:
    """Every kind with every damage once, in an order drawn anew; as many as there is time for."""
    job = Narrow(name="gpt2_dutch", ranks=1, more=("training.precision=bf16",))
    references.of(job)
    paused = place.submit(job.file, (*job.sets, f"training.stop_after={PAUSED_AT} steps"))
    todo = [(kind, damage) for kind in kinds(paused, place.cache) for damage in (*DAMAGES, GONE)]
    chance.shuffle(todo)
    for number, (kind, damage) in enumerate(todo):
        if enough(number):
            return
        yield f"damage: {kind}", broken(place, references, job, paused, kind, damage, chance)


def broken(
    place: Place, references: References, job: Narrow, paused: RunDir, kind: str, damage: str, chance: random.Random
) -> Trial:
    """In a copy of all: one file as it should not be."""
    copy = Place(path=place.path / "copy")
    shutil.rmtree(copy.path, ignore_errors=True)
    shutil.copytree(paused.path, copy.runs / paused.id)
    shutil.copytree(place.cache, copy.cache)
    run = RunDir(copy.runs / paused.id)
    file = kinds(run, copy.cache)[kind]
    good = file.read_bytes()
    if damage == GONE:
        file.unlink()
    else:
        file.write_bytes(DAMAGES[damage](good, chance))
    if complaint := next(complaints(copy, run), ""):
        return Trial(lost=True, note=f"{damage}: {complaint}")
    resumed = copy.call("resume", run.id)
    said = resumed.stdout + resumed.stderr
    if not is_outcome(resumed.returncode) or "Traceback" in said:
        return Trial(lost=True, note=f"{damage}: {last_line(said)}")
    words = said.replace(str(copy.path), "")  # which may hold any word
    named = file.name in words or "damaged" in words
    named = named or any(file.name in str(record) for record in run.read_events("resume"))
    if resumed.returncode == 0:
        same = ends_equal(references, job, run, records=kind != RECORDS)
        return Trial(differing=not same, detected=named, note="" if same else f"{damage}: went on to other numbers")
    if not named:
        return Trial(lost=True, note=f"{damage}: refused without naming it: {last_line(said)}")
    file.write_bytes(good)
    mended = copy.call("resume", run.id)
    same = mended.returncode == 0 and references.same(job, run)
    note = "" if same else f"{damage}: does not go on when it is mended: {last_line(mended.stderr)}"
    return Trial(lost=not same, detected=True, refused=True, note=note)


def ends_equal(references: References, job: Narrow, run: RunDir, *, records: bool) -> bool:
    """`records` false: those that were lost stay lost, and what is left of them must be as it was."""
    if records:
        return references.same(job, run)
    expected, found = trace(references.of(job)), trace(run)
    kept, all_of_them = found.pop("records"), expected.pop("records")
    return found == expected and all(record in all_of_them for record in kept)


def complaints(place: Place, run: RunDir) -> Iterator[str]:
    """What a command that only looks must not do: break, or refuse its answer (`cancel` changes the job and may)."""
    for command, *options in LOOKS:
        done = place.call(command, *([] if command == "ps" else [run.id]), *options)
        if "Traceback" in done.stderr or done.returncode not in ((0, 1, 2) if command == "cancel" else (0,)):
            yield f"{command} {' '.join(options)}: {done.returncode}: {last_line(done.stderr)}"


def last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:200]
