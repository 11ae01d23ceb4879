"""Four 3D networks side by side, and whole volumes beside patches: the question of source 003.

    python benchmarks/compare_3d.py

Small networks on phantom patients (``lung3d``). Each network is trained on the same number of
patches with each of two learning rates; the validation patients choose the rate, and the test
patients, of whom nothing was chosen, are judged once. The first network is trained once more on
whole lung boxes, for as many seconds as it took on patches. Each training has one core and its own
process, so that seconds (of processor time) and memory are its own.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine, peak_mb
from options import options_of, same_work

from seg_lib import costs, evaluation, volumes3d
from seg_lib.course.profiles import Settings, settings
from seg_lib.data.phantom import make_phantom
from seg_lib.files import write_text
from seg_lib.memory import keep_memory
from seg_lib.models import build_model
from seg_lib.models.presets import sizes_for

NETWORKS = ("unet3d", "monai_unet", "segresnet", "swin_unetr")
PATCH = (64, 32, 32)  # Swin UNETR halves each axis five times, and more than one voxel must be left
WHOLE = "unet3d, whole volumes"
SEED = 1  # of the patients; the recipe of lesson 10 was made on those of seed 0


def lesson(words: argparse.Namespace, **more: Any) -> Settings:
    """The sizes of lesson 10 on larger patches, with the numbers asked for."""
    usual = settings("10", "laptop")
    more = {"patches": words.patches, "epochs": words.epochs} | more
    more = {"patch": PATCH, "batch_size": 2} | more
    never = {"validate_every": 10**6}  # the last epoch is always validated, and no other is chosen
    return Settings("10", "laptop", dict(usual.sizes) | never | more)


def parts_of(words: argparse.Namespace) -> volumes3d.Parts:
    """The phantom patients: to train, to choose the learning rate, to judge."""
    return volumes3d.volumes3d_parts(words.work / "phantom", words.work, lesson(words), 0)


def box_of(parts: volumes3d.Parts, divisor: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest patch that holds every lung box."""
    largest = np.max([volume.image.shape for part in parts for volume in part], axis=0)
    return tuple(int(-(-n // d) * d) for n, d in zip(largest, divisor, strict=True))


def train_once(words: argparse.Namespace, network: str, rate: float, seconds: float = 0.0) -> dict:
    """One training from start to score, alone in its process; the same one is not done twice.

    With ``seconds``: on whole volumes, for as long.
    """
    kept = words.work / f"{network}_{rate:g}{'_whole' if seconds else ''}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    keep_memory()
    torch.set_num_threads(1)
    sizes, parts = lesson(words, network=network, learning_rate=rate), parts_of(words)
    if seconds:
        box = box_of(parts, build_model(network, **sizes_for(network, 0, "small")).divisor)
        whole = {"patch": box, "batch_size": 1, "patches": 1, "epochs": 10**5, "loss": "dice_ce"}
        sizes = lesson(words, network=network, learning_rate=rate, schedule="constant", **whole)
    began = time.process_time()
    model = volumes3d.train_volumes(
        parts, kept.with_suffix(""), sizes, 0, minutes=seconds / 60 if seconds else None
    )
    run = {"network": network, "rate": rate, "seconds": time.process_time() - began}
    run |= {"patch": sizes.patch, "batch": sizes.batch_size}
    run["peak_mb"] = peak_mb()
    run["val"], run["test"] = (volumes3d.score_volumes(model, p, sizes) for p in parts[1:])
    write_text(kept, json.dumps(run, default=float))
    return run


def in_processes(words: argparse.Namespace, jobs: list[tuple]) -> list[dict]:
    """Every job in a fresh process, so many at once; with 0 in this one, for a first look."""
    if not words.workers:
        return [train_once(words, *job) for job in jobs]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        words.workers, mp_context=context, max_tasks_per_child=1
    ) as pool:
        waiting = [pool.submit(train_once, words, *job) for job in jobs]
        return [job.result() for job in waiting]


def mean_of(run: dict, part: str) -> float:
    """Mean Dice of a part."""
    return float(np.mean([row["dice"] for row in run[part]]))


def row_of(run: dict, first: dict) -> dict:
    """What the table shows of a training: quality with intervals, and what it cost."""
    summary = evaluation.summarise(run["test"])
    row = {key: run[key] for key in ("rate", "seconds", "peak_mb", "patch", "batch")}
    row |= {key: summary[key] for key in ("dice", "hd95_mm")}
    row["missed"] = sum(case["dice"] < 0.05 for case in run["test"])
    model = build_model(run["network"], **sizes_for(run["network"], 0, "small"))
    row |= {"parameters": costs.parameters(model), "gflops": costs.gflops(model, (1, 1, *PATCH))}
    if run is not first:
        both = ([case["dice"] for case in one["test"]] for one in (run, first))
        row["minus_first"] = evaluation.paired_difference(*both)
    return row


def main() -> None:
    """Train everything, choose the rates, judge, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/compare_3d"))
    parser.add_argument("--cases", type=int, default=120, help="phantom patients")
    parser.add_argument("--size", type=int, nargs=3, default=(160, 160, 32), help="voxels")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--patches", type=int, default=2, help="of each patient in an epoch")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 4e-3])
    parser.add_argument(
        "--workers", type=int, default=2, help="trainings at once; 0: no own memory"
    )
    words = parser.parse_args()
    same_work(words, "cases", "size", "epochs", "patches")
    if not (words.work / "phantom" / "cases.csv").is_file():
        make_phantom("lung3d", words.cases, tuple(words.size), SEED, words.work / "phantom")
    done = in_processes(words, [(name, rate) for name in NETWORKS for rate in words.rates])
    tried = {name: [run for run in done if run["network"] == name] for name in NETWORKS}
    best = {name: max(found, key=lambda run: mean_of(run, "val")) for name, found in tried.items()}
    first = best[NETWORKS[0]]
    best[WHOLE] = in_processes(words, [(NETWORKS[0], first["rate"], first["seconds"])])[0]
    result = {"options": options_of(words), "machine": machine()}
    result["cases"] = [len(part) for part in parts_of(words)]
    result["val_dice"] = {name: [mean_of(run, "val") for run in tried[name]] for name in NETWORKS}
    result["table"] = {name: row_of(run, first) for name, run in best.items()}
    write_text(words.out / "compare_3d.json", json.dumps(result, indent=1, default=float) + "\n")
    for name, row in result["table"].items():
        print(f"{name}: Dice {row['dice']['mean']:.3f}, {row['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
