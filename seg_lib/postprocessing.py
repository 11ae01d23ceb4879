"""Rules for a mask after the network, by people who know how tumours look.

Each rule helps on one set and harms on another; measure before you believe. Taught in notebook
11.
"""

import numpy as np
from scipy import ndimage


def largest_component(mask: np.ndarray, connectivity: int | None = None) -> np.ndarray:
    """Keep the connected component with the most voxels; of equal ones the first.

    Args:
        mask: any dimensions; everything but 0 is foreground.
        connectivity: 1 joins voxels that share a face, 2 also an edge, 3 also a corner; None joins
            all that touch.

    Returns:
        Same shape and dtype; an empty mask stays empty.

    Taught in notebook 11.
    """
    touching = ndimage.generate_binary_structure(mask.ndim, connectivity or mask.ndim)
    components, n_components = ndimage.label(mask, touching)
    if n_components < 2:
        return mask.copy()
    sizes = np.bincount(components.ravel())
    sizes[0] = 0  # background
    return np.where(components == sizes.argmax(), mask, np.zeros_like(mask))


def without_small(
    mask: np.ndarray, smallest_mm3: float, spacing_mm: tuple[float, ...]
) -> np.ndarray:
    """Drop connected components of less than ``smallest_mm3``.

    Args:
        mask: any dimensions; everything but 0 is foreground.
        smallest_mm3: mm³ (mm² of a slice); 0 drops nothing.
        spacing_mm: voxel size along each axis.

    Returns:
        Same shape and dtype.

    Taught in notebook 11.
    """
    touching = ndimage.generate_binary_structure(mask.ndim, mask.ndim)
    components, _ = ndimage.label(mask, touching)
    large = np.bincount(components.ravel()) * np.prod(spacing_mm) >= smallest_mm3
    return np.where(large[components], mask, np.zeros_like(mask))


def filled(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of a mask of 0 and 1 in every axial slice (X, Y); same shape and dtype.

    Taught in notebook 11.
    """
    slices = [ndimage.binary_fill_holes(mask[..., z]) for z in range(mask.shape[2])]
    return np.stack(slices, axis=2).astype(mask.dtype)


def rim_rule(
    mask: np.ndarray, hu: np.ndarray, drop_sd: float = 4.0, add_sd: float = 0.1
) -> np.ndarray:
    """Move the rim by one voxel where the HU say so.

    A voxel of the rim is dropped if it differs from the mean of the mask by more than ``drop_sd``
    standard deviations; a voxel just outside is added if it differs by less than ``add_sd``.

    Args:
        mask: (X, Y, Z), 0 or 1; an empty one stays empty.
        hu: (X, Y, Z).
        drop_sd: standard deviations.
        add_sd: standard deviations.

    Source: 003, its hand-made rule after the network. Taught in notebook 11.
    """
    inside = mask > 0
    if not inside.any():
        return mask.copy()
    away = np.abs(hu - hu[inside].mean()) / max(float(hu[inside].std()), 1e-6)
    rim = inside & ~ndimage.binary_erosion(inside)
    next_to_it = ndimage.binary_dilation(inside) & ~inside
    moved = (inside & ~(rim & (away > drop_sd))) | (next_to_it & (away < add_sd))
    return moved.astype(mask.dtype)
