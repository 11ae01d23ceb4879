"""Lesions by hand: found, missed and false alarms, their rows, and the recall over patients."""

import json
import math

import nibabel as nib
import numpy as np
import pytest

from seg_lib import cli
from seg_lib.data.case_rules import Case
from seg_lib.errors import InputError
from seg_lib.evaluation import evaluate_cases, summarise
from seg_lib.lesions import lesion_columns, lesion_counts, lesion_recall
from seg_lib.metrics import dice
from seg_lib.multitask_scores import score_case
from seg_lib.tables import read_case_table

SPACING = (1.0, 2.0, 2.5)  # 5 mm^3 a voxel
SHAPE = (24, 12, 8)


def boxes(*places, shape=SHAPE):
    """A mask of boxes, each (start along x, length along x), 4 by 2 voxels in the other axes."""
    mask = np.zeros(shape, np.uint8)
    for start, length in places:
        mask[(slice(start, start + length), slice(3, 7), *[slice(2, 4)] * (len(shape) - 2))] = 1
    return mask


def test_two_lesions_one_found():
    counts = lesion_counts(boxes((2, 5)), boxes((2, 5), (12, 1)), SPACING)
    assert (counts["lesions"], counts["found"], counts["false_alarms"]) == (2, 1, 0)
    large, small = counts["rows"]
    assert large["found"] is True and small["found"] is False
    assert large["volume_ml"] == pytest.approx(40 * 5 / 1000)
    assert small["volume_ml"] == pytest.approx(8 * 5 / 1000)
    assert (large["dice"], small["dice"]) == (1, 0)
    assert dice(boxes((2, 5)), boxes((2, 5), (12, 1))) == pytest.approx(80 / 88), "and yet so high"


def test_one_predicted_component_over_two_lesions_finds_both():
    reference = boxes((2, 3), (7, 3))
    counts = lesion_counts(boxes((2, 8)), reference, SPACING)
    assert (counts["lesions"], counts["found"], counts["false_alarms"]) == (2, 2, 0)
    assert [row["dice"] for row in counts["rows"]] == pytest.approx([2 * 3 / (3 + 8)] * 2)


def test_two_predicted_components_on_one_lesion_are_taken_together():
    counts = lesion_counts(boxes((2, 2), (7, 3)), boxes((3, 6)), SPACING)
    assert (counts["lesions"], counts["found"], counts["false_alarms"]) == (1, 1, 0)
    assert counts["rows"][0]["dice"] == pytest.approx(2 * (1 + 2) / (6 + 2 + 3))


def test_a_false_alarm_has_no_voxel_in_common_with_any_lesion():
    counts = lesion_counts(boxes((2, 5), (10, 2), (15, 2)), boxes((2, 5)), SPACING)
    assert (counts["lesions"], counts["found"], counts["false_alarms"]) == (1, 1, 2)
    beside = lesion_counts(boxes((7, 2)), boxes((2, 5)), SPACING)
    assert (beside["found"], beside["false_alarms"]) == (0, 1), "a shared border is no overlap"


@pytest.mark.parametrize("ndim", [2, 3])
def test_voxels_that_touch_at_a_corner_are_one_component(ndim):
    reference, spacing = np.zeros((6,) * ndim, bool), (1.0,) * ndim
    reference[(1,) * ndim] = reference[(2,) * ndim] = True
    assert lesion_counts(reference, reference, spacing)["lesions"] == 1
    reference[(4,) * ndim] = True
    assert lesion_counts(reference, reference, spacing)["lesions"] == 2


def test_empty_masks():
    nothing, two = boxes(), boxes((2, 5), (12, 2))
    missed = lesion_counts(nothing, two, SPACING)
    assert (missed["lesions"], missed["found"], missed["false_alarms"]) == (2, 0, 0)
    assert [row["dice"] for row in missed["rows"]] == [0, 0]
    alarms = lesion_counts(two, nothing, SPACING)
    assert alarms == {"lesions": 0, "found": 0, "false_alarms": 2, "rows": []}
    both = lesion_counts(nothing, nothing, SPACING)
    assert both == {"lesions": 0, "found": 0, "false_alarms": 0, "rows": []}


def test_ten_percent_of_the_voxels_are_enough_and_less_is_not():
    reference = boxes((2, 10))  # of its ten planes one is predicted
    one, full = boxes((2, 1)), lesion_counts(boxes((0, 24)), reference, SPACING)
    assert lesion_counts(one, reference, SPACING)["found"] == 1
    assert lesion_counts(one, boxes((2, 11)), SPACING)["found"] == 0
    assert lesion_counts(one, boxes((2, 11)), SPACING, min_overlap=0)["found"] == 1
    assert lesion_counts(boxes((20, 1)), reference, SPACING, min_overlap=0)["found"] == 0
    assert lesion_counts(one, reference, SPACING, min_overlap=0.5)["found"] == 0
    assert (full["found"], full["false_alarms"]) == (1, 0), "why the Dice must be told too"
    assert lesion_counts(one, boxes((2, 11)), SPACING)["false_alarms"] == 0, "it does touch one"


def test_the_diameter_is_that_of_the_ball_of_the_same_volume():
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in (40, 40, 20)], indexing="ij"), -1)
    ball = np.linalg.norm((grid - (20, 20, 10)) * (1, 1, 2), axis=-1) <= 12
    [row] = lesion_counts(ball, ball, (1, 1, 2))["rows"]
    assert row["diameter_mm"] == pytest.approx(24, rel=0.01)
    assert row["volume_ml"] == pytest.approx(4 / 3 * math.pi * 1.2**3, rel=0.03)
    [twice] = lesion_counts(ball, ball, (2, 2, 4))["rows"]
    assert twice["diameter_mm"] == pytest.approx(2 * row["diameter_mm"])
    assert twice["volume_ml"] == pytest.approx(8 * row["volume_ml"])


def test_a_slice_has_a_disc_and_is_1_mm_thick():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:6, 3:8] = 1
    [row] = lesion_counts(mask, mask, (0.5, 2.0))["rows"]
    assert row["volume_ml"] == pytest.approx(20 / 1000)
    assert row["diameter_mm"] == pytest.approx(2 * math.sqrt(20 / math.pi))


def test_flipping_all_axes_changes_nothing():
    rng = np.random.default_rng(0)
    mask, reference = rng.random((2, 14, 12, 10)) < 0.06
    counts = lesion_counts(mask, reference, SPACING)
    assert 0 < counts["found"] < counts["lesions"] and counts["false_alarms"]
    assert lesion_counts(np.flip(mask), np.flip(reference), SPACING) == counts
    turned = [np.asfortranarray(m.transpose(2, 1, 0)) for m in (mask, reference)]
    assert lesion_counts(*turned, SPACING[::-1]) == counts


@pytest.mark.parametrize(
    ("mask", "spacing", "min_overlap", "message"),
    [
        (boxes((2, 5), shape=(24, 12, 9)), SPACING, 0.1, "same grid"),
        (2 * boxes((2, 5)), SPACING, 0.1, "only 0 and 1"),
        (boxes((2, 5)) * 0.5, SPACING, 0.1, "only 0 and 1"),
        (boxes((2, 5)), (1.0, 1.0), 0.1, "spacing_mm"),
        (boxes((2, 5)), (1.0, 1.0, 0.0), 0.1, "spacing_mm"),
        (boxes((2, 5)), SPACING, 1.5, "min_overlap is 1.5"),
        (boxes((2, 5)), SPACING, math.nan, "min_overlap is nan"),
    ],
)
def test_what_cannot_be_counted_is_refused(mask, spacing, min_overlap, message):
    with pytest.raises(InputError, match=message):
        lesion_counts(mask, boxes((2, 5)), spacing, min_overlap)


# --- over cases


def cases():
    """p has three lesions, two found; q one, missed; r none and two false alarms."""
    nothing = boxes()
    return [
        ("p1", "p", boxes((2, 5)), boxes((2, 5), (12, 1)), SPACING),
        ("p2", "p", boxes((3, 5)), boxes((2, 5)), SPACING),
        ("q1", "q", nothing, boxes((12, 2)), SPACING),
        ("r1", "r", boxes((2, 2), (8, 2)), nothing, SPACING),
    ]


def test_a_row_of_a_case_ends_with_its_lesions():
    rows = evaluate_cases(cases())
    names = ["lesions", "lesions_found", "false_alarms"]
    assert all(list(row)[-3:] == names for row in rows)
    assert [tuple(row[name] for name in names) for row in rows] == [
        (2, 1, 0),
        (1, 1, 0),
        (1, 0, 0),
        (0, 0, 2),
    ]
    assert all(type(row[name]) is int for row in rows for name in names)
    assert lesion_columns(*cases()[0][2:]) == {n: rows[0][n] for n in names}


def test_the_recall_is_pooled_over_lesions_and_its_interval_is_by_patient():
    summary = summarise(evaluate_cases(cases()))
    recall = summary["lesion_recall"]
    assert recall["mean"] == pytest.approx(2 / 4), "not 1/2, 1 and 0 averaged over scans"
    assert (recall["n"], recall["n_patients"]) == (4, 2), "r has no lesion to find"
    # p twice: 4 of 6; p and q: 2 of 4; q twice: 0 of 2
    assert recall["low"] == 0 and recall["high"] == pytest.approx(4 / 6)
    assert summary["counts"]["lesions"] == 4 and summary["counts"]["lesions_found"] == 2
    assert summary["false_alarms"]["mean"] == pytest.approx(2 / 4)
    assert summary["false_alarms"]["n"] == 4
    assert not {"lesions", "lesions_found"} & set(summary), "counts are no metrics"
    assert json.loads(json.dumps(summary)) == summary


def test_one_patient_tells_nothing_of_spread():
    rows = [{"patient": "p", "lesions": 1, "lesions_found": n % 2} for n in range(10)]
    recall = lesion_recall(rows)
    assert (recall["mean"], recall["low"], recall["high"]) == (0.5, 0.5, 0.5)
    apart = lesion_recall([row | {"patient": n} for n, row in enumerate(rows)])
    assert apart["low"] < 0.5 < apart["high"]


def test_without_a_lesion_there_is_no_recall():
    summary = summarise(evaluate_cases(cases()[3:]))
    assert "lesion_recall" not in summary and summary["false_alarms"]["mean"] == 2
    with pytest.raises(InputError, match="no case has a lesion"):
        lesion_recall(evaluate_cases(cases()[3:]))


@pytest.mark.parametrize("old", [[0, 1, 2, 3], [0], [3]])
def test_rows_of_older_results_are_summarised_as_before(old):
    rows = evaluate_cases(cases())
    dice_before = summarise(rows)["dice"]
    for number in old:
        for name in ("lesions", "lesions_found", "false_alarms"):
            del rows[number][name]
    summary = summarise(rows)
    assert summary["dice"] == dice_before
    assert not {"lesion_recall", "false_alarms"} & set(summary)
    assert "lesions" not in summary["counts"]


def test_a_fault_still_names_the_case():
    bad = ("odd", "p", boxes((2, 5)), boxes((2, 5), shape=(24, 12, 9)), SPACING)
    with pytest.raises(InputError, match="case odd"):
        evaluate_cases([bad])


def test_the_command_tells_recall_and_false_alarms(tmp_path, capsys):
    for case, _, mask, reference, _ in cases():
        for folder, array in (("masks", mask), ("truth", reference)):
            (tmp_path / folder).mkdir(exist_ok=True)
            image = nib.Nifti1Image(array, np.diag([*SPACING, 1.0]))
            image.header.set_xyzt_units("mm")
            nib.save(image, tmp_path / folder / f"{case}.nii.gz")
    table = tmp_path / "results.csv"
    words = ["evaluate", str(tmp_path / "masks"), str(tmp_path / "truth"), "--out", str(table)]
    assert cli.main(words) == 0
    told = capsys.readouterr().out.splitlines()
    assert any(line.startswith("lesion_recall: 0.500 (0.000-") for line in told)
    assert any(line.startswith("false_alarms: 0.500 (0.000-") for line in told)
    assert told[-1].endswith("lesions 4, lesions found 2")
    assert table.read_text().splitlines()[0] == "no,ID,Avr,Dice,IoU,HD", "as the sources have it"
    assert len(read_case_table(table)[0]) == 4


def test_the_lesions_of_the_pancreas_are_not_the_pancreas(tmp_path):
    organ, lesion = boxes((2, 8), (14, 8)), boxes((4, 2))
    nib.save(
        nib.Nifti1Image(organ + lesion, np.diag([*SPACING, 1.0])), tmp_path / "pancreas.nii.gz"
    )
    case = Case("a", "p", tmp_path / "image.nii.gz", tmp_path / "pancreas.nii.gz")
    row = score_case(case, organ)  # the organ found, the lesion not
    assert (row["dice"], row["lesions"], row["lesions_found"], row["false_alarms"]) == (1, 1, 0, 0)
