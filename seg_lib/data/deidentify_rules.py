r"""The rules of `seg_lib.data.deidentify`: a line each, the type of identifier and a pattern.

``<CAP>`` and the like stand for the pieces below. A pattern with a group finds the group. All
repetitions are bounded, so that no text can keep a rule busy for long. ``(?i)`` ignores case.
"""

import re

from seg_lib.data.deidentify_words import FIRST_NAMES

PIECES = r"""
MONTH     (?:<MON1>|<MON2>)\b\.?
MON1      Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?
MON2      Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?
ORDINAL   \d{1,2}(?:st|nd|rd|th)?
YEAR      (?:['’]\d\d|\d{4})\b
CAP       [A-ZÀ-Þ](?:\.|[A-Za-zÀ-ÿ'’-]{0,40})
PARTICLE  (?:\b(?:van|von|der|den|de|di|da|del|la|le|al|el|bin|ten|ter|zu)[ -])
SURNAME   <PARTICLE>{0,3}<CAP>
PERSON    <SURNAME>(?:,? (?!<TITLE>)<SURNAME>){0,3}
STREET    (?:<STREET1>|<STREET2>)\b\.?
STREET1   Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Way|Court|Ct
STREET2   Place|Pl|Terrace|Close|Square|Crescent|Parkway|Highway|Row|Hill|Gardens
FLAT      (?:Flat|Apt|Apartment|Suite|Unit)\.?
HOUSE     (?:<HOUSE1>|<HOUSE2> (?:Center|Centre|Institute|System))\b
HOUSE1    Hospital|Hospice|Clinics?|Infirmary|Klinikum|Klinik|Sanatorium|Polyclinic
HOUSE2    (?:Medical|Cancer|Health|Oncology|Imaging|Trauma|Surgery)
WHERE     (?:,? [A-Z]{2},? \d{5}(?:-\d{4})?)
KIN       (?:wife|husband|partner|friend|neighbou?r|niece|nephew|<KIN1>)
KIN1      son|daughter|brother|sister|mother|father
ROLE      (?:patient(?: name)?|name|pt|physician|radiologist|attending|consultant|<ROLE1>|<ROLE2>)
ROLE1     surgeon|oncologist|gp|cc|re|regarding|subject|next of kin|contact|author|signed
ROLE2     copy to|to|from|dear|spouse|caregiver
DONE      (?:signed|dictated|reported|reviewed|read|verified|approved|referred|seen|<DONE1>)
DONE1     accompanied|typed|transcribed
TITLE     (?:Drs?|Mrs?|Ms|Miss|Prof|Professor|Doctor|Sir|Madam|Nurse|Sister|Herr|Frau|Mme)\b\.?
NUMBERED  (?:MRN|MFN|SSN|NHS|acc(?:ession)?|record|chart|case|hospital|patient|<NUM1>|<NUM2>)\b
NUM1      policy|insurance|account|study|order|specimen|licen[cs]e|serial|member|unit|lab|ID
NUM2      barcode|ref(?:erence)?|sample|visit|encounter|plate|device|passport
PHONE     (?:tel|telephone|phone|fax|mobile|cell|pager|beeper|ext|extension|call)\b
EXT       (?:,? ?(?:ext|x|extension)\.? ?\d{1,6})?
LIVES     (?:lives|living|resides|residing|resident|born|moved|home|native|relocated|citizen)
"""
RULES_TEXT = r"""
EMAIL     \b[\w.+-]{1,64}\s?@\s?[\w-]{1,64}(?:\.[\w-]{1,64}){1,5}
URL       (?i)(?:https?://|www\.)[^\s,;]+
URL       \b\d{1,3}(?:\.\d{1,3}){3}\b
DATE      \b\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ]\d{1,2}:\d\d(?::\d\d)?)?\b
DATE      \b\d{1,2}(?:-\d{1,2}-|/ ?\d{1,2}/ ?|\. ?\d{1,2}\. ?)(?:\d{4}|\d{2})\b
DATE      (?:\bthe )?\b<ORDINAL>(?: of)?[ .-]{0,3}<MONTH>(?:,?[ -]{0,2}(?:<YEAR>|\d\d\b))?
DATE      (?i)\b<ORDINAL>(?: of)?[ .-]{0,3}<MONTH>,?[ -]{0,2}(?:<YEAR>|\d\d\b)
DATE      \b<MONTH>(?: the)? <ORDINAL>\b(?:,? <YEAR>)?
DATE      (?i)\b<MONTH>(?:,|-| of)? ?<YEAR>
DATE      (?:(?<=\bin )|(?<=\bof )|(?<=\bsince )|(?<=\buntil ))<MONTH>
DATE      (?i)\b(?:on|since|until|dated|born|till)\s(\d{1,2}/\d{1,2})\b(?! (?:lymph|node|of))
DATE      (?i)\b(?:on|dated|born)\s(\d{1,2}\.\d{1,2}\.)(?!\d)
DATE      \b(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\b
DATE      \b(?:0?[1-9]|1[0-2])/(?:19|20)\d\d\b|\b(?:19|20)\d\d-(?:0[1-9]|1[0-2])\b
ID        (?i)\b<NUMBERED>\.?(?:\s?(?:number|no\.?|num|nr\.?|id|#)){0,3}\s?[:#]?\s?(<CODE>)
ID        \b\d{3}-\d{2}-\d{4}\b|#\s?\d{4,}|\b\d{2,}[-/]\d{4,}\b
ID        \b[A-Z]{1,4}[-/]?(?:\d{1,9}[-/])?\d{4,}[\w/-]*
ID        (?<![\d.,-])\d{5,}(?![.,]\d)
PHONE     (?i)\+\d[\d() ./-]{6,20}\d\b<EXT>
PHONE     (?i)(?<![\d.])(?:\+?\d{1,3}[ .-]?)?<AREA>\d{3,4}(?:[ .-]?\d{2,5}){1,4}\b<EXT>
PHONE     (?i)\b<PHONE>(?:\s?(?:no\.?|number|at|on)){0,2}[.:]*\s?(\+?\(?\d[\d() ./-]{2,20}\d)
ADDRESS   \b(?:<FLAT> \w+, )?<DOOR> (?:<SURNAME> ){1,4}<STREET>(?:,? <FLAT> #?\d\w*)?
ADDRESS   \b[A-ZÄÖÜ][a-zäöüß]{2,30}(?:straße|strasse|str\.|weg|platz|allee|gasse) \d{1,4}[a-z]?\b
ADDRESS   \b(?:<CAP> ){0,2}<CAP><WHERE>\b
ADDRESS   \b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b|\b\d{5} <CAP>
ADDRESS   (?i)\bP\.? ?O\.? Box \d+
ADDRESS   \b<LIVES>(?: alone| with <KIN>)? (?:in|at|of|to|from) (<CAP>(?:,? <CAP>){0,3})
HOSPITAL  \b<PARTICLE>{0,3}(?:<CAP>\.?[ -](?:(?:of|and|for|the|de) ){0,2}){1,5}<HOUSE><TOWN>?
HOSPITAL  \b<HOUSE><TOWN>
HOSPITAL  \b(?:University|Universit[a-zäöü]+|Institute|College) (?:of |Hospital )?<CAP>(?: <CAP>)?
NAME      \b<TITLE>(?: med\.| Dr\.?)* (<PERSON>)
NAME      \b(?i:<ROLE>\s?:\s{0,3}|<DONE>(?: electronically)? (?:by|with)\s?:?\s?)(<PERSON>)
NAME      \b(?:his|her|the|their|with|patient's) (?:\w+ )?<KIN>,? (<PERSON>)
NAME      \b(<PERSON>),? (?:MD|M\.D\.|PhD|FRCR|FRCS|RN|DO|MBBS|MBChB|NP|PA-C)\b
NAME      \b(?:[A-Z]\. ?){1,2}<PARTICLE>{0,3}[A-ZÀ-Þ][a-zß-ÿ]{2,}(?:-[A-Z][a-z]+)?
NAME      \b[A-ZÀ-Þ'-]{3,30},? (?:<FIRST>)\b
NAME      \b<CAP>(?: <SURNAME>){0,3} <PARTICLE>{1,3}<CAP>
AGE       \b(?:9\d|1[01]\d)(?=[ -]?(?:years?|yrs?|y/?o)\b)
AGE       (?i)(?:(?<=\bage )|(?<=\baged )|(?<=\bage: ))(?:9\d|1[01]\d)\b
"""
MORE_PIECES = {
    "FIRST": "|".join(sorted(FIRST_NAMES)),
    "DOOR": r"\b\d{1,5} ?[A-Za-z]?,?",
    "CODE": r"(?=[\w/-]{0,20}\d)[\w/-]{4,}",
    "AREA": r"(?:\(\d{2,5}\)[ .-]?|\d{2,5}[ ./-])",
    "TOWN": r"(?: (?:of|in|at) (?:the )?<CAP>(?: <CAP>)?)",
}


def _lines(text: str) -> list[tuple[str, str]]:
    return [tuple(line.split(maxsplit=1)) for line in text.strip().splitlines()]


_ALL = dict(_lines(PIECES)) | MORE_PIECES


def pattern(text: str) -> re.Pattern:
    """A pattern with every ``<PIECE>`` replaced, and compiled."""
    while found := re.search(r"<([A-Z]+\d?)>", text):
        text = text.replace(found[0], _ALL[found[1]])
    return re.compile(text)


RULES = [(kind, pattern(rule)) for kind, rule in _lines(RULES_TEXT)]
# A word that may be a name; the word that follows a first name; letters; particles before a name.
WORD = re.compile(
    r"\b[A-ZÀ-Þ](?:['’][A-ZÀ-Þ])?[a-zß-ÿ]+(?:['’-][A-ZÀ-Þ]?[a-zß-ÿ]+)*(?:[A-Z][a-z]+)?"
)
SURNAME = pattern(r" <PARTICLE>{0,3}(?:[A-Z]\. ?)?[A-ZÀ-Þ](?:['’][A-ZÀ-Þ])?[a-zß-ÿ]+[\w'’-]*")
LETTERS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
PARTICLES, PARTICLES_BEFORE = pattern("<PARTICLE>"), pattern("<PARTICLE>{1,3}$")
MEDICAL = re.compile(
    "(?:omas?|itis|osis|pathy|ectomy|graphy|scopy|emia|tions?|sion|mab|nib|platin|taxel|mycin|ology"
    "|ologist|plasty|lysis|ectasis)$"
)
# What only people do: marks the first word of a sentence as a name.
ACTS = re.compile(
    " (?:reports|reported|noted|recalls|smokes|smoked|worked|drinks|wants|prefers|attended"
    "|describes|complained|mentioned|requests|requested|refused|refuses|understands|died|quit|stopped|lost"
    "|gained|received|completed|underwent|recommends|recommended|suggested|advised|performed|wrote"
    "|presented|presents|denies|denied|states|stated|called|complains|agrees|agreed|lives|returned"
    "|came|said|asked|declined|consented|tolerated|feels|wishes|works|will (?:see|call|return)"
    "|(?:was|is|has been) (?:seen|referred|admitted|reviewed|discharged|informed|an? ))"
)
RESIDUAL = re.compile(r"@|\d[\d ]{4,}\d|(?<![\d.])\d{5,}|\b(?:Dr|Mr|Mrs|Ms|Prof)\.? [A-Z][a-z]")
