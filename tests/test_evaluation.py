"""Rows, their summary with the empty cases counted, and folders compared file by file."""

import math

import numpy as np
import pytest
from PIL import Image

from seg_lib.data.nifti import read_image, write_image, write_mask
from seg_lib.errors import InputError
from seg_lib.evaluation import evaluate_cases, evaluate_folders, summarise
from seg_lib.lesions import lesion_columns
from seg_lib.metrics import case_metrics

SPACING = (1.0, 1.0, 2.0)


def box(start, size=4, shape=(12, 12, 6)):
    mask = np.zeros(shape, np.uint8)
    if size:
        mask[start : start + size, 2:6, 1:4] = 1
    return mask


def five_cases():
    """Perfect, half, missed, false alarm and both empty; p has two of them."""
    nothing = box(0, size=0)
    return [
        ("perfect", "p", box(2), box(2), SPACING),
        ("half", "p", box(2), box(4), SPACING),  # 2 of 4 planes in common: Dice 1/2
        ("missed", "q", nothing, box(2), SPACING),
        ("false alarm", "r", box(2), nothing, SPACING),
        ("empty", "s", nothing, nothing, SPACING),
    ]


def test_a_row_is_the_case_and_its_metrics():
    rows = evaluate_cases(five_cases())
    assert [row["dice"] for row in rows] == [1.0, 0.5, 0.0, 0.0, 1.0]
    pair = (box(2), box(4), SPACING)
    expected = case_metrics(*pair) | lesion_columns(*pair)
    assert rows[1] == {"case": "half", "patient": "p", **expected}
    numbers = [value for row in rows for value in row.values() if not isinstance(value, str)]
    assert all(map(math.isfinite, numbers))


def test_a_case_counts_once():
    with pytest.raises(InputError, match="half is given twice"):
        evaluate_cases([*five_cases(), five_cases()[1]])


def test_a_fault_names_the_case():
    with pytest.raises(InputError, match="case odd"):
        evaluate_cases([("odd", "p", box(2), box(2, shape=(12, 12, 7)), SPACING)])


def test_the_summary_by_hand():
    summary = summarise(evaluate_cases(five_cases()))
    assert summary["counts"] == {
        "cases": 5,
        "patients": 4,
        "both_empty": 1,
        "missed": 1,
        "false_alarm": 1,
        "lesions": 3,
        "lesions_found": 2,
    }
    found = summary["dice"]
    assert found["mean"] == pytest.approx(0.5)
    assert found["sd"] == pytest.approx(math.sqrt((0.25 + 0 + 0.25 + 0.25 + 0.25) / 5))
    assert found["median"] == 0.5
    assert found["mean_without_both_empty"] == pytest.approx(1.5 / 4)  # what nnU-Net would print
    assert (found["n"], found["n_patients"]) == (5, 4)
    assert 0 <= found["low"] < 0.5 < found["high"] <= 1
    metrics = case_metrics(box(2), box(2), SPACING)
    assert set(summary) == {"counts", *metrics, "false_alarms", "lesion_recall"}


def test_missing_a_lesion_makes_every_mean_worse():
    """MONAI's HD95 drops missed cases from the mean, so it improves as lesions are missed."""
    cases = five_cases()[:2]
    before = summarise(evaluate_cases(cases))
    after = summarise(evaluate_cases([*cases, five_cases()[2]]))
    for metric in ("dice", "iou", "surface_dice_2mm"):
        assert after[metric]["mean"] < before[metric]["mean"]
    for metric in ("hd_mm", "hd95_mm", "hd95_pooled_mm", "volume_error", "recist_error"):
        assert after[metric]["mean"] > before[metric]["mean"]


def test_the_interval_draws_patients():
    """One patient with ten equal cases is one patient: the interval has no width."""
    rows = evaluate_cases([(f"{i}", "p", *five_cases()[1][2:]) for i in range(10)])
    found = summarise(rows)["dice"]
    assert (found["low"], found["high"]) == (0.5, 0.5)


def test_only_empty_cases_leave_no_mean_without_them():
    summary = summarise(evaluate_cases(five_cases()[4:]))
    assert summary["dice"]["mean"] == 1.0
    assert summary["dice"]["mean_without_both_empty"] is None


def test_nothing_to_summarise_is_an_error():
    with pytest.raises(InputError, match="no cases"):
        summarise([])


@pytest.fixture
def folders(tmp_path):
    """Two folders of NIfTI masks for three cases, made on the grid of one scan."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    hu = np.linspace(-1000, 400, 12 * 12 * 6).reshape(12, 12, 6)
    write_image(tmp_path / "scan.nii.gz", hu, affine)
    scan = read_image(tmp_path / "scan.nii.gz")
    for case, _, mask, reference, _ in five_cases()[:3]:
        write_mask(tmp_path / "predictions" / f"{case}.nii.gz", mask, scan)
        write_mask(tmp_path / "truth" / f"{case}.nii.gz", reference, scan)
    return tmp_path


def test_folders_give_the_same_rows_as_arrays(folders):
    patients = {"perfect": "p", "half": "p", "missed": "q"}
    rows = evaluate_folders(folders / "predictions", folders / "truth", patients)
    expected = sorted(evaluate_cases(five_cases()[:3]), key=lambda row: row["case"])
    assert rows == expected
    alone = evaluate_folders(folders / "predictions", folders / "truth")
    assert [row["patient"] for row in alone] == ["half", "missed", "perfect"]


def test_the_test_of_a_data_folder_is_judged_by_the_names_of_its_images(folders):
    """Its masks have other names than its images; a case of the training is not asked for."""
    rows = evaluate_folders(folders / "predictions", folders / "truth")
    lines = ["case,patient,image,label,split,note"]
    for case, label, split, told in (
        ("perfect", "perfect", "test", ""),
        ("half", "half", "test", '"left, upper lobe"'),
        ("missed", "missed", "test", ""),
        ("own", "half", "train", "right"),
    ):
        (folders / f"{case}.nii.gz").write_text(case)  # the images themselves are not read
        lines.append(f"id_{case},p_{case},{case}.nii.gz,masks/of_{label}.nii.gz,{split},{told}")
    for path in sorted((folders / "truth").iterdir()):
        path.rename(path.with_name(f"of_{path.name}"))
    (folders / "truth").rename(folders / "masks")
    text = "\n".join(lines) + "\n"
    (folders / "cases.csv").write_text(text)
    found = evaluate_folders(folders / "predictions", folders)
    assert [row.pop("report", None) for row in found] == ["left, upper lobe", None, None]
    names = [{"case": f"id_{row['case']}", "patient": f"p_{row['case']}"} for row in rows]
    assert found == [row | name for row, name in zip(rows, names, strict=True)]
    (folders / "cases.csv").write_text(text.replace(",test,", ",train,"))
    with pytest.raises(InputError, match=r"cases\.csv has no test case with a label"):
        evaluate_folders(folders / "predictions", folders)


def test_missing_and_extra_files_are_listed_and_nothing_is_scored(folders):
    (folders / "predictions" / "half.nii.gz").rename(folders / "predictions" / "hälf.nii.gz")
    with pytest.raises(InputError, match=r"missing: half\.nii\.gz; extra: hälf\.nii\.gz"):
        evaluate_folders(folders / "predictions", folders / "truth")


def test_p1_never_meets_p10(folders):
    (folders / "predictions" / "half.nii.gz").rename(folders / "predictions" / "half0.nii.gz")
    with pytest.raises(InputError, match=r"half0\.nii\.gz"):
        evaluate_folders(folders / "predictions", folders / "truth")


def stored_on(folders, affine, shape=(12, 12, 6)):
    """The prediction of the case "half", stored on another grid."""
    path = folders / "other.nii.gz"
    write_image(path, np.linspace(-1000, 400, math.prod(shape)).reshape(shape), np.array(affine))
    mask = box(2, shape=shape)
    write_mask(folders / "predictions" / "half.nii.gz", mask, like=read_image(path))


SAME = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
SHIFTED = [[1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
MIRRORED = [[-1.0, 0, 0, 11], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]  # x runs from 11 mm to 0


@pytest.mark.parametrize(
    ("affine", "shape"),
    [(SHIFTED, (12, 12, 6)), (np.eye(4), (12, 12, 6)), (SAME, (12, 12, 7))],
    ids=["shifted", "identity", "shape"],
)
def test_another_grid_is_refused_and_both_files_named(folders, affine, shape):
    stored_on(folders, affine, shape)
    with pytest.raises(InputError, match=r"predictions.half\.nii\.gz") as error:
        evaluate_folders(folders / "predictions", folders / "truth")
    assert str(folders / "truth" / "half.nii.gz") in str(error.value)


def test_stored_mirrored_with_the_right_affine_scores_the_same(folders):
    """An index-wise comparison would call it wrong, or a wrong one right."""
    before = evaluate_folders(folders / "predictions", folders / "truth")
    stored_on(folders, MIRRORED)
    assert evaluate_folders(folders / "predictions", folders / "truth") == before


def test_probabilities_are_no_mask(folders):
    target = folders / "predictions" / "half.nii.gz"
    write_image(target, np.full((12, 12, 6), 0.5), np.diag([1.0, 1.0, 2.0, 1.0]))
    with pytest.raises(InputError, match=r"half\.nii\.gz"):
        evaluate_folders(folders / "predictions", folders / "truth")


@pytest.mark.parametrize("missing", ["predictions", "truth"])
def test_a_missing_or_empty_folder_is_named(folders, missing):
    (folders / missing).rename(folders / "elsewhere")
    with pytest.raises(InputError, match=f"{missing}: there is no such folder"):
        evaluate_folders(folders / "predictions", folders / "truth")
    (folders / missing).mkdir()
    (folders / missing / "notes.txt").write_text("no mask")
    with pytest.raises(InputError, match=f"{missing}: holds no masks"):
        evaluate_folders(folders / "predictions", folders / "truth")


def png(path, mask):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(mask).save(path)


def test_png_folders_with_255_or_1(tmp_path):
    reference = box(4)[:, :, 2]
    png(tmp_path / "truth" / "a.png", reference * 255)
    png(tmp_path / "predictions" / "a.png", box(2)[:, :, 2])
    (row,) = evaluate_folders(tmp_path / "predictions", tmp_path / "truth", spacing_mm=(0.7, 0.7))
    pair = (box(2)[:, :, 2], reference, (0.7, 0.7))
    assert row == {"case": "a", "patient": "a"} | case_metrics(*pair) | lesion_columns(*pair)
    assert row["dice"] == 0.5


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.array([[0, 1], [2, 0]], np.uint8), "values 0, 1, 2"),
        (np.array([[0, 1], [255, 0]], np.uint8), "values 0, 1, 255"),
        (np.array([[0, 1000], [300, 0]], np.uint16), "more than 8 bits"),  # clipped: 0 and 255
        (np.zeros((3, 2), np.uint8), "size of the reference"),
    ],
)
def test_png_that_is_no_mask_of_that_size_is_refused(tmp_path, mask, message):
    png(tmp_path / "truth" / "a.png", np.zeros((2, 2), np.uint8))
    png(tmp_path / "predictions" / "a.png", mask)
    with pytest.raises(InputError, match=message):
        evaluate_folders(tmp_path / "predictions", tmp_path / "truth")


@pytest.mark.parametrize("colour", [(200, 0, 0), (255, 255, 255)], ids=["red", "white"])
def test_a_mask_with_a_palette_scores_as_the_plain_one(tmp_path, colour):
    """The file holds 0 and 1, and says in which colours to show them."""
    png(tmp_path / "truth" / "a.png", box(4)[:, :, 2])
    png(tmp_path / "plain" / "a.png", box(2)[:, :, 2])
    coloured = Image.fromarray(box(2)[:, :, 2])
    coloured.putpalette((0, 0, 0, *colour))
    (tmp_path / "coloured").mkdir()
    coloured.save(tmp_path / "coloured" / "a.png")
    with Image.open(tmp_path / "coloured" / "a.png") as stored:
        assert stored.mode == "P"
    rows = evaluate_folders(tmp_path / "coloured", tmp_path / "truth")
    assert rows == evaluate_folders(tmp_path / "plain", tmp_path / "truth")
    assert rows[0]["dice"] == 0.5


def test_a_broken_png_is_refused(tmp_path):
    png(tmp_path / "truth" / "a.png", np.zeros((2, 2), np.uint8))
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "a.png").write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"a\.png"):
        evaluate_folders(tmp_path / "predictions", tmp_path / "truth")
