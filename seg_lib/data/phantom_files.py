"""Writing the CT phantom: pickled tables like the public Lung-RADS set, or NIfTI volumes.

The same cases give the same bytes: nothing here writes a date or a file name into a file. The
format is the point: what reads these files reads the real sets too. Taught in notebook 01.
"""

import dataclasses
import gzip
import io
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.ndimage import label, uniform_filter

from seg_lib.data.cases import CASES_CSV, Case, write_cases
from seg_lib.files import write_text, written_whole

PATIENTS_CSV = "patients.csv"
PICKLE_COLUMNS = ("label1", "mask", "hu_array", "hu_array_old")


def write_pickles(drawn: Iterable[tuple], folder: Path) -> list[Case]:
    """Write ``lung_cancer_train.pkl``, ``lung_cancer_test.pkl`` and, last, ``patients.csv``.

    Args:
        drawn: pairs of a case without path and its ``PhantomSlice``.
        folder: where to write.

    Returns:
        The cases, each with the pickle it is in as image.
    """
    (folder / PATIENTS_CSV).unlink(missing_ok=True)
    cases, rows = [], {"train": [], "test": []}
    lines = ["pickle,row,patient,spacing_mm"]
    for case, slice_ in drawn:
        name, row = f"lung_cancer_{case.split}.pkl", len(rows[case.split])
        spacing = " ".join(map(repr, slice_.spacing_mm))
        lines.append(f"{name},{row},{slice_.patient},{spacing}")
        rows[case.split].append(lungrads_row(slice_))
        cases.append(dataclasses.replace(case, image=folder / name))
    for split, table in rows.items():
        write_lungrads_pickle(folder / f"lung_cancer_{split}.pkl", table)
    write_text(folder / PATIENTS_CSV, "\n".join(lines) + "\n")
    return cases


def lungrads_row(slice_) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """One row of the public layout: class, mask, HU of the lung alone, HU."""
    lung = rough_lung(slice_.hu, slice_.spacing_mm[0])
    return slice_.lungrads, slice_.mask, slice_.hu * lung, slice_.hu


def write_lungrads_pickle(path: Path, rows: list[tuple]) -> None:
    """Write rows (label1, mask, hu_array, hu_array_old) as a pickled DataFrame of objects."""
    table = pd.DataFrame(
        {
            name: pd.Series([row[column] for row in rows], dtype=object)
            for column, name in enumerate(PICKLE_COLUMNS)
        }
    )
    table.columns = pd.Index(PICKLE_COLUMNS, dtype=object)
    with written_whole(path) as part:
        table.to_pickle(part, compression=None, protocol=4)


def rough_lung(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Lungs by thresholding, as the public set was prepared: nobody corrected the result.

    Args:
        hu: one slice (H, W), HU.
        pixel_mm: distance between pixels.

    Returns:
        (H, W) float32 of 0 and 1. Nodules at the pleura are often lost.
    """
    parts, _ = label(hu < -400.0)
    outside = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])  # air of the room
    small = np.flatnonzero(np.bincount(parts.ravel()) < 0.002 * hu.size)
    lung = ~np.isin(parts, np.concatenate([[0], outside, small]))
    closed = uniform_filter(lung.astype(np.float32), max(3, round(12.0 / pixel_mm))) > 0.5
    return (lung | closed).astype(np.float32)


def write_volumes(drawn: Iterable[tuple], folder: Path) -> list[Case]:
    """Write ``images``, ``labels`` and, last, ``cases.csv``.

    Args:
        drawn: pairs of a case without path and its ``PhantomVolume``.
        folder: where to write.

    Returns:
        The cases with the paths of their image and label.
    """
    (folder / CASES_CSV).unlink(missing_ok=True)
    cases = []
    for number, (case, volume) in enumerate(drawn):
        name = f"{case.case}.nii.gz"
        image, mask = folder / "images" / name, folder / "labels" / name
        as_lps = number % 3 == 1
        write_nifti(image, volume.hu, volume.affine, as_lps)
        write_nifti(mask, volume.mask, volume.affine, as_lps)
        cases.append(dataclasses.replace(case, image=image, label=mask))
    write_cases(cases, folder)
    return cases


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray, as_lps: bool = False) -> None:
    """Write an (X, Y, Z) RAS array, in the type it has; the position in mm is always right.

    Args:
        path: ends in ``.nii.gz``.
        array: (X, Y, Z).
        affine: (4, 4) voxel to RAS mm.
        as_lps: store the first two axes the other way round, as most scanners' files are.
    """
    if as_lps:
        last = np.array([*np.array(array.shape[:2]) - 1, 0, 1])
        turned = affine @ np.diag([-1.0, -1.0, 1.0, 1.0])
        turned[:, 3] = affine @ last
        array, affine = array[::-1, ::-1], turned
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    packed = io.BytesIO()
    # Level 1 is five times as fast as the default and a few per cent larger.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=packed, mtime=0) as stream:
        stream.write(image.to_bytes())
    with written_whole(path) as part:
        part.write_bytes(packed.getvalue())
