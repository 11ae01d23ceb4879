"""Where does a picture fit a sentence? From an image-text model to a box for MedSAM.

    text, image ─ saliency ─> map (H, W) ─ box_of_saliency ─> box ─ medsam.predict_masks ─> mask

Boxes are x0, y0, x1, y1: columns and rows of the first and the last pixel, as in MedSAM.
Koleilat et al. 2024, MedCLIP-SAM, https://arxiv.org/abs/2403.20253. Taught in notebook 21.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from seg_lib.errors import InputError
from seg_lib.models.biomedclip import BiomedClip


def saliency(model: BiomedClip, image: np.ndarray, text: str) -> np.ndarray:
    """How much each place of an image adds to its likeness with a text: gradient x activation.

    Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391) at ``model.layer``: the
    features there times the gradient of the likeness, added up over the features, negative ones cut
    off. A network with tokens has its features where the last block begins.

    Args:
        model: is put into evaluation mode.
        image: (H, W) uint8.
        text: such as "a nodule".

    Returns:
        (H, W) float32 from 0 to 1; all 0 where nothing speaks for the text.
    """
    kept = []
    hook = model.eval().layer.register_forward_hook(lambda layer, into, out: kept.append(out))
    try:
        with torch.enable_grad():
            pixels = torch.from_numpy(image[None, None]).float() / 255
            likeness = model.likeness(pixels.requires_grad_(), [text])[0, 0]
    finally:
        hook.remove()
    features = kept[0]  # (1, C, h, w), or (1, 1 + h * w, C) with the class token first
    slope = torch.autograd.grad(likeness, features)[0]
    if features.ndim == 3:
        side = int((features.shape[1] - 1) ** 0.5)
        found = (features * slope).sum(2)[:, 1:].reshape(1, 1, side, side)
    else:
        found = (features * slope.mean((2, 3), keepdim=True)).sum(1, keepdim=True)
    found = F.interpolate(found.relu(), image.shape, mode="bicubic").clamp(min=0)[0, 0].detach()
    return (found / found.max().clamp(min=1e-12)).cpu().numpy().astype(np.float32)


def box_of_saliency(found: np.ndarray, share: float = 0.5) -> np.ndarray:
    """The box around the place that stands out most.

    Args:
        found: (H, W), of ``saliency``.
        share: of the maximum; what is at least that and hangs together with the maximum is inside.

    Returns:
        (4,) float; the whole image if the map is 0 everywhere.
    """
    if not 0 < share <= 1:
        raise InputError(f"share {share}: give a number above 0 and up to 1.")
    if not found.max() > 0:
        return np.array([0.0, 0.0, found.shape[1] - 1.0, found.shape[0] - 1.0])
    parts, _ = ndimage.label(found >= share * found.max())
    return box_of_mask(parts == parts.flat[found.argmax()])


def box_of_mask(mask: np.ndarray) -> np.ndarray:
    """(4,) float: the smallest box around a mask (H, W).

    Raises:
        InputError: the mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise InputError("the mask is empty; there is nothing to put a box around.")
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()], float)


def mask_of_box(box: Sequence[float], shape: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8: the box itself as a mask, first and last pixel included."""
    mask = np.zeros(shape, np.uint8)
    x0, y0, x1, y1 = np.rint(box).astype(int)
    mask[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = 1
    return mask


def jittered(
    box: np.ndarray, shape: tuple[int, int], rng: np.random.Generator, by: float = 0.2
) -> np.ndarray:
    """A box whose sides each move by up to ``by`` of its width or height, and one pixel more.

    It stays in the image (H, W) and keeps at least one pixel.
    """
    width, height = box[2:] - box[:2] + 1
    moved = box + rng.uniform(-1, 1, 4) * (by * np.array([width, height] * 2) + 1)
    low, high = np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])
    limits = np.array([shape[1], shape[0]]) - 1.0
    return np.concatenate([np.clip(low, 0, limits), np.clip(high, 0, limits)])
