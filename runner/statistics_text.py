"""The statistics of prepared data as a page of text."""

from runjob.runner.text import table
from runjob.schemas.characters import CODE_POINTS
from runjob.schemas.statistics import Lengths, SideStatistics, Statistics

BAR = 40
# What stands in store.json -> what a reader calls it
REASONS = {"empty": "white space alone", "bad": "unreadable", "short": "too short", "duplicates": "copies"}


def statistics_text(found: Statistics) -> str:
    """Sides, sources, lengths of the training side, what was left out, a sample."""
    parts = [sides_text(found), sources_text(found), f"left out       {left_out_text(found)}"]
    if any(side.contradicting for side in found.sides.values()):
        parts.append(f"contradicting  {contradicting_text(found)}")
    if found.vocabulary_used and found.vocabulary == CODE_POINTS:  # less the end of a document
        parts.append(f"characters     {found.vocabulary_used - 1:,} different ones occur in training")
    elif found.vocabulary_used:
        used = found.vocabulary_used / found.vocabulary
        parts.append(f"vocabulary     {found.vocabulary:,} ids, {used:.1%} of them occur in training")
    if "train" in found.sides:
        parts.append(f"\ntokens of a training document\n{lengths_text(found.sides['train'].lengths)}")
    for number, text in enumerate(found.documents, 1):
        parts.append(f"\ndocument {number} of a sample\n{indented(text)}")
    if found.row is not None:
        parts.append(f"\na row\n{indented(found.row)}")
    return "\n".join(parts)


def sides_text(found: Statistics) -> str:
    head = ["SIDE", "DOCUMENTS", "TOKENS", "BYTES", "WORDS", "TOKENS/WORD", "BYTES/TOKEN", "UNKNOWN", "COPIES"]
    return table(head, [side_row(name, side) for name, side in found.sides.items()])


def side_row(name: str, side: SideStatistics) -> list[str]:
    numbers = [f"{number:,}" for number in (side.documents, side.tokens, side.bytes, side.words)]
    fertility = [f"{side.tokens_per_word:.2f}", f"{side.bytes_per_token:.2f}"]
    return [name, *numbers, *fertility, f"{side.unknown:,}", f"{side.copies:,}"]


def sources_text(found: Statistics) -> str:
    """Of the training side; one line where there is one source."""
    if "train" not in found.sides:
        return ""
    rows = [
        [
            source.name,
            f"{source.documents:,}",
            f"{source.byte_share:.1%}",
            f"{source.token_share:.1%}",
            "" if source.training_share is None else f"{source.training_share:.1%}",
        ]
        for source in found.sides["train"].sources
    ]
    return "\n" + table(["SOURCE", "DOCUMENTS", "OF BYTES", "OF TOKENS", "OF TRAINING"], rows) + "\n"


def left_out_text(found: Statistics) -> str:
    counts = {reason: count for reason, count in found.left_out.items() if count}
    return ", ".join(f"{count:,} {REASONS.get(reason, reason)}" for reason, count in counts.items()) or "nothing"


def contradicting_text(found: Statistics) -> str:
    each = ", ".join(f"{side.contradicting:,} of {name}" for name, side in found.sides.items() if side.contradicting)
    return f"{each} stood before with another label"


def lengths_text(lengths: Lengths) -> str:
    """Bars in proportion to the largest; a document alone is still seen."""
    most = max(bucket.documents for bucket in lengths.histogram)
    width = len(f"{lengths.histogram[-1].most:,}")
    lines = [
        f"{bucket.least:>{width},} - {bucket.most:>{width},}  {bar(bucket.documents, most)} {bucket.documents:,}"
        for bucket in lengths.histogram
    ]
    said = f"mean {lengths.mean:,.1f}, median {lengths.median:,}, 95 % at most {lengths.percentile_95:,}"
    return "\n".join([*lines, f"{said}, longest {lengths.longest:,}"])


def bar(count: int, most: int) -> str:
    filled = -(-BAR * count // most)
    return ("█" * filled).ljust(BAR)


def indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
