"""The pixels of DICOM slices as HU, whatever the transfer syntax they are stored in.

Stored values become HU slice by slice: slope and intercept may differ between slices, but a NIfTI
file has only one of each. Plain files are read without pydicom's decoders, which is faster.
"""

import numpy as np
import pydicom
from pydicom import uid
from scipy import ndimage

from seg_lib.data.dicom_files import Piece, quiet
from seg_lib.data.dicom_series import Stack
from seg_lib.errors import InputError

TAGS = [
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "Rows", "Columns"),
    *("NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PixelData"),
    0x60000102,  # overlay bit position
]
INT16 = np.iinfo(np.int16)
JPEGS = {*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes}
END_OF_JPEG = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike


def stored_values(piece: Piece) -> np.ndarray:
    """(rows, columns) as stored, before the rescale; int16, uint16 or what the file has.

    Raises:
        InputError: a damaged or short stream, an unknown syntax, or bits that are no pixels.
    """
    syntax = None
    with quiet():
        try:
            data = pydicom.dcmread(piece.path, force=True, specific_tags=TAGS)
            syntax = data.file_meta.get("TransferSyntaxUID") or _guessed_syntax(data)
            data.file_meta.TransferSyntaxUID = syntax
            values = _decoded(data, syntax, piece)
        except InputError:
            raise
        except Exception as error:  # pydicom and its decoders raise what they like
            raise InputError(_cannot_decode(piece, str(error), syntax)) from None
    if values.shape != piece.shape:
        raise InputError(f"{piece.name}: the pixels are no {piece.shape} slice; copy it again.")
    return _pixel_bits(values, data, piece)


def read_hu(piece: Piece) -> np.ndarray:
    """(rows, columns) HU: int16 where that is exact, else float32."""
    values = stored_values(piece)
    slope = 1.0 if piece.slope is None else piece.slope
    intercept = piece.intercept or 0.0
    if slope == 0:
        raise InputError(f"{piece.name}: RescaleSlope is 0; export the series again.")
    if slope == 1 and intercept.is_integer() and values.dtype.itemsize == 2:
        low, high = int(values.min()) + intercept, int(values.max()) + intercept
        if INT16.min <= low and high <= INT16.max:
            # 16-bit sums wrap around, so the result is right whenever it fits.
            return values.view(np.int16) + np.array(int(intercept), np.int64).astype(np.int16)
    hu = values * slope + intercept
    as_int16 = np.clip(hu, INT16.min, INT16.max).astype(np.int16)
    return as_int16 if (as_int16 == hu).all() else hu.astype(np.float32)


def read_volume(stack: Stack) -> np.ndarray:
    """(slices, rows, columns) HU of a stack: int16 where that is exact, else float32."""
    volume = np.empty((len(stack.pieces), *stack.pieces[0].shape), np.int16)
    for z, piece in enumerate(stack.pieces):
        hu = read_hu(piece)
        if hu.dtype != volume.dtype and volume.dtype == np.int16:
            volume = volume.astype(np.float32)
        volume[z] = hu
    return volume


def straighten(volume: np.ndarray, stack: Stack) -> tuple[np.ndarray, np.ndarray]:
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


def _guessed_syntax(data: pydicom.Dataset) -> uid.UID:
    """For files without a meta header: what pydicom read them with."""
    implicit, little = data.original_encoding
    if little:
        return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
    return uid.ExplicitVRBigEndian


def _decoded(data: pydicom.Dataset, syntax: uid.UID, piece: Piece) -> np.ndarray:
    frame = piece.frame or 0
    if syntax.is_encapsulated:
        if syntax in JPEGS and END_OF_JPEG not in data.PixelData[-64:]:
            raise InputError(f"{piece.name}: the compressed pixels are cut short; copy it again.")
        index = None if piece.frame is None else frame
        return pydicom.pixels.pixel_array(data, index=index)
    kind = "i" if data.PixelRepresentation else "u"
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    dtype = np.dtype(f"{order}{kind}{data.BitsAllocated // 8}")
    count = piece.shape[0] * piece.shape[1]
    content = memoryview(data.PixelData)[frame * count * dtype.itemsize :]
    missing = count * dtype.itemsize - len(content)
    if missing > 0:
        raise InputError(f"{piece.name}: the pixels end {missing} bytes too early; copy it again.")
    values = np.frombuffer(content, dtype, count).reshape(piece.shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _pixel_bits(values: np.ndarray, data: pydicom.Dataset, piece: Piece) -> np.ndarray:
    """Only the bits that belong to the pixel: older files keep overlays in those above."""
    stored, allocated = int(data.BitsStored), values.dtype.itemsize * 8
    if data.get("HighBit", stored - 1) != stored - 1:
        raise InputError(f"{piece.name}: HighBit is not BitsStored - 1; export the series again.")
    if stored >= allocated:
        return values
    signed = values.dtype.kind == "i"
    if int(values.max()) < 2 ** (stored - signed) and int(values.min()) >= -(2 ** (stored - 1)):
        return values
    overlay = 0x60000102 in data and data[0x60000102].value >= stored
    if not (overlay or (signed and int(values.max()) < 2**stored)):
        raise InputError(f"{piece.name}: values that need more than the {stored} bits declared.")
    free = allocated - stored
    return (values << free) >> free  # brings the sign along


def _cannot_decode(piece: Piece, error: str, syntax: uid.UID | None) -> str:
    name = "unknown transfer syntax" if syntax is None else syntax.name
    if "missing dependencies" in error or "plugins" in error:
        return (
            f"{piece.name}: no decoder for {name}; install pylibjpeg, pylibjpeg-libjpeg, "
            "pylibjpeg-openjpeg and pyjpegls."
        )
    return f"{piece.name}: the pixels cannot be decoded ({name}); copy the file again."
