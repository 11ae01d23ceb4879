"""The 2D lung slices with Lung-RADS class: two pickled tables, one row per slice.

Columns: ``label1`` (Lung-RADS class such as LR4A), ``mask`` (the nodule), ``hu_array_old`` (HU of
the slice) and perhaps ``hu_array`` (the lung alone, cut out by a threshold; not used here). The
public set names no patients: ``patients.csv`` beside a pickle says who is who, or nobody knows.
Source: Nam, Panina, Pak, doi 10.17632/5rr22hgzwr.1. Taught in notebook 03.
"""

import csv
import dataclasses
import math
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from seg_lib.data.case_rules import first_few
from seg_lib.data.pickle_table import Table
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import written_whole

PATIENTS_CSV = "patients.csv"  # columns pickle, row, patient, spacing_mm ("0.7 0.7" or empty)
Person = tuple[str, tuple[float, ...] | None]  # patient, pixel size in mm
CLASS_COLUMN, MASK_COLUMN, HU_COLUMN = COLUMNS = "label1", "mask", "hu_array_old"
REMARKS = {
    "0/255": "have a mask of 0 and 255, read as 0 and 1",
    "empty": "have an empty mask: no nodule is drawn",
    "constant": "show nothing: every pixel has the same value",
    "positive": "have no value below 0, so they may not be HU",
}


@dataclasses.dataclass(frozen=True, eq=False)
class SliceRecord:
    """One row of the table."""

    lungrads: str
    mask: np.ndarray  # (H, W) uint8, 0 or 1
    hu: np.ndarray  # (H, W) float32; padding such as -2048 is kept


def read_lungrads_pickle(path: str | Path) -> list[SliceRecord]:
    """The rows of ``lung_cancer_train.pkl`` or ``lung_cancer_test.pkl``, plain or gzip, in order.

    Nothing in the file is ever run (see ``pickle_machine``).

    Raises:
        InputError: not such a table, damaged, or a row that cannot be used; names row and column.
    """
    table = Table(path)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(
            f"{path}: the table has no column {', '.join(missing)}; found "
            f"{first_few(table.columns, 20)}; give the table as it was published."
        )
    rows_with, records = Counter(), []
    columns = (table.columns[name] for name in COLUMNS)
    for row, cells in enumerate(zip(*columns, strict=True)):
        try:
            record, remarks = _record(table, *cells)
        except ValueError as error:
            raise InputError(f"{path}: row {row}, {error}; take the row out or mend it.") from error
        records.append(record)
        rows_with.update(remarks)
    if not records:
        raise InputError(f"{path}: the table has no rows; give the table as it was published.")
    for remark, count in sorted(rows_with.items()):
        message = f"{path}: {count} of {len(records)} slices {REMARKS[remark]}."
        warnings.warn(message, DataWarning, stacklevel=2)
    return records


def _record(
    table: Table, lungrads: object, mask_cell: object, hu_cell: object
) -> tuple[SliceRecord, set[str]]:
    """Check one row; returns it with what is odd about it."""
    column = CLASS_COLUMN
    try:
        if not isinstance(lungrads, str) or not lungrads.strip():
            raise ValueError(f"{lungrads!r} instead of a class such as LR4A")
        column = MASK_COLUMN
        mask, mask_remarks = table.converted(mask_cell, _mask)
        column = HU_COLUMN
        hu, hu_remarks = table.converted(hu_cell, _hu)
    except ValueError as error:
        raise ValueError(f"column {column}: {error}") from error
    if mask.shape != hu.shape:
        raise ValueError(f"mask of shape {mask.shape} on a slice of shape {hu.shape}")
    return SliceRecord(lungrads.strip(), mask, hu), mask_remarks | hu_remarks


def _mask(array: np.ndarray) -> tuple[np.ndarray, set[str]]:
    """Masks of 0 and 1, of False and True, or of 0 and 255; soft edges are no mask."""
    _check_slice(array)
    highest = array.max()
    if highest not in (0, 1, 255) or not ((array == 0) | (array == highest)).all():
        found = first_few((f"{value:g}" for value in np.unique(array)[:50]), 6)
        raise ValueError(f"values {found} instead of 0 and 1")
    remarks = {"0/255"} if highest == 255 else {"empty"} if highest == 0 else set()
    return (array > 0).astype(np.uint8), remarks


def _hu(array: np.ndarray) -> tuple[np.ndarray, set[str]]:
    """Finite HU; padding such as -2048 is kept, a window will clip it."""
    _check_slice(array)
    with np.errstate(over="ignore"):
        hu = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(hu))
    if len(bad):
        raise ValueError(
            f"{len(bad)} pixels are NaN or infinite, the first at {tuple(bad[0].tolist())}"
        )
    remarks = {"constant"} if hu.min() == hu.max() else {"positive"} if hu.min() >= 0 else set()
    return hu, remarks


def _check_slice(array: np.ndarray) -> None:
    if array.dtype.kind == "c":
        raise ValueError("complex numbers")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"an array of shape {array.shape} instead of a slice")


def pickle_to_npz(pickle: str | Path, out_npz: str | Path) -> Path:
    """Convert a pickled table of slices to one NPZ, once, in HU and in the pixels it has.

    The file holds ``hu`` (N, H, W), int16 where that is exact and else float32; ``mask`` (N, H, W)
    uint8 of 0 and 1; ``lungrads`` and ``patient`` (N,) text: nothing that needs pickle.

    Raises:
        InputError: no such table, or slices of several sizes; nothing is written then.
    """
    pickle, out_npz = Path(pickle), Path(out_npz)
    records = read_lungrads_pickle(pickle)
    sizes = {record.hu.shape for record in records}
    if len(sizes) > 1:
        raise InputError(
            f"{pickle}: slices of {first_few(sizes)} pixels do not fit into one array; use "
            "pickle_to_png, which makes them equal."
        )
    hu = np.stack([record.hu for record in records])
    whole = np.rint(hu)
    if (whole == hu).all() and np.abs(whole).max() < 2**15:
        hu = whole.astype(np.int16)
    people, _ = patients_of_rows(pickle, len(records))
    columns = {"hu": hu, "mask": np.stack([record.mask for record in records])}
    columns["lungrads"] = np.array([record.lungrads for record in records])
    columns["patient"] = np.array([patient for patient, _ in people])
    with written_whole(out_npz) as part, open(part, "wb") as stream:
        np.savez_compressed(stream, **columns)
    return out_npz


def patients_of_rows(pickle: Path, n_rows: int) -> tuple[list[Person], str]:
    """The (patient, spacing_mm or None) of each row of a pickle; "patients.csv" or "unknown".

    If unknown, each row counts as a patient of its own, with a warning.

    Raises:
        InputError: the table is damaged, or lacks a column or a row of this pickle.
    """
    table = pickle.parent / PATIENTS_CSV
    if not table.is_file():
        risk = "slices of one patient may fall on both sides of a split"
        message = f"{pickle}: no {PATIENTS_CSV} beside it, so {risk}; split_provenance: unknown."
        warnings.warn(message, DataWarning, stacklevel=3)
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
