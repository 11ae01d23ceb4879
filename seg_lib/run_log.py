"""What a run says about itself: a line an epoch, loss_log.txt, history.json, TensorBoard events.

The history (a list with one dictionary an epoch) is the only truth; every file is written from it,
so that a resumed run leaves the same files as one that was never stopped. Taught in notebook 06.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from seg_lib.errors import InputError
from seg_lib.files import write_text

OF_TRAINING = ("best.safetensors", "last.safetensors", "last.previous.safetensors", "loss_log.txt")
OF_TRAINING += ("history.json",)
OF_TEST = ("results.json", "results.csv", "subtype_results.csv", "README.md")
LIVE_MARKS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")  # set where a person watches
LOSS_LOG_CLASSES = ("ptv", "ctv", "gtv")
LOSS_LOG_COLUMNS = ("epoch", "loss", "mean", *LOSS_LOG_CLASSES)
Row = dict[str, Any]


def epoch_line(row: Row, epochs: int) -> str:
    """One epoch as one plain line: ``epoch  3/20  loss 0.412  dice 0.653  lr 9.1e-04  12.3 s``."""
    width = len(str(epochs))
    outside = ("epoch", "lr", "seconds")
    scores = "  ".join(f"{name} {value:.3f}" for name, value in row.items() if name not in outside)
    head = f"epoch {row['epoch']:>{width}}/{epochs}"
    return f"{head}  {scores}  lr {row['lr']:.1e}  {row['seconds']:.1f} s"


def is_watched() -> bool:
    """True in a notebook with a person in front of it; False under papermill, nbconvert, a job.

    SEG_LIB_HEADLESS=1 says no whatever else is the case.
    """
    if os.environ.get("SEG_LIB_HEADLESS") or not any(mark in os.environ for mark in LIVE_MARKS):
        return False
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def progress(batches: Iterable[Any], text: str, done: int, total: int) -> Iterable[Any]:
    """The same batches, with a bar while a person watches; ``done`` of ``total`` lie behind."""
    if not is_watched():
        return batches
    from tqdm.notebook import tqdm  # needs a live frontend

    return tqdm(batches, desc=text, initial=done, total=total, leave=False)


def read_history(out_dir: str | Path) -> dict[str, Any]:
    """Read history.json of a run folder: {"stopped", "config", "history"}.

    "stopped" is "epochs" or "early stopping" when the run is complete, "minutes" or "signal" when
    ``resume=True`` would continue it, and None if it is running or was killed.

    Raises:
        InputError: there is none, or it is not what ``fit`` writes.
    """
    path = Path(out_dir) / "history.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["history"] = list(content["history"])
        return {name: content[name] for name in ("stopped", "config", "history")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: no readable history of a run; name the run's folder.") from error


def loss_log_text(history: Sequence[Row], started: str, finished: str | None = None) -> str:
    """The validated epochs in the layout of source 000's ``loss_log.txt``.

    ``mean`` is the mean Dice. As in the source, a task with one foreground class fills only the
    column ptv; a validation that returns "ptv", "ctv" or "gtv" itself fills those. A run that never
    validates has its training loss and nothing else.
    """
    lines = ["", "", started, ", ".join(LOSS_LOG_COLUMNS)]
    for row in [row for row in history if {"val_loss", "score"} & row.keys()] or history:
        cells = [f"{row['epoch']}", f"{row.get('val_loss', row['loss']):.3f}"]
        dice = row.get("dice", row.get("score"))
        if dice is not None:
            classes = [row[name] for name in LOSS_LOG_CLASSES if name in row] or [dice]
            cells += [f"{dice:.6f}", *(f"{value:.3f}" for value in classes)]
        lines.append(", ".join(cells))
    return "\n".join([*lines, *([f"\nFinished at {finished}"] if finished else []), ""])


def write_logs(
    out_dir: Path, history: Sequence[Row], config: Row, started: str, stopped: str | None = None
) -> None:
    """Write history.json and loss_log.txt; ``stopped`` is None while the run goes on."""
    content = {"stopped": stopped, "config": config, "history": list(history)}
    write_text(out_dir / "history.json", json.dumps(content, indent=1) + "\n")
    finished = now() if stopped in ("epochs", "early stopping") else None
    write_text(out_dir / "loss_log.txt", loss_log_text(history, started, finished))


def read_loss_log(path: str | Path) -> list[Row]:
    """Read a loss log of ours or of source 000, with commas or tabs, with or without "organs".

    Returns:
        One {"epoch": int, "loss": float, "mean": float, "ptv": float, …} a line; columns that the
        line leaves empty are left out.

    Raises:
        InputError: no header, or a line that is not numbers; names the line.

    Source: trainer.py of https://github.com/tvseg/MM-LLM-RO and the log printed in source 000.
    """
    columns: list[str] = []
    rows = []
    for number, line in enumerate(_lines(Path(path)), start=1):
        cells = [cell.strip() for cell in re.split(r"[,\t]", line)]
        if cells[0] == "epoch":
            columns = cells
        elif columns and cells[0].isdigit():
            rows.append(_loss_log_row(path, number, columns, cells))
        elif columns and re.fullmatch(r"[\s\d.,]*\d[\s\d.,]*", ",".join(cells[1:])):
            raise InputError(f"{path}, line {number}: {line.strip()!r} is no row of a loss log.")
    if not columns:
        raise InputError(f"{path}: no header 'epoch, loss, mean, …'; this is not a loss log.")
    return rows


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); check the path.") from error


def _loss_log_row(path: str | Path, number: int, columns: list[str], cells: list[str]) -> Row:
    try:
        values = [float(cell) if cell else None for cell in cells]
    except ValueError as error:
        raise InputError(f"{path}, line {number}: {error}; every cell is a number.") from error
    # Several foreground classes may follow the last named column; they have no name to go by.
    row: Row = {name: v for name, v in zip(columns, values, strict=False) if v is not None}
    return row | {"epoch": int(cells[0])}


def event_writer(out_dir: Path, first_epoch: int) -> Any:
    """A TensorBoard writer for ``out_dir/events``.

    Args:
        out_dir: the run's folder.
        first_epoch: events of this epoch and later, written before the run was killed, are void.
    """
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(out_dir / "events", purge_step=first_epoch)


def clear_run(out_dir: Path) -> None:
    """Remove the files of an earlier run, so that none is mistaken for the new run's."""
    if not any((out_dir / name).exists() for name in OF_TRAINING):
        return  # no run: a README.md or results.csv is somebody's own
    events = (out_dir / "events").glob("events.out.tfevents.*")
    for path in [*(out_dir / name for name in OF_TRAINING + OF_TEST), *events]:
        path.unlink(missing_ok=True)


def write_events(writer: Any, row: Row) -> None:
    """Write the numbers of one epoch as TensorBoard scalars."""
    for name, value in row.items():
        if name != "epoch":
            writer.add_scalar(name, value, row["epoch"])
    writer.flush()


def now() -> str:
    """The date line of the loss log, such as ``Mon Aug  5 06:50:34 2024``."""
    return time.strftime("%c")
