"""Augmentation: changes of the training slices that keep the truth true.

Two ways to the same end. ``slice_augmentation`` is the recipe of source 002 in albumentations, one
image at a time, easy to read and to change. ``warp_batch`` does rotation, scale, shift, flips and
elastic deformation of a whole batch in a single interpolation, where speed counts.

Each draw is fixed by a seed, so that training can be repeated and resumed. Taught in notebook 04.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_lib.data.cases import Case, write_cases
from seg_lib.data.pictures import read_png, read_png_mask, save_png
from seg_lib.errors import InputError

CONTROLS = 5  # along each axis: the elastic field is smooth between 5 x 5 (x 5) points
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
            for number, step in enumerate(self.compose.transforms):
                # one seed for all would couple the steps: each would draw the same numbers
                own = np.random.SeedSequence((seed * TRIES + attempt, number)).generate_state(1)
                step.set_random_seed(int(own[0]))
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
        image = read_png(case.image)
        mask = read_png_mask(case.label, image.shape)
        for copy in range(copies + 1):
            drawn = augment(image, mask, seed + number * copies + copy) if copy else (image, mask)
            name = f"{case.case}_aug{copy}" if copy else case.case
            paths = out_dir / "images" / f"{name}.png", out_dir / "masks" / f"{name}.png"
            save_png(paths[0], drawn[0])
            save_png(paths[1], drawn[1] * 255)
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
    label_offset: tuple[float, float] = (0.0, 0.0)  # pixels along the first two axes by which the
    # masks are drawn beside what they show; the label that comes out is moved back


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
    down, across = warp.label_offset
    beside = torch.tensor([2 * across / image.shape[3], 2 * down / image.shape[2]])
    beside = grid + beside.to(grid.device)
    moved = F.grid_sample(label.to(image.dtype), beside, mode="nearest", align_corners=False)
    return change_greys(warped, generator, warp), moved.to(label.dtype)


def change_greys(image: Tensor, generator: torch.Generator, warp: Warp) -> Tensor:
    """Contrast, brightness and noise, one draw an image (B, C, …); in place, and returned."""
    one_an_image = (image.shape[0], *[1] * (image.ndim - 1))
    contrast = 1 + warp.contrast * torch.randn(one_an_image, generator=generator)
    sigma = warp.noise * torch.rand(one_an_image, generator=generator)
    brightness = warp.brightness * torch.randn(one_an_image, generator=generator)
    image.mul_(contrast.to(image.device)).add_(brightness.to(image.device))
    if warp.noise:
        noise = torch.randn(image.shape, generator=generator).to(image.device)
        image.addcmul_(noise, sigma.to(image.device))
    return image


def _sampling_grid(shape: torch.Size, generator: torch.Generator, warp: Warp) -> Tensor:
    """Where each pixel of the result is taken from: (B, H, W, 2) in [-1, 1].

    Rotation, zoom, shift, flips and the elastic field are all of the form ``rows @ numbers @
    columns``: a few numbers per image, times what each row and each column looks at. So the whole
    grid is one small product, five times as fast as building and adding its parts.
    """
    b, _, h, w = shape
    angle = (2 * torch.rand(b, generator=generator) - 1) * math.radians(warp.rotation_deg)
    zoom = torch.exp(warp.scale * torch.randn(b, generator=generator))
    mirrored = torch.rand(b, 2, generator=generator) < 0.5
    sign_x, sign_y = (1 - 2 * (mirrored & warp.flips).float()).unbind(1)
    numbers = torch.zeros(b, 2, CONTROLS + 2, CONTROLS + 2)  # for x and for y
    numbers[:, :, -2, -2] = 2 * warp.shift * torch.randn(b, 2, generator=generator)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    numbers[:, 0, -2, -1], numbers[:, 0, -1, -2] = cos * sign_x, -sin * sign_y * h / w
    numbers[:, 1, -2, -1], numbers[:, 1, -1, -2] = sin * sign_x * w / h, cos * sign_y
    if warp.elastic:
        bend = torch.randn(b, 2, CONTROLS, CONTROLS, generator=generator)
        numbers[:, :, :CONTROLS, :CONTROLS] = 2 * warp.elastic * bend
    rows = (_looks_at(h) @ numbers).transpose(1, 2).flatten(2)  # (B, H, what x and y look at)
    return (rows @ _columns(w)).view(b, h, w, 2)


@functools.cache
def cubic(n: int) -> Tensor:
    """(5, n): how much each of n pixels along an axis looks at each control point."""
    points = torch.eye(CONTROLS)[None, :, :, None]
    return F.interpolate(points, (n, 1), mode="bicubic", align_corners=False)[0, :, :, 0]


@functools.cache
def _looks_at(n: int) -> Tensor:
    """What each of n pixels looks at: the control points (bicubic), one, its place in [-1, 1]."""
    place = (2 * torch.arange(n) + 1) / n - 1
    return torch.cat([cubic(n), torch.ones(1, n), place[None]]).T.contiguous()


@functools.cache
def _columns(n: int) -> Tensor:
    """What the columns look at, for x and y in turn, so that the product is the grid as it is."""
    twice = torch.einsum("nk,ab->aknb", _looks_at(n), torch.eye(2))
    return twice.reshape(2 * (CONTROLS + 2), 2 * n)
