"""A DICOM series as a NIfTI file: HU and geometry go in, nothing else of the patient.

    folder ── read_folder ──> slices ── split_series, stack_up ──> stack ── _volume ──> HU

DICOM counts millimetres to the left, to the back and to the head (LPS), NIfTI to the right, to the
front and to the head (RAS): two signs change. Slices go in order of their position along their
normal; file names and instance numbers mean nothing. Taught in notebook 01.
"""

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from isal import igzip_threaded
from scipy import ndimage

from seg_lib.data.contours import rtstruct_to_mask
from seg_lib.data.dicom_files import read_folder
from seg_lib.data.dicom_header import Piece
from seg_lib.data.dicom_pixels import read_hu
from seg_lib.data.dicom_series import Stack, split_series, stack_up
from seg_lib.data.nifti_header import fresh_header
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import written_whole

GZIP_LEVEL = 3  # of isal, as fast as its level 1 on CT
THREADS = 2


def dicom_to_nifti(src: str | Path, dst: str | Path) -> list[Path]:
    """Convert every series below a folder, HU exact, geometry within 0.01 mm.

    Args:
        src: a folder with the slices of one patient, and whatever else lies there.
        dst: ``.nii.gz`` or ``.nii``; several series become ``name-1.nii.gz``, ``name-2.nii.gz``.

    Returns:
        The files written. What was left out or looks odd is a ``DataWarning``.

    Raises:
        InputError: nothing to convert, two patients, or a series that is not whole. The message
            starts with ``dst``, since the name of a folder may be that of the patient. Of several
            series the good ones are written first.
    """
    dst = Path(dst)
    if not dst.name.endswith((".nii.gz", ".nii")):
        raise InputError(f"{dst}: call the output something.nii.gz.")
    try:
        pieces, skipped = read_folder(src)
        series = split_series(pieces)
    except InputError as error:
        raise InputError(f"{dst}: {error}") from None
    if skipped:
        _warn(dst, "left out: " + ", ".join(f"{n} {kind}" for kind, n in skipped.items()) + ".")
    stem, suffix = dst.name[: dst.name.index(".nii")], dst.name[dst.name.index(".nii") :]
    targets = [dst.with_name(f"{stem}-{n}{suffix}") for n in range(1, len(series) + 1)]
    written, faults = [], []
    for target, members in zip(targets if len(series) > 1 else [dst], series, strict=True):
        try:
            _convert(members, target)
            written.append(target)
        except InputError as error:
            faults.append(f"{target}: {error}")
    if faults:
        raise InputError("\n".join(faults))
    return written


def convert(
    src_dir: str | Path,
    dst: str | Path,
    rtstruct: str | Path | None = None,
    roi: str | None = None,
    mask_out: str | Path | None = None,
) -> list[Path]:
    """`dicom_to_nifti`, and `rtstruct_to_mask` on what it wrote; returns all files written.

    Raises:
        InputError: as those two, or words that only go together, or contours for several series.
    """
    wanted = [rtstruct, roi, mask_out]
    if any(wanted) and not all(wanted):
        raise InputError(f"{dst}: contours need --rtstruct, --roi and --mask-out together.")
    written = dicom_to_nifti(src_dir, dst)
    if not all(wanted):
        return written
    if len(written) > 1:
        raise InputError(f"{dst}: {len(written)} series; give the folder of the one drawn on.")
    rtstruct_to_mask(rtstruct, dst, roi, mask_out, series_dir=src_dir)
    return [*written, Path(mask_out)]


def _convert(pieces: list[Piece], dst: Path) -> None:
    """Convert one series."""
    stack, remarks = stack_up(pieces)
    for remark in [*remarks, *_remarks(stack)]:
        _warn(dst, remark)
    if stack.drift.any():
        volume, affine = _straightened(_volume(stack), stack)
        _warn(dst, "the gantry was tilted; the slices were moved back, interpolating linearly.")
        _write(dst, volume, volume.shape, volume.dtype, affine)
        return
    shape = (len(stack.pieces), *stack.pieces[0].shape)
    for dtype in (np.int16, np.float32):
        with contextlib.suppress(_NotWhole):
            _write(dst, map(read_hu, stack.pieces), shape, np.dtype(dtype), stack.affine)
            return


class _NotWhole(Exception):
    """A slice holds values that int16 does not."""


def _write(
    dst: Path,
    slices: Iterable[np.ndarray],
    shape: Sequence[int],
    dtype: np.dtype,
    affine: np.ndarray,
) -> None:
    """Write slices (rows, columns) as they come: threads pack one while the next is read."""
    with written_whole(dst) as part, _opened(part) as stream:
        stream.write(fresh_header(shape[::-1], dtype, affine))
        for hu in slices:  # rows of columns: already the order of NIfTI, first axis fastest
            if dtype == np.int16 and hu.dtype != np.int16:
                raise _NotWhole
            stream.write(np.ascontiguousarray(hu, dtype).data)


def _volume(stack: Stack) -> np.ndarray:
    """(slices, rows, columns) HU of a stack: int16 where that is exact, else float32."""
    volume = np.empty((len(stack.pieces), *stack.pieces[0].shape), np.int16)
    for z, piece in enumerate(stack.pieces):
        hu = read_hu(piece)
        if hu.dtype != volume.dtype and volume.dtype == np.int16:
            volume = volume.astype(np.float32)
        volume[z] = hu
    return volume


def _straightened(volume: np.ndarray, stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Undo a gantry tilt: move every slice back by its drift, linearly, on a larger canvas.

    Args:
        volume: (slices, rows, columns).
        stack: with the drift in pixels a slice.

    Returns:
        The volume on an upright grid, lowest value around it, and its affine (4, 4).
    """
    n, rows, columns = volume.shape
    shifts = np.arange(n)[:, None] * stack.drift[::-1]  # (slices, 2): down, along
    start = np.floor(shifts.min(axis=0)).astype(int)
    more = np.ceil(shifts.max(axis=0)).astype(int) - start
    lowest = volume.min()
    canvas = np.full((rows + more[0], columns + more[1]), lowest, np.float32)
    upright = np.empty((n, *canvas.shape), volume.dtype)
    for z in range(n):
        canvas[:rows, :columns] = volume[z]
        moved = ndimage.shift(canvas, shifts[z] - start, order=1, mode="constant", cval=lowest)
        upright[z] = np.rint(moved) if volume.dtype == np.int16 else moved
    affine = stack.affine
    in_plane = affine[:3, :2]
    affine[:3, 2] -= in_plane @ stack.drift
    affine[:3, 3] += in_plane @ start[::-1]
    return upright, affine


def _opened(path: Path) -> BinaryIO:
    """A file to write into; packed, it has neither a name nor a time in its header."""
    if path.suffix != ".gz":
        return open(path, "wb")
    return igzip_threaded.open(path, "wb", compresslevel=GZIP_LEVEL, threads=THREADS)


def _remarks(stack: Stack) -> Iterator[str]:
    """What can be converted, but may not be what its owner thinks."""
    pieces = stack.pieces
    if any(piece.slope is None or piece.intercept is None for piece in pieces):
        yield "slices without RescaleSlope and RescaleIntercept: the values may not be HU."
    if any("no SUV" in piece.marks for piece in pieces):
        yield "PET that is not in body-weight SUV (Units GML); scale it by dose and weight first."
    if any("burned in" in piece.marks for piece in pieces):
        yield "the header says that text is burned into the pixels; look for names in the picture."
    if any("lossy" in piece.marks for piece in pieces):
        yield "the pixels were compressed with losses; the HU are approximate."


def _warn(dst: Path, remark: str) -> None:
    warnings.warn(f"{dst}: {remark}", DataWarning, stacklevel=4)
