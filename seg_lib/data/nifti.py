"""CT volumes and masks as NIfTI files, always in RAS order in memory.

RAS: the first axis runs to the patient's right, the second to anterior, the third to superior, no
matter how the file was stored. What is written goes back to the stored order and affine, with a
fresh header: no text or extension of the original is carried over. Taught in notebook 01.
"""

import dataclasses
import gzip
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np

from seg_lib.data.case_rules import first_few
from seg_lib.data.nifti_header import (
    MAX_CORNER_SHIFT_VOXELS,
    corner_shift_voxels,
)
from seg_lib.data.nifti_stream import as_stored, read_voxels
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import written_whole

GZIP_LEVEL = 4
SCANNER_COORDINATES = 1  # NIFTI_XFORM_SCANNER_ANAT


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
        dx, dy, dz = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return dx, dy, dz


def read_image(path: str | Path) -> Volume:
    """Read a CT volume.

    Returns:
        A volume of float32 HU, scaled as the header says.

    Raises:
        InputError: see ``nifti_header`` and ``nifti_stream``; names the file and the fault.

    Taught in notebook 01.
    """
    volume, low, high = _read(path)
    if low == high:
        message = f"every voxel is {low:g}, so there is nothing to see; check the export."
    elif low >= 0 and high <= 1:
        message = "all values lie in 0..1, so these are not HU; export the CT without scaling."
    elif low >= 0:
        message = f"no value below 0 (lowest {low:g}): not HU, or the offset of -1024 is missing."
    else:
        return volume
    warnings.warn(f"{path}: {message}", DataWarning, stacklevel=2)
    return volume


def read_mask(path: str | Path, like: Volume | None = None, n_classes: int = 2) -> Volume:
    """Read a label map.

    Args:
        path: the file.
        like: the image it belongs to; if given, both must lie on the same grid.
        n_classes: labels may be 0 to ``n_classes - 1``.

    Returns:
        A volume of uint8 labels.

    Raises:
        InputError: labels out of range or not whole numbers, another grid than ``like``.

    Taught in notebook 01.
    """
    volume, low, high = _read(path)
    values = volume.array
    in_range = low >= 0 and high <= min(n_classes - 1, 255)
    labels = values.astype(np.uint8) if in_range else None
    # Slice by slice: a comparison of the whole volume would double the memory.
    if labels is None or any(
        (labels[..., z] != values[..., z]).any() for z in range(values.shape[2])
    ):
        found = [f"{label:g}" for label in np.unique(values)[:50]]
        raise InputError(
            f"{path}: labels found: {first_few(found, 10)}; a mask of {n_classes} classes holds "
            f"only whole numbers from 0 to {n_classes - 1}: map or threshold them first."
        )
    mask = dataclasses.replace(volume, array=labels)
    if like is not None:
        check_same_grid(like, mask)
    if high == 0:
        message = "the mask is empty: right for a healthy case, otherwise the labels are lost."
        warnings.warn(f"{path}: {message}", DataWarning, stacklevel=2)
    elif low > 0:
        message = "the mask covers every voxel; is it the right file?"
        warnings.warn(f"{path}: {message}", DataWarning, stacklevel=2)
    return mask


def check_same_grid(image: Volume, mask: Volume) -> None:
    """Refuse a mask whose voxels are not the image's voxels.

    Rounding is accepted: corners may differ by 0.1 voxel.

    Raises:
        InputError: other shape, origin, spacing or direction; says which.
    """
    if image.array.shape != mask.array.shape:
        raise InputError(
            f"{mask.path}: {mask.array.shape} voxels, but the image {image.path} has "
            f"{image.array.shape} (both in RAS order); resample the mask with nearest neighbour."
        )
    shift = corner_shift_voxels(image.affine, mask.affine, image.array.shape)
    if shift > MAX_CORNER_SHIFT_VOXELS:
        raise InputError(
            f"{mask.path}: its corners lie {shift:.3g} voxels away from those of {image.path}: "
            f"origin {_rounded(mask.affine[:3, 3])} against {_rounded(image.affine[:3, 3])} mm, "
            f"spacing {_rounded(mask.spacing_mm)} against {_rounded(image.spacing_mm)} mm, stored "
            f"{_codes(mask)} against {_codes(image)}; give the mask the geometry it was drawn on."
        )


def write_mask(path: str | Path, mask_ras: np.ndarray, like: Volume) -> None:
    """Write a mask for an image: in the image's stored order, with its stored affine, as uint8.

    Args:
        path: ends in ``.nii.gz``.
        mask_ras: (X, Y, Z) labels 0..255 on the grid of ``like.array``.
        like: the image that the mask belongs to.

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
    """Write HU: as int16 if every value is a whole number that fits, else as float32.

    Args:
        path: ends in ``.nii.gz``.
        hu: (X, Y, Z) HU in the axis order of ``affine``.
        affine: (4, 4), voxel index to mm (right, anterior, superior).

    Raises:
        InputError: values that are not finite.
    """
    hu = np.asarray(hu, np.float32)
    if hu.ndim != 3 or not np.isfinite(hu).all():
        raise InputError(f"{path}: an image is a 3D array of finite HU; got {hu.ndim}D.")
    as_int16 = np.clip(hu, -32768, 32767).astype(np.int16)
    _write(path, as_int16 if (as_int16 == hu).all() else hu, np.asarray(affine, float))


def axial_view(volume_xyz: np.ndarray, z: int) -> np.ndarray:
    """One axial slice as a radiologist sees it.

    Args:
        volume_xyz: (X, Y, Z) in RAS order.
        z: slice index, 0 at the patient's feet.

    Returns:
        (H, W) with H = Y and W = X: row 0 is anterior, column 0 the patient's right.

    Taught in notebook 01.
    """
    return np.ascontiguousarray(volume_xyz[::-1, ::-1, z].T)


def from_axial_view(stack_hwz: np.ndarray) -> np.ndarray:
    """Turn axial slices back: (H, W, Z) as displayed to (X, Y, Z) in RAS order."""
    return np.ascontiguousarray(stack_hwz.transpose(1, 0, 2)[::-1, ::-1])


def _read(path: str | Path) -> tuple[Volume, float, float]:
    voxels = read_voxels(path)
    stored = voxels.declared
    orientation = nib.io_orientation(stored.affine)
    to_stored_index = nib.orientations.inv_ornt_aff(orientation, stored.shape)
    volume = Volume(
        array=voxels.array,
        affine=stored.affine @ to_stored_index,
        stored_affine=stored.affine,
        stored_shape=stored.shape,
        path=Path(path),
    )
    return volume, voxels.low, voxels.high


def _write(path: str | Path, stored: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(stored, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, SCANNER_COORDINATES)
    image.set_qform(affine, SCANNER_COORDINATES)
    # A qform cannot hold shear; two forms that disagree would be worse than one.
    if corner_shift_voxels(affine, image.get_qform(), stored.shape) > MAX_CORNER_SHIFT_VOXELS / 2:
        image.set_qform(None)
    with written_whole(path) as part:
        # A fixed time stamp makes equal masks equal files.
        part.write_bytes(gzip.compress(image.to_bytes(), GZIP_LEVEL, mtime=0))


def _rounded(values: np.ndarray | tuple[float, ...]) -> list[float]:
    return np.round(values, 3).tolist()


def _codes(volume: Volume) -> str:
    return "".join(nib.aff2axcodes(volume.stored_affine))
