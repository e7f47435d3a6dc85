"""One event as one line for people."""

from typing import Any

from runjob.schemas.quantities import counted

TEXT_CHARACTERS = 200


def event_line(record: dict[str, Any], *, steps: int | None) -> str | None:
    """The line of an event worth telling, or None.

    >>> event_line({"event": "train", "step": 5, "loss": 3.25, "learning_rate": 0.001, "tokens_per_s": 812.4}, steps=20)
    'step 5/20  loss 3.2500  lr 1.00e-03  812 tokens/s'
    """
    where = f"step {record['step']}" + (f"/{steps}" if steps else "")
    match record["event"]:
        case "train":
            parts = [where, number(record, "loss", "loss {:.4f}"), number(record, "learning_rate", "lr {:.2e}")]
            return "  ".join(filter(None, [*parts, number(record, "tokens_per_s", "{:,.0f} tokens/s")]))
        case "eval":
            skip = {"event", "step", "time", "attempt"}
            told = [key for key in record if key not in skip and not key.startswith(("precision/", "recall/"))]
            shown = [number(record, key, measured_form(key, record[key])) for key in told]
            return "  ".join(filter(None, [where, "eval", *shown]))
        case "checkpoint":
            return f"{where}  checkpoint saved"
        case "bad_rows":
            said = f"{where}  left out of block {record['block']}: {counted(record['count'], 'row')} that can't be read"
            return "\n  ".join([said, *record["first"]])
        case "init" if "teacher" in record:
            return f"{where}  {student_line(record)}"
        case "start" | "init" | "samples" | "confusion":
            return None
        case "advice":
            return f"{where}  advice: {record['advice']}"
        case name:
            skip = {"event", "step", "time", "attempt"}
            facts = [fact(key, value) for key, value in record.items() if key not in skip]
            return "  ".join([where, name.replace("_", " "), *filter(None, facts)])


def student_line(record: dict[str, Any]) -> str:
    """What a student has of its teacher.

    >>> facts = {"teacher": "b", "tiled": {"x": "y"}, "new": {"tensors": 2}, "uniform_loss": 7.625}
    >>> student_line(facts)
    'first weights of b  1 tensor tiled  2 new  loss of a guess 7.6250'
    """
    how = "projected" if "projected" in record else "tiled"
    parts = [f"first weights of {record['teacher']}", f"{counted(len(record[how]), 'tensor')} {how}"]
    if "explained_variance" in record:
        parts.append(f"{record['explained_variance']:.1%} of its embeddings' variance kept")
    return "  ".join([*parts, f"{record['new']['tensors']} new", f"loss of a guess {record['uniform_loss']:.4f}"])


def number(record: dict[str, Any], key: str, form: str) -> str:
    return form.format(record[key]) if key in record and isinstance(record[key], int | float) else ""


def measured_form(key: str, value: object) -> str:
    """Counts as they are, everything else with four digits; a source's own name stays as it is.

    >>> measured_form("loss/my_{1}.txt", 4.25).format(4.25), measured_form("rare_tokens", 1200).format(1200)
    ('loss/my_{1}.txt 4.2500', 'rare tokens 1,200')
    """
    words, slash, name = key.partition("/")
    shown = f"{words.replace('_', ' ')}{slash}{name}".replace("{", "{{").replace("}", "}}")
    return f"{shown} {{:{',' if isinstance(value, int) else '.4f'}}}"


def fact(key: str, value: object) -> str:
    """`train loss 6.042` of a number or a short text; longer things are for events.jsonl."""
    name = key.replace("_", " ")
    if isinstance(value, float):
        return f"{name} {value:.5g}"
    if (
        isinstance(value, bool)
        or value is None
        or not isinstance(value, int | str)
        or len(str(value)) > TEXT_CHARACTERS
    ):
        return ""
    return f"{name} {value}"
