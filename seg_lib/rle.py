"""Run-length code: a mask as a line of text, "start length start length …". Taught in notebook 18.

Counted from 1 along the array in C order (the last axis runs fastest), as in source 003; an empty
mask is an empty text. The text knows neither shape nor affine: both must come from elsewhere.
"""

from collections.abc import Sequence

import numpy as np

from seg_lib.data.nifti_header import MAX_VOXELS
from seg_lib.errors import InputError

LONGEST_NUMBER = 10  # digits; more than any volume has voxels


def rle_encode(mask: np.ndarray) -> str:
    """The code of a mask.

    Args:
        mask: 0 and 1, any shape; the last axis runs fastest.
    """
    mask = np.asarray(mask)
    if ((mask != 0) & (mask != 1)).any():
        raise InputError("rle_encode: a mask holds 0 and 1 only; threshold it first.")
    flat = np.concatenate([[False], mask.ravel() == 1, [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])  # in turn the first voxel of a run, and its end
    starts, ends = edges[::2], edges[1::2]
    return " ".join(map(str, np.stack([starts + 1, ends - starts], 1).ravel()))


def rle_decode(text: str, shape: Sequence[int]) -> np.ndarray:
    """The mask that ``rle_encode`` wrote: ``shape``, uint8, 0 or 1.

    Raises:
        InputError: an impossible shape, something that is no whole number, an odd number of them,
            runs that overlap, are out of order or go beyond the last voxel.
    """
    sizes = [int(size) for size in shape]
    n_voxels = int(np.prod(sizes, dtype=float))
    if not sizes or min(sizes) < 1 or n_voxels > MAX_VOXELS:
        raise InputError(f"shape {sizes}: sizes from 1 on and at most {MAX_VOXELS:.3g} voxels.")
    words = text.split()
    bad = [w for w in words if not (w.isascii() and w.isdigit() and len(w) <= LONGEST_NUMBER)]
    if bad or len(words) % 2:
        fault = f"{bad[0][:20]!a} is no voxel number" if bad else f"{len(words)} numbers, not pairs"
        raise InputError(f"run-length code: {fault}; write 'start length' for each run.")
    starts, lengths = np.array([int(word) for word in words], np.int64).reshape(-1, 2).T
    ends = starts - 1 + lengths
    if (starts < 1).any() or (lengths < 1).any() or (ends > n_voxels).any():
        raise InputError(
            f"run-length code: a run is empty or outside of the voxels 1 to {n_voxels} of the "
            f"shape {sizes}; count from 1 and check the shape."
        )
    if (starts[1:] <= ends[:-1]).any():
        raise InputError("run-length code: runs overlap or are out of order; sort and merge them.")
    edges = np.zeros(n_voxels + 1, np.int8)
    edges[starts - 1] += 1
    edges[ends] -= 1  # runs that touch cancel out
    return np.cumsum(edges[:-1], dtype=np.int8).view(np.uint8).reshape(sizes)
