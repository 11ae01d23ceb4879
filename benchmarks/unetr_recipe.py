"""Why a small UNETR learns or fails: the recipe with one thing changed at a time.

    python benchmarks/unetr_recipe.py nodules --data DIR
    python benchmarks/unetr_recipe.py lung2d

The same patients, seed and test (fold 0) as `compare_2d.py`; every row is a training of its own,
and its difference from the unchanged recipe is taken nodule by nodule. The two rows with a part set
to zero are trained that way from the start: what is left must learn to do without.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
from pathlib import Path

import compare_2d
import numpy as np
import torch
from machine import machine
from options import options_of, same_work

from seg_lib.evaluation import paired_difference
from seg_lib.files import write_text
from seg_lib.inference import predict_slices
from seg_lib.slices2d import score_slices

TOKENS = ("encoder2", "encoder3", "encoder4", "decoder5")  # all that the transformer hands on
SGD = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 1e-4, "loss": "dice_ce"}
SOURCE_002 = {"momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "clip_norm": 0.0}
# "unchanged" is the recipe of compare_2d.py.
CHANGES = {
    "unchanged": {},
    "a third of the epochs": {"epochs": 1 / 3},
    "no augmentation": {"augment": False},
    "no moving average of the weights": {"ema_decay": 0.0},
    "learning rate 1e-4": {"learning_rate": 1e-4},
    "DiceCE without weights": {"loss": "dice_ce"},
    "SGD 0.1 with momentum 0.9, DiceCE": SGD,
    "SGD 0.1 as source 002, DiceCE": SGD | SOURCE_002,
    "no transformer": {"hidden": TOKENS},
    "no skip from the image": {"hidden": ("encoder1",)},
}
NOT_IN = {  # rows that would say nothing new there
    "nodules": {"DiceCE without weights"},
    "lung2d": {
        "a third of the epochs",
        "no augmentation",
        "no moving average of the weights",
        "learning rate 1e-4",
        "no transformer",
        "no skip from the image",
    },
}


def train_changed(name: str, change: str, epochs: int, data: Path | None, work: Path) -> list:
    """Rows of the test after one training; a training that is done is not done twice."""
    kept = work / f"{change.replace(' ', '_').replace(',', '')}_{epochs}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    torch.set_num_threads(1)
    train, test, _ = compare_2d.load(name, data, work, 0)
    changes = dict(CHANGES[change])
    epochs = round(epochs * changes.pop("epochs", 1))
    out = kept.with_suffix("")
    model = compare_2d.trained(name, "unetr", 0, epochs, train, out, **changes)
    probability = predict_slices(model, test.images)[:, 0]
    rows = score_slices(probability >= 0.5, test, probability)
    write_text(kept, json.dumps(rows, default=float))
    return rows


def main() -> None:
    """Train each row and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=["nodules", "lung2d"])
    parser.add_argument("--data", type=Path, help="folder of the real nodules")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/unetr_recipe"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--cases", type=int, default=240, help="phantom patients")
    words = parser.parse_args()
    words.work /= words.set
    same_work(words, "cases", "data")
    if words.set == "lung2d":
        compare_2d.make_phantom_once(words.cases, words.work)
    context = multiprocessing.get_context("spawn")
    names = [name for name in CHANGES if name not in NOT_IN[words.set]]
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        jobs = [
            pool.submit(train_changed, words.set, name, words.epochs, words.data, words.work)
            for name in names
        ]
        rows = {name: job.result() for name, job in zip(names, jobs, strict=True)}
    usual, patients = (
        [r["dice"] for r in rows["unchanged"]],
        [r["patient"] for r in rows["unchanged"]],
    )
    table = {}
    for name, found in rows.items():
        dice = [row["dice"] for row in found]
        table[name] = {"dice": float(np.mean(dice)), "found": float(np.mean(np.array(dice) > 0))}
        if name != "unchanged":
            table[name]["minus_unchanged"] = paired_difference(dice, usual, patients)
        print(name, table[name], flush=True)
    result = {"set": words.set, "epochs": words.epochs, "seed": 0, "machine": machine()}
    result["options"] = options_of(words)
    result |= {"n": len(usual), "patients": len(set(patients)), "table": table}
    path = words.out / f"unetr_recipe_{words.set}.json"
    write_text(path, json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
