"""Eight bits instead of thirty-two: a 2D network quantised after training, or trained for it.

    python benchmarks/quantised_2d.py

After training, every convolution gets 8-bit weights, and maps of 8 or 16 bits (ONNX Runtime).
Training for it goes on for a few epochs with the weights and the input of every convolution rounded
to 8 bits in each forward pass, while the gradient passes as if nothing had been rounded; then it is
quantised in the same way. Its control goes on as long without rounding. Dice of the same test
slices, milliseconds a slice and the size of the file.

Source: Jacob et al. 2018, https://arxiv.org/abs/1712.05877.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from int8 import OnnxNetwork, write_int8
from machine import machine
from options import once, options_of, same_work
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seg_lib import slices2d
from seg_lib.course.profiles import Settings, settings
from seg_lib.data.augment import slice_augmentation
from seg_lib.data.batches import SliceBatches
from seg_lib.data.phantom import make_phantom
from seg_lib.evaluation import bootstrap_interval, paired_difference
from seg_lib.export import to_onnx
from seg_lib.files import write_text
from seg_lib.inference import predict_slices
from seg_lib.slices2d import score_slices
from seg_lib.steps import segmentation_step
from seg_lib.trained import load_trained
from seg_lib.training import TrainConfig, fit, save_checkpoint

CALIBRATION = 8  # batches of training slices on which the scales of the maps are chosen


def sizes_of(words: argparse.Namespace) -> Settings:
    """The sizes of lesson 06, with the numbers asked for."""
    usual = settings("06", words.profile)
    sizes = dict(usual.sizes) | {"n_cases": words.cases, "epochs": words.epochs}
    return Settings("06", words.profile, sizes)


class Rounded(nn.Module):
    """A weight (out, …) with 255 levels for each output channel, 0 in their middle."""

    def forward(self, weight: Tensor) -> Tensor:
        """The nearest levels; the gradient passes."""
        scale = weight.detach().abs().flatten(1).amax(1).clamp_min(1e-8) / 127
        zero = torch.zeros(len(scale), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


def round_input(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """The input of a convolution with 256 levels from its least to its largest value."""
    low, high = inputs[0].detach().aminmax()
    low, high = low.clamp(max=0), high.clamp(min=1e-6)
    scale = (high - low) / 255
    zero = torch.round(-low / scale).int()
    return torch.fake_quantize_per_tensor_affine(inputs[0], scale, zero, 0, 255)


def go_on(
    run: Path, parts: slices2d.Parts, words: argparse.Namespace, rounded: bool, out: Path
) -> None:
    """Train the network of ``run`` for some more epochs."""
    found = load_trained(run)
    model = found.model.train()
    convolutions = [part for part in model.modules() if rounded and isinstance(part, nn.Conv2d)]
    for part in convolutions:
        parametrize.register_parametrization(part, "weight", Rounded())
    hooks = [part.register_forward_pre_hook(round_input) for part in convolutions]
    lower = sizes_of(words).learning_rate / 10
    config = TrainConfig(epochs=words.more, learning_rate=lower, schedule="constant")
    batches = SliceBatches(parts[0], 8, True, slice_augmentation(), seed=1)
    fit(model, partial(segmentation_step, loss=slices2d.dice_weighted_bce), batches, config, out)
    for part, hook in zip(convolutions, hooks, strict=True):
        parametrize.remove_parametrizations(part, "weight", leave_parametrized=False)
        hook.remove()
    save_checkpoint(out / "best.safetensors", model.state_dict(), found.about)


def judge(run: Path, parts: slices2d.Parts, map_bits: int, words: argparse.Namespace) -> dict:
    """Dice of every test slice, milliseconds a slice and megabytes, in ONNX Runtime.

    ``map_bits`` is 8 or 16 beside weights of 8 bits, or 32 for the network as it is.
    """
    file = run / "network.onnx"
    if not file.is_file():
        to_onnx(run, file)
    if map_bits < 32:
        source, file = file, run / f"maps_of_{map_bits}.onnx"
        images = parts[0].images[: 8 * CALIBRATION].astype(np.float32) / 255
        write_int8(source, file, np.array_split(images, CALIBRATION), map_bits)
    model, test = OnnxNetwork(file), parts[2]
    seconds = []
    for _ in range(words.rounds):
        began = time.perf_counter()
        masks = predict_slices(model, test.images)[:, 0] >= 0.5
        seconds.append(time.perf_counter() - began)
    dice = [row["dice"] for row in score_slices(masks, test)]
    return {"dice": dice, "ms": 1000 * min(seconds) / len(test), "mb": file.stat().st_size / 1e6}


def table(found: dict[str, dict], patients: list[str]) -> dict[str, dict]:
    """Means with intervals, and differences from the first row by patient."""
    rows, first = {}, next(iter(found.values()))["dice"]
    for name, one in found.items():
        low, high = bootstrap_interval(one["dice"], patients)
        rows[name] = {"ms": one["ms"], "mb": one["mb"], "n": len(patients)}
        rows[name]["dice"] = {"mean": float(np.mean(one["dice"])), "low": low, "high": high}
        rows[name]["dice"]["minus"] = paired_difference(one["dice"], first, patients)
    return rows


def main() -> None:
    """Train, go on twice, quantise all three, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/quantised_2d"))
    parser.add_argument("--profile", default="laptop", help="sizes of lesson 06")
    parser.add_argument("--cases", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--more", type=int, default=4, help="epochs to go on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    same_work(words, "profile", "cases", "epochs", "more")
    sizes, data = sizes_of(words), words.work / "phantom"
    if not data.exists():
        make_phantom("lung2d", words.cases, sizes.phantom_size, 0, data)
    parts, first = slices2d.slices2d_parts(data, words.work, sizes.size, 0), words.work / "first"
    once(first, lambda: slices2d.train_slices(parts, first, sizes, 0))
    longer, rounded = words.work / "longer", words.work / "rounded"
    once(longer, lambda: go_on(first, parts, words, False, longer))
    once(rounded, lambda: go_on(first, parts, words, True, rounded))
    runs = {"trained": first, f"{words.more} epochs more": longer}
    runs[f"{words.more} epochs more, rounded to 8 bits"] = rounded
    found = {}
    for name, run in runs.items():
        for bits, kind in {32: "float32", 8: "int8", 16: "int8, maps of 16 bits"}.items():
            found[f"{name}, {kind}"] = judge(run, parts, bits, words)
    result = {
        "options": options_of(words),
        "machine": machine(),
        "rows": table(found, parts[2].patients),
    }
    path = words.out / "quantised_2d.json"
    write_text(path, json.dumps(result, indent=1, default=float) + "\n")
    for name, row in result["rows"].items():
        print(name, row, flush=True)


if __name__ == "__main__":
    main()
