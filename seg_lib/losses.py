"""Losses: the numbers that training makes small. Every loss of the five source documents.

Shapes, the same in every function:
    B batch, K output channels of the network, ``*spatial`` = (H, W) or (X, Y, Z)
    logits (B, K, *spatial), floating point, before sigmoid or softmax.
        K = 1: one sigmoid, foreground or not. K >= 2: a softmax over the classes, 0 = background.
    label (B, 1, *spatial), whole numbers: 0 or 1 when K = 1, otherwise 0 ... K - 1.

All return a scalar tensor, averaged over batch, classes and voxels, and are computed in float32
(float64 if the logits are) under autocast too: sums over a whole volume overflow float16.
Wrong shapes or label values raise InputError. Equal to MONAI's where it has them. Notebook 05.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_lib.errors import InputError


def _full_precision(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _checked(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Logits in float32 or float64 and the label as int64, after the faults a user can make."""
    if label.shape != (logits.shape[0], 1, *logits.shape[2:]):
        raise InputError(
            f"logits of shape {tuple(logits.shape)} with a label of shape {tuple(label.shape)}; "
            "logits must be (B, K, *spatial) and the label (B, 1, *spatial)."
        )
    if label.is_floating_point():
        raise InputError(f"the label is {label.dtype}; it must hold whole numbers: label.long().")
    label = label.long()
    low, high = (int(value) for value in label.aminmax())
    n_classes = max(logits.shape[1], 2)
    if low < 0 or high >= n_classes:
        raise InputError(
            f"the label holds values from {low} to {high}, but {logits.shape[1]} output channel(s) "
            f"know only 0 to {n_classes - 1}; map the label first (a 0/255 mask: label == 255)."
        )
    return _full_precision(logits), label


def _one_hot(label: Tensor, like: Tensor) -> Tensor:
    """(B, 1, *spatial) whole numbers -> (B, K, *spatial) zeros and ones; K = 1 keeps the label."""
    if like.shape[1] == 1:
        return label.to(like.dtype)
    return torch.zeros_like(like).scatter_(1, label, 1.0)


def bce(logits: Tensor, label: Tensor, pos_weight: float | None = None) -> Tensor:
    """Binary cross entropy, ``-mean( y log p + (1 - y) log(1 - p) )`` with ``p = sigmoid(logit)``.

    Source 000 prints ``-sum y log p + (1 - y) log(1 - p)`` without the bracket. Read literally the
    minus belongs to the first term only, and then background is rewarded for being called tumour.

    Args:
        logits: (B, 1, *spatial).
        label: (B, 1, *spatial), 0 or 1.
        pos_weight: how many background voxels one tumour voxel counts for (None: one).

    Source: 000 (printed as a sum, without the bracket), 002, 003.
    """
    if logits.shape[1] != 1:
        raise InputError(f"bce needs one output channel, got {logits.shape[1]}; use cross_entropy.")
    logits, label = _checked(logits, label)
    weight = None if pos_weight is None else logits.new_tensor(pos_weight)
    return F.binary_cross_entropy_with_logits(logits, label.to(logits.dtype), pos_weight=weight)


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy, ``-mean log p[true class]``; with one channel this is ``bce``.

    Source: 000, 003, 004.
    """
    if logits.shape[1] == 1:
        return bce(logits, label)
    logits, label = _checked(logits, label)
    return F.cross_entropy(logits, label[:, 0])


def soft_dice_loss(
    logits: Tensor,
    label: Tensor,
    squared: bool = False,
    include_background: bool = False,
    smooth: float = 1e-5,
    over_batch: bool = False,
) -> Tensor:
    """Soft Dice loss, ``1 - (2 sum p g + s) / (sum p + sum g + s)``, per case and class, averaged.

    With ``squared`` the denominator is ``sum p^2 + sum g^2``. When p is 0 or 1 everywhere both, and
    ``1 - 2 TP / (2 TP + FP + FN)``, and ``1 - 2 |A and B| / (|A| + |B|)``, are one and the same.

    Args:
        logits: (B, K, *spatial).
        label: (B, 1, *spatial).
        squared: squares in the denominator (sources 003 and Swin-Unet) or not (000).
        include_background: count class 0 as well; it has no meaning for K = 1.
        smooth: s above. An empty label then gives ``1 - s / (sum p + s)``: near 0 only if nothing
            is predicted, and a finite gradient. With 0 an empty pair gives nan.
        over_batch: one Dice of the whole batch, so that false alarms beside no lesion count.

    Source: 000 (plain), 003 equations 1-3 (squared; TP/FP/FN; sets).
    """
    logits, label = _checked(logits, label)
    one_channel = logits.shape[1] == 1
    probabilities = logits.sigmoid() if one_channel else logits.softmax(dim=1)
    truth = _one_hot(label, logits)
    if not (one_channel or include_background):
        probabilities, truth = probabilities[:, 1:], truth[:, 1:]
    space = (0,) * over_batch + tuple(range(2, logits.ndim))
    overlap = (probabilities * truth).sum(space)  # (B, K), or (K,) over the batch
    sizes = (probabilities**2 if squared else probabilities).sum(space) + truth.sum(space)
    return (1 - (2 * overlap + smooth) / (sizes + smooth)).mean()


def focal_loss(
    logits: Tensor,
    label: Tensor,
    gamma: float = 2.0,
    one_vs_rest: bool = False,
    include_background: bool = True,
) -> Tensor:
    """Focal loss, ``mean( -(1 - p)^gamma log p )`` with p the probability of the true class.

    Voxels that are already right (p near 1) count little. ``gamma = 0`` gives the cross entropy:
    ``bce`` for K = 1 and, because the mean runs over the K channels too, ``cross_entropy / K``.

    Args:
        logits: (B, K, *spatial).
        label: (B, 1, *spatial).
        gamma: 0 or more; 2 in the paper.
        one_vs_rest: K >= 2 only: a sigmoid for each class against the rest instead of the softmax,
            as MONAI's DiceFocalLoss has it (and FocalLoss unless use_softmax=True).
        include_background: with ``one_vs_rest``, count class 0 as well.

    Source: 001; Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 4.
    """
    logits, label = _checked(logits, label)
    truth = _one_hot(label, logits)
    if logits.shape[1] == 1 or one_vs_rest:
        if logits.shape[1] > 1 and not include_background:
            logits, truth = logits[:, 1:], truth[:, 1:]
        log_right = F.logsigmoid(logits * (2 * truth - 1))
        log_wrong = F.logsigmoid(logits * (1 - 2 * truth))
        return -((gamma * log_wrong).exp() * log_right).mean()
    log_p = logits.log_softmax(dim=1)
    # log(1 - p) as the log of the other classes' sum: 1 - p itself would round to 0 for a sure net
    log_wrong = log_p.masked_fill(truth.bool(), -torch.inf).logsumexp(dim=1, keepdim=True)
    return -((gamma * log_wrong).exp() * log_p.gather(1, label)).mean() / logits.shape[1]


def dice_ce(
    logits: Tensor,
    label: Tensor,
    lambda_dice: float = 1.0,
    lambda_ce: float = 1.0,
    squared: bool = False,
    include_background: bool = False,
) -> Tensor:
    """``lambda_ce * cross_entropy + lambda_dice * soft_dice_loss``; the first sees all classes.

    Source: 000 (the weighted sum), 003 ("DiceCE"), 004. MM-LLM-RO: both weights 1, no background.
    """
    overlap = soft_dice_loss(logits, label, squared, include_background)
    return lambda_ce * cross_entropy(logits, label) + lambda_dice * overlap


def dice_focal(
    logits: Tensor,
    label: Tensor,
    lambda_dice: float = 1.0,
    lambda_focal: float = 1.0,
    gamma: float = 2.0,
    include_background: bool = False,
) -> Tensor:
    """``lambda_dice * soft_dice_loss + lambda_focal * focal_loss`` (the focal part one_vs_rest).

    Source: 001 (fine-tuning), as MONAI's DiceFocalLoss: the background left out of both parts.
    """
    overlap = soft_dice_loss(logits, label, include_background=include_background)
    focal = focal_loss(logits, label, gamma, True, include_background)
    return lambda_dice * overlap + lambda_focal * focal


def contrastive_alignment_loss(
    image_embeddings: Tensor, text_embeddings: Tensor, temperature: float = 0.07
) -> Tensor:
    """Symmetric InfoNCE: each image must find its own text in the batch, each text its image.

    Both are scaled to length 1; ``logits[i, j] = image_i . text_j / temperature``; the loss is the
    mean of the cross entropy along rows and along columns, the truth being the diagonal. It is
    log(B) when nothing is told apart, and always 0 for B = 1: there is nothing to confuse.

    Args:
        image_embeddings: (B, E).
        text_embeddings: (B, E); row i belongs to row i of the images.
        temperature: above 0; smaller punishes near misses harder.

    Source: 001 (contrastive pre-training); CLIP, https://arxiv.org/abs/2103.00020, figure 3.
    Taught in notebook 15.
    """
    if image_embeddings.shape != text_embeddings.shape or image_embeddings.ndim != 2:
        raise InputError(
            f"embeddings of shapes {tuple(image_embeddings.shape)} and "
            f"{tuple(text_embeddings.shape)}; both must be (B, E)."
        )
    with torch.autocast(image_embeddings.device.type, enabled=False):  # a matmul would be bfloat16
        image = F.normalize(_full_precision(image_embeddings), dim=1)
        text = F.normalize(_full_precision(text_embeddings), dim=1)
        logits = image @ text.T / temperature  # (B, B)
        pairs = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def multitask_loss(
    segmentation_loss: Tensor,
    class_logits: Tensor,
    class_label: Tensor,
    weight: float = 0.3,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """``segmentation_loss + weight * cross entropy of the case's class`` (lesion subtype).

    Args:
        segmentation_loss: scalar, any loss above.
        class_logits: (B, C), the classification head.
        class_label: (B,), whole numbers 0 ... C - 1.
        weight: of the classification; 0.3 to 0.5 has worked, more starves the segmentation.
        class_weights: C numbers for rare classes (None: all equal); the mean is weighted by them.
        label_smoothing: share of the truth spread over all classes, 0 to 1.

    Source: 004 (Dice loss + cross entropy). Taught in notebook 17.
    """
    if class_logits.ndim != 2 or class_label.shape != class_logits.shape[:1]:
        raise InputError(
            f"class logits of shape {tuple(class_logits.shape)} with class labels of shape "
            f"{tuple(class_label.shape)}; they must be (B, C) and (B,)."
        )
    class_logits, class_label = _checked(class_logits, class_label[:, None])
    weights = None if class_weights is None else class_logits.new_tensor(class_weights)
    classification = F.cross_entropy(
        class_logits, class_label[:, 0], weight=weights, label_smoothing=label_smoothing
    )
    return segmentation_loss + weight * classification
