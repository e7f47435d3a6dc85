"""One label a document: of which kind a text is. It stands at the document's EOS (data/labels.py), and a row asks for
it at its first token.

    {"text": "example.edu", "label": "school"}          labels.bin   - - - - - - - - - - - 1
"""

from dataclasses import dataclass

from runjob.data.fields import kind_of, read_object, text_in, without_field
from runjob.data.labels import Labelled
from runjob.data.spans import Read


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Classes of a document by number, as the head has them: the labels of the job in their order."""

    labels: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels


@dataclass(frozen=True, kw_only=True)
class DocumentLabels:
    """What a job asks of documents: where the label stands, and which there are."""

    field: str
    labels: tuple[str, ...]

    @property
    def tags(self) -> Classes:
        return Classes(labels=self.labels)


def class_reader(field: str, wanted: DocumentLabels) -> Read:
    """A reader of the text at `field` of a JSON object and the label beside it."""

    def read(data: bytes) -> Labelled:
        row = read_object(data, field)
        text = text_in(row, field)
        if (said := without_field(row, wanted.field)) is not None:
            raise ValueError(said)
        label = row[wanted.field]
        if not isinstance(label, str):
            raise ValueError(f"field {wanted.field!r} is {kind_of(label)} and not a label, which is a string")
        if label not in wanted.labels:
            raise ValueError(f"{label!r} is none of objective.labels: {', '.join(wanted.labels)}")
        return Labelled(text=text, spans=(), number=wanted.labels.index(label))

    return read
