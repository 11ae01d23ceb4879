"""Who is who in a pickle of slices: ``patients.csv`` beside it, or honest ignorance.

The public Lung-RADS set names no patients, so nobody can show that its split keeps them apart.
"""

import csv
import math
import warnings
from pathlib import Path

from seg_lib.errors import DataWarning, InputError

PATIENTS_CSV = "patients.csv"  # columns pickle, row, patient, spacing_mm ("0.7 0.7" or empty)
Person = tuple[str, tuple[float, ...] | None]  # patient, pixel size in mm


def patients_of_rows(pickle: Path, n_rows: int) -> tuple[list[Person], str]:
    """The patient and the pixel size of each row of a pickle, and how we know.

    Returns:
        One (patient, spacing_mm or None) a row, and "patients.csv" or "unknown". If unknown, each
        row counts as a patient of its own, with a warning.

    Raises:
        InputError: the table lacks a row of this pickle, or a column.
    """
    table = pickle.parent / PATIENTS_CSV
    if not table.is_file():
        warnings.warn(
            f"{pickle}: no {PATIENTS_CSV} beside it, so slices of one patient may fall on both "
            "sides of a split; split_provenance: unknown.",
            DataWarning,
            stacklevel=3,
        )
        return [(f"{pickle.stem}_{row:04d}", None) for row in range(n_rows)], "unknown"
    known: dict[int, Person] = {}
    try:
        with open(table, newline="", encoding="utf-8-sig") as stream:
            for line in csv.DictReader(stream, strict=True):
                if line["pickle"] == pickle.name:
                    _note(known, line)
    except (KeyError, ValueError, AttributeError, csv.Error) as error:
        raise InputError(
            f"{table}: {error}; it needs the columns pickle, row, patient, spacing_mm, one line a "
            "row, as UTF-8."
        ) from error
    missing = [row for row in range(n_rows) if row not in known]
    if missing:
        raise InputError(f"{table}: has no line for row {missing[0]} of {pickle.name}; add it.")
    return [known[row] for row in range(n_rows)], PATIENTS_CSV


def _note(known: dict[int, Person], line: dict[str, str]) -> None:
    """Add one line of the table to what is known."""
    row, patient = int(line["row"]), line["patient"].strip()
    spacing = tuple(float(mm) for mm in line["spacing_mm"].split())
    if row in known or not patient:
        raise ValueError(f"row {row} is there twice or has no patient")
    if len(spacing) not in (0, 2) or not all(0 < mm < math.inf for mm in spacing):
        raise ValueError(f"row {row}: spacing_mm '{line['spacing_mm']}' is not two millimetres")
    known[row] = (patient, spacing or None)
