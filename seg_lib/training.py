"""The training loop, in one function that can be read from top to bottom: ``train``.

    from seg_lib.training import TrainConfig, fit
    history = fit(model, segmentation_step, batches, TrainConfig(epochs=20), "runs/first")

What differs from task to task is handed in: ``step`` says what a batch means and gives its loss,
``validate`` says what a good network is. The loop itself is the same for every network here.

A run can be stopped at any moment and goes on, bit for bit on a CPU, as if it had not been, because
nothing is remembered that can be computed: the random numbers of a step follow from (seed, step),
the learning rate from (step, history), the best epoch and early stopping from the history. Only the
weights, the optimizer's memory and the history are saved. Device, precision (autocast) and several
processes are left to Hugging Face accelerate. Taught in notebooks 06 and 08.
"""

import contextlib
import itertools
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seg_lib import run_log
from seg_lib.checkpoints import load_checkpoint, load_weights, save_checkpoint
from seg_lib.errors import InputError, TrainingError
from seg_lib.memory import keep_memory
from seg_lib.processes import first_of_all, mean_of_all, same_everywhere
from seg_lib.runs import Run, close, keep, opened_run
from seg_lib.schedules import TrainConfig, ended, learning_rate

__all__ = ["TrainConfig", "fit", "load_checkpoint", "load_weights", "save_checkpoint"]

Batch = dict[str, Any]  # tensors, and "case": the names of the cases in the batch
Step = Callable[[nn.Module, Batch], dict[str, Tensor]]
Validate = Callable[[nn.Module], dict[str, float]]
Stop = Callable[[], str | None]


def seed_everything(seed: int, *more: int) -> None:
    """Seed Python, NumPy and torch (all devices) with one number made from ``seed, *more``."""
    mixed = int(np.random.SeedSequence((seed, *more)).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)
    if torch.accelerator.is_available():
        torch.manual_seed(mixed)
    else:  # the same for the CPU, without taking notes for a GPU that never comes (1 ms each)
        torch.default_generator.manual_seed(mixed)


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer that ``config`` names, over the weights that are not frozen."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    # fused: one pass over the memory, 2.8 times faster on a CPU
    shared = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, momentum=config.momentum, **shared)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(weights, **shared)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move ``average`` a little towards ``model``; in the first steps it follows more closely."""
    decay = min(decay, (1 + step) / (10 + step))
    for mean, now in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)  # counters of batch normalisation


def remaining(batches: Iterable[Batch], run: Run) -> Iterator[tuple[int, Batch]]:
    """(index, batch) of this epoch and process, without the steps that are done already."""
    if hasattr(batches, "set_epoch"):
        batches.set_epoch(run.epoch)
    done, world = len(run.losses), run.accelerator.num_processes
    first = done * world + run.accelerator.process_index
    own = itertools.islice(batches, first, run.steps * world, world)
    text = f"epoch {run.epoch}/{run.config.epochs}"
    return enumerate(run_log.progress(own, text, done, run.steps), start=done)


def finite(loss: Tensor, norm: Tensor, run: Run, batch: Batch) -> float:
    """The loss as a number.

    Raises:
        TrainingError: it or the length of the gradient is not finite; names epoch, step and cases.
    """
    loss_now, norm_now = torch.stack([loss.detach().float(), norm.float()]).tolist()
    scaled = run.accelerator.scaler is not None  # float16 leaves out steps whose gradient overflows
    if math.isfinite(loss_now) and (scaled or math.isfinite(norm_now)):
        return loss_now
    what = f"the gradient is {norm_now}" if math.isfinite(loss_now) else f"the loss is {loss_now}"
    cases = ", ".join(map(str, batch.get("case", ["(not named)"])))
    raise TrainingError(
        f"epoch {run.epoch}, step {len(run.losses) + 1}: {what} for the cases {cases}; "
        "look at them or lower learning_rate. "
        f"The checkpoints in {run.out_dir} are from before."
    )


@contextlib.contextmanager
def stop_requests(minutes: float | None) -> Iterator[Stop]:
    """Yield a function that says why to stop now: "signal", "minutes", or None.

    A cluster sends SIGTERM or SIGUSR1 before it takes the machine back. The handler only takes a
    note and the loop saves between two steps: saving inside a handler leaves broken files.
    """
    received: list[int] = []
    deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
        for name in ("SIGTERM", "SIGUSR1"):
            if number := getattr(signal, name, None):
                before[number] = signal.signal(number, lambda number, _: received.append(number))

    def reason() -> str | None:
        if received:
            return "signal"
        return "minutes" if time.monotonic() >= deadline else None

    try:
        yield reason
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def scores(run: Run, validate: Validate) -> dict[str, float]:
    """What ``validate`` finds, as numbers; its "loss" is called "val_loss" in the history."""
    seed_everything(run.config.seed, run.epoch)
    found = {}
    if run.accelerator.is_main_process:
        with torch.no_grad():
            found = validate(run.judged.eval())
    row = {"val_loss" if key == "loss" else key: float(value) for key, value in found.items()}
    row = same_everywhere(row)
    decisive = [row[key] for key in ("val_loss", "score") if key in row]
    if not decisive:
        raise InputError("validate must return 'loss' (lower is better) or 'score' (higher is).")
    if not all(map(math.isfinite, decisive)):
        raise TrainingError(f"epoch {run.epoch}: the validation is not finite ({row}).")
    return row


def train(
    run: Run, step: Step, batches: Iterable[Batch], validate: Validate | None, stop: Stop
) -> str:
    """Train until there is a reason to stop, and return the reason."""
    from accelerate.utils import send_to_device

    config, accelerator, model = run.config, run.accelerator, run.model
    while (reason := ended(run.history, config)) is None:
        began = time.monotonic() - run.seconds

        # 1. Every batch once; their order and augmentation follow from (seed, epoch).
        model.train()
        for index, batch in remaining(batches, run):
            # 2. The random numbers and the learning rate of this step.
            now = (run.epoch - 1) * run.steps + index
            seed_everything(config.seed, now, accelerator.process_index)
            for group in run.optimizer.param_groups:
                group["lr"] = learning_rate(config, now, run.steps, run.history)

            # 3. Forward, backward, clip, update.
            run.optimizer.zero_grad()
            loss = step(model, send_to_device(batch, accelerator.device))["loss"]
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(model.parameters(), config.clip_norm or math.inf)
            run.losses.append(mean_of_all(finite(loss, norm, run, batch)))
            run.optimizer.step()
            if run.average is not None:
                update_average(run.average, accelerator.unwrap_model(model), config.ema_decay, now)

            # 4. No time left, or the cluster wants its machine back: stop between two steps.
            run.seconds = time.monotonic() - began
            if reason := first_of_all(stop()):
                return reason

        # 5. Is the network any good on cases it did not learn from?
        row = {"epoch": run.epoch, "loss": math.fsum(run.losses) / run.steps}
        if validate and (run.epoch % config.validate_every == 0 or run.epoch == config.epochs):
            row |= scores(run, validate)

        # 6. One more row of history; log it and keep the weights.
        rate = learning_rate(config, run.epoch * run.steps - 1, run.steps, run.history)
        row |= {"lr": rate, "seconds": time.monotonic() - began}
        run.history, run.losses, run.seconds = [*run.history, row], [], 0.0
        keep(run)
    return reason


def fit(
    model: nn.Module,
    step: Step,
    batches: Iterable[Batch],
    config: TrainConfig,
    out_dir: str | Path,
    validate: Validate | None = None,
    resume: bool = False,
    about: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Train ``model``; files of the run appear in ``out_dir`` (see `seg_lib.runs`).

    Args:
        model: afterwards it has the weights of the last step and stays on the device of the run;
            ``load_weights(model, out_dir / "best.safetensors")`` gives the best ones.
        step: see `seg_lib.steps`.
        batches: has a length and gives dictionaries of tensors with "case", a list of names;
            ``set_epoch(epoch)``, where there is one, is called before each epoch.
        config: the settings.
        out_dir: without ``resume``, an earlier run in this folder is replaced.
        validate: gets the network in evaluation mode and returns "score" (higher is better) or
            "loss" or both, and what else is to be in the history, such as "dice".
        resume: go on from last.safetensors. A complete run returns its history at once.
        about: plain types to keep with the best weights, such as the network's name and sizes.

    Returns:
        One dictionary an epoch: epoch, loss, lr, seconds, and what ``validate`` returned ("loss" as
        "val_loss"). Why the run stopped is in history.json, see `run_log.read_history`.

    Raises:
        InputError: bad settings, folder in use or read-only, or nothing that can be resumed.
        TrainingError: loss, gradient or validation is not finite.

    Taught in notebook 06.
    """
    if not any(getattr(module, "recompute", False) for module in model.modules()):
        keep_memory()  # what is computed again to save memory would be kept
    optimizer = build_optimizer(model, config)
    run = opened_run(model, optimizer, config, out_dir, len(batches), resume, about or {})
    with run as run, stop_requests(config.minutes) as stop:
        reason = train(run, step, batches, validate, stop)
        close(run, reason)
    return run.history
