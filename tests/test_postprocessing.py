"""Rules after the network, on masks drawn by hand."""

import numpy as np
import pytest

from seg_lib.postprocessing import filled, largest_component, rim_rule, without_small


def test_the_largest_component_by_hand():
    mask = np.array(
        [
            [1, 1, 0, 0, 1],
            [0, 0, 0, 0, 1],
            [0, 0, 1, 0, 1],
        ],
        np.uint8,
    )
    expected = np.zeros_like(mask)
    expected[:, 4] = 1
    kept = largest_component(mask)
    assert kept.dtype == mask.dtype and np.array_equal(kept, expected)


@pytest.mark.parametrize(("connectivity", "voxels"), [(1, 1), (2, 2), (3, 3), (None, 3)])
def test_connectivity_says_what_touching_is(connectivity, voxels):
    """Three voxels in a chain: the first two share an edge, the last two only a corner."""
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[0, 1, 1] = mask[1, 2, 2] = True
    assert largest_component(mask, connectivity).sum() == voxels


def test_largest_component_of_nothing_of_one_and_of_equals():
    empty = np.zeros((3, 3), np.uint8)
    assert largest_component(empty).sum() == 0
    one = np.eye(3, dtype=np.uint8)
    assert np.array_equal(largest_component(one), one)
    assert np.array_equal(largest_component(np.array([1, 0, 1])), [1, 0, 0])
    kept = largest_component(one)
    kept[:] = 0
    assert one.sum() == 3  # the argument is never changed


def test_small_components_by_hand():
    """Three voxels of 2 mm³ are 6 mm³; one voxel is 2 mm³."""
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[0, 0, :3] = mask[4, 4, 4] = 1
    spacing = (1.0, 1.0, 2.0)
    assert without_small(mask, 0, spacing).sum() == 4
    assert without_small(mask, 2.0, spacing).sum() == 4
    assert without_small(mask, 2.1, spacing).sum() == 3
    assert without_small(mask, 6.1, spacing).sum() == 0
    assert without_small(np.zeros_like(mask), 1, spacing).sum() == 0


def test_a_ring_is_filled_in_its_own_slice():
    mask = np.zeros((5, 5, 3), np.uint8)
    mask[1:4, 1:4, 1] = 1
    mask[2, 2, 1] = 0
    full = filled(mask)
    assert full.dtype == mask.dtype and full.sum() == 9 and full[2, 2, 1] == 1
    assert np.array_equal(filled(full), full)


def test_the_rim_rule_drops_a_bright_voxel_and_takes_an_equal_one_in():
    hu = np.full((9, 9, 9), -900.0)
    hu[2:7, 2:7, 2:7] = 40 + np.random.default_rng(0).normal(0, 5, (5, 5, 5))
    mask = np.zeros(hu.shape, np.uint8)
    mask[2:7, 2:7, 2:7] = 1
    mean = hu[mask > 0].mean()
    hu[2, 4, 4] = 900.0  # calcium on the rim: far from the others
    hu[1, 4, 4] = hu[mask > 0].mean()  # outside, but exactly like the inside
    assert abs(hu[1, 4, 4] - mean) < 10
    changed = rim_rule(mask, hu)
    assert changed[2, 4, 4] == 0 and changed[1, 4, 4] == 1
    assert changed.sum() == mask.sum()
    assert rim_rule(np.zeros_like(mask), hu).sum() == 0
