"""ResNet-U-Net on real lung nodules (LIDC-IDRI), beside baselines that do not look or do not learn.

    python benchmarks/real_nodules_2d.py --data DIR

DIR holds image/ and nodule_mask/ with one NIfTI block a nodule, the same names in both,
``<patient>_R_<n>``; README says how to get the public collection. Of each block the slice with most
nodule is taken in its own pixels. Five folds by patient: every nodule is predicted once, by a
network that has not seen its patient. Two tables:

* ``centred``: the whole block in a window of 64 x 64 pixels. Blocks are cut around the nodule, so
  its position and size can be guessed without looking; the baselines show how well.
* ``shifted``: windows of 32 x 32 pixels at random places of the block, without its border. Where
  the nodule is, and how large, has to be seen.

The masks of this collection lie a little to one side of what the image shows: a network trained on
flipped images cannot know to which side, and moving its masks by (-0.1, -0.4) pixels (down, across)
was best on the *training* patients of each of the folds 0, 1 and 2. So labels are moved the other
way before they are turned and flipped, and predictions are moved back.
"""

import argparse
import itertools
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import machine
from options import options_of
from scipy import ndimage
from unseeing import central_component, centre_ellipsoid

from seg_lib import baselines, evaluation, figures
from seg_lib.data.augment import Warp, warp_batch
from seg_lib.data.batches import SliceBatches
from seg_lib.data.cases import Case
from seg_lib.data.hu import HU_WINDOWS
from seg_lib.data.nifti import axial_view, read_image, read_mask
from seg_lib.data.slices import SliceSet, centred, to_grey
from seg_lib.figure_style import save_figure
from seg_lib.files import write_text
from seg_lib.inference import predict_slices
from seg_lib.models import build_model
from seg_lib.run_log import read_history
from seg_lib.slices2d import score_slices
from seg_lib.steps import segmentation_step
from seg_lib.tasks import dice_line
from seg_lib.training import TrainConfig, fit, load_weights, seed_everything

FOLDS = 5
SIZES = {"centred": 64, "shifted": 32}
SHIFTED_COPIES = 8  # random windows of each training nodule
WINDOW = HU_WINDOWS["nodule"]
KEYS = ("case", "patient")
MASK_OFFSET = (-0.1, -0.4)  # pixels down and across from the nodule to its mask


def read_blocks(folder: Path) -> list[tuple[Case, np.ndarray, np.ndarray]]:
    """The largest slice of every nodule: (case, grey (H, W), mask (H, W)), own pixels.

    ``case.note`` keeps the height of the block in mm: with it the size of a nodule can be guessed.
    """
    blocks = []
    for path in sorted((folder / "image").glob("*.nii*")):
        volume = read_image(path)
        mask = read_mask(folder / "nodule_mask" / path.name, like=volume).array
        z = int(mask.sum((0, 1)).argmax())
        name = path.name.split(".")[0]
        spacing = tuple(volume.spacing_mm[1::-1])
        height = str(mask.shape[2] * volume.spacing_mm[2])
        case = Case(name, name.split("_R_")[0], path, note=height, spacing_mm=spacing)
        blocks.append((case, to_grey(axial_view(volume.array, z), WINDOW), axial_view(mask, z)))
    return blocks


def centred_windows(blocks: list, training: bool, seed: int) -> SliceSet:
    """One 64 x 64 window a block; what lies outside a small block is black."""
    images = np.stack([centred(grey, SIZES["centred"]) for _, grey, _ in blocks])
    labels = np.stack([centred(mask, SIZES["centred"]) for *_, mask in blocks])
    return SliceSet(images[:, None], labels[:, None], [case for case, *_ in blocks])


def shifted_windows(blocks: list, training: bool, seed: int) -> SliceSet:
    """Random 32 x 32 windows inside the block that hold the middle of the nodule."""
    chance, size = np.random.default_rng(seed), SIZES["shifted"]
    images, labels, cases = [], [], []
    for case, grey, mask in blocks:
        middle = np.argwhere(mask).mean(0)
        for _ in range(SHIFTED_COPIES if training else 1):
            corner = []
            for n, m in zip(grey.shape, middle, strict=True):
                low, high = max(0, int(np.ceil(m)) - size + 1), min(n - size, int(m))
                corner.append(int(chance.integers(low, high + 1)))
            cut = tuple(slice(c, c + size) for c in corner)
            images.append(grey[cut])
            labels.append(mask[cut])
            cases.append(case)
    return SliceSet(np.stack(images)[:, None], np.stack(labels)[:, None], cases)


WINDOWS = {"centred": centred_windows, "shifted": shifted_windows}


def train_network(train: SliceSet, out: Path, words: argparse.Namespace, epochs: int):
    """Train on one fold. No validation set: the moving average of the weights needs no choice."""
    seed_everything(words.seed)
    sizes = {"upscale": words.upscale}
    model = build_model(words.network, **sizes).to(memory_format=torch.channels_last)
    config = TrainConfig(
        epochs=epochs,
        learning_rate=1e-3,
        weight_decay=1e-2,
        ema_decay=0.995,
        precision=words.precision,
        seed=words.seed,
        minutes=words.minutes,
        checkpoint_every=epochs,
    )
    warp = partial(warp_batch, warp=Warp(rotation_deg=180, label_offset=MASK_OFFSET))
    batches = SliceBatches(train, 16, shuffle=True, warp=warp, seed=words.seed)
    size = train.images.shape[-1]
    about = {"task": "slices2d", "network": words.network, "sizes": sizes, "size": size}
    about |= {"window": list(WINDOW), "native_pixels": True}
    resume = (out / "last.safetensors").is_file()  # a fold that is done is not trained again
    fit(model, segmentation_step, batches, config, out, resume=resume, about=about)
    load_weights(model, out / "best.safetensors")
    return model


def threshold_masks(train: SliceSet, test: SliceSet) -> np.ndarray:
    """The bright piece nearest to the middle, cut off by a disc; both tuned on the training set."""

    def predict(image: np.ndarray, how: tuple[float, float]) -> np.ndarray:
        low, part = how
        disc = centre_ellipsoid(image.shape, part)
        return central_component((image >= low) & (disc > 0))

    choices = list(itertools.product(range(60, 160, 10), np.arange(0.2, 1.01, 0.1)))
    how, _ = baselines.tune(predict, train.images[:, 0], train.labels[:, 0], choices)
    return np.stack([predict(image, how) for image in test.images[:, 0]])


def disc_of_block(blocks: list, train_at: list, test_at: list) -> np.ndarray:
    """Discs whose diameter is guessed from height and width of the block, never from the image."""

    def measures(at: list) -> np.ndarray:
        cases = [blocks[i][0] for i in at]
        widths = [max(blocks[i][1].shape) * blocks[i][0].spacing_mm[0] for i in at]
        return np.array([(1, float(c.note), w) for c, w in zip(cases, widths, strict=True)])

    truth = [2 * np.sqrt(blocks[i][2].sum() / np.pi) * blocks[i][0].spacing_mm[0] for i in train_at]
    weights, *_ = np.linalg.lstsq(measures(train_at), np.array(truth), rcond=None)
    size, discs = SIZES["centred"], []
    for i, diameter_mm in zip(test_at, measures(test_at) @ weights, strict=True):
        part = max(float(diameter_mm), 1.0) / blocks[i][0].spacing_mm[0] / size
        discs.append(centre_ellipsoid((size, size), part))
    return np.stack(discs)


def unseeing_masks(kind: str, blocks: list, train_at: list, test_at: list) -> dict:
    """Baselines that never look at the image."""
    size = SIZES[kind]
    train = WINDOWS[kind]([blocks[i] for i in train_at], False, 1)
    ball, _ = baselines.tune(
        centre_ellipsoid,
        [(size, size)] * len(train),
        train.labels[:, 0],
        np.arange(0.1, 0.9, 0.05),
    )
    fixed = centre_ellipsoid((size, size), ball)
    masks = {"centre ball": np.stack([fixed] * len(test_at))}
    if kind == "centred":
        masks["disc from the block's size"] = disc_of_block(blocks, train_at, test_at)
    return masks


def fold_of(cases: list[Case], fold: int) -> tuple[list[int], list[int]]:
    """Positions of the training and of the test cases: every fifth patient of a fixed shuffle."""
    patients = sorted({case.patient for case in cases})
    np.random.default_rng(0).shuffle(patients)
    held_out = set(patients[fold::FOLDS])
    test = [i for i, case in enumerate(cases) if case.patient in held_out]
    return [i for i in range(len(cases)) if i not in set(test)], test


def run_fold(kind: str, blocks: list, fold: int, words: argparse.Namespace) -> dict[str, list]:
    """Rows of every method on the nodules of one fold."""
    train_at, test_at = fold_of([case for case, *_ in blocks], fold)
    train = WINDOWS[kind]([blocks[i] for i in train_at], True, words.seed)
    test = WINDOWS[kind]([blocks[i] for i in test_at], False, 1000 + fold)
    epochs = words.epochs if kind == "centred" else max(1, words.epochs // SHIFTED_COPIES)
    model = train_network(train, words.runs / f"{kind}{fold}", words, epochs)
    probability = predict_slices(model, test.images, 16, flips=True)[:, 0]
    masks = {words.network: ndimage.shift(probability, (0, *MASK_OFFSET), order=1) >= 0.5}
    masks["threshold"] = threshold_masks(train, test)
    masks |= unseeing_masks(kind, blocks, train_at, test_at)
    if kind == "centred" and fold == 0:
        draw(test, masks[words.network], words)
    return {
        name: [row | {"fold": fold} for row in score_slices(found, test)]
        for name, found in masks.items()
    }


def epochs_of(kind: str, fold: int, words: argparse.Namespace) -> list[dict]:
    """The history of a fold's training."""
    return read_history(words.runs / f"{kind}{fold}")["history"]


def draw(test: SliceSet, masks: np.ndarray, words: argparse.Namespace) -> None:
    """Six held-out nodules from small to large: image, truth, prediction."""
    order = np.argsort(test.labels.sum((1, 2, 3)))
    chosen = order[np.linspace(0, len(order) - 1, 6).astype(int)]
    fig = figures.overlay_panel(
        list(test.images[chosen, 0]), list(test.labels[chosen, 0]), list(masks[chosen])
    )
    save_figure(fig, words.figures / "real_nodules_2d.png")


def numbered(rows: dict[str, list]) -> dict[str, list]:
    """The rows with running numbers in place of the names of patients and cases."""
    names = sorted({row[key] for found in rows.values() for row in found for key in KEYS})
    number = {name: f"n{i:03d}" for i, name in enumerate(names)}
    return {
        method: [row | {key: number[row[key]] for key in KEYS} for row in found]
        for method, found in rows.items()
    }


def summarised(rows: list[dict]) -> dict:
    """Means and intervals; the number of the fold is no metric."""
    return evaluation.summarise([{k: v for k, v in row.items() if k != "fold"} for row in rows])


def summary_of(rows: dict[str, list], untouched: int) -> dict[str, dict]:
    """Of every method on all folds, and on those alone at which nobody looked before."""
    summary = {name: summarised(found) for name, found in rows.items()}
    for name, found in rows.items():
        later = [row for row in found if row["fold"] >= untouched]
        if later and len(later) < len(found):
            which = sorted({row["fold"] for row in later})
            told = f"fold{'s' * (len(which) > 1)} {' and '.join(map(str, which))}"
            summary[f"{name}, {told} alone"] = summarised(later)
    return summary


def main() -> None:
    """Run the folds that were asked for and write rows, tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--figures", type=Path, default=Path("figures"))
    parser.add_argument("--runs", type=Path, default=Path("runs/real_nodules_2d"))
    parser.add_argument("--network", default="resnet18_unet")
    parser.add_argument("--kinds", default="centred,shifted")
    parser.add_argument("--folds", default="0,1,2,3,4", help="which of the five to run")
    parser.add_argument("--minutes", type=float, help="most minutes of training, each fold")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--upscale", type=int, default=2)
    parser.add_argument("--precision", default="fast", help="no, bf16; fast takes what is faster")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    folds = [int(fold) for fold in words.folds.split(",")]
    blocks = read_blocks(words.data)
    for kind in words.kinds.split(","):
        rows: dict[str, list] = {}
        for fold in folds:
            for name, found in run_fold(kind, blocks, fold, words).items():
                rows.setdefault(name, []).extend(found)
        summary = summary_of(rows, 3)  # 0, 1 and 2 were looked at while the recipe was chosen
        result = {"kind": kind, "network": words.network, "folds": len(folds)}
        seconds = [row["seconds"] for f in folds for row in epochs_of(kind, f, words)]
        result |= {"training_minutes_a_fold": sum(seconds) / 60 / len(folds)}
        epochs = len(epochs_of(kind, folds[0], words))
        windows = SHIFTED_COPIES if kind == "shifted" else 1
        result |= {
            "epochs": epochs,
            "windows_a_nodule": windows,
            "seed": words.seed,
            "machine": machine(),
        }
        result["options"] = options_of(words)
        result |= {"summary": summary, "rows": numbered(rows)}
        path = words.out / f"real_nodules_2d_{kind}_{words.network}.json"
        write_text(path, json.dumps(result, indent=None, default=float) + "\n")
        for name, s in summary.items():
            print(f"{kind} {dice_line(name, s)}")


if __name__ == "__main__":
    main()
