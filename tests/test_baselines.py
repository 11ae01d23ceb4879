"""Predictors without learning, on images whose answer is known."""

import numpy as np
import pytest
from unseeing import central_component, centre_ellipsoid

from seg_lib.baselines import inside_lungs, mean_prior, threshold_baseline, tune
from seg_lib.errors import InputError
from seg_lib.metrics import dice


def chest(value=0.8):
    """A bright wall at the border, a nodule of 12 pixels and a vessel of 4, all above 0.5."""
    image = np.full((20, 20), 0.1)
    image[0] = image[:, 0] = 0.9
    image[5:8, 10:14] = value
    image[14:16, 4:6] = value
    return image


NODULE = np.zeros((20, 20), np.uint8)
NODULE[5:8, 10:14] = 1


def test_the_nodule_is_the_largest_bright_thing_inside():
    found = threshold_baseline(chest(), 0.5)
    assert found.dtype == np.uint8 and np.array_equal(found, NODULE)


def test_a_nodule_at_the_wall_is_lost_with_the_wall():
    image = chest()
    image[5:8, 1:10] = 0.8
    assert threshold_baseline(image, 0.5).sum() == 4  # only the vessel is left


def test_nothing_bright_gives_an_empty_mask():
    assert threshold_baseline(chest(), 2.0).sum() == 0
    assert threshold_baseline(np.ones((5, 5)), 0.5).sum() == 0  # all touches the border


def test_the_upper_limit_and_the_region_exclude():
    image = chest()
    image[14:16, 4:6] = 0.6
    assert threshold_baseline(image, 0.5, high=0.7).sum() == 4
    roi = np.zeros_like(NODULE)
    roi[10:] = 1
    assert threshold_baseline(image, 0.5, roi=roi).sum() == 4


def test_in_a_volume_a_lesion_may_leave_through_the_first_slice():
    image = np.zeros((9, 9, 4))
    image[3:5, 3:5, 0:2] = 1.0
    assert threshold_baseline(image, 0.5).sum() == 8
    image[0:5, 3:5, 0] = 1.0  # now it reaches the border in the plane
    assert threshold_baseline(image, 0.5).sum() == 0


def test_the_threshold_is_tuned_by_mean_dice():
    images = [chest(0.6), chest(0.7)]
    best, mean = tune(threshold_baseline, images, [NODULE, NODULE], [0.05, 0.65, 0.5, 0.4])
    assert (best, mean) == (0.5, 1.0)  # 0.4 is as good, but comes later


@pytest.mark.parametrize("images", [[], [chest(), chest()]])
def test_tuning_needs_pairs(images):
    with pytest.raises(InputError, match="images"):
        tune(threshold_baseline, images, [NODULE], [0.5])


def test_the_ellipse_has_the_area_of_an_ellipse():
    mask = centre_ellipsoid((200, 100), (0.5, 0.8))
    assert mask.sum() == pytest.approx(np.pi * 50 * 40, rel=0.01)
    assert np.array_equal(mask, mask[::-1]) and np.array_equal(mask, mask[:, ::-1])
    assert mask.any(axis=1).sum() == 100 and mask.any(axis=0).sum() == 80


def test_the_ellipsoid_has_the_volume_of_an_ellipsoid():
    mask = centre_ellipsoid((60, 60, 60), 0.5)
    assert mask.sum() == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.02)


def test_an_ellipse_without_size_is_refused():
    with pytest.raises(InputError, match="above 0"):
        centre_ellipsoid((4, 4), 0)


def test_the_prior_is_the_share_of_masks():
    masks = [np.array([[1, 0], [1, 0]]), np.array([[1, 1], [0, 0]])]
    prior = mean_prior(masks)
    assert prior.dtype == np.float32 and prior.tolist() == [[1.0, 0.5], [0.5, 0.0]]
    assert dice(prior >= 0.6, masks[0]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("masks", [[], [np.zeros((2, 2)), np.zeros((3, 2))]])
def test_the_prior_needs_one_common_shape(masks):
    with pytest.raises(InputError, match="shape"):
        mean_prior(masks)


def test_inside_lungs_is_air_in_the_body_with_what_it_encloses():
    hu = np.full((20, 20), -1000.0)
    hu[2:18, 2:18] = 40  # the body
    hu[5:15, 5:15] = -800  # a lung
    hu[8:10, 8:10] = 30  # a nodule in it
    lungs = np.zeros((20, 20), bool)
    lungs[5:15, 5:15] = True
    assert np.array_equal(inside_lungs(hu, -400), lungs)
    volume = np.stack([hu, hu], 2)
    assert np.array_equal(inside_lungs(volume, -400), np.stack([lungs, lungs], 2))


def test_central_component_is_the_one_nearest_to_the_middle():
    bright = np.zeros((9, 9), bool)
    bright[0:3, 0:3] = bright[5, 5:9] = True
    assert np.argwhere(central_component(bright)).tolist() == [[5, c] for c in range(5, 9)]
    assert not central_component(np.zeros((4, 4))).any()
