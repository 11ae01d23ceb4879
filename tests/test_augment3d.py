"""Augmentation in 3D: nothing at probability 0, image and label together, each step by itself."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seg_lib.data.augment3d import (
    GREYS,
    MOVES,
    STEPS,
    WISH_LIST,
    Augmentation3d,
    rotations,
    sampling_grid,
)
from seg_lib.data.patches import NotedPatches
from seg_lib.errors import InputError

OFF = dataclasses.replace(Augmentation3d(), **dict.fromkeys((*STEPS, "mirror"), 0.0))
SHAPE = (24, 20, 16)


def only(*steps, **how):
    return dataclasses.replace(OFF, **dict.fromkeys(steps, 1.0), **how)


def drawn(augment, image, label=None, seed=0):
    label = torch.zeros(image.shape, dtype=torch.long) if label is None else label
    return augment(image, label, torch.Generator().manual_seed(seed))


def patches(b=4, seed=0):
    """Smooth random images (B, 1, 24, 20, 16) from 0 to 1, and a label of three classes."""
    chance = torch.Generator().manual_seed(seed)
    image = F.interpolate(torch.rand(b, 1, 6, 5, 4, generator=chance), SHAPE, mode="trilinear")
    image = (image - image.min()) / (image.max() - image.min())
    return image, (image * 3).long().clamp(max=2)


def test_nothing_happens_at_probability_0():
    image, label = patches()
    new, moved = drawn(OFF, image, label)
    assert torch.equal(new, image) and torch.equal(moved, label)
    assert new.data_ptr() != image.data_ptr()


@pytest.mark.parametrize("augment", [only(*STEPS, "mirror"), WISH_LIST])
def test_what_comes_out_is_of_the_same_kind_and_what_goes_in_stays(augment):
    image, label = patches()
    before = image.clone(), label.clone()
    new, moved = drawn(augment, image, label)
    assert new.shape == image.shape and new.dtype == torch.float32
    assert new.min() >= 0 and new.max() <= 1
    assert moved.dtype == torch.long and set(moved.unique().tolist()) <= {0, 1, 2}
    assert not torch.equal(new, image) and not torch.equal(moved, label)
    assert torch.equal(image, before[0]) and torch.equal(label, before[1])


def test_all_follows_from_the_generator():
    image, label = patches()
    for augment in (only(*STEPS, "mirror"), WISH_LIST):
        first, again, other = (drawn(augment, image, label, seed) for seed in (3, 3, 4))
        assert all(map(torch.equal, first, again))
        assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("step", [*MOVES, "mirror"])
def test_image_and_label_move_together(step):
    """Where an image that is its label is still 0 or 1, the label says the same."""
    label = (patches()[0] > 0.5).long()
    image, moved = drawn(only(step), label.float(), label)
    assert not torch.equal(moved, label)
    pure = (image < 1e-5) | (image > 1 - 1e-5)
    assert pure.float().mean() > 0.4
    assert torch.equal(image[pure].round().long(), moved[pure])
    assert ((image - moved).abs() <= 1).all()
    # a voxel takes the nearest of the eight it is a mean of: at least one eighth is like it
    assert ((image - moved).abs() <= 7 / 8 + 1e-4).all()


@pytest.mark.parametrize("step", GREYS)
def test_greys_never_touch_the_label_and_every_grey_step_does_something(step):
    image, label = patches()
    new, same = drawn(only(step), image, label)
    assert torch.equal(same, label)
    assert all(not torch.equal(new[i], image[i]) for i in range(4))
    changes = (new - image).flatten(1)
    assert len({round(float(change.abs().sum()), 4) for change in changes}) == 4  # own draws


@pytest.mark.parametrize("step", ["blur", "low_resolution", "contrast", "gamma", "gamma_inverted"])
def test_what_keeps_the_mean_keeps_an_even_image(step):
    """No dark border, which MONAI's blur would have."""
    even = torch.full((2, 1, *SHAPE), 0.6)
    assert torch.allclose(drawn(only(step), even)[0], even, atol=1e-4)


def test_ranges_are_those_that_were_asked_for():
    image = 0.4 + 0.2 * patches()[0]
    for seed in range(10):
        ratio = drawn(only("brightness"), image, seed=seed)[0] / image
        assert torch.allclose(ratio, ratio[:, :, :1, :1, :1], atol=1e-5)
        assert (ratio + 1e-5 >= 0.75).all() and (ratio <= 1.25 + 1e-5).all()
        new = drawn(only("contrast"), image, seed=seed)[0]
        slope = new.flatten(1).std(1) / image.flatten(1).std(1)
        assert (slope >= 0.7).all() and (slope <= 1.25).all()
        noise = (drawn(only("noise"), image, seed=seed)[0] - image).flatten(1).std(1)
        assert (noise <= 0.105 * image.flatten(1).std(1)).all()


def test_every_step_has_its_probability():
    """600 patches: the share changed lies within four standard deviations."""
    image, label = (t[:, :, ::4, ::4, ::4].repeat(150, 1, 1, 1, 1) for t in patches())
    for step, p in {"elastic": 0.3, "rotation": 0.2, "scaling": 0.2, "blur": 0.2}.items():
        new, _ = drawn(dataclasses.replace(OFF, **{step: p}), image, label)
        share = (new != image).flatten(1).any(1).float().mean()
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / 600), step
    new, _ = drawn(dataclasses.replace(OFF, mirror=0.5), image, label)
    mirrored = (new != image).flatten(1).any(1).float().mean()
    assert abs(mirrored - 7 / 8) < 4 * np.sqrt(7 / 64 / 600)


def amounts(b=400):
    """(b, steps): how far each step went, by effects that do not mix."""
    x = torch.linspace(0.3, 0.5, 8)[:, None, None].expand(8, 8, 8)
    image = x.repeat(b, 1, 1, 1, 1)
    columns = []
    for step in ("noise", "brightness", "contrast", "gamma", "gamma_inverted", "low_resolution"):
        change = (drawn(only(step), image)[0] - image).flatten(1)
        columns.append(
            change.abs().mean(1) if step in ("noise", "low_resolution") else change[:, 9]
        )
    for step in MOVES:
        moved = drawn(only(step), image)[0]
        columns.append((moved - image).flatten(1)[:, 219:220].abs().mean(1))
    return torch.stack(columns)


def test_draws_of_different_steps_and_patches_do_not_go_together():
    """Steps seeded the same would be coupled, a fault that this library once had."""
    found = torch.corrcoef(amounts())
    found.fill_diagonal_(0)
    assert found.abs().max() < 0.2  # 4 / sqrt(400)
    neighbours = amounts()
    for row in neighbours:
        assert abs(torch.corrcoef(torch.stack([row[1:], row[:-1]]))[0, 1]) < 0.2


def test_acting_and_amounts_are_drawn_independently():
    image = torch.linspace(0.3, 0.5, 8)[:, None, None].repeat(600, 1, 1, 1, 1)
    both = dataclasses.replace(OFF, brightness=0.5, mirror=0.0, scaling=0.5)
    bright = (drawn(dataclasses.replace(both, scaling=0.0), image)[0] != image).flatten(1).any(1)
    scaled = (drawn(dataclasses.replace(both, brightness=0.0), image)[0] != image).flatten(1).any(1)
    found = torch.corrcoef(torch.stack([bright, scaled]).float())[0, 1]
    assert abs(found) < 4 / np.sqrt(600)


def test_switching_one_step_off_leaves_the_draws_of_the_others():
    image, label = patches()
    _, both = drawn(only("rotation", "gamma"), image, label)
    _, alone = drawn(only("rotation"), image, label)
    assert torch.equal(both, alone)


def test_a_quarter_turn_is_a_quarter_turn():
    volume = torch.rand(1, 1, 7, 7, 4)
    turn = rotations(torch.tensor([[0, 0, torch.pi / 2]]))
    assert torch.allclose(turn[0] @ torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0]), atol=1e-6)
    grid = sampling_grid((7, 7, 4), turn, torch.zeros(1, 3, 5, 5, 5), (1, 1, 1))
    new = F.grid_sample(volume, grid, mode="nearest", align_corners=False)
    assert torch.equal(new, torch.rot90(volume, -1, (2, 3)))


def test_a_quarter_turn_of_thick_slices_is_one_in_mm():
    """Voxels of 1 x 1 x 3 mm: a bar of 12 mm along x becomes one of four slices along z."""
    bar = torch.zeros(1, 1, 25, 5, 9)
    bar[:, :, 7:19, 2, 4] = 1  # 7 .. 18: 12 mm, one voxel off the middle
    turn = rotations(torch.tensor([[0, torch.pi / 2, 0]]))
    grid = sampling_grid((25, 5, 9), turn, torch.zeros(1, 3, 5, 5, 5), (1.0, 1.0, 3.0))
    new = F.grid_sample(bar, grid, mode="nearest", align_corners=False)
    assert new[0, 0, :, 2].any(0).sum() == 4
    assert new[0, 0, :, 2].any(1).sum() == 3  # 3 mm thick, as it was along z


def test_things_grow_by_the_factor():
    x, y, z = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in (40, 40, 40)), indexing="ij")
    ball = ((x**2 + y**2 + z**2) < 10**2).long()[None, None]
    _, grown = drawn(only("scaling", sizes=(1.3, 1.3)), ball.float(), ball)
    assert abs(float(grown.sum() / ball.sum()) - 1.3**3) < 0.05 * 1.3**3
    _, turned = drawn(only("rotation"), ball.float(), ball)
    assert (turned != ball).float().mean() < 0.01  # a ball stays a ball


def test_the_elastic_field_is_the_one_at_the_control_points():
    """The same shift at all of them is a shift: one voxel is 2 / 10 of half a patch."""
    volume = torch.rand(1, 1, 10, 10, 10)
    field = torch.zeros(1, 3, 5, 5, 5)
    field[:, 0] = 0.2
    grid = sampling_grid((10, 10, 10), torch.eye(3)[None], field, (1, 1, 1))
    new = F.grid_sample(volume, grid, mode="nearest", align_corners=False)
    assert torch.equal(new[:, :, :9], volume[:, :, 1:])


def test_a_probability_above_1_is_refused():
    with pytest.raises(InputError, match="0 to 1"):
        Augmentation3d(blur=1.5)


def test_where_notes_name_sides_mirrors_are_refused():
    with pytest.raises(InputError, match="left into right"):
        NotedPatches([], (8, 8, 8), augment=Augmentation3d())
