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
from seg_lib.data.deidentify_words import FIRST_NAMES, NO_NAMES
from seg_lib.errors import InputError

MONTHS = (
    "January February March April May June July August September October November December".split()
)
MONTH = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
CAP = r"[A-ZÀ-Þ](?:\.|[A-Za-zÀ-ÿ'’-]*)"
PARTICLE = r"(?:\b(?:van|von|der|den|de|di|da|del|la|le|al|el|bin|ten|ter|zu)[ -])"
PERSON = rf"{PARTICLE}*{CAP}(?:,? {PARTICLE}*{CAP}){{0,3}}"
STREET = (
    "Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Way|Court|Ct|Place|Pl|Terrace"
    "|Close|Square|Crescent|Parkway|Highway|Row|Hill|Gardens"
)
HOUSE = (
    "Hospital|Hospice|Clinics?|Infirmary|Klinikum|Klinik|Sanatorium|Polyclinic"
    "|(?:Medical|Cancer|Health|Oncology|Imaging|Trauma|Surgery) (?:Center|Centre|Institute|System)"
)
LABEL = (
    r"(?:patient(?: name)?|name|pt|physician|radiologist|attending|consultant|surgeon|oncologist|gp"
    r"|cc|re|regarding|subject|next of kin|contact|author|signed|copy to|to|from|dear|spouse|caregiver)\s*:\s*"
    r"|(?:signed|dictated|reported|reviewed|read|verified|approved|referred|seen|accompanied|typed"
    r"|transcribed)(?: electronically)? (?:by|with)\s*:?\s*"
)
KIN = "wife|husband|son|daughter|brother|sister|mother|father|partner|friend|neighbou?r|niece|nephew"
NUMBER_OF = (
    r"(?:MRN|MFN|SSN|NHS|acc(?:ession)?|record|chart|case|hospital|patient|policy|insurance|account"
    r"|study|order|specimen|licen[cs]e|serial|member|unit|lab|barcode|ref(?:erence)?|sample|visit|encounter"
    r"|ID|plate|device|passport)"
)
I = re.IGNORECASE  # noqa: E741
RULES: list[tuple[str, re.Pattern]] = [
    ("EMAIL", re.compile(r"[\w.+-]+\s?@\s?[\w-]+(?:\.[\w-]+)+")),
    ("URL", re.compile(r"(?:https?://|www\.)[^\s,;]+|\b\d{1,3}(?:\.\d{1,3}){3}\b", I)),
    ("DATE", re.compile(r"\b\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ]\d{1,2}:\d\d(?::\d\d)?)?\b")),
    ("DATE", re.compile(r"\b\d{1,2}(?:-\d{1,2}-|/ ?\d{1,2}/ ?|\. ?\d{1,2}\. ?)(?:\d{4}|\d{2})\b")),
    ("DATE", re.compile(rf"(?:\bthe )?\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)?[ .-]*{MONTH}(?:,?[ -]*['’]?\d{{2,4}}\b)?", I)),
    ("DATE", re.compile(rf"\b{MONTH}(?: the)? \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? ['’]?(?:\d{{4}}|(?<=['’])\d\d)\b)?", I)),
    ("DATE", re.compile(rf"\b{MONTH}(?:,|-| of)? ?['’]?(?:\d{{4}}|(?<=['’])\d\d)\b", I)),
    ("DATE", re.compile(rf"(?<=\bin |\bof ){MONTH}|(?<=\bsince |\buntil ){MONTH}")),
    ("DATE", re.compile(r"\b(?:on|since|until|from|dated|born|of|till)\s(\d{1,2}[/.]\d{1,2})\b\.?", I)),
    ("DATE", re.compile(r"\b(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\b")),
    ("DATE", re.compile(r"\b(?:0?[1-9]|1[0-2])/(?:19|20)\d\d\b|\b(?:19|20)\d\d-(?:0[1-9]|1[0-2])\b")),
    ("ID", re.compile(rf"\b{NUMBER_OF}\b\.?(?:\s*(?:number|no\.?|num|nr\.?|id|#))*\s*[:#]?\s*((?=[\w/-]*\d)[\w/-]{{4,}})", I)),
    ("ID", re.compile(r"\b\d{3}-\d{2}-\d{4}\b|#\s?\d{4,}|\b[A-Z]{1,4}[-/]?(?:\d+[-/])?\d{4,}[\w/-]*|\b\d{2,}[-/]\d{4,}\b")),
    ("PHONE", re.compile(r"\+\d[\d() ./-]{6,}\d\b(?:,? ?(?:ext|x|extension)\.? ?\d+)?", I)),
    ("PHONE", re.compile(r"(?<![\d.])(?:\+?\d{1,3}[ .-]?)?(?:\(\d{2,5}\)[ .-]?|\d{2,5}[ ./-])\d{3,4}(?:[ .-]?\d{2,5})+\b(?:,? ?(?:ext|x|extension)\.? ?\d+)?", I)),
    ("PHONE", re.compile(r"\b(?:tel|telephone|phone|fax|mobile|cell|pager|beeper|ext|extension|call)(?:\s*(?:no\.?|number|at|on))*[.:]*\s*(\+?\(?\d[\d() ./-]{2,}\d)", I)),
    ("ID", re.compile(r"(?<![\d.,-])\d{5,}(?![.,]\d)")),
    ("ADDRESS", re.compile(rf"\b(?:(?:Flat|Apt|Apartment|Suite|Unit)\.? \w+, )?\b\d{{1,5}} ?[A-Za-z]?,? (?:{PARTICLE}*{CAP} ){{1,4}}(?:{STREET})\b\.?(?:,? (?:Apt|Suite|Flat|Unit|Apartment)\.? #?\d\w*)?")),
    ("ADDRESS", re.compile(r"\b[A-ZÄÖÜ][a-zäöüß]+(?:straße|strasse|str\.|weg|platz|allee|gasse) \d{1,4}[a-z]?\b")),
    ("ADDRESS", re.compile(rf"\b(?:{CAP} ){{0,2}}{CAP},? [A-Z]{{2}},? \d{{5}}(?:-\d{{4}})?\b|\b[A-Z]{{1,2}}\d[A-Z\d]? \d[A-Z]{{2}}\b|\b\d{{5}} {CAP}")),
    ("ADDRESS", re.compile(r"\bP\.? ?O\.? Box \d+", I)),
    ("ADDRESS", re.compile(rf"\b(?:lives|living|resides|residing|resident|born|moved|home|native|travelled|relocated|flew|citizen)(?: (?:alone|with {KIN}))? (?:in|at|of|to|from) ({CAP}(?: {CAP}){{0,2}}(?:, {CAP}(?: {CAP})?)?)")),
    ("HOSPITAL", re.compile(rf"\b{PARTICLE}*(?:{CAP}\.?[ -](?:(?:of|and|for|the|de) )*){{1,5}}(?:{HOUSE})\b(?: (?:of|in|at) {CAP}(?: {CAP})?)?")),
    ("HOSPITAL", re.compile(rf"\b(?:{HOUSE}) (?:of|in|at) (?:the )?{CAP}(?: {CAP})?")),
    ("HOSPITAL", re.compile(rf"\b(?:University|Universit[a-zäöü]+|Charité|Institute|College) (?:of |Hospital |zu )?{CAP}(?: {CAP})?")),
    ("NAME", re.compile(rf"\b(?:Dr|Drs|Mr|Mrs|Ms|Miss|Prof|Professor|Doctor|Sir|Madam|Nurse|Sister|Herr|Frau|Sig|Mme)\b\.?(?: med\.| Dr\.?)* ({PERSON})")),
    ("NAME", re.compile(rf"(?:\b(?i:{LABEL}))({PERSON})")),
    ("NAME", re.compile(rf"\b(?:his|her|the|their|with|patient's) (?:\w+ )?(?:{KIN}),? ({PERSON})")),
    ("NAME", re.compile(rf"\b({PERSON}),? (?:MD|M\.D\.|PhD|FRCR|FRCS|RN|DO|MBBS|MBChB|NP|PA-C)\b")),
    ("NAME", re.compile(rf"\b(?:[A-Z]\. ?){{1,2}}{PARTICLE}*[A-ZÀ-Þ][a-zß-ÿ]{{2,}}(?:-[A-Z][a-z]+)?")),
    ("NAME", re.compile(rf"\b[A-ZÀ-Þ'-]{{3,}},? (?:{'|'.join(sorted(FIRST_NAMES))})\b")),
    ("NAME", re.compile(rf"\b{CAP}(?: {PARTICLE}*{CAP})* (?:{PARTICLE})+{CAP}")),
    ("AGE", re.compile(r"\b(?:9\d|1[01]\d)(?=[ -]?(?:years?|yrs?|y/?o)\b)|(?i:(?<=\bage )|(?<=\baged )|(?<=\bage: ))(?:9\d|1[01]\d)\b")),
]
WORD = re.compile(r"\b[A-ZÀ-Þ](?:['’][A-ZÀ-Þ])?[a-zß-ÿ]+(?:['’-][A-ZÀ-Þ]?[a-zß-ÿ]+)*(?:[A-Z][a-z]+)?")
SURNAME = re.compile(rf" {PARTICLE}*(?:[A-Z]\. ?)?[A-ZÀ-Þ](?:['’][A-ZÀ-Þ])?[a-zß-ÿ]{{1,}}[\w'’-]*")
LETTERS, PARTICLES = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*"), re.compile(PARTICLE)
MEDICAL = re.compile(r"(?:oma|omas|itis|osis|pathy|ectomy|graphy|scopy|emia|tion|tions|sion|mab|nib|platin|taxel|mycin|ology|ologist|plasty|lysis|ectasis)$")
ACTS = re.compile(
    r" (?:reports|reported|noted|recalls|smokes|smoked|worked|drinks|wants|prefers|attended|describes"
    r"|complained|mentioned|requests|requested|refused|refuses|understands|died|quit|stopped|lost"
    r"|gained|received|completed|underwent|recommends|recommended|suggested|advised|performed|wrote"
    r"|presented|presents|denies|denied|states|stated|called|complains|agrees"
    r"|agreed|lives|returned|came|said|asked|declined|consented|tolerated|feels|wishes|works"
    r"|(?:was|is|has been) (?:seen|referred|admitted|reviewed|discharged|informed|a \d|an? )"
    r"|will (?:see|call|review|return))"
)
RESIDUAL = re.compile(r"@|\d[\d ]{4,}\d|(?<![\d.])\d{5,}|\b(?:Dr|Mr|Mrs|Ms|Prof)\.? [A-Z][a-z]")


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
    return letter.isascii() or unicodedata.name(letter, "").split()[0] in (
        "LATIN", "GREEK", "MICRO", "MASCULINE", "FEMININE", "MODIFIER",
    )  # fmt: skip


def find_identifiers(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, type) of what the rules and lists find; spans may overlap."""
    for kind, rule in RULES:
        for match in rule.finditer(text):
            start, end = match.span(match.lastindex or 0) if rule.groups else match.span()
            if kind != "NAME":
                yield start, end, kind
            elif words := [m for m in LETTERS.finditer(text, start, end) if _may_be_name(m[0])]:
                first = PARTICLES.match(text, start) or words[0]
                yield first.start(), words[-1].end(), kind
    yield from _unknown_words(text)


def _may_be_name(found: str) -> bool:
    words = re.findall(r"[^\W\d_]+", found)
    return any(w.lower() not in NO_NAMES and not MEDICAL.search(w) and len(w) > 1 for w in words)


def _unknown_words(text: str) -> Iterator[tuple[int, int, str]]:
    """Capitalised words that nothing explains: first names, and strangers inside a sentence."""
    for match in WORD.finditer(text):
        start, end = match.span()
        word = re.sub(r"['’]s$", "", match[0])
        if word not in FIRST_NAMES and (word.lower() in NO_NAMES or MEDICAL.search(word)):
            continue
        before = text[:start].rstrip(" \t\"'(*-•")
        inside = bool(before) and before[-1] not in ".!?:;\n"
        acts = ACTS.match(text, end) or text[end - 2 : end] in ("'s", "’s")
        second = SURNAME.match(text, end)
        second = second if second and _may_be_name(second[0]) else None
        if word in FIRST_NAMES or inside or acts or second:
            before = re.search(rf"{PARTICLE}+$", text[:start])
            yield before.start() if before else start, second.end() if second else end, "NAME"


def known_spans(text: str, known: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    """Where known identifiers stand: names in parts and without accents, numbers, dates."""
    folded = "".join(unicodedata.normalize("NFD", c)[0] for c in text)  # one letter stays one
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
        plain = "".join(unicodedata.normalize("NFD", c)[0] for c in part)
        wide = part.translate({228: "ae", 246: "oe", 252: "ue", 223: "ss", 196: "Ae", 214: "Oe"})
        if part.lower() not in NO_NAMES:
            yield "NAME", rf"\b(?:{re.escape(plain)}|{re.escape(wide)})\b"


def _dates(text: str) -> list[datetime.date]:
    """Every day a text may mean: 03/04/1950 is the 3rd of April and the 4th of March."""
    found = []
    for form in ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y%m%d"):
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
