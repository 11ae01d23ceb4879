"""Sliding-window inference: MONAI as usually called, and as seg_lib calls it.

    python benchmarks/inference_speed.py

A small 3D U-Net is trained on the phantom first: what bfloat16 does to Dice cannot be seen on
random weights. Then the same volumes are predicted in turn by every way, several times, each way
in its own process, because the C library's handling of memory is one setting of a process. The
weights of seg_lib's ways lie in memory as `seg_lib.tasks` lays those of a trained network. Times
are of one core; ratios are between medians of the same run. The ways in bfloat16 are left out on a
processor that has none. Peak memory is that of a scan of 512 x 512 x 400 voxels with two classes.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from machine import machine, peak_mb
from options import once, options_of, same_work
from overlap import windows_of

from seg_lib import evaluation, volumes3d
from seg_lib.course.profiles import Settings, settings
from seg_lib.data.nifti import Volume
from seg_lib.data.phantom import make_phantom
from seg_lib.data.volumes import Preparation
from seg_lib.files import write_text
from seg_lib.inference import SlidingWindow, foreground_of, predict_volume, sliding_window
from seg_lib.memory import has_bf16
from seg_lib.models import build_model
from seg_lib.models.presets import fast_layout, sizes_for
from seg_lib.training import load_weights

WINDOW = (96, 64, 48)
OVERLAP = 0.5
# name -> how: kept memory and fast layout, windows at once (None: its choice), precision, box
WAYS = {
    "MONAI, one window at once": (False, 1, "no", "body"),
    "MONAI, four windows at once": (False, 4, "no", "body"),
    "seg_lib, float32": (True, None, "no", "body"),
    "seg_lib, float32, lung box": (True, None, "no", "lungs"),
    "seg_lib, bfloat16": (True, None, "bf16", "body"),
    "seg_lib, bfloat16, lung box": (True, None, "bf16", "lungs"),
}
if not has_bf16("cpu"):  # it would be emulated, and slower than float32
    WAYS = {name: how for name, how in WAYS.items() if how[2] == "no"}


def lesson(words: argparse.Namespace) -> Settings:
    """The sizes of lesson 10, with the numbers asked for."""
    usual = settings("10", "laptop")
    sizes = dict(usual.sizes) | {"n_cases": words.cases, "epochs": words.epochs, "patches": 16}
    return Settings("10", "laptop", sizes | {"size": tuple(words.size)})


def trained(words: argparse.Namespace) -> list[volumes3d.Prepared]:
    """Train once; the volumes that were not trained on."""
    sizes, folder = lesson(words), words.work / "phantom"
    if not folder.exists():
        make_phantom("lung3d", words.cases, sizes.size, 0, folder)
    parts = volumes3d.volumes3d_parts(folder, words.work, sizes, 0)
    run = words.work / "run"
    once(run, lambda: volumes3d.train_volumes(parts, run, sizes, 0))
    return [*parts[1], *parts[2]]


def network(words: argparse.Namespace) -> torch.nn.Module:
    """The trained network."""
    model = build_model("unet3d", **sizes_for("unet3d", 0, "small"))
    load_weights(model, words.work / "run" / "best.safetensors")
    return model


def monai_plain(model: torch.nn.Module, image: torch.Tensor, at_once: int) -> torch.Tensor:
    """MONAI's function, called as in its tutorials."""
    from monai.inferers import sliding_window_inference

    how = {"overlap": OVERLAP, "mode": "gaussian"}
    with torch.inference_mode():
        return sliding_window_inference(image, WINDOW, at_once, model.eval(), **how)


def run_way(name: str, words: argparse.Namespace) -> None:
    """In a process of its own: predict every volume, print seconds and probabilities' file."""
    importlib.import_module("monai.inferers")  # takes seconds, and not for a prediction
    torch.set_num_threads(1)
    kept, at_once, precision, box = WAYS[name]
    model, how = network(words), Preparation(box=box)
    if kept:
        model = model.to(memory_format=fast_layout("unet3d"))
    volumes = [volumes3d.load_channels([v.case], how)[0] for v in trained(words)[: words.volumes]]
    sliding = SlidingWindow(WINDOW, OVERLAP, batch_size=at_once, precision=precision)
    seconds, found, windows = 0.0, [], 0
    for volume in volumes:
        image = torch.from_numpy(volume.image)[None, None]
        began = time.perf_counter()
        logits = (
            sliding_window(model, image, sliding) if kept else monai_plain(model, image, at_once)
        )
        seconds += time.perf_counter() - began
        windows += windows_of(volume.image.shape, WINDOW, OVERLAP)
        found.append((foreground_of(logits), volume))
    rows = evaluation.evaluate_cases(
        (v.case.case, v.case.patient, p >= 0.5, v.label, v.spacing_mm) for p, v in found
    )
    if box == "body":
        np.savez(words.work / f"{list(WAYS).index(name)}.npz", *[p for p, _ in found])
    print(json.dumps({"seconds": seconds, "windows": windows, "dice": [r["dice"] for r in rows]}))


def peak_of_a_large_scan() -> None:
    """In a process of its own: predict 512 x 512 x 400 voxels, print the peak in bytes."""

    class Two(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([-image, image - 0.5], 1)

    hu = np.zeros((512, 512, 400), np.float32)
    volume = Volume(hu, np.eye(4), np.eye(4), hu.shape, Path("made-up"))
    predict_volume(Two(), volume, Preparation(box="all"), SlidingWindow((160, 160, 64), OVERLAP))
    print(json.dumps(peak_mb() * 1e6))


def in_process(words: argparse.Namespace, *more: str) -> object:
    """What this file prints when it is called with ``more``."""
    call = [sys.executable, __file__, "--work", str(words.work), "--cases", str(words.cases)]
    call += ["--epochs", str(words.epochs), "--volumes", str(words.volumes)]
    call += ["--size", *map(str, words.size), *more]
    out = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    """Train, time every way in turn, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/inference_speed"))
    parser.add_argument("--cases", type=int, default=40, help="phantom patients")
    parser.add_argument("--size", type=int, nargs=3, default=(160, 160, 64), help="voxels")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--volumes", type=int, default=6, help="predicted in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.way:
        return run_way(words.way, words)
    if words.peak:
        return peak_of_a_large_scan()
    same_work(words, "cases", "size", "epochs")
    trained(words)
    runs: dict[str, list] = {name: [] for name in WAYS}
    for _ in range(words.rounds):
        for name in WAYS:
            runs[name].append(in_process(words, "--way", name))
    first = np.load(words.work / "0.npz")
    table = []
    for i, (name, found) in enumerate(runs.items()):
        path = words.work / f"{i}.npz"
        other = np.load(path) if path.is_file() else None
        change = max(float(abs(first[k] - other[k]).max()) for k in first) if other else None
        row = {"way": name, "seconds": [run["seconds"] for run in found], "change": change}
        table.append(row | {"windows": found[0]["windows"], "dice": found[0]["dice"]})
    result = {"options": options_of(words), "machine": machine()}
    result |= {"window": WINDOW, "overlap": OVERLAP, "rows": table}
    result["peak_bytes_512x512x400"] = in_process(words, "--peak")
    write_text(words.out / "inference_speed.json", json.dumps(result) + "\n")
    slow = np.median(table[0]["seconds"])
    for row in table:
        seconds = np.median(row["seconds"])
        dice = np.mean(row["dice"])
        print(f"{row['way']:30s} {seconds:6.2f} s, {slow / seconds:.2f} times, Dice {dice:.3f}")
    print(f"peak memory of 512 x 512 x 400: {result['peak_bytes_512x512x400'] / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
