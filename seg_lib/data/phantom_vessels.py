"""Vessels and airways of the CT phantom: trees that fill the lungs, made of tapered tubes.

A tree is grown towards a cloud of points spread over the lung: split the cloud in two, grow a
branch towards the middle of each half, repeat. So branches reach everywhere and stay in the lung.
Source: the volume-filling method of Tawhai et al., "CT-based geometry analysis and finite element
models of the human and ovine bronchial tree", J Appl Physiol 97 (2004). Taught in notebook 01.
"""

import numpy as np

from seg_lib.data.phantom_anatomy import Anatomy, Grid, sample_in_lungs

TREE_LEVELS = 10  # 2 ** 10 twigs per tree, two trees per lung
AIRWAY_LEVELS = 5

# Tubes are rows of 8 numbers: start x y z, end x y z, radius at the start and at the end (mm).
GREAT_VESSELS = np.array(
    [
        [6, 26, -32, 8, 24, 28, 16, 15],  # ascending aorta
        [8, 24, 28, -4, 4, 40, 15, 13],  # arch
        [-4, 4, 40, -20, -32, 34, 13, 12],
        [-20, -32, 34, -20, -46, 8, 12, 12],
        [-20, -46, 8, -14, -44, -210, 12, 10],  # descending aorta
        [24, 14, -28, 22, 14, 60, 9, 8],  # superior vena cava
        [22, 14, 60, 30, 16, 120, 7, 7],  # brachiocephalic veins
        [20, 20, 56, -26, 22, 80, 7, 6],
        [-26, 22, 80, -34, 14, 120, 6, 6],
        [2, 14, 44, 18, 4, 120, 6, 5],  # arteries to head and arms
        [-6, 6, 46, -10, 2, 120, 4, 4],
        [-14, -6, 46, -22, -10, 120, 5, 5],
        [-14, 40, -40, -18, 18, -10, 14, 13],  # pulmonary trunk, right and left pulmonary artery
        [-16, 14, -12, 42, -8, -18, 11, 9],
        [-20, 14, -8, -44, -16, -8, 11, 9],
        [0, -8, -40, 40, -10, -46, 9, 7],  # left atrium and the veins it drains
        [0, -8, -40, -40, -12, -44, 9, 7],
        [6, -62, -200, 10, -40, 20, 3, 3],  # azygos
    ],
    dtype=np.float32,
)
OESOPHAGUS = np.array([[-4, -38, -140, -3, -34, 120, 8, 6]], dtype=np.float32)
TRACHEA = np.array(
    [
        [0, -8, 125, 0, -18, 0, 9, 8.5],
        [0, -18, 0, 34, -20, -26, 8, 6.5],
        [0, -18, 0, -38, -22, -34, 7, 6],
    ],
    dtype=np.float32,
)


def cover_of_tubes(tubes: np.ndarray, grid: Grid) -> np.ndarray:
    """Share of each voxel of the grid (Z, H, W) that lies in any of the tubes (N, 8)."""
    cover = np.zeros(grid.shape, dtype=np.float32)
    boxes, keep = _boxes(tubes, grid)
    tubes, boxes = tubes[keep], boxes[keep].tolist()
    axis = tubes[:, 3:6] - tubes[:, :3]
    length_squared = (axis * axis).sum(axis=1) + 1e-6
    unit = axis / length_squared[:, None]
    # A tube much thinner than an edge fills only a part of the voxels it runs through.
    thin = tubes[:, 6:8].mean(axis=1) / grid.edge_mm
    steep = 1 + np.abs(axis[:, 2]) / np.sqrt(length_squared)
    weight = np.minimum(1, 2 * thin) ** steep / np.minimum(1, 0.5 + thin) / grid.edge_mm
    limit = weight * grid.edge_mm
    numbers = np.concatenate([tubes, axis, unit, weight[:, None], limit[:, None]], axis=1)
    for (z0, z1, y0, y1, x0, x1), row in zip(boxes, numbers.tolist(), strict=True):
        sx, sy, sz, _, _, _, r0, r1, ax, ay, az, ux, uy, uz, w, top = row
        x = grid.x[x0:x1] - sx
        y = (grid.y[y0:y1] - sy)[:, None]
        z = (grid.z[z0:z1] - sz)[:, None, None]
        t = (x * ux + y * uy) + z * uz
        np.maximum(t, 0.0, out=t)
        np.minimum(t, 1.0, out=t)
        squared = (x - t * ax) ** 2
        squared += (y - t * ay) ** 2
        squared += (z - t * az) ** 2
        inside = np.sqrt(squared, out=squared)
        inside -= t * (r1 - r0)
        np.subtract(r0 + 0.5 * grid.edge_mm, inside, out=inside)
        inside *= w
        np.minimum(inside, top, out=inside)
        box = cover[z0:z1, y0:y1, x0:x1]
        np.maximum(box, inside, out=box)
    return cover


def widened(tubes: np.ndarray, by_mm: float) -> np.ndarray:
    """The same tubes with a larger radius, for the wall around an airway."""
    return tubes + np.array([0, 0, 0, 0, 0, 0, by_mm, by_mm], dtype=np.float32)


def _boxes(tubes: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """First and last index (exclusive) of each tube along z, y, x; which tubes touch the grid."""
    reach = tubes[:, 6:8].max(axis=1)[:, None] + 0.5 * grid.edge_mm
    low = np.minimum(tubes[:, :3], tubes[:, 3:6]) - reach
    high = np.maximum(tubes[:, :3], tubes[:, 3:6]) + reach
    x = len(grid.x) - np.stack(
        [np.searchsorted(grid.x[::-1], high[:, 0]), np.searchsorted(grid.x[::-1], low[:, 0])]
    )
    y = len(grid.y) - np.stack(
        [np.searchsorted(grid.y[::-1], high[:, 1]), np.searchsorted(grid.y[::-1], low[:, 1])]
    )
    z = np.stack([np.searchsorted(grid.z, low[:, 2]), np.searchsorted(grid.z, high[:, 2])])
    boxes = np.concatenate([z, y, x]).T
    keep = (boxes[:, 1::2] > boxes[:, ::2]).all(axis=1)
    return boxes, keep


def _halves(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order points (G, N, 3) so that each group's first half lies on one side of the other.

    The cut is roughly across the longest side, but oblique: else no branch would cross some slices.
    """
    widest = points.var(axis=1).argmax(axis=1)
    across = np.eye(3, dtype=np.float32)[widest]
    across += rng.normal(0.0, 0.4, across.shape).astype(np.float32)
    along = (points * across[:, None]).sum(axis=2)
    order = along.argsort(axis=1, kind="stable")
    ordered = np.take_along_axis(points, order[:, :, None], axis=1)
    return ordered.reshape(2 * len(points), -1, 3)


def grow_tree(
    points: np.ndarray, root: tuple[float, float, float], radius_mm: float, rng: np.random.Generator
) -> np.ndarray:
    """A tree from ``root`` into a cloud of points, each branch bent once.

    Args:
        points: (2 ** levels, 3) float32, standard mm; a twig ends near each.
        root: where the first branch starts.
        radius_mm: radius of the first branch; each branching makes it thinner by a fifth.
        rng: how far a branch runs before it divides is drawn by lot.

    Returns:
        Tubes (4 * 2 ** levels - 4, 8) float32, thick branches first.
    """
    groups = points[None]
    nodes = np.array([root], dtype=np.float32)
    tubes = []
    levels = len(points).bit_length() - 1
    for level in range(levels):
        groups = _halves(groups, rng)
        parents = np.repeat(nodes, 2, axis=0)
        low, high = (0.3, 0.55) if level < levels - 1 else (0.6, 0.95)
        step = rng.uniform(low, high, (len(parents), 1)).astype(np.float32)
        nodes = parents + step * (groups.mean(axis=1) - parents)
        radius = radius_mm * 0.79**level
        radii = np.full((len(nodes), 2), (radius, 0.86 * radius), dtype=np.float32)
        # The middle of a branch sags towards the next group's middle, so no branch is straight.
        sag = 0.12 * np.roll(nodes - parents, 1, axis=1) * np.array([1, -1, 1], np.float32)
        middle = 0.5 * (parents + nodes) + sag
        tubes.append(np.concatenate([parents, middle, radii], axis=1))
        tubes.append(np.concatenate([middle, nodes, radii * 0.93], axis=1))
    return np.concatenate(tubes).astype(np.float32)


def grow_vessels(anatomy: Anatomy, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Arteries with veins, and airways, of both lungs: two arrays of tubes (N, 8)."""
    cloud = sample_in_lungs(anatomy, rng, 24_000)
    twigs = 2**TREE_LEVELS
    vessels, airways = [], []
    for side in (1.0, -1.0):
        lung = cloud[cloud[:, 0] * side > 0]
        vessels.append(grow_tree(lung[:twigs], (side * 40, -10, -14), 7.0, rng))
        vessels.append(grow_tree(lung[twigs : 2 * twigs], (side * 36, -8, -45), 6.0, rng))
        # Airways run beside the arteries: towards the same points, as far as slices show them.
        tree = grow_tree(lung[:twigs], (side * 36, -21, -30), 4.5, rng)
        airways.append(tree[: 4 * 2**AIRWAY_LEVELS - 4])
    return np.concatenate(vessels), np.concatenate(airways)
