"""Volumes into the network and back: nothing is lost, nothing moves."""

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from seg_lib.data.cases import Case, read_cases
from seg_lib.data.nifti import Volume, read_image, read_mask, write_image, write_mask
from seg_lib.data.phantom import lung_volume, make_phantom
from seg_lib.data.volumes import (
    Preparation,
    body,
    box_around,
    find_box,
    load_volumes,
    lungs,
    prepare,
    put_back,
    resampled,
)
from seg_lib.errors import InputError
from seg_lib.metrics import dice


def volume_of(array, spacing=(1.0, 1.0, 1.0)):
    affine = np.diag([*spacing, 1.0])
    return Volume(array.astype(np.float32), affine, affine, array.shape, Path("made-up"))


def chest(n=40):
    """Air, a body in it, two lungs in the body, a table below it."""
    hu = np.full((n, n, n), -1000.0)
    hu[5:35, 8:32, :] = 40
    hu[8:18, 12:28, 5:35] = hu[22:32, 12:28, 5:35] = -850
    hu[2:38, 2:4, :] = 100
    return hu


def test_body_and_lungs_by_hand():
    hu = chest()
    assert np.array_equal(body(hu), hu == 40)
    assert np.array_equal(lungs(hu), hu == -850)


def test_lungs_that_a_crop_has_opened_are_still_lungs():
    hu = chest()[:, :, 10:30]
    assert np.array_equal(lungs(hu), hu == -850)


def test_the_box_of_the_lungs_by_hand():
    how = Preparation(box="lungs", margin_mm=12.0)
    assert find_box(chest(), (4, 4, 8), how) == (slice(5, 35), slice(9, 31), slice(3, 37))
    assert find_box(chest(), (4, 4, 4), dataclasses.replace(how, box="all")) == (slice(0, 40),) * 3
    around_body = find_box(chest(), (4, 4, 4), dataclasses.replace(how, box="body"))
    assert around_body == (slice(2, 38), slice(5, 35), slice(0, 40))


def test_without_lungs_the_box_is_the_body_and_without_a_body_everything():
    abdomen = chest()
    abdomen[abdomen == -850] = 40
    how = Preparation(box="lungs", margin_mm=0)
    assert find_box(abdomen, (4, 4, 4), how) == (slice(5, 35), slice(8, 32), slice(0, 40))
    air = np.full((4, 5, 6), -1000.0)
    assert find_box(air, (1, 1, 1), how) == (slice(0, 4), slice(0, 5), slice(0, 6))


def test_box_of_nothing_is_everything():
    whole = (slice(0, 3), slice(0, 4), slice(0, 5))
    assert box_around(np.zeros((3, 4, 5), bool), (1, 1, 1)) == whole


def test_the_lung_box_keeps_every_lesion_of_forty_phantom_patients():
    for patient in range(40):
        made = lung_volume(0, (64, 64, 24), patient)
        volume = volume_of(made.hu, made.spacing_mm)
        kept = prepare(volume, Preparation(), made.mask)  # refuses if it cut lesion away
        assert kept.label.sum() == made.mask.sum() > 0
        assert kept.image.size < made.mask.size


def test_a_box_that_cuts_a_lesion_is_refused():
    hu, label = chest(), np.zeros((40, 40, 40), np.uint8)
    label[6, 10, 20] = 1  # in the chest wall
    with pytest.raises(InputError, match=r"cuts off 1 voxels.*box='body'"):
        prepare(volume_of(hu, (4, 4, 4)), Preparation(box="lungs", margin_mm=0), label)
    assert prepare(volume_of(hu), Preparation(box="body"), label).label.sum() == 1


@pytest.mark.parametrize("box", ["all", "body", "lungs"])
def test_a_label_comes_back_to_the_voxel(box):
    made = lung_volume(0, (96, 80, 24), 3)
    ready = prepare(volume_of(made.hu, made.spacing_mm), Preparation(box=box), made.mask)
    assert np.array_equal(put_back(ready.label, ready.place), made.mask)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SRA", "PIL"])
def test_round_trip_through_files_in_any_orientation(tmp_path, axes):
    """Stored flipped, permuted, rotated and anisotropic: the saved mask is the true one."""
    made = lung_volume(1, (64, 72, 20), 0)
    stored = nib.orientations.axcodes2ornt(axes)
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), stored)
    tilt = np.eye(4)
    angle = np.deg2rad(7)
    tilt[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = tilt @ made.affine @ nib.orientations.inv_ornt_aff(turn, made.hu.shape)
    write_image(tmp_path / "ct.nii.gz", nib.apply_orientation(made.hu, turn), affine)
    volume = read_image(tmp_path / "ct.nii.gz")
    write_mask(tmp_path / "truth.nii.gz", made.mask, like=volume)
    truth = read_mask(tmp_path / "truth.nii.gz", like=volume)
    ready = prepare(volume, Preparation(), truth.array)
    write_mask(tmp_path / "again.nii.gz", put_back(ready.label, ready.place), like=volume)
    first, again = (nib.load(tmp_path / name) for name in ("truth.nii.gz", "again.nii.gz"))
    assert np.array_equal(first.get_fdata(), again.get_fdata()) and first.get_fdata().sum() > 0
    assert np.array_equal(nib.load(tmp_path / "ct.nii.gz").affine, again.affine)


def test_resampling_keeps_extent_and_place():
    """A ramp in mm stays the same ramp in mm: no shift of half a voxel."""
    ramp = np.arange(16, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32)
    finer = resampled(ramp, (32, 4, 4))
    centres = (np.arange(32) + 0.5) / 2 - 0.5  # of the small voxels, in large ones
    assert np.allclose(finer[1:-1, 0, 0], centres[1:-1], atol=1e-5)
    assert np.array_equal(resampled(ramp, ramp.shape), ramp)


def test_labels_survive_finer_voxels_exactly_and_coarser_ones_nearly():
    made = lung_volume(0, (64, 64, 24), 2)
    finer = resampled(made.mask, (128, 128, 72), nearest=True)
    assert np.array_equal(resampled(finer, made.mask.shape, nearest=True), made.mask)
    assert finer.sum() == made.mask.sum() * 12


def test_a_mask_drawn_at_1_mm_comes_back():
    ball = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0) < 10
    how = Preparation(spacing_mm=(1.0, 1.0, 1.0), box="all")
    ready = prepare(volume_of(ball * 1000.0 - 900, (0.7, 0.7, 2.5)), how, ball.astype(np.uint8))
    assert ready.image.shape == (28, 28, 100)
    back = put_back(ready.label, ready.place)
    assert dice(back, ball) > 0.9  # resampling costs something; nothing is shifted
    assert abs(np.argwhere(back).mean(0) - 19.5).max() < 0.3


@pytest.mark.parametrize("cubic", [False, True])
def test_the_spacing_is_that_of_the_voxels_and_not_the_one_asked_for(cubic):
    """Three slices of 5 mm become two of 7.5 mm where 10 mm were asked for."""
    volume = volume_of(np.linspace(-900, 300, 180).reshape(6, 10, 3), (0.7, 0.8, 5.0))
    how = Preparation(spacing_mm=(1.0, 0.8, 10.0), box="all", cubic=cubic)
    ready = prepare(volume, how)
    assert ready.image.shape == (4, 10, 2)
    assert ready.spacing_mm == pytest.approx((1.05, 0.8, 7.5))
    kept = prepare(volume, Preparation(box="all")).spacing_mm
    assert kept == volume.spacing_mm
    cropped = prepare(volume_of(chest(), (2, 2, 3)), Preparation((7.0, 3.0, 11.0), margin_mm=4.0))
    extent = [(s.stop - s.start) * mm for s, mm in zip(cropped.place.box, (2, 2, 3), strict=True)]
    assert np.allclose(np.multiply(cropped.image.shape, cropped.spacing_mm), extent)


def test_coarser_voxels_average_instead_of_dropping():
    noise = np.random.default_rng(0).normal(0, 1, (64, 64, 64)).astype(np.float32)
    assert resampled(noise, (16, 16, 16)).std() < 0.15  # linear between centres alone: 0.35
    speck = np.zeros((16, 16, 16), np.float32)
    speck[8, 8, 8] = 1000
    coarse = resampled(speck, (4, 4, 4))
    assert coarse.max() > 0 and np.unravel_index(coarse.argmax(), coarse.shape) == (2, 2, 2)


def test_the_window_maps_to_0_and_1():
    hu = np.linspace(-2000, 2000, 64).reshape(4, 4, 4)
    image = prepare(volume_of(hu), Preparation(box="all", window=(-1000, 400))).image
    assert image.min() == 0 and image.max() == 1 and image.dtype == np.float32
    at = np.abs(hu + 300).argmin()
    assert image.flat[at] == pytest.approx((hu.flat[at] + 1000) / 1400, abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"box": "liver"}, "all, body, lungs"),
        ({"window": (400, -1000)}, "low, high"),
        ({"spacing_mm": (1, 0, 1)}, "above 0"),
    ],
)
def test_wrong_numbers_are_named(wrong, says):
    with pytest.raises(InputError, match=says):
        Preparation(**wrong)


def test_loading_keeps_order_and_names(tmp_path):
    make_phantom("lung3d", 3, (48, 48, 12), 0, tmp_path)
    cases = read_cases(tmp_path)
    loaded = load_volumes(cases, Preparation())
    assert [v.case.case for v in loaded] == [c.case for c in cases]
    for volume, case in zip(loaded, cases, strict=True):
        truth = read_mask(case.label).array
        assert np.array_equal(put_back(volume.label, volume.place), truth)


def test_a_case_without_label_has_none(tmp_path):
    make_phantom("lung3d", 1, (48, 48, 12), 0, tmp_path)
    [case] = read_cases(tmp_path)
    [volume] = load_volumes([dataclasses.replace(case, label=None)], Preparation())
    assert volume.label is None and isinstance(volume.case, Case)
