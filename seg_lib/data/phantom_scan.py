"""Scanning a phantom patient: from anatomy and nodules to HU with noise, streaks and padding.

A slice and a volume are the same thing here: a grid with one or with many positions along z.
Taught in notebook 01.
"""

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter, uniform_filter1d

from seg_lib.data.phantom_anatomy import LUNG_BOX_MM, Anatomy, Array, Grid, grow_vessels
from seg_lib.data.phantom_body import AIR_HU, cover_of_tubes, draw_body, paint
from seg_lib.data.phantom_nodules import Nodule, choose, sample_traits

NODULES_PER_PATIENT: dict[int, float] = {1: 0.6, 2: 0.3, 3: 0.1}  # [C]
SLICES_PER_PATIENT: dict[int, float] = {1: 0.3, 2: 0.4, 3: 0.3}  # [C]
# The mean diameter spans at least this many pixels: 2.5 mm at 512 pixels, 5 at 256, 10 at 128.
# Smaller ones no network of the course's size could find, nor a reader.
SMALLEST_DIAMETER_PIXELS = 3.5
SLICE_RANGE_MM = (1.0, 3.0)  # distance between slices of a volume [A: see Scanner.slice_mm]
SUB_SLICES = 2  # a slice is the mean of so many thinner ones
SLAB = 8  # slices drawn at a time: keeps the working arrays in the processor's cache


@dataclasses.dataclass(frozen=True)
class Scanner:
    """One source of images: what it writes outside its field of view, and how it looks."""

    padding_hu: int  # all four values occur in the public Lung-RADS set [A: its notebooks]
    noise_hu: float  # standard deviation in the middle of the body [C]
    blur_mm: float  # width of an edge: sharp kernel 1.0, soft kernel 1.6 [C]
    slice_mm: float  # median 1.25 in MSD lung, <= 2.5 in LUNA16, 3 in Lung1 [A]


SCANNERS = (
    Scanner(-1024, 22.0, 1.3, 1.25),
    Scanner(-2048, 32.0, 1.0, 1.0),
    Scanner(-3024, 17.0, 1.6, 2.5),
    Scanner(-1001, 38.0, 1.1, 2.0),
)


class Patient:
    """One phantom patient, drawn by lot, whose nodules show on images of ``pixels`` columns.

    Args:
        rng: the lot.
        pixels: columns of the images; smaller nodules than these show are not drawn.
        n_nodules: how often there are so many.
        smallest_mm: diameter of nodules, whatever the images show.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        pixels: int = 512,
        n_nodules: dict[int, float] = NODULES_PER_PATIENT,
        smallest_mm: float = 0.0,
    ) -> None:
        self.anatomy = Anatomy(rng)
        # Side of the square field of view.
        self.field_mm = 2 * self.anatomy.scale[0] * (162.0 + self.anatomy.fat_mm)
        self.field_mm *= rng.uniform(1.02, 1.12)
        shown_mm = min(SMALLEST_DIAMETER_PIXELS * self.field_mm / pixels, 20.0)
        self.vessels, self.airways = grow_vessels(self.anatomy, rng)
        limit_mm = max(shown_mm, smallest_mm)
        traits = [sample_traits(rng, limit_mm) for _ in range(choose(rng, n_nodules))]
        # Scars are bands of collapsed lung: as dense as a nodule, but long and thin.
        starts = self.vessels[rng.integers(len(self.vessels), size=rng.integers(3, 7)), 3:6]
        along = rng.normal(0.0, 1.0, starts.shape) * np.array([1.0, 1.0, 0.25])
        along *= rng.uniform(20.0, 50.0, (len(starts), 1)) / np.linalg.norm(along, axis=1)[:, None]
        radii = np.repeat(rng.uniform(1.4, 3.6, (len(starts), 1)), 2, axis=1)
        self.scars = np.hstack([starts, starts + along, radii]).astype(np.float32)
        self.nodules = [Nodule(each, self.anatomy, self.vessels, rng) for each in traits]
        self.scanner = SCANNERS[rng.integers(len(SCANNERS))]
        self.n_slices = choose(rng, SLICES_PER_PATIENT)  # that a 2D data set takes of him

    def grid(self, size: tuple[int, int], z_mm: Array | list[float]) -> Grid:
        """Slices of ``size`` (X, Y) at ``z_mm`` that show the whole body."""
        pixel_mm = round(self.field_mm / min(size), 4)
        x, y = (pixel_mm * ((side - 1) / 2 - np.arange(side)) for side in size)
        y -= 12.0 * self.anatomy.scale[1]  # the body reaches further back than to the front
        axes = (np.asarray(axis, dtype=np.float32) for axis in (x, y, z_mm))
        return Grid(*axes, max(pixel_mm, self.scanner.blur_mm), pixel_mm)


def volume_grid(patient: Patient, size: tuple[int, int, int]) -> tuple[Grid, float]:
    """Voxels for a chest CT of ``size`` (X, Y, Z), and the distance between its slices in mm.

    The first nodule's middle lies in the middle of a slice, so it never falls between two.
    """
    low, high = (patient.anatomy.scale[2] * end for end in LUNG_BOX_MM[2])
    thickest = max(SLICE_RANGE_MM[1], 2 * patient.field_mm / min(size[:2]))
    wanted = 1.02 * (high - low) / size[2]
    slice_mm = round(float(np.clip(wanted, SLICE_RANGE_MM[0], thickest)), 4)
    nodule_z = patient.nodules[0].traits["centre_mm"][2]
    height = slice_mm * (size[2] - 1)
    # As central in the lung as possible, with the nodule well inside.
    bottom = np.clip((low + high - height) / 2, nodule_z - 0.8 * height, nodule_z - 0.2 * height)
    bottom = nodule_z - slice_mm * round(float(nodule_z - bottom) / slice_mm)
    return patient.grid(size[:2], bottom + slice_mm * np.arange(size[2])), slice_mm


def scan(
    patient: Patient, grid: Grid, slice_mm: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Image a patient: HU (Z, H, W) int16, and the nodules (Z, H, W) uint8.

    ``grid`` is in patient mm; slices are ``slice_mm`` thick, which may differ from their distance.
    Outside the round field of view lies the scanner's padding.
    """
    hu = np.empty(grid.shape, dtype=np.int16)
    mask = np.empty(grid.shape, dtype=np.uint8)
    for first in range(0, len(grid.z), SLAB):
        slab = slice(first, first + SLAB)
        part = grid._replace(z=grid.z[slab])
        clean, mask[slab] = _draw_patient(patient, part, slice_mm)
        clean += scanner_noise(patient, part, rng)
        hu[slab] = np.clip(np.rint(clean), -1024, 3071)
    x, y = grid.x - grid.x.mean(), grid.y - grid.y.mean()
    outside = x[None, :] ** 2 + y[:, None] ** 2 > max(x.max(), y.max()) ** 2
    hu[:, outside] = patient.scanner.padding_hu
    return hu, mask


def _draw_patient(patient: Patient, grid: Grid, slice_mm: float) -> tuple[Array, Array]:
    """Noise-free HU (Z, H, W) float32, and mask (Z, H, W) uint8 of all nodules."""
    anatomy = patient.anatomy
    offsets = slice_mm * ((np.arange(SUB_SLICES, dtype=np.float32) + 0.5) / SUB_SLICES - 0.5)

    def sub_slices(part: Grid) -> Grid:
        return part._replace(z=(part.z[:, None] + offsets).ravel())

    def mean(fine: Array) -> Array:
        return fine.reshape(-1, SUB_SLICES, *fine.shape[1:]).mean(axis=1)

    def cover(tubes: Array, wall_mm: float = 0.0) -> Array:
        return mean(cover_of_tubes(tubes, anatomy.standard(sub_slices(grid)), wall_mm))

    hu, lung = draw_body(anatomy, anatomy.standard(grid))
    drawn = []
    for nodule in patient.nodules:
        reach = nodule.traits["diameter_mm"] + 2 * grid.edge_mm + 3.0
        box, part = grid.crop(*((mm - reach, mm + reach) for mm in nodule.traits["centre_mm"]))
        whole, *others = (mean(each) * lung[box] for each in nodule.draw(sub_slices(part)))
        drawn.append((box, whole, *others))
        if nodule.traits["texture"] != "solid":  # vessels run on through ground glass
            paint(hu[box], whole, nodule.glass_hu)
    paint(hu, cover(patient.scars) * lung, anatomy.hu["muscle"] - 30.0)
    paint(hu, cover(patient.vessels), anatomy.hu["vessel"])
    paint(hu, cover(patient.airways, wall_mm=0.7) * lung, -150.0)
    paint(hu, cover(patient.airways), AIR_HU)
    mask = np.zeros(grid.shape, dtype=np.uint8)
    for box, whole, dense, spicules in drawn:
        paint(hu[box], np.maximum(dense, spicules), anatomy.hu["solid"])
        mask[box] |= whole >= 0.5
    return hu, mask


def grainy_noise(scanner: Scanner, grid: Grid, rng: np.random.Generator) -> Array:
    """Correlated noise (Z, H, W) float32, in HU.

    Neighbouring pixels share noise (reconstruction filter), but large areas do not (ramp filter),
    so the noise is a narrow blur minus a wide one. Large pixels average it away.
    """
    white = rng.standard_normal(grid.shape, dtype=np.float32)
    narrow = scanner.blur_mm / max(grid.pixel_mm, 0.6) * 0.55
    wide = max(3, round(9 * narrow))
    noise = gaussian_filter(white, (0, narrow, narrow), truncate=3.0)
    noise -= uniform_filter(white, (1, wide, wide))
    noise *= noise_sd(scanner, grid) / (float(noise.std()) + 1e-6)
    return noise


def noise_sd(scanner: Scanner, grid: Grid) -> float:
    """Of one pixel, in HU."""
    return scanner.noise_hu * min(1.0, (0.8 / grid.pixel_mm) ** 0.5)


def scanner_noise(patient: Patient, grid: Grid, rng: np.random.Generator) -> Array:
    """Correlated noise and streaks of the chest (Z, H, W) float32, in HU.

    Streaks run between the shoulders, where little radiation gets through, and away from dense
    contrast medium.
    """
    noise = grainy_noise(patient.scanner, grid, rng)
    standard = patient.anatomy.standard(grid)
    x, y, z = standard.mesh()
    noise *= 0.6 + 0.6 * np.exp(-((x / 110.0) ** 2)) * np.exp(-((y / 90.0) ** 2))
    if z.max() > 50.0:
        shoulders = np.clip((z - 50.0) / 50.0, 0.0, 1.0) * 1.5 * noise_sd(patient.scanner, grid)
        rows = rng.standard_normal(grid.shape, dtype=np.float32)
        noise += shoulders * uniform_filter1d(rows, max(3, len(grid.x) // 12), axis=2) * 4.0
    if patient.anatomy.contrast:
        noise += _contrast_streaks(standard, rng)
    return noise


def _contrast_streaks(grid: Grid, rng: np.random.Generator) -> Array:
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
    right = rays.take(left[0] + 1, axis=1, mode="wrap")
    values = rays[:, left[0]] * (1 - share) + right * share
    return values * away * strength
