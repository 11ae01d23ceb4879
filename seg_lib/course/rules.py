"""Expected metrics: one rule per metric, in ``tests/baselines/<profile>.yml``.

    about: {hardware: "2 CPU cores", reason: "first baselines"}     # who measured this, and why
    "06":
      n_train_cases:     {rule: exact, value: 40}                   # counts; `within` for floats
      val_dice:          {rule: floor, value: 0.70, prediction: dice}
      hd95_mm:           {rule: ceiling, value: 12, prediction: hd95_mm}
      test_dice:         {rule: band, low: 0.72, high: 0.80, seeds: [0, 1, 2, 3, 4]}
      beats_threshold:   {rule: relation, left: val_dice, op: ">=", right: threshold_dice,
                          margin: 0.10}                             # left >= right + margin
      loss_falls:        {rule: relation, left: last_loss, op: "<=", right: first_loss,
                          factor: 0.7}                              # left <= factor * right

``prediction: dice`` marks a metric that is computed from a predicted mask, and says how (a key of
``seg_lib.metrics.case_metrics``); ``degenerate.py`` needs that. A tolerance is either absolute
(``within``, ``margin``) or relative (``factor``), never both: the larger of two would decide, and
a small Dice would pass anything.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from seg_lib.errors import InputError

# rule -> (fields it must have, fields it may have)
FIELDS = {
    "exact": ({"value"}, {"within"}),
    "floor": ({"value"}, set()),
    "ceiling": ({"value"}, set()),
    "band": ({"low", "high", "seeds"}, set()),
    "relation": ({"left", "op", "right"}, {"margin", "factor"}),
}
FOR_ANY_RULE = {"rule", "prediction", "why"}
NOT_NUMBERS = FOR_ANY_RULE | {"seeds", "left", "op", "right"}
LEAST_SEEDS = 5


@dataclass(frozen=True)
class Rule:
    """What one metric must be. Fields that its kind does not use are left at their defaults."""

    metric: str
    rule: str
    value: float = math.nan
    within: float = 0.0
    low: float = math.nan
    high: float = math.nan
    seeds: tuple[int, ...] = ()
    left: str = ""
    op: str = ""
    right: str = ""
    margin: float = 0.0
    factor: float = 1.0
    prediction: str = ""
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a rule says about a recorded metric; ``ok`` is None where there is no rule."""

    metric: str
    ok: bool | None
    sentence: str


def read_baselines(path: str | Path) -> dict[str, list[Rule]]:
    """The rules of a profile, by notebook number.

    Args:
        path: ``tests/baselines/<profile>.yml``.

    Returns:
        number to rules; empty where the file does not exist.

    Raises:
        InputError: the file is not YAML of the form above; names notebook, metric and field.
    """
    path = Path(path)
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({error}); repair the file.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must map notebook numbers to rules.")
    baselines = {}
    for number, rules in content.items():
        if number == "about":
            continue
        if not isinstance(number, str) or not re.fullmatch(r"\d\d", number):
            raise InputError(f'{path}: {number!r} is no notebook number; quote it, like "06".')
        if not isinstance(rules, dict):
            raise InputError(f"{path}: {number} must map metric names to rules.")
        baselines[number] = [
            read_rule(f"{path}: {number}", metric, fields) for metric, fields in rules.items()
        ]
    return baselines


def read_rule(where: str, metric: str, fields: object) -> Rule:
    """One rule out of its YAML fields.

    Args:
        where: file and notebook, for the error message.
        metric: the metric's name (of a relation: the rule's own name).
        fields: ``rule`` and what belongs to it.

    Raises:
        InputError: an unknown rule, a missing, unknown or ill-formed field.
    """
    where = f"{where}: {metric}"
    if not isinstance(fields, dict) or fields.get("rule") not in FIELDS:
        raise InputError(f"{where}: `rule` must be one of {', '.join(FIELDS)}.")
    required, optional = FIELDS[fields["rule"]]
    if missing := sorted(required - fields.keys()):
        raise InputError(f"{where}: a {fields['rule']} needs {', '.join(missing)}.")
    if unknown := sorted(fields.keys() - required - optional - FOR_ANY_RULE):
        raise InputError(f"{where}: a {fields['rule']} knows no {', '.join(map(str, unknown))}.")
    for name in fields.keys() - NOT_NUMBERS:
        if not _is_number(fields[name]):
            raise InputError(f"{where}: {name} must be a finite number, not {fields[name]!r}.")
    _check_fields(where, fields)
    if "seeds" in fields:
        fields = fields | {"seeds": tuple(fields["seeds"])}
    return Rule(metric=metric, **fields)


def _is_number(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check_fields(where: str, fields: dict) -> None:
    """What belongs to one kind of rule alone."""
    if fields["rule"] == "band":
        seeds = fields["seeds"]
        if not isinstance(seeds, list) or len(set(map(str, seeds))) < LEAST_SEEDS:
            raise InputError(f"{where}: a band lists at least {LEAST_SEEDS} different seeds.")
        if fields["low"] > fields["high"]:
            raise InputError(f"{where}: low is above high; exchange them.")
    if fields["rule"] == "relation":
        if fields["op"] not in (">=", "<="):
            raise InputError(f'{where}: `op` must be ">=" or "<=", not {fields["op"]!r}.')
        if "margin" in fields and "factor" in fields:
            raise InputError(f"{where}: margin (absolute) or factor (relative), never both.")
    if fields.get("within", 0) < 0 or fields.get("margin", 0) < 0:
        raise InputError(f"{where}: a tolerance cannot be negative.")


def check_metrics(metrics: Mapping[str, float], rules: list[Rule]) -> list[Verdict]:
    """Hold the recorded metrics against the rules.

    Args:
        metrics: name to value, as recorded.
        rules: of one notebook in one profile.

    Returns:
        One verdict per rule, then one (``ok`` None, "no rule") per metric that no rule names.
    """
    verdicts = [_check_rule(rule, metrics) for rule in rules]
    named = {name for rule in rules for name in (rule.metric, rule.left, rule.right)}
    verdicts += [
        Verdict(name, None, f"{name} = {value:.4g}: no rule.")
        for name, value in metrics.items()
        if name not in named
    ]
    return verdicts


def _check_rule(rule: Rule, metrics: Mapping[str, float]) -> Verdict:
    needed = [rule.left, rule.right] if rule.rule == "relation" else [rule.metric]
    missing = [name for name in needed if name not in metrics]
    if missing:
        return Verdict(rule.metric, False, f"{' and '.join(missing)} was not recorded.")
    if rule.rule == "relation":
        ok, sentence = _relation(rule, metrics[rule.left], metrics[rule.right])
    else:
        ok, sentence = _limit(rule, metrics[rule.metric])
    return Verdict(rule.metric, ok, sentence)


def _limit(rule: Rule, value: float) -> tuple[bool, str]:
    """A rule about one metric: is the value in [low, high]?"""
    low, high = limits_of(rule)
    name = f"{rule.metric} = {value:.6g}"
    wanted = {
        "exact": f"expected {rule.value:.6g}" + (f" ± {rule.within:g}" if rule.within else ""),
        "floor": f"floor {low:g}",
        "ceiling": f"ceiling {high:g}",
        "band": f"band {low:g} to {high:g} from {len(rule.seeds)} seeds",
    }[rule.rule]
    if value < low:
        return False, f"{name} is too low ({wanted})."
    if value > high:
        return False, f"{name} is too high ({wanted})."
    return low <= value <= high, f"{name} ({wanted})."


def limits_of(rule: Rule) -> tuple[float, float]:
    """Lowest and highest value that a rule about one metric accepts."""
    return {
        "exact": (rule.value - rule.within, rule.value + rule.within),
        "floor": (rule.value, math.inf),
        "ceiling": (-math.inf, rule.value),
        "band": (rule.low, rule.high),
    }[rule.rule]


def _relation(rule: Rule, left: float, right: float) -> tuple[bool, str]:
    bound = bound_of(rule, right)
    ok = left >= bound if rule.op == ">=" else left <= bound
    wanted = f"{rule.left} {rule.op} {rule.right}"
    if rule.factor != 1:
        wanted = f"{rule.left} {rule.op} {rule.factor:g} * {rule.right}"
    elif rule.margin:
        sign = "+" if rule.op == ">=" else "-"
        wanted += f" {sign} {rule.margin:g}"
    return ok, f"{wanted} is {'true' if ok else 'false'}: {left:.4g} against {bound:.4g}."


def bound_of(rule: Rule, right: float) -> float:
    """What the left side of a relation is held against; a margin makes the relation stricter."""
    margin = rule.margin if rule.op == ">=" else -rule.margin
    return rule.factor * right + margin
