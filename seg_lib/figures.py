"""Figures of the course: pictures here, charts in charts.py, their common look in figure_style.py.

Every function returns a Figure and shows nothing by itself.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.ndimage import distance_transform_edt

from seg_lib.errors import InputError
from seg_lib.figure_style import STYLE, new_figure
from seg_lib.rendering import PLANES, View, layers, position, render
from seg_lib.scans import Scan, find_lesions, open_scan, window_limits

COLUMNS = 6  # of small slices in a contact sheet


@matplotlib.rc_context(STYLE)
def overlay_panel(
    images: Sequence[Any],
    truths: Sequence[Any] | None = None,
    predictions: Sequence[Any] | None = None,
    titles: Sequence[str] | None = None,
    window: str | tuple[float, float] | None = None,
) -> Figure:
    """One row a case: the image, the truth on it, the prediction with the truth on it.

    Images, masks and predictions (or probabilities) are (H, W) or (1, H, W) each, or one
    (N, 1, H, W) array; HU, uint8 or [0, 1]. None leaves its column out. ``titles`` are one a row,
    ``window`` is an HU window by name or limits.

    Raises:
        InputError: the lists differ in length, or a mask in shape.
    """
    given = {"image": images, "truth": truths, "prediction": predictions}
    columns = [name for name, values in given.items() if values is not None]
    scans = _scans(given, titles)
    figure = new_figure(2.3 * len(columns) + 0.3, 2.3 * len(scans) + 0.5)
    panels = figure.subplots(len(scans), len(columns), squeeze=False)
    for row, scan in enumerate(scans):
        limits = window_limits(window or scan.default_window)
        for axes, name in zip(panels[row], columns, strict=True):
            overlay = "none" if name == "image" else "outline"
            show = "truth" if name == "truth" else "both"
            title = name if row == 0 else ""
            _picture(axes, scan, View(window=limits, overlay=overlay, show=show), title)
        panels[row][0].set_ylabel("" if titles is None else titles[row])
    _legend(figure, scan)
    return figure


@matplotlib.rc_context(STYLE)
def contact_sheet(
    volume: Any,
    mask: Any = None,
    prediction: Any = None,
    spacing_mm: Sequence[float] | None = None,
    window: str | tuple[float, float] | None = None,
    n_slices: int = 12,
) -> Figure:
    """A whole scan on one sheet: three planes through the first lesion, then axial slices.

    Takes what ``SliceViewer`` takes. ``n_slices`` of the slices that show a lesion, and their
    neighbours, are spread evenly. A 2D image stands alone.

    Raises:
        InputError: as ``SliceViewer``.
    """
    scan = open_scan(volume, mask, prediction, spacing_mm)
    limits = window_limits(window or scan.default_window)
    if scan.is_slice:
        figure = new_figure(4.6, 4.8)
        _picture(figure.subplots(), scan, View(window=limits))
        _legend(figure, scan)
        return figure
    numbers, voxel = _slices_to_show(scan, n_slices)
    n_rows = -(-len(numbers) // COLUMNS)
    figure = new_figure(9.0, 3.4 + 1.6 * n_rows)
    top, bottom = figure.subfigures(2, 1, height_ratios=(3.2, 1.6 * n_rows + 0.01))
    planes = [View(name, voxel[PLANES[name].axis], limits, size_px=300) for name in PLANES]
    for axes, view in zip(top.subplots(1, 3), planes, strict=True):
        _picture(axes, scan, view, f"{view.plane}, {position(scan, view)}", fontsize=8.5, pad=3)
    slices = [View("axial", z, limits, size_px=256, letters=False) for z in numbers]
    for axes, view in zip(bottom.subplots(n_rows, COLUMNS).flat, slices, strict=False):
        _picture(axes, scan, view, position(scan, view), fontsize=8.5, pad=3)
    for axes in bottom.axes[len(numbers) :]:
        axes.set_axis_off()
    _legend(figure, scan)
    return figure


@matplotlib.rc_context(STYLE)
def grid_of_images(
    images: Sequence[Any],
    masks: Sequence[Any] | None = None,
    titles: Sequence[str] | None = None,
    n_columns: int = 5,
    window: str | tuple[float, float] | None = None,
) -> Figure:
    """Images in rows of ``n_columns``, each with its mask outlined: augmented copies, for example.

    Images are (H, W) or (1, H, W) each; HU, uint8 or [0, 1]. ``window`` is an HU window by name or
    limits.

    Raises:
        InputError: the lists differ in length, or a mask in shape.
    """
    scans = _scans({"images": images, "masks": masks}, titles)
    n_rows = -(-len(scans) // n_columns)
    figure = new_figure(1.8 * n_columns, (1.8 if titles is None else 2.05) * n_rows)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for number, scan in enumerate(scans):
        view = View(window=window_limits(window or scan.default_window), size_px=320)
        _picture(panels[number], scan, view, "" if titles is None else titles[number], fontsize=9)
    for axes in panels[len(scans) :]:
        axes.set_axis_off()
    return figure


def _scans(given: dict[str, Sequence[Any] | None], titles: Sequence[str] | None) -> list[Scan]:
    """One scan a row of the lists of images, truths and predictions, if their lengths agree."""
    lists = {name: part for name, part in {**given, "titles": titles}.items() if part is not None}
    lengths = {name: len(part) for name, part in lists.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise InputError(f"{lengths}: give lists of one length, at least one image.")
    rows = range(max(lengths.values()))
    return [open_scan(*(_slice(part, row) for part in given.values())) for row in rows]


def _slice(arrays: Sequence[Any] | None, number: int) -> np.ndarray | None:
    """One of several (H, W) or (1, H, W), as (H, W)."""
    if arrays is None:
        return None
    array = np.asarray(arrays[number])
    return array[0] if array.ndim == 3 and array.shape[0] == 1 else array


def _slices_to_show(scan: Scan, n_slices: int) -> tuple[list[int], tuple[int, int, int]]:
    """Numbers of axial slices, those with lesion first, and the voxel for the three planes."""
    lesions = find_lesions(scan.marked)
    near = scan.marked.any(axis=(0, 1)) if lesions else np.ones(scan.image.shape[2], bool)
    nearest_first = np.argsort(distance_transform_edt(~near), kind="stable")
    candidates = np.sort(nearest_first[: max(n_slices, near.sum())])
    chosen = np.linspace(0, len(candidates) - 1, min(n_slices, len(candidates))).round().astype(int)
    return candidates[chosen].tolist(), lesions[0].peak if lesions else scan.centre


def _picture(axes: Axes, scan: Scan, view: View, title: str = "", **look: Any) -> None:
    axes.imshow(render(scan, view), interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_title(title, **look)


def _legend(figure: Figure, scan: Scan) -> None:
    """Name the outlines that the figure holds, below it."""
    drawn = [
        Patch(color=tuple(part / 255 for part in colour), label=words)
        for words, _, colour in layers(scan.truth, scan.prediction, "both")
    ]
    if drawn:
        figure.legend(handles=drawn, loc="outside lower center", ncols=len(drawn))
