"""What a found name brings with it: the same words elsewhere in the text, and an age behind it."""

import re
from collections.abc import Iterable, Iterator

from seg_lib.data.deidentify_words import KNOWN, WORDS

Span = tuple[int, int, str]
NOBODY = KNOWN | WORDS["titles"] | WORDS["roles"] | WORDS["human"]
AGE = re.compile(
    r"(?:,? ?\(?| (?:is|was|will be|at) |: ?)((?:9\d|1[01]\d))"
    r"(?=[,.;:)]| ?/?[MFmf]\b| and\b| on\b)"
)
PART = re.compile(r"[^\W\d_][^\W\d_'’-]{2,}")
WORD = re.compile(r"[^\W\d_]+(?!\w)")
NOUN = re.compile(r"(?:['’]s)? ([a-z]+)")


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
