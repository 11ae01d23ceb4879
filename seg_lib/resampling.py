"""How sure is a mean? Bootstrap intervals and a permutation test, both by patient.

A mean over 20 patients is a guess at the mean over all patients. The bootstrap shows how wide the
guess is: draw 20 of the 20 with replacement, take their mean, do it 2000 times, and look where 95 %
of the means fall. Patients are drawn, not slices: slices of one patient resemble each other, and
counting them as independent makes the interval too narrow. Taught in notebook 02.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from seg_lib.errors import InputError

EXACT_GROUPS = 12  # up to here every assignment of signs is tried: 2^12 = 4096


def _by_group(values: Any, groups: Sequence[Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values in each group; without groups each value is its own."""
    values = np.asarray(values, float)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise InputError(f"{values.size} values; they must be a list of finite numbers, not empty.")
    if groups is None:
        return values, np.ones(len(values))
    if len(groups) != len(values):
        raise InputError(f"{len(values)} values in {len(groups)} groups; give each value a group.")
    _, index = np.unique([str(group) for group in groups], return_inverse=True)
    return np.bincount(index, values), np.bincount(index).astype(float)


def bootstrap_interval(
    values: Any,
    groups: Sequence[Any] | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of the mean, drawing whole groups (patients) with replacement.

    Args:
        values: (N,), finite.
        groups: N labels, such as patients; None treats every value as independent.
        n_resamples: draws.
        seed: same seed, same interval.
        level: share of the draws inside.

    Returns:
        (low, high). With one group both are the mean: a single patient tells nothing of spread.

    Raises:
        InputError: no values, values that are not finite, or another number of groups.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    Taught in notebook 02.
    """
    sums, sizes = _by_group(values, groups)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(n_resamples, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference(
    values_a: Any,
    values_b: Any,
    groups: Sequence[Any] | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Is A better than B on the same cases? Mean of A - B with interval and p value.

    If A and B were equally good, each patient's difference could as well have the other sign. p is
    the share of all assignments of signs whose mean is at least as far from 0 as the one observed;
    all are tried for up to 12 patients, ``n_resamples`` random ones for more.

    Args:
        values_a: (N,) of one method.
        values_b: (N,) of the other, same cases in the same order.
        groups: N labels, such as patients.
        n_resamples: draws for the interval and for p.
        seed: same seed, same answer.

    Returns:
        {"difference", "low", "high", "p", "n", "n_groups"}.

    Taught in notebook 02.
    """
    if np.shape(values_a) != np.shape(values_b):
        raise InputError(f"{np.shape(values_a)} against {np.shape(values_b)} values; pair them.")
    differences = np.asarray(values_a, float) - np.asarray(values_b, float)
    sums, _ = _by_group(differences, groups)
    if len(sums) <= EXACT_GROUPS:
        signs = np.array(list(itertools.product((1, -1), repeat=len(sums))))
    else:
        draws = np.random.default_rng(seed).integers(2, size=(n_resamples, len(sums)))
        signs = np.vstack([np.ones(len(sums)), 2 * draws - 1])  # the observed one is one of them
    as_far = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    low, high = bootstrap_interval(differences, groups, n_resamples, seed)
    found = {"difference": float(differences.mean()), "low": low, "high": high}
    return found | {"p": float(as_far.mean()), "n": len(differences), "n_groups": len(sums)}


def ratio_of_means(
    values_a: Any,
    values_b: Any,
    groups: Sequence[Any] | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """How much of B's mean A reaches on the same cases, with a 95 % bootstrap interval.

    A draw takes the same patients for both. One in which every B is 0 has the ratio infinity.
    The arguments are those of `paired_difference`, with values of 0 or above.

    Returns:
        {"ratio", "low", "high", "n", "n_groups"}.

    Raises:
        InputError: values that cannot be paired, are below 0, or whose mean of B is 0.

    Taught in notebook 16.
    """
    if np.shape(values_a) != np.shape(values_b):
        raise InputError(f"{np.shape(values_a)} against {np.shape(values_b)} values; pair them.")
    a, b = (_by_group(values, groups)[0] for values in (values_a, values_b))
    if min(a.min(), b.min()) < 0 or b.sum() == 0:
        raise InputError("a ratio of means needs values from 0 on, and B not 0 throughout.")
    drawn = np.random.default_rng(seed).integers(len(a), size=(n_resamples, len(a)))
    above, below = a[drawn].sum(axis=1), b[drawn].sum(axis=1)
    ratios = np.divide(above, below, out=np.full(n_resamples, np.inf), where=below > 0)
    low, high = np.quantile(ratios, [0.025, 0.975], method="nearest")
    ratio, n = float(a.sum() / b.sum()), int(np.size(values_a))
    return {"ratio": ratio, "low": float(low), "high": float(high), "n": n, "n_groups": len(a)}
