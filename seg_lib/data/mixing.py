"""Mixing patients: CutMix, CarveMix, ObjectAug and AnatoMix in 3D, by hand. Taught in notebook 17.

All take arrays (X, Y, Z), an image float32 in [0, 1] and its label, and return new ones. Who gives
and who gets are patients of the training split. Unequal shapes: ``InputError``.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from scipy import ndimage
from scipy.sparse.linalg import LaplacianNd, cg
from torch import Tensor

from seg_lib.errors import InputError

Array = np.ndarray
Pair = tuple[Array, Array]  # an image and its label


class Mixed(NamedTuple):
    """What comes out, and whose it is: ``origin`` is 0, or n where voxels are the n-th donor's."""

    image: Array
    label: Array
    origin: Array  # int16


def cutmix(
    image: Array, label: Array, donor_image: Array, donor_label: Array, rng: Generator
) -> Mixed:
    """Put a box of the donor (its share drawn from 0 to 1, its middle anywhere) in the same place.

    Source: Yun et al. 2019, https://arxiv.org/abs/1905.04899, with a third axis.
    """
    _check(image, label, donor_image, donor_label)
    sides, middle = np.array(image.shape) * rng.random() ** (1 / 3), rng.random(3) * image.shape
    corners = np.round([middle - sides / 2, middle + sides / 2]).astype(int).clip(0)
    inside = np.zeros(image.shape, bool)
    inside[tuple(map(slice, *corners))] = True
    return _replace((image, label), (donor_image, donor_label), inside)


def carvemix(
    image: Array,
    label: Array,
    donor_image: Array,
    donor_label: Array,
    rng: Generator,
    lesion: int = 2,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
) -> Mixed:
    """Put the donor's lesion, with a rim or without its outer part, in the same place.

    What is carved is where the signed distance to the donor's lesions (negative inside) is at most
    `carving_mm`. There, image and label become the donor's, other classes included; elsewhere, the
    recipient's own lesions stay. Without lesion in the donor, nothing changes.

    Source: Zhang et al. 2021, https://arxiv.org/abs/2108.06883.
    """
    _check(image, label, donor_image, donor_label)
    carved = donor_label == lesion
    if carved.any() and not carved.all():
        box, edt = _around(carved, 1, 1), ndimage.distance_transform_edt  # no rim reaches farther
        distance = edt(~carved[box], sampling=spacing_mm) - edt(carved[box], sampling=spacing_mm)
        carved[box] = distance <= carving_mm(-distance.min(), rng)
    return _replace((image, label), (donor_image, donor_label), carved)


def carving_mm(radius_mm: float, rng: Generator) -> float:
    """Threshold for a lesion of this inner radius: half from (-radius / 2, 0), half (0, radius)."""
    return radius_mm * (rng.uniform(-0.5, 0) if rng.random() < 0.5 else rng.uniform(0, 1))


def object_aug(
    image: Array,
    label: Array,
    rng: Generator,
    lesion: int = 2,
    scale: tuple[float, float] = (0.8, 1.25),
    rotation_deg: float = 30.0,
    shift_voxels: float = 3.0,
    brightness: float = 0.1,
) -> Mixed:
    """Cut one lesion out, fill the hole, and put the lesion back changed.

    A connected lesion is drawn, turned in the axial plane, scaled, shifted along each axis, and its
    greys are multiplied by 1 ± ``brightness``. The hole and a rim of one voxel get greys by
    `inpaint` (the paper trains a network for it), the hole the label of the nearest voxel that is
    no lesion. Without lesion, nothing changes.

    Source: Zhang et al. 2021, https://arxiv.org/abs/2102.00221.
    """
    _check(image, label)
    whole, lesions = _unchanged(image, label), label == lesion
    parts, n = ndimage.label(lesions)
    if not n or lesions.all():
        return whole
    mask = parts == rng.integers(n) + 1
    box = _around(mask, max(scale), shift_voxels + 1)
    image, label, mask, lesions = image[box], label[box], mask[box], lesions[box]
    turn = np.exp(1j * np.deg2rad(rotation_deg) * rng.uniform(-1, 1))
    inverse = [[turn.real, turn.imag, 0], [-turn.imag, turn.real, 0], [0, 0, 1]]
    inverse = np.array(inverse) / rng.uniform(*scale)
    middle, shift = _centroid(mask), rng.uniform(-shift_voxels, shift_voxels, 3)
    offset = middle - inverse @ (middle + shift)
    # Outwards the lesion's greys go on, or the rim would bring its old surroundings along.
    greys = image[_nearest(mask)] * (1 + rng.uniform(-brightness, brightness))
    greys = ndimage.affine_transform(greys, inverse, offset, order=1, mode="nearest")
    new = ndimage.affine_transform(mask.astype(np.uint8), inverse, offset, order=0) > 0
    image = inpaint(image, ndimage.binary_dilation(mask))
    label = np.where(mask, label[_nearest(~lesions)], label)
    whole.image[box] = np.where(new, greys.clip(0, 1), image)
    whole.label[box] = np.where(new, lesion, label)
    return whole


def anatomix(
    image: Array, label: Array, donors: Sequence[Pair], classes: Sequence[int] = (1, 2)
) -> Mixed:
    """Put the organ of the best fitting donor in the place of the recipient's.

    The organ is all of ``classes``: a pancreas takes its lesion along. The best donor has the least
    |log of the ratio of volumes| + distance of the centroids in radii of the recipient's organ. Its
    organ moves by whole voxels until the centroids agree, and covers no other class; what it leaves
    open of the hole is background then, by `inpaint`. Without organ on one side, nothing changes.

    Source: Liu et al. 2024, https://arxiv.org/abs/2403.03326; the measure of fit is ours.
    """
    _check(image, label, *(array for donor in donors for array in donor))
    organ, organs = np.isin(label, classes), [np.isin(d[1], classes) for d in donors]
    misfits = [_misfit(organ, other) for other in organs]
    if not np.isfinite(misfits).any():
        return _unchanged(image, label)
    best = int(np.argmin(misfits))
    step = np.round(_centroid(organ) - _centroid(organs[best]))
    moved = [ndimage.shift(array, step, order=0) for array in donors[best]]
    free, covered = (label == 0) | organ, np.isin(moved[1], classes)
    rest = inpaint(image, ndimage.binary_dilation(organ) & free), np.where(organ, 0, label)
    new = _replace(rest, moved, covered & free)
    return new._replace(origin=new.origin * (best + 1))


def inpaint(image: Array, hole: Array) -> Array:
    """Fill a hole (X, Y, Z) with greys of which each is the mean of its neighbours (harmonic)."""
    filled = image.astype(np.float32)
    if hole.any() and not hole.all():
        box = _around(hole, 0, 1)
        inside, part = hole[box].ravel(), filled[box]
        laplacian = LaplacianNd(part.shape, boundary_conditions="neumann", dtype=float)
        laplacian = laplacian.tosparse().tocsr()[inside]
        border = laplacian[:, ~inside] @ part.ravel()[~inside].astype(float)
        part[hole[box]] = cg(-laplacian[:, inside], border, rtol=1e-5)[0]
    return filled


MIXES = {
    "cutmix": lambda own, donors, rng, how: cutmix(*own, *donors[0], rng),
    "carvemix": lambda own, donors, rng, how: carvemix(*own, *donors[0], rng, how.lesion, how.mm),
    "object_aug": lambda own, donors, rng, how: object_aug(*own, rng, how.lesion),
    "anatomix": lambda own, donors, rng, how: anatomix(*own, donors, how.classes),
}


@dataclasses.dataclass(frozen=True)
class Mixing:
    """One of the `MIXES` for patches, for `PatchBatches`; donors are the others of the batch.

    An unknown kind, or a share that is none: ``InputError``.
    """

    kind: str
    share: float = 0.5  # of the items that are changed
    lesion: int = 2  # class; the donor of "carvemix" has one if any item has
    classes: tuple[int, ...] = (1, 2)  # of the organ of "anatomix"
    mm: tuple[float, float, float] = (1.0, 1.0, 1.0)  # the spacing, for "carvemix"

    def __post_init__(self):
        if self.kind not in MIXES or not 0 <= self.share <= 1:
            known = f"take one of {', '.join(MIXES)} and a share from 0 to 1"
            raise InputError(f"Mixing({self.kind!r}, {self.share}): {known}.")

    def __call__(self, *batch: Tensor | torch.Generator) -> tuple[Tensor, Tensor]:
        """(image, label, generator) -> the first two of `mix`."""
        return self.mix(*batch)[:2]

    def mix(self, image: Tensor, label: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Mix patches (B, 1, X, Y, Z) on the CPU, and tell whose lesions they show then.

        Returns:
            Image, label and ``lesion_from`` (B, B) float32: the share of the lesion voxels of each
            item that come from each; one without lesion is its own, so that rows sum to 1 and
            ``lesion_from @ one_hot(subtype)`` is what a classifier should say.
        """
        own = list(zip(image[:, 0].numpy(), label[:, 0].numpy(), strict=True))
        last = [self.kind == "carvemix" and not (pair[1] == self.lesion).any() for pair in own]
        lesion_from, mixed = torch.zeros(len(own), len(own)), []
        for i, seed in enumerate(torch.randint(2**31, (len(own),), generator=generator).tolist()):
            rng, new = np.random.default_rng(seed), _unchanged(*own[i])
            acts = rng.random() < self.share
            others = sorted((j for j in rng.permutation(len(own)) if j != i), key=last.__getitem__)
            if acts and (others or self.kind == "object_aug"):
                new = MIXES[self.kind](own[i], [own[j] for j in others], rng, self)
            origins = new.origin[new.label == self.lesion]
            counts = np.bincount(origins if origins.size else [0], minlength=len(own))
            lesion_from[i, [i, *others]] = torch.tensor(counts / counts.sum()).float()
            mixed.append(new)
        images, labels, _ = (torch.from_numpy(np.stack(part)) for part in zip(*mixed, strict=True))
        return images[:, None], labels[:, None], lesion_from


def _check(*arrays: Array) -> None:
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1 or len(shapes[0]) != 3:
        raise InputError(f"to mix: shapes {shapes}; give one shape (X, Y, Z), as patches have.")


def _unchanged(image: Array, label: Array) -> Mixed:
    return Mixed(image.copy(), label.copy(), np.zeros(image.shape, np.int16))


def _replace(own: Pair, donor: Pair, inside: Array) -> Mixed:
    new = (np.where(inside, b, a).astype(a.dtype) for a, b in zip(own, donor, strict=True))
    return Mixed(*new, inside.astype(np.int16))


def _around(mask: Array, extents: float, voxels: float) -> tuple[slice, ...]:
    """The box of a mask and so many of its largest extents and voxels more on each side."""
    found = ndimage.find_objects(mask.astype(np.int8))[0]
    more = int(np.ceil(extents * max(side.stop - side.start for side in found) + voxels))
    return tuple(slice(max(side.start - more, 0), side.stop + more) for side in found)


def _nearest(mask: Array) -> tuple[Array, ...]:  # for each voxel: where the next of the mask is
    return tuple(ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True))


def _centroid(mask: Array) -> Array:
    return np.array(ndimage.center_of_mass(mask))


def _misfit(own: Array, other: Array) -> float:
    if not (own.any() and other.any()):
        return np.inf
    apart = np.linalg.norm(_centroid(own) - _centroid(other))
    return abs(np.log(other.sum() / own.sum())) + apart / np.cbrt(3 * own.sum() / (4 * np.pi))
