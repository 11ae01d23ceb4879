"""Changes of scans and notes: measured against what can be computed by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from seg_lib.data.nifti import Volume
from seg_lib.data.notes import mirrored_note, place_in
from seg_lib.errors import InputError
from seg_lib.perturbations import (
    AIR_HU,
    SUITE,
    NotedScan,
    Perturbation,
    brighter,
    coarser,
    cropped,
    mirrored,
    mirrored_image,
    moved,
    noise,
    suffered,
)

NOTE = "A 61-year-old man. The tumour lies in the right upper lobe."


@pytest.fixture
def scan():
    """2 x 2 x 4 mm voxels; the tumour is bright, on the right and near the head."""
    hu = np.full((40, 30, 20), -800, np.float32)
    mask = np.zeros(hu.shape, np.uint8)
    mask[28:33, 10:15, 14:16] = 1
    hu[mask > 0] = 40
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    return NotedScan(Volume(hu, affine, affine, hu.shape, Path("made up")), mask, NOTE)


def same(one: NotedScan, other: NotedScan) -> bool:
    arrays = np.array_equal(one.volume.array, other.volume.array)
    return arrays and np.array_equal(one.mask, other.mask) and one.note == other.note


def place_mm(scan: NotedScan) -> np.ndarray:
    """Where the middle of the mask lies in the world."""
    middle = np.argwhere(scan.mask).mean(axis=0)
    return scan.volume.affine[:3, :3] @ middle + scan.volume.affine[:3, 3]


def bright_where_masked(scan: NotedScan) -> bool:
    return np.array_equal(scan.volume.array > 0, scan.mask > 0)


@pytest.mark.parametrize("name", SUITE)
def test_level_0_changes_nothing_and_the_scan_itself_is_never_changed(scan, name):
    before = dataclasses.replace(scan, mask=scan.mask.copy())
    assert same(SUITE[name].change(scan, 0), scan)
    for level in SUITE[name].levels:
        changed = SUITE[name].change(scan, level)
        assert not same(changed, scan)
        assert changed.volume.array.dtype == np.float32 and changed.mask.dtype == np.uint8
        assert changed.volume.array.shape == changed.mask.shape
    assert same(before, scan)


def test_noise_has_the_spread_that_was_asked_for_and_no_mean(scan):
    added = noise(scan, 50).volume.array - scan.volume.array
    assert added.std() == pytest.approx(50, rel=0.02)  # 24,000 voxels: 0.5 % of sampling
    assert added.mean() == pytest.approx(0, abs=1.5)
    assert same(noise(scan, 50), noise(scan, 50))
    assert not same(noise(scan, 50, seed=1), noise(scan, 50))
    other = dataclasses.replace(scan.volume, path=Path("another case"))
    assert not same(noise(dataclasses.replace(scan, volume=other), 50), noise(scan, 50))


def test_brighter_adds_the_same_to_every_voxel(scan):
    added = brighter(scan, 60).volume.array - scan.volume.array
    assert np.all(added == 60)


def test_coarser_keeps_the_grid_and_what_is_even_and_blurs_the_rest(scan):
    changed = coarser(scan, 8).volume.array
    assert changed.shape == scan.volume.array.shape
    assert np.all(changed[:10] == -800)  # far from the tumour
    assert -800 < changed.max() < 40
    assert coarser(scan, 12).volume.array.max() < changed.max()
    assert same(coarser(scan, 2), scan), "no axis is that fine"
    only_x_and_y = coarser(scan, 4).volume.array  # z has 4 mm already
    assert np.array_equal(only_x_and_y[..., 0], np.full((40, 30), -800))
    assert np.array_equal(only_x_and_y[..., 14], only_x_and_y[..., 15])


def test_the_field_of_view_moves_and_the_tumour_stays_where_it_is_in_the_world(scan):
    changed = moved(scan, 7)  # 3.5 voxels: 4
    assert np.all(changed.volume.array[:4] == AIR_HU)
    assert np.array_equal(changed.mask[4:], scan.mask[:-4])
    assert bright_where_masked(changed)
    assert place_mm(changed) == pytest.approx(place_mm(scan))
    assert not moved(scan, 24).mask.any(), "12 voxels: the tumour has left the field"
    with pytest.raises(InputError, match="80 mm: give 0 to below the width"):
        moved(scan, 80)


def test_slices_are_cut_off_where_the_tumour_is_not(scan):
    changed = cropped(scan, 20)  # 5 slices at the feet
    assert changed.mask.shape == (40, 30, 15)
    assert np.array_equal(changed.mask, scan.mask[:, :, 5:])
    assert bright_where_masked(changed)
    assert place_mm(changed) == pytest.approx(place_mm(scan))
    below = dataclasses.replace(scan, mask=scan.mask[:, :, ::-1])
    assert np.array_equal(cropped(below, 20).mask, below.mask[:, :, :-5])
    assert cropped(scan, 4000).mask.shape[2] == 6, "14 slices below it, and no more"
    empty = dataclasses.replace(scan, mask=np.zeros_like(scan.mask))
    assert cropped(empty, 20).mask.shape[2] == 15


def test_mirrored_twice_is_as_before_and_the_mask_goes_with_the_image(scan):
    for change in (mirrored, mirrored_image):
        once = change(scan, 1)
        assert bright_where_masked(once)
        assert np.array_equal(once.mask, scan.mask[::-1])
        assert same(change(once, 1), scan)
    assert mirrored_image(scan, 1).note == NOTE
    assert place_in(mirrored(scan, 1).note) == ("left", "upper")


@pytest.mark.parametrize(
    ("note", "mirror"),
    [
        ("Right lung, not left.", "Left lung, not right."),
        ("from left to right", "from right to left"),
        ("The leftover is bright.", "The leftover is bright."),
        ("the right middle lobe", "the left middle lobe"),
        ("", ""),
    ],
)
def test_a_note_and_its_mirror(note, mirror):
    assert mirrored_note(note) == mirror
    assert mirrored_note(mirror) == note


def test_the_table_of_a_reader_by_hand(scan):
    """It draws all that is bright on the side of the note: the old note after a flip finds none."""

    def reader(given: NotedScan) -> np.ndarray:
        found = given.volume.array > -100
        side = slice(None, 20) if "left" in given.note else slice(20, None)
        mask = np.zeros(found.shape, np.uint8)
        mask[side] = found[side]
        return mask

    rows = {row["change"]: row for row in suffered(reader, [scan, scan])}
    assert len(rows) == 1 + sum(len(entry.levels) for entry in SUITE.values())
    first = rows["unchanged"]
    assert (first["dice"], first["low"], first["high"], first["n"]) == (1, 1, 1, 2)
    assert rows["mirrored, note rewritten"]["difference"] == 0
    assert rows["mirrored, note as it was"]["difference"] == -1
    assert rows["cropped 40 mm"]["dice"] == rows["brighter 60 HU"]["dice"] == 1
    assert rows["noise 150 HU"]["dice"] > 0.9 and rows["coarser 12 mm"]["difference"] < 0
    with pytest.raises(InputError, match="no scans"):
        suffered(reader, [])


def test_the_names_of_the_rows():
    assert Perturbation(noise, "HU", (5,)).name_at("noise", 5) == "noise 5 HU"
    assert Perturbation(mirrored, "", (1,)).name_at("mirrored", 1) == "mirrored"
