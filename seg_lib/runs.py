"""A run folder and what lives in it: how a run is opened, saved and resumed.

    best.safetensors           the weights of the best epoch, and what the network is built from
    last.safetensors           weights, optimizer, history: enough to go on from the last step
    last.previous.safetensors  the same, one generation earlier, until the run is complete
    README.md                  the card of the network, see model_card
    history.json, loss_log.txt, events/   for people, see run_log

`training.train` is the loop that uses it. Taught in notebook 06.
"""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seg_lib import checkpoints, run_log
from seg_lib.errors import InputError
from seg_lib.files import folder_lock
from seg_lib.memory import has_bf16
from seg_lib.model_card import CARD, WEIGHTS, write_card
from seg_lib.processes import process_state, same_everywhere
from seg_lib.schedules import TrainConfig, best_epoch

Row = dict[str, Any]


@dataclass
class Run:
    """What a run consists of. From ``history`` on it is what changes, besides the weights."""

    config: TrainConfig
    out_dir: Path
    about: dict[str, Any]
    steps: int  # of an epoch, in this process
    accelerator: Any
    model: nn.Module
    optimizer: Any
    average: nn.Module | None  # moving average of the weights
    history: list[Row] = field(default_factory=list)  # one row a finished epoch
    losses: list[float] = field(default_factory=list)  # of the epoch in progress, one a step
    seconds: float = 0.0  # spent on the epoch in progress before an interruption
    started: str = field(default_factory=run_log.now)
    saved: tuple[int, int] | None = None  # (epochs, steps) in last.safetensors
    writer: Any = None  # of TensorBoard events, from the first finished epoch on

    @property
    def epoch(self) -> int:
        """The epoch in progress, from 1."""
        return len(self.history) + 1

    @property
    def judged(self) -> nn.Module:
        """The network to validate and to keep: the moving average, where there is one."""
        plain = self.accelerator.unwrap_model(self.model)
        return plain if self.average is None else self.average


@contextlib.contextmanager
def accelerated(model: nn.Module, precision: str) -> Iterator[Any]:
    """Yield an Accelerator; afterwards ``model`` and accelerate are as they were before.

    It keeps the precision for the whole process and wraps the model's forward in autocast; left so,
    the next run could not choose another precision.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    device = process_state().device.type
    if precision == "fp16" and device == "cpu":
        raise InputError("TrainConfig: precision 'fp16' needs a GPU; choose no, bf16 or auto.")
    if precision in ("auto", "fast"):
        asked = device == "cuda" or (device == "cpu" and precision == "fast")
        precision = "bf16" if asked and has_bf16(device) else "no"
    accelerator = Accelerator(mixed_precision=precision, cpu=device == "cpu")
    try:
        yield accelerator
    finally:
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        vars(model).pop("_is_accelerate_prepared", None)  # else the next run gets no autocast
        AcceleratorState._reset_state(reset_partial_state=accelerator.num_processes == 1)


@contextlib.contextmanager
def opened_run(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    out_dir: str | Path,
    n_batches: int,
    resume: bool,
    about: Row,
) -> Iterator[Run]:
    """Lock the folder, put everything on its device and yield the run, new or as it was left.

    Raises:
        InputError: the folder is in use, or the run cannot be resumed.
    """
    out_dir = Path(out_dir)
    with contextlib.ExitStack() as stack:
        accelerator = stack.enter_context(accelerated(model, config.precision))
        if accelerator.is_main_process:
            stack.enter_context(folder_lock(out_dir))
            for part in out_dir.glob(".part-*"):  # left by a run that was killed while saving
                part.unlink()
        average = None
        if config.ema_decay > 0:
            average = copy.deepcopy(model).requires_grad_(False)
            average = accelerator.prepare_model(average, evaluation_mode=True)
        run = Run(
            config=config,
            out_dir=out_dir,
            about=about,
            steps=n_batches // accelerator.num_processes,
            accelerator=accelerator,
            model=accelerator.prepare_model(model),
            optimizer=accelerator.prepare_optimizer(optimizer),
            average=average,
        )
        if run.steps == 0:
            raise InputError(f"{n_batches} batches are too few to train; add cases to the split.")
        if resume and not same_everywhere(died_unsaved(out_dir)):
            restore(run)
        elif accelerator.is_main_process:
            run_log.clear_run(out_dir)
        stack.callback(lambda: run.writer and run.writer.close())
        yield run


SAVED = ("steps", "history", "losses", "seconds", "started")  # fields of Run that are plain types


def save_last(run: Run) -> None:
    """Write last.safetensors unless it is up to date; the generation before is kept."""
    now = (len(run.history), len(run.losses))
    if run.saved == now or not run.accelerator.is_main_process:
        return
    tensors = checkpoints.with_prefix("model", run.accelerator.unwrap_model(run.model).state_dict())
    tensors |= checkpoints.with_prefix("optimizer", checkpoints.optimizer_tensors(run.optimizer))
    if run.average is not None:
        tensors |= checkpoints.with_prefix("average", run.average.state_dict())
    scaler = run.accelerator.scaler
    about = {name: getattr(run, name) for name in SAVED}
    about |= {"config": asdict(run.config), "scaler": scaler and scaler.state_dict()}
    path = run.out_dir / "last.safetensors"
    checkpoints.save_checkpoint(path, tensors, about, keep_previous=True)
    run.saved = now


def save_best(run: Run, result: Row) -> None:
    """Write best.safetensors: weights, what was said about the network, and its result."""
    about = {**run.about, "result": result}
    path = run.out_dir / "best.safetensors"
    checkpoints.save_checkpoint(path, run.judged.state_dict(), about)


def can_go_on(folder: Path) -> bool:
    """Whether a state to go on from is there: the last one, or the generation before."""
    path = folder / "last.safetensors"
    return path.is_file() or checkpoints.previous_of(path).is_file()


def died_unsaved(folder: Path) -> bool:
    """Whether a run was killed before its first state, and so without a card: it begins again."""
    begun = (folder / WEIGHTS).is_file() and not (folder / CARD).is_file()
    return begun and not can_go_on(folder)


def restore(run: Run) -> None:
    """Put the run back to where last.safetensors left it.

    Raises:
        InputError: there is none, or it belongs to another configuration, network or data set.
    """
    path = run.out_dir / "last.safetensors"
    if not can_go_on(run.out_dir):
        raise InputError(f"{path}: there is nothing to resume; start without resume.")
    tensors, about = checkpoints.load_newest(path)
    _check_same(path, about, run)
    plain = run.accelerator.unwrap_model(run.model)
    checkpoints.fill(plain, checkpoints.without_prefix("model", tensors), path)
    if run.average is not None:
        checkpoints.fill(run.average, checkpoints.without_prefix("average", tensors), path)
    checkpoints.fill_optimizer(run.optimizer, checkpoints.without_prefix("optimizer", tensors))
    if about["scaler"] and run.accelerator.scaler:
        run.accelerator.scaler.load_state_dict(about["scaler"])
    for name in SAVED:
        setattr(run, name, about[name])
    run.saved = (len(run.history), len(run.losses))


def _check_same(path: Path, about: Row, run: Run) -> None:
    """Minutes may change and epochs grow; everything else must be as it was."""
    if not about.keys() >= {"config", "scaler", *SAVED}:
        raise InputError(f"{path}: holds no training state; resume the folder that fit wrote.")
    old = about["config"] | {"batches of an epoch": about["steps"]}
    new = asdict(run.config) | {"batches of an epoch": run.steps}
    changed = [
        f"{name} was {old.get(name)!r} and is now {value!r}"
        for name, value in new.items()
        if old.get(name) != value and name != "minutes" and (name != "epochs" or value < old[name])
    ]
    if changed:
        raise InputError(
            f"{path}: cannot be resumed with other settings ({'; '.join(changed)}); "
            "take the old ones or start a new run in another folder."
        )


def keep(run: Run) -> None:
    """After an epoch: say it, log it, and write the checkpoints that are due."""
    if not run.accelerator.is_main_process:
        return
    row = run.history[-1]
    print(run_log.epoch_line(row, run.config.epochs), flush=True)
    run.writer = run.writer or run_log.event_writer(run.out_dir, row["epoch"])
    run_log.write_events(run.writer, row)
    if best_epoch(run.history) == row["epoch"]:
        save_best(run, row)
    if row["epoch"] % run.config.checkpoint_every == 0:
        save_last(run)
    run_log.write_logs(run.out_dir, run.history, asdict(run.config), run.started)


def close(run: Run, reason: str) -> None:
    """At the end: write what is not yet written, and say it if the run is not complete.

    Of several processes none goes on before the files are there.
    """
    save_last(run)
    if run.accelerator.is_main_process:
        if not run.history:  # stopped in the first epoch: better little than nothing to predict
            save_best(run, {})
        run_log.write_logs(run.out_dir, run.history, asdict(run.config), run.started, reason)
        write_card(run.out_dir)
        if reason in ("minutes", "signal"):
            print(f"stopped in epoch {run.epoch}: {reason}; resume=True goes on from here.")
        else:  # complete: two files are enough, and a third of the disk is free again
            checkpoints.previous_of(run.out_dir / "last.safetensors").unlink(missing_ok=True)
    run.accelerator.wait_for_everyone()
