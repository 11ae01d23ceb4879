"""One contract for every network, and what is special about each."""

import logging

import pytest
import torch

from seg_lib.errors import InputError
from seg_lib.models import MODELS, build_model, presets
from seg_lib.models.hub import why_out_of_reach
from seg_lib.models.upscaled import Upscaled


def parameters(model):
    return sum(p.numel() for p in model.parameters())


SMALL = {  # of the networks whose usual sizes are for 256 pixels
    "swin_unet": {"image_size": 64, "window": 4, "width": 24, "heads": (1, 2, 4, 8)},
    "unetr": {"image_size": 64, "hidden": 48, "heads": 4, "features": 8},
    "unet3d": {"features": (4, 8, 16)},
    "monai_unet": {"features": (4, 8, 16)},
    "swin_unetr": {"features": 12},
    "segresnet": {"features": 8},
    "text_unet3d": {"features": (4, 8, 16), "heads": 2, "text_width": 8},
    "multitask_unet3d": {"features": (4, 8), "blocks": (1, 1)}
    | {"strides": ((1, 1, 1), (2, 2, 2)), "kernels": ((3, 3, 3), (3, 3, 3))},
}
IN_3D = {"unet3d", "monai_unet", "swin_unetr", "segresnet", "text_unet3d", "multitask_unet3d"}
CHANNELS = dict.fromkeys(IN_3D - {"unet3d"}, 2) | {"multitask_unet3d": 3}  # others have 1
BESIDE = {"text_unet3d": [torch.rand(2, 2, 8)], "multitask_unet3d": [True]}  # the image


@pytest.mark.parametrize("name", MODELS)
def test_contract(name):
    """Logits keep the image's grid, each parameter gets a gradient, evaluation repeats itself."""
    torch.manual_seed(0)
    model = build_model(name, **SMALL.get(name, {}))
    image = torch.rand(2, 1, 64, 32, 32) if name in IN_3D else torch.rand(2, 1, 64, 64)
    answer = model(image, *BESIDE.get(name, []))
    ([logits], subtypes) = answer if isinstance(answer, tuple) else ([answer], answer)
    assert logits.shape[0] == 2 and logits.shape[2:] == image.shape[2:]
    assert logits.shape[1] == CHANNELS.get(name, 1)
    (logits.square().mean() + subtypes.square().mean()).backward()
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert [n for n, p in learning.items() if p.grad is None] == []  # several processes need all
    model.eval()
    with torch.inference_mode():
        text = BESIDE.get(name, []) if name == "text_unet3d" else []
        assert torch.equal(model(image, *text), model(image, *text))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [({}, 32_514_833), ({"in_channels": 3}, 32_521_105)],
)
def test_resnet50_unet_has_the_parameters_of_the_design(sizes, expected):
    assert parameters(build_model("resnet50_unet", **sizes)) == expected


def test_resnet50_encoder_stages_as_drawn_in_the_docstring():
    model = build_model("resnet50_unet").eval()
    with torch.inference_mode():
        stages = model.encoder(torch.rand(1, 1, 256, 256))
    assert [(s.shape[1], s.shape[2]) for s in stages[1:]] == [
        (64, 128),
        (256, 64),
        (512, 32),
        (1024, 16),
        (2048, 8),
    ]


def test_resnet50_has_its_stem_and_its_conv_and_identity_blocks():
    """002-27: 7 x 7 with stride 2, max-pool, then 3, 4, 6 and 3 bottlenecks of three layers."""
    encoder = build_model("resnet50_unet").encoder
    assert (encoder.conv1.kernel_size, encoder.conv1.stride) == ((7, 7), (2, 2))
    assert (encoder.maxpool.kernel_size, encoder.maxpool.stride) == (3, 2)
    stages = [encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4]
    assert [len(stage) for stage in stages] == [3, 4, 6, 3]
    for stage in stages:
        conv, *identities = stage  # the first block changes the number of features
        assert conv.downsample is not None and all(b.downsample is None for b in identities)
        for block in stage:
            kernels = [layer.kernel_size for layer in (block.conv1, block.conv2, block.conv3)]
            assert kernels == [(1, 1), (3, 3), (1, 1)]


def test_residual_block_is_F_of_x_plus_x():
    block = build_model("resnet18_unet").encoder.layer1[0].eval()
    x = torch.rand(1, 64, 8, 8)
    with torch.inference_mode():
        F = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
        assert torch.allclose(block(x), torch.relu(F + x), atol=1e-6)


def test_unknown_network_lists_the_known_ones():
    with pytest.raises(InputError, match="resnet50_unet"):
        build_model("resnet51")


def test_without_a_hub_the_fallback_is_quick_logged_and_random(monkeypatch, caplog):
    asked = []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    for place in ("segmentation_models_pytorch.encoders.hf_hub_download", "socket.socket.connect"):
        monkeypatch.setattr(place, lambda *a, **k: asked.append(a))
    with caplog.at_level(logging.WARNING):
        torch.manual_seed(3)
        model = build_model("resnet18_unet", weights="imagenet")
    assert "starts from random numbers" in caplog.text
    assert asked == [], "quick: nobody is waited for"
    torch.manual_seed(3)
    plain = build_model("resnet18_unet", weights=None)
    assert torch.equal(model.encoder.conv1.weight, plain.encoder.conv1.weight)


def test_an_unreachable_hub_is_named(monkeypatch):
    waits_s = []

    def refuse(address, timeout):
        waits_s.append(timeout)
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    assert "no connection to" in why_out_of_reach("smp-hub/resnet50.imagenet")
    assert waits_s == [3.0]


def broken_download(*args, **kwargs):
    raise OSError("We couldn't connect to the hub.\nMore lines follow.")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("resnet18_unet", "segmentation_models_pytorch.encoders.hf_hub_download"),
        ("swin_unet", "timm.models._hub.hf_hub_download"),
    ],
)
def test_a_download_that_fails_is_logged_and_the_start_is_random(name, place, monkeypatch, caplog):
    """Behind a proxy only the download itself can tell that there is no hub."""
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: "half a cache")
    monkeypatch.setattr(place, broken_download)
    with caplog.at_level(logging.WARNING):
        model = build_model(name, weights="imagenet", **SMALL.get(name, {}))
    assert "out of reach (We couldn't connect to the hub.): the network starts" in caplog.text
    assert parameters(model) > 0


@pytest.mark.parametrize("name", ["resnet50_unet", "swin_unet"])
def test_unknown_weights_are_answered_with_the_known_ones(name):
    with pytest.raises(InputError, match="no weights 'imagnet'; None.* '?imagenet"):
        build_model(name, weights="imagnet")


@pytest.mark.parametrize("name", MODELS)
def test_channels_are_checked_without_renaming_a_weight(name):
    model = build_model(name, **SMALL.get(name, {}))
    assert model.state_dict().keys() == MODELS[name](**SMALL.get(name, {})).state_dict().keys()
    sides = (64, 32, 32) if name in IN_3D else (64, 64)
    expected = r"\(B, 1, X, Y, Z\)" if name in IN_3D else r"\(B, 1, H, W\)"
    for shape in [(2, 3, *sides), (1, *sides)]:
        with pytest.raises(InputError, match=f"takes floats {expected}"):
            model(torch.zeros(shape))


def test_pretrained_weights_are_loaded_from_the_cache(monkeypatch, tmp_path):
    """The real loading code, on weights that we make ourselves: an RGB stem is summed for CT."""
    import segmentation_models_pytorch as smp
    from safetensors.torch import save_file

    torch.manual_seed(1)
    source = smp.Unet("resnet18", encoder_weights=None, in_channels=3).encoder
    # The published file still has its classifier; smp drops it on loading.
    state = {k: v.clone().contiguous() for k, v in source.state_dict().items()}
    state |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    save_file(state, tmp_path / "model.safetensors")
    encoders = "segmentation_models_pytorch.encoders"
    monkeypatch.setattr(f"{encoders}.hf_hub_download", lambda *a, **k: tmp_path / k["filename"])
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: "cached")
    model = build_model("resnet18_unet", weights="imagenet")
    assert torch.equal(model.encoder.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    summed = source.conv1.weight.sum(1, keepdim=True)
    assert torch.allclose(model.encoder.conv1.weight, summed, atol=1e-6)


def test_upscaled_answers_on_the_images_own_grid():
    class Threshold(torch.nn.Module):
        def forward(self, image):
            assert image.shape[2:] == (128, 96)
            return image

    image = (torch.linspace(0, 1, 64)[:, None] + torch.linspace(0, 3, 48))[None, None]
    logits = Upscaled(Threshold(), 2)(image)
    assert logits.shape == image.shape
    inner = (..., slice(1, -1), slice(1, -1))  # beyond the border nothing goes on rising
    assert torch.allclose(logits[inner], image[inner], atol=1e-5)
    assert isinstance(build_model("resnet18_unet", upscale=2), Upscaled)


@pytest.mark.parametrize("name", presets.CHANNELS_LAST_3D)
def test_the_order_of_memory_follows_the_processor_and_changes_no_logits(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(presets, "has_bf16", lambda device: True)
    assert presets.fast_layout(name) is torch.contiguous_format
    monkeypatch.setattr(presets, "has_bf16", lambda device: False)
    assert presets.fast_layout(name) is torch.channels_last_3d
    torch.manual_seed(0)
    model = build_model(name, **presets.sizes_for(name, 32, "small")).eval()
    image = torch.rand(2, 1, 32, 32, 32)
    with torch.inference_mode():
        usual = model(image)
        last = model.to(memory_format=torch.channels_last_3d)(image)
    for a, b in zip(usual, last, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
