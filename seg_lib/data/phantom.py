"""CT phantoms of chest and pancreas: seeded patients, as arrays or as a data set on disk.

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
import pandas as pd

from seg_lib.data.cases import CASES_CSV, Case, write_cases
from seg_lib.data.clinical_table import write_table
from seg_lib.data.nifti import Volume, as_stored, write_image, write_mask
from seg_lib.data.phantom_lung import (
    DEFAULT_SIZES,
    Phantom,
    chance_of,
    check_numbers,
    lung_slice,
    lung_volume,
    patient_of,
    rough_lung,
)
from seg_lib.data.phantom_notes import (
    HOSPITALS,
    choose_target,
    note_as_written,
    off_calibration,
    patients_with_choice,
)
from seg_lib.data.phantom_pancreas import write_pancreas
from seg_lib.data.pickles import PATIENTS_CSV
from seg_lib.errors import InputError
from seg_lib.files import write_text, written_whole

# Four slices are at least two patients: train and test.
FEWEST_CASES = {"lung2d": 4, "lung3d": 1, "thorax_notes": 1, "pancreas": 1}
# The part a patient plays, by his number modulo the length: few cases already fill all parts, and
# the part never depends on how many cases are made. 75/25 % and 70/15/15 % of the patients.
SPLITS = {
    "lung2d": ("train", "test", "train", "train"),
    "lung3d": ("train", "val", "test", *["train"] * 5, "val", "train", "test")
    + (*["train"] * 4, "val", "train", "test", "train", "train"),
}
CLINICAL_CSV = "clinical.csv"
NOTES_LOG_CSV = "notes_log.csv"
PICKLES = {split: f"lung_cancer_{split}.pkl" for split in ("train", "test")}
LPS = nib.orientations.axcodes2ornt("LPS")  # the axis order of most scanners' files


def make_phantom(
    kind: str,
    n_cases: int,
    size: int | tuple[int, int, int] | None = None,
    seed: int = 0,
    out_dir: str | Path = "phantom",
    hospital: str = "home",
) -> list[Case]:
    """Write a phantom data set into the folder ``out_dir``.

    ``lung2d`` writes ``n_cases`` (at least 4) slices of ``size`` pixels a side into
    ``lung_cancer_train.pkl`` and ``lung_cancer_test.pkl`` like the public Lung-RADS set, and
    ``patients.csv``, which that set lacks; a patient has one to three slices. ``lung3d`` writes
    volumes of ``size`` voxels along x, y, z as ``images/*.nii.gz`` and ``labels/*.nii.gz``, and
    ``cases.csv``; every third is stored LPS, the others RAS, as conversions from DICOM are. The CSV
    file comes last: a folder without it is not complete. ``thorax_notes`` is like ``lung3d``, of
    patients with two large nodules or more, one of them labelled, with ``clinical.csv``, notes that
    name it, and ``notes_log.csv`` of faulty notes; of ``hospital`` "external1" and "external2" all
    are test. ``pancreas`` is nnU-Net's raw folder of volumes around the pancreas, label 1, with a
    lesion, label 2, of one of three subtypes: split and subtype as many times as in source 004's
    set in each 360 cases.

    Returns:
        One case per slice or volume. The image of a ``lung2d`` case is the pickle that holds it;
        within a pickle, rows have the order of the cases.

    Raises:
        InputError: unknown kind, size or number out of range, folder not writable.
    """
    if kind not in DEFAULT_SIZES:
        raise InputError(f"phantom kind '{kind}': choose one of {', '.join(DEFAULT_SIZES)}.")
    size = DEFAULT_SIZES[kind] if size is None else size
    check_numbers(kind, size, n_cases=(n_cases, FEWEST_CASES[kind]), seed=(seed, 0))
    if kind == "lung2d":
        return _write_slices(n_cases, size, seed, Path(out_dir))
    if hospital not in HOSPITALS or (hospital != "home" and kind != "thorax_notes"):
        raise InputError(
            f"hospital '{hospital}' of {kind}: thorax_notes has {', '.join(HOSPITALS)}."
        )
    if kind == "pancreas":
        return write_pancreas(n_cases, size, seed, Path(out_dir))
    if kind == "thorax_notes":
        return _write_notes(n_cases, size, seed, Path(out_dir), hospital)
    return _write_volumes(n_cases, size, seed, Path(out_dir))


def _write_slices(n_cases: int, size: int, seed: int, folder: Path) -> list[Case]:
    (folder / PATIENTS_CSV).unlink(missing_ok=True)
    cases, rows, lines = [], {"train": [], "test": []}, ["pickle,row,patient,spacing_mm"]
    slices = (
        (patient, index)
        for patient in itertools.count()
        for index in range(patient_of("lung2d", seed, patient, size).n_slices)
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


def _write_volumes(n_cases: int, size: tuple[int, int, int], seed: int, folder: Path) -> list[Case]:
    (folder / CASES_CSV).unlink(missing_ok=True)
    cases = []
    for patient in range(n_cases):
        drawn = lung_volume(seed, size, patient)
        case = _case_of(drawn, "lung3d", patient, folder, lung3d_split(patient))
        cases.append(dataclasses.replace(case, subtype=drawn.worst["lungrads"]))
    write_cases(cases, folder)
    return cases


def _write_notes(
    n_cases: int, size: tuple[int, int, int], seed: int, folder: Path, name: str
) -> list[Case]:
    (folder / CASES_CSV).unlink(missing_ok=True)
    hospital = HOSPITALS[name]
    draw = functools.partial(patient_of, "thorax_notes", seed, pixels=min(size[:2]))
    numbers = patients_with_choice(draw, size, hospital.first_patient)
    cases, rows, log = [], [], []
    for place, patient in enumerate(itertools.islice(numbers, n_cases)):
        drawn, rng = (
            lung_volume(seed, size, patient, hospital.scanner, "thorax_notes"),
            chance_of("thorax_notes", seed, patient, 1),
        )
        drawn, row = choose_target(drawn, rng)
        drawn = dataclasses.replace(drawn, hu=off_calibration(drawn.hu, hospital.offset_hu))
        note, line = note_as_written(row, hospital, place, rng)
        split = lung3d_split(place) if name == "home" else "test"
        case = _case_of(drawn, "thorax", place, folder, split)
        cases.append(dataclasses.replace(case, note=note))
        rows.append(row)
        log.append(line)
    write_table(folder / CLINICAL_CSV, rows, list(rows[0]))
    write_table(folder / NOTES_LOG_CSV, log, list(log[0]))
    write_cases(cases, folder)
    return cases


def _case_of(drawn: Phantom, kind: str, place: int, folder: Path, split: str) -> Case:
    """Write image and mask, every third in LPS, and return their case."""
    name = f"{kind}_{drawn.patient}"
    image, mask = (folder / part / f"{name}.nii.gz" for part in ("images", "labels"))
    shape, stored = drawn.hu.shape, drawn.affine
    if place % 3 == 1:  # in mm it lies where it should all the same
        stored = stored @ nib.orientations.inv_ornt_aff(LPS, shape)
    write_image(image, as_stored(drawn.hu, stored), stored)
    write_mask(mask, drawn.mask, Volume(drawn.hu, drawn.affine, stored, shape, image))
    return Case(name, drawn.patient, image, mask, split, spacing_mm=drawn.spacing_mm)


def lung3d_split(place: int) -> str:
    """The part that the case at this place plays."""
    return SPLITS["lung3d"][place % len(SPLITS["lung3d"])]
