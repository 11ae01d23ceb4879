"""Scores of classifications, against hand-computed values and scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from seg_lib.classification import (
    classification_summary,
    confusion,
    scores_of,
    write_subtypes,
)
from seg_lib.errors import InputError

# Source 004's 36 validation cases: 9, 15 and 12 of the subtypes.
TRUTH = [0] * 9 + [1] * 15 + [2] * 12


def test_always_the_commonest_class():
    """15 of 36 right; F1 of that class 30 / 51, of the others 0."""
    found = scores_of(confusion([1] * 36, TRUTH, 3))
    assert found["accuracy"] == pytest.approx(15 / 36)
    assert found["macro_f1"] == pytest.approx(30 / 51 / 3)
    assert found["balanced_accuracy"] == pytest.approx(1 / 3)
    assert found["mcc"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(3, size=40), rng.integers(3, size=40)
    table = confusion(predicted, truth, 3)
    found = scores_of(table)
    assert (table == metrics.confusion_matrix(truth, predicted)).all()
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(truth, predicted))
    assert found["balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(truth, predicted)
    )
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))


def test_the_summary_holds_the_truth_in_its_interval():
    rng = np.random.default_rng(0)
    right = rng.random(36) < 0.7
    predicted = np.where(right, TRUTH, (np.array(TRUTH) + 1) % 3)
    found = classification_summary(predicted, TRUTH, 3)
    f1 = found["macro_f1"]
    assert f1["low"] < f1["value"] < f1["high"] and 0.15 < f1["high"] - f1["low"] < 0.4
    assert f1["majority"] == pytest.approx(30 / 51 / 3) and found["n"] == 36
    assert classification_summary(predicted, TRUTH, 3) == found, "the same seed, the same interval"
    perfect = classification_summary(TRUTH, TRUTH, 3)
    assert perfect["mcc"]["value"] == perfect["mcc"]["low"] == 1.0


def test_subtypes_are_written_as_source_004_hands_them_in(tmp_path):
    write_subtypes(tmp_path, {"quiz_2.nii.gz": 1})
    path = write_subtypes(tmp_path, {"quiz_1.nii.gz": 0, "quiz_2.nii.gz": 2})
    assert path.read_text() == "Names,Subtype\nquiz_1.nii.gz,0\nquiz_2.nii.gz,2\n"
    path.write_text("something else\n")
    with pytest.raises(InputError, match="begins with 'something else'"):
        write_subtypes(tmp_path, {"a": 0})
    assert path.read_text() == "something else\n"


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [([0, 1], [0], "one of each"), ([], [], "one of each"), ([3], [0], "not among the classes")],
)
def test_bad_input(predicted, truth, message):
    with pytest.raises(InputError, match=message):
        classification_summary(predicted, truth, 3)
