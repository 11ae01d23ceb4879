"""Cases: one image, its label and its patient on one line of ``cases.csv``.

Every data set of this library is a folder with a ``cases.csv``. The file names each image and label
(paths relative to the folder), the patient it belongs to and the part it plays (``train``, ``val``
or ``test``). Patients never cross from one part to another. Taught in notebook 01.
"""

import csv
import dataclasses
import hashlib
import io
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from seg_lib.errors import DataWarning, InputError
from seg_lib.files import sha256_of, write_text

CASES_CSV = "cases.csv"
SPLITS = ("train", "val", "test")
REQUIRED_COLUMNS = ("case", "patient", "image", "label", "split")
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".png")


@dataclasses.dataclass(frozen=True)
class Case:
    """One image with everything known about it; ids stay text, so ``007`` keeps its zeros."""

    case: str
    patient: str
    image: Path
    label: Path | None = None
    split: str = "train"
    note: str = ""
    subtype: str = ""
    spacing_mm: tuple[float, ...] | None = None


COLUMNS = tuple(field.name for field in dataclasses.fields(Case))


def read_cases(source: str | Path) -> list[Case]:
    """Read and check a ``cases.csv``.

    Args:
        source: the CSV file, or the folder that holds one.

    Returns:
        The cases in file order, with paths that can be opened.

    Raises:
        InputError: the table is damaged, an id appears twice, a file is absent, a split mixes cases
            with and without label, or a patient is in two splits.

    Taught in notebook 01.
    """
    path = Path(source)
    if path.is_dir():
        path = path / CASES_CSV
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such file; give the folder that holds {CASES_CSV}, or make one "
            "with 'seg-lib prepare' or 'seg-lib phantom'."
        )
    rows = _read_rows(path)
    cases = [_case_of_row(row, path, line) for line, row in rows]
    check_cases(cases, path)
    _check_files_exist(cases, path)
    _warn_about_copies_across_splits(cases, path)
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
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row_of_case(case, path) for case in cases)
    write_text(path, table.getvalue())
    return path


def split_cases(
    cases: Sequence[Case],
    fractions: dict[str, float] | None = None,
    seed: int = 0,
) -> list[Case]:
    """Deal the patients out to train, val and test.

    A patient's place depends on the seed and on the set of patients, never on the order of the
    cases. With enough patients every part that asks for a share gets at least one.

    Args:
        cases: in any order.
        fractions: share of the *patients* per split, adding up to 1; 0.7, 0.15, 0.15 if not given.
        seed: another seed deals another way.

    Returns:
        The same cases in the same order, with their new split.

    Raises:
        InputError: unknown split words, or fractions that are negative or do not add up to 1.

    Taught in notebook 01.
    """
    fractions = {"train": 0.7, "val": 0.15, "test": 0.15} if fractions is None else fractions
    _check_fractions(fractions)
    # A hash, not a random generator: the same deal on every machine and with every NumPy.
    patients = sorted(
        {case.patient for case in cases},
        key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest(),
    )
    counts = _shares(len(patients), {split: fractions.get(split, 0.0) for split in SPLITS})
    dealt = iter(patients)
    split_of = {next(dealt): split for split in SPLITS for _ in range(counts[split])}
    return [dataclasses.replace(case, split=split_of[case.patient]) for case in cases]


def pair_by_name(images_dir: str | Path, labels_dir: str | Path) -> dict[str, tuple[Path, Path]]:
    """Pair two folders by exact file name (without suffix), so that p1 never meets p10.

    Returns:
        ``{case id: (image, label)}``, sorted by id.

    Raises:
        InputError: an image without label, or a label without image; lists them.
    """
    images, labels = _by_name(Path(images_dir)), _by_name(Path(labels_dir))
    lonely_images, lonely_labels = images.keys() - labels.keys(), labels.keys() - images.keys()
    if lonely_images or lonely_labels:
        raise InputError(
            f"{images_dir} and {labels_dir}: images without label: {first_few(lonely_images)}; "
            f"labels without image: {first_few(lonely_labels)}; give both the same name."
        )
    return {name: (images[name], labels[name]) for name in sorted(images)}


def check_cases(cases: Sequence[Case], where: str | Path) -> None:
    """Refuse cases that contradict each other; ``where`` is named in the message.

    Raises:
        InputError: no case at all, unusable or duplicate ids, unknown split words, a split that
            mixes cases with and without label, a patient in two splits.
    """
    if not cases:
        raise InputError(f"{where}: no case is listed; add at least one line under the header.")
    seen: set[str] = set()
    splits_of_patient = defaultdict(set)
    labels_of_split = defaultdict(lambda: {True: [], False: []})
    for case in cases:
        _check_one(case, where)
        if case.case in seen:
            raise InputError(f"{where}: case '{case.case}' is listed twice; keep one of them.")
        seen.add(case.case)
        splits_of_patient[case.patient].add(case.split)
        labels_of_split[case.split][case.label is not None].append(case.case)
    crossing = sorted(patient for patient, splits in splits_of_patient.items() if len(splits) > 1)
    if crossing:
        raise InputError(
            f"{where}: patients in more than one split: {first_few(crossing)}; a patient belongs "
            "to one split only (split_cases does that)."
        )
    for split, labels in labels_of_split.items():
        if labels[True] and labels[False]:
            raise InputError(
                f"{where}: cases without label in split '{split}', where others have one: "
                f"{first_few(labels[False])}; add the labels or take these cases out."
            )


def first_few(names: Iterable[object], limit: int = 5) -> str:
    """Join names for a message, sorted and shortened: ``a, b and 3 more``; ``none`` if empty."""
    names = sorted(str(name) for name in names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + more


def name_of(path: Path) -> str:
    """File name without ``.nii.gz``, ``.nii`` or ``.png``."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    return path.stem


def _check_one(case: Case, where: str | Path) -> None:
    name = case.case
    # Ids become file names when masks and copies are written, so they must not lead elsewhere.
    if not name or name != name.strip() or name.startswith(".") or set(name) & set("/\\\0\n\r"):
        raise InputError(
            f"{where}: '{name}' cannot be a case id; use a text without slashes, line breaks, "
            "a leading dot or spaces around it."
        )
    if not case.patient.strip():
        raise InputError(
            f"{where}: case '{name}' has no patient; if it is unknown, repeat the case id."
        )
    if case.split not in SPLITS:
        raise InputError(
            f"{where}: case '{name}' has the split '{case.split}'; use {', '.join(SPLITS)}."
        )


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """All rows with their line number; a row that is too long or too short is refused."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line} is not UTF-8 text; save it as UTF-8 CSV.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_header(reader.fieldnames or [], path)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: {error}; mend the line.") from error
    for line, row in rows:
        if None in row or None in row.values():
            raise InputError(
                f"{path}: line {line} has more or fewer cells than the header; put texts with "
                "commas between double quotes."
            )
    return rows


def _check_header(found: Sequence[str], path: Path) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in found]
    if missing or len(set(found)) < len(found):
        raise InputError(
            f"{path}: missing columns: {', '.join(missing) or 'none, but one is there twice'}; "
            f"found {', '.join(found) or 'nothing'}; the header should be {','.join(COLUMNS)}."
        )
    unknown = [column for column in found if column not in COLUMNS]
    if unknown:
        message = f"{path}: columns that are not used: {first_few(unknown)}."
        warnings.warn(message, DataWarning, stacklevel=4)
