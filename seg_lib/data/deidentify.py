"""Take identifiers out of free text, and hold the text back if one may be left.

    text ── known identifiers of this patient, in all spellings ─┐
         ── rules: dates, phones, numbers, addresses, mail       ├─> [DATE] [NAME] [ID] …
         ── titles and houses                                    │
         ── a tagger that weighs a word and those around it      │
         ── words of found names, wherever they stand ───────────┘
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
from seg_lib.data.deidentify_names import find_again, find_names
from seg_lib.data.deidentify_pieces import pattern
from seg_lib.data.deidentify_rules import find_by_rules
from seg_lib.data.deidentify_tagger import find_by_tagger
from seg_lib.data.deidentify_words import NO_NAMES
from seg_lib.errors import InputError

MONTHS = ["January", "February", "March", "April", "May", "June", "July"]
MONTHS += ["August", "September", "October", "November", "December"]
FORMS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y%m%d")
SCRIPTS = ("LATIN", "GREEK", "MICRO", "MASCULINE", "FEMININE", "MODIFIER")
BARE = dict(zip("łŁđĐøØıœŒ", "lLdDoOioO", strict=True))
UMLAUTS = {228: "ae", 246: "oe", 252: "ue", 223: "ss", 196: "Ae", 214: "Oe", 220: "Ue"}

# "a 91-year-old frail woman" becomes "a frail woman aged 90 or older".
YEARS_OLD = re.compile(
    rf"(?i)\b(?:aged )?{OLD}[ -]?(?:years?|yrs?|y/?o|y\.o\.)(?:[ -](?:old|of age))?(?![\w-])"
    r"((?: (?!and |with |who )[a-z]{2,20}){0,2}? "
    r"(?:man|woman|lady|gentleman|male|female|patient|person|smoker))?"
)
TRADE = re.compile(r" (?!(?:and|with|who|is|was|in|on|from|at|for|has|had)\b)[a-z]")
# What looks like an identifier after all rules: the text is held back.
RESIDUAL_TEXT = r"""
@(?! ?\d)|//|\\\\|(?i:www\.)
(?!\d{1,3}(?: 000)+\b)\d(?: ?\d){5,}|(?<![\d.])\d{5,}(?!\d|<TAKEN>)|(?:\d{1,9}\.){3,9}\d
\d{2,}-\d{3,}-\d{2,}|\b\d{4}-\d\d?-\d\d?\b|\b\d\d?/\d\d?/\d{2,4}\b(?! ?<UNITS>)|\b\d{3}[.-]\d{4}\b
\b(?:Dr|Mr|Mrs|Ms|Prof|MRS|PROF)\.? [A-Z][A-Za-z]
\b[a-z][\w-]{1,62}\.[a-z]{2,24}/\w|\b[\w-]{1,62}\.(?:<TLDS>)\b
\b(?:[a-z][a-z-]{2,40}\.){2,6}[a-z]{2,24}\b
\b\d{1,2}(?:st|nd|rd|th)?(?: of)?[ /.-]?<MONTH>(?<![A-Z]{3})|\b(?:<ALONE>|May|March)[ .,/-]{0,2}\d
\b(?:[A-Z][a-z]{1,40}|\d{1,3}(?:st|nd|rd|th)) (?:<SURESTREET>|Ave|Blvd|Rd|Ln|Pkwy)\b
(?i:\baddress\s?:\s?(?=[a-z\d])|\bdate of birth\s?:?\s?\d|\bdob\s?:?\s?\d)
(?i:\b(?:MRN|SSN|NHS|passport|telephone|fax)\b[^\n\[]{0,12}\d{3})
"""
RESIDUAL = pattern("|".join(RESIDUAL_TEXT.strip().splitlines()))


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
    known = [unicodedata.normalize("NFC", str(identifier)) for identifier in known]
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = "".join(c for c in text if unicodedata.category(c) != "Cf")  # hides in words, unseen
    strange = next((c for c in text if not c.isascii() and c.isalpha() and not _readable(c)), None)
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
    return unicodedata.name(letter, "?").split()[0] in SCRIPTS


def folded(text: str) -> str:
    """Without accents, and every letter stays one letter."""
    if text.isascii():
        return text
    return "".join(BARE.get(c) or unicodedata.normalize("NFD", c)[0] for c in text)


def find_identifiers(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, type) of what the rules and lists find; spans may overlap."""
    text = folded(text)
    found = list(find_by_rules(text))
    spans = [*found, *find_names(text), *find_by_tagger(text, found)]
    yield from spans
    yield from find_again(text, spans)


def known_spans(text: str, known: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    """Where known identifiers stand: names in parts and without accents, numbers, dates."""
    plain = folded(text)
    for identifier in known:
        for kind, spelling in _spellings(identifier):
            for form in dict.fromkeys([plain, text]):
                for match in re.finditer(spelling, form, re.IGNORECASE):
                    yield *match.span(), kind


def _spellings(identifier: str) -> Iterator[tuple[str, str]]:
    day = _dates(identifier)
    digits = re.sub(r"\D", "", identifier)
    pieces = re.findall(r"[^\W\d_]+|\d+", folded(identifier))
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
        bare = re.sub(r"^0+(?=\d{3})", "", digits)
        yield "ID", r"(?<!\d)0*" + r"[ ./-]?".join(bare) + r"(?!\d)"
    if not day and digits not in ("", "".join(pieces)):
        yield "ID", r"(?<![^\W_])" + r"[\W_]?".join(pieces) + r"(?![^\W_])"
    for part in re.findall(r"[^\W\d_]{2,}", identifier) if not day else []:
        wide = folded(part.translate(UMLAUTS)).lower()
        wide = re.sub("[aou]e|ss", r"(?:\g<0>|[äöüß])", wide)
        if part.lower() not in NO_NAMES:
            yield "NAME", rf"(?<![^\W\d_])(?:{folded(part)}|{wide})(?![^\W\d_])"


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
    clean = "".join(parts) + text[done:]
    return YEARS_OLD.sub(_aged, clean) if OLD in clean else clean


def _aged(match: re.Match) -> str:
    """English for an age that was "91 years old": of a person, alone after an article, or not."""
    article = re.search(r"\b(?:an?|the|this)\s$", match.string[: match.start()], re.IGNORECASE)
    who = match[1] or (" person" if article else "")
    after = "," if not match[1] and article and TRADE.match(match.string, match.end()) else ""
    return f"{who.removeprefix(' ')} aged {OLD}{after}".strip()
