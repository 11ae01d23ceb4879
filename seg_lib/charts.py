"""Charts and tables of results: losses, Dice by method and by size, histograms."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from seg_lib.errors import InputError
from seg_lib.figure_style import SERIES, STYLE, new_figure
from seg_lib.resampling import bootstrap_interval
from seg_lib.scans import window_limits

GOLDEN = 0.618034  # multiples of it, modulo 1, spread points evenly without a random number

NAMES = {"dice": "Dice", "iou": "IoU"}
Rows = Sequence[Mapping[str, Any]]


@matplotlib.rc_context(STYLE)
def loss_curve(history: Rows, rate: bool = False) -> Figure:
    """Losses over the epochs; beside them the validation Dice, if any, and the ``rate`` if asked.

    ``history`` is what ``fit`` returns: a dict an epoch with ``epoch``, ``loss``, ``lr`` (learning
    rate of its last step) and, in the epochs that were validated, ``val_loss`` and ``dice``.

    Raises:
        InputError: the history is empty, or has no ``lr`` and its curve is asked for.
    """
    if not history:
        raise InputError("history: is empty; train for at least one epoch before drawing it.")
    has_dice = any("dice" in row for row in history)
    n_panels = 1 + has_dice + rate
    figure = new_figure((4.5, 8.0, 11.0)[n_panels - 1], 3.2)
    panels = figure.subplots(1, n_panels, squeeze=False, sharex=True)[0]
    _over_epochs(panels[0], history, "loss", "training", SERIES[0])
    _over_epochs(panels[0], history, "val_loss", "validation", SERIES[1])
    panels[0].set(xlabel="epoch", ylabel="loss")
    panels[0].set_ylim(bottom=min(0.0, panels[0].get_ylim()[0]))
    panels[0].legend()
    if has_dice:
        _over_epochs(panels[1], history, "dice", "validation Dice", SERIES[1])
        panels[1].set(xlabel="epoch", ylabel="Dice on validation cases", ylim=(0, 1))
    if rate:
        top = 1.05 * _column(history, "lr", "history").max()
        _over_epochs(panels[-1], history, "lr", "learning rate", SERIES[2])
        panels[-1].set(xlabel="epoch", ylabel="learning rate, end of the epoch", ylim=(0, top))
    return figure


def _over_epochs(axes: Axes, history: Rows, key: str, label: str, colour: str) -> None:
    points = [
        (row.get("epoch", number), row[key])
        for number, row in enumerate(history, start=1)
        if row.get(key) is not None
    ]
    if points:
        few = "o" if len(points) <= 30 else None
        axes.plot(*zip(*points, strict=True), marker=few, ms=4, color=colour, label=label)
        axes.xaxis.get_major_locator().set_params(integer=True)


@matplotlib.rc_context(STYLE)
def dice_strip(rows_by_method: Mapping[str, Rows], metric: str = "dice") -> Figure:
    """Every case as a point, and the mean with its 95 % interval, one line a method.

    Rows are those of ``evaluate_cases``, ``metric`` is the column to show. The interval is a
    bootstrap over patients where the rows name them.

    Raises:
        InputError: no method, or rows without this column.
    """
    if not rows_by_method:
        raise InputError("rows_by_method: is empty; give the rows of at least one method.")
    figure = new_figure(7.0, 0.9 + 0.62 * len(rows_by_method))
    axes = figure.subplots()
    for line, (method, rows) in enumerate(rows_by_method.items()):
        colour = SERIES[line % len(SERIES)]
        values = _column(rows, metric, method)
        jitter = (np.arange(len(values)) * GOLDEN % 1 - 0.5) * 0.34
        axes.plot(values, line + jitter, "o", ms=5, color=colour, alpha=0.45, mew=0)
        mean, low, high = _mean_and_interval(rows, metric)
        error = [[mean - low], [high - mean]]
        axes.errorbar(mean, line, xerr=error, fmt="D", color="black", capsize=4, lw=1.6)
        words = f"{mean:.2f} [{low:.2f}, {high:.2f}], n = {len(values)}"
        axes.annotate(words, (1.01, line), xycoords=("axes fraction", "data"), va="center")
    axes.set_yticks(range(len(rows_by_method)), rows_by_method)
    axes.set_ylim(len(rows_by_method) - 0.5, -0.5)
    axes.set_xlabel(f"{NAMES.get(metric, metric)}: cases, mean and 95 % interval")
    axes.grid(axis="y", visible=False)
    if metric in NAMES:
        axes.set_xlim(-0.02, 1.02)
    return figure


@matplotlib.rc_context(STYLE)
def dice_by_size(rows: Rows, metric: str = "dice") -> Figure:
    """The score of each case over the volume of its lesion, with the mean of each size third.

    Rows are those of ``evaluate_cases`` with ``reference_volume_ml``; those without lesion are left
    out. ``metric`` is the column to show.

    Raises:
        InputError: no row has a lesion, or rows without these columns.
    """
    _column(rows, metric, "rows")
    volumes = _column(rows, "reference_volume_ml", "rows")
    order = np.argsort(volumes, kind="stable")
    order = order[volumes[order] > 0]
    if not len(order):
        raise InputError("rows: no case has a lesion; give at least one with a reference volume.")
    sized, volumes = [rows[number] for number in order], volumes[order]
    figure = new_figure(6.0, 3.6)
    axes = figure.subplots()
    scores = _column(sized, metric, "rows")
    axes.plot(volumes, scores, "o", color=SERIES[0], alpha=0.55, mew=0)
    for third in np.array_split(np.arange(len(sized)), min(3, len(sized))):
        mean, low, high = _mean_and_interval([sized[number] for number in third], metric)
        span = volumes[third[[0, -1]]]
        axes.fill_between(span, low, high, color=SERIES[1], alpha=0.25, lw=0)
        axes.plot(span, (mean, mean), color=SERIES[1], lw=2.5)
    axes.set(xscale="log", xlabel="lesion volume (ml)", ylabel=NAMES.get(metric, metric))
    top = axes.secondary_xaxis("top", functions=(_diameter_mm, _volume_ml))
    top.set_xlabel("diameter of a ball of this volume (mm)")
    low, high = axes.get_xlim()
    _plain_numbers(axes.xaxis, low, high)
    _plain_numbers(top.xaxis, _diameter_mm(low), _diameter_mm(high))
    if metric in NAMES:
        axes.set_ylim(-0.02, 1.02)
    return figure


@matplotlib.rc_context(STYLE)
def hu_histogram(
    volumes: Mapping[str, np.ndarray] | np.ndarray, window: str | tuple[float, float] | None = None
) -> Figure:
    """How often each HU occurs, in bins of 16 HU, on a logarithmic scale.

    ``volumes`` is one HU array or name -> HU array; ``window``, by name or limits, is marked.
    """
    if not isinstance(volumes, Mapping):
        volumes = {"": volumes}
    figure = new_figure(6.5, 3.0)
    axes = figure.subplots()
    bins = np.arange(-1040, 3088, 16)
    for name, hu in volumes.items():
        inside = np.clip(np.asarray(hu, dtype=np.float32).ravel(), bins[0], bins[-1])
        weights = np.full(inside.size, 100.0 / inside.size)
        axes.hist(inside, bins, weights=weights, histtype="step", lw=1.6, label=name)
    if window is not None:
        low, high = window_limits(window)
        words = f"window {window}" if isinstance(window, str) else f"window {low:.0f} to {high:.0f}"
        axes.axvspan(low, high, color="#dddddd", alpha=0.6, lw=0, zorder=0, label=words)
    axes.set(yscale="log", xlabel="HU", ylabel="voxels (%)")
    if window is not None or len(volumes) > 1:
        axes.legend()
    return figure


def markdown_table(rows: Rows, columns: Sequence[str] | Mapping[str, str] | None = None) -> str:
    """Rows as a Markdown table: floats with three decimals, numbers aligned to the right.

    A missing or None entry is left empty, and what would be rounded to 0.000 is "< 0.001".
    ``columns`` are the keys to show, or key -> heading; the keys of the first row where None.

    Raises:
        InputError: no rows.
    """
    if not rows:
        raise InputError("rows: is empty; a table needs at least one row.")
    keys = list(rows[0] if columns is None else columns)
    headings = [columns[key] if isinstance(columns, Mapping) else key for key in keys]
    numeric = [all(isinstance(row.get(key), int | float | None) for row in rows) for key in keys]
    lines = [headings, ["--:" if right else "---" for right in numeric]]
    lines += [[_cell(row.get(key)) for key in keys] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return "< 0.001" if 0 < value < 0.0005 else f"{value:.3f}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _column(rows: Rows, name: str, whose: str) -> np.ndarray:
    if not rows or any(name not in row for row in rows):
        raise InputError(f"{whose}: needs rows that all have the column {name!r}.")
    return np.array([float(row[name]) for row in rows])


def _mean_and_interval(rows: Rows, metric: str) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval, over patients where the rows name them."""
    values = _column(rows, metric, "rows")
    patients = [row.get("patient") for row in rows]
    low, high = bootstrap_interval(values, None if None in patients else patients)
    return float(np.mean(values)), low, high


def _plain_numbers(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis with plain numbers (3, 5, 10, 20), however short it is."""
    for steps in ((1, 2, 3, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in range(-6, 7) for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 9:
            break
    if len(ticks) < 3:  # all sizes are nearly the same
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _diameter_mm(volume_ml: np.ndarray) -> np.ndarray:
    return np.cbrt(6000.0 / np.pi * np.maximum(volume_ml, 0.0))


def _volume_ml(diameter_mm: np.ndarray) -> np.ndarray:
    return np.pi / 6000.0 * np.asarray(diameter_mm) ** 3
