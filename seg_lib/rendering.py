"""From a scan to a picture: one slice as an RGB frame with orientation letters and mask overlays.

Pure functions of numpy arrays; no widget and no matplotlib, so a frame takes a few milliseconds and
a test can look at every pixel. Taught in notebook 00.

The view is radiological: the patient's right is on the viewer's left, as if the viewer stood at the
patient's feet. In RAS order (X to the right, Y to the front, Z to the head) all three planes then
come from one formula: flip both axes of the slice and transpose it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seg_lib.data.hu import apply_window
from seg_lib.errors import InputError
from seg_lib.scans import Scan

RGB = tuple[int, int, int]

# Colours that stay apart for the three common kinds of colour blindness (a test simulates them);
# after Okabe and Ito, "Color Universal Design" (2008), lightened to stand out on a dark CT.
TRUTH: RGB = (20, 200, 150)
PREDICTION: RGB = (255, 165, 30)
FOUND: RGB = TRUTH
MISSED: RGB = (230, 85, 0)
FALSE_ALARM: RGB = (100, 120, 255)

WHITE = 250  # not 255: leaves palette entries for the overlay colours, see png.py

OVERLAYS = ("outline", "filled", "none")
SHOWS = ("both", "truth", "prediction", "difference")


@dataclass(frozen=True)
class Plane:
    """How one of the three planes cuts the volume."""

    axis: int  # of (X, Y, Z), along which the slices are stacked
    edges: str  # the letters at the left, right, top and bottom edge
    position: str  # what the millimetres along the axis are called


PLANES = {
    "axial": Plane(2, "RLAP", "z"),
    "coronal": Plane(1, "RLSI", "y"),
    "sagittal": Plane(0, "APSI", "x"),
}


@dataclass(frozen=True)
class View:
    """All that decides what a frame shows, apart from the scan itself.

    Attributes:
        plane: "axial", "coronal" or "sagittal".
        index: slice number along the plane's axis, from 0.
        window: (low, high) in the image's unit.
        overlay: "outline", "filled" or "none".
        show: "both" (truth and prediction), "truth", "prediction" or "difference".
        opacity: of the filled overlay, 0 to 1.
        size_px: longest side of the frame.
        letters: draw R/L/A/P/S/I at the edges.

    Raises:
        InputError: a plane, an overlay or something to show that does not exist.
    """

    plane: str = "axial"
    index: int = 0
    window: tuple[float, float] = (-1350.0, 150.0)
    overlay: str = "outline"
    show: str = "both"
    opacity: float = 0.4
    size_px: int = 512
    letters: bool = True

    def __post_init__(self) -> None:
        """Refuse words that mean nothing here."""
        allowed = {"plane": tuple(PLANES), "overlay": OVERLAYS, "show": SHOWS}
        for name, words in allowed.items():
            if getattr(self, name) not in words:
                raise InputError(f"{name} {getattr(self, name)!r}: choose {', '.join(words)}.")


def plane_slice(volume: np.ndarray, plane: str, index: int) -> np.ndarray:
    """One slice of an (X, Y, Z) RAS volume as a (H, W) view, radiological, without copying.

    Axial: row 0 is anterior. Coronal and sagittal: row 0 is superior. Column 0 is the patient's
    right (axial, coronal) or anterior (sagittal).

    Raises:
        InputError: ``index`` outside the volume.
    """
    axis = PLANES[plane].axis
    if not 0 <= index < volume.shape[axis]:
        raise InputError(f"{plane} slice {index}: choose 0 to {volume.shape[axis] - 1}.")
    return np.moveaxis(volume, axis, 0)[index][::-1, ::-1].T


def pixel_spacing_mm(spacing_mm: tuple[float, float, float], plane: str) -> tuple[float, float]:
    """(row, column) distance between the pixels of a plane, mm."""
    across, down = (mm for axis, mm in enumerate(spacing_mm) if axis != PLANES[plane].axis)
    return down, across


def frame_size(shape: tuple[int, int], spacing_mm: tuple[float, float], size_px: int) -> tuple:
    """(height, width) in pixels: aspect true in mm, the longest side ``size_px``."""
    height_mm, width_mm = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    scale = size_px / max(height_mm, width_mm)
    return max(1, round(height_mm * scale)), max(1, round(width_mm * scale))


def grey_levels(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Map a window to 0 (black) … ``WHITE``, uint8. NaN is black."""
    scaled = np.nan_to_num(apply_window(values, window), copy=False)
    scaled *= WHITE
    scaled += 0.5
    return scaled.astype(np.uint8)


def outline(mask: np.ndarray, width_px: int = 1) -> np.ndarray:
    """The inner boundary of a mask: its pixels that have a 4-neighbour outside it.

    Args:
        mask: (H, W) bool. What lies beyond the border of the frame counts as outside.
        width_px: how often to peel the mask; 1 gives a line one pixel wide.
    """
    inner = mask
    for _ in range(width_px):
        wide = np.pad(inner, 1)
        inner = inner & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inner


def layers(
    truth: np.ndarray | None, prediction: np.ndarray | None, show: str
) -> list[tuple[str, np.ndarray, RGB]]:
    """What to paint, in painting order: (words for the legend, mask, colour)."""
    if show == "difference" and truth is not None and prediction is not None:
        return [
            ("found", truth & prediction, FOUND),
            ("missed", truth & ~prediction, MISSED),
            ("false alarm", prediction & ~truth, FALSE_ALARM),
        ]
    painted = []
    if truth is not None and show in ("truth", "both"):
        painted.append(("truth", truth, TRUTH))
    if prediction is not None and show in ("prediction", "both"):
        painted.append(("prediction", prediction, PREDICTION))
    return painted


def paint(frame: np.ndarray, where: np.ndarray, colour: RGB, opacity: float = 1.0) -> None:
    """Blend ``colour`` into the pixels ``where`` of an (H, W, 3) uint8 frame, in place.

    Of what lies below, 32 levels shine through: enough to see, few enough for a palette.
    """
    below = (frame[where] & 0xF8).astype(np.float32)
    frame[where] = np.round(below + opacity * (np.float32(colour) - below)).astype(np.uint8)


def render(scan: Scan, view: View) -> np.ndarray:
    """Draw one slice.

    Returns:
        (height, width, 3) uint8, longest side ``view.size_px``, aspect true in mm.

    Taught in notebook 00.
    """
    values = plane_slice(scan.image, view.plane, view.index)
    size = frame_size(values.shape, pixel_spacing_mm(scan.spacing_mm, view.plane), view.size_px)
    grey = _resized(grey_levels(values, view.window), size, Image.Resampling.BILINEAR)
    if view.letters and not scan.is_slice:
        grey = _with_letters(grey, PLANES[view.plane].edges)
    frame = np.repeat(grey[:, :, None], 3, axis=2)
    if view.overlay != "none":
        masks = (
            None if mask is None else plane_slice(mask, view.plane, view.index)
            for mask in (scan.truth, scan.prediction)
        )
        _overlay(frame, layers(*masks, view.show), view)
    return frame


def _overlay(frame: np.ndarray, painted: list[tuple[str, np.ndarray, RGB]], view: View) -> None:
    """Paint the layers over the frame, in place."""
    if view.overlay == "filled":
        frame &= 0xFE  # 126 grey levels leave room for the tints in a palette of 256
    for name, mask, colour in painted:
        if not mask.any():
            continue
        mask = _resized_mask(mask, frame.shape[:2])
        box = tuple(_span(mask, axis) for axis in range(2))  # a lesion is small: work there only
        mask = mask[box]
        if view.overlay == "filled":
            paint(frame[box], mask, colour, view.opacity)
        else:  # the truth's line is wider, so that it shows under a prediction that equals it
            width_px = (2 if view.size_px >= 400 else 1) + (name == "truth")
            paint(frame[box], outline(mask, width_px), colour)


def _span(mask: np.ndarray, axis: int) -> slice:
    filled = np.flatnonzero(mask.any(axis=1 - axis))
    return slice(filled[0], filled[-1] + 1)


def _resized(grey: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    if grey.shape == size:
        return grey
    return np.asarray(Image.fromarray(np.ascontiguousarray(grey)).resize(size[::-1], how))


def _resized_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge with sharp edges; shrink so that not even a lesion of one pixel gets lost."""
    shrinks = size[0] < mask.shape[0] or size[1] < mask.shape[1]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    return _resized(mask.astype(np.uint8) * np.uint8(255), size, how) > 0


def _with_letters(grey: np.ndarray, edges: str) -> np.ndarray:
    """Write the four letters at the middle of the left, right, top and bottom edge."""
    height, width = grey.shape
    font_px = max(14, max(height, width) // 26)
    gap = font_px * 0.8
    middle_x, middle_y = width / 2, height / 2
    spots = ((gap, middle_y), (width - gap, middle_y), (middle_x, gap), (middle_x, height - gap))
    picture = Image.fromarray(grey)
    pen = ImageDraw.Draw(picture)
    ink = {"fill": WHITE, "stroke_fill": 0, "stroke_width": 1}
    for letter, spot in zip(edges, spots, strict=True):
        pen.text(spot, letter, font=_font(font_px), anchor="mm", **ink)
    return np.asarray(picture)


@lru_cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size_px)
