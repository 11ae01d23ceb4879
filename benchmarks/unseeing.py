"""Shapes in the middle of an image: blocks that are cut around a nodule have it there.

The rows of real_nodules_2d.py and real_nodules_3d.py that do not look, or look for brightness only.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from seg_lib.errors import InputError


def central_component(bright: np.ndarray) -> np.ndarray:
    """The connected component nearest to the middle of the image.

    Args:
        bright: any dimensions; everything but 0 is foreground.

    Returns:
        Same shape, uint8, 0 or 1; an empty image stays empty.
    """
    components, n_components = ndimage.label(bright)
    if n_components == 0:
        return np.zeros(bright.shape, np.uint8)
    points = np.argwhere(components)
    middle = (np.array(bright.shape) - 1) / 2
    nearest = points[((points - middle) ** 2).sum(1).argmin()]
    return (components == components[tuple(nearest)]).astype(np.uint8)


def centre_ellipsoid(shape: Sequence[int], fraction: float | Sequence[float]) -> np.ndarray:
    """The same ellipse (2D) or ellipsoid (3D) in the middle of every image.

    Args:
        shape: of the image, pixels or voxels.
        fraction: length of its axes as a fraction of the image's; one number or one an axis.

    Returns:
        ``shape``, uint8, 0 or 1: voxels whose centre lies inside.

    Raises:
        InputError: a fraction that is not above 0.
    """
    fractions = np.broadcast_to(np.asarray(fraction, float), (len(shape),))
    if not (fractions > 0).all():
        raise InputError(f"ellipsoid of fraction {fraction}; it must be above 0.")
    distance = np.zeros(shape)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    for index, n, part in zip(grid, shape, fractions, strict=True):
        distance = distance + ((index - (n - 1) / 2) / (part * n / 2)) ** 2
    return (distance <= 1).astype(np.uint8)
