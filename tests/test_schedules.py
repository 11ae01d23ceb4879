"""Learning rates by hand and against torch; early stopping on made-up histories."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from seg_lib.errors import InputError
from seg_lib.schedules import (
    TrainConfig,
    best_epoch,
    ended,
    learning_rate,
    plateau_rate,
    warmup_cosine,
)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.1 / 5),  # one fifth: already moving
        (3, 0.1 * 4 / 5),
        (4, 0.1),  # the top
        (12, 0.055),  # half of the cosine: the middle between 0.1 and 0.01
        (8, 0.01 + 0.09 * (1 + math.sqrt(0.5)) / 2),  # a quarter: cos 45 degrees
        (20, 0.01),
        (25, 0.01),  # a step beyond the end stays there
    ],
)
def test_warmup_cosine_by_hand(step, rate):
    assert warmup_cosine(step, 20, 4, highest=0.1, lowest=0.01) == pytest.approx(rate)


def test_warmup_cosine_without_warmup_starts_at_the_top():
    assert warmup_cosine(0, 10, 0, highest=1.0) == 1.0


def test_warmup_longer_than_the_run_only_rises():
    rates = [warmup_cosine(step, 5, 10, highest=1.0) for step in range(5)]
    assert rates == sorted(rates) and rates[-1] == pytest.approx(5 / 11)


def test_plateau_by_hand():
    """Patience 2 forgives two bad validations; the third one lowers the rate."""
    assert plateau_rate([1.0, 1.0, 1.0], 0.1, 0.5, patience=2) == 0.1
    assert plateau_rate([1.0, 1.0, 1.0, 1.0], 0.1, 0.5, patience=2) == 0.05
    assert plateau_rate([1.0, 1.0, 1.0, 0.5, 0.6, 0.6], 0.1, 0.5, patience=2) == 0.1


def test_plateau_never_falls_below_the_smallest_rate_of_source_002():
    """002-24: from 0.1 by tens; six plateaus lead to 1e-7 and the seventh no further."""
    rates = [plateau_rate([1.0] * (n + 1), 0.1, 0.1, patience=0, lowest=1e-7) for n in range(9)]
    assert rates == pytest.approx([0.1**k for k in range(1, 8)] + [1e-7] * 2)


@pytest.mark.parametrize("patience", [0, 2, 5])
def test_plateau_equals_torch_with_mode_min(patience):
    rng = np.random.default_rng(patience)
    losses = (np.linspace(1, 0.4, 60) + rng.normal(0, 0.05, 60)).tolist()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min", factor=0.3, patience=patience, min_lr=1e-4
    )
    for epoch, loss in enumerate(losses, start=1):
        theirs.step(loss)
        ours = plateau_rate(losses[:epoch], 0.1, 0.3, patience, 1e-4)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)


def test_plateau_watches_the_validation_loss_not_the_rising_dice():
    """Dice rises all the time; fed with it, mode "min" would have lowered the rate long ago."""
    config = TrainConfig(schedule="plateau", plateau_patience=1, learning_rate=0.1)
    improving = [{"loss": 1.0, "val_loss": 1 / e, "dice": e / 10} for e in range(1, 9)]
    assert learning_rate(config, 0, 5, improving) == 0.1
    stuck = [{"loss": 1 / e, "val_loss": 1.0, "dice": e / 10} for e in range(1, 4)]
    assert learning_rate(config, 0, 5, stuck) == pytest.approx(0.01)


def test_constant_and_poly_by_hand():
    assert learning_rate(TrainConfig(schedule="constant", learning_rate=0.2), 7, 5, []) == 0.2
    poly = TrainConfig(schedule="poly", learning_rate=0.2, epochs=2)
    assert learning_rate(poly, 0, 5, []) == 0.2
    assert learning_rate(poly, 5, 5, []) == pytest.approx(0.2 * 0.5**0.9)


def test_warmup_counts_in_epochs():
    config = TrainConfig(epochs=4, warmup_epochs=1, learning_rate=1.0)
    assert learning_rate(config, 10, 10, []) == 1.0
    assert learning_rate(config, 9, 10, []) < 1.0


def rows(*scores):
    return [{"epoch": e, "loss": 1.0, "score": s} for e, s in enumerate(scores, start=1)]


def test_best_epoch_prefers_score_then_validation_then_training_loss():
    assert best_epoch(rows(0.1, 0.5, 0.5, 0.2)) == 2  # of equal ones the first
    assert best_epoch([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]) == 2
    both = [{"epoch": 1, "loss": 0.1, "val_loss": 2.0}, {"epoch": 2, "loss": 0.9, "val_loss": 1.0}]
    assert best_epoch(both) == 2
    # Epochs that were not validated cannot be the best of those that were.
    assert best_epoch([{"epoch": 1, "loss": 0.0}, *rows(0, 0.3)[1:]]) == 2
    assert best_epoch([]) == 0


def test_early_stopping_after_twenty_epochs_without_a_better_one():
    """Source 002: patience 20."""
    config = TrainConfig(epochs=100, early_stopping=20)
    assert ended(rows(0.1, 0.2, 0.3, *[0.0] * 19), config) is None
    assert ended(rows(0.1, 0.2, 0.3, *[0.3] * 20), config) == "early stopping"
    assert ended(rows(0.1, 0.2, 0.3, *[0.3] * 20), TrainConfig(epochs=100)) is None
    assert ended(rows(0.1, 0.2), TrainConfig(epochs=2)) == "epochs"


def test_only_judged_epochs_count_as_not_better():
    config = TrainConfig(epochs=100, early_stopping=5, validate_every=8)
    history = [{"epoch": e, "loss": e} | ({} if e % 8 else {"score": 0.5}) for e in range(1, 17)]
    assert [n for n in range(17) if ended(history[:n], config)] == [16]
    silent = dataclasses.replace(config, validate_every=1)  # no validation: the training loss
    assert [n for n in range(8) if ended(history[:n], silent)] == [6, 7]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"optimizer": "adamm"}, "adamw, adam, sgd"),
        ({"schedule": "cosine"}, "warmup_cosine"),
        ({"precision": "fp8"}, "bf16"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 2.5}, "whole number"),
        ({"epochs": True}, "whole number"),
        ({"learning_rate": "1e-3"}, "'1e-3'"),  # what YAML makes of 1e-3
        ({"learning_rate": math.nan}, "nan"),
        ({"learning_rate": -0.1}, "-0.1"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"seed": -1}, "seed"),
        ({"min_lr": 0.1, "learning_rate": 0.01}, "min_lr"),
    ],
)
def test_bad_settings_are_refused_by_name(bad, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**bad)


def test_every_number_of_the_configuration_is_checked():
    from seg_lib.schedules import CHOICES, RANGES

    names = {entry.name for entry in dataclasses.fields(TrainConfig)}
    assert names == set(CHOICES) | set(RANGES)


def test_the_recipes_of_the_sources_are_valid():
    TrainConfig(epochs=1000, learning_rate=1e-4, weight_decay=1e-5, warmup_epochs=10)
    TrainConfig(100, "adam", learning_rate=1e-4, weight_decay=0, schedule="constant")
    unetr = {"learning_rate": 0.1, "momentum": 0, "weight_decay": 0, "min_lr": 1e-7}
    TrainConfig(100, "sgd", schedule="plateau", early_stopping=20, **unetr)
