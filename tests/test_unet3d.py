"""3D networks: sizes, shapes, what each says to a wrong patch, and that they can learn."""

import pytest
import torch
import torch.nn.functional as F

from seg_lib.costs import parameters
from seg_lib.errors import InputError
from seg_lib.losses import dice_ce
from seg_lib.models import build_model
from seg_lib.models.presets import sizes_for
from seg_lib.models.unet3d import ResidualBlock, UNet3d
from seg_lib.steps import deep_supervision, segmentation_step

SMALL = {"features": (4, 8, 16), "blocks": (1, 1, 1)}


@pytest.mark.parametrize(
    ("network", "sizes", "count"),
    [
        ("monai_unet", {}, 4_806_481 + 2_436),  # batch norm has 2,436 weights, instance norm none
        ("swin_unetr", {"features": 48}, 72_762_068),
    ],
)
def test_the_networks_of_source_003_have_their_size(network, sizes, count):
    model = build_model(network, **sizes)
    assert parameters(model) == count


def test_parameters_by_hand():
    """One stage of 2 and one of 3 channels, 1 -> 1 class, counted on paper."""
    first = 27 * 1 * 2 + 4 + 27 * 2 * 2 + 4 + 1 * 2 + 4  # two convolutions, short cut, their norms
    second = 27 * 2 * 3 + 6 + 27 * 3 * 3 + 6 + 2 * 3 + 6
    up = 8 * 3 * 2 + 2
    mix = 27 * 4 * 2 + 4 + 27 * 2 * 2 + 4
    head = 2 * 1 + 1
    model = UNet3d(features=(2, 3), blocks=(1, 1))
    assert parameters(model) == first + second + up + mix + head


@pytest.mark.parametrize(
    ("network", "near"), [("unet3d", 40), ("monai_unet", 40), ("segresnet", 40), ("swin_unetr", 64)]
)
def test_logits_have_the_shape_of_the_patch(network, near):
    model = build_model(network, **sizes_for(network, 0, "small")).eval()
    with torch.inference_mode():
        logits = model(torch.rand(1, 1, 32, 64, 32))
    assert logits.shape[2:] == (32, 64, 32) and torch.isfinite(logits).all()
    with pytest.raises(InputError, match=rf"divide by .*such as \({near}, 32, 32\)"):
        model(torch.rand(1, 1, 33, 32, 32))


@pytest.mark.parametrize("network", ["unet3d", "monai_unet", "segresnet", "swin_unetr"])
def test_the_patch_of_source_003_divides_at_full_size(network):
    """160 x 160 x 64 through the networks of the papers; the meta device has shapes only."""
    model = build_model(network, **sizes_for(network, 0, "paper")).eval().to("meta")
    logits = model(torch.empty(1, 1, 160, 160, 64, device="meta"))
    assert logits.shape[2:] == (160, 160, 64)
    with pytest.raises(InputError, match="divide by"):
        model(torch.empty(1, 1, 160, 160, 60, device="meta"))


def test_thick_slices_are_not_halved():
    model = UNet3d(features=(4, 8, 16), strides=[(2, 2, 1), (2, 2, 2)])
    assert model.divisor == (4, 4, 2)
    maps = model.encode(torch.rand(1, 1, 16, 16, 6))
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 16, 16, 6), (8, 8, 8, 6), (16, 4, 4, 3)]


def test_deep_supervision_in_training_only():
    model = UNet3d(**SMALL, deep_supervision=True)
    logits = model(torch.rand(1, 1, 16, 16, 16))
    assert [tuple(one.shape[2:]) for one in logits] == [(16,) * 3, (8,) * 3]
    assert model.eval()(torch.rand(1, 1, 16, 16, 16)).shape == (1, 1, 16, 16, 16)


def test_the_loss_of_deep_supervision_by_hand():
    label = torch.zeros(1, 1, 4, 4, 4, dtype=torch.long)
    label[0, 0, :2] = 1
    logits = [torch.randn(1, 1, 4, 4, 4), torch.randn(1, 1, 2, 2, 2)]
    small = F.interpolate(label.float(), (2, 2, 2)).long()
    expected = (dice_ce(logits[0], label) + 0.5 * dice_ce(logits[1], small)) / 1.5
    assert torch.allclose(deep_supervision(logits, label), expected)
    same = deep_supervision(logits[:1], label)
    assert torch.allclose(same, dice_ce(logits[0], label))


def test_a_residual_block_of_zeros_is_its_short_cut():
    block = ResidualBlock(3, 3, (3, 3, 3), (1, 1, 1))
    torch.nn.init.zeros_(block.second[1].weight)  # the norm after the second convolution
    x = torch.rand(2, 3, 4, 4, 4)
    assert torch.equal(block(x), x)


def test_encode_and_decode_are_the_forward_pass():
    model = UNet3d(**SMALL).eval()
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(model.decode(model.encode(image))[0], model(image))


def test_one_batch_is_learned_by_heart():
    torch.manual_seed(0)
    image = torch.rand(2, 1, 16, 16, 16)
    batch = {"image": image, "label": (image > 0.9).long()}
    model = UNet3d(**SMALL, deep_supervision=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    first = segmentation_step(model, batch)["loss"].item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = segmentation_step(model, batch)["loss"]
        loss.backward()
        optimizer.step()
    model.eval()
    found = model(image) > 0
    both = (found & (batch["label"] > 0)).sum()
    assert 2 * both / (found.sum() + batch["label"].sum()) > 0.9
    assert loss.item() < first / 2


def test_numbers_that_do_not_belong_together_are_refused():
    with pytest.raises(InputError, match="one stride less"):
        UNet3d(features=(4, 8, 16), strides=[(2, 2, 2)])
    with pytest.raises(InputError, match="multiple of 12"):
        build_model("swin_unetr", features=10)
