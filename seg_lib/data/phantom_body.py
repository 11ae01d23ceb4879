"""Drawing the body of a phantom patient into a grid of HU: wall, bones, organs, lungs, vessels.

Tissue is painted from the outside to the inside, each time with the share of the voxel that it
covers, so an edge voxel is a mixture (partial volume). Taught in notebook 01.
"""

import numpy as np

from seg_lib.data.phantom_anatomy import (
    Anatomy,
    Grid,
    chest_distance,
    diaphragm_mm,
    ellipse_distance,
    fissure_distances,
    heart_distance,
    lung_distance,
    soft_cover,
)
from seg_lib.data.phantom_vessels import GREAT_VESSELS, OESOPHAGUS, TRACHEA, cover_of_tubes, widened

AIR_HU = -1000.0
BONE_PITCH_MM = 24.0  # from one rib or vertebra to the next
RIB_DROP_MM = 115.0  # how much lower a rib ends in front than it starts at the spine
CHEST_BOX_MM = (-138.0, 138.0), (-100.0, 96.0)  # x, y of everything inside the ribs
CLAVICLES = np.array(
    [[14, 72, 62, 90, 62, 92, 7, 6], [-14, 72, 62, -90, 62, 92, 7, 6]], dtype=np.float32
)


def paint(hu: np.ndarray, cover: np.ndarray, value: float | np.ndarray) -> None:
    """Mix ``value`` into ``hu`` in place, as much as ``cover`` (0..1) says."""
    hu += cover * (value - hu)


def crop(
    grid: Grid, x_mm: tuple[float, float], y_mm: tuple[float, float]
) -> tuple[tuple[slice, slice, slice], Grid]:
    """The part of a grid between two x and two y: where it is, and the smaller grid."""
    x0, x1 = (len(grid.x) - int(np.searchsorted(grid.x[::-1], v)) for v in x_mm[::-1])
    y0, y1 = (len(grid.y) - int(np.searchsorted(grid.y[::-1], v)) for v in y_mm[::-1])
    where = (slice(None), slice(y0, y1), slice(x0, x1))
    return where, grid._replace(x=grid.x[x0:x1], y=grid.y[y0:y1])


def draw_body(anatomy: Anatomy, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Everything but the vessels in the lungs and the nodules.

    Args:
        anatomy: the patient.
        grid: voxels in standard-body mm (``standard_grid``).

    Returns:
        HU (Z, H, W) float32 and the share of each voxel that is lung (Z, H, W) float32.
    """
    hu = np.full(grid.shape, AIR_HU, dtype=np.float32)
    lung = np.zeros(grid.shape, dtype=np.float32)
    chest = chest_distance(*grid.mesh())
    _draw_wall(hu, anatomy, grid, chest)
    _draw_ribs(hu, anatomy, grid, chest)
    where, inner = crop(grid, *CHEST_BOX_MM)  # a third of the image: the costly part is in here
    box, chest = hu[where], chest[where]
    paint(box, soft_cover(chest, grid.edge_mm), anatomy.hu["fat"])
    _draw_belly(box, anatomy, inner, chest)
    _draw_mediastinum(box, anatomy, inner)
    _draw_spine(hu, anatomy, grid)
    lung[where] = soft_cover(lung_distance(anatomy, *inner.mesh()), grid.edge_mm)
    _draw_lungs(box, anatomy, inner, lung[where])
    paint(box, cover_of_tubes(widened(TRACHEA, 1.6), inner), 20.0)
    paint(box, cover_of_tubes(TRACHEA, inner), AIR_HU)
    return hu, lung


def _draw_wall(hu: np.ndarray, anatomy: Anatomy, grid: Grid, chest: np.ndarray) -> None:
    """Skin, fat and muscle around the chest, shoulder blades and the table below."""
    x, y, z = grid.mesh()
    front = y / np.sqrt((0.68 * x) ** 2 + y * y + 1.0)  # 1 in front, -1 at the spine
    upper = np.clip((z - 30.0) / 90.0, 0.0, 1.0) ** 2
    muscle = 16.0 + 15.0 * np.exp(-(((front + 0.85) / 0.22) ** 2))
    chest_muscle = 12.0 * np.exp(-(((z - 35.0) / 45.0) ** 2))
    muscle = muscle + chest_muscle * np.exp(-(((front - 0.72) / 0.22) ** 2))
    muscle += (10.0 + 62.0 * upper) * (1 - front * front)
    fat = anatomy.fat_mm * (1.0 + 0.3 * front)
    breast = anatomy.breast_mm * np.exp(-(((z + 45.0) / 38.0) ** 2))
    fat = fat + breast * np.exp(-(((front - 0.78) / 0.16) ** 2))
    skin = chest - (muscle + fat)
    table_mm = -150.0 - anatomy.fat_mm + 0.0008 * x * x
    paint(hu, soft_cover(np.abs(y - table_mm) - 1.5, grid.edge_mm), -200.0)
    paint(hu, soft_cover(skin, grid.edge_mm), 10.0)
    paint(hu, soft_cover(skin + 1.8, grid.edge_mm), anatomy.hu["fat"])
    cover = soft_cover(chest - muscle, grid.edge_mm)
    # Between the layers of muscle lies fat, and the shoulder blade glides on it.
    layer = np.abs(chest - 17.0 - 3.0 * front) - 0.9
    cover *= 1 - 0.8 * soft_cover(layer, grid.edge_mm) * (muscle > 22.0)
    paint(hu, cover, anatomy.hu["muscle"])
    if grid.z[-1] > -45.0:
        blade = np.abs(chest - 24.0) - 2.6
        middle = -0.48 + 0.004 * z
        blade = np.maximum(blade, (np.abs(front - middle) - 0.22) * 120.0)
        blade = np.maximum(blade, -45.0 - z)
        paint(hu, soft_cover(blade, grid.edge_mm), 0.6 * anatomy.hu["cortex"])


def _draw_ribs(hu: np.ndarray, anatomy: Anatomy, grid: Grid, chest: np.ndarray) -> None:
    """Ribs run down from the spine to the front; a slice cuts several. Then the breastbone."""
    x, y, z = (axis.astype(np.float32) for axis in np.broadcast_arrays(*grid.mesh()))
    near = (chest > -1.0) & (chest < 15.0)
    x, y, z, depth = x[near], y[near], z[near], chest[near] - 6.5
    front = y / np.sqrt((0.68 * x) ** 2 + y * y + 1.0)
    turns = (z + 0.5 * RIB_DROP_MM * (1 + front)) / BONE_PITCH_MM + 0.25
    height = (turns - np.round(turns)) * BONE_PITCH_MM
    level = np.sqrt((depth / 4.2) ** 2 + (height / 6.2) ** 2)
    distance = (level - 1) * 4.2
    distance = np.maximum(distance, 20.0 - np.abs(x))
    cartilage = np.clip((front - 0.72) / 0.06, 0.0, 1.0)
    shell = np.clip(1 + distance / 1.6, 0.0, 1.0)
    bone = anatomy.hu["marrow"] + shell * (anatomy.hu["cortex"] - anatomy.hu["marrow"])
    bone += cartilage * (110.0 - bone)
    hu[near] += soft_cover(distance, grid.edge_mm) * (bone - hu[near])
    where, part = crop(grid, (-30.0, 30.0), (70.0, 130.0))
    x, y, z = part.mesh()
    front_of = chest[where] - 8.0
    breastbone = np.maximum(np.abs(front_of) - 5.0, np.abs(x) - 16.0 - 0.06 * z)
    breastbone = np.maximum(breastbone, -95.0 - z)
    _paint_bone(hu[where], breastbone, anatomy, grid.edge_mm)
    if grid.z[-1] > 50.0:
        paint(hu, cover_of_tubes(CLAVICLES, grid), 0.7 * anatomy.hu["cortex"])


def _draw_belly(hu: np.ndarray, anatomy: Anatomy, grid: Grid, chest: np.ndarray) -> None:
    """Below the diaphragm: liver on the right, stomach with a bubble and spleen on the left."""
    if grid.z[0] > max(anatomy.dome_mm) + 5.0:
        return
    x, y, z = grid.mesh()
    below = (z - diaphragm_mm(anatomy, x, y)) * 0.65
    inside = soft_cover(np.maximum(below, chest), grid.edge_mm)
    paint(hu, inside, anatomy.hu["muscle"])
    liver = np.maximum(below + 3.0, ellipse_distance(x - 50.0, y - 8.0, 95.0, 84.0))
    enhancement = 45.0 if anatomy.contrast else 0.0
    paint(hu, inside * soft_cover(liver, grid.edge_mm), anatomy.hu["liver"] + enhancement)
    spleen = ellipse_distance(x + 92.0, y + 40.0, 30.0, 40.0)
    spleen = np.maximum(spleen, below + 4.0)
    paint(hu, inside * soft_cover(spleen, grid.edge_mm), 48.0 + 1.2 * enhancement)
    stomach = ellipse_distance(x + 60.0, y - 20.0, 32.0, 40.0)
    stomach = np.maximum(stomach, below + 5.0)
    paint(hu, inside * soft_cover(stomach, grid.edge_mm), 20.0)
    bubble = np.maximum(stomach + 4.0, 30.0 - y)  # gas rises to the front
    paint(hu, inside * soft_cover(bubble, grid.edge_mm), AIR_HU)


def _draw_mediastinum(hu: np.ndarray, anatomy: Anatomy, grid: Grid) -> None:
    """Heart, great vessels and gullet in fat."""
    where, part = crop(grid, (-95.0, 60.0), (-75.0, 90.0))
    box, blood = hu[where], anatomy.hu["vessel"]
    heart = heart_distance(anatomy, *part.mesh())
    paint(box, soft_cover(heart, grid.edge_mm), anatomy.hu["muscle"] + 15.0)
    x, y, _ = part.mesh()
    walls = np.minimum(np.abs(0.6 * x + 0.8 * y - 4.0), np.abs(0.8 * x - 0.6 * y + 18.0))
    cavity = np.maximum(heart + 8.0, 4.0 - walls)  # the walls between the four chambers
    paint(box, soft_cover(cavity, grid.edge_mm), blood)
    paint(box, cover_of_tubes(GREAT_VESSELS, part), blood)
    paint(box, cover_of_tubes(OESOPHAGUS, part), 35.0)


def _draw_spine(hu: np.ndarray, anatomy: Anatomy, grid: Grid) -> None:
    """Vertebrae with discs between them, the spinal canal, and the processes behind."""
    where, part = crop(grid, (-45.0, 45.0), (-140.0, -35.0))
    box = hu[where]
    x, y, z = part.mesh()
    turns = z / BONE_PITCH_MM
    height = np.abs(turns - np.round(turns)) * BONE_PITCH_MM  # 0 in the middle of a vertebra
    body = ellipse_distance(x, y + 62.0, 17.0, 15.0)
    paint(box, soft_cover(body, grid.edge_mm), 80.0)  # disc
    _paint_bone(box, np.maximum(body, height - 9.5), anatomy, grid.edge_mm)
    arch = ellipse_distance(x, y + 84.0, 15.0, 12.0)
    wings = np.maximum(np.abs(y + 88.0 + 0.25 * np.abs(x)) - 4.5, np.abs(x) - 34.0)
    wings = np.maximum(wings, height - 6.0)
    spike = np.maximum(np.abs(x) - 3.5, np.abs(y + 108.0) - 18.0)
    spike = np.maximum(spike, height - 9.0)
    behind = np.minimum(np.minimum(arch, wings), spike)
    _paint_bone(box, behind, anatomy, grid.edge_mm)
    canal = ellipse_distance(x, y + 84.0, 9.5, 7.5)
    paint(box, soft_cover(canal, grid.edge_mm), 25.0)


def _draw_lungs(hu: np.ndarray, anatomy: Anatomy, grid: Grid, lung: np.ndarray) -> None:
    """Lung tissue: denser at the back, uneven, with the fissures as thin lines."""
    x, y, z = grid.mesh()
    value = np.broadcast_to(anatomy.hu["lung"] - 0.35 * y, grid.shape).astype(np.float32)
    for kx, ky, kz, phase in anatomy.waves.tolist():
        # sin(a + b) from sines of the single axes: six cheap waves instead of six large sines.
        across, down = kx * x, ky * y + kz * z + phase
        value += 8.0 * (np.sin(across) * np.cos(down) + np.cos(across) * np.sin(down))
    for distance in fissure_distances(anatomy, x, y, z):
        value += 110.0 * soft_cover(np.abs(distance) - 0.5, grid.edge_mm)
    paint(hu, lung, value)


def _paint_bone(hu: np.ndarray, distance: np.ndarray, anatomy: Anatomy, edge_mm: float) -> None:
    """A bone has a dense shell around its marrow."""
    shell = np.clip(1 + distance / 2.0, 0.0, 1.0)
    marrow = anatomy.hu["marrow"]
    paint(hu, soft_cover(distance, edge_mm), marrow + shell * (anatomy.hu["cortex"] - marrow))
