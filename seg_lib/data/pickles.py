"""The 2D lung slices with Lung-RADS class: two pickled tables, one row per slice.

Columns: ``label1`` (Lung-RADS class such as LR4A), ``mask`` (the nodule), ``hu_array_old`` (HU of
the slice) and perhaps ``hu_array`` (the lung alone, cut out by a threshold; not used here).
Source: Nam, Panina, Pak, doi 10.17632/5rr22hgzwr.1. Taught in notebook 03.
"""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from seg_lib.data.case_rules import first_few
from seg_lib.data.pickle_table import Table
from seg_lib.errors import DataWarning, InputError

Converted = tuple[np.ndarray, set[str]]  # an array and what is odd about it

CLASS_COLUMN, MASK_COLUMN, HU_COLUMN = "label1", "mask", "hu_array_old"
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
    """Read a table of slices; nothing in the file is ever run (see ``pickle_machine``).

    Args:
        path: ``lung_cancer_train.pkl`` or ``lung_cancer_test.pkl``, plain or gzip.

    Returns:
        One record per row, in the order of the table.

    Raises:
        InputError: not such a table, damaged, or a row that cannot be used; names row and column.

    Taught in notebook 03.
    """
    path = Path(path)
    table = Table(path)
    missing = [name for name in (CLASS_COLUMN, MASK_COLUMN, HU_COLUMN) if name not in table.columns]
    if missing:
        raise InputError(
            f"{path}: the table has no column {', '.join(missing)}; found "
            f"{first_few(table.columns, 20)}; give the table as it was published."
        )
    rows_with = Counter()
    records = []
    columns = (table.columns[name] for name in (CLASS_COLUMN, MASK_COLUMN, HU_COLUMN))
    for row, (lungrads, mask, hu) in enumerate(zip(*columns, strict=True)):
        try:
            record, remarks = _record(table, lungrads, mask, hu)
        except ValueError as error:
            raise InputError(
                f"{path}: row {row}, {error}; take the row out or mend it, then save the table "
                "again."
            ) from error
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
    if not isinstance(lungrads, str) or not lungrads.strip():
        raise ValueError(f"column {CLASS_COLUMN}: {lungrads!r} instead of a class such as LR4A")
    mask, mask_remarks = _in_column(MASK_COLUMN, table, mask_cell, _mask)
    hu, hu_remarks = _in_column(HU_COLUMN, table, hu_cell, _hu)
    if mask.shape != hu.shape:
        raise ValueError(f"mask of shape {mask.shape} on a slice of shape {hu.shape}")
    return SliceRecord(lungrads.strip(), mask, hu), mask_remarks | hu_remarks


def _in_column(
    column: str, table: Table, cell: object, convert: Callable[[np.ndarray], Converted]
) -> Converted:
    try:
        return table.converted(cell, convert)
    except ValueError as error:
        raise ValueError(f"column {column}: {error}") from error


def _mask(array: np.ndarray) -> Converted:
    """Masks of 0 and 1, of False and True, or of 0 and 255; soft edges are no mask."""
    _check_slice(array)
    highest = array.max()
    if highest not in (0, 1, 255) or not ((array == 0) | (array == highest)).all():
        found = first_few((f"{value:g}" for value in np.unique(array)[:50]), 6)
        raise ValueError(f"values {found} instead of 0 and 1")
    remarks = {"0/255"} if highest == 255 else {"empty"} if highest == 0 else set()
    return (array > 0).astype(np.uint8), remarks


def _hu(array: np.ndarray) -> Converted:
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
