"""Charts of means with their intervals: a learning curve, and what changes of the input cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from seg_lib.errors import InputError
from seg_lib.figure_style import SERIES, STYLE, new_figure

Rows = Sequence[Mapping[str, Any]]


@matplotlib.rc_context(STYLE)
def share_curve(rows: Rows, n_patients: int | None = None) -> Figure:
    """Dice over the share of the training patients, a line a network, with 95 % intervals.

    Rows are those of `seg_lib.less_data.learning_curve`; with several seeds a pale bar reaches from
    the worst to the best. ``n_patients``, of the whole, is written on the axis.

    Raises:
        InputError: no rows.
    """
    if not rows:
        raise InputError("rows: is empty; give the row of at least one share.")
    figure = new_figure(6.0, 3.6)
    axes = figure.subplots()
    networks = list(dict.fromkeys(row["network"] for row in rows))
    for i, network in enumerate(networks):
        line = [row for row in rows if row["network"] == network]
        x = [100 * row["share"] + 1.6 * (i - (len(networks) - 1) / 2) for row in line]
        y = [row["dice"] for row in line]
        error = [[row["dice"] - row["low"] for row in line]]
        error += [[row["high"] - row["dice"] for row in line]]
        marks = {"fmt": "o-", "capsize": 4, "ms": 6, "color": SERIES[i], "elinewidth": 1.4}
        axes.errorbar(x, y, yerr=error, label=network, **marks)
        if max(row["seeds"] for row in line) > 1:
            ends = [[row[f"seed_{end}"] for row in line] for end in ("low", "high")]
            axes.vlines(x, *ends, color=SERIES[i], lw=6, alpha=0.25)
    shares = sorted({row["share"] for row in rows})
    said = [f"\n({int(share * n_patients + 0.5)})" if n_patients else "" for share in shares]
    ticks = [f"{100 * share:g}{number}" for share, number in zip(shares, said, strict=True)]
    axes.set_xticks([100 * share for share in shares], ticks)
    label = "training patients, %" + (" (number)" if n_patients else "")
    top = max(0.1, 1.1 * max(row["high"] for row in rows))
    pale = "\n(pale: worst to best seed)" if max(row["seeds"] for row in rows) > 1 else ""
    said = f"Dice, mean and 95 % interval{pale}"
    axes.set(xlabel=label, ylabel=said, ylim=(0, min(1.0, top)))
    axes.set_xlim(0, 105)
    axes.legend()
    return figure


@matplotlib.rc_context(STYLE)
def cost_dots(rows_by_network: Mapping[str, Rows]) -> Figure:
    """What each change of the input costs in Dice, a line a change, a dot with interval a network.

    Rows are those of `seg_lib.perturbations.suffered`; all networks have the same changes.

    Raises:
        InputError: no network, or networks with different changes.
    """
    changes = {name: [row["change"] for row in rows] for name, rows in rows_by_network.items()}
    if not changes or len(set(map(tuple, changes.values()))) > 1:
        raise InputError("rows_by_network: give one network or more, all with the same changes.")
    names = [name for name in next(iter(changes.values())) if name != "unchanged"]
    figure = new_figure(7.0, 1.0 + 0.36 * len(names))
    axes = figure.subplots()
    axes.axvline(0, color="black", lw=1)
    for i, (network, rows) in enumerate(rows_by_network.items()):
        shown = [row for row in rows if row["change"] != "unchanged"]
        y = [line + 0.24 * (i - (len(rows_by_network) - 1) / 2) for line in range(len(names))]
        x = [row["difference"] for row in shown]
        error = [[row["difference"] - row["difference_low"] for row in shown]]
        error += [[row["difference_high"] - row["difference"] for row in shown]]
        how = {"fmt": "o", "ms": 5, "capsize": 3, "lw": 1.4, "color": SERIES[i]}
        before = next(row["dice"] for row in rows if row["change"] == "unchanged")
        axes.errorbar(x, y, xerr=error, label=f"{network}, unchanged {before:.2f}", **how)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("change of the Dice of the same cases, mean and 95 % interval")
    figure.legend(loc="outside upper center", ncols=2)
    return figure
