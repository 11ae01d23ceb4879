"""Names behind a title or before a degree, and houses: patterns over one letter a word.

    "Seen by Dr. Okoro at Ashford General Hospital."   ->   "Rrt.XbXkh."

The letters are those of `seg_lib.data.deidentify_tagger`, which finds the names without a title.
Last, what a found name brings with it: its words elsewhere in the text, and an age behind it.
"""

import re
from collections.abc import Iterable, Iterator

from seg_lib.data.deidentify_pieces import pattern
from seg_lib.data.deidentify_tagger import read
from seg_lib.data.deidentify_words import KNOWN, WORDS

Span = tuple[int, int, str]
PIECES = {
    "I": r"(?:(?:i\.?-?){1,3})",  # initials
    "P": r"(?:p\.?-?){0,3}",  # van der
    "LAST": r"(?:,?(?:<I>(?=[,_(|lovrcab'ktTRn-]|$)|<I>?<P>[XfFwUm]|(?<=,)[eq](?=[,._o|]))"
    r"|<I>?(?:<P>[eEq]|p{1,3}k)){0,4}",  # what goes on
    "NAME": r"<I>?(?:<P>[XfFwUmeq]|p{1,3}k)<LAST>",
}
# Capitalised words with "of the" between: a house, if one of them says so and one is a name.
HOUSE = re.compile(r"(?:(?:[piT]\.?|[XfFwUmEeqhHk])'?o{0,3}){1,9}(?:p?[XfFwUmEeqhHk])")
# The group, if there is one, is the name.
TITLED = [
    pattern(text, PIECES)
    for text in (
        r"(?<!n)[tT]\.?((?:[fFwX]|i\.?){0,2}k)(?=[(,.:'_|]|$)",
        r"(?:[fFw](?:i\.?)?|(?<=[Rr:])i\.?)k(?=[,.(|_'r]|$)",
        r"t[.:]?(?:[tT]\.?|[xl]\.(?=[tTXfFwUmeixl]))*(<I>?<P>[XfFwUmeEqkRHThx]<LAST>)",
        r"(?<!n)T\.?(<NAME>)",
        r"<NAME>(?=,?g)",
        r"g\.?(<NAME>)",
    )
]
NOBODY = KNOWN | WORDS["titles"] | WORDS["roles"] | WORDS["human"]
AGE = re.compile(
    r"(?:,? ?\(?| (?:is|was|will be|at) |: ?)((?:9\d|1[01]\d))"
    r"(?=[,.;:)]| ?/?[MFmf]\b| and\b| on\b)"
)
PART = re.compile(r"[^\W\d_][^\W\d_'’-]{2,}")
WORD = re.compile(r"[^\W\d_]+(?!\w)")
NOUN = re.compile(r"(?:['’]s)? ([a-z]+)")


def find_names(text: str) -> Iterator[Span]:
    """(start, end, type) of names with a title, and of hospitals; spans may overlap."""
    tokens, kinds, _ = read(text, ())
    for form, kind in [(HOUSE, "HOSPITAL"), *((form, "NAME") for form in TITLED)]:
        for match in form.finditer(kinds):
            start, end = match.span(form.groups)
            if kind == "NAME" or _is_house(match[0], kinds[:start][-1:]):
                kinds = kinds[:start] + "*" * (end - start) + kinds[end:]
                yield tokens[start].start(), tokens[end - 1].end(), kind


def _is_house(kinds: str, before: str) -> bool:
    """Whether one of the words says house, and one is no word of medicine."""
    named = "[XfFwUmqipe]" if "h" in kinds or before not in "." else "[XfFwUmqip]"
    return bool(re.search("[hH]", kinds) and re.search(named, kinds))


def find_again(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Words of found names wherever they stand, but "Hartmann's procedure"; ages behind names."""
    words = set()
    for start, end, kind in spans:
        if kind == "NAME":
            words |= {word for word in PART.findall(text[start:end]) if word[0].isupper()}
            if age := AGE.match(text, end):
                yield *age.span(1), "AGE"
    words = {word for word in words if word.lower() not in NOBODY}
    for match in WORD.finditer(text) if words else ():
        noun = NOUN.match(text, match.end())
        if match[0] in words and not (noun and noun[1] in WORDS["nouns"]):
            yield *match.span(), "NAME"
