import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from volume_warp import warp_volumes

from seg_lib.data.augment import (
    Warp,
    _sampling_grid,
    augmented_copies,
    slice_augmentation,
    warp_batch,
)
from seg_lib.data.cases import Case, read_cases
from seg_lib.errors import InputError
from seg_lib.metrics import dice

STILL = Warp(0.0, 0.0, 0.0, 0.0, flips=False, brightness=0.0, contrast=0.0, noise=0.0)


def disc(size=64, centre=(30, 36), radius=8):
    y, x = np.ogrid[:size, :size]
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2).astype(np.uint8)


@pytest.fixture(scope="module")
def augment():
    return slice_augmentation()


def test_one_seed_one_draw(augment):
    image, mask = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64), disc()
    first, again, other = (augment(image, mask, seed=s) for s in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_image_and_mask_stay_together():
    """If the image is the mask, it still is after every geometric change (up to its border)."""
    geometric = slice_augmentation(intensity=False)
    for seed in range(20):
        image, mask = geometric(disc() * 255, disc(), seed)
        assert mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 1}
        assert dice(image > 127, mask > 0) > 0.9


def test_rotations_reach_30_degrees_and_not_further():
    """002-05: the angle of a bar; mirroring turns it round, and bending moves it by little."""
    bar = np.zeros((64, 64), np.uint8)
    bar[30:34, 12:52] = 1
    geometric = slice_augmentation(intensity=False)
    angles = []
    for seed in range(80):
        y, x = np.nonzero(geometric(bar * 255, bar, seed)[1])
        (_, vertical), (_, horizontal) = np.linalg.eigh(np.cov(y, x))[1]
        angles.append(abs(np.degrees(np.arctan(vertical / horizontal))))
    assert 22 < max(angles) < 34 and min(angles) < 2


def test_mirrors_of_both_kinds_are_drawn(augment):
    """002-06: an L in one corner is found in all four."""
    corner = np.zeros((64, 64), np.uint8)
    corner[16:22, 16:30] = corner[16:30, 16:22] = 1
    middles = [np.argwhere(augment(corner * 255, corner, s)[1]).mean(0) > 31.5 for s in range(40)]
    assert {(bool(low), bool(right)) for low, right in middles} == {
        (low, right) for low in (False, True) for right in (False, True)
    }


def test_bending_alone_makes_a_straight_edge_crooked():
    """002-07: the elastic step by itself, by less than a quarter of the picture."""
    half = np.zeros((64, 64), np.uint8)
    half[32:] = 1
    augmentation = slice_augmentation(intensity=False)
    elastic = [t for t in augmentation.compose.transforms if "Elastic" in type(t).__name__]
    augmentation.compose.transforms = elastic
    drawn = [augmentation(half * 255, half, seed)[1] for seed in range(20)]
    edges = [np.argmax(mask, axis=0)[8:-8] for mask in drawn]
    crooked = [np.ptp(edge) for edge in edges]
    assert len(elastic) == 1 and 0 < max(crooked) < 16
    assert 2 <= sum(span > 0 for span in crooked) <= 15  # drawn with a probability of 0.3


def test_brightness_and_contrast_leave_the_mask_alone():
    """002-08: a flat picture gets up to a tenth brighter or darker; its mask is the same."""
    flat, mask = np.full((64, 64), 100, np.uint8), disc()
    both, geometric = slice_augmentation(), slice_augmentation(intensity=False)
    greys = []
    for seed in range(40):
        image, drawn = both(flat, mask, seed)
        assert np.array_equal(drawn, geometric(flat, mask, seed)[1])
        assert np.median(geometric(flat, mask, seed)[0]) == 100
        greys.append(float(np.median(image)))
    assert 100 * 0.9 - 26 <= min(greys) < 95 and 105 < max(greys) <= 100 * 1.1 + 26
    assert 10 < sum(grey == 100 for grey in greys) < 32  # half of them are not touched


def test_a_lesion_never_vanishes(augment):
    corner = np.zeros((64, 64), np.uint8)
    corner[0, 0] = 1  # nearly every rotation turns it out of the picture
    for seed in range(30):
        assert augment(corner * 255, corner, seed)[1].any()


def png_cases(folder, n=3, split="train"):
    cases = []
    for i in range(n):
        paths = folder / f"i{i}.png", folder / f"m{i}.png"
        Image.fromarray(disc() * 200).save(paths[0])
        Image.fromarray(disc() * 255).save(paths[1])
        cases.append(Case(f"c{i}", f"p{i}", *paths, split=split))
    return cases


def test_five_images_from_each(tmp_path):
    """The source's 708 slices become 3,540 with the same rule."""
    written = augmented_copies(png_cases(tmp_path), tmp_path / "out", copies=4, seed=1)
    assert len(written) == 3 * 5 and 708 * 5 == 3540
    assert {c.patient for c in written} == {"p0", "p1", "p2"}
    assert [c.case for c in read_cases(tmp_path / "out")][:2] == ["c0", "c0_aug1"]
    original = np.asarray(Image.open(written[0].image))
    assert np.array_equal(original, disc() * 200)
    versions = {np.asarray(Image.open(c.image)).tobytes() for c in written}
    assert len(versions) > 6, "the copies differ from each other"


def test_no_copies_of_test_cases(tmp_path):
    with pytest.raises(InputError, match="falsify the score"):
        augmented_copies(png_cases(tmp_path, split="test"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def batch():
    label = torch.from_numpy(np.stack([disc(), disc(radius=4)]))[:, None].long()
    return label.float(), label


def test_the_warp_that_does_nothing_is_the_identity():
    image, label = torch.rand(2, 3, 48, 64), torch.randint(0, 2, (2, 1, 48, 64))
    warped, moved = warp_batch(image, label, torch.Generator(), STILL)
    assert torch.allclose(warped, image, atol=1e-5)
    assert torch.equal(moved, label)


def test_a_flip_is_torch_flip():
    image, label = batch()
    flips = Warp(0.0, 0.0, 0.0, 0.0, flips=True, brightness=0.0, contrast=0.0, noise=0.0)
    seen = set()
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        warped, moved = warp_batch(image, label, generator, flips)
        for i in range(2):
            options = {d: image[i].flip(d) for d in ((), (1,), (2,), (1, 2))}
            fits = [d for d, o in options.items() if torch.allclose(warped[i], o, atol=1e-5)]
            assert fits, "an image that is none of its four mirror images"
            assert torch.equal(moved[i], label[i].flip(fits[0]))
            seen.update(fits)
    assert seen == {(), (1,), (2,), (1, 2)}


def test_warped_image_and_label_stay_together():
    image, label = batch()
    plain = Warp(brightness=0.0, contrast=0.0, noise=0.0)
    for seed in range(10):
        warped, moved = warp_batch(image, label, torch.Generator().manual_seed(seed), plain)
        for i in range(2):
            assert dice(warped[i, 0].numpy() > 0.5, moved[i, 0].numpy() > 0) > 0.85


def test_rotation_keeps_area_also_where_the_image_is_not_square():
    label = torch.from_numpy(disc(96, (48, 48), 12))[None, None, 16:80].long()
    turn = Warp(90.0, 0.0, 0.0, 0.0, flips=False, brightness=0.0, contrast=0.0, noise=0.0)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        _, moved = warp_batch(label.float(), label, generator, turn)
        assert abs(int(moved.sum()) / int(label.sum()) - 1) < 0.03


def test_a_generator_fixes_the_warp():
    image, label = batch()
    one, two, three = (
        warp_batch(image, label, torch.Generator().manual_seed(s))[0] for s in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, three)


def test_the_grid_is_an_affine_grid_plus_a_bicubic_field():
    """The one product against the two functions of PyTorch that it stands for."""
    shape, draw = torch.Size((3, 1, 40, 56)), torch.Generator().manual_seed(4)
    warp = Warp(rotation_deg=25, scale=0.2, shift=0.1, elastic=0.05, flips=True)
    angle = (2 * torch.rand(3, generator=draw) - 1) * np.deg2rad(25)
    zoom = torch.exp(0.2 * torch.randn(3, generator=draw))
    sign = 1 - 2 * (torch.rand(3, 2, generator=draw) < 0.5).float()
    shift = 0.2 * torch.randn(3, 2, generator=draw)
    bend = 0.1 * torch.randn(3, 2, 5, 5, generator=draw)
    cos, sin, (right, down) = zoom * angle.cos(), zoom * angle.sin(), sign.unbind(1)
    rows = [
        torch.stack([cos * right, -sin * down * 40 / 56, shift[:, 0]], 1),
        torch.stack([sin * right * 56 / 40, cos * down, shift[:, 1]], 1),
    ]
    affine = F.affine_grid(torch.stack(rows, 1), list(shape), align_corners=False)
    field = F.interpolate(bend, size=(40, 56), mode="bicubic", align_corners=False)
    grid = _sampling_grid(shape, torch.Generator().manual_seed(4), warp)
    assert torch.allclose(grid, affine + field.permute(0, 2, 3, 1), atol=1e-5)


def test_a_label_that_is_drawn_beside_its_image_is_moved_back():
    """The mask lies 2 pixels below and 1 to the left; turned or mirrored, it comes out in place."""
    image, label = torch.zeros(8, 1, 32, 32), torch.zeros(8, 1, 32, 32, dtype=torch.int64)
    image[:, :, 12:20, 10:16] = 1
    label[:, :, 14:22, 9:15] = 1
    still = {"scale": 0, "shift": 0, "elastic": 0, "brightness": 0, "contrast": 0, "noise": 0}
    warp = Warp(rotation_deg=0, flips=True, label_offset=(2, -1), **still)
    moved, beside = warp_batch(image, label, torch.Generator().manual_seed(0), warp)
    assert torch.equal(moved > 0.5, beside > 0)
    assert not torch.equal(moved[0], moved[1]) or not torch.equal(moved[0], moved[2])


def patches_with_a_marked_corner():
    """Every patch has one bright block, off the middle, and its label is that block."""
    image = torch.zeros(6, 1, 24, 16, 12)
    image[:, :, 14:19, 9:13, 7:10] = 1
    return image, (image > 0.5).long()


def test_warped_volumes_keep_image_and_label_together():
    image, label = patches_with_a_marked_corner()
    warp = Warp(rotation_deg=180, scale=0.1, shift=0.02, brightness=0, contrast=0, noise=0)
    new, moved = warp_volumes(image, label, torch.Generator().manual_seed(0), warp)
    both = ((new > 0.5) & (moved > 0)).sum((1, 2, 3, 4))
    sizes = (new > 0.5).sum((1, 2, 3, 4)) + moved.sum((1, 2, 3, 4))
    assert not torch.equal(moved, label) and (2 * both / sizes > 0.8).all()


def test_volumes_without_any_warp_are_what_they_were():
    image, label = patches_with_a_marked_corner()
    same = Warp(0, 0, 0, 0, False, 0, 0, 0)
    new, moved = warp_volumes(image, label, torch.Generator(), same)
    assert torch.allclose(new, image, atol=1e-5) and torch.equal(moved, label)


def test_a_turn_in_the_axial_plane_keeps_the_size_of_a_nodule():
    """Voxels are not stretched on patches that are longer along x than along y."""
    image, label = patches_with_a_marked_corner()
    turn = Warp(90, 0, 0, 0, False, 0, 0, 0)
    _, moved = warp_volumes(image, label, torch.Generator().manual_seed(1), turn)
    sizes = moved.sum((1, 2, 3, 4)).float() / label.sum((1, 2, 3, 4))
    assert ((sizes > 0.75) & (sizes < 1.3)).all()


def test_the_offset_of_masks_is_taken_out_along_x_and_y():
    image, label = patches_with_a_marked_corner()
    beside = label.roll((2, -1), (2, 3))  # drawn two voxels further along x, one back along y
    same = Warp(0, 0, 0, 0, False, 0, 0, 0, label_offset=(2.0, -1.0))
    _, moved = warp_volumes(image, beside, torch.Generator(), same)
    assert torch.equal(moved, label)
