"""Ratings of nodules become notes, and what they are worth is measured beside its controls."""

import csv
import json
from pathlib import Path

import nibabel as nib
import nodule_malignancy as judged
import nodule_ratings
import numpy as np
import pytest
import tables_ratings
from benchmark_runs import run
from nodule_notes import COLUMNS, WORDS, Rated, note_of, read_ratings
from sklearn.metrics import roc_auc_score

from seg_lib.errors import InputError

FULL = {"subtlety": 4, "sphericity": 5, "texture": 3, "margin": 1, "lobulation": 2}
FULL |= {"spiculation": 5, "calcification": 6}


def test_a_note_by_hand():
    assert note_of(FULL) == (
        "A moderately obvious, round, part-solid nodule. The margin is poorly defined. "
        "Hardly any lobulation. Marked spiculation. No calcification."
    )
    assert (
        note_of({"subtlety": 5, "calcification": 1}) == "An obvious nodule. Popcorn calcification."
    )
    assert note_of({"margin": 5}) == "The margin is sharp."
    assert note_of({}) == ""


def test_a_note_never_tells_malignancy_or_size():
    more = FULL | {"malignancy": 5, "diameter_mm": 23, "diagnosis": 1, "Malignancy_value": 5}
    assert note_of(more) == note_of(FULL)
    assert not set(WORDS) & {"malignancy", "diagnosis", "diameter_mm"}
    assert not any(mark in note_of(FULL) for mark in ("mm", "malign", "suspic", "likely"))


@pytest.mark.parametrize("rating", FULL)
def test_a_rating_that_is_missing_is_left_out(rating):
    note = note_of({name: value for name, value in FULL.items() if name != rating})
    assert note and WORDS[rating][FULL[rating] - 1] + f" {rating}" not in note.lower()
    assert "None" not in note and "  " not in note and ", nodule" not in note
    with pytest.raises(InputError, match=f"{rating} is 0; the scale goes from 1 to"):
        note_of(FULL | {rating: 0})


def table(path: Path, rows: list[dict]) -> Path:
    names = [*COLUMNS, *(f"{name.capitalize()}_value" for name in WORDS)]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def line(patient: str, malignancy: int, diameter: float, ratings: dict) -> dict:
    cells = {f"{name.capitalize()}_value": value for name, value in ratings.items()}
    row = {"patient_id": patient, "nodule_id": 1, "diameter_mm": diameter}
    row |= {"Malignancy_value": malignancy, "Diagnosis_value": int(malignancy > 3)}
    return row | cells


def test_the_table_is_read_and_gaps_stay_gaps(tmp_path):
    few = {"margin": 2, "texture": 5}
    found = read_ratings(table(tmp_path / "t.csv", [line("p1", 3, 7.5, few)]))
    assert found == {"p1_R_1": Rated("p1", 7.5, 3, 0, few)}
    assert [Rated("p", 5, n, 0, {}).malignant for n in (1, 2, 3, 4, 5)] == [
        False,
        False,
        None,
        True,
        True,
    ]
    bad = table(tmp_path / "bad.csv", [line("p1", 3, 7.5, {"margin": "sharp"})])
    with pytest.raises(InputError, match="line 2: .*ratings are 1, 2, 3"):
        read_ratings(bad)
    (tmp_path / "short.csv").write_text("patient_id,nodule_id\np1,1\n")
    with pytest.raises(InputError, match="without the columns Calcification_value"):
        read_ratings(tmp_path / "short.csv")


def test_auc_as_in_scikit_learn_and_its_mean_over_seeds():
    chance = np.random.default_rng(0)
    truth = chance.integers(2, size=60)
    scores = np.round(truth + chance.normal(0, 1, (3, 60)), 1)  # with ties
    expected = [roc_auc_score(truth, one) for one in scores]
    assert judged.won(scores, truth).mean() == pytest.approx(np.mean(expected))
    weights = chance.integers(3, size=(1, 60)).astype(float)
    drawn = judged.auc_draws(judged.won(scores[0], truth), weights, truth)
    assert drawn[0] == pytest.approx(roc_auc_score(truth, scores[0], sample_weight=weights[0]))
    patients = np.repeat(np.arange(20), 3)
    found = judged.compare({judged.FIRST: scores[0], "same": scores[0]}, truth, patients)
    assert found["same"]["minus"] == {"difference": 0, "low": 0, "high": 0}
    assert found["same"]["low"] < found["same"]["auc"] < found["same"]["high"]


def test_no_nodule_is_judged_by_a_regression_that_knows_its_patient():
    """A column a patient tells all in the training and nothing of other patients."""
    truth = np.tile([0, 1], 15)
    known = [Rated(f"p{i // 2:02d}", 5.0, 3, 0, {}) for i in np.argsort(truth, kind="stable")]
    truth = np.sort(truth)
    columns = np.array([[float(each.patient == f"p{i:02d}") for i in range(15)] for each in known])
    scores = judged.out_of_fold(columns, truth, known)
    assert np.isfinite(scores).all()
    assert judged.won(scores, truth).mean() < 0.75
    leaked = judged.out_of_fold(truth[:, None].astype(float), truth, known)
    assert judged.won(leaked, truth).mean() == 1


def test_what_is_done_is_not_done_again(tmp_path):
    made = []
    for _ in range(2):
        found = nodule_ratings.once(tmp_path / "a.json", lambda: made.append(0) or {"dice": 0.5})
    assert found == {"dice": 0.5} and len(made) == 1


def test_help_is_claimed_only_against_both_controls_and_in_five_seeds():
    def gap(low: float, seeds: list[float]) -> dict:
        return {"difference": low + 0.01, "low": low, "high": low + 0.02, "by_seed": seeds}

    def said(empty: dict, other: dict) -> str:
        gaps = {"notes - empty notes": empty, "notes - notes of another nodule": other}
        return tables_ratings.answer(
            {"gaps": gaps, "other_note": {"dice_of_both": 0.9, "same_notes": 0.1}}
        )

    five = [0.01] * 5
    assert "segment is shown: against" in said(gap(0.001, five), gap(0.001, five))
    for empty, other in (
        (gap(-0.001, five), gap(0.001, five)),
        (gap(0.001, five), gap(-0.001, five)),
        (gap(0.001, five[:4]), gap(0.001, five)),
        (gap(0.001, [*five[:4], -0.01]), gap(0.001, five)),
    ):
        assert "**not shown**" in said(empty, other)


def made_up_blocks(folder: Path, n_patients: int) -> Path:
    """One ball a patient; the larger are suspicious."""
    chance = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.arange(n) - n / 2 for n in (20, 20, 6)), indexing="ij"))
    rows = []
    for part in ("image", "nodule_mask"):
        (folder / part).mkdir(parents=True)
    for i in range(n_patients):
        radius = 3 + 3 * (i % 5) / 4
        mask = (np.sqrt((grid**2).sum(0)) < radius).astype(np.uint8)
        image = np.where(mask, 0, -800) + chance.normal(0, 40, mask.shape)
        affine = np.diag([-1, -1, 1, 1])
        name = f"secret{i:02d}_R_1.nii.gz"
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), folder / "image" / name)
        nib.save(nib.Nifti1Image(mask, affine), folder / "nodule_mask" / name)
        ratings = {name: int(chance.integers(1, len(words) + 1)) for name, words in WORDS.items()}
        rating = (1, 2, 3, 4, 5)[i % 5]
        rows.append(line(f"secret{i:02d}", rating, 2 * radius + chance.normal(), ratings))
    table(folder / "nodules.csv", rows)
    return folder


def test_the_benchmark_on_made_up_blocks(tmp_path):
    """Every control has a row of the same nodules, and no patient is named."""
    data = made_up_blocks(tmp_path / "data", 25)
    words = ["--data", data, "--out", tmp_path, "--work", tmp_path / "work", "--seeds", 0]
    words += ["--image-epochs", 1, "--epochs", 1, "--llama-steps", 2]
    done = run("nodule_ratings.py", *words)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "nodule_ratings.json").read_text()
    assert "secret" not in text
    result = json.loads(text)
    table, gaps = result["segmentation"]["table"], result["segmentation"]["gaps"]
    assert {told["dice"]["n"] for told in table.values()} == {5}
    gap = table["notes"]["dice"]["mean"] - table["empty notes"]["dice"]["mean"]
    assert gaps["notes - empty notes"]["difference"] == pytest.approx(gap)
    found = result["malignancy"]
    assert (found["n"], found["malignant"], found["left_out"]) == (20, 10, 5)
    assert found["table"][judged.LEAK]["auc"] > 0.95 and found["diagnosis"]["n"] == 25
    start = tmp_path / "work" / "seed_0" / "start"
    assert (start / "best.safetensors").exists()


def test_a_block_without_a_line_is_named(tmp_path):
    data = made_up_blocks(tmp_path, 2)
    blocks = nodule_ratings.read_blocks(data, nodule_ratings.PREPARATION)
    known = read_ratings(data / "nodules.csv")
    assert [b.ready.case.note[:2] for b in nodule_ratings.with_notes(blocks, known)] == ["A ", "An"]
    del known["secret01_R_1"]
    with pytest.raises(InputError, match="no ratings of 1 blocks: secret01_R_1; add the lines"):
        nodule_ratings.with_notes(blocks, known)
