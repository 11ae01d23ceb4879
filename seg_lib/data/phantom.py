"""A CT phantom of the chest: seeded patients with nodules, as arrays or as a data set on disk.

Everything in the course runs on it without any patient data. The files it writes have the layout of
real sets, so the same commands read both. A case depends only on (kind, seed, its number, size):
asking for more cases never changes the first ones, and the same cases give the same bytes. Taught
in notebooks 00 and 01.
"""

import dataclasses
import functools
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.ndimage import label, uniform_filter

from seg_lib.data.cases import CASES_CSV, Case, write_cases
from seg_lib.data.clinical_table import write_table
from seg_lib.data.nifti import Volume, as_stored, write_image, write_mask
from seg_lib.data.notes import row_to_note
from seg_lib.data.phantom_nodules import LUNG_RADS
from seg_lib.data.phantom_notes import choose_target, patients_with_choice
from seg_lib.data.phantom_scan import Patient, scan, volume_grid
from seg_lib.data.pickles import PATIENTS_CSV
from seg_lib.errors import InputError
from seg_lib.files import write_text, written_whole

# New kinds go to the end: the place of a kind is part of its seed.
DEFAULT_SIZES = {"lung2d": 512, "lung3d": (128, 128, 48), "thorax_notes": (128, 128, 48)}
FEWEST_CASES = {
    "lung2d": 4,
    "lung3d": 1,
    "thorax_notes": 1,
}  # four slices are at least two patients: train and test
SMALLEST_SIZE = {"lung2d": (48,), "lung3d": (48, 48, 8), "thorax_notes": (48, 48, 8)}
LARGEST_SIZE = 1024
# The part a patient plays, by his number modulo the length: few cases already fill all parts, and
# the part never depends on how many cases are made. 75/25 % and 70/15/15 % of the patients.
SPLITS = {
    "lung2d": ("train", "test", "train", "train"),
    "lung3d": ("train", "val", "test", *["train"] * 5, "val", "train", "test")
    + (*["train"] * 4, "val", "train", "test", "train", "train"),
}
CLINICAL_CSV = "clinical.csv"
PICKLES = {split: f"lung_cancer_{split}.pkl" for split in ("train", "test")}
LPS = nib.orientations.axcodes2ornt("LPS")  # the axis order of most scanners' files


@dataclasses.dataclass(frozen=True)
class Phantom:
    """A slice (H, W), row 0 in front, column 0 on the right side; or a volume (X, Y, Z), RAS."""

    hu: np.ndarray  # float32 (slice) or int16 (volume)
    mask: np.ndarray  # uint8
    spacing_mm: tuple[float, ...]
    patient: str
    nodules: list[dict[str, object]]  # traits and centre of those in the picture
    affine: np.ndarray | None = None  # of a volume: (4, 4) float64, voxel indices to mm

    @property
    def worst(self) -> dict[str, object]:
        """The nodule of the highest Lung-RADS category."""
        return max(self.nodules, key=lambda nodule: LUNG_RADS.index(nodule["lungrads"]))


def lung_slice(seed: int = 0, size: int = 512, patient: int = 0, index: int = 0) -> Phantom:
    """Draw slice ``index`` of a patient, through one of his nodules; numbers from 0 on.

    ``size`` is 48 to 1024 pixels a side; another ``seed`` is another set of patients. Numbers out
    of range: ``InputError``.
    """
    _check("lung2d", size, seed=(seed, 0), patient=(patient, 0), index=(index, 0))
    who, rng = _patient("lung2d", seed, patient, size), _chance("lung2d", seed, patient, index)
    nodules = [nodule.traits.copy() for nodule in who.nodules]
    target = nodules[index % len(nodules)]
    # Off the middle of the nodule, but not so far that it looks much smaller than it is.
    z = target["centre_mm"][2] + rng.uniform(-0.2, 0.2) * target["diameter_mm"]
    grid = who.grid((size, size), [z])
    hu, mask = scan(who, grid, who.scanner.slice_mm, rng)
    return Phantom(
        hu=hu[0].astype(np.float32),
        mask=mask[0],
        spacing_mm=(grid.pixel_mm, grid.pixel_mm),
        patient=f"p{patient:03d}",
        nodules=[n for n in nodules if abs(z - n["centre_mm"][2]) < 0.4 * n["diameter_mm"]],
    )


def lung_volume(
    seed: int = 0, size: tuple[int, int, int] = (128, 128, 48), patient: int = 0
) -> Phantom:
    """Draw the chest CT of a patient.

    ``size`` is 48 to 1024 voxels along x and y, 8 to 1024 along z; seed and patient are 0 or more;
    else ``InputError``. The body always fits the field of view, so small matrices have large
    voxels; slices lie 1 to 3 mm apart, or up to two pixels where those are larger. If the slices do
    not reach over the whole lung, they are laid around the first nodule.
    """
    _check("lung3d", size, seed=(seed, 0), patient=(patient, 0))
    who = _patient("lung3d", seed, patient, min(size[:2]))
    nodules = [nodule.traits.copy() for nodule in who.nodules]
    grid, slice_mm = volume_grid(who, size)
    hu, mask = scan(who, grid, slice_mm, _chance("lung3d", seed, patient, 0))
    affine = np.diag([grid.pixel_mm, grid.pixel_mm, slice_mm, 1.0])
    affine[:3, 3] = grid.x[-1], grid.y[-1], grid.z[0]
    return Phantom(
        hu=np.asfortranarray(hu[:, ::-1, ::-1].T),
        mask=np.asfortranarray(mask[:, ::-1, ::-1].T),
        spacing_mm=(grid.pixel_mm, grid.pixel_mm, slice_mm),
        patient=f"p{patient:03d}",
        nodules=[n for n in nodules if grid.z[0] < n["centre_mm"][2] < grid.z[-1]],
        affine=affine,
    )


def make_phantom(
    kind: str,
    n_cases: int,
    size: int | tuple[int, int, int] | None = None,
    seed: int = 0,
    out_dir: str | Path = "phantom",
) -> list[Case]:
    """Write a phantom data set into the folder ``out_dir``.

    ``lung2d`` writes ``n_cases`` (at least 4) slices of ``size`` pixels a side into
    ``lung_cancer_train.pkl`` and ``lung_cancer_test.pkl`` like the public Lung-RADS set, and
    ``patients.csv``, which that set lacks; a patient has one to three slices. ``lung3d`` writes
    volumes of ``size`` voxels along x, y, z as ``images/*.nii.gz`` and ``labels/*.nii.gz``, and
    ``cases.csv``; every third is stored LPS, the others RAS, as conversions from DICOM are. The CSV
    file comes last: a folder without it is not complete. ``thorax_notes`` is ``lung3d`` of patients
    with two nodules or more, one of them labelled, with ``clinical.csv`` and notes that name it.

    Returns:
        One case per slice or volume. The image of a ``lung2d`` case is the pickle that holds it;
        within a pickle, rows have the order of the cases.

    Raises:
        InputError: unknown kind, size or number out of range, folder not writable.
    """
    if kind not in DEFAULT_SIZES:
        raise InputError(f"phantom kind '{kind}': choose one of {', '.join(DEFAULT_SIZES)}.")
    size = DEFAULT_SIZES[kind] if size is None else size
    _check(kind, size, n_cases=(n_cases, FEWEST_CASES[kind]), seed=(seed, 0))
    if kind == "lung2d":
        return _write_slices(n_cases, size, seed, Path(out_dir))
    return _write_volumes(n_cases, size, seed, Path(out_dir), kind == "thorax_notes")


def _write_slices(n_cases: int, size: int, seed: int, folder: Path) -> list[Case]:
    (folder / PATIENTS_CSV).unlink(missing_ok=True)
    cases, rows, lines = [], {"train": [], "test": []}, ["pickle,row,patient,spacing_mm"]
    slices = (
        (patient, index)
        for patient in itertools.count()
        for index in range(_patient("lung2d", seed, patient, size).n_slices)
    )
    for patient, index in itertools.islice(slices, n_cases):
        drawn = lung_slice(seed, size, patient, index)
        name = f"lung2d_{drawn.patient}_s{index}"
        split = SPLITS["lung2d"][patient % len(SPLITS["lung2d"])]
        pickle, spacing_mm, lungrads = PICKLES[split], drawn.spacing_mm, drawn.worst["lungrads"]
        lines.append(f"{pickle},{len(rows[split])},{drawn.patient},{spacing_mm[0]} {spacing_mm[1]}")
        rows[split].append((lungrads, drawn.mask, drawn.hu * rough_lung(drawn.hu), drawn.hu))
        path = folder / pickle
        cases.append(Case(name, drawn.patient, path, None, split, "", lungrads, spacing_mm))
    # Objects everywhere, names included: what pandas wrote before it had a type for text.
    columns = pd.Index(["label1", "mask", "hu_array", "hu_array_old"], dtype=object)
    for split, cells in rows.items():
        with written_whole(folder / PICKLES[split]) as part:
            table = pd.DataFrame(cells, columns=columns, dtype=object)
            table.to_pickle(part, compression=None, protocol=4)
    write_text(folder / PATIENTS_CSV, "\n".join(lines) + "\n")
    return cases


def _write_volumes(
    n_cases: int, size: tuple[int, int, int], seed: int, folder: Path, noted: bool
) -> list[Case]:
    (folder / CASES_CSV).unlink(missing_ok=True)
    cases, rows = [], []
    numbers = itertools.count()
    if noted:
        patient_of = functools.partial(_patient, "lung3d", seed, pixels=min(size[:2]))
        numbers = patients_with_choice(patient_of, size)
    for place, patient in enumerate(itertools.islice(numbers, n_cases)):
        drawn, note = lung_volume(seed, size, patient), ""
        name = f"lung3d_{drawn.patient}"
        lungrads, spacing_mm = drawn.worst["lungrads"], drawn.spacing_mm
        if noted:
            drawn, row = choose_target(drawn, _chance("thorax_notes", seed, patient))
            rows.append(row)
            name, note, lungrads = f"thorax_{drawn.patient}", row_to_note(row, patient % 3), ""
        split = SPLITS["lung3d"][place % len(SPLITS["lung3d"])]
        image, mask = (folder / kind / f"{name}.nii.gz" for kind in ("images", "labels"))
        shape, stored = drawn.hu.shape, drawn.affine
        if place % 3 == 1:  # in mm it lies where it should all the same
            stored = stored @ nib.orientations.inv_ornt_aff(LPS, shape)
        write_image(image, as_stored(drawn.hu, stored), stored)
        write_mask(mask, drawn.mask, Volume(drawn.hu, drawn.affine, stored, shape, image))
        cases.append(Case(name, drawn.patient, image, mask, split, note, lungrads, spacing_mm))
    if noted:
        write_table(folder / CLINICAL_CSV, rows, list(rows[0]))
    write_cases(cases, folder)
    return cases


def rough_lung(hu: np.ndarray) -> np.ndarray:
    """Lungs (H, W) of 0 and 1 by thresholding, as the public set was prepared.

    Nobody corrected the result: nodules at the pleura are often lost.
    """
    parts, _ = label(hu < -400.0)
    outside = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])  # air of the room
    small = np.flatnonzero(np.bincount(parts.ravel()) < 0.002 * hu.size)
    lung = ~np.isin(parts, np.concatenate([[0], outside, small]))
    closed = uniform_filter(lung.astype(np.float32), max(3, len(hu) // 32)) > 0.5
    return (lung | closed).astype(np.float32)


def _chance(kind: str, *numbers: int) -> np.random.Generator:
    """The one source of chance for one patient (seed, patient) or one scan (..., index)."""
    return np.random.default_rng([list(DEFAULT_SIZES).index(kind), *numbers])


@functools.lru_cache(maxsize=1)
def _patient(kind: str, seed: int, number: int, pixels: int) -> Patient:
    return Patient(_chance(kind, seed, number), pixels)


def _check(kind: str, size: int | tuple[int, int, int], **numbers: tuple[int, int]) -> None:
    """Refuse a size out of range, or a number (value, smallest)."""
    for name, (value, low) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"{name} {value}: give a whole number of at least {low}.")
    smallest = SMALLEST_SIZE[kind]
    sides = [size] if kind == "lung2d" else size if isinstance(size, tuple | list) else []
    if len(sides) != len(smallest) or not all(
        isinstance(side, int) and low <= side <= LARGEST_SIZE
        for side, low in zip(sides, smallest, strict=True)
    ):
        raise InputError(
            f"size {size}: {kind} needs {len(smallest)} whole number(s) from {smallest} to "
            f"{LARGEST_SIZE}; the default is {DEFAULT_SIZES[kind]}."
        )
