"""The network that segments and classifies."""

import pytest
import torch

from seg_lib.errors import InputError
from seg_lib.models import build_model
from seg_lib.models.multitask_unet3d import SubtypeHead, mean_and_spread
from seg_lib.models.presets import sizes_for

TINY = {
    "features": (4, 6, 8),
    "blocks": (1, 1, 1),
    "strides": ((1, 1, 1), (2, 2, 1), (2, 2, 2)),
    "kernels": ((3, 3, 1), (3, 3, 3), (3, 3, 3)),
}


def test_shapes_in_training_and_in_evaluation():
    network = build_model("multitask_unet3d", **TINY)
    image = torch.rand(2, 1, 16, 12, 8)
    logits, subtypes = network(image, classify=True)
    assert [tuple(each.shape[1:]) for each in logits] == [(3, 16, 12, 8), (3, 8, 6, 8)]
    assert subtypes.shape == (2, 3)
    plain = network.eval()(image)
    assert plain.shape == (2, 3, 16, 12, 8), "a tensor, as a sliding window wants it"
    again, _ = network(image, classify=True)
    assert torch.equal(plain, again), "asking for the subtype does not change the segmentation"


def test_one_image_at_a_time_or_many():
    network = build_model("multitask_unet3d", **TINY).eval()
    images = torch.rand(3, 1, 8, 8, 4)
    _, together = network(images, classify=True)
    alone = torch.cat([network(image[None], classify=True)[1] for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_mean_and_spread_by_hand():
    maps = torch.tensor([1.0, 2.0, 5.0, 100.0]).view(1, 1, 4, 1, 1)
    weight = torch.tensor([1.0, 1.0, 2.0, 0.0]).view(1, 1, 4, 1, 1)
    mean, spread = mean_and_spread(maps, weight)[0].tolist()
    assert mean == pytest.approx(13 / 4)
    variance = (2.25**2 + 1.25**2 + 2 * 1.75**2) / 4
    assert spread == pytest.approx(variance**0.5, rel=1e-5)


def test_the_head_sees_the_lesion_and_its_surroundings_only():
    head = SubtypeHead([2], 3).eval()
    lesion = torch.zeros(1, 1, 16, 16, 16)
    lesion[..., 5:10, 5:10, 6:9] = 1
    maps = torch.rand(1, 2, 16, 16, 16)
    base = head.pool([maps], lesion).squeeze()

    def moved(x, y, z):
        """Which of inside and around change with this voxel."""
        other = maps.clone()
        other[..., x, y, z] += 5
        change = (head.pool([other], lesion).squeeze() - base).abs() > 0.01
        return bool(change[:4].any()), bool(change[4:].any())

    assert moved(7, 7, 7) == (True, False)
    assert moved(5, 7, 7) == (False, True), "the rim belongs to the margin"
    assert moved(11, 7, 7) == (False, True), "two voxels beside it"
    assert moved(13, 7, 7) == (False, False)


def test_the_head_is_standardised_by_what_it_has_seen():
    head = SubtypeHead([1], 3)
    pooled = torch.randn(4000, 4) * 3 + 7
    for rows in pooled.split(2):
        head.standardised(rows)
    assert head.mean.tolist() == pytest.approx([7.0] * 4, abs=1.5)
    found = head.eval().standardised(pooled)
    assert found.mean(0).abs().max() < 0.5 and (found.std(0) - 1).abs().max() < 0.4
    before = head.mean.clone()
    head.standardised(pooled)
    assert torch.equal(head.mean, before), "in evaluation nothing moves"


def test_the_gradient_of_the_subtype_reaches_the_encoder_but_not_the_decoder():
    network = build_model("multitask_unet3d", **TINY)
    _, subtypes = network(torch.rand(1, 1, 16, 16, 8), classify=True)
    subtypes[0, 1].backward()
    assert network.unet.encoder[0][0][0].weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in network.unet.decoder.parameters())


def test_the_head_is_too_small_to_learn_cases_by_heart():
    network = build_model("multitask_unet3d", **sizes_for("multitask_unet3d", 0, "small"))
    assert sum(weight.numel() for weight in network.head.parameters()) == (4 * (8 + 16) + 1) * 3
    source = build_model("multitask_unet3d")
    assert sum(weight.numel() for weight in source.head.parameters()) == (4 * (32 + 64) + 1) * 3


def test_without_lesion_it_pools_everywhere_and_stays_finite():
    network = build_model("multitask_unet3d", **TINY).eval()
    with torch.no_grad():
        network.unet.heads[-1].bias.copy_(torch.tensor([50.0, 0.0, -50.0]))
    _, subtypes = network(torch.rand(1, 1, 8, 8, 4), classify=True)
    assert subtypes.isfinite().all()


def test_half_precision_does_not_reach_the_head():
    network = build_model("multitask_unet3d", **TINY)
    with torch.autocast("cpu", torch.bfloat16):
        logits, subtypes = network(torch.rand(1, 1, 8, 8, 4), classify=True)
    assert logits[0].dtype == torch.bfloat16 and subtypes.dtype == torch.float32


def test_bad_input():
    network = build_model("multitask_unet3d", **TINY)
    with pytest.raises(InputError, match=r"must divide by \(4, 4, 2\), such as \(12, 8, 4\)"):
        network(torch.rand(1, 1, 9, 8, 4))
    with pytest.raises(InputError, match="stages"):
        build_model("multitask_unet3d", **TINY, stages=(0, 3))
    with pytest.raises(InputError, match="cannot classify"):
        build_model("multitask_unet3d", **TINY, subtypes=0)(torch.rand(1, 1, 8, 8, 4), True)
