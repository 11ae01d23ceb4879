"""Look at a data set, then plan: nnU-Net's fingerprint and its rules, in the open.

    nnUNet_raw/Dataset001_Pancreas ── fingerprint ──> spacings, shapes, HU inside the labels
                                          │
                              plan_network ──> spacing, patch, batch, stages of the network
    nnUNet_preprocessed/Dataset001_Pancreas/  dataset_fingerprint.json, plans.json
    nnUNet_results/Dataset001_Pancreas/       one folder a run of ``seg-lib train``

The rules are few: resample to the median spacing; take the largest patch with the aspect ratio of
the data that the memory holds; halve an axis as long as it is long enough and not much coarser than
the others. Equal to nnunetv2's own numbers (a test). Axes are x, y, z here, nnU-Net's z, y, x.

Source: Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z; 004. Taught in lesson 17.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seg_lib.data.cases import Case
from seg_lib.data.nifti import read_image, read_mask
from seg_lib.data.volumes import Preparation
from seg_lib.errors import InputError
from seg_lib.files import write_text
from seg_lib.models.unet3d import UNet3d
from seg_lib.surfaces import bounding_box

Triple = tuple[float, float, float]
BLOCKS = (1, 3, 4, *[6] * 10)  # residual blocks of the stages, ResEnc
LARGEST_VOLUME = 256**3  # voxels of the first guess of a patch
SHORTEST = 4  # voxels of the deepest map
ANISOTROPIC = 3  # times coarser than the others is another kind of axis
REFERENCE = 680_000_000  # values in all maps of a patch that fit into 8 GB with a batch of 2
COVERED = 1.0  # of the voxels of the data set that a batch may hold at most


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What nnU-Net wants to know of a data set."""

    spacings_mm: list[Triple]  # of each case, x, y, z
    shapes: list[tuple[int, int, int]]  # of each case without its empty border
    window: tuple[float, float]  # HU, percentiles 0.5 and 99.5 inside the labels
    mean: float  # HU inside the labels, every case counting the same
    sd: float
    n_classes: int  # background included


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to prepare the data and how large the network is; x, y, z."""

    spacing_mm: Triple
    median_shape: tuple[int, int, int]  # of the resampled cases
    window: tuple[float, float]  # HU, clipped there
    mean: float  # HU
    sd: float
    patch: tuple[int, int, int]
    batch_size: int
    features: tuple[int, ...]
    blocks: tuple[int, ...]
    strides: tuple[tuple[int, int, int], ...]
    kernels: tuple[tuple[int, int, int], ...]
    n_classes: int

    def preparation(self) -> Preparation:
        """For `prepare`: the same window, as 0 to 1; an instance norm cannot tell them apart."""
        return Preparation(self.spacing_mm, self.window, box="all", cubic=True)

    def sizes(self) -> dict[str, Any]:
        """For ``build_model("multitask_unet3d", **sizes)``."""
        names = ("features", "blocks", "strides", "kernels")
        return {name: getattr(self, name) for name in names} | {"classes": self.n_classes}


def fingerprint(cases: Iterable[Case], n_classes: int = 3) -> Fingerprint:
    """Look at every training case once.

    Args:
        cases: with labels; one at a time is in memory.
        n_classes: of the labels, background included.

    Raises:
        InputError: no cases, a case without label, labels beyond ``n_classes``, all labels empty.
    """
    spacings, shapes, values, weights = [], [], [], []
    for case in cases:
        if case.label is None:
            raise InputError(f"case {case.case}: has no label; plan with labelled cases.")
        volume = read_image(case.image)
        label = read_mask(case.label, like=volume, n_classes=n_classes).array
        spacings.append(tuple(volume.spacing_mm))
        box = bounding_box(volume.array)  # nnU-Net cuts to it, and only MR has such borders
        shapes.append(tuple(part.stop - part.start for part in box) if box else volume.array.shape)
        found, counts = np.unique(volume.array[label > 0], return_counts=True)
        values.append(found)
        weights.append(counts / max(1, counts.sum()))
    if not any(len(found) for found in values):
        raise InputError(f"{len(spacings)} cases with a label inside; give at least one.")
    hu, weight = np.concatenate(values).astype(float), np.concatenate(weights)
    order = np.argsort(hu, kind="stable")
    hu, weight = hu[order], weight[order] / weight.sum()
    low, high = (hu[np.searchsorted(np.cumsum(weight), share)] for share in (0.005, 0.995))
    mean = float((hu * weight).sum())
    sd = float(np.sqrt(((hu - mean) ** 2 * weight).sum()))
    return Fingerprint(spacings, shapes, (float(low), float(high)), mean, sd, n_classes)


def target_spacing(spacings_mm: Sequence[Triple], shapes: Sequence[Sequence[int]]) -> Triple:
    """The median spacing; of an axis three times coarser than the others its 10th percentile.

    A median of such an axis would invent slices for every case that has more of them.
    """
    spacing, shape = np.median(spacings_mm, axis=0), np.median(shapes, axis=0)
    worst = len(spacing) - 1 - int(np.argmax(spacing[::-1]))  # of equals nnU-Net's first, our last
    others = [axis for axis in range(3) if axis != worst]
    coarse = spacing[worst] > ANISOTROPIC * max(spacing[others])
    if coarse and shape[worst] * ANISOTROPIC < min(shape[others]):
        tenth = np.percentile(np.array(spacings_mm)[:, worst], 10)
        finest = max(spacing[others])
        spacing[worst] = tenth if tenth >= finest else finest + 1e-5
    return tuple(float(mm) for mm in spacing)


def topology(spacing_mm: Sequence[float], patch: Sequence[int]) -> tuple[list, list, list]:
    """Strides and kernels of each stage, and the patch enlarged until it divides.

    An axis is halved while 8 voxels or more are left and its voxels are less than twice as large as
    the finest; it gets a kernel of 3 as soon as its voxels are less than twice the finest.
    """
    spacing, size = list(map(float, spacing_mm)), list(map(int, patch))
    strides, kernels, kernel = [(1, 1, 1)], [], [1, 1, 1]
    while True:
        able = [axis for axis in range(3) if size[axis] >= 2 * SHORTEST]
        finest = min((spacing[axis] for axis in able), default=0)
        able = [axis for axis in able if spacing[axis] / finest < 2]
        if not able or (len(able) == 1 and size[able[0]] < 3 * SHORTEST):
            break
        kernel = [3 if s / min(spacing) < 2 else k for s, k in zip(spacing, kernel, strict=True)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in able else 1 for axis in range(3)))
        for axis in able:
            spacing[axis], size[axis] = 2 * spacing[axis], math.ceil(size[axis] / 2)
    kernels.append((3, 3, 3))
    divisor = [math.prod(along) for along in zip(*strides, strict=True)]
    padded = [-(-n // d) * d for n, d in zip(patch, divisor, strict=True)]
    return strides, kernels, padded


def _network(strides: list, kernels: list, n_classes: int) -> dict[str, Any]:
    n = len(strides)
    features = tuple(min(320, 32 * 2**stage) for stage in range(n))
    sizes = {"features": features, "blocks": BLOCKS[:n], "classes": n_classes}
    return sizes | {"strides": tuple(strides), "kernels": tuple(kernels)}


def memory_needed(network: dict[str, Any], patch: Sequence[int]) -> int:
    """Values that the convolutions give for one patch: nnU-Net's measure of memory."""
    sizes = network | {"strides": network["strides"][1:]}
    found = []
    with torch.device("meta"):  # shapes only, nothing is computed
        unet = UNet3d(**sizes, resenc=True)
        for module in unet.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                module.register_forward_hook(lambda *call: found.append(call[2].numel()))
        unet(torch.empty(1, 1, *patch))
    return sum(found)


def plan_network(seen: Fingerprint, memory_gb: float = 8.0) -> Plan:
    """nnU-Net's plan for ResEnc M: the largest patch that fits, and the network for it.

    Args:
        seen: of `fingerprint`.
        memory_gb: of the GPU that is planned for; 8 is ResEnc M, 24 L, 40 XL.
    """
    spacing = target_spacing(seen.spacings_mm, seen.shapes)
    resampled = [
        [round(n * old / new) for n, old, new in zip(shape, mm, spacing, strict=True)]
        for shape, mm in zip(seen.shapes, seen.spacings_mm, strict=True)
    ]
    median = np.median(resampled, axis=0)
    scale = (LARGEST_VOLUME * math.prod(spacing)) ** (1 / 3)
    patch = [int(min(round(scale / mm), n)) for mm, n in zip(spacing, median, strict=True)]
    strides, kernels, patch = topology(spacing, patch)
    reference = REFERENCE * memory_gb / 8
    while (needed := memory_needed(_network(strides, kernels, seen.n_classes), patch)) > reference:
        strides, kernels, patch = topology(spacing, _smaller(spacing, patch, median, strides))
    covered = round(COVERED * math.prod(median) * len(seen.shapes) / math.prod(patch))
    network = _network(strides, kernels, seen.n_classes)
    return Plan(
        spacing_mm=spacing,
        median_shape=tuple(int(n) for n in median),
        window=seen.window,
        mean=seen.mean,
        sd=seen.sd,
        patch=tuple(patch),
        batch_size=max(2, min(round(2 * reference / needed), covered)),
        n_classes=network.pop("classes"),
        **network,
    )


def _smaller(spacing: Triple, patch: list, median: np.ndarray, strides: list) -> list[int]:
    """The patch one step shorter along the axis that is the longest for this data set."""
    axis = int(np.argmax(np.array(patch) / median))
    shorter = list(patch)
    shorter[axis] -= math.prod(stride[axis] for stride in strides)
    again, _, _ = topology(spacing, shorter)  # a shorter axis may be halved less often: step less
    patch = list(patch)
    patch[axis] -= math.prod(stride[axis] for stride in again)
    return patch


def write_plan(seen: Fingerprint, plan: Plan, folder: str | Path) -> None:
    """Write ``dataset_fingerprint.json`` and ``plans.json``; the plan comes last."""
    for name, what in (("dataset_fingerprint.json", seen), ("plans.json", plan)):
        write_text(Path(folder) / name, json.dumps(dataclasses.asdict(what), indent=1) + "\n")
