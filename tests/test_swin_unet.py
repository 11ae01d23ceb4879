"""Swin-Unet has the paper's sizes, takes the weights of Swin-T, and says which sizes fit."""

import logging

import pytest
import torch
from einops import rearrange

from seg_lib.errors import InputError
from seg_lib.models import build_model
from seg_lib.models.swin_t_weights import load_swin_t
from seg_lib.models.swin_unet import DropPath, PatchExpanding, PatchMerging, SwinBlock

SMALL = {"image_size": 64, "window": 4, "width": 24, "heads": (1, 2, 4, 8)}


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"in_channels": 3, "classes": 9, "image_size": 224, "window": 7}, 27_168_900),
        ({"in_channels": 3, "window": 8}, 27_175_524),
        ({"in_channels": 3, "window": 4}, 27_152_292),
        ({"window": 4}, 27_149_220),
        ({"in_channels": 3, "depths": (2, 2, 6, 2)}, 41_392_836),
    ],
)
def test_parameters_of_the_paper(sizes, expected):
    with torch.device("meta"):
        assert parameters(build_model("swin_unet", **sizes)) == expected


def test_shapes_on_the_way_down_and_up():
    model = build_model("swin_unet", in_channels=1, image_size=256, window=8).eval()
    seen = []
    for stage in [*model.stages, *reversed(model.up_stages)]:
        stage.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    with torch.inference_mode():
        assert model(torch.rand(1, 1, 256, 256)).shape == (1, 1, 256, 256)
    down = [(64, 64, 96), (32, 32, 192), (16, 16, 384), (8, 8, 768)]
    assert seen == down + down[2::-1]


def test_swin_block_is_two_residual_steps():
    torch.manual_seed(0)
    block = SwinBlock(8, 2, 4, 0, drop_path=0.0).eval()
    x = torch.randn(2, 4, 4, 8)  # a single window
    y = x + block.attn(block.norm1(x).reshape(2, 16, 8)).reshape(2, 4, 4, 8)
    assert torch.allclose(block(x), y + block.mlp(block.norm2(y)), atol=1e-6)


def test_every_second_block_is_shifted_unless_one_window_is_the_whole_map():
    model = build_model("swin_unet", **SMALL)
    shifts = [[block.shift for block in stage] for stage in model.stages]
    assert shifts == [[0, 2], [0, 2], [0, 0], [0, 0]]  # maps of 16, 8, 4 and 2 tokens


def test_expanding_undoes_the_layout_of_merging():
    """Merging lays the four neighbours side by side; expanding lays features out as neighbours."""
    x = torch.arange(16.0).reshape(1, 4, 4, 1)
    merge, expand = PatchMerging(1), PatchExpanding(4, 2, 1)
    expand.norm = merge.norm = torch.nn.Identity()
    merge.reduction = torch.nn.Identity()
    order = torch.tensor([0, 2, 1, 3])  # merging counts down first, as Swin-T; expanding across
    expand.expand = torch.nn.Identity()
    assert torch.equal(expand(merge(x)[..., order]), x)


def test_drop_path_keeps_the_mean_and_drops_whole_images():
    torch.manual_seed(0)
    out = DropPath(0.25).train()(torch.ones(4000, 3))
    assert torch.equal(out[:, 0], out[:, 2])
    assert out.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(DropPath(0.25).eval()(out), out)


def test_encoder_with_the_weights_of_swin_t_is_swin_t():
    import timm

    torch.manual_seed(0)
    source = timm.create_model("swin_tiny_patch4_window7_224").eval()
    model = build_model("swin_unet", in_channels=3, image_size=224, window=7).eval()
    set_from_source = load_swin_t(model, source.state_dict())
    assert set_from_source == 197
    image = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        ours = model.patch_norm(rearrange(model.patch_embed(image), "b c h w -> b h w c"))
        theirs = source.layers[0](source.patch_embed(image))
        ours = model.stages[0](ours)
        assert torch.allclose(ours, theirs, atol=1e-5)
        ours = model.stages[1](model.merges[0](ours))
        assert torch.allclose(ours, source.layers[1](theirs), atol=1e-5)
    decoder = model.up_stages[1][0].mlp[0].weight
    assert torch.equal(decoder, source.layers[1].blocks[0].mlp.fc1.weight)


def test_swin_t_weights_for_a_grey_image_and_another_window():
    import timm

    source = timm.create_model("swin_tiny_patch4_window7_224").state_dict()
    model = build_model("swin_unet", in_channels=1, image_size=256, window=8)
    load_swin_t(model, source)
    summed = source["patch_embed.proj.weight"].sum(1, keepdim=True)
    assert torch.equal(model.patch_embed.weight, summed)
    table = model.stages[0][0].attn.relative_position_bias_table
    old = source["layers.0.blocks.0.attn.relative_position_bias_table"]
    assert table.shape == (15**2, 3)
    assert torch.allclose(table[15 * 7 + 7], old[13 * 6 + 6], atol=1e-6)  # the centre stays


def test_weights_that_do_not_fit_are_named():
    import timm

    source = timm.create_model("swin_tiny_patch4_window7_224").state_dict()
    with pytest.raises(InputError, match="needs .* only width 96"):
        load_swin_t(build_model("swin_unet", **SMALL), source)
    del source["layers.2.blocks.0.attn.qkv.weight"]
    model = build_model("swin_unet", image_size=224, window=7)
    before = model.patch_embed.weight.clone()
    with pytest.raises(InputError, match=r"layers\.2\.blocks\.0\.attn\.qkv\.weight is missing"):
        load_swin_t(model, source)
    assert torch.equal(model.patch_embed.weight, before), "nothing half-loaded"


def test_without_a_hub_the_network_starts_from_random_numbers_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    with caplog.at_level(logging.WARNING):
        build_model("swin_unet", weights="imagenet", **SMALL)
    assert "Swin-T weights are out of reach (HF_HUB_OFFLINE" in caplog.text


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"image_size": 256, "window": 7}, r"fit 256: 2, 4, 8, 16; sizes that fit 7: 224, 448"),
        ({"image_size": 200, "window": 8}, r"fit 200: none; sizes that fit 8: 256, 512"),
        ({"heads": (3, 6, 12, 25)}, r"divide their features \[96, 192, 384, 768\]"),
        ({"heads": (3, 6, 12)}, "one for each of the 4 stages"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(InputError, match=message):
        build_model("swin_unet", **sizes)


def test_an_image_that_does_not_fit_is_refused_with_sizes_that_do():
    model = build_model("swin_unet", **SMALL)
    with pytest.raises(InputError, match="divide by 64, such as 64 or 128"):
        model(torch.rand(1, 1, 96, 96))
    assert model(torch.rand(1, 1, 128, 64)).shape == (1, 1, 128, 64)
