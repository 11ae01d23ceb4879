"""Predictors that do not learn: what a network must beat before it has earned its name.

A Dice of 0.6 says little until one knows what a threshold, or the same mask every time, gets on
the same cases. All of them are tuned on the training cases only. Taught in notebooks 06 and 12.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from seg_lib.errors import InputError
from seg_lib.metrics import dice


def threshold_baseline(
    image: np.ndarray, low: float, high: float | None = None, roi: np.ndarray | None = None
) -> np.ndarray:
    """The largest bright component that does not touch the border of the slice.

    In the lung a nodule is bright and lies inside; the chest wall is bright too, but reaches out.

    Args:
        image: (H, W) or (X, Y, Z); HU or grey values.
        low: foreground from this value on, same unit as ``image``.
        high: foreground up to this value; None for no limit.
        roi: same shape; outside it nothing is foreground.

    Returns:
        Same shape, uint8, 0 or 1; empty if nothing is left.

    Taught in notebook 06.
    """
    bright = image >= low
    if high is not None:
        bright &= image <= high
    if roi is not None:
        bright &= np.asarray(roi, bool)
    components, _ = ndimage.label(bright)
    # Borders in the plane only: what leaves through the first or last slice may be lesion.
    outer = [components[[0, -1]], components[:, [0, -1]]]
    sizes = np.bincount(components.ravel())
    sizes[np.unique(np.concatenate([border.ravel() for border in outer]))] = 0
    sizes[0] = 0
    best = int(sizes.argmax())
    return ((components == best) & (best > 0)).astype(np.uint8)


def inside_lungs(image: np.ndarray, air_below: float) -> np.ndarray:
    """Air inside the body, with what it encloses in a slice: lungs with vessels and nodules.

    Args:
        image: (H, W) or (X, Y, Z); HU or grey values.
        air_below: air and lung are darker than this, -400 HU for example.

    Returns:
        Same shape, bool. Nodules that touch the chest wall are left out, as is what touches the
        border of the slice.

    Taught in notebook 00.
    """
    air, _ = ndimage.label(image < air_below)
    outer = np.concatenate([air[[0, -1]].ravel(), air[:, [0, -1]].ravel()])
    lungs = (air > 0) & ~np.isin(air, outer)
    if image.ndim == 2:
        return ndimage.binary_fill_holes(lungs)
    return np.stack([ndimage.binary_fill_holes(part) for part in np.moveaxis(lungs, 2, 0)], 2)


def mean_prior(masks: Sequence[np.ndarray]) -> np.ndarray:
    """How often each voxel is foreground in the training masks: a map of probabilities.

    Args:
        masks: equal shapes, 0 or 1; at least one.

    Returns:
        Same shape, float32 in [0, 1]; ``>= 0.5`` is the majority vote.
    """
    shapes = {np.shape(mask) for mask in masks}
    if len(shapes) != 1:
        raise InputError(f"masks of shapes {sorted(shapes)}; the prior needs one common shape.")
    return np.mean([np.asarray(mask, np.float32) for mask in masks], axis=0, dtype=np.float32)


def tune(
    predict: Callable[[Any, Any], np.ndarray],
    images: Sequence[Any],
    masks: Sequence[np.ndarray],
    candidates: Sequence[Any],
) -> tuple[Any, float]:
    """The candidate whose ``predict(image, candidate)`` has the best mean Dice, and that Dice.

    Of equal ones the first wins.
    """
    if len(images) != len(masks) or not len(images) or not len(candidates):
        raise InputError(
            f"{len(images)} images, {len(masks)} masks and {len(candidates)} candidates; give as "
            "many images as masks and at least one of each."
        )
    means = [
        float(np.mean([dice(predict(x, c), y) for x, y in zip(images, masks, strict=True)]))
        for c in candidates
    ]
    best = int(np.argmax(means))
    return candidates[best], means[best]
