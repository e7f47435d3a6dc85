"""Job files that are built to fill memory or time, or to make something happen; for benchmarks/fuzz.py."""

import random
import re
from collections.abc import Callable
from pathlib import Path

# Up to what a job file may hold, and ten times that
SIZES = (10, 65, 1000, 20_000, 100_000, 300_000, 1_000_000, 10_000_000)
WELL = (Path(__file__).resolve().parent.parent / "jobs" / "tiny" / "gpt2_dutch.yaml").read_text(encoding="utf-8")


def instead(section: str, text: str) -> bytes:
    """A good job with this text in the place of a section."""
    return (re.sub(rf"^{section}:.*\n(?:[ #].*\n|\n)*", "", WELL, flags=re.MULTILINE) + text).encode()


def big(chance: random.Random, unit: int = 1) -> int:
    return max(1, chance.choice(SIZES) // unit)


def repeated(unit: str, before: str = "", after: str = "") -> Callable[[random.Random], bytes]:
    return lambda chance: (before + unit * big(chance, len(unit)) + after).encode()


def levels(chance: random.Random) -> bytes:
    depth = chance.choice((60, 64, 65, 1000, 20_000))
    opening, closing = chance.choice((("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("[{a: ", "}]")))
    return instead("output", "output: " + opening * depth + "1" + closing * chance.choice((depth, 0)))


def laughs(chance: random.Random) -> bytes:
    """Aliases of aliases, of lists or of mappings, the last one where a job wants a value."""
    width, height = chance.randint(2, 30), chance.randint(2, 60)
    lines = ["a0: &a0 [x]"]
    for level in range(1, height):
        items = [f"*a{level - 1}"] * width
        shape = "[" + ", ".join(items) + "]"
        if chance.random() < 0.5:
            shape = "{" + ", ".join(f"k{i}: {item}" for i, item in enumerate(items)) + "}"
        lines.append(f"a{level}: &a{level} {shape}")
    field = chance.choice(("seed: *a{}\n", "hardware: {{device: cpu, deepspeed: {{x: *a{}}}}}\n"))
    return instead(field.partition(":")[0], "\n".join([*lines, field.format(height - 1)]))


def cycle(chance: random.Random) -> bytes:
    text = chance.choice(("output: &x [*x]", "output: &x {a: *x}", "x: &x {*x : 1}", "&x [*x]: 1", "<<: &x {<<: *x}"))
    return instead("output", text)


def keys(chance: random.Random) -> bytes:
    name = chance.choice(("trainin{}", "  seed{}", '"\\u00e9{}"', "? [{}]\n", "? {{a: {}}}\n", "schema", "<<", "a{}.b"))
    count = min(big(chance, 10), 110_000)
    lines = "".join(f"{name.format(i)}: 1\n" for i in range(count))
    if chance.random() < 0.3:  # where any keys may stand
        lines = "hardware:\n  device: cpu\n  deepspeed:\n" + "".join(f"    k{i}: {{a: 1}}\n" for i in range(count // 3))
    return instead("hardware" if lines.startswith("hardware") else "output", lines)


def anchors(chance: random.Random) -> bytes:
    count = min(big(chance, 12), 90_000)
    return instead("output", "x:\n" + "".join(f"- &a{i} {{b: *a{max(i - 1, 0)}}}\n" for i in range(count)))


def number(chance: random.Random) -> bytes:
    digits = chance.choice((300, 301, 4300, 4301, 100_000))
    nines = "9" * digits
    text = chance.choice((nines, "0x" + "f" * digits, "1e" + nines, "." + "0" * digits + "1", "-" * digits))
    section, shape = chance.choice(
        (
            ("seed", "seed: {}\n"),
            ("training", "training: {{length: {} steps, global_batch: 8, micro_batch: 8, learning_rate: 1}}\n"),
            ("training", "training: {{length: 1 epoch, global_batch: {}, micro_batch: 8, learning_rate: {}}}\n"),
            ("hardware", "hardware: {{device: cpu, memory: {}GiB, time: '{}:00:00'}}\n"),
        )
    )
    return instead(section, shape.format(text, text))


def expression(chance: random.Random) -> bytes:
    """Regular expressions are compiled when a job is read: such as are slow to compile."""
    part = chance.choice(
        (
            "(?:a{65535}){65535}",
            "(?i)[\u0100-\U0010fff0]",
            "(?:",
            "[a-z\\d]|",
            "(a|b)*",
            "(?<=a)",
            "\\p",
            "(?:a|b)?",
            "a|",
        )
    )
    text = part * chance.choice((1, 10, 100, 1000, 20_000))
    return instead("data", f"data: {{kind: text, path: x, sequence_length: 128, filter: {{keep: '{text}'}}}}\n")


def word(chance: random.Random) -> bytes:
    letters = chance.choice("xé'\"|>#\\") * big(chance)
    section, shape = chance.choice(
        (
            ("seed", "seed: {}\n"),
            ("output", "{}: 1\n"),
            ("output", "? {}\n"),
            ("output", "output: {{description: {}, remote: 's3://{}?{}'}}\n"),
            ("objective", "objective: {{kind: {}}}\n"),
            ("data", "data: {{kind: text, path: 's3://a:b@{}', sequence_length: 8}}\n"),
            ("data", "data: {{kind: text, path: '{}://', sequence_length: 8}}\n"),
            ("model", "model: {{init: {{kind: tile, teacher: '{}'}}}}\n"),
            ("evaluation", "evaluation: {{best: {}, prompts: ['{}', '{}']}}\n"),
        )
    )
    return instead(section, shape.replace("{}", letters).replace("{{", "{").replace("}}", "}"))


HURTFUL: tuple[Callable[[random.Random], bytes], ...] = (
    levels,
    laughs,
    cycle,
    keys,
    anchors,
    number,
    expression,
    word,
    *map(
        repeated, ("[", "{", "- ", "? ", "'", ":", "a: ", "---\n", "#\n", "&a ", "*a ", "!!x ", "\0", "\ufeff", "%A\n")
    ),
    repeated("1, ", "prompts: [", "]"),
    repeated("a: 1, ", "{", "}"),
    repeated("  ", "a:\n", "b: 1"),
    repeated("\\u0000", 'a: "', '"'),
    repeated("line\n\n", "a: |\n  "),
)
