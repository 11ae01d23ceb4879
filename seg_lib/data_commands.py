"""The commands for one's own data: conversion there and back, notes, checks."""

import argparse
import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

from seg_lib.errors import DataWarning, InputError
from seg_lib.manifest_commands import add_manifest_commands

MOST_TEXT_BYTES = 8 * 2**20


def pickle_to_png(pickle: Path, out_dir: Path, size: int, split: str) -> int:
    """Turn a pickled table of slices into PNG files once, without running anything in it."""
    from seg_lib.data.slices import pickle_to_png as convert

    cases = convert(pickle, out_dir, size=size, split=split)
    print(f"{out_dir}: {len(cases)} slices, split {split}.")
    return 0


def dicom_to_nifti(src_dir: Path, out: Path, **contours: Path | str | None) -> int:
    """Convert a DICOM folder: HU and geometry only; with the three others also one region."""
    from seg_lib.data.dicom import convert

    print("\n".join(f"{path}: written." for path in convert(src_dir, out, **contours)))
    return 0


def mask_to_dicom(mask: Path, series_dir: Path, dst: Path, form: str, label: str) -> int:
    """Write a mask as DICOM SEG or RTSTRUCT of its CT series, for a viewer or planning system."""
    from seg_lib.data.dicom_masks import mask_to_rtstruct, mask_to_seg

    {"seg": mask_to_seg, "rtstruct": mask_to_rtstruct}[form](mask, series_dir, dst, label)
    print(f"{dst}: written.")
    return 0


def notes(table: Path, out_csv: Path, encoding: str | None, leave_out: bool) -> int:
    """Make a de-identified clinical note a patient from a table (CSV or XLSX)."""
    from seg_lib.data.notes import write_notes

    clinical = write_notes(table, out_csv, encoding=encoding, leave_out=leave_out)
    for row, column, what in clinical.findings:
        print(f"{f'line {row}' if row else 'all lines'}, {column}: {what}")
    print(f"{out_csv}: {len(clinical.rows)} notes, {len(clinical.findings)} findings.")
    return 0


def deidentify(in_txt: Path, out_txt: Path, known: Path | None, presidio: bool) -> int:
    """Take identifiers out of an English text; a text that may keep one is not written."""
    from seg_lib.data.deidentify import deidentify as cleaned
    from seg_lib.files import write_text

    identifiers = read_text(known).splitlines() if known else []
    try:
        text = cleaned(read_text(in_txt), filter(str.strip, identifiers), presidio)
    except InputError as fault:
        raise InputError(f"{in_txt}: {fault}") from fault
    write_text(out_txt, text)
    print(f"{out_txt}: written. Read it before you share it: rules find what they know.")
    return 0


def read_text(path: Path) -> str:
    """A UTF-8 text file of at most 8 MB; anything else is refused, not guessed."""
    from seg_lib.data.file_bytes import first_bytes

    first_bytes(path, "a text")
    content = path.read_bytes()
    try:
        if len(content) > MOST_TEXT_BYTES or b"\0" in content:
            raise InputError(f"{path}: more than 8 MB, or NUL characters; give plain text.")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line} is not UTF-8; save the text as UTF-8.") from error


def check_data(folder: Path, classes: int, sheet: Path | None) -> int:
    """Check a folder of CT cases: pairs, geometry, labels, HU, copies; a table of what to fix."""
    from seg_lib.data import check_data as check

    problems = check.check_data(folder, classes)
    for case, problem, fix, must_fix in problems:
        print(f"{'FIX ' if must_fix else 'note'} | {case} | {problem} | {fix}")
    n_faults = sum(problem.must_fix for problem in problems)
    if sheet:
        write_sheet(folder, sheet, classes)
        print(f"{sheet}: look at it; no check replaces that.")
    print(f"{folder}: {n_faults} to fix, {len(problems) - n_faults} notes.")
    return 1 if n_faults else 0


def write_sheet(folder: Path, png: Path, n_classes: int = 2, most: int = 24) -> None:
    """A picture of each case's slice with most lesion, outlined; cases that fail are left out.

    ``InputError`` if no case can be read.
    """
    from seg_lib.data.check_data import cases_of
    from seg_lib.data.nifti import axial_view, read_image, read_mask
    from seg_lib.figure_style import save_figure
    from seg_lib.figures import grid_of_images

    images, masks, titles = [], [], []
    with warnings.catch_warnings(action="ignore", category=DataWarning):  # told in the table
        for case in cases_of(folder, n_classes)[0]:
            with contextlib.suppress(InputError):
                volume = read_image(case.image)
                mask = volume.array > 1e9
                if case.label:
                    mask = read_mask(case.label, volume, 256).array > 0
                area = mask.sum((0, 1))
                z = int(area.argmax()) if area.any() else len(area) // 2
                images.append(axial_view(volume.array, z))
                masks.append(axial_view(mask, z))
                titles.append(case.case[:24])
            if len(images) == most:
                break
    if not images:
        raise InputError(f"{folder}: no case can be read, so there is nothing to show.")
    save_figure(grid_of_images(images, masks, titles, window="nodule"), png)


def add_conversions(add: Callable) -> None:
    """The commands between the files of others and ours, for `seg_lib.cli.build_parser`."""
    word = add(pickle_to_png, "pickle", "out_dir")
    word("--size", type=int, default=256)
    word("--split", default="train", choices=["train", "val", "test"])
    word = add(dicom_to_nifti, "src_dir", "out")
    word("--rtstruct", type=Path, help="contours drawn on this series")
    word("--roi", help="name of the region to fill")
    word("--mask-out", type=Path, help="its mask, a NIfTI file")
    word = add(mask_to_dicom, "mask", "series_dir", "dst")
    word("--form", default="seg", choices=["seg", "rtstruct"])
    word("--label", default="Tumour", help="name of the segment or region")


def add_data_commands(add: Callable, commands: argparse._SubParsersAction) -> None:
    """Notes and checks, and the commands of the manifests, for `seg_lib.cli.build_parser`."""
    add_manifest_commands(commands)
    word = add(notes, "table", "out_csv")
    word("--encoding", help="of a CSV that is not UTF-8, such as cp1252")
    word("--leave-out", action="store_true", help="leave impossible values out, and say which")
    word = add(deidentify, "in_txt", "out_txt")
    word("--known", type=Path, help="a file with one known identifier a line")
    word("--presidio", action="store_true", help="ask Presidio too, if it is installed")
    word = add(check_data, "folder")
    word("--classes", type=int, default=2, help="of the label maps, background included")
    word("--sheet", type=Path, metavar="PNG", help="draw every case")
