"""From a network that segments and classifies to labels and a subtype. Taught in lesson 17."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from seg_lib.data.nifti import Volume
from seg_lib.data.subtyped_patches import LESION, lesion_patch
from seg_lib.data.volumes import Preparation, Prepared, prepare, put_back
from seg_lib.inference import SlidingWindow, evaluating, labels_of, slide_in_part
from seg_lib.postprocessing import largest_component
from seg_lib.slice_inference import refuse_nan


def as_batch(volume: Prepared) -> Tensor:
    """(1, 1, X, Y, Z) of a prepared volume."""
    return torch.from_numpy(volume.image)[None, None]


def sliding_for(patch: Sequence[int]) -> SlidingWindow:
    """How the window slides in this task: bfloat16 where the machine has it."""
    return SlidingWindow(patch=tuple(patch), overlap=0.25, precision="fast")


def one_lesion(logits: Tensor) -> np.ndarray:
    """Labels (X, Y, Z) of logits (1, 3, X, Y, Z): of several lesions the largest is kept.

    Each patient of source 004 has one. Voxels of the others become what they are otherwise.
    """
    refuse_nan(logits.max())
    labels = labels_of(logits)
    lesion = labels == LESION
    others = lesion & ~largest_component(lesion)
    labels[others] = labels_of(logits[:, :LESION])[others]
    return labels


def subtype_probabilities(
    model: nn.Module, image: np.ndarray, labels: np.ndarray, patch: Sequence[int]
) -> Tensor:
    """(subtypes,) probabilities of a case, from the patch around its predicted lesion.

    Args:
        model: see `MultitaskUNet3d`.
        image: (X, Y, Z) prepared.
        labels: (X, Y, Z) predicted.
        patch: voxels along x, y and z.
    """
    device = next(model.parameters()).device
    with evaluating(model):
        _, logits = model(lesion_patch(image, labels, patch).to(device), classify=True)
    return logits.float().softmax(1)[0].cpu()


def predict_multitask(
    model: nn.Module, volume: Volume, how: Preparation, patch: Sequence[int]
) -> tuple[np.ndarray, Tensor]:
    """Labels (X, Y, Z) on the grid of a volume, and the probability of each subtype."""
    ready = prepare(volume, how)
    labels = one_lesion(slide_in_part(model, as_batch(ready), sliding_for(patch), ready))
    chances = subtype_probabilities(model, ready.image, labels, patch)
    return put_back(labels, ready.place), chances
