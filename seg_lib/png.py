"""PNG files that stay small: without loss for a frame on screen, in 256 colours for a figure.

Committed notebooks may weigh 400 kB with all their pictures, and a viewer that sends 20 frames a
second must not send half a megabyte each.
"""

import io

import numpy as np
from PIL import Image


def png_bytes(rgb: np.ndarray, compress_level: int = 1) -> bytes:
    """Encode an (H, W, 3) uint8 frame as PNG, without loss.

    A frame with at most 256 colours (``rendering.render`` sees to that) is stored as one byte a
    pixel with a palette: about half the bytes in a third of the time of three bytes a pixel.
    """
    stream = io.BytesIO()
    picture = _with_palette(rgb) or Image.fromarray(rgb)
    picture.save(stream, "PNG", compress_level=compress_level)
    return stream.getvalue()


def fewer_colours(rgb: np.ndarray, n_greys: int) -> np.ndarray:
    """The same picture in at most 256 colours, of which ``n_greys`` are grey.

    The coloured pixels (few in a CT, but what it is all about) share the rest of the palette.
    """
    coloured = _coloured(rgb)
    steps = np.round(np.linspace(0, 255, n_greys)).astype(np.uint8)
    result = steps[np.round(rgb * np.float32((n_greys - 1) / 255)).astype(np.uint8)]
    if coloured.any():
        strip = Image.fromarray(rgb[coloured][None])
        strip = strip.quantize(256 - n_greys, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        result[coloured] = np.asarray(strip.convert("RGB"))[0]
    return result


def _coloured(rgb: np.ndarray) -> np.ndarray:
    green = rgb[:, :, 1]
    return (rgb[:, :, 0] != green) | (rgb[:, :, 2] != green)


def _with_palette(rgb: np.ndarray) -> Image.Image | None:
    """The same frame with a palette (greys first), or None where it has more than 256 colours."""
    green = rgb[:, :, 1]
    coloured = _coloured(rgb)
    codes = rgb[coloured].astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    colours, numbers = np.unique(codes, return_inverse=True)
    greys = np.flatnonzero(np.bincount(green[~coloured], minlength=256)).astype(np.uint8)
    if len(greys) + len(colours) > 256:
        return None
    number_of_grey = np.zeros(256, np.uint8)
    number_of_grey[greys] = np.arange(len(greys))
    indices = number_of_grey[green]
    indices[coloured] = len(greys) + numbers
    picture = Image.fromarray(indices)
    big_endian = colours.astype(">u4").view(np.uint8).reshape(-1, 4)  # 0, red, green, blue
    picture.putpalette(np.repeat(greys, 3).tobytes() + big_endian[:, 1:].tobytes())
    return picture
