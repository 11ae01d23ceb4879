"""From a scan to a picture: one slice as an RGB frame with orientation letters and mask overlays.

Pure functions of numpy arrays, so a frame takes a few milliseconds. Taught in notebook 00.

The view is radiological: the patient's right is on the viewer's left, as if the viewer stood at the
patient's feet. In RAS order (X to the right, Y to the front, Z to the head) all three planes then
come from one formula: flip both axes of the slice and transpose it.
"""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from seg_lib.data.hu import apply_window
from seg_lib.errors import InputError
from seg_lib.lettering import WHITE, with_letters
from seg_lib.scans import Scan
from seg_lib.surfaces import bounding_box

RGB = tuple[int, int, int]

# Colours that stay apart for the three common kinds of colour blindness (a test simulates them);
# after Okabe and Ito, "Color Universal Design" (2008), lightened to stand out on a dark CT.
TRUTH: RGB = (20, 200, 150)
PREDICTION: RGB = (255, 165, 30)
FOUND: RGB = TRUTH
MISSED: RGB = (230, 85, 0)
FALSE_ALARM: RGB = (100, 120, 255)

OVERLAYS = ("outline", "filled", "heat map", "none")
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
    """All that decides what a frame shows, apart from the scan itself."""

    plane: str = "axial"  # or "coronal", "sagittal"
    index: int = 0  # slice number along the plane's axis
    window: tuple[float, float] = (-1350.0, 150.0)  # in the image's unit
    overlay: str = "outline"  # or "filled", "none", "heat map" of probabilities
    show: str = "both"  # truth and prediction; or "truth", "prediction", "difference"
    opacity: float = 0.4  # of the filled overlay, and of the heat map at probability 1
    size_px: int = 512  # longest side of the frame
    letters: bool = True  # R/L/A/P/S/I at the edges
    all_planes: bool = False  # the three planes through one voxel, with a crosshair (panes.py)

    def __post_init__(self) -> None:
        """Refuse words that mean nothing here with an ``InputError``."""
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


def position(scan: Scan, view: View) -> str:
    """Where the slice lies in the patient, such as ``z 12.5 mm``."""
    plane = PLANES[view.plane]
    mm = scan.origin_mm[plane.axis] + view.index * scan.spacing_mm[plane.axis]
    return f"{plane.position} {mm:.1f} mm"


def pixel_spacing_mm(spacing_mm: tuple[float, float, float], plane: str) -> tuple[float, float]:
    """(row, column) distance between the pixels of a plane, mm."""
    across, down = (mm for axis, mm in enumerate(spacing_mm) if axis != PLANES[plane].axis)
    return down, across


def frame_size(shape: tuple[int, int], spacing_mm: tuple[float, float], size_px: int) -> tuple:
    """(height, width) in pixels: aspect true in mm, the longest side ``size_px``."""
    sides_mm = [n * mm for n, mm in zip(shape, spacing_mm, strict=True)]
    return tuple(max(1, round(mm * size_px / max(sides_mm))) for mm in sides_mm)


def grey_levels(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Map a window to 0 (black) … ``WHITE``, uint8. NaN is black."""
    scaled = apply_window(np.ascontiguousarray(values), window)
    np.nan_to_num(scaled, copy=False)
    scaled *= WHITE
    scaled += 0.5
    return scaled.astype(np.uint8)


def outline(mask: np.ndarray, width_px: int = 1) -> np.ndarray:
    """The inner boundary of an (H, W) bool mask: its pixels that have a 4-neighbour outside it.

    What lies beyond the border of the frame counts as outside; ``width_px`` peels it again.
    """
    return mask & ~ndimage.binary_erosion(mask, iterations=width_px)


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
    masks = (("truth", truth, TRUTH), ("prediction", prediction, PREDICTION))
    return [layer for layer in masks if layer[1] is not None and show in (layer[0], "both")]


def paint(frame: np.ndarray, where: np.ndarray, colour: RGB, opacity: float = 1.0) -> None:
    """Blend ``colour`` into the pixels ``where`` of an (H, W, 3) uint8 frame, in place.

    Of what lies below, 32 levels shine through: enough to see, few enough for a palette.
    """
    below = (frame[where] & 0xF8).astype(np.float32)
    frame[where] = np.round(below + opacity * (np.float32(colour) - below)).astype(np.uint8)


@lru_cache
def heat_colours() -> np.ndarray:
    """(11, 3) uint8 for the probabilities 0, 0.1 … 1: matplotlib's "inferno", dark to bright."""
    from matplotlib import colormaps

    return np.round(colormaps["inferno"](np.linspace(0.15, 1, 11))[:, :3] * 255).astype(np.uint8)


def paint_heat(frame: np.ndarray, probability: np.ndarray, opacity: float) -> None:
    """Colour an (H, W, 3) frame in place by probabilities (h, w) from 0.05 up, in steps of 0.1.

    The surer, the less of the image shines through: ``opacity`` is reached at probability 1.
    """
    tenths = np.round(np.clip(np.nan_to_num(probability), 0, 1) * 10).astype(np.uint8)
    tenths = _resized(tenths, frame.shape[:2], Image.Resampling.NEAREST)
    for tenth, colour in enumerate(heat_colours()[1:], start=1):
        paint(frame, tenths == tenth, tuple(colour), opacity * (0.5 + tenth / 20))


def render(scan: Scan, view: View, values: np.ndarray | None = None) -> np.ndarray:
    """Draw one slice as (height, width, 3) uint8, aspect true in mm.

    ``values`` is the slice of the image (H, W) where it was read before, which takes a while: in a
    volume that is stored along z each pixel of an axial slice is another piece of memory.
    """
    values = plane_slice(scan.image, view.plane, view.index) if values is None else values
    size = frame_size(values.shape, pixel_spacing_mm(scan.spacing_mm, view.plane), view.size_px)
    grey = _resized(grey_levels(values, view.window), size, Image.Resampling.BILINEAR)
    if view.letters and not scan.is_slice:
        grey = with_letters(grey, PLANES[view.plane].edges)
    frame = np.repeat(grey[:, :, None], 3, axis=2)
    if view.overlay == "filled":
        frame &= 0xFE  # 126 grey levels leave room for the tints in a palette of 256
    truth, prediction = (
        None if mask is None else _mask_slice(mask, box, view)
        for mask, box in zip((scan.truth, scan.prediction), scan.boxes, strict=True)
    )
    if view.overlay == "heat map" and scan.probability is not None:
        paint_heat(frame, plane_slice(scan.probability, view.plane, view.index), view.opacity)
        prediction = None  # the truth is outlined on it
    painted = layers(truth, prediction, view.show) if view.overlay != "none" else ()
    for name, mask, colour in painted:
        mask = _resized_mask(mask, size) if mask.any() else mask
        box = bounding_box(mask)  # a lesion is small: work there only
        if box is None:
            continue
        if view.overlay == "filled":
            paint(frame[box], mask[box], colour, view.opacity)
        else:  # the truth's line is wider, so that it shows under a prediction that equals it
            width_px = (2 if view.size_px >= 400 else 1) + (name == "truth")
            paint(frame[box], outline(mask[box], width_px), colour)
    return frame


def _mask_slice(mask: np.ndarray, box: tuple[slice, ...], view: View) -> np.ndarray:
    """As ``plane_slice``; reads only the box, outside of which the mask is empty."""
    axis = PLANES[view.plane].axis
    across = box[:axis] + box[axis + 1 :]
    found = np.zeros(mask.shape[:axis] + mask.shape[axis + 1 :], bool)
    if box[axis].start <= view.index < box[axis].stop:
        found[across] = np.moveaxis(mask, axis, 0)[view.index][across]
    return found[::-1, ::-1].T


def _resized(grey: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    if grey.shape == size:
        return grey
    return np.asarray(Image.fromarray(np.ascontiguousarray(grey)).resize(size[::-1], how))


def _resized_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge with sharp edges; shrink so that not even a lesion of one pixel gets lost."""
    shrinks = size[0] < mask.shape[0] or size[1] < mask.shape[1]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    return _resized(mask.astype(np.uint8) * np.uint8(255), size, how) > 0


def png_bytes(rgb: np.ndarray, compress_level: int = 1) -> bytes:
    """Encode an (H, W, 3) uint8 frame as PNG, without loss.

    A frame with at most 256 colours (``render`` sees to that) is stored as one byte a pixel with a
    palette: half the bytes.
    """
    picture = Image.fromarray(rgb)
    colours = picture.getcolors(256)  # None where there are more
    if colours is not None:
        palette = np.array(sorted(colour for _, colour in colours), np.uint32)
        weights = np.array([65536, 256, 1], np.uint32)
        number_of = np.zeros(2**24, np.uint8)
        number_of[palette @ weights] = np.arange(len(palette))
        picture = Image.fromarray(number_of[rgb @ weights])
        picture.putpalette(palette.astype(np.uint8).tobytes())
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=compress_level)
    return stream.getvalue()
