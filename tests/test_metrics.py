"""Metrics: values by hand, the empty-mask policy, always finite, faults that say what was found."""

import itertools
import math

import numpy as np
import pytest

from seg_lib import metrics, surfaces
from seg_lib.diameters import recist_diameter_mm
from seg_lib.errors import InputError
from seg_lib.metrics import (
    added_path_length,
    case_metrics,
    centroid_distance_mm,
    dice,
    hausdorff95_mm,
    hausdorff_mm,
    iou,
    macro_f1,
    recist_error,
    relative_volume_error,
    rmse,
    surface_dice,
)

SPACING_MM = {2: (0.5, 2.0), 3: (0.5, 2.0, 3.0)}
KEYS = [
    *["dice", "iou", "hd_mm", "hd95_mm", "hd95_pooled_mm", "surface_dice_2mm"],
    *["volume_error", "recist_error", "volume_ml", "reference_volume_ml"],
]


def kinds(shape):
    """The masks that break metrics: nothing, everything, a corner, any; uint8."""
    corner = np.zeros(shape, dtype=np.uint8)
    corner[(0,) * len(shape)] = 1
    return {
        "empty": np.zeros(shape, dtype=np.uint8),
        "full": np.ones(shape, dtype=np.uint8),
        "one voxel": corner,
        "random": np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8),
    }


def row(n_voxels, length=20):
    """A 2D mask, one row high, of which the first voxels are foreground."""
    mask = np.zeros((1, length), dtype=bool)
    mask[0, :n_voxels] = True
    return mask


# --- by hand


def test_the_distance_of_the_middles_by_hand():
    mask, reference = np.zeros((2, 20, 9, 9), np.uint8)
    mask[2:5, 3, 4], reference[5:8, 3, 8] = 1, 1  # 3 voxels of 2 mm and 4 of 1 mm: 6, 0, 4
    assert centroid_distance_mm(mask, reference, (2, 1, 1)) == pytest.approx(math.hypot(6, 4))
    assert centroid_distance_mm(mask, mask, (2, 1, 1)) == 0
    nothing = np.zeros_like(mask)
    assert centroid_distance_mm(nothing, nothing, (2, 1, 1)) == 0
    assert centroid_distance_mm(mask, nothing, (2, 1, 1)) == pytest.approx(
        math.hypot(40, 9, 9)
    )  # the diagonal
    with pytest.raises(InputError, match="one voxel size"):
        centroid_distance_mm(mask, reference, (2, 1))


SQUARE = np.pad(np.ones((4, 4), bool), ((1, 2), (1, 3)))  # 12 of its 16 pixels are its contour
BESIDE = np.roll(SQUARE, 1, axis=1)  # shares 3 pixels of the upper edge and 3 of the lower one


def test_the_added_path_by_hand():
    assert added_path_length(BESIDE, SQUARE) == 12 - 6
    assert added_path_length(SQUARE, SQUARE) == 0
    inner = np.pad(np.ones((2, 2), bool), ((2, 3), (2, 4)))
    assert added_path_length(SQUARE, inner) == 4  # all of it, though the square covers it
    assert added_path_length(inner, SQUARE) == 12
    stray = SQUARE.copy()
    stray[6, 7] = True
    assert added_path_length(stray, SQUARE) == 0 < added_path_length(SQUARE, stray) == 1
    assert added_path_length(SQUARE, SQUARE & ~inner) == 0  # its inner edge is its outer one
    wide = SQUARE | BESIDE  # one column more: four pixels to draw, and two to draw back
    assert (added_path_length(SQUARE, wide), added_path_length(wide, SQUARE)) == (4, 2)


def test_the_added_path_in_mm_is_pixels_of_the_root_of_their_area():
    assert added_path_length(BESIDE, SQUARE, (0.7, 0.7)) == pytest.approx(6 * 0.7)
    assert added_path_length(BESIDE, SQUARE, (0.5, 2.0)) == 6
    thick = SQUARE[..., None], BESIDE[..., None]
    assert added_path_length(*thick, (0.7, 0.7, 5.0)) == pytest.approx(6 * 0.7)  # not how thick
    with pytest.raises(InputError, match="one voxel size"):
        added_path_length(BESIDE, SQUARE, (0.7, 0.7, 5.0))


def test_the_added_path_of_a_volume_is_the_sum_over_its_slices():
    rng = np.random.default_rng(6)
    mask, reference = rng.random((2, 9, 8, 5)) < 0.6
    mask[..., 1], reference[..., 3] = False, False  # missed, and a false alarm
    each = [added_path_length(mask[..., z], reference[..., z], (0.5, 0.8)) for z in range(5)]
    assert added_path_length(mask, reference, (0.5, 0.8, 3.0)) == pytest.approx(sum(each))
    assert min(each[:3]) > 0 == each[3]
    cube = np.stack([SQUARE] * 3, axis=2)
    assert added_path_length(np.zeros_like(cube), cube) == 3 * 12  # first and last slice no lids


def test_the_added_path_is_that_of_contours_by_erosion():
    from scipy.ndimage import binary_erosion

    mask, reference = np.random.default_rng(7).random((2, 20, 20)) < 0.8
    ours, theirs = (m & ~binary_erosion(m) for m in (mask, reference))
    assert added_path_length(mask, reference) == np.sum(theirs & ~ours) > 20


def test_dice_and_iou_by_hand():
    mask = np.array([[1, 1, 1, 0], [0, 0, 0, 0]])
    reference = np.array([[0, 1, 1, 1], [0, 0, 0, 1]])
    assert dice(mask, reference) == 2 * 2 / (3 + 4)  # 2 shared, 3 and 4
    assert iou(mask, reference) == pytest.approx(2 / 5, rel=1e-15)


def test_dice_is_the_tp_fp_fn_form():
    """Source 003, equations 2 and 3."""
    mask, reference = np.random.default_rng(1).integers(0, 2, (2, 6, 6, 6))
    tp, fp, fn = (
        np.sum(a & b) for a, b in [(mask, reference), (mask, 1 - reference), (1 - mask, reference)]
    )
    assert dice(mask, reference) == pytest.approx(2 * tp / (2 * tp + fp + fn), rel=1e-15)
    assert iou(mask, reference) == pytest.approx(tp / (tp + fp + fn), rel=1e-15)


def test_dice_equals_monai():
    import torch
    from monai.metrics import compute_dice, compute_iou

    mask, reference = np.random.default_rng(2).integers(0, 2, (2, 1, 1, 7, 6, 5))
    tensors = torch.from_numpy(mask), torch.from_numpy(reference)
    ours = dice(mask[0, 0], reference[0, 0]), iou(mask[0, 0], reference[0, 0])
    theirs = compute_dice(*tensors).item(), compute_iou(*tensors).item()
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_distances_by_hand():
    """Two pixels 3 rows (1.5 mm) and 2 columns (4 mm) apart."""
    mask, reference = np.zeros((2, 8, 8), dtype=bool)
    mask[1, 1], reference[4, 3] = True, True
    apart_mm = math.hypot(1.5, 4.0)
    assert hausdorff_mm(mask, reference, (0.5, 2.0)) == pytest.approx(apart_mm, rel=1e-12)
    for definition in ("max", "pooled"):
        value = hausdorff95_mm(mask, reference, (0.5, 2.0), definition)
        assert value == pytest.approx(apart_mm, rel=1e-12)
    assert surface_dice(mask, reference, (0.5, 2.0), tolerance_mm=apart_mm + 1e-9) == 1.0
    assert surface_dice(mask, reference, (0.5, 2.0)) == 0.0


def test_hd95_must_be_named_and_the_names_differ():
    """The first ten of twenty in a row: see test_surfaces for the arithmetic."""
    mask, reference = row(20), row(10)
    assert hausdorff95_mm(mask, reference, (1, 1)) == pytest.approx(9.05, rel=1e-12)
    assert hausdorff95_mm(mask, reference, (1, 1), "pooled") == pytest.approx(8.55, rel=1e-12)
    with pytest.raises(InputError, match=r"'mean' is unknown; choose from \['max', 'pooled'\]"):
        hausdorff95_mm(mask, reference, (1, 1), "mean")


@pytest.mark.parametrize(
    ("n_mask", "n_reference", "volume", "recist"),
    [
        (10, 10, 0.0, 0.0),
        (9, 10, 0.1, 1 / 9),  # 8 steps of 9
        (12, 10, 0.2, 2 / 9),
        (20, 10, 1.0, 1.0),
        (20, 4, 1.0, 1.0),  # four times too large: clipped with min, not max
        (1, 10, 0.9, 1.0),
        (10, 1, 1.0, 1.0),  # a reference of one voxel has diameter 0
        (1, 1, 0.0, 0.0),
    ],
)
def test_size_errors_by_hand(n_mask, n_reference, volume, recist):
    mask, reference = row(n_mask), row(n_reference)
    assert relative_volume_error(mask, reference) == pytest.approx(volume, abs=1e-12)
    for method in ("feret", "circle"):
        value = recist_error(mask, reference, (1, 1), method)
        assert value == pytest.approx(recist, abs=1e-12)


def test_the_printed_max_would_call_every_prediction_equally_bad():
    """Source 003 prints max(|d - g| / g, 1): at least 1 however good the prediction."""
    good, bad = abs(9 - 10) / 10, abs(6 - 10) / 10
    assert max(good, 1) == max(bad, 1) == 1
    assert recist_error(row(10), row(11), (1, 1)) < recist_error(row(7), row(11), (1, 1)) < 1


def test_too_large_costs_more_in_size_than_in_dice():
    """Source 003: size errors punish over-estimation harder than the Dice does."""
    small, right, large = row(5), row(10), row(15)
    assert dice(small, right) < dice(large, right)  # 0.667 and 0.8
    assert relative_volume_error(small, right) == relative_volume_error(large, right) == 0.5


def test_rmse_by_hand():
    prediction = np.array([0.9, 0.6, 0.2, 0.5])
    expected = math.sqrt((0.01 + 0.16 + 0.04 + 0.25) / 4)
    assert rmse(prediction, np.array([1, 1, 0, 0])) == pytest.approx(expected, rel=1e-12)


def test_rmse_of_masks_is_the_root_of_the_error_rate():
    mask, reference = np.random.default_rng(3).random((2, 9, 9)) < 0.3
    assert rmse(mask, reference) == pytest.approx(math.sqrt(np.mean(mask != reference)))
    found, missed = np.zeros((2, 256, 256), dtype=bool)
    tumour = np.zeros((256, 256), dtype=bool)
    tumour[:5, :5] = found[1:6, 1:6] = True
    assert rmse(missed, tumour) < 0.02  # and yet all of it was missed
    assert dice(missed, tumour) == 0.0 < 0.6 < dice(found, tumour)


# --- empty masks

TRUE, FALSE, DIAGONAL = np.ones((4, 3), bool), np.zeros((4, 3), bool), math.hypot(4 * 0.5, 3 * 2.0)
POLICY = {  # metric: both empty, one empty
    "dice": (dice, 1.0, 0.0),
    "iou": (iou, 1.0, 0.0),
    "surface_dice": (lambda m, r: surface_dice(m, r, SPACING_MM[2]), 1.0, 0.0),
    "hausdorff": (lambda m, r: hausdorff_mm(m, r, SPACING_MM[2]), 0.0, DIAGONAL),
    "hd95 max": (lambda m, r: hausdorff95_mm(m, r, SPACING_MM[2], "max"), 0.0, DIAGONAL),
    "hd95 pooled": (lambda m, r: hausdorff95_mm(m, r, SPACING_MM[2], "pooled"), 0.0, DIAGONAL),
    "volume": (relative_volume_error, 0.0, 1.0),
    "feret": (lambda m, r: recist_error(m, r, SPACING_MM[2], "feret"), 0.0, 1.0),
    "circle": (lambda m, r: recist_error(m, r, SPACING_MM[2], "circle"), 0.0, 1.0),
}


@pytest.mark.parametrize(("metric", "both", "one"), POLICY.values(), ids=POLICY)
def test_empty_mask_policy(metric, both, one):
    single = np.zeros((4, 3), dtype=bool)
    single[2, 1] = True  # diameter 0, and yet not empty
    assert metric(FALSE, FALSE) == both
    for something in (TRUE, single):
        assert metric(something, FALSE) == pytest.approx(one, rel=1e-12)
        assert metric(FALSE, something) == pytest.approx(one, rel=1e-12)


def test_the_added_path_of_empty_masks():
    for spacing_mm in (None, (0.5, 2.0)):  # a pixel of 1 mm
        assert added_path_length(FALSE, FALSE, spacing_mm) == 0
        assert added_path_length(TRUE, FALSE, spacing_mm) == 0  # erasing costs nothing
        assert added_path_length(FALSE, TRUE, spacing_mm) == 4 * 3 - 2 * 1


def test_a_missed_tumour_is_worse_than_any_other_distance():
    far, near = np.zeros((2, 9, 8, 7), dtype=bool)
    far[0, 0, 0], near[-1, -1, -1] = True, True
    missed = hausdorff_mm(np.zeros_like(far), far, SPACING_MM[3])
    assert missed > hausdorff_mm(near, far, SPACING_MM[3])


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4), (7, 1), (1, 1, 1)])
def test_every_metric_is_finite_and_in_range_for_every_pair(shape):
    spacing_mm = SPACING_MM[len(shape)]
    diagonal = np.linalg.norm(np.array(shape) * spacing_mm)
    for mask, reference in itertools.product(kinds(shape).values(), repeat=2):
        values = case_metrics(mask, reference, spacing_mm, probability=mask * 0.9)
        assert list(values) == [*KEYS, "rmse"]
        for name, value in values.items():
            assert type(value) is float and math.isfinite(value)
            assert 0 <= value <= (diagonal if name.startswith("hd") else 1), name
        assert values["iou"] == pytest.approx(values["dice"] / (2 - values["dice"]))
        assert values["hd95_mm"] <= values["hd_mm"] and values["hd95_pooled_mm"] <= values["hd_mm"]
        if np.array_equal(mask, reference):
            assert [values[k] for k in KEYS[:8]] == [1, 1, 0, 0, 0, 1, 0, 0]


# --- all at once


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 6)])
def test_case_metrics_are_the_single_metrics(shape):
    spacing_mm = SPACING_MM[len(shape)]
    rng = np.random.default_rng(4)
    mask, reference = (np.pad(rng.random(shape) < 0.2, 3) for _ in range(2))
    values = case_metrics(mask, reference, spacing_mm)
    assert values == pytest.approx(
        {
            "dice": dice(mask, reference),
            "iou": iou(mask, reference),
            "hd_mm": hausdorff_mm(mask, reference, spacing_mm),
            "hd95_mm": hausdorff95_mm(mask, reference, spacing_mm),
            "hd95_pooled_mm": hausdorff95_mm(mask, reference, spacing_mm, "pooled"),
            "surface_dice_2mm": surface_dice(mask, reference, spacing_mm, 2.0),
            "volume_error": relative_volume_error(mask, reference),
            "recist_error": recist_error(mask, reference, spacing_mm),
            "volume_ml": mask.sum() * math.prod(spacing_mm) / 1000,
            "reference_volume_ml": reference.sum() * math.prod(spacing_mm) / 1000,
        },
        rel=1e-12,
    )


def test_case_metrics_of_a_missed_voxel_by_hand():
    """12 x 10 x 12 mm: the diagonal is sqrt(144 + 100 + 144) mm. And 0.5 is 0.5 off everywhere."""
    reference = np.zeros((12, 10, 6), np.uint8)
    reference[4, 5, 2] = 1
    doubt = np.full(reference.shape, 0.5)
    values = case_metrics(np.zeros_like(reference), reference, (1, 1, 2), probability=doubt)
    for name in ("hd_mm", "hd95_mm", "hd95_pooled_mm"):
        assert values[name] == pytest.approx(19.6977, abs=1e-4)
    assert values["rmse"] == 0.5 and values["dice"] == 0 and values["volume_error"] == 1
    assert values["reference_volume_ml"] == pytest.approx(0.002)


def test_case_metrics_measure_the_surfaces_once(monkeypatch):
    calls = []

    def counting(*arguments):
        calls.append(arguments)
        return surfaces.surface_distances(*arguments)

    monkeypatch.setattr(metrics, "surface_distances", counting)
    case_metrics(TRUE, TRUE, (1, 1))
    assert len(calls) == 1


def test_volume_in_millilitres():
    cube = np.zeros((20, 20, 20), dtype=bool)
    cube[5:15, 5:15, 5:15] = True  # 10 x 10 x 10 voxels of 1 mm: one millilitre
    assert case_metrics(cube, cube, (1, 1, 1))["volume_ml"] == pytest.approx(1.0)
    assert case_metrics(cube, cube, (1, 1, 2.5))["reference_volume_ml"] == pytest.approx(2.5)


# --- faults

ALL = {
    "dice": dice,
    "iou": iou,
    "volume": relative_volume_error,
    "hausdorff": lambda m, r: hausdorff_mm(m, r, (1, 1)),
    "hd95": lambda m, r: hausdorff95_mm(m, r, (1, 1)),
    "surface_dice": lambda m, r: surface_dice(m, r, (1, 1)),
    "recist": lambda m, r: recist_error(m, r, (1, 1)),
    "added path": added_path_length,
    "case": lambda m, r: case_metrics(m, r, (1, 1)),
}


@pytest.mark.parametrize("metric", ALL.values(), ids=ALL)
def test_faults_name_what_was_found(metric):
    with pytest.raises(InputError, match=r"\(4, 3\) and \(3, 4\).*same grid"):
        metric(TRUE, TRUE.T)
    with pytest.raises(InputError, match="holds the values 255.*mask == 255"):
        metric(TRUE, TRUE * np.uint8(255))
    with pytest.raises(InputError, match=r"holds the values 0.7.*probability >= 0.5"):
        metric(TRUE * 0.7, TRUE)


@pytest.mark.parametrize(
    ("prediction", "reference", "says"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"\(2, 3\) and \(3, 2\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), r"\(0, 3\)"),
        (np.array([0.1, np.nan]), np.array([0, 1]), "nan or inf"),
        (np.array([0.1, np.inf]), np.array([0, 1]), "nan or inf"),
    ],
)
def test_rmse_faults(prediction, reference, says):
    with pytest.raises(InputError, match=says):
        rmse(prediction, reference)


def test_recist_diameter_is_found_here_too():
    assert metrics.recist_diameter_mm is recist_diameter_mm


# --- classification


def test_macro_f1_by_hand():
    truth, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    # class 0: 2 right, 3 true, 2 named: 4/5; class 1: 1, 2, 2: 2/4; class 2: 1, 1, 2: 2/3
    assert macro_f1(predicted, truth) == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3, rel=1e-12)
    assert macro_f1(truth, truth) == 1.0
    assert macro_f1([1, 1], [0, 0]) == 0.0


def test_macro_f1_of_the_majority_class_in_source_004():
    """9 / 15 / 12 cases, all called the largest class: accuracy 0.417, macro-F1 0.196."""
    truth = [0] * 9 + [1] * 15 + [2] * 12
    assert macro_f1([1] * 36, truth) == pytest.approx(0.196, abs=5e-4)


def test_macro_f1_over_a_fixed_list_of_classes():
    assert macro_f1([0, 0], [0, 0]) == 1.0
    assert macro_f1([0, 0], [0, 0], classes=[0, 1, 2]) == pytest.approx(1 / 3)
    assert macro_f1(["a", "b"], ["a", "b"], classes=["b", "a"]) == 1.0
    with pytest.raises(InputError, match=r"\[3\] is not among the classes \[0, 1, 2\]"):
        macro_f1([0, 3], [0, 1], classes=[0, 1, 2])


@pytest.mark.parametrize(("predicted", "truth"), [([0, 1], [0]), ([], []), ([[0]], [[0]])])
def test_macro_f1_faults(predicted, truth):
    with pytest.raises(InputError, match="one of each for every case"):
        macro_f1(predicted, truth)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_equals_scikit_learn(seed):
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = np.random.default_rng(seed).integers(0, 4, (2, 15))
    assert macro_f1(predicted, truth) == pytest.approx(
        sklearn_metrics.f1_score(truth, predicted, average="macro"), rel=1e-12
    )
    assert macro_f1(predicted, truth, classes=range(6)) == pytest.approx(
        sklearn_metrics.f1_score(truth, predicted, average="macro", labels=range(6)), rel=1e-12
    )
