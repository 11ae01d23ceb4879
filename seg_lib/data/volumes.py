"""CT volumes on the way into a 3D network, and the way back. Taught in notebook 10.

    Volume (X, Y, Z) HU, RAS ── box ──> crop ── spacing ──> resampled ── window ──> [0, 1]
                                  │                │
              Place: what was cut and resampled, enough to put a prediction back

Nothing is rotated and nothing is lost: `put_back` gives an array on the grid of the volume, and
`seg_lib.data.nifti.write_mask` writes it in the stored order and affine. Prepared volumes are held
in memory, so an epoch decodes no file.
"""

import dataclasses
import math
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from seg_lib.data.cases import Case
from seg_lib.data.hu import HU_WINDOWS
from seg_lib.data.nifti import Volume, read_image, read_mask
from seg_lib.errors import DataWarning, InputError

BOXES = ("all", "body", "lungs")
AIR_BELOW_HU = -400.0
SMALLEST_LUNGS_ML = 300.0
Box = tuple[slice, slice, slice]


@dataclasses.dataclass(frozen=True)
class Preparation:
    """How volumes are made ready; the same numbers in training and in prediction."""

    spacing_mm: tuple[float, float, float] | None = None  # nearly; None keeps the voxels
    window: tuple[float, float] = HU_WINDOWS["nodule"]  # (low, high) HU that become 0 and 1
    box: str = "lungs"  # all, body or lungs; without lungs it is the body
    margin_mm: float = 15.0  # around the box
    cubic: bool = False  # cubic splines as nnU-Net has them, instead of smoothing and lines
    part: Box | None = None  # of the volume, where windows slide: `coarse_box`; None is all

    def __post_init__(self) -> None:
        """Check every field."""
        if self.box not in BOXES:
            raise InputError(f"Preparation: box {self.box!r}; choose one of: {', '.join(BOXES)}.")
        low, high = self.window
        if not low < high:
            raise InputError(f"Preparation: window {self.window}; give (low, high) in HU.")
        if self.spacing_mm is not None and not all(0 < mm < 1000 for mm in self.spacing_mm):
            raise InputError(f"Preparation: spacing {self.spacing_mm} mm; give three above 0.")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a prepared array lies in its volume."""

    shape: tuple[int, int, int]  # of the whole volume
    box: Box  # the part that was kept


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """One volume, ready for a network."""

    image: np.ndarray  # (X', Y', Z'), or (C, X', Y', Z') of several, float32 in [0, 1]
    label: np.ndarray | None  # (X', Y', Z') uint8
    place: Place
    spacing_mm: tuple[float, float, float]  # of the prepared voxels: extent of the box / shape
    case: Case | None = None
    how: Preparation | None = None  # it was made ready


def prepare(volume: Volume, how: Preparation, label: np.ndarray | None = None) -> Prepared:
    """Crop, resample and window one volume.

    Args:
        volume: HU in RAS, as `read_image` gives it.
        how: the numbers.
        label: (X, Y, Z) labels on the same grid; resampled to the nearest.

    Raises:
        InputError: the box would cut foreground of the label away.
    """
    box = find_box(volume.array, volume.spacing_mm, how)
    if label is not None and (lost := int(np.count_nonzero(label) - np.count_nonzero(label[box]))):
        raise InputError(
            f"{volume.path}: the {how.box} box with {how.margin_mm:g} mm around cuts off {lost} "
            "voxels of the lesion; choose a larger margin or box='body'."
        )
    cut = volume.array[box]
    spacing = how.spacing_mm or volume.spacing_mm
    extent_mm = np.multiply(cut.shape, volume.spacing_mm)
    shape = tuple(max(1, round(n)) for n in (extent_mm / spacing).tolist())
    actual = volume.spacing_mm if shape == cut.shape else tuple((extent_mm / shape).tolist())
    low, high = how.window
    if how.cubic:
        cut = cubic_resampled(np.clip(cut, low, high), shape, volume.spacing_mm, spacing)
    else:
        cut = resampled(cut, shape)
    image = np.clip((cut - low) / (high - low), 0, 1).astype(np.float32)
    if label is not None:
        label = resampled(label[box], shape, nearest=True)
    place = Place(volume.array.shape, box)
    return Prepared(np.ascontiguousarray(image), label, place, actual, how=how)


def put_back(array: np.ndarray, place: Place, outside: float = 0) -> np.ndarray:
    """A prepared array on the grid of the whole volume again: the inverse of `prepare`.

    Args:
        array: (X', Y', Z'); whole numbers take the nearest voxel, others are interpolated.
        place: of `prepare`.
        outside: value where nothing was kept.

    Returns:
        (X, Y, Z) of the same type.
    """
    shape = tuple(part.stop - part.start for part in place.box)
    whole = np.full(place.shape, outside, array.dtype)
    whole[place.box] = resampled(array, shape, nearest=array.dtype.kind in "iub")
    return whole


def resampled(array: np.ndarray, shape: Sequence[int], nearest: bool = False) -> np.ndarray:
    """``array`` (X, Y, Z) with other numbers of voxels over the same extent.

    Linear between voxel centres, smoothed first along axes that lose voxels, so that small things
    become faint instead of vanishing; ``nearest`` for labels. The same shape gives the same values.
    """
    if tuple(shape) == array.shape:
        return array.copy()
    values = array.astype(np.float32)
    if nearest:
        how = {"mode": "nearest-exact"}
    else:
        loss = [max(0.0, old / new - 1) / 2 for old, new in zip(array.shape, shape, strict=True)]
        values = ndimage.gaussian_filter(values, loss, mode="nearest") if any(loss) else values
        how = {"mode": "trilinear", "align_corners": False}
    there = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    return F.interpolate(there, tuple(shape), **how)[0, 0].numpy().astype(array.dtype)


def cubic_resampled(
    array: np.ndarray, shape: Sequence[int], old_mm: Sequence[float], new_mm: Sequence[float]
) -> np.ndarray:
    """``array`` (X, Y, Z) with other numbers of voxels by cubic splines, as nnU-Net does it.

    Where voxels are three times as long along one axis, slices along it are not mixed: each new one
    is a copy of the nearest. Nothing is smoothed first, so small things may vanish.
    """
    zooms = [new / old for new, old in zip(shape, array.shape, strict=True)]
    how = {"mode": "nearest", "grid_mode": True}
    steps = [(zooms, 3)]
    coarse = next((mm for mm in (old_mm, new_mm) if max(mm) > 3 * min(mm)), None)
    if coarse is not None:
        along = [axis == int(np.argmax(coarse)) for axis in range(3)]
        steps = [(np.where(along, 1, zooms), 3), (np.where(along, zooms, 1), 0)]
    for zoom, order in steps:
        array = ndimage.zoom(array, zoom, order=order, **how)
    return array


def find_box(hu: np.ndarray, spacing_mm: Sequence[float], how: Preparation) -> Box:
    """The part of a volume (X, Y, Z) in HU that the network gets to see."""
    if how.box == "all":
        return tuple(slice(0, n) for n in hu.shape)
    kept = None
    if how.box == "lungs":
        kept = lungs(hu)
        if np.count_nonzero(kept) * math.prod(spacing_mm) / 1000 < SMALLEST_LUNGS_ML:
            kept = None  # an abdomen, or a crop of a chest
    if kept is None:
        kept = body(hu)
    margin = [math.ceil(how.margin_mm / mm) for mm in spacing_mm]
    return box_around(kept, margin)


def box_around(mask: np.ndarray, margin: Sequence[int]) -> Box:
    """The smallest box around the foreground, ``margin`` voxels larger; all of an empty mask."""
    found = ndimage.find_objects(mask.astype(np.uint8), max_label=1)
    if not found or found[0] is None:
        return tuple(slice(0, n) for n in mask.shape)
    return tuple(
        slice(max(0, part.start - m), min(n, part.stop + m))
        for part, m, n in zip(found[0], margin, mask.shape, strict=True)
    )


def coarse_box(volume: Volume, mask: np.ndarray, margin_mm: float = 15.0) -> Box | None:
    """The box around what a coarse network has found, for `Preparation.part`; None for nothing.

    Args:
        volume: on whose grid the mask lies.
        mask: (X, Y, Z) labels; all above 0 count.
        margin_mm: on every side, rounded up to voxels.

    Warns:
        DataWarning: nothing was found, so that the whole volume is to be predicted.

    Raises:
        InputError: a margin below 0 or without end.
    """
    if not 0 <= margin_mm < math.inf:
        raise InputError(f"margin of {margin_mm} mm around a coarse mask; give 0 or more.")
    if not mask.any():
        told = f"{volume.path}: the coarse network finds nothing; the whole volume is predicted."
        warnings.warn(told, DataWarning, stacklevel=2)
        return None
    return box_around(mask > 0, [math.ceil(margin_mm / mm) for mm in volume.spacing_mm])


def body(hu: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: the largest piece denser than air, which leaves the table out."""
    pieces, n_pieces = ndimage.label(hu >= AIR_BELOW_HU)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return pieces == sizes.argmax() if n_pieces else np.zeros(hu.shape, bool)


def lungs(hu: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: air that is not connected to the air around the body.

    Around the body is what reaches the four upright edges of the scan. Lungs that touch the side of
    a tightly cropped scan are still lungs.
    """
    pieces, _ = ndimage.label(hu < AIR_BELOW_HU)
    around = np.unique(pieces[np.ix_([0, -1], [0, -1], range(hu.shape[2]))])
    inside = np.ones(pieces.max() + 1, bool)
    inside[0] = False
    inside[around] = False
    return inside[pieces]


def load_volumes(cases: Iterable[Case], how: Preparation, n_classes: int = 2) -> list[Prepared]:
    """Read and prepare every case once; they stay in memory. Labels go to ``n_classes - 1``.

    Raises:
        InputError: see `read_image`, `read_mask` and `prepare`.
    """
    loaded = []
    for case in cases:
        volume = read_image(case.image)
        label = read_mask(case.label, volume, n_classes).array if case.label else None
        loaded.append(dataclasses.replace(prepare(volume, how, label), case=case))
    return loaded
