"""A phantom like the pancreas set of source 004: a CT of the organ with one lesion in it.

The three subtypes differ in texture and margin only: 0 is even and smooth, 1 coarsely patchy and
lobulated, 2 finely grained with a blurred, spiculated edge. Size, place and HU are drawn without
looking at the subtype. A test tells them apart by texture and margin inside the true lesion, and
not by volume, place and HU. Taught in lesson 17.
"""

from pathlib import Path

import numpy as np
from numpy.random import Generator

from seg_lib.data.cases import CASES_CSV, DATASET_JSON, Case, write_cases
from seg_lib.data.nifti import Volume, write_image, write_mask
from seg_lib.data.nnunet_layout import describe, raw_paths
from seg_lib.data.phantom_abdomen import (
    STEPS,
    Abdomen,
    around,
    draw_abdomen,
    grain,
    level_of_volume,
    tube_level,
    tubes_along,
)
from seg_lib.data.phantom_anatomy import Array, Grid, soft_cover
from seg_lib.data.phantom_body import cover_of_tubes, paint
from seg_lib.data.phantom_lung import Phantom, as_volume, chance_of, check_numbers
from seg_lib.data.phantom_nodules import choose, cut_log_normal
from seg_lib.data.phantom_scan import grainy_noise

LABELS = {"background": 0, "pancreas": 1, "lesion": 2}
# How many cases of subtype 0, 1, 2 each part of source 004's set has; its test subtypes are not
# published, ours have the shares of the others [B].
COUNTS = {"train": (62, 106, 84), "val": (9, 15, 12), "test": (18, 30, 24)}
# 0.4 / 6 / 732 ml [B: MSD], cut off where a lesion would fill the image.
LESION_ML = {"median": 6.0, "log_sigma": 1.2, "limits": (0.4, 100.0)}
SITES = {"head": (0.05, 0.38), "body": (0.45, 0.70), "tail": (0.75, 0.95)}  # along the course
SITE_SHARES = {"head": 0.65, "body": 0.21, "tail": 0.14}  # 60-70, 15-25, 10-15 % [A]
# HU below the parenchyma. Nearly none in 11 %: 4.2 +- 8.5 in the portal-venous phase [A]; for the
# others only the pancreatic phase is known, 74.8 +- 35.6 [A], of which half is left here [C].
ISOATTENUATING_SHARE, ISOATTENUATING_HU = 0.11, (4.2, 8.5)
CONTRAST_HU = {"median": 42.0, "log_sigma": 0.35, "limits": (24.0, 80.0)}
# By subtype, (lowest, highest): SD of coarse and fine texture in HU, bumps of the surface relative
# to the radius and their size relative to it, width of the edge in mm, number of spicules [C].
# The ranges overlap: no single trait tells the subtypes apart.
LOOKS = (
    {"coarse_hu": (0, 10), "fine_hu": (0, 10), "bumps": (0.02, 0.12), "blur_mm": (0, 1.5)},
    {"coarse_hu": (18, 48), "fine_hu": (0, 10), "bumps": (0.08, 0.28), "blur_mm": (0, 1.5)},
    {"coarse_hu": (0, 10), "fine_hu": (18, 48), "bumps": (0.06, 0.22), "blur_mm": (1, 4)},
)
BUMP_SIZE = (0.7, 0.6, 0.25)
SPICULES = ((0, 6), (0, 6), (6, 30))
SUB_SLICES = 2  # a slice is the mean of so many thinner ones


def _even_order() -> list[tuple[str, str]]:
    """(split, subtype) of the first 360 cases: every group is spread evenly over all of them."""
    places = [
        ((i + 0.45) / count, split, str(subtype))
        for split, counts in COUNTS.items()
        for subtype, count in enumerate(counts)
        for i in range(count)
    ]
    return [(split, subtype) for _, split, subtype in sorted(places)]


ORDER = _even_order()


def part_of(number: int) -> tuple[str, str]:
    """(split, subtype) of the case with this number; after 360 cases the order starts again."""
    return ORDER[number % len(ORDER)]


class Lesion:
    """One lesion of a subtype in the pancreas of ``patient``; ``traits`` say what was drawn."""

    def __init__(self, patient: Abdomen, subtype: int, rng: Generator) -> None:
        site = choose(rng, SITE_SHARES)
        at = rng.uniform(*SITES[site])
        self.step = round(at * (STEPS - 1))
        middle, width = patient.course[self.step, :3], patient.course[self.step, 3]
        away = rng.normal(size=3)
        away *= rng.uniform(0.0, 0.7) * width / np.linalg.norm(away)
        self.volume_ml = cut_log_normal(rng, **LESION_ML)
        visible = rng.random() >= ISOATTENUATING_SHARE
        faint, clear = rng.normal(*ISOATTENUATING_HU), cut_log_normal(rng, **CONTRAST_HU)
        self.contrast_hu = clear if visible else faint
        self.radius_mm = (self.volume_ml * 1000.0 * 0.75 / np.pi) ** (1 / 3)
        self.centre = (middle + away).astype(np.float32)
        self.half_axes = rng.uniform(0.8, 1.25, 3).astype(np.float32)
        self.duct_mm = rng.uniform(0.6, 1.2) + (rng.random() < 0.4) * rng.uniform(0.5, 2.0)
        self.look = {trait: rng.uniform(*limits) for trait, limits in LOOKS[subtype].items()}
        self.bump_mm = max(BUMP_SIZE[subtype] * self.radius_mm, 2.5)
        rays = rng.normal(size=(int(rng.integers(*SPICULES[subtype])), 3))
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        reach = self.radius_mm + rng.uniform(0.2, 0.7, (len(rays), 1)) * min(self.radius_mm, 12.0)
        ends = [self.centre + 0.7 * self.radius_mm * rays, self.centre + (reach + 2.0) * rays]
        self.spicules = np.hstack([*ends, np.tile([1.4, 0.5], (len(rays), 1))])
        self.traits = {
            "subtype": str(subtype),
            "site": site,
            "volume_ml": self.volume_ml,
            "contrast_hu": self.contrast_hu,
            "centre_mm": tuple(self.centre.tolist()),
        }

    def draw(
        self, hu: Array, vessels: Array, grid: Grid, parenchyma: float, rng: Generator
    ) -> Array:
        """Paint it into ``hu`` (Z, H, W) where the share of vessels is small; its share of each."""
        middles = zip(grid.mesh(), self.centre, self.half_axes, strict=True)
        u, v, w = ((axis - centre) / half for axis, centre, half in middles)
        level = np.sqrt(u * u + v * v + w * w) / self.radius_mm
        level *= 1.0 + self.look["bumps"] * np.tanh(grain(grid, self.bump_mm, rng))
        level[vessels > 0.5] += 9.0
        distance = (level - level_of_volume(level, self.volume_ml, grid)) * self.radius_mm
        blur_mm = min(self.look["blur_mm"], 0.5 * self.radius_mm)
        cover = soft_cover(distance, grid.edge_mm + blur_mm)
        coarse = np.tanh(2.0 * grain(grid, min(max(self.radius_mm, 6.0), 14.0), rng))
        texture = 1.25 * self.look["coarse_hu"] * coarse
        texture += self.look["fine_hu"] * grain(grid, 3.5, rng)
        texture -= (texture * cover).sum() / cover.sum()  # the mean HU tell nothing
        inside_hu = parenchyma - self.contrast_hu
        paint(hu, cover_of_tubes(self.spicules, grid) * (1 - vessels), inside_hu)
        paint(hu, cover, inside_hu + texture)
        return cover


def pancreas_volume(
    seed: int = 0, size: tuple[int, int, int] = (96, 64, 40), patient: int = 0
) -> Phantom:
    """Draw the CT around the pancreas of a patient; label 1 is pancreas, 2 is its lesion.

    ``size`` is 48 x 32 x 16 to 1024 voxels along x, y, z; seed and patient are 0 or more; else
    ``InputError``. The field of about 135 x 90 x 120 mm holds the whole organ, so small matrices
    have large voxels. ``nodules`` holds the traits of the lesion; its subtype and the split are
    those of `part_of`.
    """
    check_numbers("pancreas", size, seed=(seed, 0), patient=(patient, 0))
    rng = chance_of("pancreas", seed, patient)
    who = Abdomen(rng)
    lesion = Lesion(who, int(part_of(patient)[1]), rng)
    grid = _grid_around(who, lesion, size, rng)
    hu, mask = _scan(who, lesion, grid, chance_of("pancreas", seed, patient, 0))
    slice_mm = round(float(grid.z[1] - grid.z[0]), 4)
    return as_volume(hu, mask, grid, slice_mm, patient, [lesion.traits])


def _grid_around(who: Abdomen, lesion: Lesion, size: tuple[int, int, int], rng: Generator) -> Grid:
    """Voxels that hold organ and lesion, with a margin drawn by lot on each side."""
    reach = 1.5 * lesion.radius_mm
    points = np.concatenate([who.course[:, :3]] * 2 + [lesion.centre[None]] * 2)
    radii = np.concatenate([who.course[:, 3], -who.course[:, 3], [reach, -reach]])
    low, high = (points + radii[:, None]).min(axis=0), (points + radii[:, None]).max(axis=0)
    low -= rng.uniform([9, 14, 18], [15, 22, 28])
    high += rng.uniform([8, 8, 11], [18, 16, 21])
    middle, (width, depth, height) = (low + high) / 2, high - low
    pixel_mm = round(float(max(width / size[0], depth / size[1])), 4)
    slice_mm = round(float(height / size[2]), 4)
    x, y, z = (np.arange(side) - (side - 1) / 2 for side in size)
    axes = (middle[0] - pixel_mm * x, middle[1] - pixel_mm * y, middle[2] + slice_mm * z)
    edge_mm = max(pixel_mm, who.scanner.blur_mm)
    return Grid(*(axis.astype(np.float32) for axis in axes), edge_mm, pixel_mm)


def _scan(who: Abdomen, lesion: Lesion, grid: Grid, rng: Generator) -> tuple[Array, Array]:
    """HU (Z, H, W) int16 with noise, and labels (Z, H, W) uint8."""
    slice_mm = grid.z[1] - grid.z[0]
    offsets = slice_mm * ((np.arange(SUB_SLICES, dtype=np.float32) + 0.5) / SUB_SLICES - 0.5)
    fine = grid._replace(z=(grid.z[:, None] + offsets).ravel())
    hu, organ, tumour = (
        each.reshape(-1, SUB_SLICES, *each.shape[1:]).mean(axis=1)
        for each in _draw_patient(who, lesion, fine, rng)
    )
    hu += grainy_noise(who.scanner, grid, rng)
    mask = (organ >= 0.5).astype(np.uint8)
    mask[tumour >= 0.5] = LABELS["lesion"]
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16), mask


def _draw_patient(
    who: Abdomen, lesion: Lesion, grid: Grid, rng: Generator
) -> tuple[Array, Array, Array]:
    """Noise-free HU (Z, H, W), and the share of pancreas and of lesion in each voxel."""
    hu, vessels = draw_abdomen(who, grid, rng)
    organ, tumour = np.zeros_like(hu), np.zeros_like(hu)
    where, part = grid.crop(*around(who.course[:, :3], 1.5 * who.course[:, 3].max()))
    organ[where], parenchyma = _draw_pancreas(who, lesion, hu[where], vessels[where], part, rng)
    where, part = grid.crop(*around(lesion.centre[None], 1.8 * lesion.radius_mm + 3.0))
    tumour[where] = lesion.draw(hu[where], vessels[where], part, parenchyma, rng)
    return hu, organ, tumour


def _draw_pancreas(
    who: Abdomen, lesion: Lesion, hu: Array, vessels: Array, grid: Grid, rng: Generator
) -> tuple[Array, float]:
    """Paint organ and duct into ``hu``; the organ's share of each voxel, and its mean HU."""
    level = tube_level(who.tubes, grid)
    level *= 1.0 + 0.15 * np.tanh(grain(grid, 5.0, rng))  # lobules
    level[vessels > 0.5] += 9.0
    limit, width = level_of_volume(level, who.organ_ml, grid), float(who.course[:, 3].mean())
    organ = soft_cover((level - limit) * width, grid.edge_mm)
    # Clefts of fat run between the lobules, more of them near the surface.
    depth = who.clefts * (0.7 + level / limit) - np.abs(grain(grid, 7.0, rng))
    value = who.hu["pancreas"] + 4.0 * grain(grid, 6.0, rng)
    paint(value, np.clip(0.3 + 2.0 * depth, 0.0, 0.8), who.hu["fat"])
    paint(hu, organ, value)
    duct = tubes_along(np.hstack([who.course[:, :3], np.full((STEPS, 1), 0.7)]))
    duct[lesion.step :, 6:] = lesion.duct_mm  # upstream of the lesion
    paint(hu, cover_of_tubes(duct, grid) * organ, who.hu["fluid"])
    return organ, float((value * organ).sum() / organ.sum())


def write_pancreas(n_cases: int, size: tuple[int, int, int], seed: int, folder: Path) -> list[Case]:
    """Write nnU-Net's raw folder with labels for the test cases too; ``cases.csv`` comes last.

    As in source 004 the names of training and validation cases tell the subtype, those of test
    cases do not. Folder not writable: ``InputError``.
    """
    for name in (CASES_CSV, DATASET_JSON):
        (folder / name).unlink(missing_ok=True)
    cases = []
    for number in range(n_cases):
        split, subtype = part_of(number)
        name = f"pancreas_{number:03d}" if split == "test" else f"pancreas_{subtype}_{number:03d}"
        image, label = raw_paths(folder, name, split, ".nii.gz")
        drawn = pancreas_volume(seed, size, number)
        affine, shape = drawn.affine, drawn.hu.shape
        write_image(image, drawn.hu, affine)
        write_mask(label, drawn.mask, Volume(drawn.hu, affine, affine, shape, image))
        cases.append(Case(name, name, image, label, split, "", subtype, drawn.spacing_mm))
    describe(cases, folder, LABELS, ".nii.gz")
    write_cases(cases, folder)
    return cases
