"""Figures of the course: pictures here, charts in charts.py, their common look in figure_style.py.

Truth is green and a prediction is orange wherever they appear. Every function returns a Figure and
shows nothing by itself. Taught in the notebooks from 00 on.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.ndimage import distance_transform_edt

from seg_lib.charts import dice_by_size, dice_strip, hu_histogram, loss_curve, markdown_table
from seg_lib.errors import InputError
from seg_lib.figure_style import STYLE, figure_png, hex_of, new_figure, save_figure
from seg_lib.rendering import PLANES, View, layers, render
from seg_lib.scans import Scan, find_lesions, open_scan, window_limits

__all__ = [
    "contact_sheet",
    "dice_by_size",
    "dice_strip",
    "figure_png",
    "grid_of_images",
    "hu_histogram",
    "loss_curve",
    "markdown_table",
    "overlay_panel",
    "save_figure",
]

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

    Args:
        images: (H, W) or (1, H, W) each, or one (N, 1, H, W) array; HU, uint8 or [0, 1].
        truths: masks of the same shapes, or None for no such column.
        predictions: masks or probability maps of the same shapes, or None for no such column.
        titles: one a row, for example case and Dice.
        window: HU window by name or limits.

    Returns:
        The figure.

    Raises:
        InputError: the lists differ in length, or a mask in shape.

    Taught in notebook 06.
    """
    given = {"image": images, "truth": truths, "prediction": predictions}
    columns = {name: values for name, values in given.items() if values is not None}
    _check_lengths({**given, "titles": titles})
    figure = new_figure(2.3 * len(columns) + 0.3, 2.3 * len(images) + 0.5)
    panels = figure.subplots(len(images), len(columns), squeeze=False)
    for row, image in enumerate(images):
        scan = open_scan(_slice(image), _slice_of(truths, row), _slice_of(predictions, row))
        limits = window_limits(window or scan.default_window)
        for axes, name in zip(panels[row], columns, strict=True):
            overlay = "none" if name == "image" else "outline"
            show = "truth" if name == "truth" else "both"
            _picture(axes, render(scan, View(window=limits, overlay=overlay, show=show)))
            if row == 0:
                axes.set_title(name)
        if titles is not None:
            panels[row][0].set_ylabel(titles[row])
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

    Args:
        volume: what ``SliceViewer`` takes: (X, Y, Z) HU, (H, W), a path, a ``Case``, a ``Scan``.
        mask: truth on the same grid, or None.
        prediction: on the same grid, or None.
        spacing_mm: voxel size, one number an axis.
        window: HU window by name or limits; the lung window where none is named.
        n_slices: how many axial slices: those that show a lesion and their neighbours, spread
            evenly where there are more. A 2D image stands alone.

    Returns:
        The figure.

    Raises:
        InputError: as ``SliceViewer``.

    Taught in notebook 00.
    """
    scan = open_scan(volume, mask, prediction, spacing_mm)
    limits = window_limits(window or scan.default_window)
    if scan.is_slice:
        return _single_picture(scan, limits)
    numbers, position = _slices_to_show(scan, n_slices)
    n_rows = -(-len(numbers) // COLUMNS)
    figure = new_figure(9.0, 3.4 + 1.6 * n_rows)
    top, bottom = figure.subfigures(2, 1, height_ratios=(3.2, 1.6 * n_rows + 0.01))
    for axes, plane in zip(top.subplots(1, 3), PLANES, strict=True):
        view = View(plane, position[PLANES[plane].axis], limits, size_px=300)
        _slice_picture(axes, scan, view, plane + ", ")
    for axes, z in zip(bottom.subplots(n_rows, COLUMNS).flat, numbers, strict=False):
        _slice_picture(axes, scan, View("axial", z, limits, size_px=256, letters=False))
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

    Args:
        images: (H, W) or (1, H, W) each; HU, uint8 or [0, 1].
        masks: of the same shapes, or None.
        titles: one an image, or None.
        n_columns: images in a row.
        window: HU window by name or limits.

    Returns:
        The figure.

    Raises:
        InputError: the lists differ in length, or a mask in shape.

    Taught in notebook 04.
    """
    _check_lengths({"images": images, "masks": masks, "titles": titles})
    n_rows = -(-len(images) // n_columns)
    figure = new_figure(1.8 * n_columns, (1.8 if titles is None else 2.05) * n_rows)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for number, image in enumerate(images):
        scan = open_scan(_slice(image), _slice_of(masks, number))
        view = View(window=window_limits(window or scan.default_window), size_px=320)
        _picture(panels[number], render(scan, view))
        if titles is not None:
            panels[number].set_title(titles[number], fontsize=9)
    for axes in panels[len(images) :]:
        axes.set_axis_off()
    return figure


def _single_picture(scan: Scan, limits: tuple[float, float]) -> Figure:
    figure = new_figure(4.6, 4.8)
    _picture(figure.subplots(), render(scan, View(window=limits)))
    _legend(figure, scan)
    return figure


def _slices_to_show(scan: Scan, n_slices: int) -> tuple[list[int], tuple[int, int, int]]:
    """Numbers of axial slices, those with lesion first, and the voxel for the three planes."""
    marked = scan.prediction if scan.truth is None else scan.truth
    lesions = [] if marked is None else find_lesions(marked)
    near = marked.any(axis=(0, 1)) if lesions else np.ones(scan.image.shape[2], bool)
    nearest_first = np.argsort(distance_transform_edt(~near), kind="stable")
    candidates = np.sort(nearest_first[: max(n_slices, near.sum())])
    chosen = np.linspace(0, len(candidates) - 1, min(n_slices, len(candidates))).round().astype(int)
    return candidates[chosen].tolist(), lesions[0].peak if lesions else scan.centre


def _slice_picture(axes: Axes, scan: Scan, view: View, words: str = "") -> None:
    plane = PLANES[view.plane]
    mm = scan.origin_mm[plane.axis] + view.index * scan.spacing_mm[plane.axis]
    _picture(axes, render(scan, view))
    axes.set_title(f"{words}{plane.position} {mm:.1f} mm", fontsize=8.5, pad=3)


def _picture(axes: Axes, frame: np.ndarray) -> None:
    axes.imshow(frame, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _legend(figure: Figure, scan: Scan) -> None:
    """Name the outlines that the figure holds, below it."""
    drawn = [(words, colour) for words, _, colour in layers(scan.truth, scan.prediction, "both")]
    if drawn:
        patches = [Patch(color=hex_of(colour), label=words) for words, colour in drawn]
        figure.legend(handles=patches, loc="outside lower center", ncols=len(drawn))


def _slice(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array[0] if array.ndim == 3 and array.shape[0] == 1 else array


def _slice_of(arrays: Sequence[Any] | None, number: int) -> np.ndarray | None:
    return None if arrays is None else _slice(arrays[number])


def _check_lengths(lists: dict[str, Sequence[Any] | None]) -> None:
    lengths = {name: len(values) for name, values in lists.items() if values is not None}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise InputError(f"{lengths}: give lists of one length, at least one image.")
