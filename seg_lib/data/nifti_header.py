"""The NIfTI header: what it declares, and whether that can be true. Nothing is allocated yet.

A NIfTI file may say where its voxels lie in two ways, qform and sform. Tools differ in the one they
prefer, so a file whose two forms disagree shows the lesion in two places; it is refused.
Format: https://nifti.nimh.nih.gov/nifti-1.
"""

import dataclasses
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from seg_lib.errors import DataWarning, InputError

MAX_CORNER_SHIFT_VOXELS = 0.1  # two geometries that differ by less count as the same grid
SCANNER_COORDINATES = 1  # NIFTI_XFORM_SCANNER_ANAT
MAX_SHEAR_COSINE = 1e-3  # between two axes; 0.3 mm over a chest of 300 mm
MAX_VOXELS = 350_000_000  # 1.4 GB as float32: 512 x 512 x 1335
MAX_STORED_BYTES = 2_000_000_000
MAX_AXIS = 32_767
MAX_OFFSET_BYTES = 2**26  # header extensions hold kilobytes
REAL_NUMBERS = (2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280)  # integers of 1 to 8 bytes, floats
OTHER_TYPES = {32: "complex", 1792: "complex", 2048: "complex", 128: "RGB", 2304: "RGBA"}
OTHER_FILES = {b"PK\3\4": "an NPZ or ZIP archive", b"\x89HDF": "an HDF5 file"}  # say not where
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
    def end(self) -> int:
        """Length that the (decompressed) file must have, in bytes."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def parse_header(block: bytes, path: Path) -> Declared:
    """Read the first bytes (540 or more) of a decompressed file and check what they declare.

    Raises:
        InputError: not NIfTI, or an image that cannot be a CT volume or its mask.
    """
    try:
        with np.errstate(all="ignore"):  # damaged numbers are refused, no need to warn as well
            header = _header(block)
            _check_voxels(header)
            slope, intercept = header.get_slope_inter()
            declared = Declared(
                shape=_shape(header),
                affine=_affine(header),
                dtype=header.get_data_dtype(),
                slope=1.0 if slope is None else float(slope),
                intercept=0.0 if intercept is None else float(intercept),
                offset=int(header["vox_offset"]),
            )
            remarks = [*check_declared(declared), *_remarks(header, declared)]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (nib.spatialimages.HeaderDataError, ValueError) as error:  # such as a bad quaternion
        raise InputError(f"{path}: damaged NIfTI header ({error}); export it again.") from error
    for remark in remarks:
        warnings.warn(f"{path}: {remark}", DataWarning, stacklevel=4)
    return declared


def corner_shift_voxels(first: np.ndarray, second: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance between the corners of two (X, Y, Z) grids, in voxels of the first.

    Both affines are (4, 4) in mm.
    """
    corners = np.array(list(itertools.product(*((0, size - 1) for size in shape))), float)
    shift_mm = corners @ (first - second)[:3, :3].T + (first - second)[:3, 3]
    return float(np.abs(np.linalg.solve(first[:3, :3], shift_mm.T)).max())


def fresh_header(shape: Sequence[int], dtype: np.dtype, affine: np.ndarray) -> bytes:
    """What comes before the voxels of a new file: size, type, place in mm, and no word of text."""
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_sform(affine, SCANNER_COORDINATES)
    header.set_qform(affine, SCANNER_COORDINATES)
    # A qform cannot hold shear; two forms that disagree would be worse than one.
    if corner_shift_voxels(affine, header.get_qform(), shape) > MAX_CORNER_SHIFT_VOXELS / 2:
        header.set_qform(None)
    header.set_slope_inter(1, 0)
    header["vox_offset"] = header.single_vox_offset
    return header.binaryblock + bytes(4)  # the four bytes say: no extensions


def _header(block: bytes) -> nib.Nifti1Header:
    for header_class in (nib.Nifti1Header, nib.Nifti2Header):
        size = header_class.sizeof_hdr
        if block[:4] in (size.to_bytes(4, "little"), size.to_bytes(4, "big")):
            if len(block) < size:
                raise InputError("the header is cut short; copy the file again.")
            header = header_class(block[:size], check=False)
            if bytes(header["magic"])[:3] in (b"n+1", b"n+2"):
                return header
            raise InputError("header without voxels (of a .hdr/.img pair?); store one .nii.gz.")
    kind = next((k for magic, k in OTHER_FILES.items() if block.startswith(magic)), "this")
    raise InputError(
        f"{kind} is not a NIfTI file; give .nii.gz, .nii, .nrrd, .mha or .tif, or write its array "
        "and affine with seg_lib.data.nifti.write_image."
    )


def _check_voxels(header: nib.Nifti1Header) -> None:
    """Refuse voxels that are not one plain number each, or lie nowhere in the file."""
    datatype, offset = int(header["datatype"]), float(header["vox_offset"])
    if datatype not in REAL_NUMBERS:
        kind = OTHER_TYPES.get(datatype, "unknown")
        raise InputError(f"voxels of type {datatype} ({kind}); export one plain number per voxel.")
    if math.isinf(header["scl_slope"]):
        raise InputError("infinite scl_slope; the header is damaged, export it again.")
    if not header.single_vox_offset <= offset <= MAX_OFFSET_BYTES:
        raise InputError(f"impossible voxel offset {offset}; export the file again.")


def _shape(header: nib.Nifti1Header) -> tuple[int, int, int]:
    n_axes = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : max(n_axes, 0) + 1]]
    if not 1 <= n_axes <= 7 or min(sizes) < 1 or max(sizes) > MAX_AXIS:
        raise InputError(f"impossible size {sizes} in a damaged header; export the file again.")
    if n_axes < 3 or max(sizes[3:], default=1) > 1:
        raise InputError(f"{n_axes}D image of size {sizes}; give one 3D volume per file.")
    return sizes[0], sizes[1], sizes[2]


def _affine(header: nib.Nifti1Header) -> np.ndarray:
    spacing = [float(size) for size in header["pixdim"][1:4]]
    if not all(0 < size < math.inf for size in spacing):
        raise InputError(f"voxel spacing {spacing}; it must be positive millimetres.")
    unit = int(header["xyzt_units"]) % 8
    if unit in LENGTH_UNITS:
        raise InputError(f"the spacing is in {LENGTH_UNITS[unit]}; store millimetres.")
    return np.asarray(header.get_best_affine(), float)


def check_declared(declared: Declared) -> Iterator[str]:
    """Refuse what no CT volume can be, in any format; yields what is odd about the axes.

    Raises:
        InputError: too many voxels, or axes that are not finite or lie in a plane.
    """
    n_voxels = math.prod(declared.shape)
    if n_voxels > MAX_VOXELS or declared.end > MAX_STORED_BYTES:
        raise InputError(
            f"the header declares {n_voxels:.3g} voxels in {declared.end:.3g} bytes, more than the "
            f"limit of {MAX_VOXELS:.3g} and {MAX_STORED_BYTES:.3g}; crop the image, store it as "
            "int16, or export it again if the header is damaged."
        )
    affine = declared.affine
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # A tenth of a percent of the box that its edges could span: the axes lie (almost) in a plane.
    solid = abs(np.linalg.det(affine[:3, :3])) > 1e-3 * lengths.prod() > 0
    if not (np.isfinite(affine).all() and solid):
        raise InputError(
            f"the affine {affine[:3].tolist()} is singular or not finite, so the voxels have no "
            "place in the patient; export the image again."
        )
    axes = affine[:3, :3] / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > MAX_SHEAR_COSINE:
        yield "the voxel axes are not at right angles (gantry tilt?); resample to a straight grid."


def _remarks(header: nib.Nifti1Header, declared: Declared) -> Iterator[str]:
    """What is odd about the geometry; two forms that contradict each other are refused."""
    if header["dim"][0] > 3:
        yield f"{header['dim'][0]}D image with a single frame; read as the volume {declared.shape}."
    qform, sform = header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]
    if qform is None and sform is None:
        yield "neither qform nor sform is set: left and right are a guess, check them in a viewer."
    elif qform is not None and sform is not None:
        shift = corner_shift_voxels(sform, qform, declared.shape)
        if not shift <= MAX_CORNER_SHIFT_VOXELS:
            raise InputError(
                f"qform and sform put the corners {shift:.3g} voxels apart; find out which is "
                "right and write both alike."
            )
