"""Draw one phantom: a slice or a volume of the chest, as arrays. Taught in notebook 01.

A picture depends only on (kind, seed, number of the patient, size).
"""

import copy
import dataclasses
import functools

import numpy as np
from scipy.ndimage import label, uniform_filter

from seg_lib.data.phantom_anatomy import Grid
from seg_lib.data.phantom_nodules import LUNG_RADS
from seg_lib.data.phantom_scan import Patient, Scanner, scan, volume_grid
from seg_lib.errors import InputError

# New kinds go to the end: the place of a kind is part of its seed.
DEFAULT_SIZES = {
    "lung2d": 512,
    "lung3d": (128, 128, 48),
    "thorax_notes": (128, 128, 48),
    "pancreas": (96, 64, 40),
}
SMALLEST_SIZE = {
    "lung2d": (48,),
    "lung3d": (48, 48, 8),
    "thorax_notes": (48, 48, 8),
    "pancreas": (48, 32, 16),
}
LARGEST_SIZE = 1024
# Patients of radiotherapy have larger tumours than those of screening, and here a choice of them.
PATIENTS = {"thorax_notes": {"n_nodules": {2: 0.5, 3: 0.35, 4: 0.15}, "smallest_mm": 16.0}}  # [C]


@dataclasses.dataclass(frozen=True)
class Phantom:
    """A slice (H, W), row 0 in front, column 0 on the right side; or a volume (X, Y, Z), RAS."""

    hu: np.ndarray  # float32 (slice) or int16 (volume)
    mask: np.ndarray  # uint8
    spacing_mm: tuple[float, ...]
    patient: str
    nodules: list[dict[str, object]]  # traits and centre of those in the picture; or the lesion's
    affine: np.ndarray | None = None  # of a volume: (4, 4) float64, voxel indices to mm

    @property
    def worst(self) -> dict[str, object]:
        """The nodule of the highest Lung-RADS category."""
        return max(self.nodules, key=lambda nodule: LUNG_RADS.index(nodule["lungrads"]))


def lung_slice(seed: int = 0, size: int = 512, patient: int = 0, index: int = 0) -> Phantom:
    """Draw slice ``index`` of a patient, through one of his nodules; numbers from 0 on.

    ``size`` is 48 to 1024 pixels a side; another ``seed`` is another set of patients. Numbers out
    of range: ``InputError``.
    """
    check_numbers("lung2d", size, seed=(seed, 0), patient=(patient, 0), index=(index, 0))
    who, rng = patient_of("lung2d", seed, patient, size), chance_of("lung2d", seed, patient, index)
    nodules = [nodule.traits.copy() for nodule in who.nodules]
    target = nodules[index % len(nodules)]
    # Off the middle of the nodule, but not so far that it looks much smaller than it is.
    z = target["centre_mm"][2] + rng.uniform(-0.2, 0.2) * target["diameter_mm"]
    grid = who.grid((size, size), [z])
    hu, mask = scan(who, grid, who.scanner.slice_mm, rng)
    return Phantom(
        hu=hu[0].astype(np.float32),
        mask=mask[0],
        spacing_mm=(grid.pixel_mm, grid.pixel_mm),
        patient=f"p{patient:03d}",
        nodules=[n for n in nodules if abs(z - n["centre_mm"][2]) < 0.4 * n["diameter_mm"]],
    )


def lung_volume(
    seed: int = 0,
    size: tuple[int, int, int] = (128, 128, 48),
    patient: int = 0,
    scanner: Scanner | None = None,
    kind: str = "lung3d",
) -> Phantom:
    """Draw the chest CT of a patient, with another scanner than his own if there is one.

    ``kind`` is "lung3d" or "thorax_notes", whose patients have more and larger nodules.

    ``size`` is 48 to 1024 voxels along x and y, 8 to 1024 along z; seed and patient are 0 or more;
    else ``InputError``. The body always fits the field of view, so small matrices have large
    voxels; slices lie 1 to 3 mm apart, or up to two pixels where those are larger. If the slices do
    not reach over the whole lung, they are laid around the first nodule.
    """
    check_numbers(kind, size, seed=(seed, 0), patient=(patient, 0))
    who = copy.copy(patient_of(kind, seed, patient, min(size[:2])))
    who.scanner = scanner or who.scanner
    nodules = [nodule.traits.copy() for nodule in who.nodules]
    grid, slice_mm = volume_grid(who, size)
    hu, mask = scan(who, grid, slice_mm, chance_of(kind, seed, patient, 0))
    shown = [n for n in nodules if grid.z[0] < n["centre_mm"][2] < grid.z[-1]]
    return as_volume(hu, mask, grid, slice_mm, patient, shown)


def as_volume(
    hu: np.ndarray, mask: np.ndarray, grid: Grid, slice_mm: float, patient: int, nodules: list[dict]
) -> Phantom:
    """What was drawn in a grid (Z, H, W) as a volume (X, Y, Z), and where its voxels lie."""
    spacing_mm = (grid.pixel_mm, grid.pixel_mm, slice_mm)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = grid.x[-1], grid.y[-1], grid.z[0]
    hu, mask = (np.asfortranarray(array[:, ::-1, ::-1].T) for array in (hu, mask))
    return Phantom(hu, mask, spacing_mm, f"p{patient:03d}", nodules, affine)


def rough_lung(hu: np.ndarray) -> np.ndarray:
    """Lungs (H, W) of 0 and 1 by thresholding, as the public set was prepared.

    Nobody corrected the result: nodules at the pleura are often lost.
    """
    parts, _ = label(hu < -400.0)
    outside = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])  # air of the room
    small = np.flatnonzero(np.bincount(parts.ravel()) < 0.002 * hu.size)
    lung = ~np.isin(parts, np.concatenate([[0], outside, small]))
    closed = uniform_filter(lung.astype(np.float32), max(3, len(hu) // 32)) > 0.5
    return (lung | closed).astype(np.float32)


def chance_of(kind: str, *numbers: int) -> np.random.Generator:
    """The one source of chance for one patient (seed, patient) or one scan (..., index)."""
    return np.random.default_rng([list(DEFAULT_SIZES).index(kind), *numbers])


@functools.lru_cache(maxsize=1)
def patient_of(kind: str, seed: int, number: int, pixels: int) -> Patient:
    """The patient with this number; the last one is kept."""
    return Patient(chance_of(kind, seed, number), pixels, **PATIENTS.get(kind, {}))


def check_numbers(kind: str, size: int | tuple[int, int, int], **numbers: tuple[int, int]) -> None:
    """Refuse a size out of range, or a number (value, smallest)."""
    for name, (value, low) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"{name} {value}: give a whole number of at least {low}.")
    smallest = SMALLEST_SIZE[kind]
    sides = [size] if kind == "lung2d" else size if isinstance(size, tuple | list) else []
    if len(sides) != len(smallest) or not all(
        isinstance(side, int) and low <= side <= LARGEST_SIZE
        for side, low in zip(sides, smallest, strict=True)
    ):
        raise InputError(
            f"size {size}: {kind} needs {len(smallest)} whole number(s) from {smallest} to "
            f"{LARGEST_SIZE}; the default is {DEFAULT_SIZES[kind]}."
        )
