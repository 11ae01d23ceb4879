"""The chest of a phantom patient: the shape of chest, heart and lungs, the lobes, the vessels.

Shapes are signed distances in mm, negative inside, of a *standard body*: x grows to the patient's
right, y to the front, z to the head, and (0, 0, 0) is the carina, where the trachea splits. A
patient is the standard body stretched by ``Anatomy.scale`` with some parts moved. Sources, in all
phantom files: [A] read in the primary source, [B] computed from real data here, [C] textbook or our
own choice, not verified. Taught in notebook 01.
"""

from typing import NamedTuple

import numpy as np

Array = np.ndarray  # of float32; coordinates are lists of points (N,) or axes that broadcast
LUNG_BOX_MM = ((-132.0, 132.0), (-94.0, 94.0), (-165.0, 112.0))  # x, y, z of both lungs
TWIGS = 2**10  # per tree; two trees of vessels per lung
AIRWAY_TUBES = 4 * 2**5 - 4  # the first five branchings: as far as slices show them
CONTRAST_SHARE = 0.5  # of the patients have contrast medium in their vessels [C]
# Hounsfield units, (lowest, highest) over patients [C: textbook ranges].
TISSUE_HU: dict[str, tuple[float, float]] = {
    "lung": (-870.0, -780.0),
    "fat": (-110.0, -90.0),
    "muscle": (45.0, 60.0),
    "blood": (35.0, 50.0),
    "contrast blood": (120.0, 220.0),
    "liver": (50.0, 65.0),
    "marrow": (150.0, 260.0),
    "cortex": (600.0, 900.0),
    "solid": (5.0, 60.0),
    "ground-glass": (-620.0, -430.0),
}


class Grid(NamedTuple):
    """Where the voxels (Z, H, W) lie: rows run from front to back, columns from right to left."""

    x: Array  # (W,) mm, falling
    y: Array  # (H,) mm, falling
    z: Array  # (Z,) mm, rising
    edge_mm: float  # width over which an edge is blurred
    pixel_mm: float  # distance between two columns of the image

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, H, W)."""
        return len(self.z), len(self.y), len(self.x)

    def mesh(self) -> tuple[Array, Array, Array]:
        """Axes as x (1, 1, W), y (1, H, 1) and z (Z, 1, 1), to be combined by broadcasting."""
        return self.x[None, None, :], self.y[None, :, None], self.z[:, None, None]

    def boxes(self, low: Array, high: Array) -> Array:
        """First and last index (exclusive) along z, y, x (N, 6) of boxes between corners (N, 3)."""
        ends = [np.searchsorted(self.z, corner[:, 2]) for corner in (low, high)]
        for axis, i in ((self.y, 1), (self.x, 0)):
            ends += [len(axis) - np.searchsorted(axis[::-1], c[:, i]) for c in (high, low)]
        return np.stack(ends, axis=1)

    def crop(self, *limits_mm: tuple[float, float]) -> tuple[tuple[slice, slice, slice], "Grid"]:
        """The part between two x, two y and, if given, two z: where it is, and its grid."""
        low, high = np.array([*limits_mm, (-np.inf, np.inf)][:3]).T
        z0, z1, y0, y1, x0, x1 = self.boxes(low[None], high[None])[0].tolist()
        part = self._replace(x=self.x[x0:x1], y=self.y[y0:y1], z=self.z[z0:z1])
        return (slice(z0, z1), slice(y0, y1), slice(x0, x1)), part


class Anatomy:
    """What makes one patient different from the next, drawn by lot."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.contrast = bool(rng.random() < CONTRAST_SHARE)
        female = bool(rng.random() < 0.5)
        self.hu = {tissue: rng.uniform(*limits) for tissue, limits in TISSUE_HU.items()}
        self.hu["vessel"] = self.hu["contrast blood" if self.contrast else "blood"]
        size = rng.uniform(0.88, 0.97) if female else rng.uniform(0.95, 1.05)
        # Patient mm per standard mm, along x, y, z.
        self.scale = (size * rng.uniform([0.97, 0.94, 0.95], [1.03, 1.08, 1.07])).tolist()
        # Wave vectors in 1/mm and phases (6, 4) of the lung's unevenness.
        self.waves = np.hstack([rng.normal(0.0, 0.05, (6, 3)), rng.uniform(0.0, 2 * np.pi, (6, 1))])
        self.fat_mm = rng.uniform(6.0, 20.0)  # thickness under the skin
        self.breast_mm = rng.uniform(12.0, 32.0) if female else 0.0
        self.heart_scale = rng.uniform(0.9, 1.1)
        self.heart_angle = rng.uniform(0.45, 0.8)  # radians; 0 lies straight to the left
        # z of the right and left top of the diaphragm.
        self.dome_mm = (rng.uniform(-88.0, -66.0), rng.uniform(-100.0, -80.0))
        # z shift of the right oblique, right horizontal and left oblique fissure.
        self.fissure_mm = rng.uniform(-10.0, 10.0, 3).tolist()

    def standard(self, grid: Grid) -> Grid:
        """The same voxels in standard-body mm."""
        sx, sy, sz = (np.float32(s) for s in self.scale)
        edge_mm = grid.edge_mm * 2 / float(sx + sy)
        return Grid(grid.x / sx, grid.y / sy, grid.z / sz, edge_mm, grid.pixel_mm)


def soft_cover(distance_mm: Array, edge_mm: float) -> Array:
    """Share of a voxel inside a surface: 1 well inside, 0.5 on it, 0 outside (partial volume)."""
    return np.clip(0.5 - distance_mm / edge_mm, 0.0, 1.0)


def ellipse_distance(x: Array, y: Array, a: float, b: float) -> Array:
    """Distance to an ellipse with half axes a, b: exact on it, first order beside it."""
    u, v = x / a, y / b
    level = np.sqrt(u * u + v * v)
    gradient = np.sqrt((u / a) ** 2 + (v / b) ** 2) + 1e-6
    return level * (level - 1) / gradient


def smooth_max(first: Array, second: Array, round_mm: float) -> Array:
    """The intersection of two shapes with its edge rounded off.

    Source: Quilez, polynomial smooth minimum (iquilezles.org, "smooth minimum", quadratic).
    """
    gap = np.maximum(round_mm - np.abs(first - second), 0.0)
    return np.maximum(first, second) + gap * gap * (0.25 / round_mm)


def chest_distance(x: Array, y: Array, z: Array) -> Array:
    """Distance to the inside of the rib cage, which narrows above z = 30 mm."""
    narrow = np.clip((z - 30.0) / 90.0, 0.0, 1.0) ** 2
    bent = y + 0.0009 * x * x - 4.0  # bean-shaped: the sides reach further back than the middle
    return ellipse_distance(x, bent, 132.0 * (1 - 0.40 * narrow), 90.0 * (1 - 0.30 * narrow))


def heart_distance(anatomy: Anatomy, x: Array, y: Array, z: Array) -> Array:
    """Distance to the heart: an ellipsoid whose tip points to the left and to the front."""
    cosine, sine = float(np.cos(anatomy.heart_angle)), float(np.sin(anatomy.heart_angle))
    along = -cosine * (x + 18.0) + sine * (y - 20.0)
    across = sine * (x + 18.0) + cosine * (y - 20.0)
    size = anatomy.heart_scale
    u, v, w = along / (62 * size), across / (46 * size), (z + 70.0) / 56
    return (np.sqrt(u * u + v * v + w * w) - 1) * 50.0


def below_diaphragm(anatomy: Anatomy, x: Array, y: Array, z: Array) -> Array:
    """Distance to the belly under the two domes of the diaphragm."""
    right, left = anatomy.dome_mm
    front_back = 68.0 * ((y - 8.0) / 88.0) ** 2
    right_dome = right - 58.0 * ((x - 62.0) / 75.0) ** 2 - front_back
    left_dome = left - 58.0 * ((x + 66.0) / 75.0) ** 2 - front_back
    return (z - smooth_max(right_dome, left_dome, 25.0)) * 0.65  # 0.65: the domes are steep


def lung_distance(anatomy: Anatomy, x: Array, y: Array, z: Array) -> Array:
    """Distance to the lungs: what the chest leaves free between mediastinum, apex and diaphragm."""
    # The mediastinum is the column of the great vessels, spine, aorta and heart.
    column = ellipse_distance(x, y - 8.0, 29.0, 76.0)
    spine = ellipse_distance(x, y + 64.0, 22.0, 28.0)
    aorta = np.sqrt((x + 20.0) ** 2 + (y + 44.0) ** 2) - 15.0 + np.maximum(z - 38.0, 0.0)
    beside = smooth_max(smooth_max(-column, -spine, 14.0), -aorta, 8.0)
    beside = smooth_max(beside, 3.0 - heart_distance(anatomy, x, y, z), 10.0)
    lung = smooth_max(chest_distance(x, y, z), beside, 9.0)
    if np.max(z) > 20.0:  # at the apex each lung ends in a dome
        rise = np.maximum(z - 25.0, 0.0)
        u, v = (np.abs(x) - (60.0 - 0.22 * rise)) / 78.0, (y + 0.12 * rise) / 98.0
        w = rise / 84.0
        lung = smooth_max(lung, (np.sqrt(u * u + v * v + w * w) - 1) * 70.0, 10.0)
    if np.min(z) < max(anatomy.dome_mm) + 12.0:
        lung = smooth_max(lung, -below_diaphragm(anatomy, x, y, z), 7.0)
    return lung


def fissure_distances(anatomy: Anatomy, x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    """How far above the oblique and above the horizontal fissure a point lies, in mm."""
    right = x > 0
    shift = np.where(right, anatomy.fissure_mm[0], anatomy.fissure_mm[2]).astype(np.float32)
    bend = 0.002 * (np.abs(x) - 70.0) ** 2
    oblique = (z + 35.0 - shift + 1.05 * y + bend) * 0.69  # 0.69 = 1 / |gradient|
    horizontal = z + 22.0 - anatomy.fissure_mm[1] + 0.15 * y + bend
    return oblique, np.where(right, horizontal, np.float32(1e3))


def lobe_names(anatomy: Anatomy, points: Array) -> Array:
    """The lobe of each of ``points`` (N, 3), in standard mm: RUL, RML, RLL, LUL or LLL."""
    oblique, horizontal = fissure_distances(anatomy, *points.T)
    right = np.where(oblique > 0, np.where(horizontal > 0, "RUL", "RML"), "RLL")
    return np.where(points[:, 0] > 0, right, np.where(oblique > 0, "LUL", "LLL"))


def sample_in_lungs(anatomy: Anatomy, rng: np.random.Generator, count: int) -> Array:
    """About ``count`` points, evenly spread over a box around the lungs; those inside stay."""
    low, high = np.array(LUNG_BOX_MM).T
    points = (low + (high - low) * rng.random((count, 3), dtype=np.float32)).astype(np.float32)
    return points[lung_distance(anatomy, *points.T) < -2.0]


def grow_tree(
    points: Array, root: tuple[float, float, float], radius_mm: float, rng: np.random.Generator
) -> Array:
    """A tree from ``root`` into a cloud of points (2 ** levels, 3), each branch bent once.

    Split the cloud in two, grow a branch towards the middle of each half, repeat: so branches reach
    everywhere and stay in the lung. Source: the volume-filling method of Tawhai et al., "CT-based
    geometry analysis and finite element models of the human and ovine bronchial tree", J Appl
    Physiol 97 (2004). Returns tubes (4 * 2 ** levels - 4, 8), thick branches first: start x y z,
    end x y z, radius at the start and at the end, in standard mm.
    """
    groups, nodes, tubes = points[None], np.array([root], dtype=np.float32), []
    levels = len(points).bit_length() - 1
    for level in range(levels):
        # Cut roughly across the longest side; straight cuts would leave slices without branches.
        across = np.eye(3, dtype=np.float32)[groups.var(axis=1).argmax(axis=1)]
        across += rng.normal(0.0, 0.4, across.shape).astype(np.float32)
        order = (groups * across[:, None]).sum(axis=2).argsort(axis=1, kind="stable")
        groups = np.take_along_axis(groups, order[:, :, None], axis=1)
        groups = groups.reshape(2 * len(groups), -1, 3)
        parents = np.repeat(nodes, 2, axis=0)
        low, high = (0.3, 0.55) if level < levels - 1 else (0.6, 0.95)
        step = rng.uniform(low, high, (len(parents), 1)).astype(np.float32)
        nodes = parents + step * (groups.mean(axis=1) - parents)
        radius = radius_mm * 0.79**level
        radii = np.full((len(nodes), 2), (radius, 0.86 * radius), dtype=np.float32)
        # The middle of a branch sags towards the next group's middle, so no branch is straight.
        sag = 0.12 * np.roll(nodes - parents, 1, axis=1) * np.array([1, -1, 1], np.float32)
        middle = 0.5 * (parents + nodes) + sag
        tubes += [np.hstack([parents, middle, radii]), np.hstack([middle, nodes, radii * 0.93])]
    return np.concatenate(tubes).astype(np.float32)


def grow_vessels(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Array, Array]:
    """Arteries with veins, and airways, of both lungs: two arrays of tubes (N, 8)."""
    cloud = sample_in_lungs(anatomy, rng, 24_000)
    vessels, airways = [], []
    for side in (1.0, -1.0):
        lung = cloud[cloud[:, 0] * side > 0]
        vessels.append(grow_tree(lung[:TWIGS], (side * 40, -10, -14), 7.0, rng))
        vessels.append(grow_tree(lung[TWIGS : 2 * TWIGS], (side * 36, -8, -45), 6.0, rng))
        # Airways run beside the arteries: towards the same points.
        airways.append(grow_tree(lung[:TWIGS], (side * 36, -21, -30), 4.5, rng)[:AIRWAY_TUBES])
    return np.concatenate(vessels), np.concatenate(airways)
