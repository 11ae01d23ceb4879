"""Masked image modelling learns, and its weights arrive where they should."""

import numpy as np
import pytest
import torch

from seg_lib.data.batches import SliceBatches
from seg_lib.data.cases import Case
from seg_lib.data.slices import SliceSet
from seg_lib.errors import InputError
from seg_lib.models import build_model
from seg_lib.pretraining import CARD, last_layer, pretrain, start_from
from seg_lib.steps import reconstruction_step
from seg_lib.training import TrainConfig

SWIN = {"image_size": 32, "window": 2, "width": 12, "heads": (1, 2, 3, 4), "depths": (2, 2, 2, 2)}


def stripes(n=12, size=32):
    """Slices whose hidden parts follow from what can be seen."""
    chance = np.random.default_rng(0)
    rows = chance.integers(0, 2, (n, 1, 1, size)).repeat(size, axis=2) * 255
    cases = [Case(f"s{i}", f"p{i}", None) for i in range(n)]
    images = rows.astype(np.uint8)
    return SliceSet(images, np.zeros_like(images), cases)


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_came(fresh, before, trained, found):
    """Every tensor in ``found`` is the trained one, and every other is as it was."""
    wanted = before | {name: trained.state_dict()[name] for name in found}
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
    drawn = [name for name in found if name.endswith("weight") and before[name].ndim > 1]
    assert drawn and not any(torch.equal(wanted[name], before[name]) for name in drawn)


def test_only_hidden_pixels_count():
    """A network that repeats its input is wrong where it sees 0.5 and right elsewhere."""
    image = torch.ones(4, 1, 32, 32)
    torch.manual_seed(0)
    loss = reconstruction_step(torch.nn.Identity(), {"image": image})["loss"]
    assert loss.item() == pytest.approx(0.5)
    nothing = reconstruction_step(torch.nn.Identity(), {"image": image}, share=0.0)["loss"]
    assert nothing.item() == 0


def test_pretraining_learns_and_writes_weights_with_a_card(tmp_path):
    torch.manual_seed(0)
    model = build_model("swin_unet", **SWIN)
    batches = SliceBatches(stripes(), 6, shuffle=True)
    path = pretrain(model, batches, TrainConfig(epochs=12), tmp_path / "run", "made-up stripes")
    card = (tmp_path / "run" / CARD).read_text()
    first, last = (
        float(part.split()[0].strip(".,"))
        for part in (card.split("first epoch ")[1], card.split("in the last ")[1])
    )
    assert last < 0.8 * first
    assert "12 slices without labels (made-up stripes)" in card
    fresh = build_model("swin_unet", **SWIN)
    before = copied(fresh)
    found = start_from(fresh, path)
    assert_came(fresh, before, model, found)
    assert before.keys() - set(found) == {"head.weight"}


def test_only_the_encoder(tmp_path):
    model = build_model("resnet18_unet")
    path = pretrain(model, SliceBatches(stripes(4), 4), TrainConfig(epochs=1), tmp_path, "stripes")
    fresh = build_model("resnet18_unet")
    before = copied(fresh)
    found = start_from(fresh, path, only="encoder")
    assert_came(fresh, before, model, found)
    assert set(found) == {name for name in before if name.startswith("encoder")}


def test_weights_of_another_network_are_refused(tmp_path):
    model = build_model("swin_unet", **SWIN)
    path = pretrain(model, SliceBatches(stripes(4), 4), TrainConfig(epochs=1), tmp_path, "stripes")
    with pytest.raises(InputError, match="does not fit this network"):
        start_from(build_model("swin_unet", **SWIN | {"width": 24}), path)
    with pytest.raises(InputError, match="does not fit this network"):
        start_from(build_model("swin_unet", **SWIN), path, only="nothing")


@pytest.mark.parametrize(
    ("network", "head"),
    [("resnet18_unet", "segmentation_head.0"), ("swin_unet", "head"), ("unetr", "network.out")],
)
def test_the_last_layer_is_the_head(network, head):
    with torch.device("meta"):
        assert last_layer(build_model(network)).startswith(head)
