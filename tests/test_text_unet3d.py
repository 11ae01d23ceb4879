"""The 3D U-Net that listens to text: counts on paper, attention like its peers, and it hears."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seg_lib.checkpoints import load_checkpoint, save_checkpoint
from seg_lib.costs import parameters
from seg_lib.errors import InputError
from seg_lib.losses import dice_ce
from seg_lib.models import build_model
from seg_lib.models.presets import sizes_for
from seg_lib.models.text_unet3d import (
    Block,
    TextUNet3d,
    UpStep,
    build_text_unet3d,
    take_batch_norms,
)
from seg_lib.models.two_way import CrossAttention, Fusion, Listen

TINY = {"text_width": 6, "features": (4, 8, 8), "heads": 2}
RELEASED = (48, 48, 96, 192, 384)


def tiny(seed=0, **sizes):
    torch.manual_seed(seed)
    return build_text_unet3d(**TINY | sizes)


def batch(n_images=2, side=16, n_text=2, seed=1):
    torch.manual_seed(seed)
    return torch.randn(n_images, 1, side, side, side), torch.randn(n_images, n_text, 6)


def grid(side, left=-1.0, right=1.0):
    """(1, 3, side, side, side): x from ``left`` to ``right``, y and z from -1 to 1."""
    across, along = torch.linspace(left, right, side), torch.linspace(-1, 1, side)
    return torch.stack(torch.meshgrid(across, along, along, indexing="ij"))[None]


# Sizes


def on_paper(features, text_width, classes=2):
    """What the release counts, part by part, from the definitions of its layers."""
    ways = list(zip((1, *features), features, strict=False))
    cube = 27
    encoder = sum(cube * i * o + cube * o * o + i * o for i, o in ways)
    ups = ways[1:]
    decoder = sum(8 * o * i + cube * 2 * i * i + cube * i * i for i, o in ups)
    decoder += 2 * features[-2] * features[-2]  # the deepest step alone has a short cut
    two_way = unused = 0
    for stage, w in enumerate(features):
        hidden, half = features[0] * 2**stage, w // 2
        among = 4 * (w * w + w)
        across = 3 * (w * half + half) + half * w + w
        layer = among + 2 * across + (w * hidden + hidden) + (hidden * w + w) + 4 * 2 * w
        two_way += 2 * layer
        unused += across + 2 * w  # the last text-to-image attention and its norm
    return {
        "encoder": encoder,
        "decoder": decoder,
        "head": 8 * features[0] * classes,
        "project": sum((text_width + 1) * w for w in features),
        "layers": two_way,
        "unused": unused,
        "prompts": 2 * 8 * text_width,  # of the text encoder
    }


def test_the_released_network_has_its_21_486_688_parameters():
    paper = on_paper(RELEASED, 4096)
    assert paper["encoder"] == 8_125_248 and paper["decoder"] == 4_972_032
    assert paper["head"] == 768 and paper["project"] == 3_146_496
    assert paper["layers"] + paper["unused"] == 5_176_608
    assert paper["prompts"] == 65_536 and paper["unused"] == 399_744
    assert sum(paper.values()) == 21_486_688
    with torch.device("meta"):
        model = build_model("text_unet3d")
    parts = {"encoder": model.encoder, "decoder": model.decoder, "head": model.head}
    parts |= {
        "project": torch.nn.ModuleList(one.project for one in model.listen.values()),
        "layers": torch.nn.ModuleList(one.layers for one in model.listen.values()),
    }
    assert {name: parameters(part) for name, part in parts.items()} == {
        name: paper[name] for name in parts
    }
    assert parameters(model) == 21_486_688 - 65_536 - 399_744 == 21_021_408


@pytest.mark.parametrize(
    ("features", "text_width", "heads", "released"),
    [
        (RELEASED, 768, 8, 18_877_536),
        ((24, 24, 48, 96, 192), 4096, 4, 6_216_496),
        ((16, 16, 32, 64, 128), 4096, 8, 3_152_928),
    ],
)
def test_other_sizes_of_the_release(features, text_width, heads, released):
    with torch.device("meta"):
        model = build_text_unet3d(text_width=text_width, features=features, heads=heads)
    paper = on_paper(features, text_width)
    assert sum(paper.values()) == released
    assert parameters(model) == released - paper["prompts"] - paper["unused"]


def test_the_roi_of_source_001_at_full_size():
    with torch.device("meta"):
        model = build_text_unet3d()
        image, text = torch.empty(1, 1, 64, 352, 352), torch.empty(1, 2, 4096)
        maps = model.encode(image, text)
        assert [tuple(one.shape[1:]) for one in maps] == [
            (48, 32, 176, 176),
            (48, 16, 88, 88),
            (96, 8, 44, 44),
            (192, 4, 22, 22),
            (384, 2, 11, 11),
        ]
        assert model.decode(maps, image).shape == (1, 2, 64, 352, 352)


# Blocks, against peers


def copy_in_order(ours, theirs):
    theirs.load_state_dict(
        dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)), strict=True
    )


@pytest.mark.parametrize(("residual", "stride"), [(True, 2), (True, 1), (False, 1)])
def test_a_block_is_monais(residual, stride):
    from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetResBlock

    torch.manual_seed(0)
    ours = Block(3, 5, stride, residual)
    theirs = (UnetResBlock if residual else UnetBasicBlock)(3, 3, 5, 3, stride, "instance")
    copy_in_order(ours, theirs)
    x = torch.randn(2, 3, 8, 8, 8)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


@pytest.mark.parametrize("residual", [True, False])
def test_a_step_up_is_monais(residual):
    from monai.networks.blocks import UnetrUpBlock

    torch.manual_seed(0)
    ours = UpStep(6, 4, 4, residual)
    theirs = UnetrUpBlock(3, 6, 4, 3, 2, "instance", res_block=residual)
    copy_in_order(ours, theirs)
    deep, skip = torch.randn(2, 6, 4, 4, 4), torch.randn(2, 4, 8, 8, 8)
    assert torch.allclose(ours(deep, skip), theirs(deep, skip), atol=1e-5)


def test_cross_attention_is_torchs():
    torch.manual_seed(0)
    ours, theirs = CrossAttention(12, 3, 12), torch.nn.MultiheadAttention(12, 3, batch_first=True)
    parts = [ours.query, ours.key, ours.value]
    theirs.in_proj_weight.data = torch.cat([part.weight.data for part in parts])
    theirs.in_proj_bias.data = torch.cat([part.bias.data for part in parts])
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    query, key, value = torch.randn(2, 4, 12), torch.randn(2, 9, 12), torch.randn(2, 9, 12)
    out, weights = theirs(query, key, value)
    assert torch.allclose(ours(query, key, value), out, atol=1e-6)
    assert torch.allclose(ours.weights(query, key), weights, atol=1e-6)


def sam(listen, width, heads, hidden):
    """The two-way transformer of SAM from transformers, with the weights of ``listen``."""
    from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
    from transformers.models.sam.modeling_sam import SamTwoWayTransformer

    numbers = {"hidden_size": width, "num_attention_heads": heads, "mlp_dim": hidden}
    config = SamMaskDecoderConfig(**numbers, num_hidden_layers=2, layer_norm_eps=1e-5)
    config._attn_implementation = "eager"
    peer = SamTwoWayTransformer(config)
    names = [("among_text", "self_attn"), ("text_to_voxel", "cross_attn_token_to_image")]
    names += [("voxel_to_text", "cross_attn_image_to_token")]
    for ours, theirs in zip(listen.layers, peer.layers, strict=True):
        for name, its_name in names:
            mine, its = getattr(ours, name), getattr(theirs, its_name)
            for part in ("query", "key", "value"):
                getattr(its, f"{part[0]}_proj").load_state_dict(getattr(mine, part).state_dict())
            its.out_proj.load_state_dict(mine.proj.state_dict())
        theirs.mlp.lin1.load_state_dict(ours.mlp[0].state_dict())
        theirs.mlp.lin2.load_state_dict(ours.mlp[2].state_dict())
        for number, norm in enumerate(ours.norms, start=1):
            getattr(theirs, f"layer_norm{number}").load_state_dict(norm.state_dict())
    return peer


@pytest.mark.parametrize("positions", [False, True])
def test_listening_is_the_two_way_transformer_of_sam(positions):
    torch.manual_seed(0)
    listen = Listen(6, 16, 24, Fusion(heads=4, positions=positions))
    for norm in [norm for layer in listen.layers for norm in layer.norms]:
        torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    image, text = torch.randn(2, 16, 3, 4, 5), torch.randn(2, 2, 6)
    place, where = torch.zeros_like(image), None
    if positions:
        where = torch.randn(2, 3, 6, 8, 10)
        mean = F.interpolate(where, scale_factor=0.5, mode="trilinear")  # of 8 voxels each
        waves = torch.cat([mean, (torch.pi * mean).sin(), (torch.pi * mean).cos()], dim=1)
        place = torch.einsum("wf,bfxyz->bwxyz", listen.place.weight, waves)
        place = place + listen.place.bias[:, None, None, None]
    peer = sam(listen, 16, 4, 24).eval()
    side = (2, 16, 3, 20)  # its images are flat
    with torch.inference_mode():
        expected = peer(
            point_embeddings=listen.project(text)[:, None],
            image_embeddings=image.reshape(side),
            image_positional_embeddings=place.reshape(side),
            attention_similarity=None,
        )[1]
        expected = expected.reshape(2, 60, 16).mT.reshape(image.shape)
        assert torch.allclose(listen(image, text, where), expected, atol=1e-5)


# What it hears


WAYS = [
    {},
    {"align": "during", "skips": "raw"},
    {"align": "during"},
    {"align": "after", "skips": "raw"},
    {"fused_stages": [1, 2]},
    {"output": "full"},
    {"positions": True},
    {"recompute": True},
]


@pytest.mark.parametrize("how", WAYS, ids=str)
def test_every_parameter_learns(how):
    """But the bias of a key: the same number added to all scores leaves the softmax as it is."""
    model = tiny(features=(16, 8, 8), **how).double()
    image, text = (x.double() for x in batch())
    where = [grid(16).double().expand(2, -1, -1, -1, -1)] if how.get("positions") else []
    logits = model(image, text, *where)
    (logits * torch.randn_like(logits)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    still = [name for name, p in model.named_parameters() if p.grad.abs().max() < 1e-12]
    assert all(name.endswith("key.bias") for name in still), still


@pytest.mark.parametrize("how", WAYS, ids=str)
def test_another_text_changes_the_logits_and_the_order_of_its_vectors_does_not(how):
    model = tiny(**how).eval()
    image, text = batch()
    where = [grid(16).expand(2, -1, -1, -1, -1)] if how.get("positions") else []
    with torch.inference_mode():
        logits = model(image, text, *where)
        assert not torch.allclose(model(image, text.flip(0), *where), logits, atol=1e-3)
        assert torch.allclose(model(image, text.flip(1), *where), logits, atol=1e-4)
        one_by_one = [
            model(image[i : i + 1], text[i : i + 1], *[w[:1] for w in where]) for i in (0, 1)
        ]
        assert torch.allclose(torch.cat(one_by_one), logits, atol=1e-4), "no patient hears another"


def test_without_a_text_it_is_the_image_only_network():
    """The same visual parameters, so that a checkpoint of one starts the other."""
    plain = tiny(fused_stages=())
    assert not any("listen" in name for name in plain.state_dict())
    model = tiny(seed=5)
    image, text = batch()
    model.load_state_dict(model.state_dict() | plain.state_dict())
    assert torch.equal(model(image), plain(image))
    assert torch.equal(plain(image, text), plain(image)), "no stage listens"
    assert not torch.allclose(model(image, text), plain(image), atol=1e-3)


def test_when_the_stages_listen_and_what_the_decoder_gets():
    image, text = batch()
    state = tiny().state_dict()
    nets = {}
    for align in ("after", "during"):
        for skips in ("aligned", "raw"):
            net = tiny(align=align, skips=skips).eval()
            net.load_state_dict({name: state[name] for name in net.state_dict()})
            nets[align, skips] = net
    with torch.inference_mode():
        maps = {how: net.encode(image, text) for how, net in nets.items()}
        plain = nets["after", "aligned"].encode(image)
        logits = [net(image, text) for net in nets.values()]
    same = {
        how: [torch.allclose(a, b, atol=1e-5) for a, b in zip(found, plain, strict=True)]
        for how, found in maps.items()
    }
    assert same["after", "raw"] == [True, True, False]
    assert same["during", "raw"] == [True, False, False], "raw, but of a stage that was told"
    assert same["after", "aligned"] == same["during", "aligned"] == [False] * 3
    first = [maps[how, "aligned"][0] for how in ("after", "during")]
    assert torch.allclose(*first, atol=1e-5), "until the second stage there is no difference"
    for i, one in enumerate(logits):
        assert not any(torch.allclose(one, other, atol=1e-3) for other in logits[:i])


def test_without_positions_a_voxel_does_not_know_where_it_is():
    """Listening treats all voxels alike: shuffled in, shuffled out. With positions it does not."""
    torch.manual_seed(0)
    order = torch.randperm(64)
    image, text = torch.randn(1, 8, 4, 4, 4), torch.randn(1, 2, 6)

    def shuffled(x):
        return x.flatten(2)[..., order].reshape(x.shape)

    listen = Listen(6, 8, 8, Fusion(heads=2))
    assert torch.allclose(listen(shuffled(image), text), shuffled(listen(image, text)), atol=1e-5)
    listen = Listen(6, 8, 8, Fusion(heads=2, positions=True))
    here = grid(4).repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    stay = listen(shuffled(image), text, here)
    assert not torch.allclose(stay, shuffled(listen(image, text, here)), atol=1e-3)


def test_a_constant_patch_elsewhere_in_the_body():
    model = tiny(features=(16, 16), positions=True).eval()
    image, text = torch.zeros(1, 1, 16, 16, 16), torch.randn(1, 2, 6)
    left, right = grid(16, -0.9, -0.4), grid(16, 0.4, 0.9)
    with torch.inference_mode():
        assert not torch.allclose(model(image, text, left), model(image, text, right), atol=1e-3)
        maps = [model.encode(image, text, where)[0] for where in (left, right)]
        assert not torch.allclose(*maps, atol=1e-3)
        for listen in model.listen.values():
            torch.nn.init.zeros_(listen.place.weight)
        assert torch.equal(model(image, text, left), model(image, text, right))


def test_a_channel_that_says_how_far_left_a_patch_lies_is_erased():
    """Why positions go to the attention: an instance norm takes every constant away."""
    torch.manual_seed(0)
    block, image = Block(2, 4, stride=2), torch.randn(1, 1, 16, 16, 16)
    told = [block.short(torch.cat([image, torch.full_like(image, x)], 1)) for x in (-0.8, 0.8)]
    assert torch.allclose(*told, atol=1e-5)


def test_attention_maps():
    model = tiny()
    image, text = batch(n_text=3)
    maps = model.attention_maps(image, text)
    assert list(maps) == [0, 1, 2]
    for stage, found in maps.items():
        side = 16 // 2 ** (stage + 1)
        assert found.voxel_to_text.shape == found.text_to_voxel.shape == (2, 3, side, side, side)
        assert torch.allclose(found.voxel_to_text.sum(1), torch.ones(2, side, side, side))
        assert torch.allclose(found.text_to_voxel.sum((2, 3, 4)), torch.ones(2, 3))
    one = model.attention_maps(image, text[:, :1])[0].voxel_to_text
    assert torch.equal(one, torch.ones_like(one)), "a single vector is heard by all alike"
    logits = model(image, text)
    assert torch.equal(model(image, text), logits), "looking leaves nothing behind"


def test_with_a_register_a_voxel_can_turn_away_from_the_only_note():
    image, text = batch(n_text=1)
    plain, model = tiny(), tiny(registers=2)
    maps = model.attention_maps(image, text)
    shares = maps[0].voxel_to_text
    assert shares.shape[1] == 3, "the note and two registers"
    assert torch.allclose(shares.sum(1), torch.ones_like(shares[:, 0]))
    assert shares[:, 0].std() > 0, "not all voxels listen alike"
    widths = [stage.registers.shape[1] for stage in model.listen.values()]
    assert parameters(model) - parameters(plain) == 2 * sum(widths)


def test_a_batch_norm_keeps_what_is_the_same_in_a_whole_patch_and_an_instance_norm_does_not():
    """Two patches that differ by a constant, such as "this is the place that the note means"."""
    patch = torch.randn(1, 4, 6, 6, 6)
    both = torch.cat([patch, patch + 1])
    block = nn.Sequential(nn.InstanceNorm3d(4))
    one, other = block(both)
    assert torch.allclose(one, other, atol=1e-5)
    take_batch_norms(block)
    one, other = block(both)
    assert isinstance(block[0], nn.BatchNorm3d) and (other - one).min() > 0.5
    kinds = {type(part) for part in tiny(norm="batch").modules()}
    assert nn.BatchNorm3d in kinds and nn.InstanceNorm3d not in kinds


def test_attention_maps_are_of_the_last_exchange_by_hand():
    listen = (model := tiny(fused_stages=[1])).listen["1"]
    image, text = batch(n_images=1)
    with torch.no_grad():
        now = model.encoder[1](model.encoder[0](image))
        name = listen.project(text)
        words, voxels = listen.layers[0](name, now.flatten(2).mT, None, None)
        last = listen.layers[1]
        words = last.norms[0](words + last.among_text(words + name, words + name, words))
        looked = last.text_to_voxel.weights(words + name, voxels)
    found = model.attention_maps(image, text)
    assert list(found) == [1]
    assert torch.allclose(found[1].text_to_voxel.flatten(2), looked, atol=1e-6)


# The output


def jumps(logits):
    """Mean step of the logits along x across the borders of 2-voxel blocks, and inside them."""
    step = logits.diff(dim=2).abs().mean((0, 1, 3, 4))
    return step[1::2].mean().item(), step[::2].mean().item()


def test_half_output_is_made_of_blocks_and_full_output_is_not():
    """With a head that only enlarges, no voxel of the released output differs in its block."""
    image, text = batch(n_images=1)
    for output in ("half", "full"):
        model = tiny(output=output)
        enlarge = model.head if output == "half" else model.fine.up
        with torch.no_grad():
            enlarge.weight.copy_(
                enlarge.weight.mean((2, 3, 4), keepdim=True).expand_as(enlarge.weight)
            )
            across, inside = jumps(model(image, text))
        assert across > 0
        assert inside == 0 if output == "half" else inside > 0.5 * across


def test_classes_and_channels():
    model = tiny(classes=1, in_channels=2, output="full")
    image, text = torch.randn(1, 2, 16, 8, 8), torch.randn(1, 2, 6)
    assert model(image, text).shape == (1, 1, 16, 8, 8)


# Keeping and training


def test_a_checkpoint_gives_the_same_logits(tmp_path):
    model, image_text = tiny(), batch()
    sizes = TINY | {"positions": False}
    save_checkpoint(tmp_path / "a.safetensors", model.state_dict(), {"sizes": sizes})
    state, about = load_checkpoint(tmp_path / "a.safetensors")
    again = build_model("text_unet3d", **about["sizes"])
    again.load_state_dict(state)
    assert torch.equal(again(*image_text), model(*image_text))


def kept_bytes(model, *inputs):
    """What the forward pass keeps for the backward pass, each tensor once; and the gradients."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(*inputs).square().mean()
    loss.backward()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    size = sum(n for pointer, n in kept.items() if pointer not in own)
    return size, [p.grad for p in model.parameters()]


@pytest.mark.parametrize("how", [{}, {"align": "during", "output": "full"}], ids=str)
def test_recomputing_keeps_less_and_learns_the_same(how):
    inputs = batch(side=32)
    much, gradients = kept_bytes(tiny(**how), *inputs)
    little, again = kept_bytes(tiny(recompute=True, **how), *inputs)
    assert little < much / 3
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients, again, strict=True))


def test_memory_grows_with_the_voxels_and_no_faster():
    small, _ = kept_bytes(tiny(), *batch(1, 32))
    large, _ = kept_bytes(tiny(), *batch(1, 64))
    assert 7.5 < large / small < 8.1


def dice(mask, label):
    return 2 * (mask & label).sum().item() / (mask.sum() + label.sum()).item()


def learn(model, label, *inputs, steps=60):
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        loss = dice_ce(model(*inputs), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return model(*inputs).argmax(1, keepdim=True).bool()


def ball(side, centre, radius):
    place = torch.stack(torch.meshgrid(*3 * [torch.arange(side)], indexing="ij"))
    away = place - torch.tensor(centre)[:, None, None, None]
    return (away.square().sum(0) <= radius**2)[None, None]


@pytest.mark.parametrize("how", [{}, {"align": "during", "skips": "raw"}], ids=str)
def test_the_text_decides_which_of_two_lesions_is_the_target(how):
    """One image, twice; the dim lesion is meant, or the bright one. Alone, an image cannot know."""
    dim, bright = ball(16, (4, 4, 8), 3), ball(16, (11, 11, 8), 3)
    torch.manual_seed(0)
    image = (0.5 * dim + bright + 0.05 * torch.randn(1, 1, 16, 16, 16)).repeat(2, 1, 1, 1, 1)
    text, label = torch.randn(2, 2, 6), torch.cat([dim, bright])
    model = tiny(features=(16, 16), heads=4, **how)
    mask = learn(model, label.long(), image, text)
    assert min(dice(mask[i], label[i]) for i in (0, 1)) > 0.9
    with torch.no_grad():
        swapped = model(image, text.flip(0)).argmax(1, keepdim=True).bool()
    assert torch.equal(swapped, mask.flip(0)), "the note moves the contour"
    mask = learn(tiny(features=(16, 16)), label.long(), image)
    assert sum(dice(mask[i], label[i]) for i in (0, 1)) / 2 < 0.67, "both or one: 2/3 or 1/2"


def test_with_positions_left_means_left():
    """The same patch from left and right; the text says on which side the target is."""
    torch.manual_seed(0)
    lesion = ball(8, (3.5, 3.5, 3.5), 2.2)
    image = (lesion + 0.05 * torch.randn(1, 1, 8, 8, 8)).repeat(4, 1, 1, 1, 1)
    text = torch.randn(2, 2, 6).repeat_interleave(2, 0)  # left, left, right, right
    where = torch.cat([grid(8, -0.8, -0.3), grid(8, 0.3, 0.8)]).repeat(2, 1, 1, 1, 1)
    target = torch.tensor([True, False, False, True])
    label = (lesion * target.view(4, 1, 1, 1, 1)).long()
    model = tiny(features=(16, 16), heads=4, positions=True)
    mask = learn(model, label, image, text, where, steps=150)
    found = mask.flatten(1).sum(1) / lesion.sum()
    assert (found[target] > 0.8).all() and (found[~target] < 0.1).all()


# What is refused


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"heads": 3}, r"3 heads do not divide \['2', '4', '4'\].* among \[1, 2\]"),
        ({"features": (24, 24, 48), "heads": 8}, r"among \[1, 2, 3, 4, 6, 12\]"),
        ({"features": (5, 8, 8), "heads": 1}, "even features"),
        ({"align": "before"}, "'after' or 'during'"),
        ({"skips": "none"}, "'aligned' or 'raw'"),
        ({"output": "double"}, "'half' or 'full'"),
        ({"features": (8,)}, "at least 2"),
        ({"norm": "batch", "recompute": True}, "'instance' or, without recompute, 'batch'"),
        ({"fused_stages": [3]}, r"only \[0, 1, 2\]"),
        ({"skips": "raw", "fused_stages": [0, 2]}, r"only \[2\] can change"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        tiny(**sizes)


@pytest.mark.parametrize(
    ("sides", "near"),
    [((16, 16, 12), "16, 16, 16"), ((8, 8, 8), "16, 8, 8"), ((0, 16, 16), "8, 16, 16")],
)
def test_patches_that_do_not_fit_are_refused(sides, near):
    with pytest.raises(InputError, match=rf"divide by 8 and .*such as \({near}\)"):
        tiny()(torch.randn(1, 1, *sides))
    proposed = [int(n) for n in near.split(",")]
    assert tiny()(torch.randn(1, 1, *proposed)).shape[2:] == tuple(proposed)


@pytest.mark.parametrize("shape", [(2, 2, 5), (1, 2, 6), (2, 0, 6), (2, 6)])
def test_texts_that_do_not_fit_are_refused(shape):
    with pytest.raises(InputError, match=r"needs \(2, N, 6\)"):
        tiny()(batch()[0], torch.randn(shape))


def test_positions_that_do_not_fit_are_refused():
    image, text = batch()
    where = grid(16).expand(2, -1, -1, -1, -1)
    with pytest.raises(InputError, match="positions=False and needs none"):
        tiny()(image, text, where)
    for wrong in (None, where[:1], where[..., :8]):
        with pytest.raises(InputError, match=r"positions=True and needs \(2, 3, 16, 16, 16\)"):
            tiny(positions=True)(image, text, wrong)
    assert torch.equal(tiny(positions=True)(image), tiny(positions=True)(image, None, where))


def test_presets():
    small = sizes_for("text_unet3d", 64, "small")
    model = build_model("text_unet3d", text_width=64, **small)
    assert isinstance(model, TextUNet3d) and parameters(model) < 2_000_000
    assert parameters(build_text_unet3d(**sizes_for("text_unet3d", 64))) == 21_021_408


def test_half_precision_texts_and_autocast():
    """A frozen language model in fp16 hands its vectors over as they are."""
    model, (image, text) = tiny(), batch()
    with torch.inference_mode():
        expected = model(image, text.half().float())
        assert torch.equal(model(image, text.half()), expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.allclose(model(image, text).float(), expected, atol=0.2)
