"""Uptake of FDG in the phantom: the same bytes for the same patient, and no easy outline."""

import numpy as np
import pytest

from seg_lib.data.phantom_lung import lung_volume, patient_of
from seg_lib.data.phantom_pet import VOXEL_MM, lung_pet, nodule_suv
from seg_lib.errors import InputError

SIZE = (64, 64, 24)


@pytest.fixture(scope="module")
def drawn():
    """CT and PET of eight patients."""
    return [(lung_volume(0, SIZE, n), *lung_pet(0, SIZE, n)) for n in range(8)]


def test_the_same_patient_is_the_same_to_the_last_bit(drawn):
    again, affine = lung_pet(0, SIZE, 3)
    assert again.tobytes() == drawn[3][1].tobytes() and (affine == drawn[3][2]).all()
    assert not np.array_equal(lung_pet(1, SIZE, 3)[0].shape, again.shape) or not np.array_equal(
        lung_pet(1, SIZE, 3)[0], again
    )


def test_it_covers_the_ct_with_voxels_of_its_own(drawn):
    for ct, suv, affine in drawn:
        assert np.allclose(np.diag(affine)[:3], VOXEL_MM)
        for array, where in ((ct.hu, ct.affine), (suv, affine)):
            assert array.ndim == 3 and where.shape == (4, 4)
        low, high = ct.affine[:3, 3], ct.affine @ [*np.array(ct.hu.shape) - 1, 1]
        end = affine @ [*np.array(suv.shape) - 1, 1]
        assert (affine[:3, 3] <= low + 1e-3).all() and (end >= high - 1e-3)[:3].all()
        assert suv.dtype == np.float32 and suv.min() >= 0 and suv.max() < 25


def around(suv, affine, mm, reach_mm):
    index = np.round(np.linalg.inv(affine) @ [*mm, 1])[:3].astype(int)
    half = round(reach_mm / VOXEL_MM)
    return suv[tuple(slice(max(0, i - half), i + half + 1) for i in index)]


def test_the_liver_has_its_uptake_and_a_noise_of_about_12_percent(drawn):
    means, noises = [], []
    for n, (_, suv, affine) in enumerate(drawn):
        scale = patient_of("lung3d", 0, n, min(SIZE[:2])).anatomy.scale
        part = around(suv, affine, np.array([50.0, 8.0, -120.0]) * scale, 12)
        if part.size >= 300:  # the field of view may end above it
            means.append(part.mean())
            noises.append(part.std() / part.mean())
    assert len(means) >= 4 and abs(np.median(means) - 2.2) < 0.2
    assert 0.08 < np.median(noises) < 0.16


def test_solid_nodules_take_up_more_than_ground_glass_and_large_ones_more_than_small():
    rng = np.random.default_rng(0)
    small, large = (
        np.array([nodule_suv({"diameter_mm": mm}, rng) for _ in range(400)]) for mm in (10, 30)
    )
    assert np.median(small[:, 1]) > 2 * small[:, 0].max() > 1.6
    assert np.median(large[:, 1]) > np.median(small[:, 1]) + 3
    assert 0.15 < (small[:, 1] < 2).mean() < 0.35, "every fourth is cold"


def test_pet_alone_does_not_outline_the_nodules(drawn):
    """Some nodules are cold, and some of what is hot is no nodule."""
    found, hot_elsewhere = [], 0
    for ct, suv, affine in drawn:
        away = np.ones(suv.shape, bool)
        for nodule in ct.nodules:
            mm = nodule["centre_mm"]
            found.append(around(suv, affine, mm, 8).max())
            index = np.round(np.linalg.inv(affine) @ [*mm, 1])[:3].astype(int)
            half = int(nodule["diameter_mm"] / VOXEL_MM) + 3
            away[tuple(slice(max(0, i - half), i + half + 1) for i in index)] = False
        hot_elsewhere += (suv[away] > 3.5).any()
    assert np.median(found) > 3.5 > min(found)
    assert hot_elsewhere >= 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"size": (8, 8, 8)}, r"size \(8, 8, 8\): lung3d needs 3 whole number"),
        ({"patient": -1}, "patient -1: give a whole number of at least 0"),
        ({"seed": -1}, "seed -1: give a whole number of at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused(words, says):
    with pytest.raises(InputError, match=says):
        lung_pet(**words)
