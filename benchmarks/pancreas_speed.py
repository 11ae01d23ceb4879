"""Faster inference, one thing changed at a time: source 004's wish list on lesson 17's network.

    python benchmarks/pancreas_speed.py

Every way predicts the same patients of another seed, each time in a process of its own, because
peak memory is one number of a process; the ways take turns, and seconds are medians over the
turns. The row called "float32" is the one that the others change: windows overlap by half, two at
once, no mirror images. The coarse pass is a smaller network on larger voxels that looks first, as
in ``seg-lib predict --coarse``, and its seconds count; no such pass can beat the box around the
true organ. A second table has scans with twice as many voxels along each axis, as scanners give
them: there the labels must be brought back to the grid of the file. TF32 needs a GPU and is not
here.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pancreas_runs
import torch
from int8 import OnnxNetwork, write_int8
from machine import machine, peak_mb
from options import once, options_of

from seg_lib import multitask
from seg_lib.data.cases import read_cases
from seg_lib.data.nifti import Volume, read_image, read_mask
from seg_lib.data.phantom import make_phantom
from seg_lib.data.subtyped_patches import lesion_patch
from seg_lib.data.volumes import Preparation, box_around, prepare, put_back
from seg_lib.evaluation import bootstrap_interval, paired_difference
from seg_lib.export import to_onnx
from seg_lib.figure_style import SERIES, STYLE, new_figure, save_figure
from seg_lib.files import write_text
from seg_lib.inference import SlidingWindow, slide_in_part
from seg_lib.models import build_model
from seg_lib.multitask_inference import as_batch, one_lesion
from seg_lib.multitask_scores import score_case
from seg_lib.predictions import windows_of
from seg_lib.trained import load_trained
from seg_lib.training import load_checkpoint, load_weights

USUAL, EARLY = "float32", "labels, then resampled"
WAYS: dict[str, dict[str, Any]] = {  # name -> what differs from the usual way
    "mirror images, as nnU-Net": {"flips": True},
    USUAL: {},
    "one window at once": {"batch_size": 1},
    "four windows at once": {"batch_size": 4},
    "a quarter of overlap": {"overlap": 0.25},
    "a coarse pass first": {"coarse": True},
    "the box around the true organ only": {"box": True},
    "half the channels": {"network": "light"},
    "torch.compile": {"network": "compiled"},
    "ONNX Runtime": {"network": "onnx"},
    "ONNX Runtime, int8": {"network": "int8"},
    "bfloat16": {"precision": "bf16"},
    "bfloat16, a quarter of overlap": {"precision": "bf16", "overlap": 0.25},
    EARLY: {"fine": True},
    "logits resampled, then labels": {"fine": True, "late": True},
}
OWN = ("coarse", "box", "network", "fine", "late")  # the others are fields of SlidingWindow
CALIBRATION = 16  # patches by which int8 chooses its scales
TICKS_S = (0.25, 0.5, 1, 2, 4, 8)
LIGHT = (4, 8, 16, 32)  # channels of the stages, half of the preset's
# Of the coarse pass: one window holds the 135 x 90 x 120 mm that a phantom shows, or a bit more.
COARSE = {"spacing_mm": (4.0, 4.0, 6.0), "patch": (40, 32, 28), "features": LIGHT}
MARGIN_MM = 6.0  # around its finds, as little as a slice of it: the phantom ends 8 mm away


def prepare_networks(words: argparse.Namespace, parts: multitask.Parts) -> None:
    """What the ways need beside the trained network, each made once."""
    needed = {WAYS[name].get("network") for name in words.only}
    if "light" in needed:
        light, out = pancreas_runs.lesson(words, features=LIGHT), words.work / "light"
        once(out, lambda: multitask.train_multitask(parts, out, light, words.seed))
    if any(WAYS[name].get("coarse") for name in words.only):
        coarse, out = pancreas_runs.lesson(words, **COARSE), words.work / "coarse"
        raw = words.work / "raw" / "Dataset001_Pancreas"
        again = partial(multitask.multitask_parts, raw, words.work, coarse)
        once(out, lambda: multitask.train_multitask(again(), out, coarse, words.seed))
    if needed & {"onnx", "int8"} and not (words.work / "network.onnx").is_file():
        to_onnx(words.work / "ours", words.work / "network.onnx")
    if "int8" in needed and not (words.work / "int8.onnx").is_file():
        some, patch = parts[0][:CALIBRATION], pancreas_runs.lesson(words).patch
        images = (lesion_patch(v.image, v.label, patch).numpy() for v in some)
        write_int8(words.work / "network.onnx", words.work / "int8.onnx", images)


def network(kind: str, words: argparse.Namespace) -> torch.nn.Module:
    """The trained network, or what takes its place."""
    if kind in ("onnx", "int8"):
        return OnnxNetwork(words.work / {"onnx": "network.onnx", "int8": "int8.onnx"}[kind])
    if kind == "light":
        sizes = multitask.sizes_of(pancreas_runs.lesson(words, features=LIGHT))
        model = build_model("multitask_unet3d", **sizes)
        load_weights(model, words.work / "light" / "best.safetensors")
        return model.eval()
    model = pancreas_runs.network(words)
    return torch.compile(model) if kind == "compiled" else model


def on_grid(model: torch.nn.Module, volume: Volume, how: Preparation, way: dict) -> np.ndarray:
    """Labels (X, Y, Z) on the grid of the file; only a ``late`` way resamples logits."""
    slide = {name: value for name, value in way.items() if name not in OWN}
    if way.get("fine"):  # the network has seen voxels twice as long
        how = dataclasses.replace(how, spacing_mm=tuple(2 * mm for mm in volume.spacing_mm))
    ready = prepare(volume, how)
    logits = slide_in_part(model, as_batch(ready), SlidingWindow(**slide), ready)
    if not way.get("late"):
        return put_back(one_lesion(logits), ready.place)
    channels = [put_back(channel, ready.place) for channel in logits[0].numpy()]
    return one_lesion(torch.from_numpy(np.stack(channels))[None])


def run_way(name: str, words: argparse.Namespace) -> None:
    """In a process of its own: predict every case; print seconds, the peak and the rows."""
    torch.set_num_threads(words.threads)
    way = {"patch": tuple(pancreas_runs.lesson(words).patch), "overlap": 0.5} | WAYS[name]
    folder = words.work / (f"fine_{words.timed}" if way.get("fine") else "judged")
    cases = read_cases(folder)[: words.timed]
    model = network(way.get("network", "usual"), words)
    _, about = load_checkpoint(words.work / "ours" / "best.safetensors")
    coarse = load_trained(words.work / "coarse") if way.get("coarse") else None
    about["coarse"], rows = coarse and (coarse, MARGIN_MM), []
    for case in [cases[0], *cases]:  # the first call warms up, compiles
        volume = read_image(case.image)
        organ = read_mask(case.label, n_classes=multitask.N_CLASSES).array > 0
        began = time.perf_counter()
        how, _ = windows_of(about, volume)
        if way.get("box"):
            how = dataclasses.replace(how, part=box_around(organ, (0, 0, 0)))
        labels = on_grid(model, volume, how, way)
        took = time.perf_counter() - began
        rows.append(score_case(case, labels) | {"seconds": took})
    first, *rows = rows
    peak = peak_mb()
    print(json.dumps({"first": first["seconds"], "peak_mb": peak, "rows": rows}, default=float))


def in_process(name: str, words: argparse.Namespace) -> dict:
    """What `run_way` prints for a way."""
    call = [sys.executable, __file__, "--way", name, "--work", words.work]
    call += ["--profile", words.profile, "--cases", words.cases, "--timed", words.timed]
    call += ["--threads", words.threads, "--seed", words.seed]
    call += ["--epochs", words.epochs] if words.epochs else []
    done = subprocess.run(list(map(str, call)), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def table(turns: dict[str, list[dict]]) -> dict[str, dict]:
    """Medians over the turns, means over the cases, differences case by case."""
    found, seconds = {}, {}
    for name, runs in turns.items():
        seconds[name] = np.median([[row["seconds"] for row in run["rows"]] for run in runs])
    for name, runs in turns.items():
        base = EARLY if WAYS[name].get("fine") else USUAL
        rows, usual = runs[-1]["rows"], turns[base][-1]["rows"]
        row = {"seconds": seconds[name], "times_faster": seconds[base] / seconds[name]}
        row |= {"first_s": runs[-1]["first"], "peak_mb": max(run["peak_mb"] for run in runs)}
        for measure in ("dice", "lesion_dice"):
            values, others = ([r[measure] for r in each] for each in (rows, usual))
            low, high = bootstrap_interval(values)
            row[measure] = {"mean": np.mean(values), "low": low, "high": high}
            row[measure]["minus"] = paired_difference(values, others)
        found[name] = row
    return found


@matplotlib.rc_context(STYLE)
def draw(rows: dict[str, dict], path: Path) -> None:
    """Dice of the lesion against seconds a case, one point a way."""
    figure = new_figure(8.0, 4.2)
    axes = figure.subplots()
    shown = {name: row for name, row in rows.items() if not WAYS[name].get("fine")}
    quick_first = sorted(shown, key=lambda name: shown[name]["seconds"])
    for number, (name, row) in enumerate(shown.items(), start=1):
        colour = SERIES[(number - 1) % len(SERIES)]
        at = (row["seconds"], row["lesion_dice"]["mean"])
        axes.plot(*at, "o", ms=9, color=colour, label=f"{number}  {name}")
        up = 8 + 12 * (quick_first.index(name) % 4)  # so that the numbers of neighbours stay apart
        axes.annotate(str(number), at, (0, up), textcoords="offset points", ha="center")
    axes.set(xscale="log", xlabel="seconds a case, one core", ylabel="Dice of the lesion")
    axes.set_xticks(TICKS_S, list(map(str, TICKS_S)))
    axes.minorticks_off()
    axes.set_ylim(-0.05, 1.05)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    save_figure(figure, path)


def main() -> None:
    """Prepare what is needed, let the ways take turns, write table and figure."""
    parser = pancreas_runs.parser(__doc__)
    parser.add_argument("--figures", type=Path, default=Path("figures"))
    parser.add_argument("--timed", type=int, default=20, help="cases")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--only", nargs="*", choices=WAYS, default=list(WAYS), help="ways, float32 always"
    )
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.way:
        return run_way(words.way, words)
    torch.set_num_threads(words.threads)
    parts, _ = pancreas_runs.data(words)
    pancreas_runs.trained(words, parts)
    prepare_networks(words, parts)
    fine = words.work / f"fine_{words.timed}"
    if not (fine / "cases.csv").is_file():
        size = tuple(2 * side for side in pancreas_runs.lesson(words).size)
        make_phantom("pancreas", words.timed, size, pancreas_runs.JUDGED_SEED, fine)
    needed = {USUAL, *words.only}
    needed |= {EARLY} if any(WAYS[name].get("fine") for name in needed) else set()
    turns: dict[str, list[dict]] = {name: [] for name in WAYS if name in needed}
    for turn in range(words.rounds):
        for name in turns:
            turns[name].append(in_process(name, words))
            took = np.median([row["seconds"] for row in turns[name][-1]["rows"]])
            print(turn, name, f"{took:.3f} s", flush=True)
    result = {"options": options_of(words), "machine": machine()}
    result |= {"n": len(turns[USUAL][0]["rows"]), "rounds": words.rounds, "ways": table(turns)}
    path = words.out / "pancreas_speed.json"
    write_text(path, json.dumps(result, indent=1, default=float) + "\n")
    draw(result["ways"], words.figures / "pancreas_speed.png")


if __name__ == "__main__":
    main()
