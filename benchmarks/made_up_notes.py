"""Made-up notes with marked identifiers: no such person, house or number exists.

Two sets: ``development``, which the rules were written beside, and ``held out`` with other
templates, other names and other spellings of dates and numbers, written before the rules were first
measured and not looked at while they were mended. Both have the same author as the rules, so both
figures are higher than on texts from elsewhere.
"""

import random
import re
from typing import NamedTuple


class Note(NamedTuple):
    """A note, its identifiers (start, end, type), and its clinical terms (start, end)."""

    text: str
    spans: list[tuple[int, int, str]]
    terms: list[tuple[int, int]]
    known: list[str]


FIRST = {
    "development": "Anna Peter Maria John Susan David Fatima Wei Carlos Helen Olga Robert".split(),
    "held out": "Solveig Tarek Ulrike Bogdan Chiara Dermot Eilidh Yasmin Nkechi Paulo".split(),
}
LAST = {
    "development": """Brandt Okafor Lindqvist Marsh Delgado Petrov Nakamura Whitfield O'Brien
    Hartmann-Roth Kowalski Ferrari""".split(),
    "held out": """Abernathy Villanueva Szabo McAllister Thorvaldsen Mbeki Castellano Dubois
    Winterbourne Fischbacher Quigley Ravensworth""".split(),
}
CITY = {
    "development": "Ashford Millbrook Lakewood Norden Riverton".split(),
    "held out": "Dunmore Saltash Kirchheim Pinehurst Eastvale".split(),
}
HOUSES = {
    "development": [
        "{city} General Hospital", "St. Mary's Hospital", "{city} Medical Center",
        "University Hospital {city}", "{last} Cancer Center", "Mercy Clinic",
    ],
    "held out": [
        "{city} Regional Medical Centre", "Royal {city} Infirmary", "Saint Brendan Hospital",
        "{last} Memorial Hospital", "University of {city} Medical Center", "{city} Cancer Institute",
    ],
}  # fmt: skip
DATES = {
    "development": ["{y}-{m:02}-{d:02}", "{m}/{d}/{y}", "{d:02}.{m:02}.{y}", "{d} {month} {y}",
                    "{month} {d}, {y}", "{d:02}-{mon}-{y}", "{month} {y}"],
    "held out": ["{d}/{m}/{yy:02}", "{mon} {d}, {y}", "{d}th of {month} {y}", "{y}/{m:02}/{d:02}",
                 "{y}{m:02}{d:02}", "{mon} {d}", "{d}.{m}.{yy:02}"],
}  # fmt: skip
PHONES = {
    "development": ["({a}) {b}-{c}", "{a}-{b}-{c}", "+1 {a} {b} {c}", "{a}.{b}.{c}"],
    "held out": ["+44 20 {c} {c2}", "0{a}/{b}{c}", "{a} {b} {c}", "+49-{a}-{b}{c}"],
}
IDS = {
    "development": ["MRN {n7}", "MRN: {n8}", "accession number A{n7}", "record no. {n6}",
                    "SSN {n3}-{n2}-{c}", "patient ID {n6}"],
    "held out": ["hospital number H-{n6}", "case #{n5}", "NHS number {n3} {n3} {c}",
                 "Acc. No. CT{n2}-{n6}", "policy no. ZX{n7}", "MFN {n8}"],
}  # fmt: skip
STREETS = {
    "development": ["{h} {last} Street", "{h} Oak Lane, {city}, PA {z}", "{h} {city} Avenue Apt. 4"],
    "held out": ["{h} {last} Road", "{h} Elm Crescent, {city}, OH {z}", "P.O. Box {h}, {city}"],
}
MAILS = {
    "development": ["{f}.{l}@mail.example", "{l}{h}@clinic.example.org"],
    "held out": ["{f}_{l}@post.example", "{l}-{f}@radiology.example.net"],
}
URLS = {
    "development": ["https://portal.example.org/{n6}", "www.{l}.example"],
    "held out": ["http://pacs.example.net/study?id={n6}", "10.{h}.3.44"],
}
# {KIND}: an identifier; <term>: a clinical term that must stay.
TEMPLATES = {
    "development": [
        "Patient: {NAME}\nDate of study: {DATE}\n<CT of the chest> with <contrast>. Comparison: "
        "{DATE}.\nFindings: A <spiculated nodule> of <23 mm> in the <right upper lobe>. No <pleural "
        "effusion>.\nImpression: <T1c N0 M0>, <stage IA3>.\nSigned by: Dr. {NAME}, {HOSPITAL}",
        "{AGE}-year-old man, {ID}, seen by Dr. {LAST} on {DATE} for <squamous cell carcinoma>. He "
        "lives at {ADDRESS} with his wife {NAME}. Phone {PHONE}.",
        "Mrs. {LAST} was referred from {HOSPITAL} on {DATE} with <hemoptysis>. <ECOG 1>, <45 "
        "pack-years>, <BMI 26.9>. Results to {EMAIL}.",
        "Discussed with {NAME} at the <tumour board>. <Pancoast tumour> of the <left lung>, "
        "<SUVmax 12.4>. Plan: <60 Gy in 30 fractions>, <cisplatin 75 mg/m2>. Images: {URL}.",
        "{LAST} reports <cough> since {DATE}. <Nodule> unchanged at <8 x 7 mm>, <-620 HU>. {ID}. "
        "Next visit {DATE}; call {PHONE}.",
        "History: <Hodgkin lymphoma> treated in {HOSPITAL}. Moved from {CITY} in 2019. <Lymph "
        "nodes> <4R> and <7> are <1.2 cm>. <3/14 lymph nodes> positive. Contact: {NAME}, {PHONE}",
        "Dr. {NAME} dictated this on {DATE}. The <gross tumour volume> is <34.5 ml>. The patient "
        "is {AGE} years old and weighs 71 kg. {ADDRESS}",
    ],
    "held out": [
        "RE: {NAME}, {ID}\nExam: <CT thorax> {DATE}\nThere is a <part-solid nodule> (<14 mm>) in the "
        "<lingula>. <Mediastinal lymph nodes> up to <11 mm>. <Lung-RADS 4B>.\nReported by: {NAME}\n"
        "{HOSPITAL}",
        "Dear Dr {LAST}, thank you for sending Mr {LAST}, a {AGE} year old with <adenocarcinoma> of "
        "the <left lower lobe> (<cT2a N1 M0>, <stage IIB>). He was admitted to {HOSPITAL} on "
        "{DATE}. His daughter {NAME} can be reached at {PHONE}.",
        "Follow-up: <partial response> by <RECIST>; <target lesion> from <31 mm> to <19 mm>. "
        "{LAST} tolerated <carboplatin> well. Letter to {EMAIL} and {ADDRESS}.",
        "Ms {NAME} lives in {CITY} and works as a baker. <30 pack-years>. <FEV1 71 %>. Biopsy "
        "{DATE}, {ID}: <large cell carcinoma>. <EGFR> negative. See {URL}.",
        "Prof. {LAST} reviewed the scans from {HOSPITAL}. <Kerley lines>, <pericardial effusion>, "
        "<dose 50.4 Gy>. Tel: {PHONE}. {ID}. Born {DATE}.",
        "Aged {AGE}, with <COPD>. <Ground-glass opacity>, <HU -540>. <Karnofsky 80>. The husband, "
        "{NAME}, called from {PHONE} on {DATE}. Transferred to {HOSPITAL}.",
    ],
}
MONTHS = (
    "January February March April May June July August September October November December".split()
)


def made_up_notes(which: str, n_notes: int, seed: int = 0) -> list[Note]:
    """``which`` is ``development`` or ``held out``; the same seed gives the same notes."""
    rng = random.Random(f"{which}:{seed}")
    return [_note(which, rng) for _ in range(n_notes)]


def _note(which: str, rng: random.Random) -> Note:
    template = rng.choice(TEMPLATES[which])
    text, spans, terms, known = "", [], [], []
    for part in re.split(r"(\{[A-Z]+\}|<[^>]+>)", template):
        if part.startswith("{"):
            kind, value = _identifier(part[1:-1], which, rng)
            known.append(value)
            spans.append((len(text), len(text) + len(value), kind))
            text += value
        elif part.startswith("<"):
            terms.append((len(text), len(text) + len(part) - 2))
            text += part[1:-1]
        else:
            text += part
    # Ages of 89 and below are no identifiers.
    spans = [s for s in spans if s[2] != "AGE" or int(text[s[0] : s[1]]) > 89]
    return Note(text, spans, terms, known)


def _identifier(kind: str, which: str, rng: random.Random) -> tuple[str, str]:
    first, last = rng.choice(FIRST[which]), rng.choice(LAST[which])
    facts = {"last": last, "city": rng.choice(CITY[which]), "h": rng.randint(2, 240)}
    facts |= {"f": first.lower(), "l": re.sub(r"\W", "", last.lower())}
    facts |= {f"n{k}": f"{rng.randint(10 ** (k - 1), 10**k - 1)}" for k in (2, 3, 5, 6, 7, 8)}
    facts |= {"a": rng.randint(201, 989), "b": rng.randint(201, 989), "z": rng.randint(10001, 99950)}
    facts |= {"c": rng.randint(1000, 9999), "c2": rng.randint(1000, 9999)}
    month = rng.choice(MONTHS)
    facts |= {"m": MONTHS.index(month) + 1, "month": month, "mon": month[:3]}
    facts |= {"d": rng.randint(4, 19), "y": (year := rng.randint(1998, 2024)), "yy": year % 100}
    pools = {"DATE": DATES, "PHONE": PHONES, "ID": IDS, "ADDRESS": STREETS, "EMAIL": MAILS}
    pools |= {"URL": URLS, "HOSPITAL": HOUSES}
    if kind in pools:
        return kind, rng.choice(pools[kind][which]).format(**facts)
    forms = {"NAME": f"{first} {last}", "LAST": last, "CITY": facts["city"]}
    forms["AGE"] = str(rng.choice([rng.randint(40, 89), rng.randint(90, 104)]))
    return {"LAST": "NAME", "CITY": "ADDRESS"}.get(kind, kind), forms[kind]
