"""Scanning a phantom patient: from anatomy and nodules to HU with noise, streaks and padding.

A slice and a volume are the same thing here: a grid with one or with many positions along z.
Taught in notebook 01.
"""

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter, uniform_filter1d

from seg_lib.data import phantom_tables as tables
from seg_lib.data.phantom_anatomy import (
    LUNG_BOX_MM,
    Anatomy,
    Grid,
    sample_anatomy,
    standard_grid,
)
from seg_lib.data.phantom_body import AIR_HU, draw_body, paint
from seg_lib.data.phantom_nodules import (
    Nodule,
    choose,
    draw_nodule,
    nodule_box,
    place_nodule,
    sample_traits,
)
from seg_lib.data.phantom_vessels import cover_of_tubes, grow_vessels, widened

SUB_SLICES = 2  # a slice is the mean of so many thinner ones
SLAB = 8  # slices drawn at a time: keeps the working arrays in the processor's cache


@dataclasses.dataclass(frozen=True)
class Patient:
    """One phantom patient with his nodules; the same whichever slice is looked at."""

    anatomy: Anatomy
    vessels: np.ndarray  # (N, 8) tubes in standard mm
    airways: np.ndarray
    scars: np.ndarray
    nodules: tuple[Nodule, ...]
    scanner: tables.Scanner
    field_mm: float  # side of the square field of view
    n_slices: int  # how many slices a 2D data set takes of this patient


def sample_patient(rng: np.random.Generator, pixels: int = 512) -> Patient:
    """Draw a patient whose nodules can all be seen on an image of ``pixels`` columns."""
    anatomy = sample_anatomy(rng)
    field_mm = 2 * anatomy.scale[0] * (162.0 + anatomy.fat_mm) * float(rng.uniform(1.02, 1.12))
    smallest_mm = min(tables.SMALLEST_DIAMETER_PIXELS * field_mm / pixels, 20.0)
    vessels, airways = grow_vessels(anatomy, rng)
    n_nodules = choose(rng, tables.NODULES_PER_PATIENT)
    traits = [sample_traits(rng, smallest_mm) for _ in range(n_nodules)]
    return Patient(
        anatomy=anatomy,
        vessels=vessels,
        airways=airways,
        scars=_scars(vessels, rng),
        nodules=tuple(place_nodule(each, anatomy, vessels, rng) for each in traits),
        scanner=tables.SCANNERS[rng.integers(len(tables.SCANNERS))],
        field_mm=field_mm,
        n_slices=choose(rng, tables.SLICES_PER_PATIENT),
    )


def slice_grid(patient: Patient, size: int, z_mm: float) -> Grid:
    """One axial slice of ``size`` x ``size`` pixels that shows the whole body."""
    return _grid(patient, (size, size), np.array([z_mm], dtype=np.float32))


def volume_grid(patient: Patient, size: tuple[int, int, int]) -> tuple[Grid, float]:
    """Voxels for a chest CT of ``size`` (X, Y, Z), and the distance between its slices in mm.

    The first nodule's middle lies in the middle of a slice, so it never falls between two.
    """
    low, high = (patient.anatomy.scale[2] * end for end in LUNG_BOX_MM[2])
    thickest = max(tables.SLICE_RANGE_MM[1], 2 * patient.field_mm / min(size[:2]))
    wanted = 1.02 * (high - low) / size[2]
    slice_mm = round(float(np.clip(wanted, tables.SLICE_RANGE_MM[0], thickest)), 4)
    nodule_z = patient.nodules[0].centre_mm[2]
    height = slice_mm * (size[2] - 1)
    # As central in the lung as possible, with the nodule well inside.
    bottom = np.clip((low + high - height) / 2, nodule_z - 0.8 * height, nodule_z - 0.2 * height)
    bottom = nodule_z - slice_mm * round(float(nodule_z - bottom) / slice_mm)
    z = bottom + slice_mm * np.arange(size[2])
    return _grid(patient, size[:2], z.astype(np.float32)), slice_mm


def _grid(patient: Patient, size: tuple[int, ...], z: np.ndarray) -> Grid:
    pixel_mm = round(patient.field_mm / min(size), 4)
    x, y = (pixel_mm * ((side - 1) / 2 - np.arange(side)) for side in size)
    y -= 12.0 * patient.anatomy.scale[1]  # the body reaches further back than to the front
    edge_mm = max(pixel_mm, patient.scanner.blur_mm)
    return Grid(x.astype(np.float32), y.astype(np.float32), z, edge_mm)


def _scars(vessels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bands of collapsed or scarred lung: as dense as a nodule, but long and thin."""
    starts = vessels[rng.integers(len(vessels), size=rng.integers(3, 7)), 3:6]
    along = rng.normal(0.0, 1.0, starts.shape) * np.array([1.0, 1.0, 0.25])
    along *= rng.uniform(20.0, 50.0, (len(starts), 1)) / np.linalg.norm(along, axis=1)[:, None]
    radii = np.repeat(rng.uniform(1.4, 3.6, (len(starts), 1)), 2, axis=1)
    return np.concatenate([starts, starts + along, radii], axis=1).astype(np.float32)


def scan(
    patient: Patient, grid: Grid, slice_mm: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Image a patient.

    Args:
        patient: whom.
        grid: voxel centres in patient mm, (Z, H, W).
        slice_mm: thickness of a slice; may differ from the distance between slices.
        rng: chance for the noise.

    Returns:
        HU (Z, H, W) int16, padded outside the round field of view, and the nodules (Z, H, W) uint8.
    """
    hu = np.empty(grid.shape, dtype=np.int16)
    mask = np.empty(grid.shape, dtype=np.uint8)
    for first in range(0, len(grid.z), SLAB):
        slab = slice(first, first + SLAB)
        part = grid._replace(z=grid.z[slab])
        clean, mask[slab] = draw_patient(patient, part, slice_mm)
        clean += scanner_noise(patient, part, rng)
        hu[slab] = np.clip(np.rint(clean), -1024, 3071)
    x, y = grid.x - grid.x.mean(), grid.y - grid.y.mean()
    outside = x[None, :] ** 2 + y[:, None] ** 2 > max(x.max(), y.max()) ** 2
    hu[:, outside] = patient.scanner.padding_hu
    return hu, mask


def draw_patient(patient: Patient, grid: Grid, slice_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free HU (Z, H, W) float32, and mask (Z, H, W) uint8 of all nodules."""
    anatomy = patient.anatomy
    offsets = slice_mm * ((np.arange(SUB_SLICES, dtype=np.float32) + 0.5) / SUB_SLICES - 0.5)
    fine = grid._replace(z=(grid.z[:, None] + offsets).ravel())
    standard, fine_standard = standard_grid(grid, anatomy), standard_grid(fine, anatomy)

    def cover(tubes: np.ndarray) -> np.ndarray:
        return _mean_of_sub_slices(cover_of_tubes(tubes, fine_standard))

    hu, lung = draw_body(anatomy, standard)
    drawn = [_draw_in_lung(nodule, grid, offsets, lung) for nodule in patient.nodules]
    drawn = [each for each in drawn if each is not None]
    for nodule, box, whole, _, _ in drawn:  # vessels run on through ground glass
        if nodule.traits.texture != "solid":
            paint(hu[box], whole, nodule.hu)
    paint(hu, cover(patient.scars) * lung, anatomy.hu["muscle"] - 30.0)
    paint(hu, cover(patient.vessels), anatomy.hu["vessel"])
    paint(hu, cover(widened(patient.airways, 0.7)) * lung, -150.0)
    paint(hu, cover(patient.airways), AIR_HU)
    mask = np.zeros(grid.shape, dtype=np.uint8)
    for nodule, box, whole, core, spicules in drawn:
        dense = whole if nodule.traits.texture == "solid" else core
        paint(hu[box], np.maximum(dense, spicules), nodule.core_hu)
        mask[box] |= whole >= 0.5
    return hu, mask


def _mean_of_sub_slices(fine: np.ndarray) -> np.ndarray:
    return fine.reshape(-1, SUB_SLICES, *fine.shape[1:]).mean(axis=1)


def _draw_in_lung(nodule: Nodule, grid: Grid, offsets: np.ndarray, lung: np.ndarray):
    """A nodule's box and its three covers, cut off where the lung ends; None if not in the grid."""
    box = nodule_box(nodule, grid)
    if box is None:
        return None
    z = (grid.z[box[0]][:, None] + offsets).ravel()
    part = Grid(grid.x[box[2]], grid.y[box[1]], z, grid.edge_mm)
    covers = [_mean_of_sub_slices(each) * lung[box] for each in draw_nodule(nodule, part)]
    return nodule, box, *covers


def scanner_noise(patient: Patient, grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """Correlated noise and streaks (Z, H, W) float32, in HU.

    Neighbouring pixels share noise (reconstruction filter), but large areas do not (ramp filter),
    so the noise is a narrow blur minus a wide one. Streaks run between the shoulders, where little
    radiation gets through, and away from dense contrast medium.
    """
    pixel_mm = grid.pixel_mm
    white = rng.standard_normal(grid.shape, dtype=np.float32)
    narrow = patient.scanner.blur_mm / max(pixel_mm, 0.6) * 0.55
    wide = max(3, round(9 * narrow))
    noise = gaussian_filter(white, (0, narrow, narrow), truncate=3.0)
    noise -= uniform_filter(white, (1, wide, wide))
    sd = patient.scanner.noise_hu * min(1.0, (0.8 / pixel_mm) ** 0.5)  # large pixels average
    noise *= sd / (float(noise.std()) + 1e-6)
    standard = standard_grid(grid, patient.anatomy)
    x, y, z = standard.mesh()
    noise *= 0.6 + 0.6 * np.exp(-((x / 110.0) ** 2)) * np.exp(-((y / 90.0) ** 2))
    shoulders = np.clip((z - 50.0) / 50.0, 0.0, 1.0) * 1.5 * sd
    if z.max() > 50.0:
        rows = rng.standard_normal(grid.shape, dtype=np.float32)
        noise += shoulders * uniform_filter1d(rows, max(3, len(grid.x) // 12), axis=2) * 4.0
    if patient.anatomy.contrast:
        noise += _contrast_streaks(standard, rng)
    return noise


def _contrast_streaks(grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """Bright and dark rays from the contrast medium in the superior vena cava."""
    x, y, z = grid.mesh()
    strength = 45.0 * np.exp(-(((z - 25.0) / 30.0) ** 2))
    rays = rng.standard_normal((len(grid.z), 72), dtype=np.float32)
    if strength.max() < 2.0:
        return np.zeros(grid.shape, dtype=np.float32)
    dx, dy = x - 23.0, y - 14.0
    turn = (np.arctan2(dy, dx) / np.float32(2 * np.pi) + 0.5) * 71.0
    left = turn.astype(np.int32)
    share = turn - left
    away = np.exp(-np.sqrt(dx * dx + dy * dy) / 45.0)
    rays = np.concatenate([rays, rays[:, :1]], axis=1)
    values = rays[:, left[0]] * (1 - share) + rays[:, left[0] + 1] * share
    return values * away * strength
