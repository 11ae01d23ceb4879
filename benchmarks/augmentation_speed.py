"""How fast is augmentation? The albumentations recipe and warp_batch in turn, in one process.

    python benchmarks/augmentation_speed.py [--repeats 30] [--out benchmarks/results/....json]

Slices of 256 x 256 with masks, in batches of 8, one thread, as in a training process that leaves
the other cores alone. All rotate, flip, bend and change brightness and contrast; warp_batch also
zooms and shifts, and does all of it to every slice. The recipe of the lessons takes each step with
a probability and skips much of the work, so albumentations runs twice: with every step, which is
the like-for-like rival, and as in the lessons. Processor time, which on one thread is the time on
the clock of a machine with nothing else to do. Ratios travel, milliseconds do not.
"""

import argparse
import json
import statistics
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from machine import machine

from seg_lib.data.augment import Warp, slice_augmentation, warp_batch
from seg_lib.files import write_text

SIZE, BATCH = 256, 8
EVERY_STEP, AS_TAUGHT = "albumentations, every step", "albumentations, as in the lessons"
OURS, WITH_NOISE = "warp_batch", "warp_batch with noise"


def slices(seed=0):
    """(B, H, W) uint8 smooth random images, and masks of one nodule of 10 pixels each."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(0, 256, (BATCH, 16, 16), np.uint8)
    images = coarse.repeat(SIZE // 16, 1).repeat(SIZE // 16, 2)
    y, x = np.ogrid[:SIZE, :SIZE]
    centres = chance.integers(60, SIZE - 60, (BATCH, 2))
    masks = np.stack([(y - cy) ** 2 + (x - cx) ** 2 <= 25 for cy, cx in centres])
    return images, masks.astype(np.uint8)


def contestants():
    """Name -> a call that augments one batch, given a seed."""
    images, masks = slices()
    every_step = slice_augmentation()
    for step in every_step.compose.transforms:
        step.p = 1.0
    image = torch.from_numpy(images)[:, None].float() / 255
    label = torch.from_numpy(masks)[:, None].long()

    def one_by_one(augment, seed):
        pairs = enumerate(zip(images, masks, strict=True))
        drawn = [augment(i, m, seed * BATCH + n) for n, (i, m) in pairs]
        image = torch.from_numpy(np.stack([i for i, _ in drawn]))[:, None].float() / 255
        return image, torch.from_numpy(np.stack([m for _, m in drawn]))[:, None].long()

    def at_once(warp, seed):
        return warp_batch(image, label, torch.Generator().manual_seed(seed), warp)

    return {
        EVERY_STEP: partial(one_by_one, every_step),
        AS_TAUGHT: partial(one_by_one, slice_augmentation()),
        OURS: partial(at_once, Warp(noise=0.0)),
        WITH_NOISE: partial(at_once, Warp()),
    }


def measure(repeats):
    """Let each contestant augment in turn, ``repeats`` times: {name: [ms per slice, ...]}."""
    calls = contestants()
    for call in calls.values():
        call(0)  # warms up
    times = {name: [] for name in calls}
    for seed in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call(seed)
            times[name].append(1000 * (time.process_time() - start) / BATCH)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/augmentation_speed.json")
    )
    arguments = parser.parse_args()
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    times = measure(arguments.repeats)
    median = {name: statistics.median(t) for name, t in times.items()}
    rows = {
        name: {
            "median_ms_per_slice": round(median[name], 3),
            "fastest_ms_per_slice": round(min(times[name]), 3),
            "every_step_over_this": round(median[EVERY_STEP] / median[name], 2),
            "as_taught_over_this": round(median[AS_TAUGHT] / median[name], 2),
        }
        for name in times
    }
    for name, row in rows.items():
        print(f"{name:34}", *(f"{value:10}" for value in row.values()))
    about = machine() | {"albumentations": version("albumentations")}
    result = {"machine": about, "size": SIZE, "batch": BATCH, "repeats": arguments.repeats}
    write_text(arguments.out, json.dumps(result | {"results": rows}, indent=2) + "\n")
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
