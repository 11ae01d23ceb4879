"""Costs are those that can be counted by hand."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from seg_lib import costs


def test_a_convolution_by_hand():
    """8 x 8 places, 3 x 3 x 2 products for each of 4 channels, two operations each."""
    model = nn.Conv2d(2, 4, 3, padding=1)
    assert costs.parameters(model) == 2 * 4 * 9 + 4
    assert costs.gflops(model, (1, 2, 8, 8)) == 8 * 8 * 9 * 2 * 4 * 2 / 1e9


def test_attention_is_counted():
    """Two products of 4 x 4 tokens with 3 features in every head."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, image):
            tokens = image.reshape(1, 1, 4, 3) * self.weight
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    assert costs.gflops(Attention(), (1, 1, 4, 3)) == 2 * 2 * 4 * 4 * 3 / 1e9


def test_frozen_weights_do_not_count():
    model = nn.Linear(3, 3).requires_grad_(False)
    assert costs.parameters(model) == 0


class Watched(nn.Module):
    """A network that notes in which precision it is called."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen = nn.Conv2d(1, 1, 1), []

    def forward(self, image):
        logits = self.layer(image)
        self.seen.append((torch.is_autocast_enabled("cpu"), logits.dtype))
        return logits


@pytest.mark.parametrize(
    ("precision", "as_seen"), [("no", (False, torch.float32)), ("bf16", (True, torch.bfloat16))]
)
def test_a_step_is_the_median_of_those_after_two_that_warm_up(monkeypatch, precision, as_seen):
    """In half precision only where it was asked for; each step moves the weights."""
    took = [50.0, 40.0, 3.0, 1.0, 9.0]
    clock = iter(s for i, seconds in enumerate(took) for s in (100.0 * i, 100.0 * i + seconds))
    monkeypatch.setattr(costs, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    model = Watched()
    before = model.layer.weight.detach().clone()
    assert costs.step_seconds(model, (2, 1, 8, 8), precision, steps=3) == 3.0
    assert model.seen == [as_seen] * 5
    assert not torch.equal(model.layer.weight, before)


@pytest.mark.parametrize("precision", ["no", "fast"])
@pytest.mark.parametrize(("times", "expected"), [(0.5, 1.0), (2.5, 2.5), (9.0, 4.0)])
def test_slowness_is_a_ratio_between_one_and_four(monkeypatch, precision, times, expected):
    threads = torch.get_num_threads()
    seconds = times * costs.STEP_S[precision]
    monkeypatch.setattr(costs, "step_seconds", lambda *_, **__: seconds)
    assert costs.slowness(precision) == pytest.approx(expected)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("bf16", [True, False])
def test_a_processor_without_bf16_is_slower_in_lessons_that_use_it(monkeypatch, bf16):
    """It computes in float32 what the budgets were measured for in bfloat16."""
    monkeypatch.setattr(costs, "has_bf16", lambda device: bf16)
    of_the_budgets = {"no": costs.STEP_S["no"], "bf16": costs.STEP_S["fast"]}
    monkeypatch.setattr(costs, "step_seconds", lambda model, shape, how, **_: of_the_budgets[how])
    assert costs.slowness("no") == 1
    slower = costs.STEP_S["no"] / costs.STEP_S["fast"]
    assert costs.slowness("fast") == pytest.approx(1 if bf16 else slower)


def test_the_step_of_the_budgets_is_the_measured_one():
    result = Path(__file__).parents[1] / "benchmarks" / "results" / "training_speed.json"
    found = json.loads(result.read_text())
    assert found["shape"] == [8, 1, 128, 128] and found["machine"]["threads"] == 1
    unetr = found["networks"]["unetr"]
    assert unetr["float32_s"] == pytest.approx(costs.STEP_S["no"], abs=1e-3)
    assert unetr["bf16_s"] == pytest.approx(costs.STEP_S["fast"], abs=1e-3)
