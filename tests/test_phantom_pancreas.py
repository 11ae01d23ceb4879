"""The pancreas phantom: source 004's counts and layout, sourced figures, subtypes one can see."""

import json
import time
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from seg_lib.data.cases import CASES_CSV, read_cases
from seg_lib.data.check_data import check_data
from seg_lib.data.nifti import read_image, read_mask
from seg_lib.data.nnunet_layout import read_dataset
from seg_lib.data.phantom import lung_slice, make_phantom
from seg_lib.data.phantom_pancreas import COUNTS, pancreas_volume, part_of
from seg_lib.errors import InputError
from seg_lib.files import sha256_of
from seg_lib.metrics import dice, macro_f1

SMALL = (48, 32, 16)


def test_every_360_cases_have_the_counts_of_the_source():
    counted = Counter(part_of(number) for number in range(360))
    assert counted == {
        (split, str(subtype)): count
        for split, counts in COUNTS.items()
        for subtype, count in enumerate(counts)
    }
    per_split = {split: sum(counts) for split, counts in COUNTS.items()}
    assert per_split == {"train": 252, "val": 36, "test": 72}
    assert {part_of(number)[0] for number in range(12)} == {"train", "val", "test"}
    first = {part_of(number) for number in range(30)}
    assert len(first) == 9  # each subtype in each split
    assert [part_of(number) for number in range(360, 400)] == [part_of(n) for n in range(40)]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    return folder, make_phantom("pancreas", 14, SMALL, 5, folder)


def test_it_is_a_raw_folder_and_both_readers_agree(raw):
    folder, cases = raw
    assert read_cases(folder) == cases
    facts = {c.case: (c.patient, c.image, c.label, c.split, c.subtype) for c in cases}
    assert facts == {
        c.case: (c.patient, c.image, c.label, c.split, c.subtype) for c in read_dataset(folder)
    }
    assert json.loads((folder / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "pancreas": 1, "lesion": 2},
        "numTraining": sum(case.split != "test" for case in cases),
        "file_ending": ".nii.gz",
    }
    (fold,) = json.loads((folder / "splits_final.json").read_text())
    assert fold["val"] == [case.case for case in cases if case.split == "val"]
    for number, case in enumerate(cases):
        assert (case.split, case.subtype) == part_of(number)
        middle = "" if case.split == "test" else f"{case.subtype}_"  # tests do not tell
        assert case.case == f"pancreas_{middle}{number:03d}"
    assert [problem for problem in check_data(folder) if problem.must_fix] == []


def test_files_hold_what_was_drawn_where_it_was_drawn(raw):
    _, cases = raw
    for number in (0, 4, 11):
        drawn = pancreas_volume(5, SMALL, number)
        image = read_image(cases[number].image)
        mask = read_mask(cases[number].label, like=image, n_classes=3)
        assert np.array_equal(image.array, drawn.hu) and np.array_equal(mask.array, drawn.mask)
        assert np.allclose(image.affine, drawn.affine, atol=1e-4)
        assert image.spacing_mm == pytest.approx(drawn.spacing_mm, abs=1e-4)
        assert drawn.hu.dtype == np.int16 and drawn.mask.dtype == np.uint8
        assert drawn.hu.shape == SMALL and (drawn.hu > -1024).mean() > 0.9


def test_files_repeat_and_more_cases_change_nothing(raw, tmp_path):
    _, cases = raw
    again = make_phantom("pancreas", 6, SMALL, 5, tmp_path)
    for few, more in zip(again, cases[:6], strict=True):
        assert sha256_of(few.image) == sha256_of(more.image)
        assert sha256_of(few.label) == sha256_of(more.label)
    other = [pancreas_volume(*numbers).hu for numbers in ((5, SMALL, 1), (6, SMALL, 0))]
    assert not any(np.array_equal(each, pancreas_volume(5, SMALL, 0).hu) for each in other)


def test_a_broken_off_set_does_not_look_complete(tmp_path, monkeypatch):
    make_phantom("pancreas", 1, SMALL, 0, tmp_path)

    def full_disk(*_):
        raise InputError("disk full")

    monkeypatch.setattr("seg_lib.data.phantom_pancreas.write_mask", full_disk)
    with pytest.raises(InputError, match="disk full"):
        make_phantom("pancreas", 2, SMALL, 0, tmp_path)
    assert not (tmp_path / CASES_CSV).exists() and not (tmp_path / "dataset.json").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 64}, "pancreas needs 3 whole"),
        ({"size": (48, 32, 8)}, "from .48, 32, 16. to 1024; the default is .96, 64, 40."),
        ({"n_cases": 0}, "at least 1"),
        ({"seed": -1}, "seed -1"),
        ({"hospital": "external1"}, "hospital 'external1' of pancreas"),
    ],
)
def test_bad_orders_are_refused_before_anything_is_written(tmp_path, changed, message):
    order = {"kind": "pancreas", "n_cases": 2, "size": SMALL, "out_dir": tmp_path / "new"}
    with pytest.raises(InputError, match=message):
        make_phantom(**order | changed)
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def drawn():
    """Many patients at the size of the course."""
    return [pancreas_volume(3, patient=patient) for patient in range(72)]


def test_drawing_stays_fast():
    """A patient costs about as much as two large slices of the lung."""
    patients, slices = [], []
    for number in range(4):
        start = time.process_time()
        pancreas_volume(3, patient=number)
        patients.append(time.process_time() - start)
        start = time.process_time()
        lung_slice(0, 512, number)
        slices.append(time.process_time() - start)
    assert min(patients) < 6 * min(slices)


def ml(volume, labels):
    return float(np.isin(volume.mask, labels).sum() * np.prod(volume.spacing_mm) / 1000)


def test_sizes_are_those_of_real_sets(drawn):
    """Whole pancreas 20 to 201 ml, median 70 to 82; lesion 0.4 to 100 ml, median 6."""
    organs = [ml(volume, [1, 2]) for volume in drawn]
    lesions = [ml(volume, [2]) for volume in drawn]
    assert min(organs) > 20 and max(organs) < 201 and 65 < np.median(organs) < 90
    assert min(lesions) > 0.3 and max(lesions) < 105 and 4 < np.median(lesions) < 9
    wanted = [volume.nodules[0]["volume_ml"] for volume in drawn]
    assert np.allclose(lesions, wanted, rtol=0.12)
    field = np.mean([np.multiply(v.spacing_mm, v.hu.shape) for v in drawn], axis=0)
    assert np.allclose(field, (132, 86, 118), rtol=0.1)
    sites = Counter(volume.nodules[0]["site"] for volume in drawn)
    assert sites["head"] > sites["body"] > 0 and sites["tail"] > 0


def test_hu_are_those_of_source_004(drawn):
    """Its plan: 74.9 +- 44.1 HU inside the labels, 99 % of them in -56..180; here in -67..147."""
    inside = np.concatenate([volume.hu[volume.mask > 0] for volume in drawn])
    assert 65 < inside.mean() < 85 and 38 < inside.std() < 52
    assert -100 < np.percentile(inside, 0.5) < -40 and 130 < np.percentile(inside, 99.5) < 200


def test_most_lesions_are_darker_and_some_are_hardly_seen(drawn):
    contrast = np.array([v.hu[v.mask == 1].mean() - v.hu[v.mask == 2].mean() for v in drawn])
    assert 20 < np.median(contrast) < 45 and contrast.max() < 90
    assert 0.05 < (np.abs(contrast) < 15).mean() < 0.28


def test_each_patient_has_one_lesion_that_grows_from_the_pancreas(drawn):
    for volume in drawn:
        assert set(np.unique(volume.mask)) == {0, 1, 2}
        for shape in (volume.mask == 2, volume.mask > 0):
            parts, _ = ndimage.label(shape)
            assert np.bincount(parts.ravel())[1:].max() > 0.95 * shape.sum()
        around = ndimage.binary_dilation(volume.mask == 2)
        assert (volume.mask[around] == 1).any()
        inside = tuple(slice(1, -1) for _ in range(3))
        assert (volume.mask[inside] > 0).sum() == (volume.mask > 0).sum()  # not cut off


def test_a_threshold_does_not_find_the_pancreas(drawn):
    """Even with the window that is best for these very volumes."""
    some = drawn[:24]
    smooth = [ndimage.gaussian_filter(volume.hu.astype(np.float32), 0.7) for volume in some]
    best = 0.0
    for low in range(0, 100, 20):
        scores = []
        for volume, hu in zip(some, smooth, strict=True):
            parts, _ = ndimage.label((hu >= low) & (hu <= 140))
            largest = 1 + np.bincount(parts.ravel())[1:].argmax()
            scores.append(dice(parts == largest, volume.mask > 0))
        best = max(best, np.mean(scores))
    assert 0.1 < best < 0.5


def look_of(volume):
    """What can be measured inside the true lesion: coarse and fine texture, edge, roundness."""
    lesion, spacing = volume.mask == 2, np.array(volume.spacing_mm)
    box = ndimage.find_objects(lesion.astype(int))[0]
    box = tuple(slice(max(0, side.start - 3), side.stop + 3) for side in box)
    lesion, hu = lesion[box], volume.hu[box].astype(np.float32)
    inner = ndimage.binary_erosion(lesion)
    inner = inner if inner.sum() > 20 else lesion

    def blurred(blur_mm):
        weight = ndimage.gaussian_filter(inner.astype(np.float32), blur_mm / spacing)
        return ndimage.gaussian_filter(hu * inner, blur_mm / spacing) / np.maximum(weight, 1e-3)

    narrow, wide = blurred(2.0), blurred(4.5)
    slopes = [ndimage.gaussian_filter1d(hu, 1, axis=a, order=1) / spacing[a] for a in range(3)]
    edge = np.linalg.norm(slopes, axis=0)[lesion ^ ndimage.binary_erosion(lesion)].mean()
    faces = [np.diff(lesion.astype(int), axis=a) != 0 for a in range(3)]
    surface = sum(f.sum() * spacing.prod() / s for f, s in zip(faces, spacing, strict=True))
    texture = [values[inner].std() for values in (hu, hu - narrow, narrow - wide, wide)]
    opened = ndimage.binary_opening(lesion).sum() / lesion.sum()
    volume_mm3 = lesion.sum() * spacing.prod()
    return [*texture, edge, volume_mm3 ** (2 / 3) / surface, opened, np.log(volume_mm3)]


def nuisance_of(volume):
    """What must not tell the subtype: volume, position and mean HU."""
    place = volume.affine @ [*ndimage.center_of_mass(volume.mask == 2), 1.0]
    return [np.log(ml(volume, [2])), *place[:3], volume.hu[volume.mask == 2].mean()]


def f1_of(features, subtypes):
    """Macro-F1 of linear discriminants with equal priors, each case left out once."""
    x, truth = np.array(features), np.array(subtypes)
    guesses = []
    for left_out in range(len(x)):
        keep = np.arange(len(x)) != left_out
        means = np.array([x[keep & (truth == k)].mean(axis=0) for k in range(3)])
        spread = np.cov((x - means[truth])[keep].T)
        away = x[left_out] - means
        guesses.append(int((away * np.linalg.solve(spread, away.T).T).sum(axis=1).argmin()))
    return macro_f1(guesses, truth, classes=range(3))


def test_subtypes_differ_in_texture_and_margin_only(drawn):
    """By linear discriminants in 72 cases, each left out once; chance is about 0.33."""
    subtypes = [int(volume.nodules[0]["subtype"]) for volume in drawn]
    assert 0.65 < f1_of([look_of(volume) for volume in drawn], subtypes) < 0.95
    assert f1_of([nuisance_of(volume) for volume in drawn], subtypes) < 0.48
