"""A clinical table as typed rows, with a finding for every rule that fired.

A row holds only fields of `seg_lib.data.clinical_fields`, and only those that were recorded. Names,
numbers and free text of the table reach no row. The patient's id stays, because images are joined
by it: use study numbers, not record numbers. Taught in lesson 14.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from seg_lib.data.case_rules import first_few
from seg_lib.data.clinical_fields import (
    FIELD_OF,
    FIELDS,
    IDENTIFIER_COLUMNS,
    NOTE_COLUMNS,
    OLD,
    PATIENT_COLUMNS,
    is_blank,
    key_of,
)
from seg_lib.data.clinical_table import Cells, read_cells
from seg_lib.errors import InputError

LISTED = re.compile(r"([A-Za-z][A-Za-z ]*):\s*([^,:]*):?\s*(?:,|$)")  # "BMI: 28.7,ECOG: :"
MOST_PATIENT_CHARACTERS = 64


class Finding(NamedTuple):
    """A rule that fired: the row of the file (0 for the whole column), the column, what was done.

    No cell is quoted: it may hold what should not be in a log.
    """

    row: int
    column: str
    what: str


class Clinical(NamedTuple):
    """A typed table: rows with ``patient`` and the fields that were recorded."""

    rows: list[dict]
    findings: list[Finding]


def read_clinical(
    path: str | Path, encoding: str | None = None, leave_out: bool = False
) -> Clinical:
    """Read a clinical table (CSV or XLSX) into typed rows.

    Args:
        path: one line a patient, with a column that names the patient (ID, PatientID, Number …).
        encoding: of a CSV that is not UTF-8.
        leave_out: leave impossible values out, with a finding, instead of refusing the table.

    Raises:
        InputError: see `read_cells`; no patient column, a field in two columns, a patient twice or
            damaged by the spreadsheet program (``1.47E+08``), impossible values.
    """
    cells = read_cells(path, encoding)
    fields, findings = _fields_of(cells)
    rows, faults, seen = [], [], {}
    for line, texts in cells.rows:
        row = {"patient": _patient(texts[fields.index("patient")], line, seen, cells.path)}
        recorded = list(_values(fields, cells.columns, texts))
        for field, column, text in recorded:
            try:
                row[field] = FIELDS[field][0](text)
            except ValueError as fault:
                faults.append(Finding(line, column, f"{fault}; left out"))
                continue
            if row[field] == OLD:
                findings.append(Finding(line, column, f"above 89, became '{OLD}'"))
            elif re.fullmatch(r"[+-]?\d+,\d+", text):
                findings.append(Finding(line, column, "decimal comma read as a point"))
        filled = {field for field, *_ in recorded}
        faults += [Finding(line, *fault) for fault in _contradictions(row, filled)]
        rows.append(row)
    if faults and not leave_out:
        told = [f"line {line}, {column} {what.split(';')[0]}" for line, column, what in faults]
        raise InputError(
            f"{path}: {len(faults)} impossible values: {first_few(told)}; mend the cells, or "
            "leave them out (--leave-out)."
        )
    return Clinical(rows, findings + faults)


def _fields_of(cells: Cells) -> tuple[list[str], list[Finding]]:
    """What each column is: ``patient``, a field, ``note``, or nothing (dropped)."""
    fields, findings = [], []
    for name in cells.columns:
        key = key_of(name)
        field = "patient" if key in PATIENT_COLUMNS else FIELD_OF.get(key, "")
        field = "note" if key in NOTE_COLUMNS else field
        if field == "patient" and "patient" in fields:
            field = ""  # the first one counts
        if field and field in fields:
            raise InputError(
                f"{cells.path}: two columns for '{field}' among: {', '.join(cells.columns)}; keep "
                "one."
            )
        if not field:
            what = "identifier" if key in IDENTIFIER_COLUMNS else "not on the allow-list"
            findings.append(Finding(0, name, f"{what}: dropped"))
        fields.append(field)
    if "patient" not in fields:
        raise InputError(
            f"{cells.path}: no column names the patient; found: {', '.join(cells.columns)}; call "
            "it patient."
        )
    return fields, findings


def _patient(text: str, line: int, seen: dict[str, int], path: Path) -> str:
    """The id as text, with its leading zeros."""
    if re.fullmatch(r"\d+([.,]\d+)?[eE]\+?\d+", text):
        fault = "was rounded by the spreadsheet program (like 1.47E+08); format the column as text"
    elif not text or len(text) > MOST_PATIENT_CHARACTERS or not text.isprintable():
        fault = "is empty, very long or no plain text; give each patient a study number"
    elif text in seen:
        fault = f"is the one of line {seen[text]} again; keep one line a patient"
    else:
        seen[text] = line
        return text
    raise InputError(f"{path}: line {line}: the patient {fault}.")


def _values(fields: list[str], columns: list[str], texts: list[str]) -> Iterator[tuple[str, ...]]:
    """(field, column, text) of what was recorded; a note in listing style is taken apart."""
    for field, column, text in zip(fields, columns, texts, strict=True):
        if field in FIELDS and not is_blank(text, field):
            yield field, column, text
        elif field == "note":
            for name, value in LISTED.findall(text):
                listed = FIELD_OF.get(key_of(name), "")
                if listed and listed not in fields and not is_blank(value, listed):
                    yield listed, column, value


def _contradictions(row: dict, filled: set[str]) -> Iterator[tuple[str, str]]:
    """Fields that cannot both be true; the less certain one is taken out of the row."""
    told = str(row.get("stage", ""))
    tnm = {key: row[key] for key in "tnm" if key in row}
    if told.startswith("T"):
        given = dict(zip("tnm", told.split(), strict=True))
        tnm = {k: row.get(k) or row.get(f"p{k}") for k in "tnm" if row.get(k) or row.get(f"p{k}")}
        if any(given[key] != value for key, value in tnm.items()):
            yield "stage", "contradicts the T, N and M columns; left out"
        else:
            row.update({k: v for k, v in given.items() if not {k, f"p{k}"} & filled})
        del row["stage"]
    elif told and tnm.get("m", "M0").startswith("M1") and not told.startswith("IV"):
        yield "stage", "contradicts M1, which is stage IV; left out"
        del row["stage"]
    if row.get("side") == "left" and row.get("lobe") == "middle":
        yield "lobe", "names the middle lobe, which the left lung lacks; left out"
        del row["lobe"]
