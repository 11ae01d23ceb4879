"""Cases: one image, its label and its patient on one line of ``cases.csv``.

Every data set of this library is a folder with such a table: paths relative to the folder, the
patient and the split (``train``, ``val`` or ``test``). Patients never cross. Taught in notebook 01.
"""

import csv
import dataclasses
import hashlib
import io
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from seg_lib.data.case_rules import SPLITS, Case, check_cases, check_files, first_few
from seg_lib.data.nifti import Volume, check_same_grid, read_image
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import write_text

CASES_CSV = "cases.csv"
DATASET_JSON = "dataset.json"  # of nnU-Net
COLUMNS = tuple(field.name for field in dataclasses.fields(Case) if field.name != "channels")
CHANNEL = "image_"  # with the name behind it the column of a further channel: image_PET
REQUIRED_COLUMNS = ("case", "patient", "image", "label", "split")


def read_cases(source: str | Path) -> list[Case]:
    """Read and check a ``cases.csv``, given by its path or by its folder; or nnU-Net's raw folder.

    Returns the cases in file order, with paths that can be opened.

    Raises:
        InputError: the table is damaged, an id appears twice, a file is absent, a split mixes cases
            with and without label, or a patient is in two splits.
    """
    path = Path(source)
    if path.is_dir():
        if (path / DATASET_JSON).is_file() and not (path / CASES_CSV).is_file():
            from seg_lib.data.nnunet_layout import read_dataset  # it writes cases with this file

            return read_dataset(path)
        path = path / CASES_CSV
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give a {CASES_CSV} or its folder.")
    cases = [_case_of_row(row, path, line) for line, row in _read_rows(path)]
    check_cases(cases, path)
    check_files(cases, path)
    return cases


def write_cases(cases: Iterable[Case], folder: str | Path) -> Path:
    """Write ``folder/cases.csv``, whole or not at all, with paths relative to the folder.

    Raises:
        InputError: the cases contradict each other, or a file lies outside the folder.
    """
    path = Path(folder) / CASES_CSV
    cases = list(cases)
    check_cases(cases, path)
    table = io.StringIO()
    further = [CHANNEL + name for name, _ in cases[0].channels]
    writer = csv.DictWriter(table, [*COLUMNS, *further], lineterminator="\n")
    writer.writeheader()
    for case in cases:
        row = {name: getattr(case, name) for name in COLUMNS}
        row["image"] = _relative(case.image, path)
        row["label"] = _relative(case.label, path) if case.label else ""
        row |= {CHANNEL + name: _relative(file, path) for name, file in case.channels}
        row["spacing_mm"] = " ".join(map(repr, map(float, case.spacing_mm or ())))
        writer.writerow(row)
    write_text(path, table.getvalue())
    return path


def _relative(file: Path, path: Path) -> str:
    relative = os.path.relpath(file, path.parent)
    if relative.split(os.sep)[0] == os.pardir:
        raise InputError(f"{path}: {file} lies outside its folder; copy the file into the folder.")
    return Path(relative).as_posix()


def split_cases(
    cases: Sequence[Case], fractions: dict[str, float] | None = None, seed: int = 0
) -> list[Case]:
    """Deal the *patients* out to train, val and test; the cases keep their order.

    A patient's place depends on the seed and on the set of patients, never on the order of the
    cases. ``fractions`` (0.7, 0.15, 0.15 if not given) add up to 1. With enough patients every
    split that asks for a share gets at least one.

    Raises:
        InputError: unknown split words, or fractions that are negative or do not add up to 1.
    """
    fractions = {"train": 0.7, "val": 0.15, "test": 0.15} if fractions is None else fractions
    if set(fractions) - set(SPLITS) or min(fractions.values(), default=-1) < 0:
        raise InputError(f"fractions {fractions}: give shares of at least 0 to {SPLITS} only.")
    if not math.isclose(sum(fractions.values()), 1.0, abs_tol=1e-6):
        raise InputError(f"fractions {fractions}: they add up to {sum(fractions.values())}, not 1.")
    # A hash, not a random generator: the same deal on every machine and with every NumPy.
    patients = sorted(
        {case.patient for case in cases},
        key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest(),
    )
    splits = [split for split, count in _shares(len(patients), fractions) for _ in range(count)]
    split_of = dict(zip(patients, splits, strict=True))
    return [dataclasses.replace(case, split=split_of[case.patient]) for case in cases]


def _shares(n_patients: int, fractions: dict[str, float]) -> list[tuple[str, int]]:
    """Whole numbers of patients per split that add up to ``n_patients``."""
    wanted = {split: fractions.get(split, 0.0) * n_patients for split in SPLITS}
    counts = {split: math.floor(share + 1e-9) for split, share in wanted.items()}
    # The largest remainders get what rounding down left over.
    by_remainder = sorted(SPLITS, key=lambda split: counts[split] - wanted[split])
    for split in by_remainder[: n_patients - sum(counts.values())]:
        counts[split] += 1
    for split in SPLITS:
        largest = max(counts, key=counts.get)
        if wanted[split] > 0 and counts[split] == 0 and counts[largest] > 1:
            counts[split], counts[largest] = 1, counts[largest] - 1
    return list(counts.items())


def with_validation(cases: Sequence[Case], seed: int) -> dict[str, list[Case]]:
    """Cases by split; where nothing validates, a fifth of the training patients does."""
    parts = {name: [c for c in cases if c.split == name] for name in ("train", "val", "test")}
    if not parts["val"]:
        again = split_cases(parts["train"], {"train": 0.8, "val": 0.2}, seed)
        parts |= {name: [c for c in again if c.split == name] for name in ("train", "val")}
    return parts


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """All rows with their line number; a row that is too long or too short is refused."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line} is not UTF-8 text; save it as UTF-8 CSV.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        _check_header(list(reader.fieldnames or []), path)
        for row in reader:
            if None in row or None in row.values() or "\0" in "".join(row.values()):
                raise csv.Error("more or fewer cells than the header, or a NUL character")
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise InputError(
            f"{path}: line {reader.reader.line_num}: {error}; mend the line (a text with commas "
            "stands between double quotes)."
        ) from error
    return rows


def _check_header(found: Sequence[str], path: Path) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in found]
    if missing or len(set(found)) < len(found):
        raise InputError(
            f"{path}: missing columns: {', '.join(missing) or 'none, but one is there twice'}; "
            f"found {', '.join(found) or 'nothing'}; the header should be {','.join(COLUMNS)}."
        )
    unknown = [name for name in found if name not in COLUMNS and not name.startswith(CHANNEL)]
    if unknown:
        message = f"{path}: these columns are not used: {first_few(unknown)}."
        warnings.warn(message, DataWarning, stacklevel=4)


def _case_of_row(row: dict[str, str], path: Path, line: int) -> Case:
    texts = {name: row.get(name, "") for name in ("case", "patient", "split", "note", "subtype")}
    image, label = (_inside(row[name], path, line) for name in ("image", "label"))
    if image is None:
        raise InputError(
            f"{path}: line {line} (case '{row['case']}') has no image; add it or take the line out."
        )
    cell = row.get("spacing_mm", "")
    try:
        spacing_mm = tuple(float(part) for part in cell.split())
    except ValueError:
        spacing_mm = (math.nan,)
    if not all(0 < mm < math.inf for mm in spacing_mm):
        raise InputError(
            f"{path}: line {line}: spacing_mm '{cell}'; write positive millimetres such as "
            "'0.7 0.7', or leave it empty."
        )
    further = {name: _inside(row[name], path, line) for name in row if name.startswith(CHANNEL)}
    channels = tuple((name.removeprefix(CHANNEL), file) for name, file in further.items() if file)
    return Case(image=image, label=label, spacing_mm=spacing_mm or None, channels=channels, **texts)


def _inside(cell: str, path: Path, line: int) -> Path | None:
    """The file a cell names; a table from elsewhere must not point out of its own folder."""
    if not cell:
        return None
    relative = os.path.normpath(cell)
    if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir:
        raise InputError(
            f"{path}: line {line}: '{cell}' leads out of the folder; move the file into it and "
            "name it relative to the folder."
        )
    return path.parent / relative


def read_channels(case: Case, image: Volume) -> list[Volume]:
    """The further channels of a case, whose first image is ``image``.

    Raises:
        InputError: see `read_image`, or other voxels than those of ``image``.
    """
    others = [read_image(file, hu=name == "CT") for name, file in case.channels]
    for (name, _), other in zip(case.channels, others, strict=True):
        try:
            check_same_grid(image, other)
        except InputError as fault:
            differs = str(fault).rpartition("; ")[0]
            told = f"case '{case.case}', channel {name}: {differs}; bring it onto these voxels"
            raise InputError(f"{told} (seg_lib.data.modalities.onto_grid).") from fault
    return others
