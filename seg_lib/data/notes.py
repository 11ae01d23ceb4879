"""Notes and prompts in plain words, from typed clinical rows.

    table ── read_clinical ──> rows ── row_to_note ──> "A 66-year-old man with …"
               │                 └──── note_to_prompt ──> "Task: … Site: … TNM: …"
            findings: every rule that fired

What was not recorded is not said: never "nan", never ": :" (source 000 shows both). Nothing can
stand in a note but the words and numbers of `seg_lib.data.clinical_fields`. Taught in lesson 14.
"""

import re
from pathlib import Path

from seg_lib.data.clinical_fields import FIELDS, OLD
from seg_lib.data.clinical_rows import Clinical, read_clinical
from seg_lib.data.clinical_table import read_cells, write_table
from seg_lib.errors import InputError

# Three ways to say the same; a missing part leaves its sentence out.
WORDINGS = (
    {
        "person": "{person} with {disease}.",
        "place": "The tumour lies in the {place}.",
        "place and size": "The tumour lies in the {place} and measures {size} mm.",
        "size": "The tumour measures {size} mm.",
        "tnm": "The clinical stage is {tnm}.",
    },
    {
        "person": "{person} was referred with {disease}.",
        "place": "CT shows a mass in the {place}.",
        "place and size": "CT shows a mass of {size} mm in the {place}.",
        "size": "CT shows a mass of {size} mm.",
        "tnm": "Staging gave {tnm}.",
    },
    {
        "person": "{person}, {disease}.",
        "place": "Located in the {place}.",
        "place and size": "{size} mm, located in the {place}.",
        "size": "Largest diameter {size} mm.",
        "tnm": "Staging: {tnm}.",
    },
)


def row_to_note(row: dict, variant: int = 0) -> str:
    """A note in plain English of what was recorded, and of nothing else.

    Args:
        row: of `read_clinical`; every field may be absent.
        variant: 0, 1 or 2, another wording of the same facts.

    Raises:
        InputError: an unknown variant.
    """
    if variant not in range(len(WORDINGS)):
        raise InputError(f"variant {variant}: choose 0 to {len(WORDINGS) - 1}.")
    words = WORDINGS[variant]
    place, size, tnm = place_of(row), row.get("size_mm"), _tnm(row)
    where = " and ".join(name for name, value in (("place", place), ("size", size)) if value)
    sentences = []
    if person := _person(row):
        disease = _disease(row)
        sentences = [words["person"].format(person=person, disease=disease) if disease else ""]
        sentences = sentences if disease else [f"{person}."]
    elif disease := _disease(row):
        sentences = [f"{disease[0].upper()}{disease[1:]}."]
    if where:
        sentences.append(words[where].format(place=place, size=f"{size or 0:g}"))
    if tnm:
        sentences.append(words["tnm"].format(tnm=tnm))
    sentences += _condition(row)
    return " ".join(sentences) or "No clinical details are recorded."


def _person(row: dict) -> str:
    who = {"male": "man", "female": "woman"}.get(row.get("sex"), "patient")
    if "age" not in row:
        return f"A {who}" if "sex" in row else ""
    if row["age"] == OLD:
        return f"A {who} aged {OLD}"
    article = "An" if str(row["age"]).startswith("8") or row["age"] in (11, 18) else "A"
    return f"{article} {row['age']}-year-old {who}"


def _disease(row: dict) -> str:
    site = f"the {row['site']}" if row.get("site") else ""
    if "histology" in row:
        return row["histology"] + (f" of {site}" if site else "")
    return f"a tumour of {site}" if site else ""


def place_of(row: dict) -> str:
    """``right upper lobe``, ``left lung``, ``left side of the larynx``, or nothing."""
    site = row.get("site", "lung")
    side = "" if "side" not in row else "lung" if site == "lung" else f"side of the {site}"
    return f"{row.get('side', '')} {row['lobe'] + ' lobe' if 'lobe' in row else side}".strip()


def place_in(note: str) -> tuple[str, str]:
    """Side and lobe that a note of this project names, "" for what it does not: its inverse.

    Reads "right upper lobe", "left lung", "left side of" and "Side: left, Lobe: lower".
    """
    where = r"(?:upper|middle|lower) lobe|lung|side of"
    side = re.search(rf"\b(left|right) (?:{where})\b|\bside: (\w+)", note, re.I)
    lobe = re.search(r"\b(upper|middle|lower) lobe\b|\blobe: (\w+)", note, re.I)
    return tuple((hit[1] or hit[2]).lower() if hit else "" for hit in (side, lobe))


def contradict(one: str, other: str) -> bool:
    """Whether two notes name places that cannot be the same."""
    pairs = zip(place_in(one), place_in(other), strict=True)
    return any(a != b for a, b in pairs if a and b)


def mirrored_note(note: str) -> str:
    """What a note must say of the mirror image: "left" and "right" change places.

    Whole words in small letters or with a capital; ``mirrored_note(mirrored_note(n))`` is ``n``. It
    may name a left middle lobe: the mirror image has one.
    """
    other = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    return re.sub(r"\b(?:[Ll]eft|[Rr]ight)\b", lambda word: other[word[0]], note)


def _tnm(row: dict) -> str:
    letters = " ".join(row[key] for key in "tnm" if key in row)
    after = " ".join(f"p{row[key]}" for key in ("pt", "pn", "pm") if key in row)
    parts = [letters, f"stage {row['stage']}" if "stage" in row else "", after]
    return ", ".join(part for part in parts if part)


def _condition(row: dict) -> list[str]:
    """Sentences about the patient's condition and treatment."""
    facts = []
    if "ecog" in row:
        facts.append(f"ECOG performance status {row['ecog']}")
    if "bmi" in row:
        facts.append(f"body mass index {row['bmi']:g}")
    if "pack_years" in row:
        smoked = row["pack_years"]
        facts.append(f"{smoked:g} pack-years of smoking" if smoked else "never smoked")
    sentences = ["; ".join(facts) + "."] if facts else []
    sentences = [text[0].upper() + text[1:] for text in sentences]
    if "rt_aim" in row:
        sentences.append(f"Radiotherapy is planned with {row['rt_aim']} aim.")
    if "chemotherapy" in row:
        sentences.append(f"{row['chemotherapy'].capitalize()} chemotherapy is given.")
    return sentences


LABELS = {"bmi": "BMI", "ecog": "ECOG", "pack_years": "Smoking pack-years", "rt_aim": "RT aim"}
LABELS |= {"size_mm": "Size (mm)", "t": "T", "n": "N", "m": "M", "pt": "pT", "pn": "pN", "pm": "pM"}
ESSENTIAL = ("site", "histology", "t", "n", "m", "stage")
PROMPTS = ("essential", "expanded", "personalised")


def row_to_listing(row: dict, fields: tuple[str, ...] = tuple(FIELDS)) -> str:
    """The recorded fields as ``BMI: 28.7, ECOG: 1``: the style of source 000, without its gaps."""
    told = [name for name in fields if name in row]
    return ", ".join(f"{LABELS.get(name, name.capitalize())}: {row[name]}" for name in told)


def note_to_prompt(
    row: dict, style: str = "essential", target: str = "the gross tumour volume"
) -> str:
    """A structured prompt for a text-conditioned network, as in LLMSeg (Oh et al. 2024).

    Args:
        row: of `read_clinical`.
        style: ``essential`` (site, histology, stage), ``expanded`` (every recorded field), or
            ``personalised`` (the note, and where to look).
        target: what is to be segmented.

    Raises:
        InputError: an unknown style.
    """
    if style not in PROMPTS:
        raise InputError(f"prompt style '{style}': choose one of {', '.join(PROMPTS)}.")
    task = f"Task: segment {target} on CT."
    if style == "personalised":
        look = place_of(row)
        return f"{row_to_note(row)} {task}" + (f" Look in the {look}." if look else "")
    known = row_to_listing(row, ESSENTIAL if style == "essential" else tuple(FIELDS))
    return f"{task} Patient: {known or 'no details recorded'}."


def read_notes(table: str | Path) -> dict[str, str]:
    """Notes by case or patient, from what `write_notes` wrote or from a cases.csv.

    Raises:
        InputError: a faulty table, no column with ids or notes, or an id twice.
    """
    columns, lines, _ = read_cells(table)
    ids = [columns.index(name) for name in ("case", "patient") if name in columns]
    texts = [columns.index(name) for name in ("note", "Clinical Note") if name in columns]
    if not ids or not texts:
        raise InputError(
            f"{table}: has the columns {', '.join(columns)}; a table of notes has 'case' or "
            "'patient', and 'note' or 'Clinical Note'."
        )
    found: dict[str, str] = {}
    for number, cells in lines:
        if cells[ids[0]] in found:
            raise InputError(f"{table}: line {number}, a second note of {cells[ids[0]]}; keep one.")
        found[cells[ids[0]]] = cells[texts[0]]
    return found


def write_notes(table: str | Path, out: str | Path, **how: object) -> Clinical:
    """Write a note a patient, with the cleaned columns, as CSV; ``how`` is of `read_clinical`."""
    clinical = read_clinical(table, **how)
    used = [name for name in FIELDS if any(name in row for row in clinical.rows)]
    rows = [row | {"Clinical Note": row_to_note(row)} for row in clinical.rows]
    write_table(out, rows, ["patient", *used, "Clinical Note"])
    return clinical
