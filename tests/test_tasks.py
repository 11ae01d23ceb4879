"""The command line and the tasks, end to end on small phantoms."""

import dataclasses
import json

import nibabel as nib
import numpy as np
import pytest
import torch

from seg_lib import cli, predictions, slices2d, tasks, volumes3d
from seg_lib.course.profiles import Settings
from seg_lib.data.nifti import read_image
from seg_lib.data.phantom import make_phantom
from seg_lib.errors import InputError
from seg_lib.tables import read_case_table
from seg_lib.training import load_checkpoint

SIZES = {
    "network": "resnet18_unet", "encoder_weights": None, "loss": "dice_ce", "optimizer": "adamw",
    "batch_size": 8, "epochs": 2, "learning_rate": 1e-3, "size": 64, "copies": 1, "preset": "small",
}  # fmt: skip
TINY = Settings("06", "x", SIZES)


@pytest.fixture(scope="module")
def pickles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lung2d")
    make_phantom("lung2d", 24, 64, 0, folder)
    return folder


@pytest.fixture(scope="module")
def run(pickles, tmp_path_factory):
    """A run of two epochs, made by the command itself."""
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "settings", lambda lesson, profile: TINY)
        words = ["train", "slices2d", "--data", str(pickles), "--out", str(out), "--profile", "x"]
        assert cli.main(words) == 0
    return out


def test_parts_are_disjoint_by_patient(pickles, tmp_path):
    train, val, test = slices2d.slices2d_parts(pickles, tmp_path, 64)
    people = [set(part.patients) for part in (train, val, test)]
    assert all(people) and not (people[0] & people[1] or people[2] & (people[0] | people[1]))
    assert len(train) + len(val) + len(test) == 24


def test_train_leaves_everything_behind(run, pickles, tmp_path):
    test = slices2d.slices2d_parts(pickles, tmp_path, 64)[2]
    rows, printed = read_case_table(run / "results.csv")
    assert [row["ID"] for row in rows] == [case.case for case in test.cases]
    results = json.loads((run / "results.json").read_text())
    assert results["network"]["dice"]["n"] == results["threshold"]["dice"]["n"] == len(test)
    assert printed["Avr"]["Dice"] == pytest.approx(results["network"]["dice"]["mean"], abs=5e-4)
    _, about = load_checkpoint(run / "best.safetensors")
    assert about["network"] == "resnet18_unet" and about["window"] == [-1000.0, 400.0]


def test_a_run_is_not_trained_over(run, pickles, monkeypatch, capsys):
    monkeypatch.setattr(tasks, "settings", lambda lesson, profile: TINY)
    before = (run / "best.safetensors").read_bytes()
    words = ["train", "slices2d", "--data", str(pickles), "--out", str(run)]
    assert cli.main(words) == 1
    assert "--resume" in capsys.readouterr().err
    assert (run / "best.safetensors").read_bytes() == before
    assert cli.main([*words, "--resume"]) == 0, "a finished run is only scored again"


def test_killed_before_its_first_state_a_run_begins_again(pickles, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tasks, "settings", lambda lesson, profile: TINY)
    (tmp_path / "best.safetensors").write_bytes(b"all that was written before the kill")
    words = ["train", "slices2d", "--data", str(pickles), "--out", str(tmp_path)]
    assert cli.main(words) == 1 and "--resume" in capsys.readouterr().err
    assert cli.main([*words, "--resume"]) == 0
    assert load_checkpoint(tmp_path / "best.safetensors")[1]["network"] == "resnet18_unet"


def test_predict_and_evaluate_keep_the_grid(run, tmp_path, capsys):
    cases = make_phantom("lung3d", 3, (64, 48, 10), 0, tmp_path / "ct")
    broken = tmp_path / "broken.nii.gz"
    broken.write_text("<html>")
    images = [str(case.image) for case in cases]
    out = tmp_path / "masks"
    assert cli.main(["predict", str(run), *images, str(broken), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "done 3, failed 1" in said.out and "broken.nii.gz" in said.err
    for case in cases:
        image, mask = nib.load(case.image), nib.load(out / case.image.name)
        assert mask.shape == image.shape and np.allclose(mask.affine, image.affine)
        assert set(np.unique(mask.dataobj)) <= {0, 1}
    assert not (out / broken.name).exists()
    table = tmp_path / "results.csv"
    assert cli.main(["evaluate", str(out), str(cases[0].label.parent), "--out", str(table)]) == 0
    assert "dice" in capsys.readouterr().out
    assert len(read_case_table(table)[0]) == 3


class Bright(torch.nn.Module):
    """A network that calls bright pixels lesion, so that its answer is known."""

    def forward(self, image):
        return (image - 0.5) * 100


def test_padded_prediction_is_the_plain_one_on_its_own_grid(tmp_path):
    case = make_phantom("lung3d", 1, (50, 61, 8), 0, tmp_path)[0]
    volume = read_image(case.image)
    mask = predictions.predict_padded(Bright(), volume, (-1000.0, 400.0), 64)
    assert np.array_equal(mask, volume.array >= -300)
    larger = dataclasses.replace(volume, array=volume.array[:40])
    for size in (32, 48):  # smaller than both sides; between them, so that one side gets air
        mask = predictions.predict_padded(Bright(), larger, (-1000.0, 400.0), size)
        assert np.array_equal(mask, larger.array >= -300)


def test_a_network_of_one_size_and_native_pixels_sees_a_larger_slice_window_by_window(tmp_path):
    class OneSize(Bright):
        image_size = (64, 64)

        def forward(self, image):
            assert image.shape[2:] == self.image_size
            return super().forward(image)

    case = make_phantom("lung3d", 1, (50, 90, 8), 0, tmp_path)[0]
    about = {"window": [-1000.0, 400.0], "size": 64, "native_pixels": True}
    predictions.predict_by_slices(OneSize(), about, case.image, tmp_path / "mask.nii.gz")
    mask = read_image(tmp_path / "mask.nii.gz", hu=False).array
    assert np.array_equal(mask, read_image(case.image).array >= -300)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "slices3d", "--data", "x", "--out", "y"], "choose one of: slices2d"),
        (["train", "slices2d", "--data", "nowhere", "--out", "y"], "seg-lib phantom lung2d"),
        (["train", "slices2d", "--data", "x", "--out", "y", "--network", "vgg"], "resnet50_unet"),
        (["train", "slices2d", "--data", "x", "--out", "y", "--profile", "huge"], "smoke"),
        (["phantom", "lung4d", "out"], "lung2d, lung3d"),
        (["predict", "nowhere", "a.png", "--out", "out"], "nowhere"),
        (["evaluate", "nowhere", "here", "--out", "r.csv"], "nowhere"),
        (["pickle-to-png", "nothing.pkl", "out"], "nothing.pkl"),
    ],
)
def test_faults_are_one_sentence_and_leave_nothing(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 1
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error and error.count("\n") == 1
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_volumes_are_resampled_as_asked_for(tmp_path, monkeypatch, capsys):
    asked = []

    def load(data, out, sizes, seed):
        asked.append(volumes3d.preparation_of(sizes).spacing_mm)
        raise InputError("far enough")

    chosen = dataclasses.replace(tasks.TASKS["volumes3d"], load=load)
    monkeypatch.setitem(tasks.TASKS, "volumes3d", chosen)
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--profile", "smoke"]
    assert cli.main(["train", "volumes3d", *words]) == 1
    assert cli.main(["train", "volumes3d", *words, "--spacing", "4", "4", "6"]) == 1
    assert asked == [None, (4.0, 4.0, 6.0)]
    capsys.readouterr()
    for task, mm in (("volumes3d", "0"), ("slices2d", "4")):
        assert cli.main(["train", task, *words, "--spacing", mm, "4", "6"]) == 1
        assert f"{task}: --spacing" in capsys.readouterr().err


def test_two_images_of_one_name_are_refused(run, tmp_path, capsys):
    words = ["predict", str(run), "a/scan.nii.gz", "b/scan.nii.gz", "--out", str(tmp_path)]
    assert cli.main(words) == 1
    assert "scan.nii.gz" in capsys.readouterr().err


def test_every_command_explains_itself(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    for command in ("doctor", "phantom", "pickle-to-png", "train", "predict", "evaluate", "course"):
        assert command in told


@pytest.mark.real
def test_real_blocks_are_predicted_on_their_grid(run, lidc_nodules, tmp_path):
    names = sorted(path.name for path in (lidc_nodules / "image").iterdir())[:3]
    images = [str(lidc_nodules / "image" / name) for name in names]
    assert cli.main(["predict", str(run), *images, "--out", str(tmp_path / "masks")]) == 0
    (tmp_path / "truth").mkdir()
    for name in names:
        truth = lidc_nodules / "nodule_mask" / name
        assert nib.load(tmp_path / "masks" / name).shape == nib.load(truth).shape
        (tmp_path / "truth" / name).write_bytes(truth.read_bytes())
    words = ["evaluate", str(tmp_path / "masks"), str(tmp_path / "truth"), "--out"]
    assert cli.main([*words, str(tmp_path / "results.csv")]) == 0
    assert len(read_case_table(tmp_path / "results.csv")[0]) == 3


@pytest.mark.parametrize("network", ["swin_unet", "unetr"])
def test_the_other_networks_train_and_predict_from_their_run(
    network, pickles, tmp_path, monkeypatch
):
    row = Settings("07", "x", SIZES | {"epochs": 1, "loss": "dice_weighted_bce"})
    monkeypatch.setattr(tasks, "settings", lambda lesson, profile: row)
    out = tmp_path / "run"
    words = ["train", "slices2d", "--data", str(pickles), "--out", str(out), "--network", network]
    assert cli.main(words) == 0
    image = next((out / "png" / "images").glob("*test*"))
    assert cli.main(["predict", str(out), str(image), "--out", str(tmp_path / "masks")]) == 0
    assert (tmp_path / "masks" / image.name).is_file()
