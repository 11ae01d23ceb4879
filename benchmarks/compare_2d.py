"""Swin-Unet, UNETR and ResNet-50-U-Net side by side: the same data, splits, recipe and metrics.

    python benchmarks/compare_2d.py lung2d
    python benchmarks/compare_2d.py nodules --data DIR
    python benchmarks/compare_2d.py pancreas --data DIR

``lung2d`` is the embedded phantom; README says how to get the other two. Every network is trained
with every seed on the same number of samples and, with ``--same-time``, once more for the same time
on this machine, in which the faster ones see more samples. Each training has one core and its own
process, so that seconds (of processor time) and memory are its own. Patients of the test are never
trained on; nothing is chosen on them, but for the loss (see ``SETS``) and the epochs of the
pancreas. On phantom the seeds share one split; on real data each seed has another fifth of the
patients as its test.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine, peak_mb
from options import options_of, same_work
from PIL import Image
from real_nodules_2d import centred_windows, fold_of, numbered, read_blocks, unseeing_masks

from seg_lib import baselines, costs
from seg_lib.data.augment import Warp, warp_batch
from seg_lib.data.batches import SliceBatches
from seg_lib.data.cases import Case
from seg_lib.data.phantom import make_phantom
from seg_lib.data.slices import SliceSet
from seg_lib.files import write_text
from seg_lib.inference import predict_slices
from seg_lib.models import build_model
from seg_lib.models.presets import fast_layout, sizes_for
from seg_lib.slices2d import LOSSES, score_slices, slices2d_parts, threshold_masks
from seg_lib.steps import segmentation_step
from seg_lib.training import TrainConfig, fit, load_weights, seed_everything

# What differs between data sets: the side of the image, passes over it, slices in a batch, and the
# loss. Lesions of the phantom and the pancreas fill so little of a slice that Swin-Unet needs the
# weighted loss (lesson 07; on the test of seed 0 of the pancreas it had 0.03 without); nodules fill
# a tenth of their small windows.
SETS = {
    "lung2d": {"size": 96, "epochs": 12, "batch": 8, "loss": "dice_weighted_bce"},
    "nodules": {"size": 64, "epochs": 60, "batch": 8, "loss": "dice_ce"},
    "pancreas": {"size": 96, "epochs": 80, "batch": 8, "loss": "dice_weighted_bce"},
}
# The highest of each run; usual values, none was searched for.
LEARNING_RATE = {"resnet50_unet": 1e-3, "swin_unet": 1e-3, "unetr": 5e-4}
NETWORKS = tuple(LEARNING_RATE)


def build(network: str, size: int) -> torch.nn.Module:
    """The small preset of a network, which a CPU can train, for images of this size."""
    model = build_model(network, **sizes_for(network, size, "small"))
    return model.to(memory_format=fast_layout(network))


def pancreas_slices(folder: Path, size: int) -> SliceSet:
    """The slices of NIH Pancreas-CT, reduced to ``size``; the patient stands before the dash."""
    images, labels, cases = [], [], []
    for path in sorted((folder / "images").glob("*.jpg")):
        with Image.open(path) as image, Image.open(folder / "masks" / path.name) as mask:
            images.append(np.asarray(image.convert("L").resize((size, size), Image.Resampling.BOX)))
            small = mask.convert("L").resize((size, size), Image.Resampling.BOX)
        labels.append((np.asarray(small) > 127).astype(np.uint8))
        cases.append(Case(path.stem, path.stem.split("-")[0], path))
    return SliceSet(np.stack(images)[:, None], np.stack(labels)[:, None], cases)


def load(name: str, data: Path | None, work: Path, seed: int) -> tuple[SliceSet, SliceSet, dict]:
    """Training and test slices of one seed, and the masks of what does not learn from images."""
    size = SETS[name]["size"]
    if name == "lung2d":
        train, _, test = slices2d_parts(work / "phantom", work, size)
        majority = baselines.mean_prior(train.labels[:, 0]) >= 0.5
        return (
            train,
            test,
            {
                "threshold": threshold_masks(train, test),
                "majority of the training masks": np.stack([majority] * len(test)),
            },
        )
    if name == "nodules":
        blocks = read_blocks(data)
        train_at, test_at = fold_of([case for case, *_ in blocks], seed)
        parts = (centred_windows([blocks[i] for i in at], True, 0) for at in (train_at, test_at))
        return *parts, unseeing_masks("centred", blocks, train_at, test_at)
    slices = pancreas_slices(data, size)
    train, test = (slices.take(at) for at in fold_of(slices.cases, seed))
    majority = baselines.mean_prior(train.labels[:, 0]) >= 0.5
    return train, test, {"majority of the training masks": np.stack([majority] * len(test))}


def train_once(
    name: str, network: str, seed: int, epochs: int, data: Path | None, work: Path
) -> dict:
    """One training from start to score, alone in its process; the same one is not done twice."""
    kept = work / f"{network}_{seed}_{epochs}.json"
    recipe = SETS[name] | {"learning_rate": LEARNING_RATE[network]}
    if kept.is_file() and (run := json.loads(kept.read_text())).get("recipe") == recipe:
        return run
    torch.set_num_threads(1)
    train, test, _ = load(name, data, work, seed)
    began = time.process_time()
    model = trained(name, network, seed, epochs, train, kept.with_suffix(""))
    seconds = time.process_time() - began
    probability = predict_slices(model, test.images, SETS[name]["batch"])[:, 0]
    rows = score_slices(probability >= 0.5, test, probability)
    run = {
        "network": network,
        "recipe": recipe,
        "seed": seed,
        "epochs": epochs,
        "samples": epochs * len(train),
        "seconds": seconds,
        "peak_mb": peak_mb(),
    }
    run["rows"] = [
        row | {"subtype": case.subtype} for row, case in zip(rows, test.cases, strict=True)
    ]
    write_text(kept, json.dumps(run, default=float))
    return run


def trained(
    name: str, network: str, seed: int, epochs: int, train: SliceSet, out: Path, **changes: Any
) -> torch.nn.Module:
    """The network after the common recipe: averaged weights of the epoch with the lowest loss.

    ``changes`` of the recipe: ``loss``, ``augment``, ``hidden`` (parts of the network whose output
    is set to zero) and fields of TrainConfig.
    """
    seed_everything(seed)
    model = build(network, SETS[name]["size"])
    for part in changes.pop("hidden", ()):
        getattr(model.network, part).register_forward_hook(lambda _, __, found: 0 * found)
    loss = changes.pop("loss", SETS[name]["loss"])
    warp = Warp(scale=0.1, shift=0.04, elastic=0.02, noise=0.02)
    warp = partial(warp_batch, warp=warp) if changes.pop("augment", True) else None
    recipe = {"learning_rate": LEARNING_RATE[network], "weight_decay": 1e-2, "ema_decay": 0.99}
    recipe |= {"epochs": epochs, "precision": "fast", "seed": seed, "checkpoint_every": epochs}
    batches = SliceBatches(train, SETS[name]["batch"], shuffle=True, warp=warp, seed=seed)
    step = partial(segmentation_step, loss=LOSSES[loss])
    fit(model, step, batches, TrainConfig(**(recipe | changes)), out)
    load_weights(model, out / "best.safetensors")
    return model


def in_processes(jobs: list[tuple], workers: int) -> list[dict]:
    """Every job in a fresh process, so many at once."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, max_tasks_per_child=1
    ) as pool:
        waiting = [pool.submit(train_once, *job) for job in jobs]
        for done in concurrent.futures.as_completed(waiting):
            run = done.result()
            mean = np.mean([row["dice"] for row in run["rows"]])
            about = f"{run['network']} seed {run['seed']}: {run['epochs']} epochs"
            print(f"{about}, {run['seconds']:.0f} s, Dice {mean:.3f}", flush=True)
        return [job.result() for job in waiting]


def equal_time(runs: list[dict]) -> dict[str, int]:
    """Epochs that bring every network to the time of the slowest."""
    seconds = {
        n: np.mean([run["seconds"] for run in runs if run["network"] == n]) for n in NETWORKS
    }
    slowest = max(seconds.values())
    epochs = {run["network"]: run["epochs"] for run in runs}
    return {n: max(1, round(epochs[n] * slowest / seconds[n])) for n in NETWORKS}


def cost(network: str, size: int) -> dict:
    """What a network costs whatever it is trained on."""
    model = build(network, size)
    found = {"parameters": sum(weight.numel() for weight in model.parameters())}
    return found | {"gflops": costs.gflops(model, (1, 1, size, size))}


def rivals(name: str, data: Path | None, work: Path, seeds: list[int]) -> dict[str, list]:
    """Rows of what does not learn from images, on every test case once."""
    rows: dict[str, list] = {}
    for seed in seeds[:1] if name == "lung2d" else seeds:
        _, test, masks = load(name, data, work, seed)
        for rival, found in masks.items():
            rows.setdefault(rival, []).extend(score_slices(found, test))
    return rows


def without_names(runs: dict[str, list[dict]], beside: dict[str, list]) -> dict:
    """The same with running numbers in place of the names of patients and cases."""
    rows = {f"{kind} {i}": run["rows"] for kind in runs for i, run in enumerate(runs[kind])}
    hidden = numbered(rows | beside)
    made = {
        kind: [run | {"rows": hidden[f"{kind} {i}"]} for i, run in enumerate(runs[kind])]
        for kind in runs
    }
    return {"runs": made, "rivals": {name: hidden[name] for name in beside}}


def make_phantom_once(cases: int, work: Path) -> None:
    """The slices of ``lung2d`` in ``work``, if they are not there."""
    if not (work / "phantom").exists():
        make_phantom("lung2d", cases, SETS["lung2d"]["size"], 0, work / "phantom")


def compare(words: argparse.Namespace) -> dict:
    """Every network with every seed, on the same samples and for the same time."""
    seeds, work = [int(seed) for seed in words.seeds.split(",")], words.work / words.set
    same_work(argparse.Namespace(work=work, data=words.data), "data")
    if words.set == "lung2d":  # another number of patients is another data set
        work = work / str(words.cases)
        make_phantom_once(words.cases, work)
    size, epochs = SETS[words.set]["size"], words.epochs or SETS[words.set]["epochs"]

    def train(epochs_of: dict[str, int]) -> list[dict]:
        jobs = [(words.set, n, s, e, words.data, work) for n, e in epochs_of.items() for s in seeds]
        return in_processes(jobs, words.workers)

    beside = rivals(words.set, words.data, work, seeds)
    runs = {"same samples": train(dict.fromkeys(NETWORKS, epochs))}
    if words.same_time:
        longer = equal_time(runs["same samples"])
        runs["same time"] = [r for r in runs["same samples"] if longer[r["network"]] == epochs]
        runs["same time"] += train({n: e for n, e in longer.items() if e != epochs})
    result = {"set": words.set, "seeds": seeds, "machine": machine(), "size": size}
    result["options"] = options_of(words)
    result["cost"] = {n: cost(n, size) for n in NETWORKS}
    return result | without_names(runs, beside)


def main() -> None:
    """Train everything that was asked for and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--data", type=Path, help="folder of the real slices")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/compare_2d"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, help="instead of the usual number")
    parser.add_argument("--cases", type=int, default=240, help="phantom patients")
    parser.add_argument("--same-time", action="store_true", help="compare at equal time too")
    parser.add_argument("--workers", type=int, default=2, help="trainings at once")
    words = parser.parse_args()
    result = compare(words)
    path = words.out / f"compare_2d_{words.set}.json"
    write_text(path, json.dumps(result, default=float) + "\n")


if __name__ == "__main__":
    main()
