"""A DICOM series as a NIfTI file: HU and geometry go in, nothing else of the patient.

    folder ── read_folder ──> slices ── split_series, stack_up ──> stack ── read_volume ──> HU

DICOM counts millimetres to the left, to the back and to the head (LPS), NIfTI to the right, to the
front and to the head (RAS): two signs change. Slices go in order of their position along their
normal; file names and instance numbers mean nothing. Taught in notebook 01.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from isal import igzip_threaded

from seg_lib.data.dicom_files import Piece, read_folder
from seg_lib.data.dicom_pixels import read_volume, stored_values, straighten
from seg_lib.data.dicom_series import Stack, split_series, stack_up
from seg_lib.data.nifti_header import fresh_header
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import written_whole

GZIP_LEVEL = 1
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


def _convert(pieces: list[Piece], dst: Path) -> None:
    """Convert one series."""
    stack = stack_up(pieces, _same_pixels, lambda remark: _warn(dst, remark))
    for remark in _remarks(stack):
        _warn(dst, remark)
    volume, affine = read_volume(stack), stack.affine
    if stack.drift.any():
        volume, affine = straighten(volume, stack)
        _warn(dst, "the gantry was tilted; the slices were moved back, interpolating linearly.")
    with written_whole(dst) as part, _packed(part) as stream:
        stream.write(fresh_header(volume.shape[::-1], volume.dtype, affine))
        for hu in volume:  # rows of columns: already the order of NIfTI, first axis fastest
            stream.write(hu.data)


def _same_pixels(one: Piece, other: Piece) -> bool:
    return np.array_equal(stored_values(one), stored_values(other))


def _remarks(stack: Stack) -> Iterator[str]:
    """What can be converted, but may not be what its owner thinks."""
    pieces = stack.pieces
    if any(piece.slope is None or piece.intercept is None for piece in pieces):
        yield "slices without RescaleSlope and RescaleIntercept: the values may not be HU."
    if any("burned in" in piece.marks for piece in pieces):
        yield "the header says that text is burned into the pixels; look for names in the picture."
    if any("lossy" in piece.marks for piece in pieces):
        yield "the pixels were compressed with losses; the HU are approximate."


@contextlib.contextmanager
def _packed(path: Path) -> Iterator[io.IOBase]:
    """A file to write into, gzipped if its name says so; no name and no time in its header."""
    if path.suffix != ".gz":
        with open(path, "wb") as stream:
            yield stream
        return
    with igzip_threaded.open(path, "wb", compresslevel=GZIP_LEVEL, threads=THREADS) as stream:
        yield stream


def _warn(dst: Path, remark: str) -> None:
    warnings.warn(f"{dst}: {remark}", DataWarning, stacklevel=4)
