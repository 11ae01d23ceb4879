"""Augmentation of patches as nnU-Net does it, each step a switch. Taught in notebooks 04 and 17.

Of the wishes of source 004, nnU-Net has all but the elastic deformation switched on: the defaults
here are its trainer's probabilities and ranges; `WISH_LIST` switches on the last one, too.

Rotation, scaling and elastic deformation share one resampling in torch instead of three. Greys are
changed by MONAI, but for the blur: MONAI's takes what lies outside as 0 and darkens the border.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Generator, Tensor

from seg_lib.data.augment import CONTROLS, cubic
from seg_lib.errors import InputError

MOVES = ("elastic", "rotation", "scaling")
GREYS = ("noise", "blur", "brightness", "contrast", "low_resolution", "gamma_inverted", "gamma")
STEPS = (*MOVES, *GREYS)


@dataclasses.dataclass(frozen=True)
class Augmentation3d:
    """Change a batch of patches; call it with (image, label, generator), as `PatchBatches` does.

    The first eleven fields are probabilities, each item of the batch and each step has draws of its
    own, and switching one step off leaves the draws of the others as they were. The steps follow
    one another as listed. Where a note names a side, ``mirror`` must be 0. A probability that is
    none: ``InputError``.

    Source: 004; nnU-Net, https://github.com/MIC-DKFZ/nnUNet, `nnUNetTrainer`.
    """

    elastic: float = 0.0
    rotation: float = 0.2
    scaling: float = 0.2
    noise: float = 0.1
    blur: float = 0.2
    brightness: float = 0.15
    contrast: float = 0.15
    low_resolution: float = 0.25
    gamma_inverted: float = 0.1
    gamma: float = 0.3
    mirror: float = 0.5  # each of the three axes
    bend: float = 0.05  # largest standard deviation of the control points, share of the patch
    rotation_deg: tuple[float, float, float] = (30.0, 30.0, 30.0)  # at most, about x, y and z
    sizes: tuple[float, float] = (0.7, 1.4)  # things grow by this factor
    noise_sd: float = 0.1  # at most, as share of the standard deviation of the patch
    blur_voxels: tuple[float, float] = (0.5, 1.0)  # standard deviation, along each axis
    factors: tuple[float, float] = (0.75, 1.25)  # of brightness, and of contrast
    resolutions: tuple[float, float] = (0.5, 1.0)
    exponents: tuple[float, float] = (0.7, 1.5)  # of both gammas; mean and deviation are kept
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)  # rotations are rotations in mm

    def __post_init__(self):
        wrong = {n: getattr(self, n) for n in (*STEPS, "mirror") if not 0 <= getattr(self, n) <= 1}
        if wrong:
            raise InputError(f"Augmentation3d: {wrong}; give probabilities from 0 to 1.")

    def __call__(self, image: Tensor, label: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One draw a patch.

        Args:
            image: (B, 1, X, Y, Z) float32 in [0, 1], on the CPU.
            label: (B, 1, X, Y, Z) integers.
            generator: of all random numbers, on the CPU.

        Returns:
            Image (trilinear) and label (nearest), new, of the same shapes, types and range. What
            comes in from outside is 0: background, and black.
        """
        b = image.shape[0]
        probabilities = torch.tensor([getattr(self, step) for step in STEPS])
        acts = torch.rand(b, len(STEPS), generator=generator) < probabilities
        seeds = torch.randint(2**31, (b, len(GREYS)), generator=generator).tolist()
        mirrored = torch.rand(b, 3, generator=generator) < self.mirror
        image, label = self._moved(image, label, acts[:, : len(MOVES)], generator)
        for i, acting in enumerate(acts[:, len(MOVES) :].tolist()):
            if any(acting):
                image[i] = self._greyed(image[i], acting, seeds[i])
        for i, axes in enumerate(mirrored):
            axes = (1 + axes.nonzero()[:, 0]).tolist()
            image[i], label[i] = image[i].flip(axes), label[i].flip(axes)
        return image, label

    def _moved(
        self, image: Tensor, label: Tensor, acts: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Copies, those patches resampled for which one of the ``acts`` (B, 3) is true."""
        b, _, *shape = image.shape
        field = torch.randn(b, 3, CONTROLS, CONTROLS, CONTROLS, generator=generator)
        field *= 2 * self.bend * torch.rand(b, 1, 1, 1, 1, generator=generator)
        angles = 2 * torch.rand(b, 3, generator=generator) - 1
        angles *= torch.deg2rad(torch.tensor(self.rotation_deg))
        low, high = self.sizes
        sizes = low + (high - low) * torch.rand(b, generator=generator)
        linear = rotations(angles * acts[:, 1:2]) / torch.where(acts[:, 2], sizes, 1)[:, None, None]
        image, label, some = image.clone(), label.clone(), acts.any(1)
        if some.any():
            field = field * acts[:, 0].view(-1, 1, 1, 1, 1)
            grid = sampling_grid(shape, linear[some], field[some], self.spacing_mm)
            for volume, mode in ((image, "bilinear"), (label, "nearest")):
                moved = F.grid_sample(volume[some].float(), grid, mode=mode, align_corners=False)
                volume[some] = moved.to(volume.dtype)
        return image, label

    def _greyed(self, item: Tensor, acting: Sequence[bool], seeds: Sequence[int]) -> Tensor:
        """(1, X, Y, Z) with other greys.

        The steps see them in standard deviations of the patch: nnU-Net's images have one of 1.
        """
        unit = float(item.std()) or 1.0
        item = item / unit
        for step, act, seed in zip(GREYS, acting, seeds, strict=True):
            if act and step == "blur":
                sigma = np.random.default_rng(seed).uniform(*self.blur_voxels, size=3)
                blurred = gaussian_filter(item[0].numpy(), sigma, mode="nearest")
                item = torch.from_numpy(blurred)[None]
            elif act:
                item = self._by_monai[step].set_random_state(seed)(item).as_tensor()
        return (item * unit).clamp(0, 1)

    @functools.cached_property
    def _by_monai(self) -> dict[str, Any]:
        import monai.transforms as mt

        factors = [factor - 1 for factor in self.factors]
        how = {"prob": 1.0, "gamma": self.exponents, "retain_stats": True}
        return {
            "noise": mt.RandGaussianNoise(prob=1.0, std=self.noise_sd),
            "brightness": mt.RandScaleIntensity(factors, prob=1.0),
            "contrast": mt.RandScaleIntensityFixedMean(1.0, factors, preserve_range=True),
            "low_resolution": mt.RandSimulateLowResolution(1.0, zoom_range=self.resolutions),
            "gamma_inverted": mt.RandAdjustContrast(**how, invert_image=True),
            "gamma": mt.RandAdjustContrast(**how),
        }


WISH_LIST = Augmentation3d(elastic=0.2)  # every step of source 004's list


def rotations(angles: Tensor) -> Tensor:
    """(B, 3, 3): turn about the axis (B, 3) by its length in radians; a quarter about z: x to y."""
    return torch.linalg.matrix_exp(torch.linalg.cross(torch.eye(3)[None], angles[:, None]))


def sampling_grid(
    shape: Sequence[int], linear: Tensor, field: Tensor, spacing_mm: Sequence[float]
) -> Tensor:
    """Where each voxel of the result is taken from, as `torch.nn.functional.grid_sample` wants it.

    Args:
        shape: (X, Y, Z).
        linear: (B, 3, 3), mm from the middle of the result -> mm from the middle of the source.
        field: (B, 3, 5, 5, 5), how much farther along x, y and z at the control points, in half
            patches; cubic between them.
        spacing_mm: of the voxels.

    Returns:
        (B, X, Y, Z, 3): -1 to 1 along z, y and x.
    """
    half_mm = torch.tensor(shape) * torch.tensor(spacing_mm) / 2
    matrix = linear * half_mm / half_mm[:, None]
    matrix = F.pad(matrix.flip(1, 2), (0, 1))  # torch counts the last axis first
    grid = F.affine_grid(matrix, [len(matrix), 1, *shape], align_corners=False)
    if field.any():
        for n in shape:
            field = torch.tensordot(field, cubic(n), dims=([2], [0]))  # X, Y, Z in turn go last
        grid = grid + field.flip(1).permute(0, 2, 3, 4, 1)
    return grid
