"""The voxels of a NIfTI file, read block by block to the very end.

Reading to the end is what finds a damaged copy: the checksum of a gzip file is its last eight
bytes, and a reader that stops when it has enough voxels never sees it. Memory stays at four bytes a
voxel plus one block, so a file that unpacks to terabytes is refused before it hurts.
"""

import contextlib
import dataclasses
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np

from seg_lib.data.file_bytes import GZIP_BEST_RATIO, GZIP_MAGIC, first_bytes
from seg_lib.data.nifti_header import Declared, parse_header
from seg_lib.errors import InputError

BLOCK_VOXELS = 2**20
LONGEST_HEADER = 540
RAS = nib.orientations.axcodes2ornt("RAS")


@dataclasses.dataclass(frozen=True, eq=False)
class StoredVoxels:
    """Scaled voxels, turned to RAS, with the header they came with."""

    array: np.ndarray  # (X, Y, Z) float32
    declared: Declared
    low: float
    high: float


def read_voxels(path: str | Path) -> StoredVoxels:
    """Read and check a whole NIfTI file (plain or gzip, any byte order, any orientation).

    Raises:
        InputError: not NIfTI, damaged, cut short, or values that are not finite.
    """
    path = Path(path)
    compressed = first_bytes(path, "a NIfTI image").startswith(GZIP_MAGIC)
    with _damage_named(path), _opened(path, compressed) as stream:
        head = stream.read(LONGEST_HEADER)
        declared = parse_header(head, path)
        _check_room(path, declared, compressed)
        stream.seek(declared.offset)
        array = np.empty(_ras_shape(declared), np.float32, order="F")
        low, high = _fill(as_stored(array, declared.affine), stream, declared, path)
        if stream.read(1):  # this read also checks the gzip checksum
            raise InputError(
                f"{path}: more data follow than the {declared.n_voxels} voxels that the header "
                "declares; the header is damaged, export the file again."
            )
    return StoredVoxels(array, declared, low, high)


def as_stored(array_ras: np.ndarray, stored_affine: np.ndarray) -> np.ndarray:
    """View an (X, Y, Z) RAS array in the axis order and direction of ``stored_affine``."""
    stored = nib.io_orientation(stored_affine)
    return nib.apply_orientation(array_ras, nib.orientations.ornt_transform(RAS, stored))


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(
            f"{path}: the file is damaged or cut short ({error}); copy or download it again."
        ) from error


def _opened(path: Path, compressed: bool) -> BinaryIO:
    return gzip.open(path, "rb") if compressed else open(path, "rb")


def _check_room(path: Path, declared: Declared, compressed: bool) -> None:
    """Refuse a header that declares more than the file can hold, before memory is taken."""
    size = path.stat().st_size
    if declared.end > (size * GZIP_BEST_RATIO if compressed else size):
        raise InputError(
            f"{path}: the header declares {declared.end} bytes, the file has {size}; it is cut "
            "short or its header is damaged, copy it again."
        )


def _ras_shape(declared: Declared) -> tuple[int, ...]:
    orientation = nib.io_orientation(declared.affine)
    return tuple(declared.shape[axis] for axis in np.argsort(orientation[:, 0]))


def _fill(
    stored: np.ndarray, stream: BinaryIO, declared: Declared, path: Path
) -> tuple[float, float]:
    """Fill the array and return its lowest and highest value."""
    width, height, depth = declared.shape
    columns = max(1, BLOCK_VOXELS // width)
    low, high = np.inf, -np.inf
    bad, first_bad = 0, None
    for z in range(depth):
        for y in range(0, height, columns):
            shape = (width, min(columns, height - y))
            block = _read_block(stream, shape, declared, path)
            finite = np.isfinite(block)
            if not finite.all():
                bad += int((~finite).sum())
                first_bad = first_bad or (np.argwhere(~finite)[0] + (0, y), z)
            stored[:, y : y + shape[1], z] = block
            low, high = min(low, block.min()), max(high, block.max())
    if first_bad is not None:
        voxel = (*first_bad[0].tolist(), first_bad[1])
        raise InputError(
            f"{path}: {bad} of {declared.n_voxels} voxels are NaN or infinite, the first at "
            f"{voxel} as stored; fill them (air is -1000 HU) or export the image again."
        )
    return float(low), float(high)


def _read_block(
    stream: BinaryIO, shape: tuple[int, int], declared: Declared, path: Path
) -> np.ndarray:
    n_bytes = shape[0] * shape[1] * declared.dtype.itemsize
    content = stream.read(n_bytes)
    if len(content) < n_bytes:
        raise InputError(
            f"{path}: cut short; the voxels end {n_bytes - len(content)} bytes too early inside "
            f"the volume {declared.shape}; copy or download it again."
        )
    block = np.frombuffer(content, declared.dtype).reshape(shape, order="F")
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported later
        if (declared.slope, declared.intercept) != (1.0, 0.0):
            block = block * declared.slope + declared.intercept
        return block.astype(np.float32)
