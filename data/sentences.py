"""A text cut into sentences, by a rule of punctuation and a list of abbreviations; no model, no language of its own.

A sentence ends behind `.`, `!`, `?` or `...` (and quotes or brackets that close there) where white space follows and
what comes next does not begin in lower case; and at an empty line. A full stop ends none behind an abbreviation of the
list, behind a single letter (`T. rex`, `J. Smith`) or several with stops between (`e.g.`, `U.S.`): a border that is
missed leaves two sentences together, which a model can read, and one too many takes a name apart.
"""

import re

# As Latin and English write them in descriptions of species, strata and figures; `etc.` is none, it often ends one.
LISTED = """
al aff approx bzw ca cf ch col comb cp dept diam dist ed eds eq eqs esp est ex fam fasc fig figs fm
gen gp incl indet inf lat loc mbr ms mt mts mus nat nom nov nr ord p pag pers pl pls
pp prof prov ref refs resp sen sens ser sp spec spp ssp st str subfam subg subgen subsp suppl syn syns tab
temp trans transl univ unpubl var viz vol vols vs dr mr mrs
"""
ABBREVIATIONS = frozenset(LISTED.split())
# In small letters words of their own
CAPITALISED = frozenset(("No", "Nos", "Jan", "Feb", "Apr", "Aug", "Sept", "Oct", "Nov", "Dec"))
# From the first mark of several on, else each of a thousand would be tried
END = re.compile(r"(?<![.!?\u2026])([.!?\u2026]++)[\"'\u201d\u2019\u00bb)\]]*+(?=\s)|\n[^\S\n]*+\n")
OPENING = "\"'\u201c\u2018\u00ab([\u00bf\u00a1"
NEXT = re.compile(rf"\s*+[{re.escape(OPENING)}]*+(\S)")
LETTERS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
# Longer than any abbreviation with its bracket
LAST_WORD = re.compile(r"\S{1,24}\Z")


def cut_sentences(text: str) -> list[tuple[int, int]]:
    """(begin, end) in characters of each sentence of `text`, in order; white space lies between them and nothing else.

    >>> [text[begin:end] for text in ("Found by Lu et al. (1999). T. rex, cf. Fig. 2, is not.",)
    ...     for begin, end in cut_sentences(text)]
    ['Found by Lu et al. (1999).', 'T. rex, cf. Fig. 2, is not.']
    """
    borders = [match.end() for match in END.finditer(text) if match[1] is None or _ends(text, match)]
    found = []
    for begin, end in zip([0, *borders], [*borders, len(text)], strict=True):
        inside = text[begin:end]
        first = begin + len(inside) - len(inside.lstrip())
        last = begin + len(inside.rstrip())
        if first < last:
            found.append((first, last))
    return found


def _ends(text: str, mark: re.Match[str]) -> bool:
    following = NEXT.match(text, mark.end())
    if following is None or following[1].islower():
        return False
    if mark[1] != ".":
        return True
    word = LAST_WORD.search(text, max(0, mark.start() - 24), mark.start())
    if word is None:
        return True
    bare = word[0].lstrip(OPENING)
    return not (bare.lower() in ABBREVIATIONS or bare in CAPITALISED or LETTERS.fullmatch(bare))
