"""Swin-Unet has the paper's sizes, takes the weights of Swin-T, and says which sizes fit."""

import json
import logging

import pytest
import torch
from einops import rearrange
from test_attention import padded_reference

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


@pytest.mark.parametrize("shift", [0, 2])
def test_swin_block_attends_in_windows_that_are_shifted_or_not(shift):
    """002-15: the whole block beside windows on a padded map, without any cyclic shift."""
    torch.manual_seed(0)
    block = SwinBlock(8, 2, 4, shift, drop_path=0.0).eval()
    x = torch.randn(2, 8, 8, 8)
    y = x + padded_reference(block.attn, block.norm1(x), 4, shift)
    assert torch.allclose(block(x), y + block.mlp(block.norm2(y)), atol=1e-5)
    first, gelu, second = block.mlp
    assert isinstance(gelu, torch.nn.GELU)
    assert (first.out_features, second.in_features, second.out_features) == (32, 32, 8)


def test_skips_are_what_a_stage_receives_put_beside_the_expanded_map():
    """002-16 and 002-18: 4 x 4 patches, three skips, and an enlargement by 4 at the end."""
    model, skips, joined, enlarged = build_model("swin_unet", **SMALL).eval(), {}, {}, {}
    for level in range(3):
        model.stages[level].register_forward_pre_hook(
            lambda _, inputs, level=level: skips.update({level: inputs[0]})
        )
        model.concats[level].register_forward_pre_hook(
            lambda _, inputs, level=level: joined.update({level: inputs[0]})
        )
    model.final.register_forward_hook(
        lambda _, inputs, out: enlarged.update({inputs[0].shape: out.shape})
    )
    with torch.inference_mode():
        model(torch.rand(1, 1, 64, 64))
    assert model.patch_embed.kernel_size == model.patch_embed.stride == (4, 4)
    for level, width in enumerate((24, 48, 96)):
        assert joined[level].shape[-1] == 2 * width == 2 * skips[level].shape[-1]
        assert torch.equal(joined[level][..., width:], skips[level])
    assert enlarged == {(1, 16, 16, 24): (1, 64, 64, 24)}


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


def test_imagenet_weights_come_through_the_public_name(monkeypatch, tmp_path):
    """The real loading code of timm, on a file of weights that we make ourselves."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    source = timm.create_model("swin_tiny_patch4_window7_224")
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    about = {"architecture": "swin_tiny_patch4_window7_224", "num_classes": 1000}
    (tmp_path / "config.json").write_text(json.dumps(about))

    def from_folder(repo_id, filename, **kwargs):
        assert repo_id == "timm/swin_tiny_patch4_window7_224.ms_in1k"
        return str(tmp_path / filename)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", from_folder)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: "cached")
    model = build_model("swin_unet", weights="imagenet", image_size=224, window=7)
    theirs = source.layers[1].blocks[0].mlp.fc1.weight
    assert torch.equal(model.stages[1][0].mlp[0].weight, theirs)
    assert torch.equal(model.up_stages[1][0].mlp[0].weight, theirs)
    summed = source.patch_embed.proj.weight.sum(1, keepdim=True)
    assert torch.equal(model.patch_embed.weight, summed)


def test_a_cut_file_of_imagenet_weights_is_logged_and_the_start_is_random(
    monkeypatch, tmp_path, caplog
):
    (tmp_path / "config.json").write_text('{"architecture": "swin_tiny_patch4_window7_224"}')
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    from_folder = lambda repo_id, filename, **kwargs: str(tmp_path / filename)  # noqa: E731
    monkeypatch.setattr("timm.models._hub.hf_hub_download", from_folder)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: "cached")
    with caplog.at_level(logging.WARNING):
        build_model("swin_unet", weights="imagenet", **SMALL)
    assert "Swin-T weights are out of reach (Error while deserializing header" in caplog.text


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
