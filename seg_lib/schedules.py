"""The numbers of a training run, and what follows from them: learning rate, best epoch, the end.

Everything here is a pure function of the configuration, the step and the history, so a resumed run
decides exactly as one that was never stopped. Taught in notebooks 06 and 08.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from seg_lib.errors import InputError

CHOICES = {
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": ("constant", "warmup_cosine", "plateau", "poly"),
    "precision": ("auto", "fast", "no", "bf16", "fp16"),
}
RANGES = {  # both ends included
    "epochs": (1, 1_000_000),
    "learning_rate": (1e-9, 1e3),
    "weight_decay": (0, 1),
    "momentum": (0, 0.9999),
    "warmup_epochs": (0, 1_000_000),
    "min_lr": (0, 1e3),
    "plateau_factor": (0.001, 0.999),
    "plateau_patience": (0, 1_000_000),
    "early_stopping": (0, 1_000_000),
    "clip_norm": (0, 1e9),
    "seed": (0, 2**32 - 1),
    "minutes": (0, 1e7),
    "validate_every": (1, 1_000_000),
    "checkpoint_every": (1, 1_000_000),
    "ema_decay": (0, 0.99999),
}


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a run; each is checked, and a bad one raises InputError naming the choices.

    Recipes of the sources: 000 and 001 ``TrainConfig(epochs=1000, learning_rate=1e-4,
    weight_decay=1e-5, warmup_epochs=10)``; 002 ResNet50-U-Net ``TrainConfig(epochs=100,
    optimizer="adam", learning_rate=1e-4, weight_decay=0, schedule="constant")``; 002 UNETR
    ``TrainConfig(epochs=100, optimizer="sgd", learning_rate=0.1, momentum=0, weight_decay=0,
    schedule="plateau", min_lr=1e-7, early_stopping=20)``.

    Taught in notebooks 06 and 08.
    """

    epochs: int = 20  # passes over the training cases
    optimizer: str = "adamw"  # adamw, adam or sgd
    learning_rate: float = 1e-3  # the highest of the run; 1e-4 for pretrained weights
    weight_decay: float = 1e-5  # pull of the weights towards 0
    momentum: float = 0.9  # sgd only: share of the last step kept in the next
    schedule: str = "warmup_cosine"  # constant, warmup_cosine, plateau or poly
    warmup_epochs: float = 1.0  # warmup_cosine: first steps are small while moments are unknown
    min_lr: float = 0.0  # warmup_cosine and plateau never go below
    plateau_factor: float = 0.1  # plateau: the rate is multiplied by this
    plateau_patience: int = 5  # plateau: validations without improvement that are forgiven
    early_stopping: int = 0  # stop after so many epochs without a better one; 0 = never
    clip_norm: float = 1.0  # longest gradient (L2 norm over all weights); 0 = any
    # auto: bf16 on a GPU that has it, else float32; fast: also on a CPU that has it; no, bf16, fp16
    precision: str = "auto"
    seed: int = 0  # every random number of the run follows from it
    minutes: float | None = None  # of this call; then save and return (cluster time limits)
    validate_every: int = 1  # epochs; the last epoch is always validated
    checkpoint_every: int = 1  # epochs between two last.safetensors; a crash loses at most these
    ema_decay: float = 0.0  # moving average of the weights for validation and best; 0 = none

    def __post_init__(self) -> None:
        """Check every field."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name in CHOICES and value not in CHOICES[entry.name]:
                raise InputError(
                    f"TrainConfig: {entry.name} is {value!r}; "
                    f"choose one of: {', '.join(CHOICES[entry.name])}."
                )
            if entry.name in RANGES and not (value is None and entry.name == "minutes"):
                _check_number(entry.name, value, whole=type(entry.default) is int)
        if self.min_lr > self.learning_rate:
            raise InputError(
                f"TrainConfig: min_lr {self.min_lr} is above learning_rate {self.learning_rate}; "
                "make it smaller."
            )


def _check_number(name: str, value: Any, whole: bool) -> None:
    low, high = RANGES[name]
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        raise InputError(
            f"TrainConfig: {name} is {value!r}; "
            f"it must be a {'whole ' if whole else ''}number from {low} to {high}."
        )


def warmup_cosine(
    step: int, total_steps: int, warmup_steps: float, highest: float, lowest: float = 0.0
) -> float:
    """The learning rate of one step: a straight line up, then half a cosine down.

    The first step already moves. The warm-up in source 001's code starts at exactly 0 and is
    stepped once an epoch, so its whole first epoch trains nothing.

    Args:
        step: 0 … total_steps - 1.
        total_steps: of the whole run.
        warmup_steps: steps before ``highest`` is reached; may be a fraction.
        highest: rate after the warm-up.
        lowest: rate at the end.

    Source: SGDR, https://arxiv.org/abs/1608.03983, equation 5 without restarts.
    """
    if step < warmup_steps:
        return highest * (step + 1) / (warmup_steps + 1)
    fraction = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    return lowest + (highest - lowest) * 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))


def plateau_rate(
    losses: Sequence[float], highest: float, factor: float, patience: int, lowest: float = 0.0
) -> float:
    """The learning rate after these validation losses: multiplied by ``factor`` at each plateau.

    A plateau is more than ``patience`` losses in a row that are not lower than the best by 0.01 %,
    as in torch's ReduceLROnPlateau with mode "min". Beware of feeding it a Dice: with mode "min" a
    rising Dice then looks like a plateau, and the rate falls because the network improves.

    Source: 002 (factor 0.1, patience 5, lowest 1e-7).
    """
    rate, best, bad = highest, math.inf, 0
    for loss in losses:
        bad = 0 if loss < best * (1 - 1e-4) else bad + 1
        best = loss if bad == 0 else best
        if bad > patience:
            rate, bad = max(rate * factor, lowest), 0
    return rate


def learning_rate(
    config: TrainConfig, step: int, steps_per_epoch: int, history: Sequence[dict[str, Any]]
) -> float:
    """The learning rate of one step of a run (counted from 0 over all epochs)."""
    total = config.epochs * steps_per_epoch
    if config.schedule == "warmup_cosine":
        warmup_steps = config.warmup_epochs * steps_per_epoch
        return warmup_cosine(step, total, warmup_steps, config.learning_rate, config.min_lr)
    if config.schedule == "poly":  # Swin-Unet
        return config.learning_rate * (1 - step / total) ** 0.9
    if config.schedule == "plateau":
        losses = [row["val_loss"] for row in history if "val_loss" in row]
        losses = losses or [row["loss"] for row in history]  # no validation: the training loss
        falls = config.plateau_factor, config.plateau_patience, config.min_lr
        return plateau_rate(losses, config.learning_rate, *falls)
    return config.learning_rate


def best_epoch(history: Sequence[dict[str, Any]]) -> int:
    """The first epoch with the highest score, or without scores the lowest loss.

    Without a validation loss it is the training loss. 0 for an empty history.
    """
    for key, sign in (("score", -1), ("val_loss", 1), ("loss", 1)):
        rows = [row for row in history if key in row]
        if rows:
            return min(rows, key=lambda row: sign * row[key])["epoch"]
    return 0


def ended(history: Sequence[dict[str, Any]], config: TrainConfig) -> str | None:
    """Why a run with this history is complete ("epochs" or "early stopping"), or None."""
    if len(history) >= config.epochs:
        return "epochs"
    judged = (row["epoch"] for row in history if {"score", "val_loss"} & row.keys())
    waited = max(judged, default=len(history)) - best_epoch(history)
    if 0 < config.early_stopping <= waited and len(history) >= config.validate_every:
        return "early stopping"
    return None
