"""Build `sample:dutch` again from Debian's libreoffice-help-nl: fetch, unpack, keep the Dutch paragraphs, pack.

    python scripts/build_sample_dutch.py [OUT_DIR]       (Debian, with apt-get and dpkg; the default is data/samples)

One help page is one document, one paragraph, heading or list item a line, a blank line between documents. A
paragraph is left out if it stood on an earlier page, holds fewer than four words, or reads like English: pages that
nobody has translated yet are shipped untranslated. Pages are read in the order of their paths, and the packed file
holds no date, so the same package gives the same bytes.
"""

import argparse
import gzip
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

PACKAGE = "libreoffice-help-nl"
PAGES = "usr/share/libreoffice/help/nl/text"
BLOCKS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "td", "th", "dt", "dd", "div", "br", "pre", "tr", "table"}
SKIPPED = {"script", "style", "nav", "aside", "footer", "header", "head", "button", "select", "pre"}
FEWEST_WORDS = 4
# The most frequent words that only one of the two languages has ("in", "is", "of", "was" are in both).
DUTCH = set(
    re.split(" ", "de het een en van op te dat niet met voor zijn aan wordt worden om uw als bij kunt die naar dit")
)
ENGLISH = set(re.split(" ", "the and to a are that for with this be you can or by as on it from your when not"))
NOTICE = """The text in dutch.txt.gz is taken from the help of LibreOffice in Dutch.

Source:     Debian package {package} {version}, files under /{pages}
Upstream:   LibreOffice, https://www.libreoffice.org, source at https://download.documentfoundation.org/libreoffice/src
Copyright:  2000, 2010 Oracle and/or its affiliates;
            2000, 2010 LibreOffice contributors and/or their affiliates
License:    MPL-2.0, Mozilla Public License Version 2.0

This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0. If a copy of the MPL was not
distributed with this file, You can obtain one at https://mozilla.org/MPL/2.0/.

Some files of that package include material under the Apache License 2.0 of the Apache Software Foundation's
contributors; its terms stand at https://www.apache.org/licenses/LICENSE-2.0.

How it was made: scripts/build_sample_dutch.py. The HTML pages were reduced to their paragraphs, headings and list
items; paragraphs that appear twice, very short ones and those not translated into Dutch were left out. No word of
the rest was changed. {documents} documents (help pages), {paragraphs} paragraphs, {characters} characters.

dutch/tokenizer.json holds pieces of words that were learnt from this text
(`runjob tokenizer build sample:dutch --documents paragraph --algorithm bpe --vocab-size 8192`).
"""


class Paragraphs(HTMLParser):
    """The visible text of one help page, cut where a reader sees a new line."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._text: list[str] = []
        self._skipping: list[str] = []
        self._hidden: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SKIPPED:
            self._skipping.append(tag)
        if tag == "span":  # the same command for another operating system stands hidden beside the shown one
            self._hidden.append(dict(attrs).get("class") in {"MAC", "UNIX", "WIN"})
        if tag in BLOCKS:
            self._cut()

    def handle_endtag(self, tag: str) -> None:
        if self._skipping and tag == self._skipping[-1]:
            self._skipping.pop()
        if tag == "span" and self._hidden:
            self._hidden.pop()
        if tag in BLOCKS:
            self._cut()

    def handle_data(self, data: str) -> None:
        if not self._skipping and not any(self._hidden):
            self._text.append(data)

    def _cut(self) -> None:
        text = " ".join("".join(self._text).split())
        self._text.clear()
        if text:
            self.found.append(text)


def paragraphs_of(page: Path) -> list[str]:
    parser = Paragraphs()
    parser.feed(page.read_text(encoding="utf-8"))
    parser.close()
    return parser.found


def is_dutch(text: str) -> bool:
    words = re.findall(r"[a-zà-ÿ]+", text.lower())
    dutch, english = (sum(word in common for word in words) for common in (DUTCH, ENGLISH))
    return len(words) >= FEWEST_WORDS and dutch >= max(1, len(words) // 25) and dutch > 1.5 * english


def dutch_documents(pages: Iterable[Path]) -> Iterator[list[str]]:
    """The kept paragraphs of each page that has any."""
    seen: set[str] = set()
    for page in pages:
        kept: list[str] = []
        for text in paragraphs_of(page):
            if text not in seen and is_dutch(text):
                seen.add(text)
                kept.append(text)
        if kept:
            yield kept


def fetch(package: str, where: Path) -> tuple[Path, str]:
    """Download and unpack; returns the unpacked tree and the version."""
    subprocess.run(("apt-get", "download", package), cwd=where, check=True, stdout=subprocess.DEVNULL)
    [file] = where.glob(f"{package}_*.deb")
    subprocess.run(("dpkg", "-x", file, where / "tree"), check=True)
    field = subprocess.run(("dpkg-deb", "-f", file, "Version"), check=True, capture_output=True, text=True)
    return where / "tree", field.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).parent.parent / "data" / "samples")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as scratch:
        tree, version = fetch(PACKAGE, Path(scratch))
        documents = list(dutch_documents(sorted((tree / PAGES).rglob("*.html"))))
    text = "\n".join("".join(f"{paragraph}\n" for paragraph in document) for document in documents)
    (out / "dutch.txt.gz").write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    counts = {"documents": len(documents), "paragraphs": sum(map(len, documents)), "characters": len(text)}
    notice = NOTICE.format(package=PACKAGE, version=version, pages=PAGES, **counts)
    (out / "dutch.LICENSE").write_text(notice, encoding="utf-8")
    print(counts)


if __name__ == "__main__":
    main()
