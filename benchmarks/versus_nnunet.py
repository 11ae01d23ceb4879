"""nnU-Net itself beside our network of lesson 17: same cases, split, metrics, steps, then time.

    python3 -m venv nn && nn/bin/pip install nnunetv2==2.8.1
    python benchmarks/versus_nnunet.py --nnunet nn/bin/python

nnU-Net runs in an environment of its own, on the CPU as here, and plans, prepares, trains and
predicts by its own code. Three trainings: a network of our size (its stages, patch and patches a
step are ours) for as many optimiser steps as ours and for as long as ours by the clock, and the
network that it plans itself for as long as ours. It predicts with mirror images, as it does by
default. Every label file is judged by our metrics, on patients of another seed, and differences
are taken case by case. Then the same files are predicted in turn by both, several times: seconds
are those of reading, preparing, predicting and writing.
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pancreas_runs
import torch
from machine import machine
from options import options_of

from seg_lib import multitask
from seg_lib.course.profiles import Settings
from seg_lib.data.cases import Case
from seg_lib.data.nifti import read_image, read_mask, write_mask
from seg_lib.data.volumes import Preparation, prepare, put_back
from seg_lib.evaluation import bootstrap_interval, paired_difference
from seg_lib.files import write_text
from seg_lib.inference import SlidingWindow, sliding_window
from seg_lib.multitask import N_CLASSES
from seg_lib.multitask_inference import as_batch, one_lesion, sliding_for
from seg_lib.multitask_scores import score_case

HERE = Path(__file__).parent
OURS = "seg_lib, as lesson 17"
SAME_STEPS = "nnU-Net, network of our size, as many steps"
AS_PLANNED = "nnU-Net, as it plans itself, as long"
COSTS = ("seconds", "steps", "patches", "parameters")
MEASURES = ("dice", "lesion_dice", "lesion_hd95_mm")
THEIR_WAYS = {"nnU-Net, mirror images": True, "nnU-Net": False}
OUR_WAYS = {  # nnU-Net's windows overlap by half too
    "seg_lib, mirror images": {"flips": True, "precision": "no"},
    "seg_lib": {"flips": False, "precision": "no"},
    "seg_lib, fast precision": {"flips": False, "precision": "fast"},
}


class NnUnet:
    """nnU-Net in its own Python, with its folders below ``work``."""

    def __init__(self, python: Path, work: Path, threads: int):
        self.python, self.work, self.threads = python, work, threads

    def ask(self, do: str, results: str = "results", **order: Any) -> dict:
        """The answer of `nnunet_itself.py` to an order; all that it prints is kept in a file."""
        names = {"raw": "raw", "preprocessed": "preprocessed", "results": results}
        folders = {f"nnUNet_{name}": str(self.work / folder) for name, folder in names.items()}
        environment = os.environ | folders | {"nnUNet_n_proc_DA": "1"}
        order |= {"do": do, "threads": self.threads}
        call = [self.python, HERE / "nnunet_itself.py", json.dumps(order)]
        done = subprocess.run(call, capture_output=True, text=True, env=environment)
        write_text(self.work / f"{results}_{do}.log", done.stdout + done.stderr)
        if done.returncode:
            raise SystemExit(f"nnU-Net could not {do}:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def predict(
        self, results: str, folder: str, cases: list[Case], out: Path, mirror: bool
    ) -> float:
        """Seconds for these cases, whose label files come into ``out``."""
        files = {"images": [str(case.image) for case in cases]}
        files |= {"out": [str(out / case.label.name) for case in cases]}
        return self.ask("predict", results, folder=folder, mirroring=mirror, **files)["seconds"]


def our_network(sizes: Settings) -> dict[str, Any]:
    """The sizes of our network as nnU-Net writes them: z, y, x."""
    ours = multitask.sizes_of(sizes)
    turned = {name: [list(axes)[::-1] for axes in ours[name]] for name in ("strides", "kernels")}
    return turned | {
        "features": list(ours["features"]),
        "blocks": list(ours["blocks"]),
        "patch": list(sizes.patch)[::-1],
        "batch_size": sizes.batch_size,
    }


def predict_ours(
    model: torch.nn.Module, cases: list[Case], how: Preparation, slide: SlidingWindow, out: Path
) -> float:
    """Seconds from files to files."""
    began = time.perf_counter()
    for case in cases:
        volume = read_image(case.image)
        ready = prepare(volume, how)
        labels = one_lesion(sliding_window(model, as_batch(ready), slide))
        write_mask(out / case.label.name, put_back(labels, ready.place), volume)
    return time.perf_counter() - began


def judged(cases: list[Case], folder: Path) -> list[dict]:
    """Rows of the label files in a folder."""
    found = ((case, read_mask(folder / case.label.name, n_classes=N_CLASSES)) for case in cases)
    return [score_case(case, mask.array) for case, mask in found]


def quality_row(rows: list[dict], ours: list[dict], cost: dict) -> dict:
    """Means with intervals, paired differences from ours, and the cost."""
    found = {name: cost[name] for name in COSTS}
    for name in MEASURES:
        values = [row[name] for row in rows]
        low, high = bootstrap_interval(values)
        found[name] = {"mean": float(np.mean(values)), "low": low, "high": high}
        if rows is not ours:
            found[name]["minus_ours"] = paired_difference(values, [row[name] for row in ours])
    return found


def train_theirs(
    nnunet: NnUnet, words: argparse.Namespace, cost: dict, cases: list[Case]
) -> dict[str, dict]:
    """The three trainings of nnU-Net, each done once: what it cost and where it lies."""
    small, work, found = our_network(pancreas_runs.lesson(words)), nnunet.work, {}
    trainings = {
        SAME_STEPS: (small, cost["steps"], None),
        "nnU-Net, network of our size, as long": (small, None, cost["seconds"]),
        AS_PLANNED: (None, None, cost["seconds"]),
    }
    if words.only_our_size:
        del trainings[AS_PLANNED]
    for number, (name, (network, steps, seconds)) in enumerate(trainings.items()):
        results = f"results_{number}"
        kept, out = work / f"{results}.json", work / "predicted" / results
        if not kept.is_file():
            order = {"network": network, "steps": steps, "seconds": seconds, "seed": words.seed}
            done = nnunet.ask("train", results, **order)
            nnunet.predict(results, done["folder"], cases, out, True)
            write_text(kept, json.dumps(done | {"predicted": str(out)}))
        found[name] = json.loads(kept.read_text())
        print(name, found[name], flush=True)
    return found


def time_all(
    nnunet: NnUnet, words: argparse.Namespace, folder: str, cases: list[Case], how: Preparation
) -> dict:
    """Seconds a case of every way, taken in turn, and what each way of ours does to Dice."""
    model, seconds, rows = pancreas_runs.network(words), {}, {}
    patch, out = tuple(pancreas_runs.lesson(words).patch), words.work / "timed"
    for turn in range(words.rounds):
        for name, mirror in THEIR_WAYS.items():
            took = nnunet.predict("results_0", folder, cases, out / "theirs", mirror)
            seconds.setdefault(name, []).append(took / len(cases))
        for name, way in OUR_WAYS.items():
            slide = SlidingWindow(patch, 0.5, **way)
            predict_ours(model, cases[:1], how, slide, out / "ours")  # the first call warms up
            took = predict_ours(model, cases, how, slide, out / "ours")
            seconds.setdefault(name, []).append(took / len(cases))
            rows[name] = judged(cases, out / "ours")
        print(turn, {name: round(found[-1], 2) for name, found in seconds.items()}, flush=True)
    found = {name: {"seconds": float(np.median(times))} for name, times in seconds.items()}
    exact = [row["dice"] for row in rows[next(iter(OUR_WAYS))]]
    for name, judged_rows in rows.items():
        values = [row["dice"] for row in judged_rows]
        found[name] |= {"dice": float(np.mean(values)), "n": len(cases)}
        found[name] |= {"minus_mirrored": paired_difference(values, exact)}
    return found


def asked() -> argparse.Namespace:
    """The words of the command line."""
    parser = pancreas_runs.parser(__doc__)
    parser.add_argument("--nnunet", type=Path, required=True, help="Python that has nnunetv2")
    parser.add_argument("--timed", type=int, default=8, help="cases for the seconds")
    parser.add_argument("--rounds", type=int, default=3, help="of the seconds")
    parser.add_argument("--threads", type=int, default=2)
    why = "leave out the network that nnU-Net plans: 20 of its steps may take an hour"
    parser.add_argument("--only-our-size", action="store_true", help=why)
    return parser.parse_args()


def main() -> None:
    """Train both, judge both, time both, and write the result."""
    words = asked()
    torch.set_num_threads(words.threads)
    sizes, (parts, cases) = pancreas_runs.lesson(words), pancreas_runs.data(words)
    nnunet, plan = NnUnet(words.nnunet, words.work, words.threads), words.work / "plan.json"
    split = {"train": [v.case.case for v in parts[0]], "val": [v.case.case for v in parts[1]]}
    if not plan.is_file():
        write_text(plan, json.dumps(nnunet.ask("prepare", **split)))
    cost, how = pancreas_runs.trained(words, parts), parts[0][0].how
    out = words.work / "predicted" / "ours"
    predict_ours(pancreas_runs.network(words), cases, how, sliding_for(sizes.patch), out)
    ours = judged(cases, out)
    theirs = train_theirs(nnunet, words, cost, cases)
    result = {"cases": [len(parts[0]), len(parts[1]), len(cases)], "machine": machine()}
    result["options"] = options_of(words)
    result |= {"plan": json.loads(plan.read_text()), "table": {OURS: quality_row(ours, ours, cost)}}
    for name, done in theirs.items():
        rows = judged(cases, Path(done["predicted"]))
        result["table"][name] = quality_row(rows, ours, done)
    path = words.out / "versus_nnunet.json"
    write_text(path, json.dumps(result, indent=1, default=float) + "\n")
    timed = cases[: words.timed]
    result["seconds"] = time_all(nnunet, words, theirs[SAME_STEPS]["folder"], timed, how)
    write_text(path, json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
