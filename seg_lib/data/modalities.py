"""Several images of one patient as the channels of one: CT and PET, or sequences of MRI.

    CT  ── prepare ─────────────────────────> channel 0 ┐
    PET ── onto_grid ── add_channel (window) ─> channel 1 ┴─ ModalityDropout ─> network

`load_channels` does it for cases whose images have the same voxels already, as nnU-Net wants them.
The first image gives the grid, the box and the way back; each other one is brought onto its grid
and scaled by a window of its own. An image that a hospital does not have is a channel of 0; the
network has to meet that in training, and ``ModalityDropout`` sees to it.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Generator, Tensor

from seg_lib.data.cases import Case, read_channels
from seg_lib.data.dicom_files import read_folder
from seg_lib.data.nifti import Volume, read_image, read_mask
from seg_lib.data.patches import Augment3d
from seg_lib.data.volumes import Preparation, Prepared, prepare, resampled
from seg_lib.errors import InputError

SUV_WINDOW = (0.0, 10.0)  # body-weight SUV that become 0 and 1


def check_same_frame(*folders: str | Path) -> None:
    """Refuse DICOM folders whose coordinates have nothing to do with each other.

    Raises:
        InputError: the frames of reference differ or are not named; or see `read_folder`.
    """
    frames = {piece.frame_of_reference for one in folders for piece in read_folder(one)[0]}
    if len(frames) != 1 or "" in frames:
        raise InputError(
            "the series have no common frame of reference (FrameOfReferenceUID), so their "
            "millimetres cannot be compared; register one to the other first."
        )


def onto_grid(moving: Volume, fixed: Volume) -> np.ndarray:
    """An image on the voxels of another one, by their affines.

    Linear between voxel centres, constant in the outer half of a border voxel, 0 beyond. Nothing is
    smoothed, so the moving image should be the coarser one, as PET beside CT.

    Args:
        moving: the image to bring over.
        fixed: whose voxels are taken; its values are not looked at.

    Returns:
        (X, Y, Z) float32 of the shape of ``fixed``.

    Raises:
        InputError: no voxel of ``fixed`` lies in ``moving``.
    """
    there = np.linalg.inv(moving.affine) @ fixed.affine  # index in fixed -> index in moving
    how = {"matrix": there[:3, :3], "offset": there[:3, 3], "output_shape": fixed.array.shape}
    whole = np.ones(moving.array.shape, np.uint8)
    inside = ndimage.affine_transform(whole, order=0, mode="grid-constant", **how)
    if not inside.any():
        raise InputError(
            f"{moving.path}: no voxel lies within {fixed.path}; do both belong to the same patient "
            "and the same frame of reference?"
        )
    return ndimage.affine_transform(moving.array, order=1, mode="nearest", **how) * inside


def add_channel(
    ready: Prepared, fixed: Volume, other: Volume, window: tuple[float, float] = SUV_WINDOW
) -> Prepared:
    """One more channel for a prepared volume.

    Args:
        ready: what `prepare` made of ``fixed``, with the channels so far.
        fixed: the volume that gives the grid.
        other: an image of the same patient, on any grid.
        window: (low, high) of its values that become 0 and 1.

    Returns:
        The same with ``image`` (C + 1, X', Y', Z').

    Raises:
        InputError: see `onto_grid`, or a window that the values do not fit, as Bq/ml would not.
    """
    low, high = window
    shape = ready.image.shape[-3:]
    there = resampled(onto_grid(other, fixed)[ready.place.box], shape)
    if not low < high or np.mean(there > high) > 0.25:
        raise InputError(
            f"{other.path}: a quarter of its voxels or more lie above the window {window}; give a "
            "window (low, high) that fits them, and PET as SUV, not as counts or Bq/ml."
        )
    channel = np.clip((there - low) / (high - low), 0, 1).astype(np.float32)
    channels = np.concatenate([ready.image.reshape(-1, *shape), channel[None]])
    return dataclasses.replace(ready, image=channels)


def load_channels(
    cases: Iterable[Case],
    how: Preparation,
    n_classes: int = 2,
    windows: dict[str, tuple[float, float]] | None = None,
) -> list[Prepared]:
    """Read and prepare every case once, with all its channels; with one, as `load_volumes` does.

    Args:
        cases: with ``channels`` on the voxels of the image.
        how: the preparation of the image; its window is also that of further channels called CT.
        n_classes: labels go to ``n_classes - 1``.
        windows: (low, high) of channels by name; that of PET is ``SUV_WINDOW`` if not given.

    Raises:
        InputError: see `read_channels`, `read_mask`, `prepare` and `add_channel`; no window.
    """
    windows = {"CT": how.window, "PET": SUV_WINDOW} | (windows or {})
    loaded = []
    for case in cases:
        volume = read_image(case.image)
        label = read_mask(case.label, volume, n_classes).array if case.label else None
        ready = dataclasses.replace(prepare(volume, how, label), case=case)
        for (name, file), other in zip(case.channels, read_channels(case, volume), strict=True):
            if name not in windows:
                raise InputError(f"{file}: no window for channel {name}; give load_channels one.")
            ready = add_channel(ready, volume, other, windows[name])
        loaded.append(ready)
    return loaded


@dataclasses.dataclass(frozen=True)
class ModalityDropout:
    """An augmentation that takes whole channels away, for the patches of `seg_lib.data.patches`.

    A case loses channels with probability ``share``. Which ones: every choice but none and all is
    equally likely. It needs no network of its own; what is drawn follows from the generator of the
    batch, so a run that was stopped goes on bit by bit.

    Source: Neverova et al. 2016, ModDrop, https://arxiv.org/abs/1501.00102.
    """

    share: float  # of the cases, 0 to 1
    before: Augment3d | None = None  # another augmentation, which sees all channels

    def __call__(self, image: Tensor, label: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """(B, C, X, Y, Z) -> the same with channels of 0; the label stays. C is at least 2."""
        b, c = image.shape[:2]
        if c < 2 or not 0 <= self.share <= 1:
            raise InputError(f"ModalityDropout: {c} channels, share {self.share}; 2 or more, 0..1.")
        if self.before:
            image, label = self.before(image, label, generator)
        hit = torch.rand(b, generator=generator) < self.share
        lost = torch.randint(1, 2**c - 1, (b,), generator=generator)  # its bits are the channels
        lost = (lost[:, None] >> torch.arange(c)) & hit[:, None]
        return image.masked_fill(lost.bool()[:, :, None, None, None], 0.0), label
