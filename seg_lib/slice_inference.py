"""From a trained 2D network to a mask on the grid of the scan. Taught in notebook 06.

Of a volume (X, Y, Z) in HU, RAS:

1. axial slices through the window to grey, resized if the training slices were (N, 1, H, W)
2. pad to a multiple of 32
3. network, then sigmoid or softmax, optionally averaged over four mirror images
4. crop, resize back, threshold: mask (X, Y, Z)
"""

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_lib.data.nifti import Volume, axial_view, from_axial_view
from seg_lib.data.slices import resize_image, to_grey
from seg_lib.errors import InputError

MULTIPLE = 32  # five halvings in the encoder, so height and width must divide by 2^5
FLIPS = ((), (2,), (3,), (2, 3))  # none, upside down, left to right, both; axes of (B, C, H, W)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; afterwards every layer is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def foreground_probability(logits: Tensor) -> Tensor:
    """Logits (B, K, *spatial) -> probability of any class but background (B, 1, *spatial).

    One channel means a sigmoid, more a softmax with background first, as in `seg_lib.losses`.
    """
    if logits.shape[1] == 1:
        return logits.float().sigmoid()
    return logits.float().softmax(dim=1)[:, 1:].sum(dim=1, keepdim=True)


def predict_slices(
    model: nn.Module, images: np.ndarray | Tensor, batch_size: int = 8, flips: bool = False
) -> np.ndarray:
    """Foreground probability of every slice.

    When the memory runs out the batch is halved; the result is the same, only slower.

    Args:
        model: (B, 1, H, W) in [0, 1] -> logits (B, K, H, W), H and W multiples of 32.
        images: (N, 1, H, W), any H and W; uint8 0-255 or float in [0, 1].
        batch_size: slices at once; changes speed and memory only.
        flips: average over the four mirror images (test-time augmentation, four times the work).

    Returns:
        (N, 1, H, W) float32 in [0, 1].

    Raises:
        InputError: another shape, NaN as answer, or a single slice is too large for the memory.

    Taught in notebook 06.
    """
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.require(images, requirements="CW"))  # C order and writable
    if images.ndim != 4 or images.shape[1] != 1:
        raise InputError(f"images of shape {tuple(images.shape)}; slices must be (N, 1, H, W).")
    found = np.empty(images.shape, np.float32)
    start = 0
    with evaluating(model):
        while start < len(images):
            part = images[start : start + batch_size]
            probability = _if_it_fits(model, part, flips)
            if probability is None:
                batch_size = halved(len(part), "slice", part.shape[2:])
                continue
            found[start : start + len(part)] = probability.cpu().numpy()
            start += len(part)
    refuse_nan(found.max(initial=0))
    return found


def refuse_nan(largest: float | Tensor) -> None:
    """Refuse an answer whose maximum is NaN, as any NaN makes it: it would pass for no lesion."""
    if math.isnan(largest):
        raise InputError("The network answers NaN; check that image and weights are numbers.")


def _if_it_fits(model: nn.Module, images: Tensor, flips: bool) -> Tensor | None:
    """Probabilities of one batch, or None if the memory does not suffice."""
    try:
        return _predict_batch(model, images, flips)
    except RuntimeError as error:
        if out_of_memory(error):
            return None
        raise


def out_of_memory(error: RuntimeError) -> bool:
    """Whether the device, or the CPU, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def halved(batch_size: int, what: str, shape: Sequence[int]) -> int:
    """Half the batch that was too large for the memory, with a warning.

    Args:
        batch_size: that was too large.
        what: of which there were so many: "slice" or "window".
        shape: of one.

    Raises:
        InputError: it was a single one already.
    """
    if batch_size == 1:
        sides = " x ".join(map(str, shape))
        raise InputError(
            f"One {what} of {sides} does not fit into the memory; take a smaller size or the CPU."
        )
    message = f"Out of memory with {batch_size} {what}s at once; going on with {batch_size // 2}."
    warnings.warn(message, RuntimeWarning, stacklevel=3)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return batch_size // 2


def _predict_batch(model: nn.Module, images: Tensor, flips: bool) -> Tensor:
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    images = images.to(device)
    images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    height, width = images.shape[2:]
    padded = F.pad(images, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")
    views = FLIPS if flips else FLIPS[:1]
    views = [foreground_probability(model(padded.flip(dims))).flip(dims) for dims in views]
    return torch.stack(views).mean(dim=0)[:, :, :height, :width]


def predict_slice(model: nn.Module, image: np.ndarray, flips: bool = False) -> np.ndarray:
    """Foreground probability (H, W) float32 of one slice (H, W), uint8 or float in [0, 1].

    Taught in notebook 06.
    """
    return predict_slices(model, np.asarray(image)[None, None], flips=flips)[0, 0]


def predict_resized(
    model: nn.Module, images: Sequence[np.ndarray], size: int | None, **how: Any
) -> np.ndarray:
    """Probability (N, H, W) of N grey images (H, W), each seen at the size of the training slices.

    ``size`` is their height and width, or None if they kept their own pixels, as
    `slices_of_volumes` gives them; ``how`` goes to ``predict_slices``.
    """
    if size is None:
        return predict_slices(model, np.stack(images)[:, None], **how)[:, 0]
    grey = np.stack([resize_image(image, size) for image in images])[:, None]
    there = torch.from_numpy(predict_slices(model, grey, **how))
    sides = images[0].shape
    return F.interpolate(there, sides, mode="bilinear", antialias=True)[:, 0].numpy()


def predict_slicewise(
    model: nn.Module,
    volume: Volume,
    window: tuple[float, float],
    size: int | None = None,
    batch_size: int = 8,
    flips: bool = False,
    threshold: float = 0.5,
) -> np.ndarray:
    """Mask of a volume from a 2D network, axial slice by axial slice.

    Args:
        model: see ``predict_slices``.
        volume: HU in RAS, as `read_image` gives it.
        window: (low, high) in HU, the one the network was trained with.
        size: see ``predict_resized``.
        batch_size: slices at once.
        flips: see ``predict_slices``.
        threshold: a voxel is foreground if its probability is at least this.

    Returns:
        (X, Y, Z) uint8, 0 or 1, on the grid of ``volume.array``; for `write_mask`.

    Taught in notebook 06.
    """
    grey = [to_grey(axial_view(volume.array, z), window) for z in range(volume.array.shape[2])]
    probability = predict_resized(model, grey, size, batch_size=batch_size, flips=flips)
    return from_axial_view((probability >= threshold).transpose(1, 2, 0)).astype(np.uint8)
