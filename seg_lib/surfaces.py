"""Surface distances between two masks, in mm: one expensive function, then cheap ones that read it.

The surface of a mask is every voxel of it that has a background neighbour across a face (6 faces in
3D, 4 edges in 2D; beyond the volume is background). Distances run between voxel centres. This is
MONAI's definition, so values match MONAI; Google's surface-distance puts its surface on the voxel
corners and weighs it by area, so its Hausdorff distance may differ by up to one voxel diagonal.

The layout (distances first, then many small questions to them) follows
https://github.com/google-deepmind/surface-distance. Taught in notebook 12.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from seg_lib.errors import InputError

# A search tree costs about as much per surface voxel as a distance transform per 10 box voxels.
BOX_VOXELS_PER_SURFACE_VOXEL = 10


@dataclass(frozen=True)
class Overlap:
    """How many voxels two masks have, and have in common."""

    mask_voxels: int
    reference_voxels: int
    shared_voxels: int


@dataclass(frozen=True)
class SurfaceDistances(Overlap):
    """How far the surfaces are apart; both lists are empty if one of the masks is."""

    distances_to_reference: np.ndarray  # (n,) float64 mm, from each surface voxel of the mask
    distances_to_mask: np.ndarray  # (m,) float64 mm, from each surface voxel of the reference


def overlap(mask: np.ndarray, reference: np.ndarray) -> Overlap:
    """Count voxels of two masks (X, Y, Z) or (H, W); the faults are those of ``cropped``."""
    mask, reference = cropped(mask, reference)
    return Overlap(*(int(np.count_nonzero(m)) for m in (mask, reference, mask & reference)))


def surface_distances(
    mask: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]
) -> SurfaceDistances:
    """Measure from every surface voxel of each mask to the nearest surface voxel of the other.

    Args:
        mask: (X, Y, Z) or (H, W), bool or any number type holding only 0 and 1, any memory order.
        reference: same shape.
        spacing_mm: voxel size along each axis, in the order of the axes.

    Empty: if one mask is, both lists of distances are; ``metrics`` decides what that means.

    Raises:
        InputError: different shapes, not 2D or 3D, other values than 0 and 1, impossible spacing.

    Source: 000, 001 (the HD column).
    """
    spacing = checked_spacing(spacing_mm, np.ndim(mask))
    mask, reference = cropped(mask, reference)
    to_reference = to_mask = np.empty(0)
    if mask.any() and reference.any():
        ours, theirs = surface_voxels(mask), surface_voxels(reference)
        to_reference = _distances_mm(ours, theirs, spacing)
        to_mask = _distances_mm(theirs, ours, spacing)
    return SurfaceDistances(*astuple(overlap(mask, reference)), to_reference, to_mask)


def hausdorff(distances: SurfaceDistances) -> float:
    """Largest of all distances of both directions in mm."""
    return float(max(side.max() for side in _both_sides(distances)))


def hausdorff95_max(distances: SurfaceDistances) -> float:
    """Larger of the two directed 95th percentiles in mm (MONAI; linear interpolation)."""
    return float(max(np.percentile(side, 95) for side in _both_sides(distances)))


def hausdorff95_pooled(distances: SurfaceDistances) -> float:
    """95th percentile of both directions taken together in mm (medpy)."""
    return float(np.percentile(np.concatenate(_both_sides(distances)), 95))


def surface_dice(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Share of all surface voxels, of both masks, at most ``tolerance_mm`` from the other surface.

    Counts voxels, as MONAI does; surface-distance weighs them by area and gives other values.
    """
    sides = _both_sides(distances)
    close = sum(int(np.count_nonzero(side <= tolerance_mm)) for side in sides)
    return close / sum(side.size for side in sides)


def _both_sides(distances: SurfaceDistances) -> tuple[np.ndarray, np.ndarray]:
    if not distances.distances_to_reference.size:
        raise InputError("one mask is empty: there is no surface distance; ask seg_lib.metrics.")
    return distances.distances_to_reference, distances.distances_to_mask


def checked_spacing(spacing_mm: Sequence[float], ndim: int) -> np.ndarray:
    """Spacing as float64 (ndim,) mm.

    Raises:
        InputError: not one finite number above 0 for each axis.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (ndim,) or not np.all(np.isfinite(spacing) & (spacing > 0)):
        raise InputError(
            f"spacing_mm {spacing.tolist()} for a mask of {ndim} axes; "
            "give one voxel size in mm, above 0, for each axis."
        )
    return spacing


def cropped(*masks: np.ndarray) -> list[np.ndarray]:
    """The masks as bool arrays, cut to the smallest box that holds all foreground of all of them.

    A tumour fills a thousandth of a CT, so all later work is done on the box. Values are checked
    here: whatever is not 0 lies in the box. Of empty masks one voxel of background is left.

    Raises:
        InputError: different shapes, not 2D or 3D, no voxels, other values than 0 and 1.
    """
    masks = tuple(np.asarray(mask) for mask in masks)
    shapes = [mask.shape for mask in masks]
    if len(set(shapes)) != 1:
        raise InputError(
            f"masks of shapes {' and '.join(map(str, shapes))}; "
            "they must lie on the same grid (resample one onto the other first)."
        )
    if masks[0].ndim not in (2, 3) or masks[0].size == 0:
        raise InputError(f"a mask of shape {shapes[0]}; it must be (X, Y, Z) or (H, W).")
    boxes = [box for box in map(bounding_box, masks) if box]
    if not boxes:
        return [np.zeros((1,) * mask.ndim, dtype=bool) for mask in masks]
    joint = tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*boxes, strict=True)
    )
    return [_as_bool(mask[joint]) for mask in masks]


def bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """Smallest box that holds everything but 0, one slice for each axis; None if all is 0.

    Reads the whole mask only once, in the order of memory: the range along the slowest axis is
    found first, and the other axes are searched within it.
    """
    # one byte per voxel: the maximum of bytes is what numpy finds fastest
    voxels = (mask if mask.dtype.itemsize == 1 else mask != 0).view(np.uint8)
    steps = [-1 if stride < 0 else 1 for stride in voxels.strides]  # -1: a flipped view
    slowest_first = sorted(range(mask.ndim), key=lambda axis: -abs(voxels.strides[axis]))
    voxels = voxels[tuple(slice(None, None, step) for step in steps)].transpose(slowest_first)
    box: dict[int, slice] = {}
    for axis in slowest_first:
        occupied = np.flatnonzero(voxels.max(axis=tuple(range(1, voxels.ndim))))
        if not occupied.size:
            return None
        start, stop = int(occupied[0]), int(occupied[-1]) + 1
        voxels = voxels[start:stop].max(axis=0)
        size = mask.shape[axis]
        box[axis] = slice(start, stop) if steps[axis] == 1 else slice(size - stop, size - start)
    return tuple(box[axis] for axis in range(mask.ndim))


def _as_bool(voxels: np.ndarray) -> np.ndarray:
    """C-ordered bool copy of a small crop, which must hold only 0 and 1."""
    foreground = voxels != 0
    if not np.all(foreground == voxels):
        found = ", ".join(str(value) for value in np.unique(voxels)[:6])
        raise InputError(
            f"a mask holds the values {found}; it must hold only 0 and 1 "
            "(choose a label or a threshold first: mask == 255, probability >= 0.5)."
        )
    return np.ascontiguousarray(foreground)


def surface_voxels(mask: np.ndarray, n_axes: int = 3) -> np.ndarray:
    """Voxels of a bool mask with background across a face along its first axes; as bool mask."""
    inside = mask.copy()
    for axis in range(min(mask.ndim, n_axes)):
        along, voxels = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        along[1:] &= voxels[:-1]
        along[:-1] &= voxels[1:]
        along[:1] = along[-1:] = False  # beyond the volume is background
    return mask & ~inside


def _distances_mm(surface: np.ndarray, other: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance from each voxel of ``surface`` to the nearest voxel of ``other``; exact.

    A search tree is quick when surfaces are thin, however far apart they lie; a distance transform
    is quick when the box is full of surface, as in the noise of an untrained network.
    """
    distances = np.zeros(np.count_nonzero(surface))
    apart = ~other[surface]  # the rest lies on both surfaces
    points = _indices(surface)[apart]
    if surface.size <= BOX_VOXELS_PER_SURFACE_VOXEL * len(points):
        nearest = distance_transform_edt(
            ~other, sampling=spacing, return_distances=False, return_indices=True
        )
        offsets_mm = (points - nearest[:, *points.T].T) * spacing
        distances[apart] = np.sqrt(np.square(offsets_mm).sum(axis=1))
    else:
        tree = cKDTree(_indices(other) * spacing, 32, compact_nodes=False, balanced_tree=False)
        distances[apart] = tree.query(points * spacing)[0]
    return distances


def _indices(voxels: np.ndarray) -> np.ndarray:
    """(n, ndim) indices of the true voxels: np.argwhere, four times as fast in a sparse box."""
    return np.stack(np.unravel_index(np.flatnonzero(voxels), voxels.shape), axis=1)
