"""What an unquoted word of a job file means: the core schema of YAML 1.2, in which `no` is text and `5e-5` a number."""

import math
import re

# float() and int() are quick and exact up to here; a longer number is no number that a job could mean
MAX_DIGITS = 300

ScalarValue = None | bool | int | float | str

# YAML 1.2 core schema, section 10.3.2
_NULL = frozenset(["", "~", "null", "Null", "NULL"])
_BOOL = {word: value for value in (True, False) for word in (str(value), str(value).lower(), str(value).upper())}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INF = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_NAN = frozenset([".nan", ".NaN", ".NAN"])


def resolve_scalar(text: str) -> ScalarValue:
    """What a plain scalar means in YAML 1.2.

    >>> resolve_scalar("5e-5"), resolve_scalar("no"), resolve_scalar("0o17"), resolve_scalar("12:30:00")
    (5e-05, 'no', 15, '12:30:00')
    """
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) <= MAX_DIGITS:
        if _INT.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if _FLOAT.fullmatch(text):
            return float(text)
    if text in _NAN:
        return math.nan
    infinite = _INF.fullmatch(text)
    return float(f"{infinite[1]}inf") if infinite else text
