"""Small corpora that the package ships, so that tiny jobs run anywhere: a job names one as `sample:NAME`.

Each is NAME.txt.gz or NAME.jsonl.gz with NAME.LICENSE beside it, which says where the text comes from and under which
terms it may be passed on. The scripts that build them again stand in scripts/.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runjob.schemas.errors import MissingError

HERE = Path(__file__).parent
PREFIX = "sample:"


ENDINGS = (".txt.gz", ".jsonl.gz")
# Beside some corpora lies a tokenizer that was trained on all of it, in a directory NAME.
TOKENIZER = "tokenizer.json"
# What such a directory holds besides where it is a whole model
MODEL = "config.json"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`size` is the bytes of the packed file, `characters` those of what is in it. `document` says what one document
    is: `paragraph` and `line` as in data.documents, or a JSON object on its line. `tokenizer` says which one comes
    with it."""

    name: str
    size: int
    document: Literal["paragraph", "line", "object"]
    documents: int
    characters: int
    license: str
    language: str | None
    description: str
    tokenizer: str | None = None

    @property
    def path(self) -> Path:
        return locate(self.name)

    @property
    def notice(self) -> Path:
        """Whose it is, and the terms under which it may be passed on."""
        return self.path.with_name(f"{self.name}.LICENSE")

    @property
    def data(self) -> str:
        """How a job names it."""
        if self.document == "object":
            return f"{{kind: jsonl, path: 'sample:{self.name}'}}"
        return f"{{kind: text, path: 'sample:{self.name}', documents: {self.document}}}"


def list_samples() -> tuple[Sample, ...]:
    """Every sample of this package."""
    return (
        Sample(
            name="domains",
            size=locate("domains").stat().st_size,
            document="line",
            documents=100_000,
            characters=1_807_027,
            license="BSD-3-Clause AND MIT",
            language=None,
            description="Host names of three published lists, one a line, in an order without meaning",
        ),
        Sample(
            name="domains_labelled",
            size=locate("domains_labelled").stat().st_size,
            document="object",
            documents=8000,
            characters=382_010,
            license="BSD-3-Clause AND MIT AND Apache-2.0",
            language=None,
            description="Host names of four published lists with the kind of list each comes from (text, label)",
        ),
        Sample(
            name="dutch",
            size=locate("dutch").stat().st_size,
            document="paragraph",
            documents=2325,
            characters=3_100_624,
            license="MPL-2.0",
            language="nl",
            description="LibreOffice help in Dutch, one help page a document",
            tokenizer="byte-level BPE of 8,192 tokens",
        ),
        Sample(
            name="english",
            size=locate("english").stat().st_size,
            document="paragraph",
            documents=165,
            characters=2_505_447,
            license="CC0-1.0",
            language="en",
            description="Moby Dick by chapters, and every eighth year's State of the Union address",
        ),
        Sample(
            name="glosses",
            size=locate("glosses").stat().st_size,
            document="object",
            documents=8000,
            characters=1_149_965,
            license="WordNet-3.0",
            language="en",
            description="Nouns and what they mean, a pair for each meaning (text, gloss, source)",
        ),
        Sample(
            name="paleo",
            size=locate("paleo").stat().st_size,
            document="object",
            documents=16_437,
            characters=2_725_465,
            license="WordNet-3.0",
            language="en",
            description="WordNet's glosses of animals, plants, rocks, minerals and geological time (id, title, text)",
        ),
        Sample(
            name="paleo_gold",
            size=locate("paleo_gold").stat().st_size,
            document="object",
            documents=200,
            characters=82_576,
            license="CC0-1.0",
            language="en",
            description="Sentences of Melville and others with names and relations labelled by hand "
            "(text, entities, relations, source)",
        ),
        Sample(
            name="paleo_ner",
            size=locate("paleo_ner").stat().st_size,
            document="object",
            documents=5000,
            characters=2_115_398,
            license="WordNet-3.0",
            language="en",
            description="Glosses with SILVER labels of names and relations, made by rules "
            "(text, entities, relations, source)",
        ),
        Sample(
            name="paleo_rocks",
            size=locate("paleo_rocks").stat().st_size,
            document="line",
            documents=38,
            characters=302,
            license="WordNet-3.0",
            language="en",
            description="Minerals and rocks of sample:paleo, one a line, words of one name joined by _",
        ),
        Sample(
            name="paleo_taxa",
            size=locate("paleo_taxa").stat().st_size,
            document="line",
            documents=593,
            characters=5599,
            license="WordNet-3.0",
            language="en",
            description="Genera, families, orders and other ranks of sample:paleo, one a line",
        ),
        Sample(
            name="paleo_times",
            size=locate("paleo_times").stat().st_size,
            document="line",
            documents=32,
            characters=334,
            license="WordNet-3.0",
            language="en",
            description="Geological periods, epochs, eras and eons of sample:paleo, one a line",
        ),
    )


def locate(name: str) -> Path:
    """The file of a sample; `sample:dutch` and `dutch` name the same."""
    bare = name.removeprefix(PREFIX)
    known = {file.name.partition(".")[0]: file for ending in ENDINGS for file in HERE.glob(f"*{ending}")}
    if bare not in known:
        which = ", ".join(sorted(known)) or "none"
        raise MissingError(f"sample:{bare}: this runjob ships no such sample; it has {which}")
    return known[bare]


def locate_tokenizer(path: str) -> str:
    """The directory of the tokenizer that `sample:NAME` stands for; any other path is what it is."""
    if not path.startswith(PREFIX):
        return path
    name = path.removeprefix(PREFIX)
    known = {file.parent.name: str(file.parent) for file in HERE.glob(f"*/{TOKENIZER}")}
    if name not in known:
        which = ", ".join(f"{PREFIX}{one}" for one in sorted(known))
        raise MissingError(f"{path}: this runjob ships no such tokenizer; it has {which}")
    return known[name]


def locate_model(path: str) -> str:
    """The same of models."""
    if not path.startswith(PREFIX):
        return path
    known = {file.parent.name: str(file.parent) for file in HERE.glob(f"*/{MODEL}")}
    if path.removeprefix(PREFIX) not in known:
        which = ", ".join(f"{PREFIX}{one}" for one in sorted(known))
        raise MissingError(f"{path}: this runjob ships no such model; it has {which}")
    return known[path.removeprefix(PREFIX)]
