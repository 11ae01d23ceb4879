"""Augmentation: changes of the training slices that keep the truth true.

Two ways to the same end. ``slice_augmentation`` is the recipe of source 002 in albumentations, one
image at a time, easy to read and to change. ``warp_batch`` does rotation, scale, shift, flips and
elastic deformation of a whole batch in a single interpolation, where speed counts.

Each draw is fixed by a seed, so that training can be repeated and resumed. Taught in notebook 04.
"""

import dataclasses
import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seg_lib.data.cases import Case, write_cases
from seg_lib.errors import InputError
from seg_lib.files import written_whole

TRIES = 3  # draws before a slice whose lesion keeps vanishing is left as it is


class SliceAugmentation:
    """Rotation ±30°, flips, elastic deformation, brightness and contrast, on image and mask alike.

    Args:
        intensity: also change brightness and contrast; False keeps the grey values.

    Source: 002; probabilities are ours, the source does not state them.
    """

    def __init__(self, intensity: bool = True):
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the internet
        import albumentations as A  # 1.5 s: only who augments pays

        steps = [
            A.Rotate(limit=30, p=0.7),  # masks take the nearest value by default
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.ElasticTransform(alpha=30, sigma=6, p=0.3),
        ]
        if intensity:
            steps += [A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5)]
        self.compose = A.Compose(steps)

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """One draw; if it would lose a lesion it is drawn again, at last the input is returned.

        Args:
            image: (H, W) uint8.
            mask: (H, W) uint8, 0 or 1.
            seed: same seed, same draw.

        Returns:
            Image and mask of the same shapes and types.
        """
        for attempt in range(TRIES):
            self.compose.set_random_seed((seed * TRIES + attempt) % 2**32)
            drawn = self.compose(image=image, mask=mask)
            if drawn["mask"].any() or not mask.any():
                return drawn["image"], drawn["mask"]
        return image, mask


def slice_augmentation(intensity: bool = True) -> SliceAugmentation:
    """The augmentation of source 002, ready to call with (image, mask, seed)."""
    return SliceAugmentation(intensity)


def augmented_copies(
    cases: Iterable[Case], out_dir: str | Path, copies: int = 4, seed: int = 0
) -> list[Case]:
    """Write each training slice and ``copies`` augmented versions: 708 become 3,540 with four.

    Args:
        cases: PNG slices of the *train* split; anything else would leak into the test.
        out_dir: gets images/, masks/ and cases.csv.
        copies: augmented versions of each slice.
        seed: same seed, same copies.

    Returns:
        The cases in ``out_dir``: ``<case>`` and ``<case>_aug1`` … of the same patient.

    Raises:
        InputError: a case of another split, or without mask.
    """
    cases, out_dir = list(cases), Path(out_dir)
    wrong = [c.case for c in cases if c.split != "train" or c.label is None]
    if wrong:
        raise InputError(
            f"augmented_copies: {', '.join(wrong[:3])} are not training cases with a mask; "
            "copies of validation or test cases would falsify the score."
        )
    augment = slice_augmentation()
    written = []
    for number, case in enumerate(cases):
        image = np.asarray(Image.open(case.image).convert("L"))
        mask = (np.asarray(Image.open(case.label).convert("L")) > 127).astype(np.uint8)
        for copy in range(copies + 1):
            drawn = augment(image, mask, seed + number * copies + copy) if copy else (image, mask)
            name = f"{case.case}_aug{copy}" if copy else case.case
            paths = out_dir / "images" / f"{name}.png", out_dir / "masks" / f"{name}.png"
            for path, pixels in zip(paths, (drawn[0], drawn[1] * 255), strict=True):
                with written_whole(path) as part:
                    Image.fromarray(pixels).save(part)
            written.append(dataclasses.replace(case, case=name, image=paths[0], label=paths[1]))
    write_cases(written, out_dir)
    return written


@dataclasses.dataclass(frozen=True)
class Warp:
    """How far ``warp_batch`` may go; every field 0 or False is the identity."""

    rotation_deg: float = 30.0
    scale: float = 0.15  # standard deviation of the logarithm of the zoom
    shift: float = 0.06  # standard deviation, share of the image
    elastic: float = 0.04  # standard deviation of the control points, share of the image
    flips: bool = True
    brightness: float = 0.05  # standard deviation, of the range 0..1
    contrast: float = 0.1  # standard deviation of the factor
    noise: float = 0.03  # largest standard deviation


def warp_batch(
    image: Tensor, label: Tensor, generator: torch.Generator, warp: Warp | None = None
) -> tuple[Tensor, Tensor]:
    """Rotate, zoom, shift, mirror and bend a batch in one interpolation, then change its greys.

    Args:
        image: (B, C, H, W) float in [0, 1].
        label: (B, 1, H, W) integers.
        generator: of the random numbers, on the CPU.
        warp: how far to go.

    Returns:
        Image (bilinear) and label (nearest) of the same shapes and types. What comes in from
        outside is 0: background, and black.
    """
    warp = warp or Warp()
    grid = _sampling_grid(image.shape, generator, warp).to(image.device)
    warped = F.grid_sample(image, grid, padding_mode="zeros", align_corners=False)
    moved = F.grid_sample(label.to(image.dtype), grid, mode="nearest", align_corners=False)
    b = image.shape[0]

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(image.device)

    contrast = 1 + warp.contrast * normal(b, 1, 1, 1)
    sigma = warp.noise * torch.rand(b, 1, 1, 1, generator=generator).to(image.device)
    warped = warped * contrast + warp.brightness * normal(b, 1, 1, 1)
    return warped + sigma * normal(*image.shape), moved.to(label.dtype)


def _sampling_grid(shape: torch.Size, generator: torch.Generator, warp: Warp) -> Tensor:
    """Where each pixel of the result is taken from: (B, H, W, 2) in [-1, 1]."""
    b, _, h, w = shape

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    angle = (2 * torch.rand(b, generator=generator) - 1) * math.radians(warp.rotation_deg)
    zoom = torch.exp(warp.scale * normal(b))
    mirrored = torch.rand(b, 2, generator=generator) < 0.5
    sign = 1 - 2 * (mirrored & warp.flips).float()
    shift = 2 * warp.shift * normal(b, 2)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    row_x = torch.stack([cos * sign[:, 0], -sin * h / w, shift[:, 0]], 1)
    row_y = torch.stack([sin * w / h * sign[:, 0], cos * sign[:, 1], shift[:, 1]], 1)
    row_x[:, 1] *= sign[:, 1]
    matrix = torch.stack([row_x, row_y], 1)  # (B, 2, 3)
    grid = F.affine_grid(matrix, [b, 1, h, w], align_corners=False)
    if warp.elastic:
        control = 2 * warp.elastic * normal(b, 2, 5, 5)  # a smooth field through 5 x 5 points
        field = F.interpolate(control, size=(h, w), mode="bicubic", align_corners=False)
        grid = grid + field.permute(0, 2, 3, 1)
    return grid
