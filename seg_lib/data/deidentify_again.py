"""What stands beside a found identifier, and the same identifier a second time.

A name grows over its initials and particles ("RT Naidu", "Rukhsana binte Yusuf"), an address over
the house before and the town and code behind it. Then words of names are found wherever they stand,
and so are the initials of names and houses. An age of 90 or more may follow a name.
"""

import re
from collections.abc import Iterator

from seg_lib.data.deidentify_context import NOBODY
from seg_lib.data.deidentify_words import WORDS

Span = tuple[int, int, str]
PARTICLES = "ap|ab|bin|binte|binti|bte|ferch|van|von|de|da|al"
# What ends right where a name begins, and what begins right where it ends.
BEFORE_NAME = re.compile(
    rf"(?:(?<![\w.])(?:[A-Z]\.?[ -]?){{1,3}} ?|(?<!\w)[A-Z]{{2,3}} (?:(?:{PARTICLES}) )?"
    rf"|(?<!\w)(?:{PARTICLES}) )$"
)
AFTER_NAME = re.compile(rf" (?:{PARTICLES}) [A-Z][\w'’-]+")
AGE = re.compile(
    r"(?:,? ?\(?| (?:is|was|will be|at) |: ?|, bed \w{1,3}, ?|[\"”], bed \w{1,3}, ?)"
    r"((?:9\d|1[01]\d))(?=[,.;:)]| ?/?[MFmf]\b| and\b| on\b)"
)
DAY = re.compile(r" (\d{1,2}/\d{1,2})(?=[,.;)])")
NICKNAME = re.compile(r" [(\"“]([A-Z][a-z]{2,12})[)\"”]")
HOUSE_BEFORE = re.compile(
    r"(?:(?<=[,(\n:] )|(?<=[(\n])|(?<=\bat )|(?<=\bin )|(?<=\bfrom )|^)"
    r"(?:(?:H\. No\.|Door No\.|Plot|Flat|Apt|Apartment|Unit|Shop|[A-Z]-\d{1,3},?)"
    r" ?[\w/-]{0,9},\s?)?"
    r"(?:(?:The |\d{1,4} )?[A-Z][\w'’-]+(?: (?:na|[A-Z][\w'’-]+)){0,2},\s)?$"
)
SCANS = re.compile(r"CT|MR|MRI|PET|US|XR|GP|PT|DR|SR|RN|SN|CNS|PI|SW|MDT|II|III|IV|VI")
TOKEN = re.compile(r"(?:[A-Z]\.){2,4}|[^\W\d_]+(?!\w)")
BESIDE = re.compile(r"(?:['’]s)? ([a-z]+)")
ABBREVIATIONS = WORDS["abbreviations"]
NO_INITIALS = NOBODY | ABBREVIATIONS
CODE = (
    r"(?:[A-Z]\d[\dW] ?[A-Z\d]{4}|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|\d{3}[ -]?\d{3}"
    r"|(?:[A-Z]{2,3},? )?\d{4,6}(?:-\d{4})?)\b"
)
PLACE = (
    r"(?:(?:Co\.? |County )?[A-Z][A-Za-z'’-]+(?:[ -][A-Z][A-Za-z'’-]+){0,2}"
    r"|\d{1,2}(?:st|nd|rd|th) (?:Cross|Main))"
)
TOWN = re.compile(
    rf"(?:(?<=Co)\. [A-Z][a-z]+)?(?:,\s?{PLACE}(?=[\n,.;:)]|$| {CODE})){{0,4}}(?:,? {CODE})?"
)


def find_again(text: str, spans: list[Span]) -> Iterator[Span]:
    """What the spans of names, houses and addresses bring with them; spans may overlap."""
    names = {_grown(text, start, end) for start, end, kind in spans if kind == "NAME"}
    houses = {(start, end) for start, end, kind in spans if kind == "HOSPITAL"}
    for start, end in names:
        yield start, end, "NAME"
        if age := AGE.match(text, end):
            yield *age.span(1), "AGE"
        if day := DAY.match(text, end):
            yield *day.span(1), "DATE"
        if (called := NICKNAME.match(text, end)) and called[1].lower() not in NOBODY:
            yield *called.span(1), "NAME"
    for start, end, kind in spans:
        if kind in ("ADDRESS", "HOSPITAL"):
            before = HOUSE_BEFORE.search(text, max(0, start - 70), start)
            first = before.start() if before and kind == "ADDRESS" else start
            yield first, TOWN.match(text, end).end(), "ADDRESS"
    every = [text[start:end] for start, end in names]
    yield from _found(text, _words(every), "NAME")
    yield from _found(text, _initials(every), "NAME")
    letters = {"".join(re.findall(r"\b[A-Z]", text[a:b])) for a, b in houses}
    letters |= {word[1:] for word in letters}  # "At Royal …"
    yield from _found(text, {word for word in letters if len(word) > 2}, "HOSPITAL")


def _grown(text: str, start: int, end: int) -> tuple[int, int]:
    """The name with the initials and particles that stand beside it."""
    before = BEFORE_NAME.search(text, max(0, start - 12), start)
    while before and _initial(before[0].strip(), text[: before.start()][-2:]):
        start = before.start()
        before = BEFORE_NAME.search(text, max(0, start - 12), start)
    after = AFTER_NAME.match(text, end)
    return start, after.end() if after else end


def _initial(word: str, before: str) -> bool:
    """Whether short capitals before a name are initials: "RT Naidu", not "MRI Naidu"."""
    if SCANS.fullmatch(word.strip(". ")):
        return False
    if len(word) < 2 or not word.isalpha() or word.islower():
        return True
    beside = before.strip() in ("", ",", ":", "/", "(", "|", ".", "-")
    return beside or word.lower() not in ABBREVIATIONS


def _words(names: list[str]) -> set[str]:
    """The words of names, without those of medicine; common English words as they are written."""
    words = {word for name in names for word in re.findall(r"[^\W\d_][^\W\d_'’-]{2,}", name)}
    return {w for w in words if w[0].isupper() and w.lower() not in NOBODY}


def _initials(names: list[str]) -> set[str]:
    """FC of "F Choudhury"; in both orders, with and without stops."""
    found = set()
    for part in {part for name in names for part in (name, *name.split(","))}:
        letters = "".join(re.findall(r"(?<![^\W\d_])[A-Z]", part))
        if 2 <= len(letters) <= 4:
            found |= {letters, letters[1:] + letters[0], letters[0] + letters[-1]}
    found = {w for w in found if w.lower() not in NO_INITIALS}
    return found | {"".join(f"{c}." for c in word) for word in found}


def _found(text: str, words: set[str], kind: str) -> Iterator[Span]:
    """Where the words stand, unless they belong to an eponym."""
    for match in TOKEN.finditer(text) if words else ():
        if match[0] in words or match[0].strip(".") in words:
            beside = BESIDE.match(text, match.end())
            if not (beside and beside[1] in WORDS["nouns"]):
                yield *match.span(), kind
