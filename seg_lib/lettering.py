"""Words on a picture: the letters of the patient's sides, and the name of a pane."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WHITE = 250  # not 255: leaves palette entries for the overlay colours, see rendering.png_bytes


def with_letters(grey: np.ndarray, edges: str) -> np.ndarray:
    """Write the four letters at the middle of the left, right, top and bottom edge of (H, W)."""
    height, width = grey.shape
    font_px = max(14, max(height, width) // 26)
    gap = font_px * 0.8
    middle_x, middle_y = width / 2, height / 2
    spots = ((gap, middle_y), (width - gap, middle_y), (middle_x, gap), (middle_x, height - gap))
    picture = Image.fromarray(grey)
    for letter, spot in zip(edges, spots, strict=True):
        _write(picture, letter, spot, font_px, "mm")
    return np.asarray(picture)


def with_title(frame: np.ndarray, title: str) -> np.ndarray:
    """Write a name into the upper left corner of (H, W, 3)."""
    picture = Image.fromarray(frame)
    font_px = max(14, max(frame.shape) // 26)
    _write(picture, title, (font_px * 0.4, font_px * 0.4), font_px, "la")
    return np.asarray(picture)


def _write(picture: Image.Image, words: str, spot: tuple, font_px: int, anchor: str) -> None:
    white, black = (WHITE, 0) if picture.mode == "L" else ((WHITE,) * 3, (0, 0, 0))
    ink = {"fill": white, "stroke_fill": black, "stroke_width": 1}
    ImageDraw.Draw(picture).text(spot, words, font=_font(font_px), anchor=anchor, **ink)


@lru_cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size_px)
