"""Everything that can be wrong with a folder of CT cases, found before a network trains on it.

One bad file does not end the check: each problem becomes a line that says the case, what is wrong
and what to do. Taught in lesson 20.
"""

import hashlib
import statistics
import warnings
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from seg_lib.data.case_rules import Case, check_cases, first_few, pair_by_name
from seg_lib.data.cases import CASES_CSV, DATASET_JSON, read_cases, read_channels
from seg_lib.data.nifti import Volume, read_image, read_mask
from seg_lib.data.nnunet_layout import dataset_json
from seg_lib.errors import DataWarning, InputError

HIGHEST_HU = 4000  # metal, on a scanner with an extended scale, reaches 30,000
SPACING_FACTOR = 3.0  # away from the median


class Problem(NamedTuple):
    """One thing that is wrong, or only worth knowing (``must_fix`` is false)."""

    case: str
    problem: str
    fix: str
    must_fix: bool


class Facts(NamedTuple):
    """What one case is, for comparing it with the others."""

    case: Case
    spacing_mm: tuple[float, float, float]
    orientation: str
    content: str  # SHA-256 of the HU in RAS order: a copy is a copy under any name and ending


def check_data(folder: str | Path, n_classes: int = 2) -> list[Problem]:
    """Check a data folder: ``cases.csv``, nnU-Net's raw layout, or ``images/`` and ``labels/``.

    Args:
        folder: the data.
        n_classes: of the label maps; nnU-Net's ``dataset.json`` overrules it.

    Returns:
        The problems, those to be fixed first.
    """
    facts = []
    with warnings.catch_warnings(record=True, action="always", category=DataWarning) as notes:
        try:
            cases, n_classes = cases_of(folder, n_classes)
        except InputError as fault:
            return [_problem("all", str(fault), True)]
    # The same image in two splits is found below, by content.
    told = [text for note in notes if "same image" not in (text := str(note.message))]
    problems = [_problem("all", text, False) for text in told]
    for case in cases:
        found, fact = _check_case(case, n_classes)
        problems += found
        facts += [fact] if fact else []
    problems += _copies(facts) + _strangers(facts)
    inside = f"{Path(folder)}/"  # the table need not tell where on the disk the folder lies
    problems = [p._replace(problem=p.problem.replace(inside, "")) for p in problems]
    return sorted(problems, key=lambda problem: not problem.must_fix)


def cases_of(folder: str | Path, n_classes: int = 2) -> tuple[list[Case], int]:
    """The cases of any of the three layouts, and the number of classes.

    Raises:
        InputError: see `read_cases`, `dataset_json` and `pair_by_name`.
    """
    folder = Path(folder)
    if (folder / DATASET_JSON).is_file():
        n_classes = len(dataset_json(folder)["labels"])
    elif (folder / "images").is_dir() and not (folder / CASES_CSV).is_file():
        pairs = pair_by_name(folder / "images", folder / "labels")
        cases = [Case(name, name, image, label) for name, (image, label) in pairs.items()]
        check_cases(cases, folder)
        return cases, n_classes
    return read_cases(folder), n_classes


def _problem(case: str, message: str, must_fix: bool) -> Problem:
    """A message of the library, ``what; what to do``, in its two halves."""
    what, _, fix = message.rpartition("; ")
    return Problem(case, what or fix, fix if what else "look at it", must_fix)


def _check_case(case: Case, n_classes: int) -> tuple[list[Problem], Facts | None]:
    """Read one case as training would; its warnings are notes, its refusal must be fixed."""
    problems, fact = [], None
    with warnings.catch_warnings(record=True, action="always", category=DataWarning) as notes:
        try:
            volume = read_image(case.image)
            problems += _odd_values(case, volume)
            content = hashlib.sha256(np.ascontiguousarray(volume.array)).hexdigest()
            orientation = "".join(nib.aff2axcodes(volume.stored_affine))
            fact = Facts(case, volume.spacing_mm, orientation, content)
            if case.label:
                read_mask(case.label, like=volume, n_classes=n_classes)
            read_channels(case, volume)
        except InputError as fault:
            problems.append(_problem(case.case, str(fault), True))
    return problems + [_problem(case.case, str(note.message), False) for note in notes], fact


def _odd_values(case: Case, volume: Volume) -> list[Problem]:
    low, high = float(volume.array.min()), float(volume.array.max())
    if high <= HIGHEST_HU and not 0 > low > -200:
        return []
    what = f"{case.image.name}: values {low:g} to {high:g} HU"
    return [Problem(case.case, what, "check the rescale slope and intercept of the export", False)]


def _copies(facts: list[Facts]) -> list[Problem]:
    """The same volume under two names; between train and test it spoils every score."""
    groups = defaultdict(list)
    for fact in facts:
        groups[fact.content].append(fact.case)
    problems = []
    for same in groups.values():
        if len(same) > 1:
            splits = {case.split for case in same}
            names = first_few(f"{case.case} ({case.split})" for case in same)
            what = f"the same volume {len(same)} times: {names}"
            what += ", across splits: the test is no test" if len(splits) > 1 else ""
            problems.append(Problem(same[0].case, what, "keep one of them", True))
    return problems


def _strangers(facts: list[Facts]) -> list[Problem]:
    """Cases whose voxels differ from the usual ones, and mixed orders of storage."""
    problems = []
    for axis, letter in enumerate("xyz"):
        usual = statistics.median(fact.spacing_mm[axis] for fact in facts) if facts else 0
        for fact in facts:
            mm = fact.spacing_mm[axis]
            if not usual / SPACING_FACTOR <= mm <= usual * SPACING_FACTOR:
                what = f"spacing {mm:.3g} mm along {letter}, where {usual:.3g} mm is usual"
                problems.append(Problem(fact.case.case, what, "check the header", False))
    orders = sorted({fact.orientation for fact in facts})
    if len(orders) > 1:
        what = f"stored in different orders: {', '.join(orders)}"
        problems.append(Problem("all", what, "nothing: seg_lib reads all as RAS", False))
    return problems
