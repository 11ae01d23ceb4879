"""What may stand in a clinical table: the columns on the allow-list, and how a cell is read.

A cell is a number in a range, a word of a closed list, a TNM letter or a stage; anything else is no
value. So nothing but these few words and numbers can ever reach a note. Taught in lesson 14.

Sources: TNM classification of malignant tumours, 8th edition (letters and suffixes; there is no T5,
N4 or M2); ECOG performance status, Oken 1982; ages over 89 are one group in the Safe Harbor list of
45 CFR 164.514(b)(2).
"""

import re
from collections.abc import Callable

OLDEST_AGE = 89
OLD = "90 or older"
BLANK = {"", "na", "nan", "none", "null", "nil", "unknown", "notrecorded", "nr", "notavailable"}
T, N, M = r"T(?:[0-4X]|is)(?:[a-e]|mi)?", r"N[0-3X][a-c]?", r"M[01X][a-c]?"
LETTERS = {"t": re.compile(T, re.I), "n": re.compile(N, re.I), "m": re.compile(M, re.I)}
TNM = re.compile(rf"(?:i?c|y?p)?({T})\s*({N})\s*({M})", re.I)
STAGE = re.compile(r"(?:stage\s*)?(0|(?:IV|I{1,3})[ABC]?[1-3]?)", re.I)

SEXES = {"male": "m man", "female": "f w woman"}
HISTOLOGIES = {
    "squamous cell carcinoma": "scc squamous",
    "adenocarcinoma": "adeno adenoca",
    "large cell carcinoma": "largecell",
    "small cell carcinoma": "sclc smallcell",
    "carcinoma, not otherwise specified": "nos nsclcnos nsclc",
}
SITES = {"lung": "", "head and neck": "head neck hnc", "pancreas": "", "larynx": ""}
SITES |= {"oral cavity": "oral", "oropharynx": "", "nasopharynx": "", "hypopharynx": ""}
SIDES = {"right": "r", "left": "l"}
LOBES = {"upper": "rul lul", "middle": "rml", "lower": "rll lll"}
CHEMOTHERAPIES = {"no": "none", "adjuvant": "", "neoadjuvant": "", "concurrent": "concomitant"}
CHEMOTHERAPIES |= {"induction": "", "palliative": ""}
AIMS = {"definitive": "curative radical", "palliative": "", "adjuvant": "postoperative"}
AIMS |= {"neoadjuvant": "preoperative"}


def key_of(name: str) -> str:
    """A column's name or a word, reduced to its letters and digits: ``Clinical.N.Stage``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_blank(text: str, field: str = "") -> bool:
    """Whether a cell says that nothing was recorded: empty, NA, nan, a dash, a lone colon."""
    told = field == "chemotherapy" and key_of(text) == "none"
    return key_of(text) in BLANK and not told


def number(low: float, high: float, units: dict[str, float] | None = None) -> Callable:
    """A reader of numbers from ``low`` to ``high``; ``units`` are suffixes and their factors."""

    def read(text: str) -> float:
        match = re.fullmatch(r"([+-]?\d+)(?:([.,])(\d+))?\s*([a-z]*)", text.strip().lower())
        if not match or match[4] not in ({""} | set(units or {})):
            raise ValueError("is no number")
        if match[2] == "," and len(match[3]) == 3:
            raise ValueError("may be a decimal comma or thousands; write it with a point")
        value = float(f"{match[1]}.{match[3] or 0}") * (units or {}).get(match[4], 1.0)
        if not low <= value <= high:
            raise ValueError(f"lies outside {low:g} to {high:g}")
        return int(value) if value.is_integer() else round(value, 3)

    return read


def word(words: dict[str, str]) -> Callable:
    """A reader of words from a closed list: ``{word: other spellings}``."""
    known = {key_of(form): name for name, more in words.items() for form in [name, *more.split()]}

    def read(text: str) -> str:
        if key_of(text) not in known:
            raise ValueError(f"is not on the list ({', '.join(words)})")
        return known[key_of(text)]

    return read


def age(text: str) -> int | str:
    """Completed years; above 89 only ``90 or older``, which is no longer a date of birth."""
    if key_of(text) == key_of(OLD):
        return OLD
    years = int(number(0, 120, {"y": 1, "years": 1, "yo": 1})(text))
    return years if years <= OLDEST_AGE else OLD


def letter(which: str) -> Callable:
    """A reader of one TNM letter, with or without it: ``T1c``, ``1c`` and ``icT1c`` are T1c."""

    def read(text: str) -> str:
        bare = re.sub(r"^(?:i?c|y?p)(?=[tnm])", "", text.strip().lower())
        full = bare if bare.startswith(which) else which + bare
        if not LETTERS[which].fullmatch(full):
            raise ValueError(
                "looks like a date that the spreadsheet program made; type the letter as text"
                if re.search(r"\d+\D+\d|[a-z]{3}", bare)
                else f"is no {which.upper()} of the TNM classification"
            )
        return which.upper() + full[1:].replace("x", "X")

    return read


def parse_tnm(text: str) -> dict[str, str]:
    """``icT2N0M0`` as ``{"t": "T2", "n": "N0", "m": "M0"}``.

    Raises:
        ValueError: no TNM, or a letter that does not exist (T5, N4, M2).
    """
    match = TNM.fullmatch(text.strip())
    if not match:
        raise ValueError("is no TNM such as T2N0M0")
    return {key: letter(key)(part) for key, part in zip("tnm", match.groups(), strict=True)}


def stage(text: str) -> str:
    """``IIIa`` as ``IIIA``; a TNM in the stage column comes back as ``T2 N0 M0``."""
    if match := STAGE.fullmatch(text.strip()):
        return match[1].upper()
    try:
        return " ".join(parse_tnm(text).values())
    except ValueError:
        raise ValueError("is neither a stage (0 to IVC) nor a TNM such as T2N0M0") from None


def ecog(text: str) -> int:
    """0 to 4; 5 is death, which no patient under treatment has."""
    value = number(0, 4)(text)
    if not isinstance(value, int):
        raise ValueError("is no whole number from 0 to 4")
    return value


# field: (reader, the names of its column, reduced by key_of)
FIELDS: dict[str, tuple[Callable, str]] = {
    "age": (age, "age ageyears"),
    "sex": (word(SEXES), "sex gender"),
    "site": (word(SITES), "site subsite subsite1"),
    "histology": (word(HISTOLOGIES), "histology pathology"),
    "side": (word(SIDES), "side laterality"),
    "lobe": (word(LOBES), "lobe"),
    "size_mm": (number(1, 300, {"mm": 1, "cm": 10}), "sizemm size diametermm"),
    "t": (letter("t"), "t tstage clinicaltstage ict ct"),
    "n": (letter("n"), "n nstage clinicalnstage icn cn"),
    "m": (letter("m"), "m mstage clinicalmstage icm cm"),
    "pt": (letter("t"), "pt"),
    "pn": (letter("n"), "pn"),
    "pm": (letter("m"), "pm"),
    "stage": (stage, "stage overallstage"),
    "ecog": (
        ecog,
        "ecog ecogps ecogperformancestatus ecogperformancestatuspriortofirstrtinfraction"
        " ecogperformancestatuspriortofirstrtfraction",
    ),
    "pack_years": (number(0, 250), "packyears smokingpackyears"),
    "bmi": (number(10, 80), "bmi bodymassindex"),
    "rt_aim": (word(AIMS), "rtaim aim"),
    "chemotherapy": (word(CHEMOTHERAPIES), "chemotherapy chemo"),
}
FIELD_OF = {name: field for field, (_, names) in FIELDS.items() for name in names.split()}
PATIENT_COLUMNS = ("patient", "patientid", "id", "case", "caseid", "number", "no")
NOTE_COLUMNS = ("clinicalnote", "note", "notes", "report")
IDENTIFIERS = """hupmfn mrn mfn unitno hospitalno name patientname firstname lastname surname dob
birthdate dateofbirth address street city zip postcode phone telephone email ssn accession"""
IDENTIFIER_COLUMNS = set(IDENTIFIERS.split())
