"""The NIfTI header: what it declares, and whether that can be true. Nothing is allocated yet.

A NIfTI file may say where its voxels lie in two ways, qform and sform. Tools differ in the one they
prefer, so a file whose two forms disagree shows the lesion in two places; it is refused.
Format: https://nifti.nimh.nih.gov/nifti-1.
"""

import dataclasses
import itertools
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from seg_lib.errors import DataWarning, InputError

MAX_CORNER_SHIFT_VOXELS = 0.1  # two geometries that differ by less count as the same grid
MAX_SHEAR_COSINE = 1e-3  # between two axes; 0.3 mm over a chest of 300 mm
MAX_VOXELS = 350_000_000  # 1.4 GB as float32: 512 x 512 x 1335
MAX_STORED_BYTES = 2_000_000_000
MAX_AXIS = 32_767
MAX_OFFSET_BYTES = 2**26  # header extensions hold kilobytes
REAL_NUMBERS = (2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280)  # integers of 1 to 8 bytes, floats
OTHER_TYPES = {32: "complex", 1792: "complex", 2048: "complex", 128: "RGB", 2304: "RGBA"}
LENGTH_UNITS = {1: "metres", 3: "micrometres"}


@dataclasses.dataclass(frozen=True, eq=False)
class Declared:
    """What the header says about the voxels that follow it."""

    shape: tuple[int, int, int]  # as stored
    affine: np.ndarray  # (4, 4): stored voxel index to millimetres (right, anterior, superior)
    dtype: np.dtype  # in the byte order of the file
    slope: float  # HU = stored value * slope + intercept
    intercept: float
    offset: int  # bytes before the first voxel

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def end(self) -> int:
        """Length that the (decompressed) file must have, in bytes."""
        return self.offset + self.n_voxels * self.dtype.itemsize


def parse_header(block: bytes, path: Path) -> Declared:
    """Read the first 540 bytes of a decompressed file and check what they declare.

    Raises:
        InputError: not NIfTI, or an image that cannot be a CT volume or its mask.
    """
    header = _header(block, path)
    try:
        with np.errstate(all="ignore"):  # damaged numbers are refused, no need to warn as well
            declared = _declared(header, path)
    except InputError:
        raise
    except (nib.spatialimages.HeaderDataError, ValueError) as error:  # such as a bad quaternion
        raise InputError(f"{path}: damaged NIfTI header ({error}); export it again.") from error
    if declared.n_voxels > MAX_VOXELS or declared.end > MAX_STORED_BYTES:
        raise InputError(
            f"{path}: the header declares {declared.n_voxels:.3g} voxels in {declared.end:.3g} "
            f"bytes, more than the limit of {MAX_VOXELS:.3g} and {MAX_STORED_BYTES:.3g}; crop the "
            "image, store it as int16, or export it again if the header is damaged."
        )
    return declared


def corner_shift_voxels(first: np.ndarray, second: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance between the corners of two grids, in voxels of the first.

    Args:
        first: (4, 4) affine in mm.
        second: (4, 4) affine in mm.
        shape: (X, Y, Z) voxels of both grids.
    """
    corners = np.array(list(itertools.product(*((0, size - 1) for size in shape))), float)
    shift_mm = corners @ (first - second)[:3, :3].T + (first - second)[:3, 3]
    return float(np.abs(np.linalg.solve(first[:3, :3], shift_mm.T)).max())


def shear_cosine(affine: np.ndarray) -> float:
    """How far the voxel axes are from right angles: 0 if they are at right angles."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def _header(block: bytes, path: Path) -> nib.Nifti1Header:
    for header_class in (nib.Nifti1Header, nib.Nifti2Header):
        size = header_class.sizeof_hdr
        if block[:4] in (size.to_bytes(4, "little"), size.to_bytes(4, "big")):
            if len(block) < size:
                raise InputError(f"{path}: the header is cut short; copy the file again.")
            header = header_class(block[:size], check=False)
            if bytes(header["magic"])[:3] in (b"n+1", b"n+2"):
                return header
            raise InputError(
                f"{path}: header without its voxels (a .hdr/.img pair or Analyze); store it as one "
                ".nii.gz file."
            )
    raise InputError(f"{path}: this is not a NIfTI file; give a .nii or .nii.gz image.")


def _declared(header: nib.Nifti1Header, path: Path) -> Declared:
    datatype = int(header["datatype"])
    if datatype not in REAL_NUMBERS:
        kind = OTHER_TYPES.get(datatype, "unknown")
        raise InputError(
            f"{path}: voxels of type {datatype} ({kind}); export one plain number per voxel."
        )
    slope, intercept = header.get_slope_inter()
    if math.isinf(header["scl_slope"]):
        raise InputError(f"{path}: infinite scl_slope; the header is damaged, export it again.")
    return Declared(
        shape=_shape(header, path),
        affine=_affine(header, path),
        dtype=header.get_data_dtype(),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        offset=_offset(header, path),
    )


def _shape(header: nib.Nifti1Header, path: Path) -> tuple[int, int, int]:
    n_axes = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : max(n_axes, 0) + 1]]
    if not 1 <= n_axes <= 7 or min(sizes) < 1 or max(sizes) > MAX_AXIS:
        raise InputError(
            f"{path}: impossible size {sizes} in the header; the file is damaged, export it again."
        )
    if n_axes < 3 or max(sizes[3:], default=1) > 1:
        raise InputError(f"{path}: {n_axes}D image of size {sizes}; give one 3D volume per file.")
    if n_axes > 3:
        warnings.warn(
            f"{path}: {n_axes}D image with a single frame; it is read as the 3D volume "
            f"{sizes[:3]}.",
            DataWarning,
            stacklevel=7,
        )
    return sizes[0], sizes[1], sizes[2]


def _offset(header: nib.Nifti1Header, path: Path) -> int:
    offset = float(header["vox_offset"])
    if not header.single_vox_offset <= offset <= MAX_OFFSET_BYTES:
        raise InputError(f"{path}: impossible voxel offset {offset}; export the file again.")
    return int(offset)


def _affine(header: nib.Nifti1Header, path: Path) -> np.ndarray:
    spacing = [float(size) for size in header["pixdim"][1:4]]
    if not all(0 < size < math.inf for size in spacing):
        raise InputError(f"{path}: voxel spacing {spacing}; it must be positive millimetres.")
    unit = int(header["xyzt_units"]) % 8
    if unit in LENGTH_UNITS:
        raise InputError(f"{path}: the spacing is in {LENGTH_UNITS[unit]}; store millimetres.")
    affine = np.asarray(header.get_best_affine(), float)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # A tenth of a percent of the box that its edges could span: the axes lie (almost) in a plane.
    if not np.isfinite(affine).all() or not (
        abs(np.linalg.det(affine[:3, :3])) > 1e-3 * lengths.prod() > 0
    ):
        raise InputError(
            f"{path}: the affine {affine[:3].tolist()} is singular or not finite, so the voxels "
            "have no place in the patient; export the image again."
        )
    _check_forms(header, affine, path)
    return affine


def _check_forms(header: nib.Nifti1Header, affine: np.ndarray, path: Path) -> None:
    qform, sform = header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]
    if qform is None and sform is None:
        warnings.warn(
            f"{path}: neither qform nor sform is set, so left and right are a guess; check the "
            "orientation in a viewer.",
            DataWarning,
            stacklevel=8,
        )
    elif qform is not None and sform is not None:
        shape = [int(size) for size in header["dim"][1:4]]
        shift = corner_shift_voxels(sform, qform, shape)
        if not shift <= MAX_CORNER_SHIFT_VOXELS:
            raise InputError(
                f"{path}: qform and sform put the corners {shift:.3g} voxels apart; find out which "
                "is right and write both alike."
            )
    if shear_cosine(affine) > MAX_SHEAR_COSINE:
        warnings.warn(
            f"{path}: the voxel axes are not at right angles (gantry tilt?); distances are "
            "approximate, resampling to a straight grid is better.",
            DataWarning,
            stacklevel=7,
        )
