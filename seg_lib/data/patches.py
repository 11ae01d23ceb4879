"""Batches of patches cut from prepared volumes. Taught in notebook 10.

A volume of 512 x 512 x 300 does not fit into a training step, and almost all of it is no lesion. A
patch does, and a chosen share of the patches has a lesion voxel in its middle or, with ``jitter``,
somewhere else: a network that sees lesions in the middle only learns that what lies in the middle
is one, which is no help when a window slides over a scan.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from seg_lib.data.notes import contradict
from seg_lib.data.volumes import Prepared
from seg_lib.errors import InputError

HARD_SHARE = 0.7  # of the patches without tumour: where another network was wrong
Augment3d = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]


class PatchBatches:
    """Iterate over patches; which ones follows from (seed, epoch) alone.

    Args:
        volumes: with labels.
        patch: voxels along x, y and z; smaller volumes are padded with 0.
        batch_size: patches in a batch.
        patches: of each volume in an epoch.
        positives: share of patches whose middle is a lesion voxel; a volume without lesion gives
            none. Source 003 took 0.25.
        jitter: how far from the middle that voxel may lie, as a share of the patch, below 0.5.
        augment: (image (B, C, *patch), label, generator) -> the same.
        seed: of choice and augmentation.

    Yields:
        {"image": (B, C, *patch) float32 in [0, 1], "label": (B, 1, *patch) int64, "case": names}.

    Raises:
        InputError: no volumes, or one without label.
    """

    def __init__(
        self,
        volumes: Sequence[Prepared],
        patch: Sequence[int],
        batch_size: int = 2,
        patches: int = 4,
        positives: float = 0.5,
        augment: Augment3d | None = None,
        seed: int = 0,
        jitter: float = 0.0,
    ):
        unlabelled = [v.case.case if v.case else "?" for v in volumes if v.label is None]
        if not volumes or unlabelled:
            raise InputError(
                f"patches of {len(volumes)} volumes, without label: {unlabelled[:5]}; give at "
                "least one volume, each with its label."
            )
        self.volumes, self.patch, self.batch_size = list(volumes), tuple(patch), batch_size
        self.patches, self.positives, self.augment = patches, positives, augment
        if not 0 <= jitter < 0.5:
            raise InputError(f"jitter is {jitter}; from 0.5 on patches may miss the lesion.")
        self.seed, self.epoch, self.jitter = seed, 0, jitter
        # Where lesion and other voxels lie is looked up once, not in every epoch.
        self.foreground = [np.flatnonzero(v.label) for v in self.volumes]
        self.background = [np.flatnonzero(v.label == 0) for v in self.volumes]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose patches the next pass has."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.volumes) * self.patches // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        chance = np.random.default_rng([self.seed, self.epoch])
        order = chance.permutation(np.repeat(np.arange(len(self.volumes)), self.patches))
        seeds = chance.integers(2**31, size=len(order))
        for start in range(0, len(order), self.batch_size):
            stop = start + self.batch_size
            yield self._batch(order[start:stop], seeds[start:stop])

    def _batch(self, chosen: np.ndarray, seeds: np.ndarray) -> dict[str, Any]:
        cut = [self.cut(int(i), int(seed)) for i, seed in zip(chosen, seeds, strict=True)]
        image, label, *beside = (torch.stack(parts) for parts in zip(*cut, strict=True))
        if self.augment:
            generator = Generator().manual_seed(int(seeds[0]))
            image, label = self.augment(image, label.long(), generator)
        cases = [self.volumes[i].case for i in chosen]
        names = [c.case if c else f"volume {i}" for c, i in zip(cases, chosen, strict=True)]
        batch = {"image": image, "label": label.long(), "case": names}
        return batch | ({"positions": beside[0]} if beside else {})

    def cut(self, index: int, seed: int) -> list[Tensor]:
        """One patch (C, *patch) and its label, where MONAI's RandCropByPosNegLabel draws it."""
        from monai.transforms import RandCropByPosNegLabel

        volume = self.volumes[index]
        label = torch.from_numpy(volume.label)[None]
        image = torch.from_numpy(volume.image).reshape(-1, *volume.label.shape)
        foreground, background = self.foreground[index], self.background[index]
        if not (len(foreground) and len(background)):  # nothing to choose between
            foreground = background = np.arange(volume.label.size)
        if self.jitter and volume.label.any():
            foreground = beside_one(foreground, volume.label.shape, self.patch, self.jitter, seed)
        # MONAI moves the middle inwards until the patch fits, so only short axes are padded.
        sides = [min(n, side) for n, side in zip(self.patch, volume.label.shape, strict=True)]
        crop = RandCropByPosNegLabel(sides, pos=self.positives, neg=1 - self.positives)
        crop.set_random_state(seed)
        crop.randomize(label, fg_indices=foreground, bg_indices=background, image=image)
        starts = [c - n // 2 for c, n in zip(crop.centers[0], sides, strict=True)]
        where = tuple(slice(a, a + n) for a, n in zip(starts, sides, strict=True))
        parts = [part[(slice(None), *where)] for part in (image, label, *self.beside(volume))]
        short = [n - side for n, side in zip(self.patch, sides, strict=True)]
        pad = [part for n in reversed(short) for part in (n // 2, n - n // 2)]
        return [F.pad(part, pad) for part in parts] if any(pad) else parts

    def beside(self, volume: Prepared) -> list[Tensor]:
        """What else is cut at the same place: (C, X, Y, Z) each; here nothing."""
        return []


def beside_one(
    indices: np.ndarray, shape: Sequence[int], patch: Sequence[int], jitter: float, seed: int
) -> np.ndarray:
    """(1,): flat index of a voxel up to ``jitter`` of the patch from one of the voxels."""
    chance = np.random.default_rng([seed, 1])
    voxel = np.array(np.unravel_index(chance.choice(indices), shape))
    reach = jitter * np.array(patch)
    moved = voxel + np.round(chance.uniform(-reach, reach)).astype(int)
    return np.array([np.ravel_multi_index(np.clip(moved, 0, np.array(shape) - 1), shape)])


class NotedPatches(PatchBatches):
    """Patches with the note of their case, and with where they were cut.

    A note speaks of the left upper lobe; a patch alone does not know where it lies. And with few
    patients a network rather learns by heart which nodule is the tumour than to read. So some
    patches with a tumour come with the note of another patient, which names another place: there,
    what is seen is not what is asked for, and the label is empty.

    Args:
        volumes: see `PatchBatches`, as all that is not named here.
        other_note: share of patches with tumour that come with the note of another patient.
        without_note: share of patches whose note is left out.
        hard: flat indices in each volume where patches without tumour should mostly lie.

    Yields:
        What `PatchBatches` does, "positions" (B, 3, *patch) of `positions_of`, and "note", B texts.

    Raises:
        InputError: see `PatchBatches`, or an augmentation that would make the notes wrong.
    """

    def __init__(
        self,
        volumes: Sequence[Prepared],
        patch: Sequence[int],
        *,
        other_note: float = 0.4,
        without_note: float = 0.1,
        hard: Sequence[np.ndarray] | None = None,
        **how: Any,
    ):
        augment = how.get("augment")
        augment = getattr(augment, "before", augment)  # of `modalities.ModalityDropout`
        if augment is flips_and_greys or getattr(augment, "mirror", 0):
            raise InputError("augment turns left into right, which no note does; use greys.")
        super().__init__(volumes, patch, **how)
        self.other_note, self.without_note = other_note, without_note
        self.note_of = {v.case.case: v.case.note for v in self.volumes}
        notes = sorted(set(self.note_of.values()))
        self.others = {own: [note for note in notes if contradict(own, note)] for own in notes}
        if hard is not None:
            pairs = zip(self.background, hard, strict=True)
            self.background = [_mostly(hard, anywhere) for anywhere, hard in pairs]

    def _batch(self, chosen: np.ndarray, seeds: np.ndarray) -> dict[str, Any]:
        batch = super()._batch(chosen, seeds)
        chance = np.random.default_rng(seeds)
        batch["note"] = [self.note_of[name] for name in batch["case"]]
        for i, own in enumerate(batch["note"]):
            draw, others = chance.random(), self.others[own]
            if draw < self.other_note and others and batch["label"][i].any():
                batch["note"][i] = others[chance.integers(len(others))]
                batch["label"][i] = 0
            elif draw > 1 - self.without_note:
                batch["note"][i] = ""
        return batch

    def beside(self, volume: Prepared) -> list[Tensor]:
        """The positions of the voxels."""
        return [positions_of(volume.image.shape[-3:])]


def _mostly(hard: np.ndarray, anywhere: np.ndarray) -> np.ndarray:
    """Indices to draw from: HARD_SHARE of them ``hard`` ones, the others spread evenly."""
    if not len(hard):
        return anywhere
    n = min(len(anywhere), 10_000)
    spread = anywhere[np.linspace(0, len(anywhere) - 1, n).astype(int)]
    return np.concatenate([spread, np.resize(hard, int(n * HARD_SHARE / (1 - HARD_SHARE)))])


def positions_of(shape: Sequence[int]) -> Tensor:
    """Where each voxel of a volume lies: (3, X, Y, Z) float32, -1 to 1 along x, y and z."""
    axes = [torch.linspace(-1, 1, n) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def greys(image: Tensor, label: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """`flips_and_greys` without the flips: left stays left, as the note says."""
    return _augmented(image, label, generator, mirrors=False)


def flips_and_greys(image: Tensor, label: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """The augmentation of source 003, one draw a patch.

    Left and right change places with probability 0.3; with probability 0.2 each, the greys are
    shifted by up to 0.05 and multiplied by 0.95 to 1.05.

    Args:
        image: (B, C, X, Y, Z) float in [0, 1]; all channels get the same.
        label: (B, 1, X, Y, Z).
        generator: of the random numbers, on the CPU.

    Source: 003, RandFlip, RandShiftIntensity, RandScaleIntensity.
    """
    return _augmented(image, label, generator, mirrors=True)


def _augmented(
    image: Tensor, label: Tensor, generator: Generator, mirrors: bool
) -> tuple[Tensor, Tensor]:
    b = image.shape[0]
    draw = torch.rand(3, b, 1, 1, 1, 1, generator=generator)
    amount = 0.1 * torch.rand(2, b, 1, 1, 1, 1, generator=generator) - 0.05
    if mirrors:
        image = torch.where(draw[0] < 0.3, image.flip(2), image)
        label = torch.where(draw[0] < 0.3, label.flip(2), label)
    image = torch.where(draw[1] < 0.2, image + amount[0], image)
    return torch.where(draw[2] < 0.2, image * (1 + amount[1]), image), label
