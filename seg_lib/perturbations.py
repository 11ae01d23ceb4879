"""What happens to scans and notes on the way to a network, one thing at a time, in real units.

    NotedScan ── change(scan, level) ──> NotedScan    HU, mask and note stay true to each other
    predict, scans ── suffered ──> a row for each change and level: Dice, and what it cost

Every change is a pure function; at level 0 it changes nothing. Taught in notebook 16.
"""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from seg_lib.data.nifti import Volume
from seg_lib.data.notes import mirrored_note
from seg_lib.data.volumes import resampled
from seg_lib.errors import InputError
from seg_lib.metrics import dice
from seg_lib.resampling import bootstrap_interval, paired_difference

AIR_HU = -1000.0
X, Z = 0, 2  # axes of a volume in RAS: towards the right, towards the head


@dataclasses.dataclass(frozen=True, eq=False)
class NotedScan:
    """A volume, its true mask and its note."""

    volume: Volume  # HU in RAS
    mask: np.ndarray  # (X, Y, Z) uint8
    note: str


def noise(scan: NotedScan, sd_hu: float, seed: int = 0) -> NotedScan:
    """Normal noise of this standard deviation in HU on every voxel, as of a lower dose.

    Which noise follows from the seed and the name of the file: every case has its own.
    """
    chance = np.random.default_rng([seed, zlib.crc32(scan.volume.path.name.encode())])
    drawn = chance.standard_normal(scan.mask.shape, np.float32)
    return _seen(scan, scan.volume.array + np.float32(sd_hu) * drawn)


def brighter(scan: NotedScan, offset_hu: float) -> NotedScan:
    """Every voxel brighter by so many HU, as of a scanner that is calibrated badly."""
    return _seen(scan, scan.volume.array + np.float32(offset_hu))


def coarser(scan: NotedScan, spacing_mm: float) -> NotedScan:
    """Resampled to voxels of at least this length along each axis, and back to its own grid."""
    sides = zip(scan.mask.shape, scan.volume.spacing_mm, strict=True)
    shape = [max(1, round(n * mm / max(mm, spacing_mm))) for n, mm in sides]
    return _seen(scan, resampled(resampled(scan.volume.array, shape), scan.mask.shape))


def moved(scan: NotedScan, mm: float) -> NotedScan:
    """The field of view shifted along x, so that the body lies so many mm further to the right.

    Whole voxels; air comes in, and what leaves the field is lost to image and mask.
    """
    n = round(mm / scan.volume.spacing_mm[X])
    if not 0 <= n < scan.mask.shape[X]:
        raise InputError(f"moved by {mm:g} mm: give 0 to below the width of the scan.")
    kept = slice(0, scan.mask.shape[X] - n)
    old = (scan.volume.array, AIR_HU), (scan.mask, 0)
    new = (np.concatenate([np.full_like(array[:n], fill), array[kept]]) for array, fill in old)
    return _seen(scan, *new, first=(-n, 0, 0))


def cropped(scan: NotedScan, mm: float) -> NotedScan:
    """The scan without so many mm at the end, top or bottom, that is further from the tumour.

    Whole slices, and never one that shows the tumour: half of it would have another truth.
    """
    slices = np.flatnonzero(scan.mask.any(axis=(0, 1)))
    depth = scan.mask.shape[Z]
    below, above = (slices[0], depth - 1 - slices[-1]) if len(slices) else (0, depth - 1)
    n = min(round(mm / scan.volume.spacing_mm[Z]), max(below, above))
    start, stop = (n, depth) if below > above else (0, depth - n)
    hu, mask = (array[:, :, start:stop] for array in (scan.volume.array, scan.mask))
    return _seen(scan, hu, mask, first=(0, 0, start))


def mirrored(scan: NotedScan, level: float) -> NotedScan:
    """Left and right of image and mask change places, and the note is rewritten, unless 0."""
    flipped = mirrored_image(scan, level)
    return dataclasses.replace(flipped, note=mirrored_note(scan.note)) if level else scan


def mirrored_image(scan: NotedScan, level: float) -> NotedScan:
    """The same with the note as it was, as of a file that lost its orientation, unless 0."""
    if not level:
        return scan
    return _seen(scan, scan.volume.array[::-1].copy(), scan.mask[::-1].copy())


def _seen(
    scan: NotedScan,
    hu: np.ndarray,
    mask: np.ndarray | None = None,
    first: tuple[int, int, int] = (0, 0, 0),
) -> NotedScan:
    """The scan with other voxels; ``first`` is where they begin on the grid of the old ones."""
    affine = scan.volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ first
    volume = dataclasses.replace(scan.volume, array=hu, affine=affine)
    return dataclasses.replace(scan, volume=volume, mask=scan.mask if mask is None else mask)


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """A change and the levels at which it is tried, in its unit."""

    change: Callable[[NotedScan, float], NotedScan]
    unit: str
    levels: tuple[float, ...]

    def name_at(self, name: str, level: float) -> str:
        """``noise 50 HU``; a change without unit has one level and needs no number."""
        return f"{name} {level:g} {self.unit}" if self.unit else name


SUITE = {  # levels chosen, not measured at any hospital
    "noise": Perturbation(noise, "HU", (50, 150)),
    "brighter": Perturbation(brighter, "HU", (60, 150)),
    "coarser": Perturbation(coarser, "mm", (8, 12)),
    "moved": Perturbation(moved, "mm", (30, 60)),
    "cropped": Perturbation(cropped, "mm", (40, 80)),
    "mirrored, note rewritten": Perturbation(mirrored, "", (1,)),
    "mirrored, note as it was": Perturbation(mirrored_image, "", (1,)),
}


def suffered(
    predict: Callable[[NotedScan], np.ndarray],
    scans: Sequence[NotedScan],
    suite: Mapping[str, Perturbation] = SUITE,
) -> list[dict[str, Any]]:
    """Dice under every change, and the difference from the same cases unchanged.

    Args:
        predict: scan -> mask (X, Y, Z) on its grid.
        scans: one a patient.
        suite: name -> change.

    Returns:
        Rows {"change", "dice", "low", "high", "difference", "difference_low", "difference_high",
        "n"}, the first one unchanged; intervals of 95 % over the cases.

    Raises:
        InputError: no scans.
    """
    if not scans:
        raise InputError("There are no scans to perturb; give at least one.")

    def scores(change: Callable[[NotedScan], NotedScan]) -> np.ndarray:
        return np.array([dice(predict(new), new.mask) for new in map(change, scans)])

    before = scores(lambda scan: scan)
    rows = [_row("unchanged", before, before)]
    for name, entry in suite.items():
        for level in entry.levels:
            after = scores(lambda scan, entry=entry, level=level: entry.change(scan, level))
            rows.append(_row(entry.name_at(name, level), after, before))
    return rows


def _row(change: str, after: np.ndarray, before: np.ndarray) -> dict[str, Any]:
    low, high = bootstrap_interval(after)
    cost = paired_difference(after, before)
    row = {"change": change, "dice": float(after.mean()), "low": low, "high": high}
    row |= {"difference": cost["difference"], "difference_low": cost["low"]}
    return row | {"difference_high": cost["high"], "n": len(after)}
