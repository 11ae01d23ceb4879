"""Pancreas, lesion and subtype: the recipe with one thing changed at a time, on the phantom.

    python benchmarks/pancreas_multitask.py

Every row is a training of its own from the same data, seed and number of steps, judged on the same
patients of another seed, at whom nobody looked while the recipe was made; differences from the
first row are taken case by case.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch
from machine import machine
from options import options_of, same_work

from seg_lib import multitask
from seg_lib.classification import classification_summary
from seg_lib.course.profiles import settings
from seg_lib.data.augment3d import WISH_LIST, Augmentation3d
from seg_lib.data.cases import read_cases
from seg_lib.data.mixing import MIXES, Mixing
from seg_lib.data.patches import flips_and_greys
from seg_lib.data.phantom import make_phantom
from seg_lib.data.volumes import load_volumes
from seg_lib.evaluation import bootstrap_interval, paired_difference
from seg_lib.files import write_text
from seg_lib.multitask_scores import score_multitask

SGD = {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.99, "weight_decay": 3e-5}
USUAL = "together, as lesson 17"
CHANGES = {  # name -> (sizes, what train_multitask is given)
    USUAL: ({}, {}),
    "segmentation first, the head afterwards": ({"head": "afterwards"}, {}),
    "subtype counts three times as much": ({"share": 1.0}, {}),
    "head on the deepest stage": ({"stages": (3,)}, {}),
    "Adam 0.01, as source 004 says": (
        {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.0, "schedule": "poly"},
        {},
    ),
    "SGD 0.01 momentum 0.99, as source 004 ran": (SGD | {"schedule": "poly"}, {}),
    "no augmentation": ({}, {"augment": None}),
    "flips and greys only": ({}, {"augment": flips_and_greys}),
    "noise, blur and low resolution too, as nnU-Net": ({}, {"augment": Augmentation3d()}),
    "with elastic deformation": ({}, {"augment": WISH_LIST}),
    **{kind: ({}, {"mixing": Mixing(kind)}) for kind in MIXES},
}
SEEDS = (0, 2)  # of the cases to train on and of those judged; 1 was seen while the head was chosen
MEASURES = ("dice", "label1_dice", "lesion_dice", "lesion_hd95_mm")


def train_changed(name: str, parts: multitask.Parts, epochs: int, work: Path) -> dict:
    """Rows of the test and seconds after one training; one that is done is not done twice."""
    kept = work / f"{''.join(c if c.isalnum() else '_' for c in name)}_{epochs}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    usual = settings("17", "laptop")
    sizes, how = CHANGES[name]
    changed = dataclasses.replace(usual, sizes=dict(usual.sizes) | {"epochs": epochs} | sizes)
    began = time.perf_counter()
    model = multitask.train_multitask(parts, kept.with_suffix(""), changed, 0, **how)
    seconds = time.perf_counter() - began
    found = score_multitask(model, parts, changed) | {"seconds": seconds}
    write_text(kept, json.dumps(found, default=float))
    return found


def row_of(rows: list, usual: list) -> dict:
    """Means with intervals, differences from the usual recipe, and the classification."""
    found = {}
    for measure in MEASURES:
        values = [row[measure] for row in rows]
        low, high = bootstrap_interval(values)
        found[measure] = {"mean": float(np.mean(values)), "low": low, "high": high}
        if rows is not usual:
            found[measure] |= {"minus": paired_difference(values, [r[measure] for r in usual])}
    if "chances" in rows[0]:
        named = [int(np.argmax(row["chances"])) for row in rows]
        found["subtypes"] = classification_summary(named, [row["subtype"] for row in rows], 3)
    return found


def main() -> None:
    """Train each row and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/pancreas_multitask"))
    parser.add_argument("--cases", type=int, default=240, help="to train and validate")
    parser.add_argument("--judged", type=int, default=120, help="patients of another seed")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument(
        "--only", nargs="*", choices=CHANGES, default=list(CHANGES), help="names of rows"
    )
    parser.add_argument("--threads", type=int, default=1)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    same_work(words, "cases", "judged")
    size = settings("17", "laptop").size
    folders = []
    for seed, n in zip(SEEDS, (words.cases, words.judged), strict=True):
        folders.append(words.work / f"phantom_{seed}_{n}")
        if not (folders[-1] / "cases.csv").is_file():
            make_phantom("pancreas", n, size, seed, folders[-1])
    train, val, _ = multitask.multitask_parts(folders[0], words.work, settings("17", "laptop"), 0)
    judged = load_volumes(read_cases(folders[1]), train[0].how, multitask.N_CLASSES)
    parts = (train, val, judged)
    path, rows = words.out / "pancreas_multitask.json", {}
    result = {"cases": [len(p) for p in parts], "epochs": words.epochs, "machine": machine()}
    result["options"] = options_of(words, "cases", "judged", "epochs")
    for name in [USUAL, *(n for n in words.only if n != USUAL)]:
        found = train_changed(name, parts, words.epochs, words.work)
        rows[name] = found["network"]
        table = result.setdefault("table", {})
        table[name] = row_of(rows[name], rows[USUAL]) | {"seconds": found["seconds"]}
        if name == USUAL:
            table["atlas, blind"] = row_of(found["atlas"], rows[USUAL])
        write_text(path, json.dumps(result, indent=1, default=float) + "\n")
        print(name, {m: round(table[name][m]["mean"], 3) for m in MEASURES}, flush=True)


if __name__ == "__main__":
    main()
