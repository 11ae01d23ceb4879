"""The pixels of DICOM slices as HU, whatever the transfer syntax they are stored in.

Stored values become HU slice by slice: slope and intercept may differ between slices, but a NIfTI
file has only one of each. Plain files are read without pydicom's decoders, which is faster.
"""

import numpy as np
import pydicom
from pydicom import uid

from seg_lib.data.dicom_header import Piece, quiet
from seg_lib.errors import InputError

INT16 = np.iinfo(np.int16)
JPEGS = {*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes}
END_OF_JPEG = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike


def stored_values(piece: Piece) -> np.ndarray:
    """(rows, columns) as stored, before the rescale.

    Raises:
        InputError: a damaged or short stream, an unknown syntax, or bits that are no pixels.
    """
    if piece.offset is None:
        values = _unpacked(piece)
    else:
        count = piece.shape[0] * piece.shape[1]
        values = np.fromfile(piece.path, piece.dtype, count, offset=piece.offset)
        if values.size < count:
            missing = (count - values.size) * piece.dtype.itemsize
            raise InputError(f"{piece.name}: the pixels end {missing} bytes too early; copy again.")
        values = values.astype(piece.dtype.newbyteorder("="), copy=False).reshape(piece.shape)
    if values.shape != piece.shape:
        raise InputError(f"{piece.name}: the pixels are no {piece.shape} slice; copy it again.")
    return _pixel_bits(values, piece)


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


def _unpacked(piece: Piece) -> np.ndarray:
    """What pydicom's decoders make of a compressed or deflated file."""
    syntax = None
    with quiet():
        try:
            data = pydicom.dcmread(piece.path, force=True)
            syntax = data.file_meta.TransferSyntaxUID
            if syntax in JPEGS and END_OF_JPEG not in data.PixelData[-64:]:
                raise ValueError("cut short")  # some decoders invent the rest
            return pydicom.pixels.pixel_array(data, index=piece.frame)
        except Exception as error:  # they raise what they like, and may quote the header
            needs_plugin = "missing dependencies" in str(error) or "plugins" in str(error)
    name = "unknown transfer syntax" if syntax is None else syntax.name
    if needs_plugin:
        raise InputError(
            f"{piece.name}: no decoder for {name}; install pylibjpeg, pylibjpeg-libjpeg, "
            "pylibjpeg-openjpeg and pyjpegls."
        )
    raise InputError(f"{piece.name}: damaged or unreadable pixels ({name}); copy the file again.")


def _pixel_bits(values: np.ndarray, piece: Piece) -> np.ndarray:
    """Only the bits that belong to the pixel: older files keep overlays in those above."""
    stored, allocated = piece.bits, values.dtype.itemsize * 8
    if stored >= allocated:
        return values
    signed = values.dtype.kind == "i"
    low, high = int(values.min()), int(values.max())
    if high < 2 ** (stored - signed) and low >= -(2 ** (stored - 1)):
        return values
    if "overlay" not in piece.marks and not (signed and low >= 0 and high < 2**stored):
        raise InputError(f"{piece.name}: values that need more than the {stored} bits declared.")
    free = allocated - stored
    return (values << free) >> free  # brings the sign along
