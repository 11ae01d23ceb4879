"""Scores of the task of source 004: on cases, on the grid of their files. Taught in lesson 17."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from seg_lib.course.profiles import Settings
from seg_lib.data.case_rules import Case
from seg_lib.data.nifti import read_image, read_mask
from seg_lib.data.subtyped_patches import LESION, PANCREAS
from seg_lib.data.volumes import Prepared, resampled
from seg_lib.evaluation import evaluate_cases
from seg_lib.lesions import lesion_columns
from seg_lib.metrics import dice, hausdorff95_mm
from seg_lib.multitask import N_CLASSES, Parts
from seg_lib.multitask_inference import predict_multitask


def score_case(case: Case, labels: np.ndarray) -> dict[str, Any]:
    """Dice of pancreas with lesion, of label 1 and of the lesion, distances and lesions, of a case.

    Args:
        case: with a label file.
        labels: (X, Y, Z) predicted, on the grid of the file.
    """
    truth = read_mask(case.label, n_classes=N_CLASSES)
    true, mm = truth.array, truth.spacing_mm
    [row] = evaluate_cases([(case.case, case.patient, labels > 0, true > 0, mm)])
    lesion, true_lesion = labels == LESION, true == LESION
    row |= lesion_columns(lesion, true_lesion, mm)  # not those of the pancreas
    return row | {
        "label1_dice": dice(labels == PANCREAS, true == PANCREAS),
        "lesion_dice": dice(lesion, true_lesion),
        "lesion_hd95_mm": hausdorff95_mm(lesion, true_lesion, mm),
        "lesion_ml": float(true_lesion.sum() * np.prod(mm) / 1000),
    }


def score_multitask(model: nn.Module, parts: Parts, sizes: Settings) -> dict[str, list]:
    """Rows of the network and of an atlas on the test cases; each file is predicted anew.

    Rows of the network have "subtype" and "chances" of the subtypes too.
    """
    train, _, test = parts
    rows = []
    for volume in test:
        image = read_image(volume.case.image)
        labels, chances = predict_multitask(model, image, volume.how, sizes.patch)
        row = score_case(volume.case, labels)
        rows.append(row | {"subtype": int(volume.case.subtype), "chances": chances.tolist()})
    return {"network": rows, "atlas": [score_case(v.case, atlas(train, v)) for v in test]}


def atlas(train: Sequence[Prepared], volume: Prepared) -> np.ndarray:
    """Labels (X, Y, Z) by where organs usually lie, without a look at the image.

    A voxel is pancreas where at least a third of the training cases have some of it, stretched to
    the same box; it names no lesion.
    """
    shape = volume.place.shape
    share = np.mean([resampled((v.label > 0).astype(np.float32), shape) for v in train], axis=0)
    return (share >= 1 / 3).astype(np.uint8)
