"""Build `sample:paleo_ner`, SILVER labels of names and relations by distant supervision from WordNet, and its notice.

    python scripts/make_paleo_ner.py [--out DIR]     (apt-get and dpkg)

A sentence is a gloss with the names of its meaning in front, as in `sample:paleo`. A name gets its label from where its
meaning stands in WordNet (`ROOTS`), a pair its relation from WordNet's pointers; that a being or a mineral is of a time
or a place is concluded from its gloss naming that. Nobody has read the labels: they are silver, not gold.
docs/silver.md says which rules there are and what is wrong with them. The packed file holds no date and its order is
fixed, so the same package gives the same bytes.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wordnet_sample import make_sample

LONGEST = 320
# Sentences that name something, and those that name nothing, which a model has to leave alone
NAMING, SILENT = 4500, 500

# Offsets in data.noun of WordNet 3.0 of the meanings above those that get a label; the first list that fits decides.
# Periods are kinds and parts of geological time; a place is what has a name of its own below location, land, water.
ROOTS = {
    "TIME": ("15116283",),
    "TAXON": ("07992450",),
    "MINERAL": ("14662574", "14696793", "09416076", "14814616", "14699752"),
    "ANATOMY": ("05220461", "13086908", "05237755"),
    "ORGANISM": ("00004475",),
    "LOC": ("00027167", "09334396", "09225146", "09287968"),
}
# persons, bodies of the sky, what a body gives off
EXCEPT = ("00007846", "09239740", "05403427")
# WordNet's files of meanings: 03 highest, 05 animals, 08 bodies, 20 plants; so no fruit as food
LIVING = {"03", "05", "20"}
FILES_OF = {"TAXON": LIVING, "ORGANISM": LIVING, "ANATOMY": {"05", "08", "20"}}
KINDS, PARTS = {"@", "@i"}, {"#p"}
RANK = re.compile(r"^(?:sub|super|infra)?(?:genus|family|order|class|phylum|division|kingdom|tribe|species) (?=[A-Z])")
BINOMIAL = re.compile(r"([A-Z][a-z]+) [a-z]+")
# What says no more than its label does, or a role rather than a kind
GENERAL_NAMES = """
organism, being, animal, beast, brute, creature, fauna, critter, plant, flora, herb, microorganism, micro-organism,
life, human, may, calculus, young, male, female, prey, game, parasite, host, stock, pest, dam, sire, mate, pet,
form, variety, breed, hybrid, embryo, fetus, mineral, rock, stone, ore, gem, gemstone, deposit, boulder, pebble,
matter, crystal, part, organ, body, structure, system, process, covering, appendage, member, tissue, era, period,
epoch, age, eon, aeon, time, quarter, plane, point, place, region, area, country, state, world, east, west, north,
south, line, range, side, top, head, tip, base, center, heart, crown, face, back, hand, eye, small white, geological
time, geologic time, geological era, geological period, geologic period
"""
GENERAL = {" ".join(name.split()) for name in GENERAL_NAMES.split(",")}
# Names whose first sense is not the one that glosses mean: a flower is a part of a plant here.
MEANT = {"flower": "11669335"}
CORE = re.compile(
    r"fossil|extinct|prehistoric|geolog|pal(?:a)?eo|million years|(?:Cambri|Siluri|Devoni|Permi)an|Ordovician|Triassic"
    r"|Carboniferous|Jurassic|Cretaceous|Tertiary|Quaternary|[a-z]ocene|ozoic"
)
EXAMPLE = re.compile(r'; "')
WORD = re.compile(r"[A-Za-z]+(?:[-'][A-Za-z]+)*\.?")
ENDINGS = (("ies", "y"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("zes", "z"), ("sses", "ss"), ("s", ""))
WORDS_OF_A_NAME = 4


@dataclass(frozen=True)
class Meaning:
    """A line of data.noun: `names` with blanks, `above` from a pointer's sign to offsets, `gloss` as it stands."""

    file: str
    names: tuple[str, ...]
    gloss: str
    above: dict[str, tuple[str, ...]]


@dataclass
class WordNet:
    """`senses`: offsets of a lowercase name, the commonest first. `share`: the part of a name's tagged uses that is its
    first noun sense, or 1 for a name that nobody has tagged and that is a noun alone, else 0."""

    meanings: dict[str, Meaning]
    senses: dict[str, list[str]]
    share: dict[str, float]
    plurals: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        below: dict[str, list[str]] = {}
        for offset, meaning in self.meanings.items():
            for sign in ("@", "@i"):
                for target in meaning.above.get(sign, ()):
                    below.setdefault(target, []).append(offset)
        never = reach(EXCEPT, below)
        parts: dict[str, list[str]] = {offset: list(found) for offset, found in below.items()}
        for offset, meaning in self.meanings.items():
            for target in meaning.above.get("#p", ()):
                parts.setdefault(target, []).append(offset)
        ranked = {offset for offset, meaning in self.meanings.items() if any(map(RANK.match, meaning.names))}
        for label, roots in ROOTS.items():
            below_roots = reach(roots, parts if label == "TIME" else below) - never
            for offset in below_roots | ranked if label == "TAXON" else below_roots:
                if self.is_one(offset, label):
                    self.labels.setdefault(offset, label)

    def is_one(self, offset: str, label: str) -> bool:
        """Whether a meaning below the roots of a label can have it."""
        meaning = self.meanings[offset]
        if label == "LOC":
            return "@i" in meaning.above
        if label == "MINERAL":
            return "@i" not in meaning.above
        return label == "TIME" or meaning.file in FILES_OF[label]

    def above(self, offset: str, signs: set[str], *, most: int = 12) -> set[str]:
        """What is reached from a meaning by pointers of these signs, itself left out."""
        found: set[str] = set()
        edge = {offset}
        for _ in range(most):
            edge = {up for one in edge for sign in signs for up in self.meanings[one].above.get(sign, ())} - found
            found |= edge
        return found


def reach(roots: Iterable[str], below: dict[str, list[str]]) -> set[str]:
    found, edge = set[str](), list(roots)
    while edge:
        offset = edge.pop()
        if offset not in found:
            found.add(offset)
            edge += below.get(offset, [])
    return found


def read_wordnet(where: Path) -> WordNet:
    """WordNet's own files: data.noun, index.*, cntlist.rev, noun.exc."""
    meanings: dict[str, Meaning] = {}
    for line in lines_of(where / "data.noun"):
        fields, _, gloss = line.partition(" | ")
        offset, file, _, number, *rest = fields.split()
        names = tuple(rest[2 * i].replace("_", " ") for i in range(int(number, 16)))
        pointers = rest[2 * len(names) + 1 :]
        above: dict[str, tuple[str, ...]] = {}
        for sign, target, part in zip(pointers[::4], pointers[1::4], pointers[2::4], strict=False):
            if part == "n":
                above[sign] = (*above.get(sign, ()), target)
        meanings[offset] = Meaning(file, names, gloss.strip(), above)
    senses: dict[str, list[str]] = {}
    for line in lines_of(where / "index.noun"):
        name, _, count, *rest = line.split()
        senses[name.replace("_", " ")] = rest[-int(count) :]
    for offset, meaning in meanings.items():
        for name in meaning.names:
            if RANK.match(name):
                senses.setdefault(bare(name).lower(), []).append(offset)
    others = {line.split(" ")[0] for part in ("verb", "adj", "adv") for line in lines_of(where / f"index.{part}")}
    uses: dict[str, int] = {}
    first: dict[str, int] = {}
    for line in lines_of(where / "cntlist.rev"):
        key, number, count = line.split()
        name = key.partition("%")[0].replace("_", " ")
        uses[name] = uses.get(name, 0) + int(count)
        if f"{name.replace(' ', '_')}%1:" in key and number == "1":
            first[name] = int(count)
    share = {
        name: first.get(name, 0) / uses[name] if name in uses else float(name.replace(" ", "_") not in others)
        for name in senses
    }
    pairs = (line.split() for line in lines_of(where / "noun.exc"))
    return WordNet(meanings, senses, share, {plural: single for plural, single, *_ in pairs})


def bare(name: str) -> str:
    """A taxon's name without the rank before it."""
    rank = RANK.match(name)
    return name[rank.end() :] if rank else name


def lines_of(path: Path) -> Iterator[str]:
    """Without the licence on top."""
    with path.open(encoding="utf-8") as file:
        yield from (line for line in file if not line.startswith("  "))


def label_of(wordnet: WordNet, offset: str, name: str) -> str | None:
    """The label of a meaning under one of its names: `Panthera leo` is a taxon, `lion` an organism."""
    label = wordnet.labels.get(offset)
    if label == "ORGANISM" and is_binomial(wordnet, name):
        return "TAXON"
    if label in {"TAXON", "LOC"} and name[0].islower():
        return None
    return None if name.lower() in GENERAL else label


def is_binomial(wordnet: WordNet, name: str) -> bool:
    """`Panthera leo` and `Chronoperates paradoxus`, whose genus is no word of WordNet; not `Indian elephant`."""
    parts = BINOMIAL.fullmatch(name)
    if parts is None:
        return False
    meant = [wordnet.labels.get(offset) for offset in wordnet.senses.get(parts[1].lower(), [])]
    return "TAXON" in meant or not meant


def meaning_of(wordnet: WordNet, text: str) -> str | None:
    """The commonest meaning that is spelled like this, if it is what the word mostly stands for."""
    single = text.lower()
    forms = [single, wordnet.plurals.get(single, "")]
    forms += [single[: -len(end)] + instead for end, instead in ENDINGS if single.endswith(end)]
    form = next((form for form in forms if len(form) > 2 and form in wordnet.senses), None)
    if form is None or (text[0].islower() and wordnet.share[form] < 0.5):
        return None
    for offset in [MEANT[form]] if form in MEANT else wordnet.senses[form]:
        names = map(bare, wordnet.meanings[offset].names)
        spelled = next((name for name in names if name.lower() == form), "")
        if spelled and spelled[0].isupper() == text[0].isupper():
            return offset if label_of(wordnet, offset, spelled) else None
    return None


Entity = tuple[int, int, str, str]


def named(wordnet: WordNet, offset: str, start: int, name: str) -> Iterator[Entity]:
    """The entity of one of the names in front of a gloss; a rank before a taxon is no part of its name."""
    taxon = bare(name)
    if label := label_of(wordnet, offset, taxon):
        yield start + len(name) - len(taxon), start + len(name), label, offset


def found(wordnet: WordNet, text: str, at: int) -> Iterator[Entity]:
    """The entities of a text from a character on, the longest name first."""
    words = list(WORD.finditer(text, at))
    i = 0
    while i < len(words):
        for count in range(WORDS_OF_A_NAME, 0, -1):
            start = words[i].start()
            end = words[min(i + count, len(words)) - 1].end()
            piece = text[start:end].rstrip(".")
            offset = meaning_of(wordnet, piece) if i + count <= len(words) and "." not in piece else None
            if offset and re.fullmatch(r"[\w'-]+(?: [\w'-]+)*", piece):
                yield start, start + len(piece), label_of(wordnet, offset, piece) or wordnet.labels[offset], offset
                i += count
                break
        else:
            i += 1


def relation(wordnet: WordNet, head: Entity, tail: Entity, about: str) -> str | None:
    """What WordNet says of two entities; OCCURS_IN alone is concluded: `about` is the meaning that the gloss is of."""
    _, _, one, first = head
    _, _, other, second = tail
    living = {"ORGANISM", "TAXON"}
    kinds = wordnet.above(first, KINDS)
    if second in kinds and (one == other or {one, other} <= living):
        return "IS_A"
    if one in living and other == "TAXON":
        through = {up for kind in (first, *kinds) for up in wordnet.above(kind, {"#m"})}
        return "MEMBER_OF" if second in through else None
    wholes = {up for kind in (first, *kinds) for up in wordnet.above(kind, PARTS)}
    if second in wholes and (one == other or (one == "ANATOMY" and other in living)):
        return "PART_OF"
    if first == about and one in {*living, "MINERAL"} and other in {"TIME", "LOC"}:
        return "OCCURS_IN"
    return None


def sentence(wordnet: WordNet, offset: str) -> dict[str, object]:
    """A meaning's names and gloss: where it is from, its entities by their first character, its relations."""
    title, *others = wordnet.meanings[offset].names
    entities = list(named(wordnet, offset, 0, title))
    at = len(f"{title} (also ")
    for name in others:
        entities += named(wordnet, offset, at, name)
        at += len(f"{name}, ")
    names = title + (f" (also {', '.join(others)})" if others else "")
    text = f"{names}: {EXAMPLE.split(wordnet.meanings[offset].gloss)[0]}"
    entities += found(wordnet, text, len(names))
    relations = [
        {"head": i, "tail": j, "label": label}
        for i, head in enumerate(entities)
        for j, tail in enumerate(entities)
        if head[3] != tail[3] and (label := relation(wordnet, head, tail, offset))
    ]
    spans = [{"start": start, "end": end, "label": label} for start, end, label, _ in entities]
    return {"text": text, "entities": spans, "relations": relations, "source": f"wn-{offset}"}


def place(row: dict[str, object]) -> bytes:
    return hashlib.sha256(str(row["source"]).encode()).digest()


def chosen(wordnet: WordNet, *, naming: int, silent: int) -> list[dict[str, object]]:
    """Sentences about beings, their parts, minerals, times and what is said of fossils: those that name a time or a
    mineral or speak of geology first, then what the hash of the source draws; and some that name nothing."""
    core, others, nothing = list[dict[str, object]](), list[dict[str, object]](), list[dict[str, object]]()
    for offset, meaning in wordnet.meanings.items():
        about = wordnet.labels.get(offset)
        speaks = CORE.search(meaning.gloss) is not None
        row = sentence(wordnet, offset)
        if len(str(row["text"])) > LONGEST or (about == "LOC" and not speaks):
            continue
        labels = set(re.findall(r"'label': '([A-Z]+)'", str(row["entities"])))
        if not labels:
            nothing.append(row)
        elif labels & {"TIME", "MINERAL"} or speaks:
            core.append(row)
        elif about:
            others.append(row)
    rows = [*core, *sorted(others, key=place)][:naming] + sorted(nothing, key=place)[:silent]
    return sorted(rows, key=place)


def main() -> None:
    how = (
        "The labels of names and relations are SILVER: made by rules from WordNet's pointers, read by nobody\n"
        "(docs/silver.md). How they were made: scripts/make_paleo_ner.py."
    )
    rows_in = lambda folder: chosen(read_wordnet(folder), naming=NAMING, silent=SILENT)  # noqa: E731
    make_sample("paleo_ner", rows_in, how=how, unit="a sentence", about=__doc__)


if __name__ == "__main__":
    main()
