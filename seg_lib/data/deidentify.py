"""Take identifiers out of free text, and hold the text back if one may be left.

    text ── known identifiers of this patient, in all spellings ─┐
         ── rules: dates, phones, numbers, addresses, mail       ├─> [DATE] [NAME] [ID] …
         ── titles, labels, name lists, unknown capitalised words┘
         ── what still looks like an identifier: refused

Notes made from the allow-listed columns (`seg_lib.data.notes`) need none of this: the safest text
is one that never held a name. Rules find what they were written for; measure them on your own
texts before you rely on them (`benchmarks/deidentification.py`). English text only. Lesson 14.

Types of identifiers: the Safe Harbor list of 45 CFR 164.514(b)(2). That is no claim to fulfil it.
"""

import datetime
import re
import unicodedata
from collections.abc import Iterable, Iterator

from seg_lib.data.clinical_fields import OLD
from seg_lib.data.deidentify_rules import (
    ACTS,
    INITIALS_AFTER,
    INITIALS_BEFORE,
    LETTERS,
    MEDICAL,
    PARTICLES,
    PARTICLES_BEFORE,
    RESIDUAL,
    RULES,
    SURNAME,
    WORD,
)
from seg_lib.data.deidentify_words import FIRST_NAMES, NO_NAMES
from seg_lib.errors import InputError

MONTHS = ["January", "February", "March", "April", "May", "June", "July"]
MONTHS += ["August", "September", "October", "November", "December"]
FORMS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y%m%d")
SCRIPTS = ("LATIN", "GREEK", "MICRO", "MASCULINE", "FEMININE", "MODIFIER")
BARE = dict(zip("łŁđĐøØıœŒ", "lLdDoOioO", strict=True))
UMLAUTS = {228: "ae", 246: "oe", 252: "ue", 223: "ss", 196: "Ae", 214: "Oe", 220: "Ue"}


def deidentify(text: str, known: Iterable[str] = (), presidio: bool = False) -> str:
    """Replace identifiers by their type, such as ``[DATE]``; ages above 89 by "90 or older".

    Args:
        text: English free text of one patient.
        known: what must not stay: names, numbers, birth date, address of this patient.
        presidio: also ask Presidio's analyser, if it is installed.

    Raises:
        InputError: something that looks like an identifier is left, or letters that the rules
            cannot read; nothing of the text is quoted. ``presidio`` without the package.
    """
    text = unicodedata.normalize("NFC", text)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")  # hides in words, unseen
    strange = next((c for c in text if c.isalpha() and not _readable(c)), None)
    if strange:
        line = text[: text.index(strange)].count("\n") + 1
        raise InputError(
            f"line {line}: letters of a script that the rules cannot read "
            f"({unicodedata.name(strange, '?').split()[0]}); the text is held back: translate it."
        )
    spans = [*known_spans(text, known), *find_identifiers(text)]
    spans += _presidio_spans(text) if presidio else []
    clean = _replaced(text, spans)
    left = RESIDUAL.search(clean) or next(iter(known_spans(clean, known)), None)
    if left:
        start = left.start() if isinstance(left, re.Match) else left[0]
        line = clean[:start].count("\n") + 1
        raise InputError(
            f"line {line}: what looks like an identifier is left after all rules; the text is held "
            "back: take it out by hand."
        )
    return clean


def _readable(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "?").split()[0] in SCRIPTS


def _folded(text: str) -> str:
    """Without accents, and every letter stays one letter."""
    if text.isascii():
        return text
    return "".join(BARE.get(c) or unicodedata.normalize("NFD", c)[0] for c in text)


def find_identifiers(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, type) of what the rules and lists find; spans may overlap."""
    text = _folded(text)
    for kind, rule in RULES:
        for match in rule.finditer(text):
            start, end = match.span(match.lastindex or 0) if rule.groups else match.span()
            if kind[-1] != "?":
                yield start, end, kind
                continue
            letters = list(LETTERS.finditer(text, start, end))
            words = [m for m in letters if _may_be_name(m[0])]
            if kind == "NAME?" and words:
                first = PARTICLES.match(text, start) or words[0]
                yield *_with_initials(text, first.start(), words[-1].end()), "NAME"
            elif words and words[0] == letters[0]:
                yield start, end, kind[:-1]
    for start, end in _unknown_words(text):
        yield *_with_initials(text, start, end), "NAME"


def _with_initials(text: str, start: int, end: int) -> tuple[int, int]:
    before = INITIALS_BEFORE.search(text, max(0, start - 12), start)
    after = INITIALS_AFTER.match(text, end)
    return before.start() if before else start, after.end() if after else end


def _may_be_name(found: str) -> bool:
    words = re.findall(r"[^\W\d_]+", found)
    return any(
        w.lower() not in NO_NAMES and not MEDICAL.search(w.lower()) and len(w) > 1 for w in words
    )


def _unknown_words(text: str) -> Iterator[tuple[int, int]]:
    """Capitalised words that nothing explains: first names, and strangers inside a sentence."""
    for match in WORD.finditer(text):
        start, end = match.span()
        word = re.sub(r"['’]s$", "", match[0])
        if word not in FIRST_NAMES and (word.lower() in NO_NAMES or MEDICAL.search(word)):
            continue
        before = text[max(0, start - 50) : start].rstrip(" \t\"'(*-•")
        inside = bool(before) and before[-1] not in ".!?:;\n"
        acts = ACTS.match(text, end) or text[end - 2 : end] in ("'s", "’s")
        second = SURNAME.match(text, end)
        second = second if second and _may_be_name(second[0]) else None
        if word in FIRST_NAMES or inside or acts or second:
            before = PARTICLES_BEFORE.search(text, max(0, start - 20), start)
            end = second.end() if second else start + len(word)
            yield before.start() if before else start, end


def known_spans(text: str, known: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    """Where known identifiers stand: names in parts and without accents, numbers, dates."""
    folded = _folded(text)
    for identifier in known:
        for kind, pattern in _spellings(str(identifier)):
            for match in re.finditer(pattern, folded, re.IGNORECASE):
                yield *match.span(), kind


def _spellings(identifier: str) -> Iterator[tuple[str, str]]:
    day = _dates(identifier)
    digits = re.sub(r"\D", "", identifier)
    if day:
        for date in day:
            d, m, y = rf"0?{date.day}", rf"0?{date.month}", rf"(?:{date.year}|{date.year % 100:02})"
            name = MONTHS[date.month - 1]
            month = rf"(?:{name}|{name[:3]})\.?"
            s = r"[ ./-]?"
            for order in (f"{d}{s}{m}{s}{y}", f"{m}{s}{d}{s}{y}", f"{y}{s}{m}{s}{d}"):
                yield "DATE", rf"(?<!\d){order}(?!\d)"
            yield "DATE", rf"{d}(?:st|nd|rd|th)?[ .-]*{month},?[ -]*{y}|{month} {d}\w*,? {y}"
    elif len(digits) >= 3 and len(digits) * 2 >= len(re.sub(r"\W", "", identifier)):
        yield "ID", r"(?<!\d)0*" + r"[ ./-]?".join(digits.lstrip("0")) + r"(?!\d)"
    for part in re.findall(r"[^\W\d_]{2,}", identifier) if not day else []:
        plain = _folded(part)
        wide = part.translate(UMLAUTS)
        if part.lower() not in NO_NAMES:
            yield "NAME", rf"\b(?:{re.escape(plain)}|{re.escape(wide)})\b"


def _dates(text: str) -> list[datetime.date]:
    """Every day a text may mean: 03/04/1950 is the 3rd of April and the 4th of March."""
    found = []
    for form in FORMS:
        try:
            found.append(datetime.datetime.strptime(text.strip(), form).date())
        except ValueError:
            continue
    return found


def _presidio_spans(text: str) -> list[tuple[int, int, str]]:
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError as error:
        raise InputError(
            "Presidio is not installed; pip install presidio-analyzer and a spaCy model, or leave "
            "it out."
        ) from error
    return [(r.start, r.end, r.entity_type) for r in AnalyzerEngine().analyze(text, language="en")]


def _replaced(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """The text with every span replaced; of spans that overlap, the first names the type."""
    parts, done, last = [], 0, ""
    for start, end, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if end <= done:
            continue
        if start >= done:
            between = text[done:start]
            parts.append(between)
            if not (kind == last and not between.strip(" ,")):
                parts.append(OLD if kind == "AGE" else f"[{kind}]")
        done, last = end, kind
    return "".join(parts) + text[done:]
