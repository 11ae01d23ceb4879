"""What a network costs: parameters, operations, seconds of a step. Taught in notebook 09."""

import copy
import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from seg_lib.memory import has_bf16
from seg_lib.models import build_model
from seg_lib.steps import segmentation_step
from seg_lib.training import TrainConfig, build_optimizer

# Of the step in ``slowness``: benchmarks/training_speed.py, where budgets were set.
STEP_S = {"no": 1.165, "fast": 0.515}


def parameters(model: nn.Module) -> int:
    """Numbers that training can change."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def gflops(model: nn.Module, shape: Sequence[int]) -> float:
    """10^9 floating-point operations of one forward pass; a multiplication and an addition are two.

    Counts convolutions, matrix products and attention, as `torch.utils.flop_counter` does.

    Args:
        model: stays in the mode it is in.
        shape: of the image, with the batch.
    """
    shapes_only = copy.deepcopy(model).to("meta")  # nothing is computed
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes_only(torch.zeros(tuple(shape), device="meta"))
    return counter.get_total_flops() / 1e9


def step_seconds(
    model: nn.Module, shape: Sequence[int], precision: str = "no", steps: int = 5
) -> float:
    """Seconds of one training step (forward, backward, AdamW), the median of ``steps``.

    Args:
        model: is trained on noise; throw it away afterwards.
        shape: of the image, with the batch.
        precision: "no" is float32; "bf16" runs the forward pass in bfloat16 where that is safe.
        steps: measured after two that warm up.
    """
    device = next(model.parameters()).device
    image = torch.rand(tuple(shape), device=device)
    batch = {"image": image, "label": (image[:, :1] > 0.9).long()}
    optimizer = build_optimizer(model.train(), TrainConfig())
    took = []
    for _ in range(steps + 2):
        began = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = segmentation_step(model, batch)["loss"]
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - began)
    return statistics.median(took[2:])


def slowness(precision: str = "no") -> float:
    """How many times longer a training step takes here than where budgets were measured; 1 to 4.

    Args:
        precision: "no" is float32; "fast" is bfloat16 where the processor has it, as the budgets'
            had, and float32 elsewhere.
    """
    half = "bf16" if precision == "fast" and has_bf16("cpu") else "no"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = build_model("unetr", image_size=128, hidden=384, heads=6)
        seconds = step_seconds(model, (8, 1, 128, 128), half, steps=2)
        return min(max(seconds / STEP_S[precision], 1.0), 4.0)
    finally:
        torch.set_num_threads(threads)
