"""The 3D path of source 003, the same for ``seg-lib train volumes3d`` and for the lessons.

    folder ─ volumes3d_parts ─> train, val, test ─ train_volumes ─> network ─ score_volumes ─> rows

Taught in notebook 10.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seg_lib import baselines, evaluation, losses
from seg_lib.course.profiles import Settings
from seg_lib.data.cases import Case, read_cases, with_validation
from seg_lib.data.modalities import load_channels
from seg_lib.data.nifti import read_mask
from seg_lib.data.patches import PatchBatches, flips_and_greys
from seg_lib.data.volumes import AIR_BELOW_HU, Preparation, Prepared, put_back
from seg_lib.errors import InputError
from seg_lib.inference import SlidingWindow, foreground_of, mask_of, slide_in_part
from seg_lib.metrics import dice
from seg_lib.models import build_model
from seg_lib.models.presets import fast_layout, sizes_for
from seg_lib.processes import batch_per_process
from seg_lib.steps import segmentation_step
from seg_lib.training import fit, load_weights, seed_everything

Predict = Callable[[nn.Module, Prepared, SlidingWindow], Tensor]
Parts = tuple[list[Prepared], list[Prepared], list[Prepared]]  # train, val, test


def dice_ce_of_batch(logits: Tensor, label: Tensor) -> Tensor:
    """DiceCE with one Dice for the whole batch.

    Most patches of a scan hold no lesion. With a Dice for each patch a false alarm in such a patch
    costs next to nothing, and a network that had found every nodule drew ten more beside it.
    """
    overlap = losses.soft_dice_loss(logits, label, over_batch=True)
    return overlap + losses.cross_entropy(logits, label)


LOSSES = {
    "dice_ce_of_batch": dice_ce_of_batch,
    "dice_ce": losses.dice_ce,
    "cross_entropy": losses.cross_entropy,
    "dice": losses.soft_dice_loss,
    "dice_focal": losses.dice_focal,
}


def preparation_of(sizes: Settings) -> Preparation:
    """How the volumes of a lesson are made ready: its ``spacing_mm`` and ``box``."""
    return Preparation(spacing_mm=sizes.spacing_mm, box=sizes.box)


def volumes3d_parts(data: str | Path, work: str | Path, sizes: Settings, seed: int = 0) -> Parts:
    """Training, validation and test volumes of a folder, prepared and in memory, by patient.

    Args:
        data: a folder with a cases.csv of NIfTI volumes and masks.
        work: not used; volumes need no conversion.
        sizes: ``spacing_mm`` (None for the voxels as they are) and ``box``.
        seed: of the split, where the folder has none: one fifth of the training patients validates.

    Raises:
        InputError: no cases.csv, an empty part, a case without label, or a faulty file.
    """
    parts = labelled_parts(data, seed)
    return tuple(load_channels(cases, preparation_of(sizes)) for cases in parts.values())


def labelled_parts(data: str | Path, seed: int) -> dict[str, list[Case]]:
    """Cases by split; an empty part, or a case without label: ``InputError``."""
    parts = with_validation(read_cases(data), seed)
    for split, cases in parts.items():
        unlabelled = [case.case for case in cases if case.label is None]
        if not cases or unlabelled:
            raise InputError(
                f"{data}: split {split} has {len(cases)} cases, without label: {unlabelled[:5]}; "
                "training needs cases with masks in train, val and test."
            )
    return parts


def volume_logits(model: nn.Module, volume: Prepared, how: SlidingWindow) -> Tensor:
    """Logits (1, K, X, Y, Z) of a prepared volume."""
    image = torch.from_numpy(volume.image)
    return slide_in_part(model, image.reshape(1, -1, *image.shape[-3:]), how, volume)


def volume_validation(
    volumes: Sequence[Prepared], how: SlidingWindow, predict: Predict = volume_logits
) -> Callable[[nn.Module], dict[str, float]]:
    """What ``fit`` asks after an epoch: mean Dice and DiceCE over whole volumes."""

    def validate(model: nn.Module) -> dict[str, float]:
        found = []
        for volume in volumes:
            logits = predict(model, volume, how)
            label = torch.from_numpy(volume.label)[None, None].long()
            mask = foreground_of(logits) >= 0.5
            found.append((float(losses.dice_ce(logits, label)), dice(mask, volume.label)))
        loss, score = np.mean(found, axis=0).tolist()
        return {"loss": loss, "score": score, "dice": score}

    return validate


def sliding_of(sizes: Settings) -> SlidingWindow:
    """The sliding window with the patch of a lesson and, where it has one, its ``overlap``."""
    return SlidingWindow(patch=tuple(sizes.patch), overlap=sizes.sizes.get("overlap", 0.5))


def train_volumes(
    parts: Parts, out: str | Path, sizes: Settings, seed: int, **how: Any
) -> nn.Module:
    """Train on patches with the sizes of a lesson and return the network with its best weights.

    Args:
        parts: train, val and test volumes; the test is not looked at.
        out: folder of the run.
        sizes: network, preset, loss, patch, batch_size, patches, positives, jitter, and fields of
            TrainConfig.
        seed: of weights, patches and augmentation.
        how: ``network``, ``minutes``, ``resume`` where they differ from the sizes.
    """
    train, val, _ = parts
    network = how.get("network") or sizes.network
    seed_everything(seed)
    numbers = sizes_for(network, 0, sizes.preset)
    if train[0].image.ndim == 4:
        numbers["in_channels"] = len(train[0].image)
    model = build_model(network, **numbers).to(memory_format=fast_layout(network))
    choice = {"patches": sizes.patches, "positives": sizes.positives, "jitter": sizes.jitter}
    choice |= {"augment": flips_and_greys, "seed": seed}
    batches = PatchBatches(train, sizes.patch, batch_per_process(sizes.batch_size), **choice)
    about = {"task": "volumes3d", "network": network, "sizes": numbers, "patch": list(sizes.patch)}
    about["preparation"] = dataclasses.asdict(preparation_of(sizes))
    if "in_channels" in numbers:
        about["channels"] = [name for name, _ in train[0].case.channels]  # behind the first
    step = partial(segmentation_step, loss=LOSSES[sizes.loss])
    config = sizes.train_config(seed, how.get("minutes"))
    validate = volume_validation(val, sliding_of(sizes))
    fit(model, step, batches, config, out, validate, resume=how.get("resume", False), about=about)
    load_weights(model, Path(out) / "best.safetensors")
    return model


def score_masks(volumes: Iterable[Prepared], masks: Iterable[np.ndarray]) -> list[dict[str, Any]]:
    """Every metric of every volume, on the grid of its file.

    Args:
        volumes: with their cases.
        masks: (X, Y, Z) each, on the grid of the whole volume.
    """

    def judged() -> Iterable[tuple]:
        for volume, mask in zip(volumes, masks, strict=True):
            case, truth = volume.case, read_mask(volume.case.label)
            yield case.case, case.patient, mask, truth.array, truth.spacing_mm

    return evaluation.evaluate_cases(judged())


def score_volumes(
    model: nn.Module, volumes: Sequence[Prepared], sizes: Settings
) -> list[dict[str, Any]]:
    """Predict every file anew, as ``seg-lib predict`` does, and score it on its own grid."""
    how, sliding = preparation_of(sizes), sliding_of(sizes)
    return score_masks(volumes, (predict_case(model, v.case, how, sliding) for v in volumes))


def predict_case(
    model: nn.Module, case: Case, how: Preparation, sliding: SlidingWindow
) -> np.ndarray:
    """Mask (X, Y, Z) uint8 of a case with all its channels, on the grid of its first image."""
    [ready] = load_channels([dataclasses.replace(case, label=None)], how)
    return mask_of(volume_logits(model, ready, sliding), ready.place)


def threshold_volumes(train: Sequence[Prepared], test: Sequence[Prepared]) -> list[np.ndarray]:
    """Masks (X, Y, Z): the largest piece in the lungs above a threshold tuned on the training set.

    The same opponent as `seg_lib.slices2d.threshold_masks`; of several channels it sees the first.
    """
    low, high = Preparation().window
    air = (AIR_BELOW_HU - low) / (high - low)

    def seen(volume: Prepared) -> tuple[np.ndarray, np.ndarray]:
        image = volume.image.reshape(-1, *volume.image.shape[-3:])[0]
        return image, baselines.inside_lungs(image, air)

    def predict(image_and_lungs: tuple, bright: float) -> np.ndarray:
        image, lungs = image_and_lungs
        return baselines.threshold_baseline(image, bright, roi=lungs)

    candidates = np.arange(0.25, 0.9, 0.05)
    best, _ = baselines.tune(
        predict, [seen(v) for v in train], [v.label for v in train], candidates
    )
    return [put_back(predict(seen(v), best), v.place) for v in test]


def score_on_volumes(model: nn.Module, parts: Parts, sizes: Settings) -> dict[str, list]:
    """Rows of the network and of the threshold on the test volumes."""
    train, _, test = parts
    return {
        "network": score_volumes(model, test, sizes),
        "threshold": score_masks(test, threshold_volumes(train, test)),
    }
