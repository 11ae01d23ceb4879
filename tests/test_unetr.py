"""UNETR has the sizes of the design and says what is wrong with an image."""

import pytest
import torch

from seg_lib.errors import InputError
from seg_lib.models import build_model

SMALL = {"image_size": 64, "hidden": 48, "heads": 4, "features": 8}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({}, 87_333_809),
        ({"in_channels": 3}, 87_727_345),
        ({"hidden": 384, "heads": 6}, 22_839_089),
        ({"hidden": 192, "heads": 3}, 6_516_977),
        ({"spatial_dims": 3, "image_size": 96, "classes": 14}, 92_802_478),
    ],
)
def test_parameters_of_the_design(sizes, expected):
    with torch.device("meta"):
        model = build_model("unetr", **sizes)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_twelve_layers_and_skips_from_three_depths():
    model = build_model("unetr", **SMALL).eval()
    vit = model.network.vit
    assert len(vit.blocks) == 12
    with torch.inference_mode():
        last, hidden = vit(torch.rand(1, 1, 64, 64))
    assert last.shape == (1, 16, 48) and len(hidden) == 12  # 4 x 4 patches of 16 x 16 pixels
    layers, taken = [], {}
    for block in vit.blocks:
        block.register_forward_hook(lambda _, __, out: layers.append(out))
    for name in ("encoder2", "encoder3", "encoder4", "decoder5"):
        part = getattr(model.network, name)
        part.register_forward_pre_hook(lambda _, inputs, name=name: taken.update({name: inputs[0]}))
    with torch.no_grad():
        model(torch.rand(1, 1, 64, 64))
    for name, layer in {"encoder2": 4, "encoder3": 7, "encoder4": 10}.items():
        as_map = layers[layer - 1].transpose(1, 2).reshape(1, 48, 4, 4)
        assert torch.equal(taken[name], as_map)
    with torch.no_grad():
        whole = vit.norm(layers[11]).transpose(1, 2).reshape(1, 48, 4, 4)
    assert torch.allclose(taken["decoder5"], whole)


def test_patches_of_16_become_768_features_and_deconvolutions_lead_back():
    """002-21: three deconvolutions for the first skip, two, one, and one a step of the decoder."""
    with torch.device("meta"):
        network = build_model("unetr").network
    patches = network.vit.patch_embedding.patch_embeddings
    assert (patches.kernel_size, patches.stride, patches.out_channels) == ((16, 16), (16, 16), 768)
    assert {block.attn.num_heads for block in network.vit.blocks} == {12}
    names = ("encoder2", "encoder3", "encoder4", "decoder5", "decoder4", "decoder3", "decoder2")
    ups = [
        [m.stride for m in getattr(network, n).modules() if isinstance(m, torch.nn.ConvTranspose2d)]
        for n in names
    ]
    assert ups == [[(2, 2)] * n for n in (3, 2, 1, 1, 1, 1, 1)]


def test_volumes():
    model = build_model("unetr", **SMALL | {"image_size": (32, 32, 16), "spatial_dims": 3})
    assert model(torch.rand(1, 1, 32, 32, 16)).shape == (1, 1, 32, 32, 16)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"image_size": 100}, "such as 96 or 112"),
        ({"image_size": (64, 64, 64)}, "needs 2 sides"),
        ({"heads": 7}, "these do: 1, 2, 3, 4, 6, 8, 12, 16"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(InputError, match=message):
        build_model("unetr", **sizes)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"for images of \(64, 64\) pixels and got \(96, 64\)"):
        build_model("unetr", **SMALL)(torch.rand(1, 1, 96, 64))
