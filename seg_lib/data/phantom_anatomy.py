"""The chest of a phantom patient: the shape of chest, mediastinum and lungs, and the five lobes.

Everything is a signed distance in mm, negative inside, of a *standard body*: x grows to the
patient's right, y to the front, z to the head, and (0, 0, 0) is the carina, where the trachea
splits. A patient is the standard body stretched by ``Anatomy.scale`` with some parts moved. Nothing
here is random except ``sample_anatomy``. Taught in notebook 01.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from seg_lib.data.phantom_tables import CONTRAST_SHARE, TISSUE_HU

CHEST_HALF_WIDTH_MM, CHEST_HALF_DEPTH_MM = 132.0, 90.0
LUNG_BOX_MM = ((-132.0, 132.0), (-94.0, 94.0), (-165.0, 112.0))  # x, y, z of both lungs


class Grid(NamedTuple):
    """Where the voxels lie: rows run from front to back, columns from right to left."""

    x: np.ndarray  # (W,) float32 mm, falling
    y: np.ndarray  # (H,) float32 mm, falling
    z: np.ndarray  # (Z,) float32 mm, rising
    edge_mm: float  # width over which an edge is blurred

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, H, W)."""
        return len(self.z), len(self.y), len(self.x)

    @property
    def pixel_mm(self) -> float:
        """Distance between two columns, to 0.1 micrometre."""
        return round(float(self.x[0] - self.x[-1]) / (len(self.x) - 1), 4)

    def mesh(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Axes as x (1, 1, W), y (1, H, 1) and z (Z, 1, 1), to be combined by broadcasting."""
        return self.x[None, None, :], self.y[None, :, None], self.z[:, None, None]


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """What makes one patient different from the next."""

    scale: tuple[float, float, float]  # patient mm per standard mm, along x, y, z
    fat_mm: float  # thickness of the fat under the skin
    breast_mm: float  # 0 for men
    heart_scale: float
    heart_angle: float  # radians; 0 is a heart that lies straight to the left
    dome_mm: tuple[float, float]  # z of the right and left top of the diaphragm
    fissure_mm: tuple[float, float, float]  # z shift: right oblique, right horizontal, left oblique
    contrast: bool
    hu: dict[str, float]
    waves: np.ndarray  # (6, 4) float32: wave vector in 1/mm and phase of the lung's unevenness


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient."""
    contrast = bool(rng.random() < CONTRAST_SHARE)
    female = bool(rng.random() < 0.5)
    hu = {tissue: float(rng.uniform(*limits)) for tissue, limits in TISSUE_HU.items()}
    size = rng.uniform(0.88, 0.97) if female else rng.uniform(0.95, 1.05)
    scale = size * rng.uniform([0.97, 0.94, 0.95], [1.03, 1.08, 1.07])
    directions = rng.normal(0.0, 0.05, (6, 3))
    phases = rng.uniform(0.0, 2 * np.pi, (6, 1))
    return Anatomy(
        scale=tuple(map(float, scale)),
        fat_mm=float(rng.uniform(6.0, 20.0)),
        breast_mm=float(rng.uniform(12.0, 32.0)) if female else 0.0,
        heart_scale=float(rng.uniform(0.9, 1.1)),
        heart_angle=float(rng.uniform(0.45, 0.8)),
        dome_mm=(float(rng.uniform(-88.0, -66.0)), float(rng.uniform(-100.0, -80.0))),
        fissure_mm=tuple(map(float, rng.uniform(-10.0, 10.0, 3))),
        contrast=contrast,
        hu=hu | {"vessel": hu["contrast blood"] if contrast else hu["blood"]},
        waves=np.concatenate([directions, phases], axis=1).astype(np.float32),
    )


def standard_grid(grid: Grid, anatomy: Anatomy) -> Grid:
    """The same voxels in standard-body mm."""
    sx, sy, sz = (np.float32(s) for s in anatomy.scale)
    return Grid(grid.x / sx, grid.y / sy, grid.z / sz, grid.edge_mm * 2 / float(sx + sy))


def soft_cover(distance_mm: np.ndarray, edge_mm: float) -> np.ndarray:
    """Share of a voxel inside a surface: 1 well inside, 0.5 on it, 0 outside (partial volume)."""
    return np.clip(0.5 - distance_mm / edge_mm, 0.0, 1.0)


def ellipse_distance(x: np.ndarray, y: np.ndarray, a: float, b: float) -> np.ndarray:
    """Distance to an ellipse with half axes a, b: exact on it, first order beside it."""
    u, v = x / a, y / b
    level = np.sqrt(u * u + v * v)
    gradient = np.sqrt((u / a) ** 2 + (v / b) ** 2) + 1e-6
    return level * (level - 1) / gradient


def smooth_max(first: np.ndarray, second: np.ndarray, round_mm: float) -> np.ndarray:
    """The intersection of two shapes with its edge rounded off.

    Source: Quilez, polynomial smooth minimum (iquilezles.org, "smooth minimum", quadratic).
    """
    gap = np.maximum(round_mm - np.abs(first - second), 0.0)
    return np.maximum(first, second) + gap * gap * (0.25 / round_mm)


def chest_distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance to the inside of the rib cage, which narrows above z = 30 mm."""
    narrow = np.clip((z - 30.0) / 90.0, 0.0, 1.0) ** 2
    half_width = CHEST_HALF_WIDTH_MM * (1 - 0.40 * narrow)
    half_depth = CHEST_HALF_DEPTH_MM * (1 - 0.30 * narrow)
    bent = y + 0.0009 * x * x - 4.0  # bean-shaped: the sides reach further back than the middle
    return ellipse_distance(x, bent, half_width, half_depth)


def heart_distance(anatomy: Anatomy, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance to the heart: an ellipsoid whose tip points to the left and to the front."""
    cosine, sine = float(np.cos(anatomy.heart_angle)), float(np.sin(anatomy.heart_angle))
    along = -cosine * (x + 18.0) + sine * (y - 20.0)
    across = sine * (x + 18.0) + cosine * (y - 20.0)
    size = anatomy.heart_scale
    u, v, w = along / (62 * size), across / (46 * size), (z + 70.0) / 56
    return (np.sqrt(u * u + v * v + w * w) - 1) * 50.0


def mediastinum_distance(
    anatomy: Anatomy, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Distance to what lies between the lungs: great vessels, heart, spine."""
    column = ellipse_distance(x, y - 8.0, 29.0, 76.0)
    spine = ellipse_distance(x, y + 64.0, 22.0, 28.0)
    aorta = np.sqrt((x + 20.0) ** 2 + (y + 44.0) ** 2) - 15.0 + np.maximum(z - 38.0, 0.0)
    inside = smooth_max(-column, -spine, 14.0)
    inside = smooth_max(inside, -aorta, 8.0)
    return -smooth_max(inside, 3.0 - heart_distance(anatomy, x, y, z), 10.0)


def diaphragm_mm(anatomy: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height z of the diaphragm: two domes."""
    right, left = anatomy.dome_mm
    front_back = 68.0 * ((y - 8.0) / 88.0) ** 2
    right_dome = right - 58.0 * ((x - 62.0) / 75.0) ** 2 - front_back
    left_dome = left - 58.0 * ((x + 66.0) / 75.0) ** 2 - front_back
    return smooth_max(right_dome, left_dome, 25.0)


def apex_distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance to the two domes in which the lungs end; everything is inside below z = 25 mm."""
    rise = np.maximum(z - 25.0, 0.0)
    side = np.abs(x) - (60.0 - 0.22 * rise)
    u, v, w = side / 78.0, (y + 0.12 * rise) / 98.0, rise / 84.0
    return (np.sqrt(u * u + v * v + w * w) - 1) * 70.0


def lung_distance(anatomy: Anatomy, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance to the lungs, for any points that broadcast: (Z, H, W) grids or (N,) lists.

    The lungs are what the chest leaves free above the diaphragm and beside the mediastinum.
    """
    chest = chest_distance(x, y, z)
    lung = smooth_max(chest, -mediastinum_distance(anatomy, x, y, z), 9.0)
    if np.max(z) > 20.0:
        lung = smooth_max(lung, apex_distance(x, y, z), 10.0)
    if np.min(z) < max(anatomy.dome_mm) + 12.0:
        below = (diaphragm_mm(anatomy, x, y) - z) * 0.65  # 0.65: the domes are steep
        lung = smooth_max(lung, below, 7.0)
    return lung


def fissure_distances(
    anatomy: Anatomy, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far above the oblique and above the horizontal fissure a point lies, in mm."""
    right = x > 0
    shift = np.where(right, anatomy.fissure_mm[0], anatomy.fissure_mm[2]).astype(np.float32)
    bend = 0.002 * (np.abs(x) - 70.0) ** 2
    oblique = (z + 35.0 - shift + 1.05 * y + bend) * 0.69  # 0.69 = 1 / |gradient|
    horizontal = z + 22.0 - anatomy.fissure_mm[1] + 0.15 * y + bend
    return oblique, np.where(right, horizontal, np.float32(1e3))


def lobe_names(anatomy: Anatomy, points: np.ndarray) -> np.ndarray:
    """The lobe of each of ``points`` (N, 3), in standard mm: RUL, RML, RLL, LUL or LLL."""
    x, y, z = points.T
    oblique, horizontal = fissure_distances(anatomy, x, y, z)
    upper_right = np.where(horizontal > 0, "RUL", "RML")
    return np.where(oblique > 0, np.where(x > 0, upper_right, "LUL"), np.where(x > 0, "RLL", "LLL"))


def sample_in_lungs(anatomy: Anatomy, rng: np.random.Generator, count: int) -> np.ndarray:
    """About ``count`` points, evenly spread over a box around the lungs; those inside stay."""
    low, high = np.array(LUNG_BOX_MM).T
    points = (low + (high - low) * rng.random((count, 3), dtype=np.float32)).astype(np.float32)
    return points[lung_distance(anatomy, *points.T) < -2.0]
