"""Writing the CT phantom: pickled tables like the public Lung-RADS set, or NIfTI volumes.

The same cases give the same bytes: nothing here writes a date or a file name into a file. The
format is the point: what reads these files reads the real sets too. Taught in notebook 01.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import label, uniform_filter

from seg_lib.data.cases import CASES_CSV, Case, write_cases
from seg_lib.data.nifti import Volume, write_image, write_mask
from seg_lib.data.nifti_stream import as_stored
from seg_lib.data.patients import PATIENTS_CSV
from seg_lib.files import write_text, written_whole


def write_pickles(drawn: Iterable[tuple], folder: Path) -> list[Case]:
    """Write ``lung_cancer_train.pkl``, ``lung_cancer_test.pkl`` and, last, ``patients.csv``.

    Args:
        drawn: pairs of a case without path and its ``PhantomSlice``.
        folder: where to write.

    Returns:
        The cases, each with the pickle it is in as image.
    """
    (folder / PATIENTS_CSV).unlink(missing_ok=True)
    cases, slices = [], {"train": [], "test": []}
    lines = ["pickle,row,patient,spacing_mm"]
    for case, slice_ in drawn:
        name, row = f"lung_cancer_{case.split}.pkl", len(slices[case.split])
        spacing = " ".join(map(repr, slice_.spacing_mm))
        lines.append(f"{name},{row},{case.patient},{spacing}")
        slices[case.split].append(slice_)
        cases.append(dataclasses.replace(case, image=folder / name))
    for split, records in slices.items():
        write_lungrads_pickle(folder / f"lung_cancer_{split}.pkl", records)
    write_text(folder / PATIENTS_CSV, "\n".join(lines) + "\n")
    return cases


def write_lungrads_pickle(path: str | Path, records: Sequence) -> None:
    """Write slices in the layout of the public Lung-RADS set.

    That is a pickled DataFrame whose cells are objects: ``label1`` text, ``mask`` (H, W) of 0 and
    1, ``hu_array`` (H, W) HU with everything but the lung zeroed, ``hu_array_old`` (H, W) HU. To
    save space masks are uint8 and HU float32 here.

    Args:
        path: where to.
        records: anything with ``lungrads``, ``mask`` and ``hu``: ``PhantomSlice``, ``SliceRecord``.
    """
    columns = {
        "label1": [record.lungrads for record in records],
        "mask": [record.mask for record in records],
        "hu_array": [record.hu * rough_lung(record.hu) for record in records],
        "hu_array_old": [record.hu for record in records],
    }
    # Objects everywhere, names included: what pandas wrote before it had a type for text.
    table = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})
    table.columns = pd.Index(list(columns), dtype=object)
    with written_whole(path) as part:
        table.to_pickle(part, compression=None, protocol=4)


def rough_lung(hu: np.ndarray) -> np.ndarray:
    """Lungs by thresholding, as the public set was prepared: nobody corrected the result.

    Args:
        hu: one slice (H, W), HU.

    Returns:
        (H, W) float32 of 0 and 1. Nodules at the pleura are often lost.
    """
    parts, _ = label(hu < -400.0)
    outside = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])  # air of the room
    small = np.flatnonzero(np.bincount(parts.ravel()) < 0.002 * hu.size)
    lung = ~np.isin(parts, np.concatenate([[0], outside, small]))
    closed = uniform_filter(lung.astype(np.float32), max(3, len(hu) // 32)) > 0.5
    return (lung | closed).astype(np.float32)


def write_volumes(drawn: Iterable[tuple], folder: Path) -> list[Case]:
    """Write ``images``, ``labels`` and, last, ``cases.csv``.

    Every third volume is stored LPS, the axis order of most scanners' files; in mm it lies where it
    should all the same.

    Args:
        drawn: pairs of a case without path and its ``PhantomVolume``.
        folder: where to write.

    Returns:
        The cases with the paths of their image and label.
    """
    (folder / CASES_CSV).unlink(missing_ok=True)
    cases = []
    for number, (case, volume) in enumerate(drawn):
        image, label_ = (folder / kind / f"{case.case}.nii.gz" for kind in ("images", "labels"))
        stored = lps_affine(volume.affine, volume.hu.shape) if number % 3 == 1 else volume.affine
        write_image(image, as_stored(volume.hu, stored), stored)
        like = Volume(volume.hu, volume.affine, stored, volume.hu.shape, image)
        write_mask(label_, volume.mask, like)
        cases.append(dataclasses.replace(case, image=image, label=label_))
    write_cases(cases, folder)
    return cases


def lps_affine(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The affine (4, 4) of a RAS array (X, Y, Z) once its first two axes run the other way."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = shape[0] - 1, shape[1] - 1
    return affine @ flip
