"""Nodules of the CT phantom: drawing lots for their traits, placing them in a lobe, drawing them.

Random draws make parameters (``sample_traits``, ``place_nodule``); the drawing itself is a pure
function of them. Positions and sizes are millimetres of the patient. Taught in notebook 01.
"""

import dataclasses

import numpy as np
from scipy.special import ndtr, ndtri

from seg_lib.data import phantom_tables as tables
from seg_lib.data.phantom_anatomy import (
    Anatomy,
    Grid,
    chest_distance,
    lobe_names,
    lung_distance,
    sample_in_lungs,
    soft_cover,
)
from seg_lib.data.phantom_vessels import cover_of_tubes

Box = tuple[slice, slice, slice]


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a radiologist would write down about a nodule."""

    lobe: str
    texture: str
    margin: str
    attachment: str
    diameter_mm: float  # mean diameter of the whole nodule
    solid_mm: float  # mean diameter of its solid part; 0 for ground glass

    @property
    def lungrads(self) -> str:
        """Lung-RADS category by size."""
        return tables.lungrads_category(self.texture, self.diameter_mm, self.solid_mm)


@dataclasses.dataclass(frozen=True)
class Nodule:
    """A nodule with everything needed to draw it."""

    traits: Traits
    centre_mm: tuple[float, float, float]  # x, y, z
    axes: tuple[float, float, float]  # relative half axes, product 1
    bumps: np.ndarray  # (5, 5) float32: wave vector, phase and height of the surface's waves
    spicules: np.ndarray  # (N, 8) float32 tubes
    hu: float
    core_hu: float

    def as_dict(self) -> dict[str, object]:
        """Traits, category and position as plain values, for tables and titles."""
        return dataclasses.asdict(self.traits) | {
            "lungrads": self.traits.lungrads,
            "centre_mm": self.centre_mm,
        }


def choose(rng: np.random.Generator, shares: dict) -> object:
    """Draw a key of ``shares``, each as often as its value says."""
    names, weights = list(shares), np.cumsum(list(shares.values()))
    return names[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]


def sample_traits(rng: np.random.Generator, smallest_mm: float = 0.0) -> Traits:
    """Draw lots by the shares of ``phantom_tables``.

    Args:
        rng: source of chance.
        smallest_mm: no diameter below this, because the pixels are too large to show it. The
            log-normal distribution is cut off there, not heaped up.
    """
    lobe, texture = choose(rng, tables.LOBE_SHARE), choose(rng, tables.TEXTURE_SHARE)
    margin, attachment = choose(rng, tables.MARGIN_SHARE), choose(rng, tables.ATTACHMENT_SHARE)
    low, high = tables.DIAMETER_RANGE_MM
    limits = np.log(np.array([max(low, smallest_mm), high]) / tables.DIAMETER_MEDIAN_MM)
    quantiles = ndtr(limits / tables.DIAMETER_LOG_SIGMA)
    normal = ndtri(rng.uniform(*quantiles))
    diameter = float(tables.DIAMETER_MEDIAN_MM * np.exp(tables.DIAMETER_LOG_SIGMA * normal))
    share = {"solid": 1.0, "ground-glass": 0.0}.get(texture, rng.uniform(*tables.SOLID_PART_SHARE))
    return Traits(lobe, texture, margin, attachment, diameter, float(share * diameter))


def place_nodule(
    traits: Traits, anatomy: Anatomy, vessels: np.ndarray, rng: np.random.Generator
) -> Nodule:
    """Find a place in the right lobe and at the right depth below the pleura, and fix the shape.

    If the lobe offers no such place (a large nodule in a small lobe), the best one is taken, and
    the lobe of the result is the one where it really lies.
    """
    radius, scale = traits.diameter_mm / 2, np.array(anatomy.scale, dtype=np.float32)
    places = sample_in_lungs(anatomy, rng, 6000)
    if traits.attachment == "vessel":
        twigs = vessels[(vessels[:, 7] > 0.9) & (vessels[:, 7] < 2.5), 3:6]
        places = rng.permutation(twigs + rng.normal(0, 0.5 * radius, twigs.shape) / scale)
        places = places.astype(np.float32)
    depth = -lung_distance(anatomy, *places.T) * float(scale.mean())
    below_ribs = -chest_distance(*places.T) * float(scale.mean())
    misfit = _depth_misfit(traits.attachment, radius, depth, below_ribs, rng)
    lobes = lobe_names(anatomy, places)
    misfit = misfit + 100.0 * (lobes != traits.lobe)
    best = int(np.argmin(misfit))
    centre = tuple(map(float, places[best] * scale))
    traits = dataclasses.replace(traits, lobe=str(lobes[best]))
    return _shape_nodule(traits, centre, anatomy, rng)


def _depth_misfit(
    attachment: str,
    radius: float,
    depth: np.ndarray,
    below_ribs: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """By how many mm each place is too deep in the lung or not deep enough."""
    gap = rng.uniform(1.0, 8.0)
    if attachment == "pleura":
        return np.abs(below_ribs - 0.75 * radius)
    if attachment == "subpleural":
        return np.abs(below_ribs - radius - gap) + np.maximum(radius + gap - depth, 0.0)
    return np.maximum(radius + (1.0 if attachment == "vessel" else 10.0) - depth, 0.0)


def _shape_nodule(
    traits: Traits, centre: tuple[float, float, float], anatomy: Anatomy, rng: np.random.Generator
) -> Nodule:
    axes = rng.uniform(0.85, 1.15, 3)
    axes /= np.prod(axes) ** (1 / 3)
    height, turns = {"lobulated": (0.09, 3.0), "spiculated": (0.08, 4.5)}.get(
        traits.margin, (0.04, 2.5)
    )
    waves = rng.normal(0.0, turns, (5, 3))
    phases, heights = rng.uniform(0, 2 * np.pi, (5, 1)), np.full((5, 1), height)
    glass = rng.uniform(*tables.TISSUE_HU["ground-glass"])
    spicules = np.zeros((0, 8), dtype=np.float32)
    if traits.margin == "spiculated" and traits.texture != "ground-glass":
        spicules = _spicules(np.array(centre), traits.diameter_mm / 2, rng)
    return Nodule(
        traits=traits,
        centre_mm=centre,
        axes=tuple(map(float, axes)),
        bumps=np.concatenate([waves, phases, heights], axis=1).astype(np.float32),
        spicules=spicules,
        hu=float(anatomy.hu["solid"] if traits.texture == "solid" else glass),
        core_hu=float(anatomy.hu["solid"]),
    )


def _spicules(centre: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Thin rays out of the surface; readers do not include them in the mask, nor does ours."""
    count = int(rng.integers(45, 75))
    rays = rng.normal(size=(count, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    reach = radius + rng.uniform(0.3, 1.0, (count, 1)) * min(radius, 10.0) + 1.5
    radii = np.tile([1.3, 0.4], (count, 1))
    tubes = [centre + 0.7 * radius * rays, centre + reach * rays, radii]
    return np.concatenate(tubes, axis=1).astype(np.float32)


def nodule_box(nodule: Nodule, grid: Grid) -> Box | None:
    """The part of the grid (Z, H, W) a nodule may touch; None if it lies outside."""
    reach = nodule.traits.diameter_mm + 2 * grid.edge_mm + 3.0
    axes = (grid.z, grid.y, grid.x)
    near = [
        np.flatnonzero(np.abs(axis - middle) <= reach)
        for axis, middle in zip(axes, nodule.centre_mm[::-1], strict=True)
    ]
    if any(len(indices) == 0 for indices in near):
        return None
    return tuple(slice(int(i[0]), int(i[-1]) + 1) for i in near)


def draw_nodule(nodule: Nodule, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much of each voxel is nodule, how much its solid core, how much its spicules.

    Args:
        nodule: what to draw.
        grid: voxels in patient mm, already cut down to ``nodule_box``.

    Returns:
        Three arrays (Z, H, W) float32, 0..1. The mask of a nodule is where the first is >= 0.5.
    """
    radius = nodule.traits.diameter_mm / 2
    x, y, z = grid.mesh()
    (cx, cy, cz), (ax, ay, az) = nodule.centre_mm, nodule.axes
    u, v, w = (x - cx) / (ax * radius), (y - cy) / (ay * radius), (z - cz) / (az * radius)
    level = np.sqrt(u * u + v * v + w * w)
    around = 1.0 / np.maximum(level, 0.3)
    surface = np.ones_like(level)
    for ku, kv, kw, phase, height in nodule.bumps.tolist():
        surface += height * np.sin((ku * u + kv * v + kw * w) * around + phase)
    distance = (level - surface) * radius
    blurred = nodule.traits.margin == "ill-defined" or nodule.traits.texture == "ground-glass"
    edge = grid.edge_mm + (min(0.35 * radius, 3.0) if blurred else 0.0)
    whole = soft_cover(distance, edge)
    core = np.zeros_like(whole)
    if nodule.traits.texture == "part-solid":
        core = soft_cover(distance + radius - nodule.traits.solid_mm / 2, grid.edge_mm)
    return whole, core, cover_of_tubes(nodule.spicules, grid)
