"""Nodules of the CT phantom: how often each kind is, Lung-RADS, where they lie, drawing them.

Positions and sizes are millimetres of the patient. Change a share here and the phantom follows;
what [A], [B], [C] mean: ``phantom_anatomy``. Taught in notebook 01.
"""

import numpy as np
from scipy.special import ndtr, ndtri

from seg_lib.data.phantom_anatomy import (
    TISSUE_HU,
    Anatomy,
    Array,
    Grid,
    chest_distance,
    lobe_names,
    lung_distance,
    sample_in_lungs,
    soft_cover,
)
from seg_lib.data.phantom_body import cover_of_tubes
from seg_lib.errors import InputError

SHARES: dict[str, dict[str, float]] = {
    # 543 primary lung cancers: 169, 29, 120, 135, 90 [A: Thorax, table "AAH and carcinoma by
    # lobe"; sides inferred from the middle-lobe row]. Right upper share confirmed in n = 10,849
    # (31.2 %, PMC10910834).
    "lobe": {"RUL": 0.311, "RML": 0.053, "RLL": 0.221, "LUL": 0.249, "LLL": 0.166},
    # 292 LIDC-IDRI nodules, majority of the readers: solid 82.5, mixed 9.9, non-solid 7.5 % [B].
    # A screening series of 89 has 88, 4, 4 % [A: BMC Med Imaging s12880-021-00594-4, table 2].
    "texture": {"solid": 0.82, "part-solid": 0.10, "ground-glass": 0.08},
    # Smooth 82, ill-defined 10, spiculated 4 % of the 89 [A]; medium spiculation or more in 10 %
    # and medium lobulation or more in 12 % of the 292 [B].
    "margin": {"smooth": 0.68, "lobulated": 0.12, "ill-defined": 0.10, "spiculated": 0.10},
    # Within 10 mm of the pleura 43 % [A: same table 2]; that half of them grow from it is our
    # choice [C], as is the share of the other nodules that sit on a vessel.
    "attachment": {"pleura": 0.215, "subpleural": 0.215, "vessel": 0.17, "free": 0.40},
}
# Mean diameter, log-normal. Screening nodules are small (4.88 +- 2.26 mm, n = 89 [A]; median 7.0 mm
# and log-sigma 0.52 in LIDC [B]); a slice of 128 pixels shows nothing of them. The median is
# shifted to 13 mm on purpose: solid nodules then fall 10/12/42/36 % into LR2/LR3/LR4A/LR4B, near
# the 13/14/37/36 % of the public Lung-RADS test set (35, 37, 97, 95 of 264 [A: the authors'
# notebook]).
DIAMETER_MEDIAN_MM, DIAMETER_LOG_SIGMA = 13.0, 0.60
DIAMETER_RANGE_MM = (3.0, 30.0)
# Waves of the surface: height relative to the radius, and how many [C].
SURFACE_WAVES = {"lobulated": (0.09, 3.0), "spiculated": (0.08, 4.5)}
SOLID_PART_SHARE = (0.25, 0.80)  # solid diameter / whole diameter of a part-solid nodule [C]

# Diameter in mm from which a nodule is in the category (baseline scan). Lung-RADS v1.1 table [A:
# NCBI NBK568579, appendix A, table 2]; v2022 keeps these limits [A: ECR25 C-22137]; the 4B line of
# the copy was cut off, its limits are the standard ACR text [C].
LUNG_RADS = ("LR2", "LR3", "LR4A", "LR4B")
LUNG_RADS_LIMITS_MM = {
    "solid": ((15.0, "LR4B"), (8.0, "LR4A"), (6.0, "LR3"), (0.0, "LR2")),
    "part-solid": ((8.0, "LR4B"), (6.0, "LR4A"), (0.0, "LR3")),  # by the solid part
    "ground-glass": ((30.0, "LR3"), (0.0, "LR2")),
}
PART_SOLID_SMALLEST_MM = 6.0  # whole diameter; below it LR2


def lungrads_category(texture: str, diameter_mm: float, solid_mm: float = 0.0) -> str:
    """Lung-RADS category on a baseline scan, by the mean diameters of the nodule and solid part.

    LR1 (no nodule) and LR4X (further signs) never come out. Unknown texture: ``InputError``.
    """
    if texture not in LUNG_RADS_LIMITS_MM:
        raise InputError(f"texture '{texture}': choose one of {', '.join(LUNG_RADS_LIMITS_MM)}.")
    if texture == "part-solid" and diameter_mm < PART_SOLID_SMALLEST_MM:
        return "LR2"
    size_mm = solid_mm if texture == "part-solid" else diameter_mm
    return next(name for from_mm, name in LUNG_RADS_LIMITS_MM[texture] if size_mm >= from_mm)


def choose(rng: np.random.Generator, shares: dict) -> object:
    """Draw a key of ``shares``, each as often as its value says."""
    return list(shares)[rng.choice(len(shares), p=list(shares.values()))]


def cut_log_normal(
    rng: np.random.Generator, median: float, log_sigma: float, limits: tuple[float, float]
) -> float:
    """Draw from a log-normal distribution that is cut off at two limits, not heaped up there."""
    normal = ndtri(rng.uniform(*ndtr(np.log(np.array(limits) / median) / log_sigma)))
    return float(median * np.exp(log_sigma * normal))


def sample_traits(rng: np.random.Generator, smallest_mm: float = 0.0) -> dict[str, object]:
    """Draw what a radiologist would write down about a nodule: kind, mean diameters, Lung-RADS.

    No diameter lies below ``smallest_mm``, because the pixels are too large to show it: the
    log-normal distribution is cut off there, not heaped up.
    """
    traits = {trait: choose(rng, shares) for trait, shares in SHARES.items()}
    low, high = DIAMETER_RANGE_MM
    limits = (max(low, smallest_mm), high)
    diameter = cut_log_normal(rng, DIAMETER_MEDIAN_MM, DIAMETER_LOG_SIGMA, limits)
    part = rng.uniform(*SOLID_PART_SHARE)
    solid = {"solid": 1.0, "ground-glass": 0.0}.get(traits["texture"], part) * diameter
    category = lungrads_category(traits["texture"], diameter, solid)
    return traits | {"diameter_mm": diameter, "solid_mm": solid, "lungrads": category}


class Nodule:
    """A nodule in a place that suits its traits, with everything needed to draw it.

    If no place in its lobe has the right depth (a large nodule in a small lobe), the best one is
    taken, and ``traits`` name the lobe where it really lies; ``centre_mm`` (x, y, z) is added.
    """

    def __init__(self, traits: dict, anatomy: Anatomy, vessels: Array, rng: np.random.Generator):
        lobe, centre = _find_place(traits, anatomy, vessels, rng)
        self.traits = traits | {"lobe": lobe, "centre_mm": tuple(centre.tolist())}
        radius = traits["diameter_mm"] / 2
        axes = rng.uniform(0.85, 1.15, 3)
        self.half_axes_mm = (axes / np.prod(axes) ** (1 / 3) * radius).tolist()
        self.wave_height, turns = SURFACE_WAVES.get(traits["margin"], (0.04, 2.5))
        # Wave vectors and phases (5, 4) of the surface.
        self.waves = np.hstack([rng.normal(0.0, turns, (5, 3)), rng.uniform(0, 2 * np.pi, (5, 1))])
        self.glass_hu = rng.uniform(*TISSUE_HU["ground-glass"])
        self.spicules = np.zeros((0, 8), dtype=np.float32)
        if traits["margin"] == "spiculated" and traits["texture"] != "ground-glass":
            # Thin rays out of the surface; readers do not include them in the mask, nor does ours.
            count = int(rng.integers(45, 75))
            rays = rng.normal(size=(count, 3))
            rays /= np.linalg.norm(rays, axis=1, keepdims=True)
            reach = radius + rng.uniform(0.3, 1.0, (count, 1)) * min(radius, 10.0) + 1.5
            ends = [centre + 0.7 * radius * rays, centre + reach * rays]
            self.spicules = np.hstack([*ends, np.tile([1.3, 0.4], (count, 1))]).astype(np.float32)

    def draw(self, grid: Grid) -> tuple[Array, Array, Array]:
        """How much of each voxel (Z, H, W) is nodule, is its dense part, is spicule: 0..1.

        The mask of a nodule is where the first is >= 0.5.
        """
        texture, radius = self.traits["texture"], self.traits["diameter_mm"] / 2
        middles = zip(grid.mesh(), self.traits["centre_mm"], self.half_axes_mm, strict=True)
        u, v, w = ((axis - centre) / half_axis for axis, centre, half_axis in middles)
        level = np.sqrt(u * u + v * v + w * w)
        around = 1.0 / np.maximum(level, 0.3)
        surface = np.ones_like(level)
        for ku, kv, kw, phase in self.waves.tolist():
            surface += self.wave_height * np.sin((ku * u + kv * v + kw * w) * around + phase)
        distance = (level - surface) * radius
        blurred = self.traits["margin"] == "ill-defined" or texture == "ground-glass"
        blur_mm = min(0.35 * radius, 3.0) if blurred else 0.0
        whole = soft_cover(distance, grid.edge_mm + blur_mm)
        dense = np.zeros_like(whole) if texture == "ground-glass" else whole
        if texture == "part-solid":
            dense = soft_cover(distance + radius - self.traits["solid_mm"] / 2, grid.edge_mm)
        return whole, dense, cover_of_tubes(self.spicules, grid)


def _find_place(
    traits: dict, anatomy: Anatomy, vessels: Array, rng: np.random.Generator
) -> tuple[str, Array]:
    """The lobe and the centre (x, y, z) in patient mm."""
    radius, scale = traits["diameter_mm"] / 2, np.array(anatomy.scale, dtype=np.float32)
    places = sample_in_lungs(anatomy, rng, 6000)
    if traits["attachment"] == "vessel":
        twigs = vessels[(vessels[:, 7] > 0.9) & (vessels[:, 7] < 2.5), 3:6]
        places = rng.permutation(twigs + rng.normal(0, 0.5 * radius, twigs.shape) / scale)
        places = places.astype(np.float32)
    depth = -lung_distance(anatomy, *places.T) * float(scale.mean())
    below_ribs = -chest_distance(*places.T) * float(scale.mean())
    gap = rng.uniform(1.0, 8.0)
    # By how many mm each place is too deep in the lung or not deep enough.
    if traits["attachment"] == "pleura":
        misfit = np.abs(below_ribs - 0.75 * radius)
    elif traits["attachment"] == "subpleural":
        misfit = np.abs(below_ribs - radius - gap) + np.maximum(radius + gap - depth, 0.0)
    else:
        room = 1.0 if traits["attachment"] == "vessel" else 10.0
        misfit = np.maximum(radius + room - depth, 0.0)
    lobes = lobe_names(anatomy, places)
    best = int(np.argmin(misfit + 100.0 * (lobes != traits["lobe"])))
    return str(lobes[best]), places[best] * scale
