"""Small corpora that the package ships, so that tiny jobs run anywhere: a job names one as `sample:NAME`.

Each is NAME.txt.gz (one paragraph a line, a blank line between documents) with NAME.LICENSE beside it, which says where
the text comes from and under which terms it may be passed on.
"""

from dataclasses import dataclass
from pathlib import Path

from runjob.schemas.errors import MissingError

HERE = Path(__file__).parent
PREFIX = "sample:"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`size` is the bytes of the packed file, `characters` those of the text in it."""

    name: str
    size: int
    documents: int
    characters: int
    license: str
    language: str
    description: str


def list_samples() -> tuple[Sample, ...]:
    """Every sample of this package."""
    return (
        Sample(
            name="dutch",
            size=locate("dutch").stat().st_size,
            documents=2325,
            characters=3_100_624,
            license="MPL-2.0",
            language="nl",
            description="LibreOffice help in Dutch, one help page a document",
        ),
    )


def locate(name: str) -> Path:
    """The file of a sample; `sample:dutch` and `dutch` name the same."""
    bare = name.removeprefix(PREFIX)
    known = sorted(file.name.removesuffix(".txt.gz") for file in HERE.glob("*.txt.gz"))
    if bare not in known:
        raise MissingError(f"sample:{bare}: this runjob ships no such sample; it has {', '.join(known) or 'none'}")
    return HERE / f"{bare}.txt.gz"
