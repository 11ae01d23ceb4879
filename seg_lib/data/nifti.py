"""CT volumes and masks as NIfTI files, always in RAS order in memory.

RAS: the first axis runs to the patient's right, the second to anterior, the third to superior, no
matter how the file was stored. What is written goes back to the stored order and affine, with a
fresh header: no text or extension of the original is carried over. A file is read to its very end,
because the checksum of a gzip file is its last eight bytes. Taught in notebook 01.
"""

import dataclasses
import gzip
import io
import itertools
import math
import warnings
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np

from seg_lib.data.case_rules import first_few
from seg_lib.data.file_bytes import opened
from seg_lib.data.nifti_header import MAX_CORNER_SHIFT_VOXELS as MAX_SHIFT
from seg_lib.data.nifti_header import Declared, corner_shift_voxels, fresh_header
from seg_lib.data.volume_formats import declared
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import written_whole

BLOCK_VOXELS = 2**20
# Deflate cannot shrink anything further than 1:1032 (zlib technical details).
UNPACKED = {gzip.GzipFile: 1032, io.BytesIO: math.inf}
GZIP_LEVEL = 4
ROUNDING = 1e-4  # of labels that were stored as scaled floats: source 004 has 1.00001526
RAS = nib.orientations.axcodes2ornt("RAS")


@dataclasses.dataclass(frozen=True, eq=False)
class Volume:
    """A volume in RAS order and the way back to the file it came from."""

    array: np.ndarray  # (X, Y, Z): float32 HU for an image, uint8 labels for a mask
    affine: np.ndarray  # (4, 4): index in ``array`` to mm
    stored_affine: np.ndarray  # (4, 4): index in the file to mm
    stored_shape: tuple[int, int, int]
    path: Path

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along x, y and z in mm."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())


def read_image(path: str | Path, hu: bool = True) -> Volume:
    """Read a CT volume as float32 HU, scaled as the header says.

    With ``hu=False`` values of another kind, such as the SUV of PET, are read without a warning.

    Raises:
        InputError: damaged, cut short, no 3D volume of finite numbers, or lying nowhere.
    """
    volume, low, high = _read(path)
    if low == high:
        message = f"every voxel is {low:g}, so there is nothing to see; check the export."
    elif hu and low >= 0 and high <= 1:
        message = "all values lie in 0..1, so these are not HU; export the CT without scaling."
    elif hu and low >= 0:
        message = f"no value below 0 (lowest {low:g}): not HU, or the offset of -1024 is missing."
    else:
        return volume
    warnings.warn(f"{path}: {message}", DataWarning, stacklevel=2)
    return volume


def read_mask(path: str | Path, like: Volume | None = None, n_classes: int = 2) -> Volume:
    """Read a label map as uint8 labels from 0 to ``n_classes - 1``.

    Raises:
        InputError: as ``read_image``, labels out of range or not whole numbers, or another grid
            than that of ``like``, the image it belongs to.
    """
    volume, low, high = _read(path)
    values, off = volume.array, 1.0
    if low >= -ROUNDING and high <= min(n_classes - 1, 255) + ROUNDING:
        labels, off = np.empty_like(values, np.uint8), 0.0
        for z in range(values.shape[2]):  # whole, it would take a third more memory
            labels[..., z] = np.rint(values[..., z])
            off = max(off, float(np.abs(labels[..., z] - values[..., z]).max()))
    if off > ROUNDING:
        found = [f"{label:g}" for label in np.unique(values)[:50]]
        raise InputError(
            f"{path}: labels found: {first_few(found, 10)}; a mask of {n_classes} classes holds "
            f"only whole numbers from 0 to {n_classes - 1}: map or threshold them first."
        )
    if off:
        message = f"labels up to {off:.2g} off whole numbers were rounded; store them as integers."
        warnings.warn(f"{path}: {message}", DataWarning, stacklevel=2)
    mask = dataclasses.replace(volume, array=labels)
    if like is not None:
        check_same_grid(like, mask)
    if high == 0 or low > 0:
        empty = "the mask is empty: right for a healthy case, otherwise the labels are lost."
        message = "the mask covers every voxel; is it the right file?" if low > 0 else empty
        warnings.warn(f"{path}: {message}", DataWarning, stacklevel=2)
    return mask


def check_same_grid(image: Volume, mask: Volume) -> None:
    """Refuse a mask whose voxels are not the image's voxels; 0.1 voxel of rounding is accepted.

    Raises:
        InputError: other shape, origin, spacing or direction; says which.
    """
    if image.array.shape != mask.array.shape:
        raise InputError(
            f"{mask.path}: {mask.array.shape} voxels, but the image {image.path} has "
            f"{image.array.shape} (both in RAS order); resample the mask with nearest neighbour."
        )
    shift = corner_shift_voxels(image.affine, mask.affine, image.array.shape)
    if shift > MAX_SHIFT:
        raise InputError(
            f"{mask.path}: its corners lie {shift:.3g} voxels away from those of {image.path}: "
            f"{_geometry(mask)} against {_geometry(image)}; give the mask the geometry it was "
            "drawn on."
        )


def _geometry(volume: Volume) -> str:
    origin, spacing = np.round(volume.affine[:3, 3], 3), np.round(volume.spacing_mm, 3)
    codes = "".join(nib.aff2axcodes(volume.stored_affine))
    return f"origin {origin.tolist()} mm, spacing {spacing.tolist()} mm, stored {codes}"


def write_mask(path: str | Path, mask_ras: np.ndarray, like: Volume) -> None:
    """Write (X, Y, Z) labels 0..255 for the image ``like``, in its stored order, as uint8.

    Raises:
        InputError: another shape than the image, or labels that uint8 cannot hold.
    """
    mask_ras = np.asarray(mask_ras)
    if mask_ras.shape != like.array.shape:
        raise InputError(
            f"{path}: mask of shape {mask_ras.shape} for the image {like.path} of shape "
            f"{like.array.shape}; bring the mask back to the grid of the image first."
        )
    labels = mask_ras.astype(np.uint8)
    if (labels != mask_ras).any():
        raise InputError(
            f"{path}: labels from {mask_ras.min()} to {mask_ras.max()}; a mask holds whole numbers "
            "from 0 to 255."
        )
    _write(path, as_stored(labels, like.stored_affine), like.stored_affine)


def write_image(path: str | Path, hu: np.ndarray, affine: np.ndarray) -> None:
    """Write HU in the axis order of ``affine``: int16 where nothing is lost by it, else float32.

    Raises:
        InputError: values that are not finite.
    """
    hu = np.asarray(hu, np.float32)
    if hu.ndim != 3 or not np.isfinite(hu).all():
        raise InputError(f"{path}: an image is a 3D array of finite HU; got {hu.ndim}D.")
    as_int16 = np.clip(hu, -32768, 32767).astype(np.int16)
    _write(path, as_int16 if (as_int16 == hu).all() else hu, np.asarray(affine, float))


def as_stored(array_ras: np.ndarray, stored_affine: np.ndarray) -> np.ndarray:
    """View an (X, Y, Z) RAS array in the axis order and direction of ``stored_affine``."""
    stored = nib.io_orientation(stored_affine)
    return nib.apply_orientation(array_ras, nib.orientations.ornt_transform(RAS, stored))


def axial_view(volume_xyz: np.ndarray, z: int) -> np.ndarray:
    """Slice ``z`` (0 at the feet) of an (X, Y, Z) RAS volume as a radiologist sees it.

    Returns (H, W) with H = Y and W = X: row 0 is anterior, column 0 the patient's right.
    """
    return np.ascontiguousarray(volume_xyz[::-1, ::-1, z].T)


def from_axial_view(stack_hwz: np.ndarray) -> np.ndarray:
    """Turn axial slices back: (H, W, Z) as displayed to (X, Y, Z) in RAS order."""
    return np.ascontiguousarray(stack_hwz.transpose(1, 0, 2)[::-1, ::-1])


def _read(path: str | Path) -> tuple[Volume, float, float]:
    """The volume as float32, with its lowest and its highest value."""
    path = Path(path)
    with opened(path, "a NIfTI image") as file:
        header, stream = declared(file, path)
        size = path.stat().st_size
        if header.end > size * UNPACKED.get(type(stream), 1):
            raise InputError(
                f"{path}: the header declares {header.end} bytes, the file has {size}; it is cut "
                "short or its header is damaged, copy it again."
            )
        orientation = nib.io_orientation(header.affine)
        shape = [header.shape[axis] for axis in np.argsort(orientation[:, 0])]
        array = np.empty(shape, np.float32, order="F")
        _fill(as_stored(array, header.affine), stream, header, path)
        if stream.read(1):  # this read also checks the gzip checksum
            raise InputError(
                f"{path}: more data follow than the voxels {header.shape} that the header "
                "declares; the header is damaged, export the file again."
            )
    affine = header.affine @ nib.orientations.inv_ornt_aff(orientation, header.shape)
    volume = Volume(array, affine, header.affine, header.shape, path)
    return volume, float(array.min()), float(array.max())


def _fill(stored: np.ndarray, stream: BinaryIO, header: Declared, path: Path) -> None:
    """Read the voxels as stored; memory stays at four bytes a voxel plus one block."""
    width, height, depth = header.shape
    rows = max(1, BLOCK_VOXELS // width)
    for z, y in itertools.product(range(depth), range(0, height, rows)):
        shape = (width, min(rows, height - y))
        n_bytes = math.prod(shape) * header.dtype.itemsize
        content = stream.read(n_bytes)
        if missing := n_bytes - len(content):
            raise InputError(
                f"{path}: cut short; the voxels end {missing} bytes too early inside the volume "
                f"{header.shape}; copy or download it again."
            )
        block = np.frombuffer(content, header.dtype).reshape(shape, order="F")
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported below
            if (header.slope, header.intercept) != (1.0, 0.0):
                block = block * header.slope + header.intercept
            stored[:, y : y + rows, z] = block
    finite = np.isfinite(stored.T)  # (z, y, x): the order of the file
    if not finite.all():
        first = np.unravel_index(finite.argmin(), finite.shape)[::-1]
        raise InputError(
            f"{path}: {finite.size - np.count_nonzero(finite)} of {finite.size} voxels are NaN or "
            f"infinite, the first at {tuple(map(int, first))} as stored; fill them (air is -1000 "
            "HU) or export the image again."
        )


def _write(path: str | Path, stored: np.ndarray, affine: np.ndarray) -> None:
    content = fresh_header(stored.shape, stored.dtype, affine) + stored.tobytes(order="F")
    if Path(path).suffix != ".nii":  # a fixed time stamp makes equal masks equal files
        content = gzip.compress(content, GZIP_LEVEL, mtime=0)
    with written_whole(path) as part:
        part.write_bytes(content)
