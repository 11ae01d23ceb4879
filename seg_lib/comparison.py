"""Networks side by side: what `benchmarks/compare_2d.py` measured, as tables.

A result holds, for every training, the rows of its test cases. Networks are compared on the same
cases, so a case's values are first averaged over the seeds that saw it. Taught in notebook 09.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_lib.errors import InputError
from seg_lib.evaluation import bootstrap_interval, paired_difference

Rows = list[dict[str, Any]]
NAMES = ("case", "patient", "subtype")  # the columns of a row that are no metrics
METRICS = ("dice", "iou", "rmse", "hd95_mm")


def interval(mean: float, low: float, high: float, sign: str = "") -> str:
    """``0.712 (0.640 to 0.771)``; with ``sign="+"`` every number has its sign."""
    return f"{mean:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def read_comparison(path: str | Path) -> dict[str, Any]:
    """The result of a benchmark.

    Raises:
        InputError: there is none yet; says which command makes it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: not there; make it with 'python benchmarks/compare_2d.py'.")
    return json.loads(path.read_text(encoding="utf-8"))


def over_seeds(runs: Sequence[dict[str, Any]]) -> Rows:
    """One row a case: its metrics averaged over the runs in which it was tested, sorted by case."""
    found: dict[str, Rows] = {}
    for run in runs:
        for row in run["rows"]:
            found.setdefault(row["case"], []).append(row)
    return [
        {key: rows[0][key] for key in NAMES if key in rows[0]}
        | {key: float(np.mean([r[key] for r in rows])) for key in rows[0] if key not in NAMES}
        for _, rows in sorted(found.items())
    ]


def rows_by_method(result: dict[str, Any], kind: str) -> dict[str, Rows]:
    """Rows of every network and of what does not learn; ``kind``: "same samples", "same time"."""
    networks: dict[str, list] = {}
    for run in result["runs"][kind]:
        networks.setdefault(run["network"], []).append(run)
    rows = {name: over_seeds(runs) for name, runs in networks.items()}
    return rows | {name: over_seeds([{"rows": found}]) for name, found in result["rivals"].items()}


def score_table(result: dict[str, Any], kind: str, metrics: Sequence[str] = METRICS) -> Rows:
    """A line a method: n, every metric with its 95 % interval by patient, spread of the seeds."""
    lines = []
    for name, rows in rows_by_method(result, kind).items():
        patients = [row["patient"] for row in rows]
        line = {"method": name, "n": len(rows), "patients": len(set(patients))}
        for metric in metrics:
            values = [row[metric] for row in rows]
            line[metric] = interval(np.mean(values), *bootstrap_interval(values, patients))
        line["Dice of the seeds"] = ", ".join(f"{d:.3f}" for d in seed_means(result, kind, name))
        lines.append(line)
    return lines


def seed_means(result: dict[str, Any], kind: str, network: str) -> list[float]:
    """Mean Dice of each training of a network; none for what does not learn."""
    runs = [run for run in result["runs"][kind] if run["network"] == network]
    return [float(np.mean([row["dice"] for row in run["rows"]])) for run in runs]


def cost_table(result: dict[str, Any]) -> Rows:
    """A line a network: parameters, operations of one image, epochs, seconds and memory."""
    lines = []
    for name, cost in result["cost"].items():
        line = {"network": name, "parameters (M)": f"{cost['parameters'] / 1e6:.1f}"}
        line["GFLOPs an image"] = f"{cost['gflops']:.2f}"
        for kind, runs in result["runs"].items():
            own = [run for run in runs if run["network"] == name]
            line[f"epochs, {kind}"] = str(own[0]["epochs"])
            seconds = np.mean([run["seconds"] for run in own])
            line[f"seconds, {kind}"] = f"{seconds:.0f}"
            line["seconds an epoch"] = f"{seconds / own[0]['epochs']:.1f}"
            line["peak memory (GB)"] = f"{max(run['peak_mb'] for run in own) / 1000:.1f}"
        lines.append(line)
    return lines


def part_table(
    result: dict[str, Any], kind: str, part_of: Sequence[str], parts: Sequence[str]
) -> Rows:
    """A line a network, a column a part of the cases: Dice with its 95 % interval by patient.

    ``part_of`` names each case's part, in the order of `rows_by_method`; ``parts`` are the columns.
    """
    rows, names = rows_by_method(result, kind), np.array(part_of)
    lines = []
    for network in result["cost"]:
        dice = np.array([row["dice"] for row in rows[network]])
        patients = np.array([row["patient"] for row in rows[network]])
        line = {"network": network}
        for part in parts:
            own = names == part
            spread = bootstrap_interval(dice[own], patients[own])
            line[f"{part} (n = {own.sum()})"] = interval(dice[own].mean(), *spread)
        lines.append(line)
    return lines


def pair_table(result: dict[str, Any], kind: str, metric: str = "dice") -> Rows:
    """A line a pair of networks: difference on the same cases, interval, p, and p after Holm.

    Three questions are asked of the same cases, so each p is multiplied by the number of questions
    that are left (Holm 1979); below 0.05 after that is rare without a real difference.
    """
    rows = rows_by_method(result, kind)
    lines = []
    for first, second in itertools.combinations(result["cost"], 2):
        pair = [[row[metric] for row in rows[name]] for name in (first, second)]
        found = paired_difference(*pair, [row["patient"] for row in rows[first]])
        found["patients"] = found.pop("n_groups")
        lines.append({"pair": f"{first} - {second}"} | found)
    lines.sort(key=lambda line: line["p"])
    highest = 0.0
    for left, line in zip(range(len(lines), 0, -1), lines, strict=True):
        highest = max(highest, min(1.0, left * line["p"]))
        line["p after Holm"] = highest
    return lines


def recipe_table(result: dict[str, Any]) -> Rows:
    """A line a recipe of `benchmarks/unetr_recipe.py`: its Dice, and how far from the unchanged."""
    lines = []
    for name, found in result["table"].items():
        line = {"recipe": name, "n": result["n"], "Dice": f"{found['dice']:.3f}"}
        line["share found"] = f"{found['found']:.2f}"
        gap = found.get("minus_unchanged")
        told = interval(gap["difference"], gap["low"], gap["high"], "+") if gap else ""
        line["minus unchanged (95 % interval)"] = told
        lines.append(line)
    return lines
