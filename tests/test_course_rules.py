"""Rules: each kind passes and fails where it should, and no degenerate prediction gets through."""

import math
from pathlib import Path

import numpy as np
import pytest
from degenerate import (
    conforming_metrics,
    degenerate_predictions,
    degenerate_values,
    passing_kinds,
)

from seg_lib.course.notebooks import find_notebooks
from seg_lib.course.profiles import PROFILES, TABLE
from seg_lib.course.rules import check_metrics, read_baselines, read_rule
from seg_lib.errors import InputError

REPOSITORY = Path(__file__).parents[1]
BASELINES = REPOSITORY / "tests" / "baselines"
CHECKED = [profile for profile in PROFILES if profile != "paper"]

EXAMPLE = """
about: {hardware: 2 cores, reason: made up}
"06":
  n_train_cases: {rule: exact, value: 40}
  val_dice: {rule: floor, value: 0.70, prediction: dice}
  hd95_mm: {rule: ceiling, value: 12, prediction: hd95_mm}
  test_dice: {rule: band, low: 0.72, high: 0.80, seeds: [0, 1, 2, 3, 4], prediction: dice}
  beats_threshold: {rule: relation, left: val_dice, op: ">=", right: threshold_dice, margin: 0.1}
  loss_falls: {rule: relation, left: last_loss, op: "<=", right: first_loss, factor: 0.7}
"""
GOOD = {
    **{"n_train_cases": 40, "val_dice": 0.76, "hd95_mm": 7.0, "test_dice": 0.75},
    **{"threshold_dice": 0.3, "first_loss": 1.0, "last_loss": 0.4},
}


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "laptop.yml"
    path.write_text(EXAMPLE)
    return read_baselines(path)["06"]


def failing(metrics, rules):
    return {verdict.metric for verdict in check_metrics(metrics, rules) if verdict.ok is False}


def test_good_metrics_keep_every_rule(rules):
    assert failing(GOOD, rules) == set()
    assert [v.ok for v in check_metrics(GOOD, rules)] == [True] * 6


@pytest.mark.parametrize(
    ("metric", "value", "broken"),
    [
        ("n_train_cases", 41, {"n_train_cases"}),
        ("val_dice", 0.699, {"val_dice"}),
        ("val_dice", 0.70, set()),
        ("hd95_mm", 12.001, {"hd95_mm"}),
        ("test_dice", 0.81, {"test_dice"}),
        ("test_dice", 0.71, {"test_dice"}),
        ("threshold_dice", 0.67, {"beats_threshold"}),
        ("last_loss", 0.71, {"loss_falls"}),
        ("last_loss", 0.70, set()),
        ("val_dice", math.nan, {"val_dice", "beats_threshold"}),
    ],
)
def test_each_rule_bites_on_its_own_side(rules, metric, value, broken):
    assert failing(GOOD | {metric: value}, rules) == broken


def test_a_metric_that_was_not_recorded_fails_its_rules(rules):
    without = {name: value for name, value in GOOD.items() if name != "val_dice"}
    verdicts = {v.metric: v for v in check_metrics(without, rules)}
    assert verdicts["val_dice"].sentence == "val_dice was not recorded."
    assert verdicts["beats_threshold"].ok is False


def test_a_metric_without_a_rule_is_said_and_does_not_fail(rules):
    last = check_metrics(GOOD | {"extra": 3.0}, rules)[-1]
    assert (last.metric, last.ok, last.sentence) == ("extra", None, "extra = 3: no rule.")


def test_the_sentences_are_plain(rules):
    said = [v.sentence for v in check_metrics(GOOD | {"val_dice": 0.41}, rules)]
    assert said[1] == "val_dice = 0.41 is too low (floor 0.7)."
    assert said[4] == "val_dice >= threshold_dice + 0.1 is true: 0.41 against 0.4."
    assert said[5] == "last_loss <= 0.7 * first_loss is true: 0.4 against 0.7."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "about", "value": 1}, "must be one of exact"),
        (0.7, "must be one of exact"),
        ({"rule": "floor"}, "a floor needs value"),
        ({"rule": "floor", "value": 1, "high": 2}, "a floor knows no high"),
        ({"rule": "floor", "value": "0.7"}, "value must be a finite number"),
        ({"rule": "floor", "value": math.inf}, "value must be a finite number"),
        ({"rule": "band", "low": 0, "high": 1, "seeds": [1, 2, 3, 4]}, "at least 5"),
        ({"rule": "band", "low": 0, "high": 1, "seeds": [1, 1, 1, 1, 1]}, "at least 5"),
        ({"rule": "band", "low": 0, "high": 1, "seeds": 5}, "at least 5"),
        ({"rule": "band", "low": 2, "high": 1, "seeds": [1, 2, 3, 4, 5]}, "low is above high"),
        ({"rule": "relation", "left": "a", "op": "==", "right": "b"}, "`op` must be"),
        (
            {"rule": "relation", "left": "a", "op": ">=", "right": "b", "margin": 0, "factor": 1},
            "never both",
        ),
        (
            {"rule": "relation", "left": "a", "op": ">=", "right": "b", "margin": -1},
            "cannot be negative",
        ),
        ({"rule": "exact", "value": 1, "rel": 0.1}, "an? exact knows no rel"),
    ],
)
def test_an_ill_formed_rule_is_refused_with_its_place(fields, message):
    with pytest.raises(InputError, match=f"x.yml: 06: m: .*{message}"):
        read_rule("x.yml: 06", "m", fields)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("06: {m: {rule: floor, value: 1}}", "6 is no notebook number; quote it"),
        ('"06": 3', "06 must map metric names"),
        ("[1, 2]", "must map notebook numbers"),
        ('"06": {', "not YAML"),
    ],
)
def test_an_ill_formed_file_is_refused(tmp_path, content, message):
    path = tmp_path / "smoke.yml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_baselines(path)


def test_no_file_means_no_rules(tmp_path):
    assert read_baselines(tmp_path / "smoke.yml") == {}


# Degenerate predictions -------------------------------------------------------------------------


def disks(n=4, size=48):
    """Lesions of different size in different places."""
    y, x = np.mgrid[:size, :size]
    centres = [(12, 12), (34, 30), (20, 38), (36, 10)][:n]
    return [(y - a) ** 2 + (x - b) ** 2 <= (3 + i) ** 2 for i, (a, b) in enumerate(centres)]


def small_score(mask, reference, spacing_mm):
    overlap = (mask & reference).sum()
    return {"dice": 2 * overlap / (mask.sum() + reference.sum()), "hd95_mm": 99.0 * (overlap < 9)}


@pytest.fixture(scope="module")
def values():
    return degenerate_values(disks(), (1.0, 1.0), small_score)


def test_degenerate_predictions_are_what_they_are_called():
    masks = disks()
    kinds = degenerate_predictions(masks)
    assert not any(mask.any() for mask in kinds["empty"])
    assert all(mask.all() for mask in kinds["full"])
    for mask, inverted, shuffled in zip(masks, kinds["inverted"], kinds["shuffled"], strict=True):
        assert np.array_equal(inverted, ~mask)
        assert shuffled.sum() == mask.sum() and not np.array_equal(shuffled, mask)
    assert np.array_equal(kinds["swapped"][0], masks[1])


def test_no_degenerate_prediction_passes_good_rules(rules, values):
    assert set(values) == {"empty", "full", "inverted", "shuffled", "swapped"}
    assert passing_kinds(rules, values) == []


def one(name, **fields):
    return read_rule("x", name, fields)


def test_rules_that_let_a_degenerate_prediction_pass_are_found(values):
    """The hole of relative-or-absolute tolerances: an expected 0.02 that 0 satisfies."""
    loose = [one("val_dice", rule="exact", value=0.02, within=0.05, prediction="dice")]
    assert {"empty", "inverted"} <= set(passing_kinds(loose, values))
    empty_only = [one("hd95_mm", rule="floor", value=50, prediction="hd95_mm")]
    assert "empty" in passing_kinds(empty_only, values)


def test_a_relation_alone_catches_degenerate_predictions(values):
    relation = {"left": "text_dice", "op": ">=", "right": "image_dice", "margin": 0.3}
    rule = one("text_helps", rule="relation", prediction="dice", **relation)
    assert passing_kinds([rule], values) == []
    unmarked = one("text_helps", rule="relation", **relation)
    with pytest.raises(InputError, match="no rule is marked"):
        passing_kinds([unmarked], values)


def test_an_unknown_mark_is_refused(values):
    with pytest.raises(InputError, match="prediction: jaccard is unknown; use dice"):
        passing_kinds([one("a", rule="floor", value=1, prediction="jaccard")], values)


def test_conforming_metrics_keep_every_rule(rules):
    assert failing(conforming_metrics(rules), rules) == set()


def test_contradictions_are_refused():
    rules = [
        one("a", rule="ceiling", value=0.2),
        one("a", rule="floor", value=0.3),
    ]
    with pytest.raises(InputError, match="contradict each other: a = 0.3 is too high"):
        conforming_metrics(rules)


# The baselines of this repository ---------------------------------------------------------------

REAL = {profile: read_baselines(BASELINES / f"{profile}.yml") for profile in CHECKED}
REAL_SETS = [(profile, number) for profile, sets in REAL.items() for number in sets]


@pytest.fixture(scope="module")
def phantom_values(tmp_path_factory):
    """What degenerate predictions obtain on the slices that the 2D lessons use."""
    from seg_lib.data.phantom import make_phantom
    from seg_lib.data.pickles import read_lungrads_pickle

    folder = tmp_path_factory.mktemp("phantom")
    make_phantom("lung2d", n_cases=12, size=96, seed=0, out_dir=folder)
    records = read_lungrads_pickle(folder / "lung_cancer_train.pkl")
    masks = [record.mask > 0 for record in records if record.mask.any()]
    return degenerate_values(masks, (0.7, 0.7))


@pytest.mark.parametrize(("profile", "number"), REAL_SETS)
def test_no_degenerate_prediction_passes_the_baselines(profile, number, phantom_values):
    assert passing_kinds(REAL[profile][number], phantom_values) == []


@pytest.mark.parametrize("profile", CHECKED)
def test_baselines_belong_to_lessons(profile):
    assert (BASELINES / f"{profile}.yml").is_file()
    assert REAL[profile].keys() <= TABLE.keys()


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
def test_every_notebook_has_baselines(profile):
    numbers = {notebook.number for notebook in find_notebooks(REPOSITORY / "notebooks")}
    assert numbers <= REAL[profile].keys(), "a notebook without rules is not checked by anything"
