"""Lesion by lesion: how many lesions were found, and how many false alarms were raised?

The Dice of a scan counts voxels, so a large lesion hides the small ones that were missed. A lesion
is a connected component of the reference, its voxels sharing a face, an edge or a corner (26
neighbours in 3D, 8 in 2D). It is found if at least ``min_overlap`` of its voxels are predicted: the
overlap condition of Commowick et al. 2018, doi 10.1038/s41598-018-31911-7. A false alarm is a
predicted component that shares no voxel with any lesion. A mask that covers everything therefore
finds all lesions without a false alarm: report the Dice too.

Others differ, so name the rule: nnDetection asks for an IoU of 0.1, LUNA16 for a mark not further
from the middle of a nodule than its radius; BraTS first joins lesions that lie close together.
Taught in notebook 12.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from seg_lib.errors import InputError
from seg_lib.resampling import ratio_of_means
from seg_lib.surfaces import checked_spacing, cropped

BALL = {2: np.pi, 3: 4 / 3 * np.pi}  # area or volume of radius 1
COLUMNS = ("lesions", "lesions_found", "false_alarms")  # of the row of a case
ROW = ("volume_ml", "diameter_mm", "found", "dice")  # of a lesion


def lesion_counts(
    mask: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float], min_overlap: float = 0.1
) -> dict[str, Any]:
    """Find the lesions of the reference in the mask; components touch at faces, edges or corners.

    Args:
        mask: (X, Y, Z) or (H, W), predicted, 0 and 1.
        reference: same shape, 0 and 1.
        spacing_mm: voxel size along each axis, mm.
        min_overlap: share of a lesion's voxels that must be predicted; with 0 one voxel is enough.

    Returns:
        {"lesions", "found", "false_alarms": how many; "rows": the lesions, largest first}. A row
        has "volume_ml" (a slice counts as 1 mm thick), "diameter_mm" of the ball of this volume (of
        the disc of this area), "found", and "dice" of the lesion with all predicted components that
        share a voxel with it.

    Raises:
        InputError: different shapes, other values than 0 and 1, an impossible spacing or share.
    """
    spacing = checked_spacing(spacing_mm, np.ndim(mask))
    if not 0 <= min_overlap <= 1:
        raise InputError(f"min_overlap is {min_overlap}; give a share of a lesion, 0 to 1.")
    masks = cropped(mask, reference)
    touching = np.ones((3,) * spacing.size)
    (parts, n_parts), (lesions, n) = (ndimage.label(m, touching) for m in masks)
    both = masks[0] & masks[1]
    pairs = lesions[both].astype(np.int64) * (n_parts + 1) + parts[both]
    pairs, shared = np.unique(pairs, return_counts=True)  # who meets whom, in how many voxels
    lesion, part = np.divmod(pairs, n_parts + 1)
    voxels = np.bincount(lesions[masks[1]], minlength=n + 1)[1:]
    predicted = np.bincount(lesion, np.bincount(parts[masks[0]])[part], n + 1)[1:]
    hit = np.bincount(lesion, shared, n + 1)[1:]
    found = (hit > 0) & (hit / voxels >= min_overlap)
    size = voxels * spacing.prod()
    diameter = 2 * (size / BALL[spacing.size]) ** (1 / spacing.size)
    columns = [size / 1000, diameter, found, 2 * hit / (voxels + predicted)]
    each = zip(*(column.tolist() for column in columns), strict=True)
    rows = [dict(zip(ROW, row, strict=True)) for row in sorted(each, reverse=True)]
    alarms = n_parts - len(np.unique(part))
    return {"lesions": n, "found": int(found.sum()), "false_alarms": alarms, "rows": rows}


def lesion_columns(
    mask: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]
) -> dict[str, int]:
    """Lesions, lesions_found and false_alarms of a case; faults as of ``lesion_counts``."""
    *counts, _ = lesion_counts(mask, reference, spacing_mm).values()
    return dict(zip(COLUMNS, counts, strict=True))


def lesion_recall(
    rows: Sequence[Mapping[str, Any]], n_resamples: int = 2000, seed: int = 0
) -> dict[str, float]:
    """Share of all lesions of all cases that was found, with a 95 % bootstrap over patients.

    Args:
        rows: one a case: "patient", "lesions", "lesions_found"; those without lesion count nothing.
        n_resamples: draws.
        seed: same seed, same interval.

    Returns:
        {"n" (lesions), "n_patients" (who have any), "mean" (the recall), "low", "high"}.

    Raises:
        InputError: there is no lesion in any case.
    """
    rows = [row for row in rows if row["lesions"]]
    if not rows:
        raise InputError("lesion_recall: no case has a lesion; report the false alarms alone.")
    found, there = ([row[name] for row in rows] for name in ("lesions_found", "lesions"))
    share = ratio_of_means(found, there, [row["patient"] for row in rows], n_resamples, seed)
    told = {"n": sum(there), "n_patients": share["n_groups"], "mean": share["ratio"]}
    return told | {"low": share["low"], "high": share["high"]}
