"""Names behind a title or before a degree, and houses: patterns over one letter a word.

    "Seen by Dr. Okoro at Ashford General Hospital."   ->   "Rrt.XbXkh."

The letters are those of `seg_lib.data.deidentify_tagger`, which finds the names without a title.
"""

import re
from collections.abc import Iterator

from seg_lib.data.deidentify_tagger import read

PIECES = {
    "I": r"(?:(?:i\.?-?){1,3})",  # initials
    "P": r"(?:p\.?-?){0,3}",  # van der
    "LAST": r"(?:,?(?:<I>(?=[,_(|lovrcab'ktTRn-]|$)|<I>?<P>[XfFwUm]|(?<=,)[eq](?=[,._o|]))"
    r"|<I>?(?:<P>[eEq]|p{1,3}k)){0,4}",  # what goes on
    "NAME": r"<I>?(?:<P>[XfFwUmeq]|p{1,3}k)<LAST>",
}


def _pattern(text: str) -> re.Pattern:
    while found := re.search(r"<([A-Z]+)>", text):
        text = text.replace(found[0], PIECES[found[1]])
    return re.compile(text)


# Capitalised words with "of the" between: a house, if one of them says so and one is a name.
HOUSE = _pattern(r"(?:(?:[piT]\.?|[XfFwUmEeqhHk])'?o{0,3}){1,9}(?:p?[XfFwUmEeqhHk])")
# The group, if there is one, is the name.
TITLED = [
    _pattern(r"(?<!n)[tT]\.?((?:[fFwX]|i\.?){0,2}k)(?=[(,.:'_|]|$)"),
    _pattern(r"(?:[fFw](?:i\.?)?|(?<=[Rr:])i\.?)k(?=[,.(|_'r]|$)"),
    _pattern(r"t[.:]?(?:[tT]\.?|[xl]\.(?=[tTXfFwUmeixl]))*(<I>?<P>[XfFwUmeEqkRHThx]<LAST>)"),
    _pattern(r"(?<!n)T\.?(<NAME>)"),
    _pattern(r"<NAME>(?=,?g)"),
    _pattern(r"g\.?(<NAME>)"),
]


def find_names(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, type) of names with a title, and of hospitals; spans may overlap."""
    tokens, kinds, _ = read(text, ())
    for pattern, kind in [(HOUSE, "HOSPITAL"), *((pattern, "NAME") for pattern in TITLED)]:
        for match in pattern.finditer(kinds):
            start, end = match.span(pattern.groups)
            if kind == "NAME" or _is_house(match[0], kinds[:start][-1:]):
                kinds = kinds[:start] + "*" * (end - start) + kinds[end:]
                yield tokens[start].start(), tokens[end - 1].end(), kind


def _is_house(kinds: str, before: str) -> bool:
    """Whether one of the words says house, and one is no word of medicine."""
    named = "[XfFwUmqipe]" if "h" in kinds or before not in "." else "[XfFwUmqip]"
    return bool(re.search("[hH]", kinds) and re.search(named, kinds))
