"""Predictions that know nothing, and the question whether a rule set would let them pass.

An expected Dice of 0.06 "within 0.05" passes for an empty prediction too; that has happened to
others. So every rule set is tried with what an empty, a full, an inverted, a shuffled and a
swapped prediction obtain on real phantom masks, all other metrics being as expected.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from seg_lib.course.rules import Rule, check_metrics, limits_of
from seg_lib.errors import InputError
from seg_lib.metrics import case_metrics


def degenerate_predictions(masks: Sequence[np.ndarray], seed: int = 0) -> dict[str, list]:
    """Five ways of predicting without having looked: kind to one mask (bool) per reference.

    ``shuffled`` has the right number of voxels in the wrong places; ``swapped`` is the mask of
    the next case.
    """
    random = np.random.default_rng(seed)
    masks = [np.asarray(mask, bool) for mask in masks]
    return {
        "empty": [np.zeros_like(mask) for mask in masks],
        "full": [np.ones_like(mask) for mask in masks],
        "inverted": [~mask for mask in masks],
        "shuffled": [random.permutation(mask.ravel()).reshape(mask.shape) for mask in masks],
        "swapped": masks[1:] + masks[:1],
    }


def degenerate_values(masks, spacing_mm, score=case_metrics) -> dict[str, dict[str, float]]:
    """Kind to metric to mean over the cases; no mask may be empty.

    ``score`` turns (mask, reference, spacing_mm) into metrics.
    """
    values = {}
    for kind, predictions in degenerate_predictions(masks).items():
        rows = [
            score(mask, np.asarray(reference, bool), spacing_mm)
            for mask, reference in zip(predictions, masks, strict=True)
        ]
        values[kind] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return values


def passing_kinds(rules: list[Rule], values: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The kinds of degenerate prediction that a rule set would let pass; should be none.

    Raises:
        InputError: no metric is marked as computed from a predicted mask, a mark is unknown, or
            the rules contradict each other.
    """
    marked = {rule.left or rule.metric: rule.prediction for rule in rules if rule.prediction}
    if not marked:
        raise InputError("no rule is marked `prediction: dice` (or another metric of a mask).")
    expected = conforming_metrics(rules)
    passing = []
    for kind, metrics in values.items():
        if unknown := sorted(set(marked.values()) - metrics.keys()):
            raise InputError(f"prediction: {unknown[0]} is unknown; use {', '.join(metrics)}.")
        degenerate = expected | {name: metrics[of] for name, of in marked.items()}
        if all(verdict.ok is not False for verdict in check_metrics(degenerate, rules)):
            passing.append(kind)
    return passing


def conforming_metrics(rules: list[Rule]) -> dict[str, float]:
    """Metrics that just keep every rule.

    Raises:
        InputError: there are none, because the rules contradict each other.
    """
    relations = [rule for rule in rules if rule.rule == "relation"]
    metrics = {name: 0.0 for rule in relations for name in (rule.right, rule.left)}
    for rule in rules:
        if rule.rule != "relation":
            low, high, _ = limits_of(rule, metrics)
            metrics[rule.metric] = low if np.isfinite(low) else high
    for rule in relations * len(relations):  # a chain of relations settles link by link
        low, high, _ = limits_of(rule, metrics)
        metrics[rule.left] = float(np.clip(metrics[rule.left], low, high))
    broken = [v.sentence for v in check_metrics(metrics, rules) if v.ok is False]
    if broken:
        raise InputError(f"the rules contradict each other: {' '.join(broken)}")
    return metrics
