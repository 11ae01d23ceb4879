"""A CT phantom of the chest: seeded patients with nodules, as arrays or as a data set on disk.

Everything in the course runs on it without any patient data. The files it writes have the layout of
real sets, so the same commands read both. A case depends only on (kind, seed, its number, size):
asking for more cases never changes the first ones. Taught in notebooks 00 and 01.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seg_lib.data import phantom_tables as tables
from seg_lib.data.cases import Case
from seg_lib.data.phantom_files import write_lungrads_pickle, write_pickles, write_volumes
from seg_lib.data.phantom_scan import Patient, sample_patient, scan, slice_grid, volume_grid
from seg_lib.errors import InputError

__all__ = [
    "PhantomSlice",
    "PhantomVolume",
    "lung_slice",
    "lung_volume",
    "make_phantom",
    "write_lungrads_pickle",
]

DEFAULT_SIZES = {"lung2d": 512, "lung3d": (128, 128, 48)}
FEWEST_CASES = {"lung2d": 4, "lung3d": 1}  # four slices are at least two patients: train and test
SMALLEST_SIZE = {"lung2d": (48,), "lung3d": (48, 48, 8)}
LARGEST_SIZE = 1024
# The part a patient plays, by his number modulo the length: few cases already fill all parts, and
# the part never depends on how many cases are made. 75/25 % and 70/15/15 % of the patients.
SPLITS = {
    "lung2d": ("train", "test", "train", "train"),
    "lung3d": ("train", "val", "test", *["train"] * 5, "val", "train", "test")
    + (*["train"] * 4, "val", "train", "test", "train", "train"),
}


@dataclasses.dataclass(frozen=True)
class PhantomSlice:
    """One axial slice with at least one nodule; row 0 is the front, column 0 the right side."""

    hu: np.ndarray  # (H, W) float32
    mask: np.ndarray  # (H, W) uint8
    lungrads: str  # of the worst nodule in the slice
    spacing_mm: tuple[float, float]
    patient: str
    nodule: dict[str, object]  # traits of that nodule (``Nodule.as_dict``)


@dataclasses.dataclass(frozen=True)
class PhantomVolume:
    """One chest CT, in RAS: the first axis runs to the patient's right, the last to the head."""

    hu: np.ndarray  # (X, Y, Z) int16
    mask: np.ndarray  # (X, Y, Z) uint8
    affine: np.ndarray  # (4, 4) float64, voxel indices to mm
    patient: str
    nodules: list[dict[str, object]]  # those whose middle lies within the volume

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along x, y, z."""
        return tuple(float(mm) for mm in np.diag(self.affine)[:3])


def lung_slice(seed: int = 0, size: int = 512, patient: int = 0, index: int = 0) -> PhantomSlice:
    """Draw slice ``index`` of a patient, through one of his nodules.

    Args:
        seed: 0 or more; another seed is another set of patients.
        size: pixels along each side, 48 to 1024.
        patient: number of the patient, 0 or more.
        index: number of the slice; slices of one patient show the same anatomy.

    Raises:
        InputError: a number out of its range.

    Taught in notebook 00.
    """
    size = _checked_size("lung2d", size)
    _check_numbers(seed=(seed, 0), patient=(patient, 0), index=(index, 0))
    who = sample_patient(_chance("lung2d", seed, patient), size)
    return _slice_of(who, size, patient, _chance("lung2d", seed, patient, index), index)


def lung_volume(
    seed: int = 0, size: tuple[int, int, int] = (128, 128, 48), patient: int = 0
) -> PhantomVolume:
    """Draw the chest CT of a patient.

    The body always fits the field of view, so small matrices have large voxels; slices lie 1 to
    3 mm apart, or up to two pixels where those are larger. If the slices do not reach over the
    whole lung, they are laid around the first nodule.

    Args:
        seed: 0 or more; another seed is another set of patients.
        size: voxels along x, y, z; 48 to 1024 in plane, 8 or more slices.
        patient: number of the patient, 0 or more.

    Raises:
        InputError: a number out of its range.

    Taught in notebook 00.
    """
    size = _checked_size("lung3d", size)
    _check_numbers(seed=(seed, 0), patient=(patient, 0))
    who = sample_patient(_chance("lung3d", seed, patient), min(size[:2]))
    grid, slice_mm = volume_grid(who, size)
    hu, mask = scan(who, grid, slice_mm, _chance("lung3d", seed, patient, 0))
    affine = np.diag([grid.pixel_mm, grid.pixel_mm, slice_mm, 1.0])
    affine[:3, 3] = grid.x[-1], grid.y[-1], grid.z[0]
    low, high = grid.z[0], grid.z[-1]
    return PhantomVolume(
        hu=np.asfortranarray(hu[:, ::-1, ::-1].T),
        mask=np.asfortranarray(mask[:, ::-1, ::-1].T),
        affine=affine,
        patient=f"p{patient:03d}",
        nodules=[n.as_dict() for n in who.nodules if low < n.centre_mm[2] < high],
    )


def make_phantom(
    kind: str,
    n_cases: int,
    size: int | tuple[int, int, int] | None = None,
    seed: int = 0,
    out_dir: str | Path = "phantom",
) -> list[Case]:
    """Write a phantom data set.

    ``lung2d`` writes ``lung_cancer_train.pkl`` and ``lung_cancer_test.pkl`` like the public
    Lung-RADS set, and ``patients.csv``, which that set lacks; a patient has one to three slices.
    ``lung3d`` writes ``images/*.nii.gz``, ``labels/*.nii.gz`` and ``cases.csv``; some volumes are
    stored RAS, some LPS, as conversions from DICOM are. The CSV file comes last: a folder without
    it is not complete.

    Args:
        kind: "lung2d" or "lung3d".
        n_cases: number of slices (both pickles together, at least 4) or of volumes.
        size: pixels per side (default 512), or voxels along x, y, z (default 128, 128, 48).
        seed: 0 or more.
        out_dir: folder to write to.

    Returns:
        One case per slice or volume. The image of a ``lung2d`` case is the pickle that holds it;
        within a pickle, rows have the order of the cases.

    Raises:
        InputError: unknown kind, size or number out of range, folder not writable.

    Taught in notebook 00.
    """
    if kind not in DEFAULT_SIZES:
        raise InputError(f"phantom kind '{kind}': choose one of {', '.join(DEFAULT_SIZES)}.")
    size = _checked_size(kind, DEFAULT_SIZES[kind] if size is None else size)
    fewest = FEWEST_CASES[kind]
    _check_numbers(n_cases=(n_cases, fewest), seed=(seed, 0))
    if kind == "lung2d":
        return write_pickles(itertools.islice(_slices(seed, size), n_cases), Path(out_dir))
    return write_volumes(itertools.islice(_volumes(seed, size), n_cases), Path(out_dir))


def _slices(seed: int, size: int) -> Iterator[tuple[Case, PhantomSlice]]:
    """All slices of all patients, without end; the writer fills in the paths."""
    for patient in itertools.count():
        who = sample_patient(_chance("lung2d", seed, patient), size)
        for index in range(who.n_slices):
            drawn = _slice_of(who, size, patient, _chance("lung2d", seed, patient, index), index)
            case = Case(
                case=f"lung2d_{drawn.patient}_s{index}",
                patient=drawn.patient,
                image=Path(),
                split=SPLITS["lung2d"][patient % len(SPLITS["lung2d"])],
                subtype=drawn.lungrads,
                spacing_mm=drawn.spacing_mm,
            )
            yield case, drawn


def _volumes(seed: int, size: tuple[int, int, int]) -> Iterator[tuple[Case, PhantomVolume]]:
    """The volumes of all patients, without end; the writer fills in the paths."""
    for patient in itertools.count():
        drawn = lung_volume(seed, size, patient)
        worst = max((n["lungrads"] for n in drawn.nodules), key=tables.LUNG_RADS.index)
        case = Case(
            case=f"lung3d_{drawn.patient}",
            patient=drawn.patient,
            image=Path(),
            split=SPLITS["lung3d"][patient % len(SPLITS["lung3d"])],
            subtype=worst,
            spacing_mm=drawn.spacing_mm,
        )
        yield case, drawn


def _slice_of(
    who: Patient, size: int, patient: int, rng: np.random.Generator, index: int
) -> PhantomSlice:
    target = who.nodules[index % len(who.nodules)]
    # Off the middle of the nodule, but not so far that it looks much smaller than it is.
    z = target.centre_mm[2] + float(rng.uniform(-0.2, 0.2)) * target.traits.diameter_mm
    grid = slice_grid(who, size, z)
    hu, mask = scan(who, grid, who.scanner.slice_mm, rng)
    seen = [n for n in who.nodules if abs(z - n.centre_mm[2]) < 0.4 * n.traits.diameter_mm]
    worst = max(seen, key=lambda n: tables.LUNG_RADS.index(n.traits.lungrads))
    pixel_mm = grid.pixel_mm
    return PhantomSlice(
        hu=hu[0].astype(np.float32),
        mask=mask[0],
        lungrads=worst.traits.lungrads,
        spacing_mm=(pixel_mm, pixel_mm),
        patient=f"p{patient:03d}",
        nodule=worst.as_dict(),
    )


def _chance(kind: str, *numbers: int) -> np.random.Generator:
    """The one source of chance for one patient (seed, patient) or one scan (..., index)."""
    return np.random.default_rng([list(DEFAULT_SIZES).index(kind), *numbers])


def _check_numbers(**numbers: tuple[int, int]) -> None:
    for name, (value, smallest) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
            raise InputError(f"{name} {value}: give a whole number of at least {smallest}.")


def _checked_size(kind: str, size: int | tuple[int, int, int]) -> int | tuple[int, int, int]:
    """The size as plain ints, or an error that says which sizes there are."""
    smallest = SMALLEST_SIZE[kind]
    sides = [size] if kind == "lung2d" else list(size) if isinstance(size, tuple | list) else []
    fits = len(sides) == len(smallest) and all(
        isinstance(side, int) and low <= side <= LARGEST_SIZE
        for side, low in zip(sides, smallest, strict=True)
    )
    if not fits:
        raise InputError(
            f"size {size}: {kind} needs {len(smallest)} whole number(s) from {smallest} to "
            f"{LARGEST_SIZE}; the default is {DEFAULT_SIZES[kind]}."
        )
    return size if kind == "lung2d" else tuple(sides)
