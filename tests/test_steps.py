"""A step is the network, then the loss; and a small network can learn one batch by heart."""

import functools

import pytest
import torch
from torch import nn

from seg_lib.inference import predict_slices
from seg_lib.losses import bce, dice_ce
from seg_lib.metrics import dice
from seg_lib.steps import segmentation_step


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny layers: two threads would spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batch():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 16, 16, generator=generator) * 0.5
    label = torch.zeros(2, 1, 16, 16, dtype=torch.int64)
    label[0, 0, 3:8, 4:9] = 1
    label[1, 0, 9:13, 2:12] = 1
    return {"image": image + 0.4 * label, "label": label, "case": ["a", "b"]}


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 1, 3, padding=1))


def test_the_step_is_the_loss_of_the_logits():
    model, one = small_network(), batch()
    expected = dice_ce(model(one["image"]), one["label"])
    assert torch.equal(segmentation_step(model, one)["loss"], expected)


def test_another_loss_goes_in_with_partial():
    model, one = small_network(), batch()
    step = functools.partial(segmentation_step, loss=bce)
    assert torch.equal(step(model, one)["loss"], bce(model(one["image"]), one["label"]))


def test_one_batch_is_learned_by_heart():
    """If this fails, something between image, loss and optimizer is not connected."""
    model, one = small_network(), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        segmentation_step(model, one)["loss"].backward()
        optimizer.step()
    mask = predict_slices(model, one["image"]) >= 0.5
    assert dice(mask[:, 0], one["label"].numpy()[:, 0]) > 0.95
