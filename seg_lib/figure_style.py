"""The look of every figure of the course, and how figures become small PNG files.

Figures are made without pyplot: nothing is shown twice, nothing has to be closed, and no global
state is left behind. A notebook shows the figure that a cell returns.
"""

import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from seg_lib.errors import InputError
from seg_lib.files import written_whole
from seg_lib.rendering import png_bytes

DPI = 150
SIZES = ((1, 160), (1, 80), (1, 48), (0.8, 64), (0.65, 64))  # (part of the dots, greys) to try
LIMIT_BYTES = 150_000  # committed notebooks may weigh 400 kB with all their figures

# Okabe and Ito, "Color Universal Design" (2008): told apart with any common colour blindness.
SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
STYLE = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "image.cmap": "gray",
    "axes.prop_cycle": matplotlib.cycler(color=SERIES),
}


class CourseFigure(Figure):
    """A matplotlib figure that a notebook shows as a small PNG."""

    def _repr_png_(self) -> bytes:
        return figure_png(self)


def new_figure(width_in: float, height_in: float) -> CourseFigure:
    """An empty figure of this size in inches; call it inside ``rc_context(STYLE)``."""
    figure = CourseFigure(figsize=(width_in, height_in), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    return figure


def fewer_colours(rgb: np.ndarray, n_greys: int) -> np.ndarray:
    """The same (H, W, 3) uint8 picture in at most 256 colours, of which ``n_greys`` are grey.

    The coloured pixels (few in a CT, but what it is all about) share the rest of the palette.
    """
    coloured = (rgb != rgb[:, :, :1]).any(axis=2)
    steps = np.round(np.linspace(0, 255, n_greys)).astype(np.uint8)
    result = steps[np.round(rgb * np.float32((n_greys - 1) / 255)).astype(np.uint8)]
    if coloured.any():
        strip = Image.fromarray(rgb[coloured][None])
        strip = strip.quantize(256 - n_greys, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        result[coloured] = np.asarray(strip.convert("RGB"))[0]
    return result


def figure_png(figure: Figure, limit_bytes: int = LIMIT_BYTES, dpi: int = DPI) -> bytes:
    """A figure as PNG in at most 256 colours, and in fewer dots where it would be too large.

    Where even the fewest dots miss ``limit_bytes``, they are returned all the same.
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, pil_kwargs={"compress_level": 0})
    drawn = Image.open(stream).convert("RGB")
    for share, n_greys in SIZES:
        size = (round(drawn.width * share), round(drawn.height * share))
        picture = drawn if share == 1 else drawn.resize(size, Image.Resampling.LANCZOS)
        small = png_bytes(fewer_colours(np.asarray(picture), n_greys), compress_level=6)
        if len(small) <= limit_bytes:
            break
    return small


def save_figure(figure: Figure, path: str | Path, limit_bytes: int = LIMIT_BYTES) -> Path:
    """Write a matplotlib figure to a PNG file, whole or not at all; returns the path.

    Raises:
        InputError: the figure shows nothing, or ``path`` is no PNG or cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: figures are saved as PNG; end the name with .png.")
    if not any(_shows_something(axes) for axes in figure.axes):
        raise InputError(f"{path}: the figure shows nothing; draw into it before it is saved.")
    with written_whole(path) as part:
        part.write_bytes(figure_png(figure, limit_bytes))
    return path


def _shows_something(axes: matplotlib.axes.Axes) -> bool:
    """True if there is a line, a bar, a point or an image with more than one value."""
    lines = any(np.isfinite(line.get_xydata()).all(axis=1).any() for line in axes.lines)
    images = any(np.ptp(np.asarray(image.get_array())) > 0 for image in axes.images)
    return lines or images or bool(axes.patches) or bool(axes.collections)
