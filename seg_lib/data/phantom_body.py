"""Drawing the body of a phantom patient into a grid of HU: wall, bones, organs, lungs, windpipe.

Tissue is painted from the outside to the inside, each time with the share of the voxel that it
covers, so an edge voxel is a mixture (partial volume). Taught in notebook 01.
"""

import numpy as np

from seg_lib.data.phantom_anatomy import (
    Anatomy,
    Array,
    Grid,
    below_diaphragm,
    chest_distance,
    ellipse_distance,
    fissure_distances,
    heart_distance,
    lung_distance,
    soft_cover,
)

AIR_HU = -1000.0
SMALL_BOX = 256  # voxels; tubes in smaller boxes are drawn together, in few steps
BONE_PITCH_MM = 24.0  # from one rib or vertebra to the next
RIB_DROP_MM = 115.0  # how much lower a rib ends in front than it starts at the spine
CHEST_BOX_MM = (-138.0, 138.0), (-100.0, 96.0)  # x, y of everything inside the ribs
# Tubes are rows of 8 numbers, see ``grow_tree``.
GREAT_VESSELS = [
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
]
OESOPHAGUS = [[-4, -38, -140, -3, -34, 120, 8, 6]]
TRACHEA = [
    [0, -8, 125, 0, -18, 0, 9, 8.5],
    [0, -18, 0, 34, -20, -26, 8, 6.5],
    [0, -18, 0, -38, -22, -34, 7, 6],
]
CLAVICLES = [[14, 72, 62, 90, 62, 92, 7, 6], [-14, 72, 62, -90, 62, 92, 7, 6]]


def cover_of_tubes(tubes: Array | list, grid: Grid, wall_mm: float = 0.0) -> Array:
    """Share of each voxel (Z, H, W) in any of the tubes (N, 8), widened by ``wall_mm``."""
    cover = np.zeros(grid.shape, dtype=np.float32)
    tubes = np.asarray(tubes, dtype=np.float32)
    start, end, radii = tubes[:, :3], tubes[:, 3:6], tubes[:, 6:] + wall_mm
    reach = radii.max(axis=1, keepdims=True) + 0.5 * grid.edge_mm
    boxes = grid.boxes(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
    keep = (boxes[:, 1::2] > boxes[:, ::2]).all(axis=1)
    start, axis, radii = start[keep], (end - start)[keep], radii[keep]
    length_squared = (axis * axis).sum(axis=1, keepdims=True) + 1e-6
    # A tube much thinner than an edge fills only a part of the voxels it runs through.
    thin = radii.mean(axis=1, keepdims=True) / grid.edge_mm
    steep = 1 + np.abs(axis[:, 2:]) / np.sqrt(length_squared)
    weight = np.minimum(1, 2 * thin) ** steep / np.minimum(1, 0.5 + thin) / grid.edge_mm
    wide = radii.astype(np.float64)
    depth = [wide[:, :1] + 0.5 * grid.edge_mm, wide[:, 1:] - wide[:, :1]]  # at the start, and more
    columns = [start, *depth, axis, axis / length_squared, weight, weight * grid.edge_mm]
    boxes, rows = boxes[keep], np.concatenate(columns, axis=1, dtype=np.float32)
    small = (boxes[:, 1::2] - boxes[:, ::2]).prod(axis=1) <= SMALL_BOX
    for (z0, z1, y0, y1, x0, x1), row in zip(boxes[~small].tolist(), rows[~small], strict=True):
        near = (grid.x[x0:x1], grid.y[y0:y1, None], grid.z[z0:z1, None, None])
        box = cover[z0:z1, y0:y1, x0:x1]
        np.maximum(box, _cover_by_tube(row, *near), out=box)
    z, y, x, tube = _voxels_of_boxes(boxes[small])
    near = (grid.x[x], grid.y[y], grid.z[z])
    np.maximum.at(cover, (z, y, x), _cover_by_tube(rows[small].T[:, tube], *near))
    return cover


def _cover_by_tube(row: Array, x: Array, y: Array, z: Array) -> Array:
    """Share of the voxels at x, y, z in a tube; ``row`` are 13 numbers, or arrays of numbers."""
    sx, sy, sz, depth, widens, ax, ay, az, ux, uy, uz, steepness, most = row
    x, y, z = x - sx, y - sy, z - sz
    along = np.minimum(np.maximum(x * ux + y * uy + z * uz, 0.0), 1.0)
    squared = (x - along * ax) ** 2 + (y - along * ay) ** 2 + (z - along * az) ** 2
    inside = depth - (np.sqrt(squared) - along * widens)
    return np.minimum(inside * steepness, most)


def _voxels_of_boxes(boxes: Array) -> tuple[Array, Array, Array, Array]:
    """Every voxel of boxes (N, 6), one box after the other: its z, y, x and the box's number."""
    sides = boxes[:, 1::2] - boxes[:, ::2]
    counts = sides.prod(axis=1)
    number = np.repeat(np.arange(len(boxes)), counts)
    within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    rest, x = np.divmod(within, sides[number, 2])
    z, y = np.divmod(rest, sides[number, 1])
    return tuple(at + boxes[number, 2 * axis] for axis, at in enumerate((z, y, x))) + (number,)


def paint(hu: Array, cover: Array, value: float | Array) -> None:
    """Mix ``value`` into ``hu`` in place, as much as ``cover`` (0..1) says."""
    hu += cover * (value - hu)


def draw_body(anatomy: Anatomy, grid: Grid) -> tuple[Array, Array]:
    """HU (Z, H, W) on a grid in standard mm, without lung vessels and nodules; share of lung."""
    hu = np.full(grid.shape, AIR_HU, dtype=np.float32)
    lung = np.zeros_like(hu)
    x, y, z = grid.mesh()
    chest = chest_distance(x, y, z)
    front = y / np.sqrt((0.68 * x) ** 2 + y * y + 1.0)  # 1 in front, -1 at the spine
    _draw_wall(hu, anatomy, grid, chest, front)
    _draw_ribs(hu, anatomy, grid, chest, front)
    where, inner = grid.crop(*CHEST_BOX_MM)  # a third of the image: the costly part is in here
    box, chest = hu[where], chest[where]
    paint(box, soft_cover(chest, grid.edge_mm), anatomy.hu["fat"])
    _draw_belly(box, anatomy, inner, chest)
    heart = heart_distance(anatomy, *inner.mesh())
    x, y, _ = inner.mesh()
    walls = np.minimum(np.abs(0.6 * x + 0.8 * y - 4.0), np.abs(0.8 * x - 0.6 * y + 18.0))
    cavity = np.maximum(heart + 8.0, 4.0 - walls)  # the walls between the four chambers
    paint(box, soft_cover(heart, grid.edge_mm), anatomy.hu["muscle"] + 15.0)
    paint(box, soft_cover(cavity, grid.edge_mm), anatomy.hu["vessel"])
    paint(box, cover_of_tubes(GREAT_VESSELS, inner), anatomy.hu["vessel"])
    paint(box, cover_of_tubes(OESOPHAGUS, inner), 35.0)
    _draw_spine(hu, anatomy, grid)
    lung[where] = soft_cover(lung_distance(anatomy, *inner.mesh()), grid.edge_mm)
    _draw_lungs(box, anatomy, inner, lung[where])
    paint(box, cover_of_tubes(TRACHEA, inner, wall_mm=1.6), 20.0)
    paint(box, cover_of_tubes(TRACHEA, inner), AIR_HU)
    return hu, lung


def _draw_wall(hu: Array, anatomy: Anatomy, grid: Grid, chest: Array, front: Array) -> None:
    """Skin, fat and muscle around the chest, shoulder blades and the table below."""
    (x, y, z), edge = grid.mesh(), grid.edge_mm
    upper = np.clip((z - 30.0) / 90.0, 0.0, 1.0) ** 2
    muscle = 16.0 + 15.0 * np.exp(-(((front + 0.85) / 0.22) ** 2))
    chest_muscle = 12.0 * np.exp(-(((z - 35.0) / 45.0) ** 2))
    muscle = muscle + chest_muscle * np.exp(-(((front - 0.72) / 0.22) ** 2))
    muscle += (10.0 + 62.0 * upper) * (1 - front * front)
    breast = anatomy.breast_mm * np.exp(-(((z + 45.0) / 38.0) ** 2))
    breast = breast * np.exp(-(((front - 0.78) / 0.16) ** 2))
    skin = chest - (muscle + (anatomy.fat_mm * (1.0 + 0.3 * front) + breast))
    table_mm = -150.0 - anatomy.fat_mm + 0.0008 * x * x
    paint(hu, soft_cover(np.abs(y - table_mm) - 1.5, edge), -200.0)
    paint(hu, soft_cover(skin, edge), 10.0)
    paint(hu, soft_cover(skin + 1.8, edge), anatomy.hu["fat"])
    # Between the layers of muscle lies fat, and the shoulder blade glides on it.
    layer = soft_cover(np.abs(chest - 17.0 - 3.0 * front) - 0.9, edge) * (muscle > 22.0)
    paint(hu, soft_cover(chest - muscle, edge) * (1 - 0.8 * layer), anatomy.hu["muscle"])
    if grid.z[-1] > -45.0:
        width = (np.abs(front - (-0.48 + 0.004 * z)) - 0.22) * 120.0
        blade = np.maximum(np.maximum(np.abs(chest - 24.0) - 2.6, width), -45.0 - z)
        paint(hu, soft_cover(blade, edge), 0.6 * anatomy.hu["cortex"])


def _draw_ribs(hu: Array, anatomy: Anatomy, grid: Grid, chest: Array, front: Array) -> None:
    """Ribs run down from the spine to the front; a slice cuts several. Then the breastbone."""
    near = (chest > -1.0) & (chest < 15.0)
    x, _, z = grid.mesh()
    x, z, front = (np.broadcast_to(values, chest.shape)[near] for values in (x, z, front))
    turns = (z + 0.5 * RIB_DROP_MM * (1 + front)) / BONE_PITCH_MM + 0.25
    height = (turns - np.round(turns)) * BONE_PITCH_MM
    distance = (np.sqrt(((chest[near] - 6.5) / 4.2) ** 2 + (height / 6.2) ** 2) - 1) * 4.2
    distance = np.maximum(distance, 20.0 - np.abs(x))
    bone = _bone_hu(distance, anatomy, 1.6)
    bone += np.clip((front - 0.72) / 0.06, 0.0, 1.0) * (110.0 - bone)  # cartilage
    hu[near] += soft_cover(distance, grid.edge_mm) * (bone - hu[near])
    where, part = grid.crop((-30.0, 30.0), (70.0, 130.0))
    x, _, z = part.mesh()
    breastbone = np.maximum(np.abs(chest[where] - 8.0) - 5.0, np.abs(x) - 16.0 - 0.06 * z)
    breastbone = np.maximum(breastbone, -95.0 - z)
    paint(hu[where], soft_cover(breastbone, grid.edge_mm), _bone_hu(breastbone, anatomy))
    if grid.z[-1] > 50.0:
        paint(hu, cover_of_tubes(CLAVICLES, grid), 0.7 * anatomy.hu["cortex"])


def _draw_belly(hu: Array, anatomy: Anatomy, grid: Grid, chest: Array) -> None:
    """Below the diaphragm: liver on the right, stomach with a bubble and spleen on the left."""
    if grid.z[0] > max(anatomy.dome_mm) + 5.0:
        return
    x, y, z = grid.mesh()
    below = below_diaphragm(anatomy, x, y, z)
    enhancement = 45.0 if anatomy.contrast else 0.0
    liver = np.maximum(below + 3.0, ellipse_distance(x - 50.0, y - 8.0, 95.0, 84.0))
    spleen = np.maximum(below + 4.0, ellipse_distance(x + 92.0, y + 40.0, 30.0, 40.0))
    stomach = np.maximum(below + 5.0, ellipse_distance(x + 60.0, y - 20.0, 32.0, 40.0))
    bubble = np.maximum(stomach + 4.0, 30.0 - y)  # gas rises to the front
    inside = soft_cover(np.maximum(below, chest), grid.edge_mm)
    paint(hu, inside, anatomy.hu["muscle"])
    paint(hu, inside * soft_cover(liver, grid.edge_mm), anatomy.hu["liver"] + enhancement)
    paint(hu, inside * soft_cover(spleen, grid.edge_mm), 48.0 + 1.2 * enhancement)
    paint(hu, inside * soft_cover(stomach, grid.edge_mm), 20.0)
    paint(hu, inside * soft_cover(bubble, grid.edge_mm), AIR_HU)


def _draw_spine(hu: Array, anatomy: Anatomy, grid: Grid) -> None:
    """Vertebrae with discs between them, the spinal canal, and the processes behind."""
    where, part = grid.crop((-45.0, 45.0), (-140.0, -35.0))
    box = hu[where]
    x, y, z = part.mesh()
    turns = z / BONE_PITCH_MM
    height = np.abs(turns - np.round(turns)) * BONE_PITCH_MM  # 0 in the middle of a vertebra
    body = ellipse_distance(x, y + 62.0, 17.0, 15.0)
    arch = ellipse_distance(x, y + 84.0, 15.0, 12.0)
    wings = np.maximum(np.abs(y + 88.0 + 0.25 * np.abs(x)) - 4.5, np.abs(x) - 34.0)
    spike = np.maximum(np.abs(x) - 3.5, np.abs(y + 108.0) - 18.0)
    behind = np.minimum(np.maximum(wings, height - 6.0), np.maximum(spike, height - 9.0))
    canal = ellipse_distance(x, y + 84.0, 9.5, 7.5)
    paint(box, soft_cover(body, grid.edge_mm), 80.0)  # disc
    for bone in (np.maximum(body, height - 9.5), np.minimum(arch, behind)):
        paint(box, soft_cover(bone, grid.edge_mm), _bone_hu(bone, anatomy))
    paint(box, soft_cover(canal, grid.edge_mm), 25.0)


def _draw_lungs(hu: Array, anatomy: Anatomy, grid: Grid, lung: Array) -> None:
    """Lung tissue: denser at the back, uneven, with the fissures as thin lines."""
    x, y, z = grid.mesh()
    value = np.broadcast_to(anatomy.hu["lung"] - 0.35 * y, grid.shape).astype(np.float32)
    for kx, ky, kz, phase in anatomy.waves.astype(np.float32).tolist():
        # sin(a + b) from sines of the single axes: six cheap waves instead of six large sines.
        across, down = kx * x, ky * y + kz * z + phase
        value += 8.0 * (np.sin(across) * np.cos(down) + np.cos(across) * np.sin(down))
    for distance in fissure_distances(anatomy, x, y, z):
        value += 110.0 * soft_cover(np.abs(distance) - 0.5, grid.edge_mm)
    paint(hu, lung, value)


def _bone_hu(distance: Array, anatomy: Anatomy, shell_mm: float = 2.0) -> Array:
    """A bone has a dense shell around its marrow."""
    shell = np.clip(1 + distance / shell_mm, 0.0, 1.0)
    return anatomy.hu["marrow"] + shell * (anatomy.hu["cortex"] - anatomy.hu["marrow"])
