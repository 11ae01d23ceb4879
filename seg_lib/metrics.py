"""Metrics: how good is a mask? Dice, IoU, distances in mm, volume, RECIST diameter, and class F1.

Masks are numpy arrays (X, Y, Z) or (H, W) that hold only 0 and 1, bool or any number type. The mask
to judge comes first, the reference second. Faults raise InputError; every answer is finite:

    ============================  ==========  ==========================
    metric                        both empty  only one of them empty
    ============================  ==========  ==========================
    Dice, IoU, surface Dice       1           0
    Hausdorff distances, mm       0           diagonal of the whole volume
    volume error, RECIST error    0           1
    added path length             0           the reference's contour
    ============================  ==========  ==========================

Others differ: MONAI drops a false alarm on an empty case from the mean, nnU-Net drops two empty
masks. So always tell how many cases were empty. Taught in notebook 12.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from seg_lib import surfaces
from seg_lib.diameters import recist_diameter_mm
from seg_lib.errors import InputError
from seg_lib.surfaces import Overlap, SurfaceDistances, overlap, surface_distances

HAUSDORFF95 = {"max": surfaces.hausdorff95_max, "pooled": surfaces.hausdorff95_pooled}
DISTANCES_MM = {
    "hd_mm": surfaces.hausdorff,
    "hd95_mm": surfaces.hausdorff95_max,
    "hd95_pooled_mm": surfaces.hausdorff95_pooled,
}
Spacing = Sequence[float]  # mm, one number for each axis


def _unless_empty(counts: Overlap, measure: Callable, both: float, one: float) -> float:
    """The empty-mask policy but for volumes (`_relative_error`); else ``measure(counts)``."""
    if counts.mask_voxels and counts.reference_voxels:
        return float(measure(counts))
    return both if counts.mask_voxels == counts.reference_voxels else one


def dice(mask: np.ndarray, reference: np.ndarray) -> float:
    """Dice coefficient, ``2 |A and B| / (|A| + |B|)``. Both empty: 1; one: 0. Source: 000-004."""
    return _dice(overlap(mask, reference))


def _dice(counts: Overlap) -> float:
    voxels = counts.mask_voxels + counts.reference_voxels
    return _unless_empty(counts, lambda c: 2 * c.shared_voxels / voxels, both=1.0, one=0.0)


def iou(mask: np.ndarray, reference: np.ndarray) -> float:
    """Intersection over union, ``|A and B| / |A or B|``. Both empty: 1; one: 0. Source: 000-002."""
    share = dice(mask, reference)
    return share / (2 - share)


def relative_volume_error(mask: np.ndarray, reference: np.ndarray) -> float:
    """``min(|V - V_ref| / V_ref, 1)``. Both empty: 0; one: 1. Source: 003."""
    counts = overlap(mask, reference)
    return _relative_error(counts.mask_voxels, counts.reference_voxels)


def _relative_error(value: float, reference: float) -> float:
    """``min(|value - reference| / reference, 1)``; a reference of 0 is met (0) or missed (1)."""
    if reference == 0:
        return float(value != 0)
    return min(abs(value - reference) / reference, 1.0)


def recist_error(
    mask: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, method: str = "feret"
) -> float:
    """``min(|d - d_ref| / d_ref, 1)`` of ``recist_diameter_mm``. Both empty: 0; one: 1.

    Source: 003, equation 5. Printed there is max(..., 1), which never falls below 1: a misprint.
    """

    def measure(_: Overlap) -> float:
        diameters = (recist_diameter_mm(m, spacing_mm, method) for m in (mask, reference))
        return _relative_error(*diameters)

    return _unless_empty(overlap(mask, reference), measure, both=0.0, one=1.0)


def hausdorff_mm(mask: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> float:
    """Hausdorff distance in mm: how far one surface is from the other where it is worst.

    Both empty: 0; one: the diagonal of the volume. Equal to MONAI's.

    Source: 000, 001 (whose numbers are voxels times 0.1, whatever the spacing).
    """
    distances = surface_distances(mask, reference, spacing_mm)
    return _distance_mm(surfaces.hausdorff, distances, mask, spacing_mm)


def hausdorff95_mm(
    mask: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, definition: str = "max"
) -> float:
    """95 % Hausdorff distance in mm; a report must name the definition. Empty: ``hausdorff_mm``.

    "max" is the larger of the two directed 95th percentiles (MONAI), "pooled" the percentile of
    both directions together (medpy), often some 10 % lower. Another definition: ``InputError``.
    """
    if definition not in HAUSDORFF95:
        raise InputError(f"HD95 '{definition}' is unknown; choose from {sorted(HAUSDORFF95)}.")
    distances = surface_distances(mask, reference, spacing_mm)
    return _distance_mm(HAUSDORFF95[definition], distances, mask, spacing_mm)


def _distance_mm(
    measure: Callable, distances: SurfaceDistances, mask: np.ndarray, spacing_mm: Spacing
) -> float:
    diagonal_mm = float(np.linalg.norm(np.shape(mask) * np.asarray(spacing_mm)))
    return _unless_empty(distances, measure, both=0.0, one=diagonal_mm)


def surface_dice(
    mask: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, tolerance_mm: float = 2.0
) -> float:
    """Share of both surfaces that lies within ``tolerance_mm`` of the other (NSD), as MONAI's.

    Both empty: 1; one: 0.
    """
    return _surface_dice(surface_distances(mask, reference, spacing_mm), tolerance_mm)


def _surface_dice(distances: SurfaceDistances, tolerance_mm: float) -> float:
    measure = partial(surfaces.surface_dice, tolerance_mm=tolerance_mm)
    return _unless_empty(distances, measure, both=1.0, one=0.0)


def centroid_distance_mm(mask: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> float:
    """From the middle of the mask to that of the reference, mm. Empty masks: ``hausdorff_mm``."""
    spacing = surfaces.checked_spacing(spacing_mm, np.ndim(mask))

    def measure(_: Overlap) -> float:
        apart = np.diff([np.argwhere(m).mean(axis=0) for m in (mask, reference)], axis=0)
        return np.linalg.norm(apart * spacing)

    return _distance_mm(measure, overlap(mask, reference), mask, spacing)


def added_path_length(
    mask: np.ndarray, reference: np.ndarray, spacing_mm: Spacing | None = None
) -> float:
    """How much contour has to be drawn to make the mask the reference: pixels; with spacing, mm.

    Counts, slice by slice along z, the pixels of the reference's contour (at an edge to background)
    that are not pixels of the mask's, tolerance 0. In mm a pixel is as long as the root of its area
    in the slice. Erasing costs nothing, so an empty reference gives 0, and an empty mask all of the
    reference's contour.

    Source: 001; Vaassen et al. 2020, doi 10.1016/j.phro.2019.12.001.
    """
    spacing = np.ones(np.ndim(mask)) if spacing_mm is None else spacing_mm
    pixel = np.sqrt(surfaces.checked_spacing(spacing, np.ndim(mask))[:2].prod())
    ours, theirs = (surfaces.surface_voxels(m, 2) for m in surfaces.cropped(mask, reference))
    return float(np.count_nonzero(theirs & ~ours) * pixel)


def rmse(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square error over all voxels, ``sqrt(mean((p - y)^2))``; arrays of any one shape.

    Of a predicted mask instead of probabilities it is sqrt(share of wrong voxels): nearly the same
    for a small tumour found and a small tumour missed.

    Raises:
        InputError: different shapes, no voxels, nan or inf.

    Source: 002.
    """
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    if prediction.shape != reference.shape or not prediction.size:
        raise InputError(
            f"rmse between shapes {prediction.shape} and {reference.shape}; make them the same."
        )
    error = np.subtract(prediction, reference, dtype=np.float64)
    value = float(np.sqrt(np.square(error, out=error).mean()))
    if not np.isfinite(value):
        raise InputError("rmse: nan or inf among the values; find out where they come from.")
    return value


def macro_f1(
    predicted: Sequence[int], truth: Sequence[int], classes: Sequence[int] | None = None
) -> float:
    """Mean over the classes of ``F1 = 2 TP / (2 TP + FP + FN)``, every class counting the same.

    ``predicted`` and ``truth`` are (n,), the class of each case. ``classes`` are all that there are
    (None: those that occur); one that never occurs has F1 0, as in scikit-learn.

    Raises:
        InputError: different lengths, no cases, a value that is not among the classes.

    Source: 004. Taught in notebook 17.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    if predicted.shape != truth.shape or predicted.ndim != 1 or not predicted.size:
        raise InputError(
            f"macro_f1 of {predicted.shape} predictions and {truth.shape} truths; "
            "give one of each for every case."
        )
    found = np.union1d(predicted, truth)
    classes = found if classes is None else np.unique(classes)
    if unknown := [value.item() for value in found if value not in classes]:
        raise InputError(f"macro_f1: {unknown} is not among the classes {classes.tolist()}.")
    right = [np.sum((predicted == c) & (truth == c)) for c in classes]
    named = [np.sum(predicted == c) + np.sum(truth == c) for c in classes]  # 2 TP + FP + FN
    return float(np.mean([2 * r / n if n else 0.0 for r, n in zip(right, named, strict=True)]))


def case_metrics(
    mask: np.ndarray,
    reference: np.ndarray,
    spacing_mm: Spacing,
    probability: np.ndarray | None = None,
) -> dict[str, float]:
    """All metrics of one case; the masks are searched once and the distances measured once.

    Args:
        mask: (X, Y, Z), or one slice (H, W); 0 and 1.
        reference: same shape.
        spacing_mm: voxel size along each axis, mm.
        probability: same shape; adds "rmse" between it and the reference.

    Returns:
        dice, iou, hd_mm, hd95_mm (max of directed), hd95_pooled_mm, surface_dice_2mm, volume_error,
        recist_error, volume_ml, reference_volume_ml (a single slice counts as 1 mm thick), [rmse].
    """
    ours, theirs = surfaces.cropped(mask, reference)
    distances = surface_distances(ours, theirs, spacing_mm)
    share, voxel_ml = _dice(distances), float(np.prod(spacing_mm)) / 1000
    row = {"dice": share, "iou": share / (2 - share)}
    for name, measure in DISTANCES_MM.items():
        row[name] = _distance_mm(measure, distances, mask, spacing_mm)
    row |= {
        "surface_dice_2mm": _surface_dice(distances, tolerance_mm=2.0),
        "volume_error": _relative_error(distances.mask_voxels, distances.reference_voxels),
        "recist_error": recist_error(ours, theirs, spacing_mm),
        "volume_ml": distances.mask_voxels * voxel_ml,
        "reference_volume_ml": distances.reference_voxels * voxel_ml,
    }
    if probability is not None:
        row["rmse"] = rmse(probability, reference)
    return row
