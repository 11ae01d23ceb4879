"""What one batch means for one task: (model, batch) -> {"loss": …}. The loop knows nothing else.

A task differs from another in what its batch holds, what its network returns and which loss it has;
that is all written here, so that `training.fit` stays the same for every task. Another loss goes in
with `functools.partial(segmentation_step, loss=dice_focal)`. Taught in notebook 06.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_lib.losses import dice_ce

Loss = Callable[[Tensor, Tensor], Tensor]


def segmentation_step(
    model: nn.Module, batch: Mapping[str, Any], loss: Loss = dice_ce
) -> dict[str, Tensor]:
    """Image in, logits out, compared with the label.

    Args:
        model: (B, C, *spatial) -> logits (B, K, *spatial), or a list of them, see
            ``deep_supervision``.
        batch: "image" (B, C, *spatial) float in [0, 1] and "label" (B, 1, *spatial) integers.
        loss: (logits, label) -> scalar, see `seg_lib.losses`.

    Returns:
        {"loss": scalar tensor that carries the gradient}.

    Taught in notebook 06.
    """
    logits = model(batch["image"])
    if isinstance(logits, list):
        return {"loss": deep_supervision(logits, batch["label"], loss)}
    return {"loss": loss(logits, batch["label"])}


def text_segmentation_step(
    model: nn.Module, batch: Mapping[str, Any], loss: Loss = dice_ce, with_notes: bool = True
) -> dict[str, Tensor]:
    """Image and note in, logits out, compared with the label.

    Args:
        model: (image, notes, positions) -> logits, see `seg_lib.models.text_guided`.
        batch: of `seg_lib.data.patches.NotedPatches`.
        loss: (logits, label) -> scalar.
        with_notes: False leaves text out: the image-only network of the same weights.

    Taught in notebook 15.
    """
    told = (batch["note"], batch["positions"]) if with_notes else ()
    return {"loss": loss(model(batch["image"], *told), batch["label"])}


def multitask_step(
    model: nn.Module, batch: Mapping[str, Any], loss: Loss = dice_ce, smoothing: float = 0.05
) -> dict[str, Tensor]:
    """Segment, and name the subtype of the lesion: one forward pass, two losses.

    Args:
        model: (image, classify=True) -> logits (or a list of them) and logits (B, subtypes).
        batch: of `seg_lib.data.subtyped_patches`; "subtype" (B, subtypes), the share of each, and
            "subtype_weight" (B,), by which its cross entropy counts beside the segmentation.
        loss: (logits, label) -> scalar, of the segmentation.
        smoothing: of the subtype's label: a share that is taken from it and given to all.

    Source: 004. Taught in notebook 17.
    """
    logits, subtypes = model(batch["image"], classify=True)
    wrong = F.cross_entropy(
        subtypes.float(), batch["subtype"], reduction="none", label_smoothing=smoothing
    )
    total = (batch["subtype_weight"] * wrong).mean()
    logits = logits if isinstance(logits, list) else [logits]
    return {"loss": total + deep_supervision(logits, batch["label"], loss)}


def deep_supervision(logits: list[Tensor], label: Tensor, loss: Loss = dice_ce) -> Tensor:
    """Weighted mean of the loss at every step of the decoder.

    Args:
        logits: (B, K, *spatial) each, full resolution first, every next one smaller.
        label: (B, 1, *spatial) integers; smaller ones take the nearest voxel.
        loss: (logits, label) -> scalar.

    Returns:
        Scalar. Every halving counts half as much as the one before, and the weights add up to 1.

    Source: Isensee et al. 2021, nnU-Net, https://doi.org/10.1038/s41592-020-01008-z
    """
    weights = [0.5**i for i in range(len(logits))]
    total = sum(
        weight * loss(guess, F.interpolate(label.float(), guess.shape[2:]).to(label.dtype))
        for weight, guess in zip(weights, logits, strict=True)
    )
    return total / sum(weights)


def reconstruction_step(
    model: nn.Module, batch: Mapping[str, Any], share: float = 0.6, patch: int = 8
) -> dict[str, Tensor]:
    """Hide patches of the image and let the network paint them; no label is looked at.

    Whoever can paint a hidden piece of lung has learned what lungs, vessels and ribs look like.
    Weights that come out of this are a better start than random ones where labels are few; by how
    much is measured in notebook 08.

    Args:
        model: (B, 1, H, W) -> (B, 1, H, W), here taken as grey values.
        batch: "image" (B, 1, H, W) float in [0, 1].
        share: of the patches that are hidden.
        patch: pixels along the side of a patch; H and W divide by it.

    Returns:
        {"loss": mean absolute error over the hidden pixels}.

    Source: Xie et al. 2022, SimMIM, https://arxiv.org/abs/2111.09886. Taught in notebook 08.
    """
    image = batch["image"]
    b, _, h, w = image.shape
    hidden = torch.rand(b, 1, h // patch, w // patch, device=image.device) < share
    hidden = hidden.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    painted = model(image.masked_fill(hidden, 0.5))
    error = (painted.float() - image).abs() * hidden
    return {"loss": error.sum() / hidden.sum().clamp(min=1)}
