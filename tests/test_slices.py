import json

import numpy as np
import pytest
from PIL import Image

from seg_lib.data import slices as module
from seg_lib.data.cases import Case, read_cases
from seg_lib.data.hu import HU_WINDOWS
from seg_lib.data.nifti import axial_view, read_image, read_mask
from seg_lib.data.phantom import make_phantom
from seg_lib.data.slices import (
    centred,
    load_slices,
    pickle_to_png,
    resize_image,
    resize_mask,
    slices_of_volumes,
    to_grey,
)
from seg_lib.errors import DataWarning, InputError


@pytest.fixture(scope="module")
def pickles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lung2d")
    make_phantom("lung2d", 8, 128, 0, folder)
    return folder


def test_the_window_is_fixed_and_padding_is_black():
    hu = np.array([[-3024.0, -1024.0, -1000.0, -300.0, 400.0, 3000.0]])
    assert to_grey(hu, (-1000, 400)).tolist() == [[0, 0, 0, 128, 255, 255]]


def test_shrinking_averages():
    image = np.array([[0, 100], [100, 200]], np.uint8)
    assert resize_image(image, 1).tolist() == [[100]]


def test_half_covered_counts_and_a_small_lesion_stays():
    mask = np.zeros((8, 8), np.uint8)
    mask[0:2, 0:2] = 1  # covers one pixel of the half size wholly
    mask[4, 4] = 1  # covers a quarter
    assert np.argwhere(resize_mask(mask, 4)).tolist() == [[0, 0]]
    mask[0:2, 0:2] = 0
    assert np.argwhere(resize_mask(mask, 4)).tolist() == [[2, 2]], "the only pixel left is kept"


def test_centred_crops_and_pads_to_the_middle():
    square = np.arange(16).reshape(4, 4)
    assert centred(square, 2).tolist() == [[5, 6], [9, 10]]
    padded = centred(square, 8)
    assert padded[2:6, 2:6].tolist() == square.tolist() and padded.sum() == square.sum()


def test_pickle_to_png_writes_what_it_says(pickles, tmp_path):
    train = pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64, split="train")
    test = pickle_to_png(pickles / "lung_cancer_test.pkl", tmp_path, size=64, split="test")
    cases = read_cases(tmp_path)
    assert cases == train + test, "the second pickle joins the first"
    assert not {c.patient for c in train} & {c.patient for c in test}
    for case in cases:
        image, mask = np.asarray(Image.open(case.image)), np.asarray(Image.open(case.label))
        assert image.shape == mask.shape == (64, 64) and set(np.unique(mask)) == {0, 255}
        assert case.subtype in {"LR2", "LR3", "LR4A", "LR4B"}
        assert case.spacing_mm[0] > 2, "a quarter of the pixels, twice as large"
    about = json.loads((tmp_path / "conversion.json").read_text())["lung_cancer_train.pkl"]
    assert about["window_hu"] == list(HU_WINDOWS["nodule"]) and about["size"] == 64
    assert sum(about["classes"].values()) == about["slices"] == len(train)
    assert about["split_provenance"] == "patients.csv" and len(about["sha256"]) == 64


def test_running_again_changes_nothing(pickles, tmp_path):
    def everything():
        pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64)
        return {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    assert everything() == everything()


def test_the_public_set_names_no_patients(pickles, tmp_path):
    alone = tmp_path / "lung_cancer_train.pkl"
    alone.write_bytes((pickles / "lung_cancer_train.pkl").read_bytes())
    with pytest.warns(DataWarning, match="split_provenance: unknown"):
        cases = pickle_to_png(alone, tmp_path / "out", size=64)
    assert len({c.patient for c in cases}) == len(cases)


def test_a_missing_row_of_patients_is_named(pickles, tmp_path):
    (tmp_path / "a.pkl").write_bytes((pickles / "lung_cancer_train.pkl").read_bytes())
    (tmp_path / "patients.csv").write_text("pickle,row,patient,spacing_mm\na.pkl,0,p,\n")
    with pytest.raises(InputError, match="no line for row 1 of a.pkl"):
        pickle_to_png(tmp_path / "a.pkl", tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing half-written"


def test_killed_before_the_end_leaves_no_table(pickles, tmp_path, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write_index", killed)
    with pytest.raises(KeyboardInterrupt):
        pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64)
    assert not (tmp_path / "cases.csv").exists()


def test_load_slices_gives_what_was_written(pickles, tmp_path):
    cases = pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64)
    loaded = load_slices(cases, 64)
    assert loaded.images.shape == loaded.labels.shape == (len(cases), 1, 64, 64)
    assert np.array_equal(loaded.images[1, 0], np.asarray(Image.open(cases[1].image)))
    assert set(np.unique(loaded.labels)) == {0, 1}


def test_a_broken_png_is_named(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("<html>")
    with pytest.raises(InputError, match=r"bad\.png.*convert again"):
        load_slices([Case("c", "p", bad, bad)], 64)


def test_slices_of_volumes_take_the_largest_lesion(tmp_path):
    cases = make_phantom("lung3d", 2, (128, 128, 40), 0, tmp_path)
    found = slices_of_volumes(cases, size=128)
    assert len(found) == 2
    for i, case in enumerate(cases):
        image = read_image(case.image)
        mask = read_mask(case.label, like=image).array
        z = int(mask.sum((0, 1)).argmax())
        assert found.cases[i].case == f"{case.case}_z{z}"
        assert np.array_equal(found.labels[i, 0], axial_view(mask, z))
        grey = to_grey(axial_view(image.array, z), HU_WINDOWS["nodule"])
        assert np.array_equal(found.images[i, 0], grey)
    every = slices_of_volumes(cases, size=128, per_case="all-positive")
    assert len(every) > 2 and (every.labels.sum((1, 2, 3)) > 0).all()


@pytest.mark.real
def test_real_nodules_lie_in_the_middle(lidc_nodules):
    names = sorted(p.name for p in (lidc_nodules / "image").iterdir())[:20]
    cases = [
        Case(n, n[:14], lidc_nodules / "image" / n, lidc_nodules / "nodule_mask" / n) for n in names
    ]
    found = slices_of_volumes(cases, size=64)
    assert len(found) == 20
    assert found.labels[:, 0, 24:40, 24:40].any((1, 2)).all()
