"""Batches of slices whose order and augmentation follow from (seed, epoch, index) alone.

So a run can be repeated and, after a stop, resumed bit by bit. Taught in notebook 06.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from seg_lib.data.slices import Augment, SliceSet, Warp


class SliceBatches:
    """Iterate over a SliceSet once an epoch.

    Args:
        slices: held in memory.
        batch_size: slices in a batch; the last batch may be smaller.
        shuffle: another order in every epoch.
        augment: (image (H, W) uint8, mask, seed) -> (image, mask), slice by slice.
        warp: (image (B, 1, H, W), label, generator) -> (image, label), batch by batch.
        seed: of order and augmentation.

    Yields:
        {"image": (B, 1, H, W) float32 in [0, 1], "label": (B, 1, H, W) int64 of 0 and 1,
        "case": B names}.
    """

    def __init__(
        self,
        slices: SliceSet,
        batch_size: int,
        shuffle: bool = False,
        augment: Augment | None = None,
        warp: Warp | None = None,
        seed: int = 0,
    ):
        self.slices, self.batch_size, self.shuffle = slices, batch_size, shuffle
        self.augment, self.warp, self.seed, self.epoch = augment, warp, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order and augmentation the next pass has."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.slices) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        n = len(self.slices)
        chance = np.random.default_rng([self.seed, self.epoch])
        order = chance.permutation(n) if self.shuffle else np.arange(n)
        seeds = chance.integers(2**31, size=n)
        for start in range(0, n, self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield self._batch(chosen, seeds[chosen])

    def _batch(self, chosen: np.ndarray, seeds: np.ndarray) -> dict[str, Any]:
        images, labels = self.slices.images[chosen], self.slices.labels[chosen]
        if self.augment:
            pairs = zip(images[:, 0], labels[:, 0], seeds, strict=True)
            drawn = [self.augment(image, label, int(seed)) for image, label, seed in pairs]
            images, labels = (np.stack(arrays)[:, None] for arrays in zip(*drawn, strict=True))
        image, label = torch.from_numpy(images).float() / 255, torch.from_numpy(labels).long()
        if self.warp:
            generator = torch.Generator().manual_seed(int(seeds[0]))
            image, label = self.warp(image, label, generator)
        return {"image": image, "label": label, "case": [self.slices.cases[i].case for i in chosen]}
