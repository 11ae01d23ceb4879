"""The commands for one's own data: ``notes``, ``deidentify`` and ``check-data``."""

import argparse
import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

from seg_lib.errors import DataWarning, InputError
from seg_lib.manifest_commands import add_manifest_commands

MOST_TEXT_BYTES = 8 * 2**20


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
    from seg_lib.figures import grid_of_images, save_figure

    images, masks, titles = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # told in the table
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


def add_data_commands(add: Callable, commands: argparse._SubParsersAction) -> None:
    """The three commands, and those of the manifests, for `seg_lib.cli.build_parser`."""
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
