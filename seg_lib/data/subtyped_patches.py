"""Patches of cases that have a subtype. Taught in lesson 17.

A case has one subtype, a patch has none: patches without lesion count nothing, and a case is judged
on the patch around its lesion.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_lib.data.case_rules import Case
from seg_lib.data.mixing import Mixing
from seg_lib.data.patches import PatchBatches
from seg_lib.data.volumes import Prepared
from seg_lib.errors import InputError

PANCREAS, LESION = 1, 2
N_SUBTYPES = 3


def subtypes_of(cases: Iterable[Case], n_subtypes: int = N_SUBTYPES) -> list[int]:
    """The subtype of every case, as a number.

    Raises:
        InputError: a case without subtype or with an unknown one; names it.
    """
    found = []
    for case in cases:
        if case.subtype not in map(str, range(n_subtypes)):
            raise InputError(
                f"case {case.case}: subtype {case.subtype!r}; give a whole number from 0 to "
                f"{n_subtypes - 1} in subtype_mapping.json or in the column subtype of cases.csv."
            )
        found.append(int(case.subtype))
    return found


def class_weights(classes: Sequence[int], n_classes: int = N_SUBTYPES) -> np.ndarray:
    """(n_classes,) float32: the rarer the heavier, 1 on average over the cases.

    Raises:
        InputError: a class without a case, of which nothing can be learned.
    """
    counts = np.bincount(np.asarray(classes, int), minlength=n_classes)
    if len(counts) > n_classes or not counts.all():
        raise InputError(
            f"cases of the {n_classes} classes: {counts.tolist()}; each needs at least one in the "
            "training set: add cases or make another split."
        )
    return (counts.sum() / (n_classes * counts)).astype(np.float32)


class SubtypedPatches(PatchBatches):
    """Patches with the subtype of their case, and by how much it counts.

    Pancreas and lesion are equally often in the middle of a positive patch, however small the
    lesion is. A patch that shows less than ``fewest`` voxels of a lesion says nothing of its
    subtype; the others count by how rare their subtype is. The weight grows over the first
    ``ramp_epochs``: at first the network does not know where the lesion is.

    Args:
        volumes: with subtypes; see `PatchBatches`, as all that is not named here.
        share: weight of the classification beside the segmentation, once it has grown.
        ramp_epochs: in how many epochs it grows.
        fewest: voxels of lesion.
        mixing: of the patches of a batch, after the augmentation; a patch with the lesion of
            another has the subtype of that one, and with both has both.

    Yields:
        What `PatchBatches` does, "subtype" (B, S) float32, the share of each, and "subtype_weight"
        (B,) float32.
    """

    def __init__(
        self,
        volumes: Sequence[Prepared],
        patch: Sequence[int],
        *,
        share: float = 0.3,
        ramp_epochs: int = 0,
        fewest: int = 20,
        mixing: Mixing | None = None,
        **how: Any,
    ):
        super().__init__(volumes, patch, **how)
        self.share, self.ramp_epochs, self.fewest = share, ramp_epochs, fewest
        self.mixing = mixing
        found = subtypes_of(volume.case for volume in self.volumes)
        self.subtypes = {v.case.case: s for v, s in zip(self.volumes, found, strict=True)}
        self.class_weights = torch.from_numpy(class_weights(found))
        self.foreground = [_equally_often(volume.label) for volume in self.volumes]

    def _batch(self, chosen: np.ndarray, seeds: np.ndarray) -> dict[str, Any]:
        batch = super()._batch(chosen, seeds)
        subtype = torch.tensor([self.subtypes[name] for name in batch["case"]])
        truth = F.one_hot(subtype, len(self.class_weights)).float()
        if self.mixing is not None:
            generator = torch.Generator().manual_seed(int(seeds[-1]))
            image, label, lesion_from = self.mixing.mix(batch["image"], batch["label"], generator)
            batch |= {"image": image, "label": label}
            truth = lesion_from @ truth
        seen = (batch["label"] == LESION).flatten(1).sum(1) >= self.fewest
        grown = min(1.0, self.epoch / self.ramp_epochs) if self.ramp_epochs else 1.0
        weight = self.share * grown * (truth @ self.class_weights) * seen
        return batch | {"subtype": truth, "subtype_weight": weight}


def _equally_often(label: np.ndarray) -> np.ndarray:
    """Flat indices of foreground voxels, those of every class as many."""
    places = [np.flatnonzero(label == value) for value in np.unique(label) if value]
    most = max(map(len, places), default=0)
    return np.concatenate([np.resize(where, most) for where in places]) if places else np.array([])


def lesion_patch(image: np.ndarray, labels: np.ndarray, patch: Sequence[int]) -> Tensor:
    """The patch (1, 1, *patch) of an image (X, Y, Z) around the lesion in ``labels``.

    Without lesion it is around the organ, without organ in the middle. Short axes are padded.
    """
    wanted = next((labels == v for v in (LESION, PANCREAS) if (labels == v).any()), labels >= 0)
    middle = [int(round(places.mean())) for places in np.nonzero(wanted)]
    cut = []
    for at, side, n in zip(middle, patch, image.shape, strict=True):
        start = int(np.clip(at - side // 2, 0, max(0, n - side)))
        cut.append(slice(start, start + side))
    found = image[tuple(cut)]
    pads = [(0, side - n) for side, n in zip(patch, found.shape, strict=True)]
    return torch.from_numpy(np.pad(found, pads))[None, None]
