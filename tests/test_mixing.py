"""Mixing: what is taken from whom, where it goes, and that image and label stay one."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from seg_lib.data import mixing
from seg_lib.data.mixing import (
    MIXES,
    Mixing,
    anatomix,
    carvemix,
    carving_mm,
    cutmix,
    inpaint,
    object_aug,
)
from seg_lib.errors import InputError

SHAPE = (32, 30, 24)


def chance(seed=0):
    return np.random.default_rng(seed)


def ball(middle, radius, shape=SHAPE, spacing=(1.0, 1.0, 1.0)):
    grid = np.indices(shape).reshape(3, -1).T
    apart = np.linalg.norm((grid - middle) * spacing, axis=1)
    return (apart <= radius).reshape(shape)


def case(middle=(16, 15, 12), radius=4, organ=7, grey=0.2):
    """A pancreas (1) with a lesion (2) in it; the image tells the classes and whose it is."""
    label = ball(middle, organ).astype(np.uint8)
    label[ball(middle, radius)] = 2
    return (grey + 0.1 * label).astype(np.float32), label


def label_as_image(label):
    return label.astype(np.float32) / 2, label


OWN, DONOR = case((10, 12, 10), 3), case((19, 16, 13), 5, grey=0.6)


def every_mix(own, donor, seed=0):
    """(name, what comes out) of the four; object_aug keeps the greys."""
    yield "cutmix", cutmix(*own, *donor, chance(seed))
    yield "carvemix", carvemix(*own, *donor, chance(seed))
    yield "object_aug", object_aug(*own, chance(seed), brightness=0)
    yield "anatomix", anatomix(*own, [donor])


def test_what_goes_in_stays_and_what_comes_out_is_new():
    before = [array.copy() for array in (*OWN, *DONOR)]
    for name, new in every_mix(OWN, DONOR):
        assert not np.array_equal(new.image, OWN[0]), name
        assert new.image.dtype == np.float32 and new.label.dtype == np.uint8, name
        assert new.image.min() >= 0 and new.image.max() <= 1
        for array in (*OWN, *DONOR):
            assert not np.shares_memory(array, new.image)
            assert not np.shares_memory(array, new.label)
    for array, old in zip((*OWN, *DONOR), before, strict=True):
        assert np.array_equal(array, old)


@pytest.mark.parametrize("seed", range(5))
def test_an_image_that_is_its_label_stays_it(seed):
    """Exactly, but in holes that were filled: there greys lie between those around."""
    own, donor = label_as_image(OWN[1]), label_as_image(DONOR[1])
    for name, new in every_mix(own, donor, seed):
        unlike = new.image != new.label.astype(np.float32) / 2
        hole = {"object_aug": own[1] == 2, "anatomix": own[1] > 0}.get(name, np.zeros(SHAPE, bool))
        assert not (unlike & ~ndimage.binary_dilation(hole)).any(), name


def test_origin_says_whose_each_voxel_is():
    for name, new in every_mix(OWN, DONOR):
        his = new.origin == 1
        if name in ("cutmix", "carvemix"):
            assert np.array_equal(new.label, np.where(his, DONOR[1], OWN[1])), name
            assert np.array_equal(new.image, np.where(his, DONOR[0], OWN[0])), name
        if name == "object_aug":
            assert not his.any()


def test_cutmix_takes_the_box_that_was_drawn():
    """Share 1/8 and the middle of the middle: 8 voxels of 16 along each axis, from 4 to 11."""

    class Drawn:
        def random(self, n=None):
            return 1 / 8 if n is None else np.full(n, 0.5)

    zeros, ones = np.zeros((16, 16, 16)), np.ones((16, 16, 16))
    new = cutmix(zeros, zeros, ones, ones, Drawn())
    expected = zeros.copy()
    expected[4:12, 4:12, 4:12] = 1
    assert np.array_equal(new.image, expected) and np.array_equal(new.label, expected)


def test_boxes_of_cutmix_are_boxes_of_every_size():
    zeros, ones = np.zeros(SHAPE), np.ones(SHAPE)
    shares = []
    for seed in range(300):
        inside = cutmix(zeros, zeros, ones, ones, chance(seed)).origin
        if inside.any():
            box = ndimage.find_objects(inside)[0]
            assert inside[box].all() and inside.sum() == inside[box].sum()
        shares.append(inside.mean())
    assert max(shares) > 0.5 and min(shares) < 0.01


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 2.0)])
def test_what_carvemix_carves_from_a_ball_is_a_ball(seed, spacing):
    """Of 7 mm: the radius is 7 mm and the threshold, to within half a voxel on either side."""
    lesion = ball((16, 15, 12), 7, spacing=spacing)
    donor = np.ones(SHAPE, np.float32), 2 * lesion.astype(np.uint8)
    own = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    new = carvemix(*own, *donor, chance(seed), spacing_mm=spacing)
    inner = ndimage.distance_transform_edt(lesion, sampling=spacing).max()
    radius = 7 + carving_mm(inner, chance(seed))
    voxel = max(spacing)
    carved = new.image == 1
    assert carved[ball((16, 15, 12), radius - voxel, spacing=spacing)].all()
    assert not carved[~ball((16, 15, 12), radius + voxel, spacing=spacing)].any()
    if radius >= 7:  # the whole lesion, and only there is the label a lesion
        assert np.array_equal(new.label == 2, lesion)
    else:
        assert np.array_equal(new.label == 2, carved)
        assert carved[ball((16, 15, 12), 7 - inner / 2 - voxel, spacing=spacing)].all()


def test_the_box_that_carvemix_works_in_changes_nothing():
    """Two lesions at the border; distances in the whole volume say the same."""
    label = 2 * (ball((1, 3, 20), 4) | ball((26, 29, 2), 6)).astype(np.uint8)
    mask = label == 2
    edt = ndimage.distance_transform_edt
    for seed in range(10):
        for spacing in ((1.0, 1.0, 1.0), (0.7, 0.7, 3.0)):
            distance = edt(~mask, sampling=spacing) - edt(mask, sampling=spacing)
            carved = distance <= carving_mm(-distance.min(), chance(seed))
            new = carvemix(*OWN, *label_as_image(label), chance(seed), spacing_mm=spacing)
            assert np.array_equal(new.origin == 1, carved)


def test_thresholds_are_a_mixture_of_two_even_draws():
    """2,000 draws at 10 mm: a half each; each half even."""
    drawn = np.array([carving_mm(10.0, rng) for rng in [chance()] for _ in range(2000)])
    inner, outer = drawn[drawn < 0], drawn[drawn >= 0]
    assert abs(len(inner) - 1000) < 4 * np.sqrt(500)
    assert inner.min() >= -5 and outer.max() <= 10
    assert abs(inner.mean() + 2.5) < 0.2 and abs(outer.mean() - 5) < 0.4


def test_carvemix_keeps_the_lesions_of_the_recipient_elsewhere():
    own, donor = case((7, 7, 6), 3, organ=4), case((24, 22, 17), 3, organ=4)
    new = carvemix(*own, *donor, chance(1))
    assert np.array_equal((new.label == 2)[:14], (own[1] == 2)[:14])
    assert (new.label == 2)[14:].any()


def test_object_aug_scales_the_volume_as_asked():
    own = case(radius=5)
    for factor in (0.8, 1.0, 1.25):
        how = {"scale": (factor, factor), "rotation_deg": 30.0, "shift_voxels": 0}
        new = object_aug(*own, chance(), **how)
        ratio = (new.label == 2).sum() / (own[1] == 2).sum()
        assert abs(ratio / factor**3 - 1) < 0.1
        middle = ndimage.center_of_mass(new.label == 2)
        assert np.abs(np.subtract(middle, (16, 15, 12))).max() < 0.5


def test_object_aug_turns_and_shifts_by_no_more_than_asked():
    bar = np.zeros(SHAPE, np.uint8)
    bar[8:24, 14:17, 11:14] = 2
    image = 0.5 * bar.astype(np.float32)
    angles = []
    for seed in range(30):
        new = object_aug(image, bar, chance(seed), scale=(1, 1), shift_voxels=2)
        found = np.argwhere(new.label == 2)
        assert np.abs(found.mean(0) - (15.5, 15, 12)).max() < 2.5
        (xx, xy), (_, yy) = np.cov(found[:, :2].T)
        angles.append(np.rad2deg(np.arctan2(2 * xy, xx - yy) / 2))
        assert len(set(found[:, 2])) == 3  # in the axial plane
    assert np.abs(angles).max() < 31 and np.ptp(angles) > 30


def test_object_aug_touches_only_hole_rim_and_paste():
    for seed in range(5):
        new = object_aug(*OWN, chance(seed))
        touched = ndimage.binary_dilation(OWN[1] == 2) | (new.label == 2)
        assert np.array_equal(new.image[~touched], OWN[0][~touched])
        hole = (OWN[1] == 2) | (new.label == 2)
        assert np.array_equal(new.label[~hole], OWN[1][~hole])
        assert (new.label[(OWN[1] == 2) & (new.label != 2)] == 1).all()  # it lies in the pancreas


def test_object_aug_takes_one_lesion_of_two():
    label = 2 * (ball((8, 8, 8), 3) | ball((24, 22, 16), 3)).astype(np.uint8)
    seen = set()
    for seed in range(10):
        new = object_aug(*label_as_image(label), chance(seed), scale=(1.2, 1.2))
        same = [np.array_equal(new.label[part], label[part]) for part in (np.s_[:16], np.s_[16:])]
        assert sum(same) == 1
        seen.add(tuple(same))
    assert len(seen) == 2


def test_the_lesion_is_as_bright_as_asked_and_its_rim_as_its_middle():
    bright = object_aug(*OWN, chance(3), brightness=0.1)
    greys = bright.image[bright.label == 2]
    assert np.ptp(greys) < 1e-6 and abs(greys[0] / 0.4 - 1) <= 0.1 + 1e-6


def test_anatomix_takes_the_donor_nearest_in_size_then_in_place():
    radii = (3, 6, 8, 11)
    donors = [case((16, 15, 12), 2, organ=radius) for radius in radii]
    for organ, expected in ((7, 2), (5.5, 1), (3.3, 0), (11, 3)):
        new = anatomix(*case((16, 15, 12), 2, organ=organ), donors)
        assert set(np.unique(new.origin)) == {0, expected + 1}
    places = [case((7, 15, 12), 2), case((20, 15, 12), 2), case((26, 15, 12), 2)]
    assert anatomix(*case((17, 15, 12), 2), places).origin.max() == 2


def test_anatomix_keeps_the_centroid_and_fills_the_hole():
    own, donor = case((12, 12, 11), 3, organ=7), case((18, 16, 12), 2, organ=5, grey=0.6)
    new = anatomix(*own, [donor])
    assert (new.label > 0).sum() == (donor[1] > 0).sum()
    assert (new.label == 2).sum() == (donor[1] == 2).sum()
    middle = ndimage.center_of_mass(new.label > 0)
    assert np.abs(np.subtract(middle, (12, 12, 11))).max() <= 1
    assert np.array_equal(np.unique(new.image[new.label == 2]), np.unique(donor[0][donor[1] == 2]))
    hole = (own[1] > 0) & (new.label == 0)
    assert hole.any() and np.allclose(new.image[hole], 0.2, atol=1e-3)


def test_anatomix_covers_no_other_organ():
    own, donor = case((12, 12, 11), 2, organ=4), case((18, 16, 12), 2, organ=6, grey=0.5)
    own[1][14:20, :, :][own[1][14:20, :, :] == 0] = 3
    new = anatomix(*own, [donor])
    other = own[1] == 3
    assert (new.label[other] == 3).all() and np.array_equal(new.image[other], own[0][other])


def test_a_hole_in_a_slope_is_filled_with_the_slope():
    """A plane is harmonic; so is an even image, in a hole at the border, too."""
    plane = np.indices(SHAPE).astype(np.float32).transpose(1, 2, 3, 0) @ np.float32([0.01, 0.02, 0])
    hole = ball((16, 15, 12), 6)
    spoilt = np.where(hole, 9, plane).astype(np.float32)
    assert np.abs(inpaint(spoilt, hole) - plane).max() < 1e-3
    corner = np.where(ball((0, 0, 0), 6), 9, 0.4).astype(np.float32)
    assert np.allclose(inpaint(corner, corner == 9), 0.4, atol=1e-4)
    rough = chance().random(SHAPE).astype(np.float32)
    filled = inpaint(rough, hole)[hole]
    assert rough[~hole].min() <= filled.min() and filled.max() <= rough[~hole].max()
    assert np.array_equal(inpaint(rough, np.ones(SHAPE, bool)), rough)
    assert np.array_equal(inpaint(rough, np.zeros(SHAPE, bool)), rough)


def test_without_lesion_nothing_changes():
    none = np.full(SHAPE, 0.3, np.float32), np.zeros(SHAPE, np.uint8)
    every = np.full(SHAPE, 0.3, np.float32), np.full(SHAPE, 2, np.uint8)
    unchanged = {
        "carvemix": carvemix(*OWN, *none, chance()),
        "object_aug": object_aug(*none, chance()),
        "anatomix": anatomix(*OWN, [none, none]),
        "anatomix without donors": anatomix(*OWN, []),
    }
    for name, new in unchanged.items():
        own = none if name == "object_aug" else OWN
        assert np.array_equal(new.image, own[0]) and np.array_equal(new.label, own[1]), name
        assert not new.origin.any()
    assert np.array_equal(anatomix(*none, [OWN]).label, none[1])
    assert np.array_equal(object_aug(*every, chance()).image, every[0])
    assert np.array_equal(carvemix(*OWN, *every, chance()).label, every[1])  # all is lesion


def test_unequal_shapes_are_refused():
    small = DONOR[0][1:], DONOR[1][1:]
    for call in (
        lambda: cutmix(*OWN, *small, chance()),
        lambda: carvemix(*OWN, *small, chance()),
        lambda: object_aug(OWN[0], small[1], chance()),
        lambda: anatomix(*OWN, [DONOR, small]),
        lambda: object_aug(OWN[0][0], OWN[1][0], chance()),
    ):
        with pytest.raises(InputError, match="give one shape"):
            call()


def batch(b=4):
    """Patches whose item ``b - 1`` has no lesion."""
    cases = [case((10 + 3 * i, 12 + i, 12), 3, grey=0.1 * i) for i in range(b)]
    cases[-1][1][cases[-1][1] == 2] = 1
    images, labels = zip(*cases, strict=True)
    return torch.tensor(np.stack(images))[:, None], torch.tensor(np.stack(labels))[:, None].long()


@pytest.mark.parametrize("kind", MIXES)
def test_a_batch_is_mixed_from_its_own_items(kind):
    image, label = batch()
    old = image.clone(), label.clone()
    first, again, other = (
        Mixing(kind, 1.0).mix(image, label, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert first[0].shape == image.shape and first[0].dtype == torch.float32
    assert first[1].dtype == torch.long
    assert all(map(torch.equal, first, again))
    assert kind == "anatomix" or not torch.equal(first[0], other[0])
    assert torch.equal(image, old[0]) and torch.equal(label, old[1])
    for new, same in zip(
        Mixing(kind, 1.0)(image, label, torch.Generator().manual_seed(1)), first[:2], strict=True
    ):
        assert torch.equal(new, same)


@pytest.mark.parametrize("kind", MIXES)
def test_share_0_changes_nothing_and_a_lone_patch_has_no_donor(kind):
    image, label = batch()
    new, moved, lesion_from = Mixing(kind, 0.0).mix(image, label, torch.Generator())
    assert torch.equal(new, image) and torch.equal(moved, label)
    assert torch.equal(lesion_from, torch.eye(4))
    new, moved, lesion_from = Mixing(kind, 1.0).mix(image[:1], label[:1], torch.Generator())
    assert torch.equal(new, image[:1]) == (kind != "object_aug")
    assert torch.equal(lesion_from, torch.eye(1))


def test_the_share_is_the_share():
    image, label = (t[:, :, ::2, ::2, ::2].repeat(150, 1, 1, 1, 1) for t in batch())
    image = image + torch.linspace(0, 0.2, 600).view(-1, 1, 1, 1, 1)  # no two are the same
    new, _ = Mixing("carvemix", 0.3)(image, label, torch.Generator().manual_seed(0))
    changed = (new != image).flatten(1).any(1).float().mean()
    assert abs(changed - 0.3) < 4 * np.sqrt(0.21 / 600)


def test_whose_lesions_an_item_shows():
    """The image tells whose voxels are: count them."""
    image, label = batch()
    for i in range(4):
        image[i] = 0.1 + 0.2 * i
    for kind in MIXES:
        for seed in range(6):
            generator = torch.Generator().manual_seed(seed)
            new, moved, lesion_from = Mixing(kind, 1.0).mix(image, label, generator)
            assert torch.allclose(lesion_from.sum(1), torch.ones(4))
            if kind == "object_aug":
                assert torch.equal(lesion_from, torch.eye(4))
                continue
            for i in range(4):
                greys = new[i][moved[i] == 2]
                shares = [(greys == image[j].flatten()[0]).float().mean() for j in range(4)]
                expected = torch.stack(shares) if len(greys) else torch.eye(4)[i]
                assert torch.allclose(lesion_from[i], expected, atol=1e-6), (kind, seed, i)
            if kind == "carvemix":
                assert lesion_from[:3, 3].max() == 0  # it has no lesion to give
                assert lesion_from[3, 3] == 0  # all that it has now is a donor's


def test_unknown_mixes_are_refused():
    with pytest.raises(InputError, match="cutmix, carvemix, object_aug, anatomix"):
        Mixing("mixup")
    with pytest.raises(InputError, match="share from 0 to 1"):
        Mixing("cutmix", 1.5)
    assert mixing.MIXES.keys() == {"cutmix", "carvemix", "object_aug", "anatomix"}
