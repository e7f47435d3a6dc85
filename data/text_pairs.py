"""Two texts of a row that belong together, a term and its gloss, a question and its answer: what vectors of texts are
learnt from.

    {"anchor": "trilobite", "positive": "an extinct arthropod that was abundant in Palaeozoic times"}

Both are documents, the anchor first and its positive right behind it, so each is tokenised as whoever asks the finished
model will: alone. At the EOS of a document stands which of the two it is (data/labels.py). The positive decides the
side of both and whether they are wanted at all, so a positive of two anchors is on one side, and no row is parted.
"""

from dataclasses import dataclass

from runjob.data.fields import read_object, text_in, without_field
from runjob.data.labels import Labelled
from runjob.data.spans import Read

NUL = "holds the character NUL, which no text does"


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Which of the two a document is, by number."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("anchor", "positive")


@dataclass(frozen=True, kw_only=True)
class TextPairing:
    """`field`: where the positive stands; the anchor is the job's data.field."""

    field: str

    @property
    def tags(self) -> Roles:
        return Roles()


def text_pair_reader(field: str, pairing: TextPairing) -> Read:
    """A reader of both texts of a JSON object."""

    def read(data: bytes) -> list[Labelled]:
        row = read_object(data, field)
        if (said := without_field(row, pairing.field)) is not None:
            raise ValueError(said)
        anchor, positive = (_text(text_in(row, name), name) for name in (field, pairing.field))
        return [
            Labelled(text=anchor, spans=(), number=0, whole=positive, mate=positive),
            Labelled(text=positive, spans=(), number=1, whole=positive, mate=anchor),
        ]

    return read


def _text(text: str, field: str) -> str:
    """Both or none: a text that is left out alone would leave the other one with a stranger."""
    if not text.strip():
        raise ValueError(f"field {field!r} holds no text")
    if "\0" in text:
        raise ValueError(f"field {field!r} {NUL}")
    return text
