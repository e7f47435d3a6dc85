"""Broken and hostile job files by number, for benchmarks/fuzz.py: four kinds, each file a function of (seed, number).

from the schema   hypothesis walks the schema: every kind and field, most values as the field wants them
changed           a real job's values: one to four of them replaced, taken out, repeated, moved, added
misspelt          a real job's text: lines, characters and bytes lost, doubled, cut; anchors, tags, other encodings
built to hurt     brackets, aliases, levels, keys, numbers and words by the thousand and the million
"""

import copy
import itertools
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.fuzz_hurtful import HURTFUL
from runjob.schemas.schema import Schema, bundled_schema, follow, types_of

ROOT = Path(__file__).resolve().parent.parent
# Files of one piece, which one process makes and reads; of each hundred: from the schema, changed, misspelt; the rest
# is built to hurt
PIECE = 300
SHARES = (("from the schema", 40), ("changed", 30), ("misspelt", 27), ("built to hurt", 3))

ODD_TEXTS = (
    *("", " ", "~", "no", "yes", "null", "NaN", "-", "...", "---", "<<", "=", "*x", "&x", "!x", "%YAML 1.1", "@", "`"),
    *("../../etc/passwd", "/", "~/x", "a/../../b", "-rf", "--", "$(touch pwned)", "`touch pwned`", "; touch pwned"),
    *(
        "\0",
        "\x07",
        "\x1b[31mred",
        "a\nb",
        "a\r\nb",
        "\t",
        "\u2028",
        "\ufeff",
        "\u202egnp.exe",
        "\ud800",
        "\udfff\ud800",
    ),
    *(
        "é" * 50,
        "e\u0301",
        "\U0001f600",
        "ｆｐ３２",
        "٣ steps",
        "1e9999 steps",
        "0.0000001 epochs",
        "9" * 400 + " steps",
    ),
    *(
        "1" + "0" * 30 + "M tokens",
        "1 step 1",
        "1  steps",
        "-1 steps",
        "99999-00:00:00",
        "1:2:3:4",
        "24 GiB ",
        "1e3GiB",
    ),
    *("sample:", "sample:../x", "sample:dutch/../..", "s3://", "s3://u:p@b/x", "https://[::1", "file:///", "x::y://z"),
    *("(a+)+$", "(", "[", "(?i)[\x01-\U0010ffff]", "(?P<a>x)(?P<a>y)", "x{99999999999}", "\\", "(" * 99 + ")" * 99),
    "x" * 5000,
)
ODD_NUMBERS = (
    *(0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**18, 10**100, -(10**300), 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf"), 3.0000000000000004),
)
ODD_SHAPES: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [{}],
    {"": ""},
    {"kind": "kind"},
    [None],
    {"a": {"b": []}},
)


def make_piece(seed_number: int, piece: int, only: int = PIECE) -> Iterator[tuple[str, bytes]]:
    """(kind, bytes) of a piece's files, the first `only` of them."""
    kinds = [kind for kind, share in SHARES for _ in range(share)] * (PIECE // 100)
    random.Random(f"{seed_number}:{piece}").shuffle(kinds)
    jobs = iter(jobs_from_the_schema(seed_number * 1_000_003 + piece, kinds.count("from the schema")))
    for index, kind in enumerate(kinds[:only]):
        chance = random.Random(f"{seed_number}:{piece}:{index}")
        match kind:
            case "from the schema":
                yield kind, written(next(jobs), chance)
            case "changed":
                yield kind, written(changed(copy.deepcopy(chance.choice(VALUES)), chance), chance)
            case "misspelt":
                yield kind, misspelt(chance.choice(REAL), chance)
            case _:
                yield kind, chance.choice(HURTFUL)(chance)


def real_jobs() -> list[str]:
    folders = (ROOT / "jobs", ROOT / "jobs" / "tiny", ROOT / "tests" / "cases" / "valid")
    return [path.read_text(encoding="utf-8") for folder in folders for path in sorted(folder.glob("*.yaml"))]


REAL = real_jobs()
VALUES = [yaml.load(text, yaml.CSafeLoader) for text in REAL]


def written(value: Any, chance: random.Random) -> bytes:  # noqa: ANN401 - any JSON value
    """As people write YAML, or as programs do. A lone surrogate is an escape in one, and bytes of no text in the
    other. PyYAML's writer takes four calls a level, and what is read here has its own limit again."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return _written(value, chance)
    finally:
        sys.setrecursionlimit(limit)


def _written(value: Any, chance: random.Random) -> bytes:  # noqa: ANN401
    if chance.random() < 0.4:
        return json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    style = chance.random() < 0.2
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=style, allow_unicode=True, width=200).encode(
        "utf-8", "surrogatepass"
    )


# From the schema


def jobs_from_the_schema(seed_number: int, count: int) -> list[Any]:
    """Half of them altogether, half a real job with some parts anew: what nobody tuned to fit is hardly ever valid."""
    found: list[Any] = []

    @seed(seed_number)
    @settings(
        max_examples=max(count, 1),
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(values_of(bundled_schema()) | partly_anew())
    def collect(job: Any) -> None:  # noqa: ANN401
        found.append(job)

    collect()
    while len(found) < count:  # hypothesis ends early where it believes to have seen all
        found.append(found[len(found) % 7])
    return found[:count]


odd = st.sampled_from(ODD_TEXTS) | st.sampled_from(ODD_NUMBERS) | st.sampled_from(ODD_SHAPES) | st.text(max_size=20)


@st.composite
def values_of(draw: st.DrawFn, field: Schema) -> Any:  # noqa: ANN401 - any JSON value
    """A value that this part of the schema admits, but for one in forty, which is another."""
    schema = follow(field)
    if draw(st.integers(0, 39)) == 39:
        return draw(odd)
    if "properties" not in schema and "oneOf" not in schema and draw(st.integers(0, 3)):
        return copy.deepcopy(draw(st.sampled_from(schema["examples"]))) if "examples" in schema else draw(plain(schema))
    if "oneOf" in schema or "anyOf" in schema:
        return draw(values_of(draw(st.sampled_from(schema["oneOf"] if "oneOf" in schema else schema["anyOf"]))))
    if "properties" in schema:
        return draw(mappings(schema))
    return draw(plain(schema))


@st.composite
def partly_anew(draw: st.DrawFn) -> Any:  # noqa: ANN401
    job = copy.deepcopy(draw(st.sampled_from(VALUES)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from([at for at in places(job) if at in FIELDS]))
        inside(job, at[:-1])[at[-1]] = draw(values_of(FIELDS[at]))
    return job


@st.composite
def mappings(draw: st.DrawFn, schema: Schema) -> dict[str, Any]:
    # Of fields that need not stand there few do, as in the files that people write
    needed = schema.get("required", ())
    chosen = [key for key in schema["properties"] if key in needed or draw(st.integers(0, 4)) == 4]
    made = {key: draw(values_of(schema["properties"][key])) for key in chosen}
    match draw(st.integers(0, 29)):
        case 28 if made:
            del made[draw(st.sampled_from(sorted(made)))]
        case 29:
            made[draw(st.sampled_from(ODD_TEXTS))] = draw(odd)
    return made


@st.composite
def plain(draw: st.DrawFn, schema: Schema) -> Any:  # noqa: ANN401
    """A scalar or a list of the field's type, near its bounds."""
    if "const" in schema or "enum" in schema:
        return draw(st.sampled_from(schema.get("enum", [schema.get("const")])))
    kind = draw(st.sampled_from(types_of(schema) or ("string",)))
    low, high = schema.get("minimum", -3), schema.get("maximum", 10**6)
    match kind:
        case "integer":
            return draw(st.integers(int(low) - 1, int(high) + 1))
        case "number":
            return draw(st.floats(low, high))
        case "boolean":
            return draw(st.booleans())
        case "null":
            return None
        case "array":
            return draw(st.lists(values_of(schema.get("items", {})), max_size=4))
        case "object":
            return draw(st.dictionaries(st.sampled_from(ODD_TEXTS), odd, max_size=3))
    return draw(st.sampled_from(ODD_TEXTS) | st.text(max_size=30))


# Changed: a real job's values


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*at, key))


def fields(schema: Schema, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Schema]]:
    """Every field below by the keys that lead to it; where kinds share one, that of the last of them."""
    whole = follow(schema)
    if at:
        yield at, schema
    for branch in map(follow, whole.get("oneOf", [whole])):
        for key, field in branch.get("properties", {}).items():
            yield from fields(field, (*at, key))


FIELDS = dict(fields(bundled_schema()))


def inside(value: Any, at: Sequence[Any]) -> Any:  # noqa: ANN401
    for key in at:
        value = value[key]
    return value


def odd_value(chance: random.Random) -> Any:  # noqa: ANN401
    choices = chance.choice((ODD_TEXTS, ODD_TEXTS, ODD_NUMBERS, ODD_SHAPES))
    return copy.deepcopy(chance.choice(choices))


# A file with more is large enough, and copies of copies fill the memory of whoever makes them
MOST_PLACES = 5000


def changed(job: Any, chance: random.Random) -> Any:  # noqa: ANN401
    for _ in range(chance.randint(1, 4)):
        known = list(itertools.islice(places(job), MOST_PLACES))
        if len(known) in (0, MOST_PLACES):
            return job
        *above, last = chance.choice(known)
        here = inside(job, above)
        match chance.randrange(7):
            case 0:
                del here[last]
            case 1:
                here[last] = [here[last]] * chance.choice((1, 2, 300))
            case 2:
                here[last] = copy.deepcopy(inside(job, chance.choice(known)))
            case 3 if isinstance(here, dict):
                here[chance.choice((f"{last}s", str(last).upper(), chance.choice(ODD_TEXTS)))] = odd_value(chance)
            case 4:
                for _ in range(chance.choice((1, 5, 70, 200))):
                    here[last] = {"kind": here[last]} if chance.random() < 0.5 else [here[last]]
            case _:
                here[last] = odd_value(chance)
    return job


# Misspelt: a real job's text

MARKS = (*"'\"[]{}:,-&*!|>%@`#?<\t \\\r\0\x7f\x85\ufeff\u2028\ud800é", "<<: *a", "&a ", "*a ", "!!int ", "---\n")
TAGS = (
    *("!!python/object/apply:os.system ['touch pwned']", "!!python/name:os.system", "!!python/module:os"),
    *(
        "!!python/object/new:os.system [touch pwned]",
        "!!map {}",
        "!!binary aGk=",
        "!local x",
        "!<tag:x> y",
        "!!set {a}",
    ),
)
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "utf-7", "cp037")


def misspelt(text: str, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        lines = text.split("\n")
        number, at = chance.randrange(len(lines)), chance.randrange(len(text) + 1)
        match chance.randrange(11):
            case 0:
                del lines[number]
            case 1:
                lines.insert(number, chance.choice(lines))
            case 2:
                lines[number] = " " * chance.randrange(12) + lines[number].lstrip()
            case 3:
                lines[number] = lines[number].partition(":")[0] + ": " + chance.choice((*TAGS, *map(str, ODD_NUMBERS)))
            case 4:
                lines[number] = lines[number].replace(
                    ": ", chance.choice((": &a ", ": *a #", ":", ": !!str ", " : ")), 1
                )
            case 5:
                lines[number] = chance.choice(("&a ", "*a ", "? ", "- ", "  ", "\t", "<<: ", "%")) + lines[number]
            case 6:
                lines.insert(number, chance.choice(ODD_TEXTS) + ": " + chance.choice(ODD_TEXTS))
            case 7:
                lines = (text[:at] + chance.choice(MARKS) * chance.choice((1, 1, 3, 100)) + text[at:]).split("\n")
            case 8:
                lines = (text[:at] + text[at + chance.randrange(1, 40) :]).split("\n")
            case 9:
                lines = text[:at].split("\n")
            case 10:
                chance.shuffle(lines)
        text = "\n".join(lines)
    raw = text.encode("utf-8", "surrogatepass")
    match chance.randrange(20):
        case 0:
            return text.encode(chance.choice(ENCODINGS), "replace")
        case 1:
            return raw.replace(b"\n", chance.choice((b"\r\n", b"\r", b"\n\n", b"\x0b")))
        case 2 if raw:
            at = chance.randrange(len(raw))
            return raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :]
        case 3:
            return chance.randbytes(chance.randrange(300)) + raw
    return raw
