"""How good is a classification of few cases, and is it better than always saying the same?

Rows are cases, never patches or slices: 80 patches of one patient are not 80 patients.
Source: 004; Maier-Hein et al. 2024, Metrics Reloaded, https://doi.org/10.1038/s41592-023-02151-z.
Taught in lesson 17.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_lib.errors import InputError
from seg_lib.files import write_text
from seg_lib.metrics import macro_f1


def confusion(predicted: Sequence[int], truth: Sequence[int], n_classes: int) -> np.ndarray:
    """(n_classes, n_classes) counts; rows are the truth, columns what was predicted.

    Raises:
        InputError: different lengths, no cases, or a class that is not 0 ... n_classes - 1.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    macro_f1(predicted, truth, range(n_classes))  # for its checks
    table = np.zeros((n_classes, n_classes), int)
    np.add.at(table, (truth, predicted), 1)
    return table


def scores_of(table: np.ndarray) -> dict[str, float]:
    """Macro-F1, balanced accuracy, MCC and accuracy of a confusion table.

    A class without cases does not count in the balanced accuracy; MCC is 0 where only one class is
    predicted, as in scikit-learn.
    """
    right, true, named, n = np.diag(table), table.sum(1), table.sum(0), table.sum()
    f1 = 2 * right / np.maximum(true + named, 1)
    there = true > 0
    spread = (n**2 - (named**2).sum()) * (n**2 - (true**2).sum())
    agreement = n * right.sum() - (true * named).sum()
    return {
        "macro_f1": float(f1.mean()),
        "balanced_accuracy": float((right[there] / true[there]).mean()),
        "mcc": float(agreement / np.sqrt(spread)) if spread else 0.0,
        "accuracy": float(right.sum() / n),
    }


def classification_summary(
    predicted: Sequence[int],
    truth: Sequence[int],
    n_classes: int,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every score with its 95 % bootstrap interval over cases, beside the majority class.

    Args:
        predicted: (n,) class of each case.
        truth: (n,).
        n_classes: how many classes there are, whether or not they occur.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        {"n", "confusion" (lists), and per score of `scores_of` {"value", "low", "high", "majority":
        what always naming the commonest class of these cases would have}}.

    Raises:
        InputError: see `confusion`.

    Taught in lesson 17.
    """
    table = confusion(predicted, truth, n_classes)
    pairs = np.asarray(truth) * n_classes + np.asarray(predicted)
    drawn = np.random.default_rng(seed).integers(len(pairs), size=(n_resamples, len(pairs)))
    tables = [np.bincount(pairs[row], minlength=n_classes**2) for row in drawn]
    again = [scores_of(each.reshape(n_classes, n_classes)) for each in tables]
    always = np.zeros_like(table)
    always[:, table.sum(1).argmax()] = table.sum(1)
    majority, found = scores_of(always), scores_of(table)
    summary: dict[str, Any] = {"n": len(pairs), "confusion": table.tolist()}
    for name, value in found.items():
        low, high = np.quantile([one[name] for one in again], [0.025, 0.975])
        summary[name] = {"value": value, "low": float(low), "high": float(high)}
        summary[name]["majority"] = majority[name]
    return summary


def write_subtypes(folder: str | Path, subtypes: Mapping[str, int]) -> Path:
    """Add lines to ``subtype_results.csv``, as source 004 hands them in: Names,Subtype, sorted.

    Args:
        folder: of the masks; a line that is there already for the same name is replaced.
        subtypes: subtype of each case or file name.

    Raises:
        InputError: the table that is there is not one of these.
    """
    path = Path(folder) / "subtype_results.csv"
    found = {}
    if path.exists():
        first, *lines = path.read_text(encoding="utf-8").splitlines()
        if first != "Names,Subtype":
            raise InputError(f"{path}: begins with {first!r}, not with Names,Subtype; move it.")
        found = dict(line.rsplit(",", 1) for line in lines)
    found |= {name: str(subtype) for name, subtype in subtypes.items()}
    lines = [f"{name},{subtype}\n" for name, subtype in sorted(found.items())]
    write_text(path, "Names,Subtype\n" + "".join(lines))
    return path
