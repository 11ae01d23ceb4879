"""The whole 3D chain, from files to a score, on phantoms and on real scans."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from made_up_runs import made_phantoms, trained_run

from seg_lib import cli, volumes3d
from seg_lib.course.profiles import Settings, settings
from seg_lib.data.case_rules import mask_name
from seg_lib.data.dicom import dicom_to_nifti
from seg_lib.data.nifti import read_image, read_mask, write_mask
from seg_lib.data.phantom import make_phantom
from seg_lib.data.volumes import Preparation
from seg_lib.errors import InputError
from seg_lib.inference import SlidingWindow, predict_volume
from seg_lib.metrics import dice
from seg_lib.models import build_model
from seg_lib.models.presets import sizes_for
from seg_lib.tables import read_case_table
from seg_lib.training import load_checkpoint, load_weights

SMALL = {"patch": (16, 16, 8), "epochs": 2, "patches": 2, "validate_every": 1}
TINY = Settings("10", "x", dict(settings("10", "smoke").sizes) | SMALL)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    return made_phantoms("lung3d", 9, tmp_path_factory)


@pytest.fixture(scope="module")
def run(phantoms, tmp_path_factory):
    return trained_run("volumes3d", TINY, phantoms, tmp_path_factory)


def test_training_from_the_command_line(run, phantoms):
    parts = volumes3d.volumes3d_parts(phantoms, None, TINY, 0)
    rows, _ = read_case_table(run / "results.csv")
    assert [row["ID"] for row in rows] == [volume.case.case for volume in parts[2]]
    results = json.loads((run / "results.json").read_text())
    assert results["network"]["dice"]["n"] == results["threshold"]["dice"]["n"] == len(parts[2])
    about = load_checkpoint(run / "best.safetensors")[1]
    assert (about["task"], about["network"], about["patch"]) == ("volumes3d", "unet3d", [16, 16, 8])
    patients = [{v.case.patient for v in part} for part in parts]
    assert all(patients) and not (patients[0] & patients[1] or patients[0] & patients[2])


def test_prediction_from_the_command_line_is_on_the_grid_of_the_file(run, phantoms, tmp_path):
    images = sorted((phantoms / "images").iterdir())[:3]
    done = cli.main(["predict", str(run), *map(str, images), "--out", str(tmp_path)])
    assert done == 0
    for path in images:
        scan, mask = nib.load(path), nib.load(tmp_path / path.name)
        assert scan.shape == mask.shape and np.array_equal(scan.affine, mask.affine)
        assert set(np.unique(mask.get_fdata())) <= {0.0, 1.0}


def test_the_command_and_the_lesson_predict_the_same(run, phantoms, tmp_path):
    volume = volumes3d.volumes3d_parts(phantoms, None, TINY, 0)[2][0]
    assert cli.main(["predict", str(run), str(volume.case.image), "--out", str(tmp_path)]) == 0
    model = build_model("unet3d", **sizes_for("unet3d", 0, "small"))
    load_weights(model, run / "best.safetensors")
    prepared, sliding = volumes3d.preparation_of(TINY), volumes3d.sliding_of(TINY)
    scan = read_image(volume.case.image)
    write_mask(tmp_path / "lesson.nii.gz", predict_volume(model, scan, prepared, sliding), scan)
    by_command = nib.load(tmp_path / volume.case.image.name).get_fdata()
    assert np.array_equal(by_command, nib.load(tmp_path / "lesson.nii.gz").get_fdata())


def test_the_same_seed_gives_the_same_network(phantoms, tmp_path):
    parts = volumes3d.volumes3d_parts(phantoms, None, TINY, 0)
    first, again = (
        volumes3d.train_volumes(parts, tmp_path / name, TINY, 3).state_dict() for name in "ab"
    )
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_the_threshold_does_not_move_the_mask(phantoms):
    train, _, test = volumes3d.volumes3d_parts(phantoms, None, TINY, 0)
    masks = volumes3d.threshold_volumes(train, test)
    assert any(mask.any() for mask in masks)
    for volume, mask in zip(test, masks, strict=True):
        assert mask.shape == volume.place.shape
        bright = read_image(volume.case.image).array[mask > 0]
        assert bright.size == 0 or bright.min() > -650.1  # the lowest threshold that is tried


def test_folders_without_a_part_or_a_label_are_refused(phantoms, tmp_path):
    make_phantom("lung3d", 1, (48, 48, 12), 0, tmp_path)
    with pytest.raises(InputError, match="split val has 0 cases"):
        volumes3d.volumes3d_parts(tmp_path, None, TINY, 0)


@pytest.mark.real
@pytest.mark.parametrize(
    ("box", "spacing"), [("all", None), ("body", (4.0, 4.0, 4.0)), ("lungs", None)]
)
def test_real_scans_keep_their_geometry(real_data, tmp_path, box, spacing):
    paths = [
        real_data / "abdomen_ct_3mm" / "example_ct_sm.nii.gz",
        real_data / "head_neck_ct_2mm" / "head_neck_ct_2mm.nii.gz",
        next((real_data / "lidc_nodules" / "image").glob("*.nii.gz")),
        real_data / "chest_ct_64" / "ct-64.nrrd",
        tmp_path / "in" / "lung_tumour.nii.gz",
    ]
    dicom_to_nifti(real_data / "nsclc_rt" / "pat_1" / "ct", paths[-1])
    model, window = build_model("unet3d", features=(2, 4), blocks=(1, 1)), SlidingWindow((64,) * 3)
    for path in paths:
        scan = read_image(path)
        mask = predict_volume(model, scan, Preparation(spacing, box=box), window)
        write_mask(tmp_path / mask_name(path), mask, like=scan)
        stored = nib.load(tmp_path / mask_name(path))
        grid = (scan.stored_shape, scan.stored_affine)
        if path.suffix != ".nrrd":
            grid = (nib.load(path).shape, nib.load(path).affine)
        assert stored.shape == grid[0]
        assert np.abs(stored.affine - grid[1]).max() < 1e-4


class Dark(torch.nn.Module):
    """Takes all below -440 HU for foreground, so that its mask of a chest is known: the lungs."""

    def forward(self, image):
        return (0.4 - image) * 100


@pytest.mark.real
def test_a_real_chest_is_scored_against_its_own_lungs(real_data, tmp_path):
    """From an NRRD file to a Dice; a mask that is turned or shifted would not get it."""
    here = real_data / "chest_ct_64"
    scan = read_image(here / "ct-64.nrrd")
    how = Preparation(box="lungs", margin_mm=0)
    mask = predict_volume(Dark(), scan, how, SlidingWindow((32,) * 3))
    truth = read_mask(here / "wholeLung-64.nrrd", like=scan).array
    for name, array in {"found": mask, "truth": truth}.items():
        write_mask(tmp_path / name / "chest.nii.gz", array, like=scan)
    words = ["evaluate", str(tmp_path / "found"), str(tmp_path / "truth")]
    assert cli.main([*words, "--out", str(tmp_path / "r.csv")]) == 0
    [row], _ = read_case_table(tmp_path / "r.csv")
    assert row["Dice"] == pytest.approx(dice(mask, truth), abs=5e-4)
    assert row["Dice"] > 0.87  # 0.875; one voxel further along any axis it is below 0.86
    assert max(dice(np.flip(mask, axis), truth) for axis in range(3)) < row["Dice"] - 0.05
