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
``seg_lib.metrics.case_metrics``): tests ask whether an empty or full mask would pass. A tolerance
is either absolute (``within``, ``margin``) or relative (``factor``), never both: the larger of two
would decide, and a small Dice would pass anything.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
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
    seeds: Sequence[int] = ()
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
    """The rules of a profile by notebook number; none where there is no such file.

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
    content.pop("about", None)
    baselines = {}
    for number, rules in content.items():
        if not isinstance(number, str) or not re.fullmatch(r"\d\d", number):
            raise InputError(f'{path}: {number!r} is no notebook number; quote it, like "06".')
        if not isinstance(rules, dict):
            raise InputError(f"{path}: {number} must map metric names to rules.")
        baselines[number] = [read_rule(f"{path}: {number}", *rule) for rule in rules.items()]
    return baselines


def read_rule(where: str, metric: str, fields: object) -> Rule:
    """One rule out of its YAML fields; an ``InputError`` about them begins with ``where``."""
    where = f"{where}: {metric}"
    if not isinstance(fields, dict) or fields.get("rule") not in FIELDS:
        raise InputError(f"{where}: `rule` must be one of {', '.join(FIELDS)}.")
    kind = fields["rule"]
    required, optional = FIELDS[kind]
    if missing := sorted(required - fields.keys()):
        raise InputError(f"{where}: a {kind} needs {', '.join(missing)}.")
    if unknown := sorted(map(str, fields.keys() - required - optional - FOR_ANY_RULE)):
        raise InputError(f"{where}: a {kind} knows no {', '.join(unknown)}.")
    for name in fields.keys() - NOT_NUMBERS:
        if not isinstance(fields[name], int | float) or not math.isfinite(fields[name]):
            raise InputError(f"{where}: {name} must be a finite number, not {fields[name]!r}.")
    for fault in _faults(fields):
        raise InputError(f"{where}: {fault}")
    return Rule(metric=metric, **fields)


def _faults(fields: dict) -> Iterator[str]:
    """What is wrong with the fields that one kind of rule alone has."""
    seeds = fields.get("seeds", range(LEAST_SEEDS))
    if not isinstance(seeds, list | range) or len(set(map(str, seeds))) < LEAST_SEEDS:
        yield f"a band lists at least {LEAST_SEEDS} different seeds."
    if fields["rule"] == "band" and fields["low"] > fields["high"]:
        yield "low is above high; exchange them."
    if fields.get("op", ">=") not in (">=", "<="):
        yield f'`op` must be ">=" or "<=", not {fields["op"]!r}.'
    if "margin" in fields and "factor" in fields:
        yield "margin (absolute) or factor (relative), never both."
    if fields.get("within", 0) < 0 or fields.get("margin", 0) < 0:
        yield "a tolerance cannot be negative."


def check_metrics(metrics: Mapping[str, float], rules: list[Rule]) -> list[Verdict]:
    """Hold the recorded metrics (name to value) against the rules of one notebook.

    One verdict per rule, then one (``ok`` None, "no rule") per metric that no rule names.
    """
    named = {name for rule in rules for name in (rule.metric, rule.left, rule.right)}
    return [_check_rule(rule, metrics) for rule in rules] + [
        Verdict(name, None, f"{name} = {value:.4g}: no rule.")
        for name, value in metrics.items()
        if name not in named
    ]


def _check_rule(rule: Rule, metrics: Mapping[str, float]) -> Verdict:
    judged = rule.left or rule.metric
    missing = [name for name in (judged, rule.right) if name and name not in metrics]
    if missing:
        return Verdict(rule.metric, False, f"{' and '.join(missing)} was not recorded.")
    value = metrics[judged]
    low, high, wanted = limits_of(rule, metrics)
    ok = low <= value <= high
    if rule.rule == "relation":
        bound = low if rule.op == ">=" else high
        said = f"{wanted} is {str(ok).lower()}: {value:.4g} against {bound:.4g}."
        return Verdict(rule.metric, ok, said)
    side = " is too low" if value < low else " is too high" if value > high else ""
    return Verdict(rule.metric, ok, f"{judged} = {value:.6g}{side} ({wanted}).")


def limits_of(rule: Rule, metrics: Mapping[str, float]) -> tuple[float, float, str]:
    """Lowest and highest value that a rule accepts (in a relation: on its left), and the words."""
    if rule.rule == "exact":
        words = f"expected {rule.value:.6g}" + (f" ± {rule.within:g}" if rule.within else "")
        return rule.value - rule.within, rule.value + rule.within, words
    if rule.rule == "floor":
        return rule.value, math.inf, f"floor {rule.value:g}"
    if rule.rule == "ceiling":
        return -math.inf, rule.value, f"ceiling {rule.value:g}"
    if rule.rule == "band":
        words = f"band {rule.low:g} to {rule.high:g} from {len(rule.seeds)} seeds"
        return rule.low, rule.high, words
    bound = rule.factor * metrics[rule.right]  # a margin makes a relation stricter
    sign, factor = ("+" if rule.op == ">=" else "-"), f"{rule.factor:g} * "
    words = f"{rule.left} {rule.op} {factor if rule.factor != 1 else ''}{rule.right}"
    words += f" {sign} {rule.margin:g}" if rule.margin else ""
    if rule.op == ">=":
        return bound + rule.margin, math.inf, words
    return -math.inf, bound - rule.margin, words
