"""Slices as 8-bit pictures: the window, the size, and PNG files that are not guessed at."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from seg_lib.data.file_bytes import first_bytes
from seg_lib.data.hu import apply_window
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import written_whole

MAX_SIDE = 16_384  # pixels; a slice has 512
EIGHT_BITS = {"1", "L", "LA", "P", "RGB", "RGBA"}
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def to_grey(hu: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """HU to 8 bits through a window: ``low`` is 0, ``high`` is 255."""
    return np.rint(apply_window(hu, window) * 255).astype(np.uint8)


def resize_image(grey: np.ndarray, size: int) -> np.ndarray:
    """(H, W) uint8 to (size, size): area average when it shrinks, bilinear when it grows."""
    if grey.shape == (size, size):
        return grey
    how = Image.Resampling.BOX if max(grey.shape) > size else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(grey).resize((size, size), how))


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """(H, W) of 0 and 1 to (size, size): pixels at least half covered; never loses a lesion.

    A lesion that covers no pixel by half keeps the pixel that it covers most.
    """
    covered = resize_image(mask.astype(np.uint8) * 255, size)
    kept = covered >= 128
    if mask.any() and not kept.any():
        kept.flat[resize_image(mask.astype(np.float32), size).argmax()] = True
    return kept.astype(np.uint8)


def centred(slice_hw: np.ndarray, size: int) -> np.ndarray:
    """The middle (size, size) of a slice in its own pixels; what lies outside is 0."""
    padded = np.pad(slice_hw, [(max(0, (size - n) // 2), max(0, size - n)) for n in slice_hw.shape])
    top, left = (max(0, (n - size) // 2) for n in slice_hw.shape)
    return padded[top : top + size, left : left + size]


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W) uint8, whole or not at all."""
    with written_whole(path) as part:
        Image.fromarray(pixels).save(part)


def read_png(path: Path, numbers: bool = False) -> np.ndarray:
    """Read (H, W) uint8; colours become grey, or their numbers in the palette of the file.

    Raises:
        InputError: no image, cut short, of impossible size, or of more than 8 bits (whose grey
            values would be clipped without a word).
    """
    first_bytes(path, "an image")
    try:
        no_bombs = warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning)
        with no_bombs, Image.open(path) as picture:
            if picture.mode in EIGHT_BITS and max(picture.size) <= MAX_SIDE:
                as_is = numbers and picture.mode == "P"
                return np.asarray(picture if as_is else picture.convert("L"))
    except (OSError, SyntaxError, ValueError, *BOMBS) as error:
        raise InputError(f"{path}: cannot be read as an image ({error}); convert again.") from error
    raise InputError(
        f"{path}: more than 8 bits a pixel ('{picture.mode}') or {MAX_SIDE} pixels a side; give an "
        "8-bit grey image of one slice, made with a window."
    )


def read_png_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a mask as (H, W) uint8 of 0 and 1, stored as 0 and 255 or as 0 and 1.

    Raises:
        InputError: another ``shape`` (H, W) than that of its image, or other numbers.
    """
    pixels = read_png(path)
    if pixels.shape != shape:
        raise InputError(
            f"{path}: mask of {pixels.shape} pixels for an image of {shape}; give its own mask."
        )
    highest = int(pixels.max())
    if highest <= 1:
        return pixels
    if highest < 128:
        numbers = read_png(path, numbers=True)  # a palette may show its 1 in any dark colour
        if not np.array_equal(numbers, pixels > 0):
            raise InputError(f"{path}: values up to {highest}; give a mask of 0 and 1, or 255.")
        return numbers
    if not np.isin(pixels, (0, 255)).all():
        guess = "(saved as JPEG?); everything from 128 up counts as lesion."
        told = f"{path}: grey values from {pixels.min()} to {highest} instead of 0 and 255 {guess}"
        warnings.warn(told, DataWarning, stacklevel=3)
    return (pixels > 127).astype(np.uint8)
