"""From masks to a result that can be believed: every case, every metric, and how sure we are.

Rows (one dictionary a case) are the raw result; ``summarise`` makes them a table. Taught in
notebook 12.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_lib.data.case_rules import first_few, mask_name
from seg_lib.data.cases import CASES_CSV, Case, read_cases
from seg_lib.data.nifti import read_mask
from seg_lib.data.pictures import read_png
from seg_lib.errors import DataWarning, InputError
from seg_lib.lesions import lesion_columns, lesion_recall
from seg_lib.metrics import case_metrics
from seg_lib.resampling import bootstrap_interval, paired_difference, ratio_of_means

__all__ = [
    "bootstrap_interval",
    "evaluate_cases",
    "evaluate_folders",
    "paired_difference",
    "ratio_of_means",
    "summarise",
]

Row = dict[str, Any]  # "case", "patient" and one number a metric
Judged = tuple[str, str, np.ndarray, np.ndarray, Sequence[float]]
Pair = tuple[np.ndarray, np.ndarray, Sequence[float] | None]  # mask, reference, spacing_mm
MASK_SUFFIXES = (".nii.gz", ".nii", ".png")
NO_METRICS = {"case", "patient", "report", "lesions", "lesions_found"}  # of a row


def evaluate_cases(cases: Iterable[Judged]) -> list[Row]:
    """Every metric of every case.

    Args:
        cases: (case, patient, mask, reference, spacing_mm) each, for `case_metrics`.

    Returns:
        One {"case", "patient", `case_metrics`, and "lesions", "lesions_found", "false_alarms", as
        `seg_lib.lesions` counts them} a case, in the order given.

    Raises:
        InputError: a case occurs twice, or its masks cannot be compared; names the case.

    Taught in notebook 12.
    """
    rows: list[Row] = []
    seen: set[str] = set()
    for case, patient, mask, reference, spacing_mm in cases:
        if case in seen:
            raise InputError(f"case {case} is given twice; every case counts once.")
        seen.add(case)
        try:
            row = case_metrics(mask, reference, spacing_mm)
            row |= lesion_columns(mask, reference, spacing_mm)
        except InputError as error:
            raise InputError(f"case {case}: {error}") from error
        rows.append({"case": case, "patient": patient, **row})
    return rows


def _described(values: np.ndarray) -> Row:
    mean, sd, median = float(values.mean()), float(values.std()), float(np.median(values))
    return {"n": len(values), "mean": mean, "sd": sd, "median": median}


def summarise(rows: Sequence[Row], n_resamples: int = 2000, seed: int = 0) -> dict[str, Row]:
    """Mean, spread and 95 % interval of every metric, and how many cases were empty.

    Args:
        rows: of ``evaluate_cases``; a column that not all of them have is left out.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        {metric: {"mean", "sd" (of the cases, population), "median", "low", "high", "n",
        "n_patients", "mean_without_both_empty" (None if no case is left)}}, and "counts": {"cases",
        "patients", "both_empty", "missed" (nothing predicted), "false_alarm" (nothing there),
        "lesions", "lesions_found"}; and "lesion_recall" (`seg_lib.lesions`), if there is a lesion.

    Raises:
        InputError: there are no rows.

    Taught in notebook 12.
    """
    if not rows:
        raise InputError("There are no cases to summarise; check the split and the folders.")
    patients = [row["patient"] for row in rows]
    predicted = np.array([row["volume_ml"] > 0 for row in rows])
    present = np.array([row["reference_volume_ml"] > 0 for row in rows])
    counts = {
        "cases": len(rows),
        "patients": len(set(patients)),
        "both_empty": int((~predicted & ~present).sum()),
        "missed": int((~predicted & present).sum()),
        "false_alarm": int((predicted & ~present).sum()),
    }
    shared = set(rows[0]).intersection(*rows)  # stored rows may be older than the lesions
    if "lesions" in shared:
        counts |= {n: sum(row[n] for row in rows) for n in ("lesions", "lesions_found")}
    summary: dict[str, Row] = {"counts": counts}
    for metric in [name for name in rows[0] if name in shared - NO_METRICS]:
        values = np.array([row[metric] for row in rows], float)
        kept = values[predicted | present]
        low, high = bootstrap_interval(values, patients, n_resamples, seed)
        summary[metric] = _described(values) | {"n_patients": counts["patients"]}
        summary[metric]["mean_without_both_empty"] = float(kept.mean()) if kept.size else None
        summary[metric] |= {"low": low, "high": high}
    if counts.get("lesions"):
        summary["lesion_recall"] = lesion_recall(rows, n_resamples, seed)
    return summary


def _masks_in(folder: str | Path) -> dict[str, Path]:
    """File name -> path of every mask in a folder; hidden files do not count."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; check the path.")
    names = {path.name: path for path in folder.iterdir() if path.name.endswith(MASK_SUFFIXES)}
    masks = {name: path for name, path in names.items() if not name.startswith(".")}
    if not masks:
        raise InputError(f"{folder}: holds no masks ({', '.join(MASK_SUFFIXES)}).")
    return masks


def _references(folder: Path, patients: Mapping[str, str]) -> dict[str, Case]:
    """File name of the mask that is judged -> its case: those of a folder, or of its cases.csv."""
    if not (folder / CASES_CSV).is_file():
        cases = {}
        for name, path in _masks_in(folder).items():
            case = name.removesuffix(next(s for s in MASK_SUFFIXES if name.endswith(s)))
            cases[name] = Case(case, patients.get(case, case), path, path)
        return cases
    tested = [case for case in read_cases(folder) if case.split == "test" and case.label]
    if not tested:
        raise InputError(f"{folder}: its {CASES_CSV} has no test case with a label; add some.")
    return {mask_name(case.image): case for case in tested}


def _nifti_pair(prediction: Path, truth: Path) -> Pair:
    with warnings.catch_warnings():
        empty_or_full = r".*: the mask (is empty|covers)"  # here a result like any other
        warnings.filterwarnings("ignore", message=empty_or_full, category=DataWarning)
        reference = read_mask(truth)
        mask = read_mask(prediction, like=reference)
    return mask.array, reference.array, reference.spacing_mm


def _png_mask(path: Path) -> np.ndarray:
    """(H, W) bool of a PNG that holds 0 and 1, or 0 and 255."""
    for numbers in (False, True):  # as it looks, or else by the numbers of its palette
        values = read_png(path, numbers)
        labels = np.unique(values)
        if set(labels) <= {0, 1} or set(labels) <= {0, 255}:
            return values > 0
    raise InputError(
        f"{path}: values {first_few(labels)}; a mask holds 0 and 1, or 0 and 255: threshold it."
    )


def _png_pair(prediction: Path, truth: Path) -> Pair:
    mask, reference = _png_mask(prediction), _png_mask(truth)
    if mask.shape != reference.shape:
        raise InputError(
            f"{prediction}: {mask.shape} pixels, but {truth} has {reference.shape}; "
            "bring it back to the size of the reference with nearest neighbour."
        )
    return mask, reference, None  # a PNG does not know its pixel size


def evaluate_folders(
    predictions_dir: str | Path,
    reference_dir: str | Path,
    patients: Mapping[str, str] | None = None,
    spacing_mm: Sequence[float] = (1.0, 1.0),
) -> list[Row]:
    """Compare a folder of masks (NIfTI or PNG) with another, or with the test of a data folder.

    Files belong together if their names are the same to the letter. All or nothing: a mean over the
    files that happen to be there would reward leaving out the hard cases.

    Args:
        predictions_dir: one mask a case.
        reference_dir: the true masks, same names; or a folder with a cases.csv, whose test cases
            are judged by the names of their images, with patient, and note as "report".
        patients: case (file name without suffix) -> patient; else every case is its own patient.
        spacing_mm: pixel size of PNG masks; with the default, distances are in pixels.

    Returns:
        Rows as of ``evaluate_cases``, sorted by case.

    Raises:
        InputError: missing or extra files, another grid, or something that is no mask.

    Taught in notebook 12.
    """
    predictions = _masks_in(predictions_dir)
    cases = _references(Path(reference_dir), patients or {})
    missing, extra = cases.keys() - predictions.keys(), predictions.keys() - cases.keys()
    if missing or extra:
        raise InputError(
            f"{predictions_dir}: must hold the same file names as {reference_dir}; "
            f"missing: {first_few(missing)}; extra: {first_few(extra)}."
        )

    def judged() -> Iterable[Judged]:
        for name, case in sorted(cases.items()):
            read = _png_pair if name.endswith(".png") else _nifti_pair
            mask, reference, spacing = read(predictions[name], case.label)
            spacing = spacing or case.spacing_mm or spacing_mm
            yield case.case, case.patient, mask, reference, spacing

    rows = evaluate_cases(judged())
    notes = {case.case: {"report": case.note} for case in cases.values() if case.note}
    return [row | notes.get(row["case"], {}) for row in rows]
