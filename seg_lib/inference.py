"""From a trained network to a mask on the grid of the scan. Taught in notebook 11.

Of a volume (X, Y, Z) in HU, RAS, for a 3D network:

1. crop to the lungs or the body, resample, window       `seg_lib.data.volumes.prepare`
2. slide a window of the size of the training patches    `sliding_window`, which runs MONAI's;
   after a coarse pass only around what that has found   `slide_in_part`
3. logits -> probability -> back on the grid             `seg_lib.data.volumes.put_back`
4. threshold: mask (X, Y, Z)

Nearly all of the time is spent in the network, so what counts is how it is run: several windows at
once (the smaller they are, the more), bfloat16 where its small loss of precision is accepted,
fewer windows through the crop, and none for windows of nothing but air.
2D networks go through a volume slice by slice: `seg_lib.slice_inference`.
"""

import dataclasses
import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from seg_lib.data.nifti import Volume
from seg_lib.data.volumes import Place, Preparation, Prepared, prepare, put_back
from seg_lib.errors import InputError
from seg_lib.memory import has_bf16, keep_memory
from seg_lib.postprocessing import largest_component  # noqa: F401  people take it from here
from seg_lib.slice_inference import (  # noqa: F401  people take them from here
    evaluating,
    foreground_probability,
    halved,
    out_of_memory,
    predict_slice,
    predict_slices,
    predict_slicewise,
    refuse_nan,
)

AT_ONCE = 2**17  # voxels; small windows alone keep a processor waiting
AIR_LOGIT = 20.0  # p < 1e-8 where nothing but air was seen
CHOICES = {"blend": ("constant", "gaussian"), "precision": ("no", "bf16", "fast")}


@dataclasses.dataclass(frozen=True)
class SlidingWindow:
    """How the window slides; only patch, overlap, blend, flips and bf16 change the answer."""

    patch: tuple[int, int, int] = (96, 96, 64)  # voxels along x, y, z, as in training
    overlap: float = 0.5  # of neighbouring windows, 0 to below 1; 0.8 costs 8 to 15 times 0.5
    blend: str = "gaussian"  # weight of a window's voxels: constant, or more in its middle
    batch_size: int | None = None  # windows at once; None: as many as make `AT_ONCE` voxels
    precision: str = "no"  # no is float32; bf16 is faster; fast: bf16 where the machine has it
    flips: bool = False  # mean over the eight mirror images: eight times the work
    skip_air: bool = True  # windows that are 0 everywhere are background unseen

    def __post_init__(self) -> None:
        """Check every field."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"SlidingWindow: {name} is {getattr(self, name)!r}; choose one of: "
                    f"{', '.join(choices)}."
                )
        if not 0 <= self.overlap < 1:
            raise InputError(f"SlidingWindow: overlap {self.overlap}; give 0 to below 1.")
        if len(self.patch) != 3 or min(self.patch) < 1 or self.windows_at_once < 1:
            raise InputError(
                f"SlidingWindow: patch {self.patch}, batch_size {self.batch_size}; give three "
                "sides and a batch of at least 1."
            )

    @property
    def windows_at_once(self) -> int:
        """The batch size, or two, or more where windows are small."""
        if self.batch_size is not None:
            return self.batch_size
        return max(2, AT_ONCE // math.prod(self.patch))


class Windows:
    """Called by MONAI with a batch of windows; runs the network on those that need it."""

    def __init__(self, model: nn.Module, how: SlidingWindow):
        self.model, self.how = model, how
        self.run, self.skipped, self.classes = 0, 0, 0  # windows seen, windows of air, channels
        self.image = slice(getattr(model, "image_channels", None))  # others are never air
        numbers = range(4) if how.flips else range(1)
        self.views = [dims for n in numbers for dims in combinations((2, 3, 4), n)]

    def __call__(self, windows: Tensor) -> Tensor:
        """(B, C, *patch) -> logits (B, K, *patch) float32; air is where the image is 0."""
        seen = windows[:, self.image].flatten(1).amax(1) > 0
        if not self.how.skip_air or not self.classes:  # the first time tells the number of classes
            seen[:] = True
        self.run, self.skipped = self.run + int(seen.sum()), self.skipped + int((~seen).sum())
        if seen.all():
            return self.logits(windows)
        shape = (len(windows), self.classes, *windows.shape[2:])
        logits = background(shape, windows.device)
        if seen.any():
            logits[seen] = self.logits(windows[seen])
        return logits

    def logits(self, windows: Tensor) -> Tensor:
        """Mean over the mirror images."""
        total = None
        device, wish = windows.device.type, self.how.precision
        half = wish == "bf16" or (wish == "fast" and has_bf16(device))
        with torch.autocast(device, torch.bfloat16, half):
            for dims in self.views:
                view = self.model(windows.flip(dims) if dims else windows).float()
                view = view.flip(dims) if dims else view
                total = view if total is None else total.add_(view)
        self.classes = total.shape[1]
        return total if len(self.views) == 1 else total.div_(len(self.views))


def background(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Logits (B, K, X, Y, Z) that say background everywhere."""
    logits = torch.full(shape, -AIR_LOGIT, device=device)
    if shape[1] > 1:
        logits[:, 0] = AIR_LOGIT
    return logits


def sliding_window(model: nn.Module, image: Tensor, how: SlidingWindow) -> Tensor:
    """Logits of a volume, window by window, blended where windows overlap.

    When the memory runs out the batch is halved; the result is the same, only slower.

    Args:
        model: (B, C, *patch) -> logits (B, K, *patch).
        image: (1, C, X, Y, Z) float32, on the CPU, where the logits are gathered too.
        how: the numbers.

    Returns:
        (1, K, X, Y, Z) float32, on the CPU.

    Raises:
        InputError: a single window does not fit into the memory.

    Taught in notebook 11.
    """
    from monai.inferers import sliding_window_inference

    keep_memory()
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    batch_size = how.windows_at_once
    with evaluating(model):
        while True:
            try:
                return sliding_window_inference(
                    image,
                    how.patch,
                    batch_size,
                    Windows(model, how),
                    overlap=how.overlap,
                    mode=how.blend,
                    sw_device=device,
                    device="cpu",
                )
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                batch_size = halved(batch_size, "window", how.patch)


def slide_in_part(model: nn.Module, image: Tensor, how: SlidingWindow, ready: Prepared) -> Tensor:
    """`sliding_window` over ``ready.how.part`` of a prepared volume alone, where it has one.

    The part is made as large as a window, as far as the volume goes: a window that sticks out is
    filled with air, and the network has seen none inside a body. Elsewhere is background.
    """
    if ready.how is None or ready.how.part is None:
        return sliding_window(model, image, how)
    cut, shape = [], image.shape[2:]
    for n, side, kept, part in zip(shape, how.patch, ready.place.box, ready.how.part, strict=True):
        voxels = kept.stop - kept.start  # of the file, where the network has n
        first = (part.start - kept.start) * n // voxels
        last = -((kept.start - part.stop) * n // voxels)  # rounded up
        start = min(max((first + last - side) // 2, 0), max(n - side, 0))
        cut.append(slice(min(start, max(first, 0)), max(start + side, min(last, n))))
    inside = sliding_window(model, image[(..., *cut)], how)
    logits = background((1, inside.shape[1], *shape))
    logits[(..., *cut)] = inside
    return logits


def predict_volume(
    model: nn.Module,
    volume: Volume,
    prepared_as: Preparation,
    how: SlidingWindow,
    threshold: float = 0.5,
) -> np.ndarray:
    """Mask of a volume from a 3D network, on the grid of the volume.

    Args:
        model: (B, 1, *patch) -> logits (B, K, *patch).
        volume: HU in RAS, as `read_image` gives it.
        prepared_as: as the training volumes were.
        how: the sliding window.
        threshold: with one or two classes, a voxel is foreground if its probability is at least
            this; with more, the most probable class wins.

    Returns:
        (X, Y, Z) uint8 labels on the grid of ``volume.array``; for `write_mask`.

    Taught in notebook 11.
    """
    ready = prepare(volume, prepared_as)
    logits = slide_in_part(model, torch.from_numpy(ready.image)[None, None], how, ready)
    return mask_of(logits, ready.place, threshold)


def mask_of(logits: Tensor, place: Place, threshold: float = 0.5) -> np.ndarray:
    """Logits (1, K, X', Y', Z') of a prepared volume -> mask (X, Y, Z) uint8 of the whole one."""
    refuse_nan(logits.max())
    if logits.shape[1] > 2:
        return put_back(labels_of(logits), place)
    return (put_back(foreground_of(logits), place) >= threshold).astype(np.uint8)


def foreground_of(logits: Tensor) -> np.ndarray:
    """Logits (1, K, X, Y, Z) -> foreground probability (X, Y, Z), slab by slab to save memory."""
    slabs = (foreground_probability(slab)[0, 0] for slab in logits.split(16, dim=2))
    return torch.cat(list(slabs)).numpy()


def labels_of(logits: Tensor) -> np.ndarray:
    """Logits (1, K, X, Y, Z) -> most probable class (X, Y, Z) uint8, slab by slab."""
    return torch.cat([s[0].argmax(0).byte() for s in logits.split(16, dim=2)]).numpy()
