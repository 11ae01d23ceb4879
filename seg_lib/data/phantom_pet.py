"""A PET-like picture of a ``lung3d`` patient: uptake of FDG as body-weight SUV, on its own grid.

    uptake of organs, nodules, hot spots ── blur of the scanner ── counts ── filter ──> SUV

PET alone does not outline nodules: it is blurred, noisy and shifted by the breath; ground glass and
every fourth solid nodule take up little; lymph nodes, scars and some hearts take up much and are no
nodules. Organs follow the maxima that Mettler & Guiberteau 2006 (Essentials of Nuclear Medicine
Imaging, chapter 13) name: liver 2.5, blood 2.3, lung 0.7. Nodules follow Nomori et al. 2004,
https://doi.org/10.1016/j.lungcan.2004.01.009: of nodules of 1 to 3 cm solid ones are found with a
sensitivity of 90 % and a specificity of 71 %, 9 of 10 cancers with ground glass are missed, and
nothing below 1 cm is seen. All other numbers are our own choice, not verified.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from seg_lib.data.phantom_anatomy import (
    Array,
    Grid,
    below_diaphragm,
    chest_distance,
    ellipse_distance,
    heart_distance,
    lung_distance,
    soft_cover,
)
from seg_lib.data.phantom_body import GREAT_VESSELS, cover_of_tubes, paint
from seg_lib.data.phantom_lung import chance_of, check_numbers, patient_of
from seg_lib.data.phantom_scan import Patient, volume_grid

VOXEL_MM = 4.0
SCANNER_FWHM_MM, FILTER_FWHM_MM = 5.0, 4.2  # one after the other 6.5 mm
COUNTS = 18.0  # a voxel with an SUV of 1: noise of about 12 % in the liver
BREATH_MM = 4.0  # furthest shift along z: CT holds the breath, PET does not
SUV = {"wall": 0.7, "mediastinum": 1.0, "belly": 1.2, "liver": 2.2, "lung": 0.5, "blood": 1.7}
HOT_HEARTS, HOT_SCARS, COLD_SOLIDS = 0.4, 0.3, 0.25  # shares
# Where lymph nodes lie: beside the windpipe, below its fork, at both roots; standard mm.
NODES = ((20, -6, 22), (4, -14, -40), (38, -10, -22), (-38, -12, -20))
NODE_SUV, NODE_RADIUS_MM = (3.0, 8.0), (4.0, 8.0)


def lung_pet(
    seed: int = 0, size: tuple[int, int, int] = (128, 128, 48), patient: int = 0
) -> tuple[Array, Array]:
    """Draw the PET that belongs to ``lung_volume(seed, size, patient)``.

    Args:
        seed: of the set of patients.
        size: voxels of the CT, which say who the patient is; those of the PET have 4 mm a side.
        patient: his number.

    Returns:
        SUV (X, Y, Z) float32 in RAS order, 0 or above, over the extent of the CT; and the affine
        (4, 4), voxel indices to the millimetres of the CT.

    Raises:
        InputError: numbers out of range.
    """
    check_numbers("lung3d", size, seed=(seed, 0), patient=(patient, 0))
    who = patient_of("lung3d", seed, patient, min(size[:2]))
    rng = chance_of("lung3d", seed, patient, 1)
    ct, _ = volume_grid(who, size)
    x, y = (np.arange(axis.max(), axis.min() - VOXEL_MM, -VOXEL_MM) for axis in (ct.x, ct.y))
    z = np.arange(ct.z.min(), ct.z.max() + VOXEL_MM, VOXEL_MM)
    breath = z + rng.uniform(-BREATH_MM, BREATH_MM)
    grid = Grid(*(np.float32(axis) for axis in (x, y, breath)), VOXEL_MM, VOXEL_MM)
    seen = _blurred(_uptake(who, grid, rng), SCANNER_FWHM_MM)
    suv = _blurred(rng.poisson(seen * COUNTS) / COUNTS, FILTER_FWHM_MM)
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = x[-1], y[-1], z[0]
    return np.asfortranarray(suv[:, ::-1, ::-1].T, np.float32), affine


def nodule_suv(traits: dict, rng: np.random.Generator) -> tuple[float, float]:
    """SUV of a nodule as a whole and of its dense part, before blur; larger ones take up more."""
    glass = rng.uniform(0.8, 1.5)
    cold = rng.random() < COLD_SOLIDS
    hot = rng.uniform(2.5, 5.0) + 0.2 * traits["diameter_mm"]
    return glass, float(rng.uniform(0.9, 1.8) if cold else hot)


def _uptake(who: Patient, grid: Grid, rng: np.random.Generator) -> Array:
    """SUV (Z, H, W) without blur and noise, on a grid in patient mm."""
    body, edge = who.anatomy.standard(grid), grid.edge_mm
    x, y, z = body.mesh()
    chest, below = chest_distance(x, y, z), below_diaphragm(who.anatomy, x, y, z)
    liver = np.maximum(np.maximum(below + 3.0, chest), ellipse_distance(x - 50, y - 8, 95, 84))
    heart = heart_distance(who.anatomy, x, y, z)
    lung = soft_cover(lung_distance(who.anatomy, x, y, z), edge)
    muscle = rng.uniform(4.0, 9.0) if rng.random() < HOT_HEARTS else 1.5 * SUV["blood"]
    suv = np.zeros(grid.shape, np.float32)
    paint(suv, soft_cover(chest - 16.0 - who.anatomy.fat_mm, edge), SUV["wall"])
    paint(suv, soft_cover(chest, edge), SUV["mediastinum"])
    paint(suv, soft_cover(np.maximum(below, chest), edge), SUV["belly"])
    paint(suv, soft_cover(liver, edge), SUV["liver"])
    paint(suv, soft_cover(heart, edge), muscle)
    paint(suv, soft_cover(heart + 8.0, edge), SUV["blood"])
    paint(suv, cover_of_tubes(GREAT_VESSELS, body), SUV["blood"])
    paint(suv, lung, SUV["lung"])
    paint(suv, cover_of_tubes(who.vessels, body), SUV["blood"])
    hot_scars = who.scars[rng.random(len(who.scars)) < HOT_SCARS]
    paint(suv, cover_of_tubes(hot_scars, body) * lung, rng.uniform(2.0, 6.0))
    for node in rng.permutation(NODES)[: rng.integers(0, 4)]:
        middle, radius = node + rng.normal(0.0, 4.0, 3), rng.uniform(*NODE_RADIUS_MM)
        away = sum((axis - mm) ** 2 for axis, mm in zip((x, y, z), middle, strict=True)) ** 0.5
        paint(suv, soft_cover(away - radius, edge), rng.uniform(*NODE_SUV))
    for nodule in who.nodules:
        whole, dense, _ = nodule.draw(grid)
        for cover, value in zip((whole, dense), nodule_suv(nodule.traits, rng), strict=True):
            paint(suv, cover * lung, value)
    return suv


def _blurred(values: Array, fwhm_mm: float) -> Array:
    sigma = fwhm_mm / VOXEL_MM / 8**0.5 / np.log(2) ** 0.5
    return gaussian_filter(np.asarray(values, np.float32), sigma)
