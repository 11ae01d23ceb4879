"""3D U-Net on real lung nodules (LIDC-IDRI), beside ellipsoids that do not look at the image.

    python benchmarks/real_nodules_3d.py --data DIR

DIR holds image/ and nodule_mask/ with one NIfTI block a nodule; README says how to get the public
collection. Five folds by patient, the same as in real_nodules_2d.py: every nodule is predicted
once, by a network that has not seen its patient, and scored as a whole block on the grid of its
file.

Blocks keep their own voxels (0.46 to 0.98 mm in the slice, 0.45 to 2.5 mm between slices):
resampling to 1 mm and back alone costs what the row "truth through 1 mm" shows, and on fold 0 a
network on 0.7 x 0.7 x 1.25 mm reached 0.814 where this one has 0.856 after fewer epochs. Most of
the network looks along the slice, the deeper half along all axes. Blocks are cut around the nodule,
so its place and size can be guessed: see the rows that do not look. The masks lie a little beside
the nodules (`MASK_OFFSET`, see real_nodules_2d.py); labels are moved back before they are turned,
predictions are moved forth.
"""

import argparse
import dataclasses
import itertools
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import machine, peak_mb
from options import options_of
from real_nodules_2d import MASK_OFFSET, fold_of, numbered, summary_of
from scipy import ndimage
from unseeing import central_component, centre_ellipsoid
from volume_warp import warp_volumes

from seg_lib import baselines, evaluation
from seg_lib.data.augment import Warp
from seg_lib.data.cases import Case
from seg_lib.data.nifti import read_image, read_mask
from seg_lib.data.patches import PatchBatches
from seg_lib.data.volumes import Preparation, Prepared, prepare, put_back, resampled
from seg_lib.files import write_text
from seg_lib.inference import SlidingWindow, foreground_of, sliding_window
from seg_lib.models import build_model
from seg_lib.run_log import read_history
from seg_lib.steps import segmentation_step
from seg_lib.tasks import dice_line
from seg_lib.training import TrainConfig, fit, load_weights, seed_everything

PREPARATION = Preparation(spacing_mm=None, box="all")
PATCH = (48, 48, 8)
NETWORK = {
    "features": (16, 32, 64, 128),
    "blocks": (1, 1, 1, 1),
    "strides": [(2, 2, 1), (2, 2, 1), (2, 2, 2)],
    "kernels": [(3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3)],
}
BESIDE = (-MASK_OFFSET[1], -MASK_OFFSET[0])  # along x and y, which run against columns and rows


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """One nodule: ready for the network, and its mask as drawn."""

    ready: Prepared
    truth: np.ndarray  # (X, Y, Z) uint8, on the grid of the file
    spacing_mm: tuple[float, float, float]


def read_blocks(folder: Path, how: Preparation = PREPARATION) -> list[Block]:
    """Every nodule of the folder, prepared."""
    blocks = []
    for path in sorted((folder / "image").glob("*.nii*")):
        volume = read_image(path)
        truth = read_mask(folder / "nodule_mask" / path.name, like=volume).array
        name = path.name.split(".")[0]
        case = Case(name, name.split("_R_")[0], path)
        ready = dataclasses.replace(prepare(volume, how, truth), case=case)
        blocks.append(Block(ready, truth, volume.spacing_mm))
    return blocks


def train_network(train: list[Block], out: Path, words: argparse.Namespace) -> torch.nn.Module:
    """Train on one fold. No validation set: the moving average of the weights needs no choice."""
    seed_everything(words.seed)
    model = build_model("unet3d", **NETWORK)
    config = TrainConfig(
        epochs=words.epochs,
        learning_rate=words.learning_rate,
        weight_decay=1e-2,
        ema_decay=0.995,
        precision="fast",
        seed=words.seed,
        checkpoint_every=words.epochs,
    )
    warp = Warp(rotation_deg=180, elastic=0, scale=0.1, shift=0.03, noise=0.02, label_offset=BESIDE)
    ready = [block.ready for block in train]
    augment = partial(warp_volumes, warp=warp)
    batches = PatchBatches(ready, PATCH, words.batch, 1, 1.0, augment, words.seed)
    about = {"task": "volumes3d", "network": "unet3d", "sizes": NETWORK, "patch": list(PATCH)}
    about["preparation"] = dataclasses.asdict(PREPARATION)
    resume = (out / "last.safetensors").is_file()  # a fold that is done is not trained again
    fit(model, segmentation_step, batches, config, out, resume=resume, about=about)
    load_weights(model, out / "best.safetensors")
    return model


def predicted(model: torch.nn.Module, block: Block, words: argparse.Namespace) -> np.ndarray:
    """The mask of a block, on the grid of its file."""
    how = SlidingWindow(PATCH, flips=True, skip_air=False, precision="fast")
    image = torch.from_numpy(block.ready.image)[None, None]
    probability = put_back(foreground_of(sliding_window(model, image, how)), block.ready.place)
    return ndimage.shift(probability, (*BESIDE, 0), order=1, mode="nearest") >= 0.5


def ellipsoids(train: list[Block], test: list[Block]) -> list[np.ndarray]:
    """Drawn from the size of a block alone, tuned on the training blocks."""
    weights = widths_from_sizes(train)

    def ellipsoid(block: Block, factors: tuple[float, float]) -> np.ndarray:
        width = float(sizes_of(block) @ weights) * factors[0]
        in_slice = max(width, 1.0) / (np.array(block.truth.shape[:2]) * block.spacing_mm[:2])
        return centre_ellipsoid(block.truth.shape, (*in_slice, factors[1]))

    factors = list(itertools.product(np.arange(0.8, 1.3, 0.05), np.arange(0.8, 1.6, 0.1)))
    best, _ = baselines.tune(ellipsoid, train, [block.truth for block in train], factors)
    return [ellipsoid(block, best) for block in test]


def rivals(train: list[Block], test: list[Block]) -> dict[str, list[np.ndarray]]:
    """What does not learn from images, tuned on the training blocks; and the cost of resampling."""
    truths = [block.truth for block in train]

    def ball(block: Block, width_mm: float) -> np.ndarray:
        part = width_mm / (np.array(block.truth.shape) * block.spacing_mm)
        return centre_ellipsoid(block.truth.shape, part)

    width_mm, _ = baselines.tune(ball, train, truths, np.arange(4.0, 30.0, 1.0))

    def threshold(block: Block, how: tuple[float, float]) -> np.ndarray:
        image = put_back(block.ready.image, block.ready.place)
        disc = centre_ellipsoid(block.truth.shape, (how[1], how[1], 1.5))
        return central_component((image >= how[0]) & (disc > 0))

    choices = list(itertools.product(np.arange(0.25, 0.65, 0.05), np.arange(0.3, 1.01, 0.1)))
    how, _ = baselines.tune(threshold, train, truths, choices)
    return {
        "ellipsoid from the block's size": ellipsoids(train, test),
        "ball in the centre": [ball(block, width_mm) for block in test],
        "threshold": [threshold(block, how) for block in test],
        "truth through 1 mm and back": [through_1_mm(block) for block in test],
    }


def sizes_of(block: Block) -> np.ndarray:
    """One, and height and width of a block in mm: what can be known of a nodule without looking."""
    n_x, n_y, n_z = block.truth.shape
    dx, dy, dz = block.spacing_mm
    return np.array([1.0, n_z * dz, max(n_x * dx, n_y * dy)])


def widths_from_sizes(train: list[Block]) -> np.ndarray:
    """Weights that guess the width of a nodule in the slice, mm, from ``sizes_of`` its block."""
    widths = []
    for block in train:
        area = block.truth.sum((0, 1)).max() * block.spacing_mm[0] * block.spacing_mm[1]
        widths.append(2 * np.sqrt(area / np.pi))
    return np.linalg.lstsq(np.stack([sizes_of(b) for b in train]), np.array(widths), rcond=None)[0]


def through_1_mm(block: Block) -> np.ndarray:
    """The true mask resampled to 1 mm and back: what that alone costs."""
    shape = [
        max(1, round(n * mm)) for n, mm in zip(block.truth.shape, block.spacing_mm, strict=True)
    ]
    there = resampled(block.truth.astype(np.float32), shape) >= 0.5
    return resampled(there.astype(np.float32), block.truth.shape) >= 0.5


def scored(blocks: list[Block], masks: list[np.ndarray], fold: int) -> list[dict]:
    """Every metric of every block."""
    rows = evaluation.evaluate_cases(
        (b.ready.case.case, b.ready.case.patient, mask, b.truth, b.spacing_mm)
        for b, mask in zip(blocks, masks, strict=True)
    )
    return [row | {"fold": fold} for row in rows]


def run_fold(blocks: list[Block], fold: int, words: argparse.Namespace) -> dict[str, list[dict]]:
    """Rows of every method on the nodules of one fold."""
    parts = fold_of([block.ready.case for block in blocks], fold)
    train, test = ([blocks[i] for i in at] for at in parts)
    model = train_network(train, words.runs / f"fold{fold}", words)
    masks = {"unet3d": [predicted(model, block, words) for block in test]}
    if not words.only_network:
        masks |= rivals(train, test)
    return {name: scored(test, found, fold) for name, found in masks.items()}


def main() -> None:
    """Run the folds that were asked for and write rows and means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--runs", type=Path, default=Path("runs/real_nodules_3d"))
    parser.add_argument("--folds", default="0,1,2,3,4", help="which of the five to run")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--only-network", action="store_true", help="leave the rivals out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    folds = [int(fold) for fold in words.folds.split(",")]
    blocks = read_blocks(words.data)
    rows: dict[str, list] = {}
    for fold in folds:
        for name, found in run_fold(blocks, fold, words).items():
            rows.setdefault(name, []).extend(found)
    summary = summary_of(rows, 1)  # fold 0 was looked at while the recipe was chosen
    histories = [read_history(words.runs / f"fold{fold}")["history"] for fold in folds]
    minutes = sum(row["seconds"] for history in histories for row in history) / 60 / len(folds)
    result = {"folds": len(folds), "training_minutes_a_fold": minutes, "epochs": words.epochs}
    result |= {"peak_mb": peak_mb()}
    result |= {"seed": words.seed, "machine": machine()}
    result["options"] = options_of(words)
    result |= {"summary": summary, "rows": numbered(rows)}
    write_text(words.out / "real_nodules_3d.json", json.dumps(result, default=float) + "\n")
    for name, s in summary.items():
        print(dice_line(name, s))


if __name__ == "__main__":
    main()
