"""Several processes that train one network: how many there are, who goes first, what they agree on.

Under ``torchrun`` (or `accelerate.notebook_launcher`) the same program runs once a process. Each
takes its own batches; torch's DistributedDataParallel averages the gradients, so all take the same
step. What DDP leaves open is settled here. In a single process every function is free and does
nothing. Taught in notebook 19.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch

from seg_lib.errors import InputError

# While one process validates or converts, the others wait; one that died is noticed by torchrun.
PATIENCE = timedelta(hours=6)


def n_processes() -> int:
    """How many processes train together, as the launcher said."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def batch_per_process(batch_size: int) -> int:
    """The share of a batch that one process takes; a recipe does not change with their number.

    Raises:
        InputError: it cannot be shared equally; gradients of unequal shares would weigh alike.
    """
    n = n_processes()
    if batch_size % n:
        fitting = [k for k in range(1, batch_size + 1) if batch_size % k == 0]
        raise InputError(
            f"A batch of {batch_size} cannot be shared by {n} processes; "
            f"start {' or '.join(map(str, fitting))} of them."
        )
    return batch_size // n


def process_state() -> Any:
    """Accelerate's PartialState: device, rank, and the open connection to the other processes.

    gloo carries it between CPUs and NCCL between GPUs. The launcher has chosen a free port.
    """
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=bool(cpu), timeout=PATIENCE)


@contextlib.contextmanager
def main_process_first() -> Iterator[bool]:
    """Run the block in the main process, then in the others; yields True in the main process."""
    if n_processes() == 1:
        yield True
        return
    state = process_state()
    with state.main_process_first():
        yield state.is_main_process


@contextlib.contextmanager
def connected() -> Iterator[bool]:
    """Yield True in the main process; at a good end, hang up (else torch complains at the exit)."""
    main = n_processes() == 1 or process_state().is_main_process
    yield main
    if n_processes() > 1:
        process_state().destroy_process_group()


def same_everywhere(value: Any) -> Any:
    """``value`` as the main process has it, so that several processes decide alike."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


def mean_of_all(number: float) -> float:
    """The mean of the numbers that the processes hold: of equal shares, that of the whole batch."""
    from accelerate.utils import gather_object

    numbers = gather_object([number])
    return math.fsum(numbers) / len(numbers)


def first_of_all(reason: str | None) -> str | None:
    """The first reason that any process has; a signal to one of them is a signal to all."""
    from accelerate.utils import gather_object

    return next(filter(None, gather_object([reason])), None)
