"""The upper abdomen of a phantom patient around the pancreas, after contrast (portal-venous phase).

Positions are mm: x grows to the right, y to the front, z to the head, and (0, 0, 0) lies behind the
neck of the pancreas, where its veins meet. The vessels follow the pancreas, so it bends around them
in every patient. What [A], [B], [C] mean: ``phantom_anatomy``. Taught in lesson 17.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from seg_lib.data.phantom_anatomy import Array, Grid, ellipse_distance, soft_cover
from seg_lib.data.phantom_body import AIR_HU, cover_of_tubes, paint
from seg_lib.data.phantom_nodules import cut_log_normal
from seg_lib.data.phantom_scan import Scanner

# Hounsfield units, (lowest, highest) over patients [C: textbook ranges of the portal-venous phase].
PORTAL_HU = {
    "fat": (-112.0, -95.0),
    "pancreas": (96.0, 132.0),
    "liver": (95.0, 130.0),
    "spleen": (110.0, 140.0),
    "kidney": (150.0, 195.0),
    "vein": (150.0, 190.0),
    "artery": (135.0, 170.0),
    "muscle": (52.0, 70.0),
    "wall": (75.0, 110.0),  # of stomach and bowel
    "fluid": (5.0, 40.0),
    "bile": (0.0, 15.0),
    "bone": (170.0, 260.0),
}
# Median 70 to 82 ml, 20 to 201 ml in three sets, 42 to 150 ml in healthy people [B].
ORGAN_ML = {"median": 72.0, "log_sigma": 0.38, "limits": (22.0, 150.0)}
CLEFTS = (0.0, 0.3)  # width of the clefts of fat, which fill 2 to 22 % of the organ [C]
SCANNERS = (
    Scanner(-1024, 12.0, 1.3, 2.0),
    Scanner(-1024, 15.0, 1.1, 2.0),
    Scanner(-1024, 9.0, 1.6, 2.5),
    Scanner(-1024, 18.0, 1.2, 2.0),
)
# Middle and radius (x, y, z, r) of the pancreas of ``ORGAN_ML["median"]``, from head to tail [C].
COURSE = [
    [26, -8, -34, 9],
    [30, -4, -20, 14],
    [29, 0, -6, 15],
    [17, 10, 4, 11],
    [2, 15, 9, 8],
    [-14, 16, 13, 9],
    [-30, 7, 18, 10],
    [-45, -8, 24, 10],
    [-58, -19, 30, 7],
]
UNCINATE = [[24, -8, -28, 9], [8, -10, -30, 6]]  # it hooks behind the vein
STEPS = 33  # points of the course; the head ends at SITES["head"][1] of it
# Ellipsoids: tissue, middle, half axes. Later ones lie in front of earlier ones.
ORGANS = [
    ("muscle", (24, -60, -60), (15, 14, 90)),
    ("muscle", (-28, -60, -60), (15, 14, 90)),
    ("muscle", (-2, -40, 40), (24, 9, 60)),  # crura of the diaphragm
    ("bone", (-2, -62, -20), (21, 18, 300)),
    ("liver", (86, 6, 34), (52, 74, 66)),
    ("liver", (22, 62, 62), (62, 30, 34)),
    ("bile", (50, 36, -2), (11, 15, 21)),
    ("kidney", (60, -50, -42), (24, 22, 48)),
    ("fat", (50, -46, -42), (11, 8, 22)),
    ("kidney", (-62, -48, -12), (25, 23, 52)),
    ("fat", (-52, -44, -12), (11, 8, 24)),
    ("spleen", (-100, -24, 40), (26, 40, 44)),
]
# Stomach, duodenum and bowel: points (x, y, z, radius) of hollow tubes.
LOOPS = [
    [[46, 36, 10, 10], [28, 40, 16, 15], [-6, 44, 22, 18], [-40, 40, 36, 23], [-66, 24, 62, 27]],
    [[42, 32, 14, 10], [52, 14, 6, 12], [53, -6, -20, 13], [46, -14, -50, 12], [10, -14, -60, 11]],
    [[10, -14, -60, 11], [-28, -14, -52, 11], [-46, -4, -30, 12], [-32, 20, -24, 12]],
    [[-32, 20, -24, 12], [-58, 26, -36, 12], [-70, 8, -18, 12], [-84, 22, 4, 14]],
    [[-20, 14, -58, 12], [-52, 24, -56, 13], [-74, 0, -52, 12], [-52, -12, -66, 12]],
    [[48, 40, -30, 16], [10, 46, -36, 16], [-36, 48, -34, 15], [-80, 36, -6, 16]],
    [[30, 10, -66, 12], [4, 22, -64, 12], [-14, 6, -78, 12]],
]


class Abdomen:
    """What makes one patient different from the next, drawn by lot: course, organs, vessels."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.hu = {tissue: rng.uniform(*limits) for tissue, limits in PORTAL_HU.items()}
        self.organ_ml = cut_log_normal(rng, **ORGAN_ML)
        self.clefts = rng.uniform(*CLEFTS)
        self.scanner = SCANNERS[rng.integers(len(SCANNERS))]
        growth = self.organ_ml / ORGAN_ML["median"]
        course = np.array(COURSE, dtype=np.float64)
        sway = gaussian_filter1d(rng.normal(0.0, 1.0, (len(course), 3)), 1.2, axis=0)
        course[:, :3] += sway * np.array([6.0, 9.0, 13.0])
        # Length and width grow together with the volume: 0.2 + 2 * 0.4 = 1.
        course *= growth ** np.array([0.2, 0.2, 0.2, 0.4])
        course[:, 3] *= rng.uniform(0.88, 1.12, len(course))
        self.course = smooth_course(course)  # (STEPS, 4): x, y, z, radius
        hook = np.array(UNCINATE) * growth ** np.array([0.2, 0.2, 0.2, 0.4])
        self.tubes = np.concatenate([tubes_along(self.course), tubes_along(hook)])
        self.veins, self.arteries = _vessels(self.course, rng)
        self.organs = [
            (tissue, *np.float32([rng.normal(middle, 4.0), np.array(axes) * rng.uniform(0.9, 1.1)]))
            for tissue, middle, axes in ORGANS
        ]
        self.loops = []
        for points in LOOPS:
            loop = np.array(points) + rng.normal(0.0, [5.0, 4.0, 5.0, 1.0], (len(points), 4))
            gas_mm = rng.uniform(0.1, 1.6) * loop[:, 3].mean()  # above the middle; 1 and more: none
            self.loops.append((tubes_along(smooth_course(loop)), gas_mm, rng.uniform(-1.0, 1.0)))


def smooth_course(points: Array) -> Array:
    """A course of ``STEPS`` points (STEPS, 4) along some (N, 4) without their corners."""
    at = np.linspace(0, len(points) - 1, STEPS)
    fine = np.stack([np.interp(at, np.arange(len(points)), column) for column in points.T], axis=1)
    return gaussian_filter1d(fine, 0.5 * STEPS / len(points), axis=0, mode="nearest")


def tubes_along(points: Array) -> Array:
    """Tubes (N - 1, 8), see ``grow_tree``, from each point (x, y, z, radius) to the next."""
    points = np.asarray(points, dtype=np.float32)
    return np.hstack([points[:-1, :3], points[1:, :3], points[:-1, 3:], points[1:, 3:]])


def _vessels(course: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Veins and arteries (N, 8) where they belong beside this pancreas."""
    neck, body = course[STEPS // 2], course[STEPS // 2 :: 3]
    meet = neck[:3] - [2.0, neck[3] + 6.5, 3.0]
    splenic = [[*(p[:3] - [0.0, p[3] + 2.0, -2.0]), 4.2] for p in body]
    low = meet + rng.normal(0.0, 3.0, 3) + [2.0, 4.0, -70.0]
    aorta = np.array([-9.0, -30.0, 0.0]) + rng.normal(0.0, 2.0, 3)
    veins = [
        tubes_along([[*meet, 6.5], [*(meet + [14, -1, 22]), 7.0], [*(meet + [36, 8, 52]), 7.0]]),
        tubes_along([[*low, 4.5], [*meet, 6.0], *splenic]),
        tubes_along([[20, -32, -90, 11], [18, -30, 0, 11], [24, -28, 90, 12]]),  # vena cava
        tubes_along([[-46, -40, -16, 4], [*(aorta + [0, 14, -16]), 4], [16, -28, -16, 5]]),
    ]
    root, sma = aorta + [0.0, 8.0, 6.0], meet - [12.0, 3.0, 0.0]
    coeliac = aorta + [2.0, 18.0, 24.0]
    arteries = [
        tubes_along([[*(aorta - [0, 0, 90]), 9], [*aorta, 9.5], [*(aorta + [0, -2, 90]), 10]]),
        tubes_along([[*root, 4.0], [*(sma - [0, 0, 6]), 3.8], [*(low - [12, 2, 0]), 3.2]]),
        tubes_along([[*(coeliac - [1, 14, 0]), 4], [*coeliac, 3.5], [*(meet + [26, 6, 24]), 2.6]]),
    ]
    # The splenic artery winds along the upper edge.
    wind = 5.0 * np.sin(np.arange(len(body)) * 2.1)
    above = zip(body, wind, strict=True)
    winding = [[*(p[:3] + [0.0, -4.0, p[3] + 3.0 + w]), 2.4] for p, w in above]
    arteries.append(tubes_along([[*coeliac, 3.0], *winding]))
    starts = low + rng.uniform(0.1, 0.9, (26, 1)) * (meet - low)
    ends = starts + rng.normal(0.0, [26.0, 10.0, 8.0], (26, 3)) + [0.0, 10.0, -14.0]
    bends = 0.5 * (starts + ends) + rng.normal(0.0, 5.0, (26, 3))
    twigs = [
        tubes_along([[*start, 2.2], [*bend, 1.7], [*end, 1.0]])
        for start, bend, end in zip(starts, bends, ends, strict=True)
    ]
    return np.concatenate(veins + twigs), np.concatenate(arteries)


def around(points: Array, reach_mm: float | Array) -> Array:
    """Limits (3, 2) along x, y, z for ``Grid.crop``: the box of points (N, 3), widened."""
    return np.stack([points.min(axis=0) - reach_mm, points.max(axis=0) + reach_mm], axis=1)


def grain(grid: Grid, size_mm: float, rng: np.random.Generator) -> Array:
    """A random pattern (Z, H, W) float32 of mean 0, SD 1 and patches of about ``size_mm``."""
    white = rng.standard_normal(grid.shape, dtype=np.float32)
    rise = float(grid.z[1] - grid.z[0])
    blur = [size_mm / rise / 2.4, *[size_mm / grid.pixel_mm / 2.4] * 2]
    smooth = gaussian_filter(white, blur, truncate=3.0)
    return (smooth - smooth.mean()) / (smooth.std() + 1e-6)


def level_of_volume(level: Array, volume_ml: float, grid: Grid) -> float:
    """The level below which so many millilitres of the grid lie."""
    voxel_ml = grid.pixel_mm**2 * float(grid.z[1] - grid.z[0]) / 1000.0
    voxels = min(round(volume_ml / voxel_ml), level.size - 1)
    return float(np.partition(level.ravel(), voxels)[voxels])


def tube_level(tubes: Array, grid: Grid) -> Array:
    """Distance (Z, H, W) to the nearest axis of ``tubes`` (N, 8), divided by the radius there."""
    level = np.full(grid.shape, 4.0, dtype=np.float32)
    for tube in tubes:
        start, axis, (r0, r1) = tube[:3], tube[3:6] - tube[:3], tube[6:]
        where, part = grid.crop(*around(tube[:6].reshape(2, 3), 2.0 * max(r0, r1)))
        x, y, z = (values - first for values, first in zip(part.mesh(), start, strict=True))
        along = (x * axis[0] + y * axis[1] + z * axis[2]) / (axis @ axis + 1e-6)
        along = np.clip(along, 0.0, 1.0)
        squared = (x - along * axis[0]) ** 2 + (y - along * axis[1]) ** 2
        squared += (z - along * axis[2]) ** 2
        np.minimum(level[where], np.sqrt(squared) / (r0 + along * (r1 - r0)), out=level[where])
    return level


def draw_abdomen(patient: Abdomen, grid: Grid, rng: np.random.Generator) -> tuple[Array, Array]:
    """HU (Z, H, W) of everything but the pancreas, and the share of large vessels."""
    hu = np.full(grid.shape, patient.hu["fat"], dtype=np.float32)
    uneven = grain(grid, 7.0, rng)
    hu += 6.0 * uneven
    for organ in patient.organs:
        _draw_organ(hu, patient, grid, organ, uneven)
    for tubes, gas_mm, folds in patient.loops:
        where, part = grid.crop(*around(tubes[:, :6].reshape(-1, 3), tubes[:, 6:].max() + 2.0))
        if 0 not in part.shape:
            _draw_loop(hu[where], patient, part, (tubes, gas_mm, folds), uneven[where])
    vessels = cover_of_tubes(patient.arteries, grid)
    paint(hu, vessels, patient.hu["artery"])
    veins = cover_of_tubes(patient.veins, grid)
    paint(hu, veins, patient.hu["vein"])
    return hu, np.maximum(vessels, veins)


def _draw_organ(hu: Array, patient: Abdomen, grid: Grid, organ: tuple, uneven: Array) -> None:
    """An ellipsoid; of the kidney the cortex is brighter than the pyramids."""
    tissue, middle, axes = organ
    where, part = grid.crop(*around(middle[None], axes + 2.0))
    if 0 in part.shape:
        return
    x, y, z = part.mesh()
    tall = np.sqrt(np.maximum(1.0 - ((z - middle[2]) / axes[2]) ** 2, 0.01)).astype(np.float32)
    distance = tall * ellipse_distance((x - middle[0]) / tall, (y - middle[1]) / tall, *axes[:2])
    value = patient.hu[tissue] + 5.0 * uneven[where]
    if tissue == "kidney":
        value = value + 25.0 * np.clip(1.0 + distance / 7.0, -1.0, 1.0)
    paint(hu[where], soft_cover(distance, grid.edge_mm), value)


def _draw_loop(hu: Array, patient: Abdomen, grid: Grid, loop: tuple, uneven: Array) -> None:
    """A hollow tube with a wall, fluid or food, and gas, which rises to the front."""
    tubes, gas_mm, folds = loop
    paint(hu, cover_of_tubes(tubes, grid), patient.hu["wall"] + 8.0 * uneven)
    thin = tubes - np.array([0, 0, 0, 0, 0, 0, 3.0, 3.0], dtype=np.float32)
    inside = cover_of_tubes(thin, grid)
    content = patient.hu["fluid"] + 40.0 * max(folds, 0.0) * (1.0 + uneven)  # jejunum has folds
    paint(hu, inside, content)
    _, y, _ = grid.mesh()
    level = float(tubes[:, [1, 4]].mean() + gas_mm)
    paint(hu, inside * soft_cover(level - y, grid.edge_mm), AIR_HU)
