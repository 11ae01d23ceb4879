"""The 2D path of source 002, the same for ``seg-lib train slices2d`` and for the lessons.

    folder ─ slices2d_parts ─> train, val, test ─ train_slices ─> network ─ score_slices ─> rows

Taught in notebook 06.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seg_lib import baselines, evaluation, losses
from seg_lib.course.profiles import Settings
from seg_lib.data.augment import slice_augmentation
from seg_lib.data.batches import SliceBatches
from seg_lib.data.case_rules import VOLUME_SUFFIXES
from seg_lib.data.cases import CASES_CSV, Case, read_cases, with_validation
from seg_lib.data.hu import HU_WINDOWS
from seg_lib.data.slices import SliceSet, load_slices, pickle_to_png, slices_of_volumes
from seg_lib.errors import InputError
from seg_lib.metrics import rmse
from seg_lib.models import build_model
from seg_lib.models.presets import fast_layout, sizes_for
from seg_lib.pretraining import start_from
from seg_lib.processes import batch_per_process, main_process_first
from seg_lib.slice_inference import predict_slices
from seg_lib.steps import segmentation_step
from seg_lib.training import fit, load_weights, seed_everything

Parts = tuple[SliceSet, SliceSet, SliceSet]  # train, val, test


def dice_weighted_bce(logits: Tensor, label: Tensor, pos_weight: float = 20.0) -> Tensor:
    """Dice and a cross entropy in which one lesion pixel counts as much as twenty others.

    Lesions are 0.2 % of these slices. Under plain DiceCE a transformer from random numbers learns
    first that nearly everything is background; then p is near 0 everywhere, and so is the gradient.
    """
    return losses.soft_dice_loss(logits, label) + losses.bce(logits, label, pos_weight)


LOSSES = {
    "bce": losses.bce,
    "dice_ce": losses.dice_ce,
    "dice_weighted_bce": dice_weighted_bce,
    # Swin-Unet: 0.4 CE + 0.6 Dice with squares in the denominator; here the Dice of the lesion
    # alone, there averaged with that of the background.
    "swin_unet": partial(losses.dice_ce, lambda_dice=0.6, lambda_ce=0.4, squared=True),
}
PICKLES = {"train": "lung_cancer_train.pkl", "test": "lung_cancer_test.pkl"}
WINDOW = HU_WINDOWS["nodule"]
AIR_BELOW = 109  # grey value of -400 HU in that window


def slices2d_parts(data: str | Path, work: str | Path, size: int, seed: int = 0) -> Parts:
    """Training, validation and test slices of a folder, split by patient.

    Args:
        data: a folder with the two pickles of the public Lung-RADS layout, or with a cases.csv of
            PNG slices or NIfTI volumes (those give their slice with most lesion).
        work: where pickles are converted to PNG.
        size: pixels along each side.
        seed: of the split, where the folder has none: one fifth of the training patients validates.

    Raises:
        InputError: the folder holds none of these, or a part is empty.
    """
    data, work = Path(data), Path(work)
    if (data / PICKLES["train"]).is_file():
        cases = _converted(data, work / "png", size)
    elif (data / CASES_CSV).is_file():
        cases = read_cases(data)
    else:
        raise InputError(
            f"{data}: holds neither {PICKLES['train']} nor {CASES_CSV}; make a set to try with "
            "'seg-lib phantom lung2d DIR'."
        )
    parts = with_validation(cases, seed)
    missing = [split for split, part in parts.items() if not part]
    if missing:
        raise InputError(f"{data}: no cases in the split {', '.join(missing)}; add some patients.")
    return tuple(_load(part, size) for part in parts.values())


def _converted(data: Path, png: Path, size: int) -> list[Case]:
    """The cases of both pickles; of several processes one converts and the others read."""
    with main_process_first() as main:
        if not main:
            return read_cases(png)
        found = [pickle_to_png(data / n, png, WINDOW, size, s) for s, n in PICKLES.items()]
    return [case for cases in found for case in cases]


def are_volumes(cases: list[Case]) -> bool:
    """Whether the images are NIfTI volumes, whose slices keep their pixels; PNGs are resized."""
    return all(case.image.name.endswith(VOLUME_SUFFIXES) for case in cases)


def _load(cases: list[Case], size: int) -> SliceSet:
    if are_volumes(cases):
        return slices_of_volumes(cases, WINDOW, size)
    return load_slices(cases, size)


def score_slices(
    masks: np.ndarray, slices: SliceSet, probability: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Every metric of every slice.

    Args:
        masks: (N, H, W), 0 and 1.
        slices: the N slices with their labels; without a known pixel size, distances are in pixels.
        probability: (N, H, W) in [0, 1]; adds "rmse".
    """
    truth = slices.labels[:, 0]
    rows = evaluation.evaluate_cases(
        (case.case, case.patient, mask, label, case.spacing_mm or (1.0, 1.0))
        for case, mask, label in zip(slices.cases, masks, truth, strict=True)
    )
    guess = masks if probability is None else probability
    return [row | {"rmse": rmse(p, y)} for row, p, y in zip(rows, guess, truth, strict=True)]


def slice_validation(slices: SliceSet, flips: bool = False) -> Callable[[nn.Module], dict]:
    """What ``fit`` asks after an epoch: mean Dice over the slices, and the loss of the masks."""
    labels = torch.from_numpy(slices.labels).long()

    def validate(model: nn.Module) -> dict[str, float]:
        probability = predict_slices(model, slices.images, flips=flips)
        found = probability >= 0.5
        both = (found & (slices.labels > 0)).sum((1, 2, 3))
        sizes = found.sum((1, 2, 3)) + slices.labels.sum((1, 2, 3))
        dice = float(np.mean(np.where(sizes > 0, 2 * both / np.maximum(sizes, 1), 1.0)))
        logits = torch.logit(torch.from_numpy(probability), eps=1e-6)
        return {"loss": float(losses.dice_ce(logits, labels)), "score": dice, "dice": dice}

    return validate


def train_slices(
    parts: Parts, out: str | Path, sizes: Settings, seed: int, **how: Any
) -> nn.Module:
    """Train on slices with the sizes of a lesson and return the network with its best weights.

    Args:
        parts: train, val and test slices; the test is not looked at.
        out: folder of the run.
        sizes: network, preset, loss, batch_size (of all processes together), copies,
            encoder_weights; fields of TrainConfig.
        seed: of weights, order and augmentation.
        how: ``network``, ``minutes``, ``resume`` where they differ from the sizes; ``pretrained``,
            a file of `seg_lib.pretraining` to start from.

    Raises:
        InputError: no lesion to learn from or to be judged by, or what does not fit the network.
    """
    train, val, _ = parts
    for name, part in {"training": train, "validation": val}.items():
        if not part.labels.any():
            raise InputError(
                f"None of the {len(part)} {name} slices, such as {part.cases[0].case}, has a pixel "
                "of lesion; check the masks, or add cases with a lesion to the split."
            )
    network = how.get("network") or sizes.network
    seed_everything(seed)
    numbers = sizes_for(network, sizes.size, sizes.preset)
    model = build_model(network, **numbers, **pretrained_by_name(network, sizes.encoder_weights))
    if how.get("pretrained"):
        start_from(model, how["pretrained"])
    model = model.to(memory_format=fast_layout(network))
    config = sizes.train_config(seed, how.get("minutes"))
    step = partial(segmentation_step, loss=LOSSES[sizes.loss])
    repeated = train.take(list(range(len(train))) * (1 + sizes.copies))
    batch_size = batch_per_process(sizes.batch_size)
    batches = SliceBatches(repeated, batch_size, True, slice_augmentation(), seed=seed)
    about = {"task": "slices2d", "network": network, "window": list(WINDOW), "size": sizes.size}
    about |= {"sizes": numbers, "native_pixels": are_volumes(train.cases)}
    validate = slice_validation(val)
    fit(model, step, batches, config, out, validate, resume=how.get("resume", False), about=about)
    load_weights(model, Path(out) / "best.safetensors")
    return model


def pretrained_by_name(network: str, weights: str | None) -> dict[str, str]:
    """The argument that asks a builder for ImageNet weights; UNETR has none to ask for."""
    return {"weights": weights} if weights and network != "unetr" else {}


def threshold_masks(train: SliceSet, test: SliceSet) -> np.ndarray:
    """Masks (N, H, W): the largest piece in the lungs above a threshold tuned on the training set.

    A fair opponent: it is told where the lungs are, and which brightness suits nodules best.
    """

    def predict(image: np.ndarray, low: float) -> np.ndarray:
        lungs = baselines.inside_lungs(image, AIR_BELOW)
        return baselines.threshold_baseline(image, low, roi=lungs)

    low, _ = baselines.tune(predict, train.images[:, 0], train.labels[:, 0], range(60, 220, 10))
    return np.stack([predict(image, low) for image in test.images[:, 0]])


def score_on_slices(model: nn.Module, parts: Parts, sizes: Settings) -> dict[str, list]:
    """Rows of the network and of the threshold on the test slices."""
    train, _, test = parts
    probability = predict_slices(model, test.images)[:, 0]
    rows = score_slices(probability >= 0.5, test, probability)
    return {"network": rows, "threshold": score_slices(threshold_masks(train, test), test)}
