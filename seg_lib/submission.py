"""A hackathon's submission: written, checked and scored as in source 003.

A submission is a ZIP or a folder with one mask a case, ``<case>.nii.gz``, or ``submission.csv``
with the columns id, rle, recist, volume, data_shape. Only the masks count: what participants say
of their diameter, volume or score is computed again. Taught in notebook 18.
"""

import contextlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from seg_lib.data.case_rules import first_few
from seg_lib.data.clinical_table import write_table
from seg_lib.data.nifti import Volume, as_stored, read_image, read_mask
from seg_lib.diameters import recist_diameter_mm
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import write_text
from seg_lib.metrics import recist_error, relative_volume_error
from seg_lib.resampling import bootstrap_interval
from seg_lib.rle import rle_decode, rle_encode
from seg_lib.submission_archive import (
    MASK_SUFFIX,
    MAX_FILES,
    TABLE,
    Files,
    masks_in,
    refuse_inside,
    submitted_files,
)
from seg_lib.submission_rules import declaration_fault
from seg_lib.surfaces import overlap

COLUMNS = ("id", "rle", "recist", "volume", "data_shape")
SCORES = ("score", "dice", "recist_error", "recist_error_feret", "volume_error")
EPSILON = 1e-7

Row = dict[str, Any]  # "case" and SCORES
Reader = Callable[[Volume], np.ndarray]  # of the reference, to the mask (X, Y, Z) in RAS order
# for a `with`: an empty mask is a result like any other
_quiet = partial(warnings.catch_warnings, action="ignore", category=DataWarning)


def write_submission(
    predictions_dir: str | Path, out_csv: str | Path, images_dir: str | Path | None = None
) -> None:
    """Write ``submission.csv`` from a folder of masks ``<case>.nii.gz``.

    A CSV has no affine: voxels are listed in the order of the image's file. ``seg-lib predict``
    stores masks so; if yours are stored otherwise, name ``images_dir`` and they are turned.
    ``recist`` is in mm (smallest circle), ``volume`` in ml.

    Raises:
        InputError: no masks, a mask that cannot be used, or not on the grid of its image.
    """
    rows = []
    for case, path in sorted(masks_in(predictions_dir).items()):
        with _quiet():
            like = read_image(Path(images_dir) / path.name) if images_dir else None
            mask = read_mask(path, like)
        stored = as_stored(mask.array, (like or mask).stored_affine)
        recist = recist_diameter_mm(mask.array, mask.spacing_mm, "circle")
        volume = stored.sum() * np.prod(mask.spacing_mm) / 1000
        numbers = f"{recist:.3f}", f"{volume:.2f}", stored.shape
        rows.append(dict(zip(COLUMNS, (case, rle_encode(stored), *numbers), strict=True)))
    write_text(out_csv, pd.DataFrame(rows).to_csv(index=False))


def score_case(mask: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> Row:
    """The three numbers of source 003 for one case, (X, Y, Z) masks of 0 and 1, and their score.

    ``dice`` = (2 |A and B| + e) / (|A| + |B| + e) with e = 1e-7. The errors of volume and RECIST
    diameter are min(|p - g| / g, 1); printed there is max(…, 1), which never falls below 1: a
    misprint. ``recist_error`` takes the smallest circle around a spot as the organisers did,
    ``recist_error_feret`` the longest diameter, for comparison only. ``score`` = mean of
    (1 - dice, recist_error, volume_error), 0 is best. Both empty: 0; one of them: 1.
    """
    counts = overlap(mask, reference)
    both = counts.mask_voxels + counts.reference_voxels
    share = (2 * counts.shared_voxels + EPSILON) / (both + EPSILON)
    circle, feret = (recist_error(mask, reference, spacing_mm, how) for how in ("circle", "feret"))
    volume = relative_volume_error(mask, reference)
    numbers = (1 - share + circle + volume) / 3, share, circle, feret, volume
    return dict(zip(SCORES, numbers, strict=True))


def official_score(
    rows: Sequence[Row], n_resamples: int = 2000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Mean and 95 % interval of each of ``SCORES``; "score" is the challenge's final score.

    It is the mean of (1 - mean Dice, mean RECIST error, mean volume error), which equals the mean
    of the cases' scores. Cases are drawn anew for the interval, each a patient of its own.
    """
    summary = {}
    for name in SCORES:
        values = [row[name] for row in rows]
        low, high = bootstrap_interval(values, None, n_resamples, seed)
        summary[name] = {"mean": float(np.mean(values)), "low": low, "high": high}
    return summary


def check_reference(reference_dir: str | Path) -> None:
    """Read every mask of the reference; one that cannot be used is an ``InputError``."""
    with _quiet():
        for path in masks_in(reference_dir).values():
            read_mask(path)


def check_submission(
    submission: str | Path, reference_dir: str | Path, rules: Mapping[str, Any] | None = None
) -> list[str]:
    """Everything that is wrong with a submission, a sentence each; none if it can be scored.

    Args:
        submission: ZIP, folder or CSV.
        reference_dir: ``<case>.nii.gz``; for participants a folder of empty masks will do.
        rules: of ``read_rules``.

    Raises:
        InputError: the reference cannot be used.
    """
    return _judged(submission, reference_dir, rules, lambda *_: {})[0]


def score_submission(
    submission: str | Path, reference_dir: str | Path, rules: Mapping[str, Any] | None = None
) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """A row a case, and ``official_score`` of them; all or nothing.

    Raises:
        InputError: anything that ``check_submission`` finds: a mean over the cases that happen to
            be right would reward leaving out the hard ones.
    """
    findings, rows = _judged(submission, reference_dir, rules, score_case)
    if findings:
        some = " ".join(findings[:5]) + f" (and {len(findings) - 5} more)" * (len(findings) > 5)
        raise InputError(f"{Path(submission).name}: refused, no case is scored. {some}")
    return rows, official_score(rows)


def score_to_csv(
    submission: Path, reference_dir: Path, rules: Mapping[str, Any] | None, out: Path | None
) -> str:
    """Score a submission, write a line a case to ``out``, and say the means with intervals."""
    refuse_inside(reference_dir, out)
    rows, summary = score_submission(submission, reference_dir, rules)
    if out:
        write_table(out, rows, ["case", *SCORES])
    means = (f"{k}: {s['mean']:.4f} ({s['low']:.4f}-{s['high']:.4f})" for k, s in summary.items())
    return "\n".join([*means, f"{len(rows)} cases; the score is an error, 0 is best."])


def _judged(
    submission: str | Path,
    reference_dir: str | Path,
    rules: Mapping[str, Any] | None,
    measure: Callable[..., Row],
) -> tuple[list[str], list[Row]]:
    """What is wrong, and the rows of the cases where nothing is."""
    references, rows = masks_in(reference_dir), []
    with contextlib.ExitStack() as stack, _quiet():
        try:
            files = stack.enter_context(submitted_files(submission))
            readers, findings = _readers(files)
        except InputError as fault:
            return [str(fault).removeprefix(f"{Path(submission)}: ")], []
        findings += filter(None, [declaration_fault(files, rules or {})])
        findings += [
            f"case {case[:80]!a}: is not among the cases asked for; take it out."
            for case in sorted(readers.keys() - references.keys())
        ]
        for case, path in sorted(references.items()):
            reference = read_mask(path)  # before the rest: no team is to blame for it
            try:
                if case not in readers:
                    raise InputError("is missing; where nothing is, hand in an empty mask.")
                mask = readers[case](reference)
            except InputError as fault:
                said = str(fault).replace(str(path), f"{path.name} of the reference")
                findings.append(f"case {case}: {said}")
            else:
                rows.append({"case": case} | measure(mask, reference.array, reference.spacing_mm))
    return findings, rows


def _readers(files: Files) -> tuple[dict[str, Reader], list[str]]:
    """How to read the mask of each case, and what is wrong with the list of files."""
    findings = [
        f"{name!a}: is no mask <case>{MASK_SUFFIX} and not {TABLE}; take it out."
        for name, path in files.items()
        if path is None
    ]
    places = [PurePosixPath(name) for name in files if name.endswith((MASK_SUFFIX, TABLE))]
    tables = [place for place in places if place.name == TABLE]
    folders = {str(place.parent) for place in places}
    if len(folders) > 1 or any(len(place.parts) > 2 for place in places):
        findings.append(f"files lie in {first_few(folders)}; put all at the top or in one folder.")
    if not places or (tables and len(places) > 1):
        ask = f"hand in either masks <case>{MASK_SUFFIX} or one {TABLE}."
        raise InputError(" ".join([*findings[:5], ask]))
    if tables:
        rows = _table_rows(files[str(tables[0])])
        readers = [(row["id"], partial(_mask_of_row, row)) for row in rows]
    else:
        names = ((place.name.removesuffix(MASK_SUFFIX), files[str(place)]) for place in places)
        readers = [(case, partial(_mask_of_file, path)) for case, path in names]
    times = Counter(case for case, _ in readers)
    findings += [
        f"case {c[:80]!a}: is there {n} times; keep one." for c, n in times.items() if n > 1
    ]
    return dict(readers), findings


def _mask_of_file(path: Path, reference: Volume) -> np.ndarray:
    try:
        return read_mask(path, like=reference).array
    except InputError as fault:
        raise InputError(str(fault).removeprefix(f"{path}: ").replace(str(path), "it")) from fault


def _mask_of_row(row: Mapping[str, str], reference: Volume) -> np.ndarray:
    shape = tuple(int(size) for size in re.findall(r"\d{1,9}", row["data_shape"]))
    if shape != reference.stored_shape:
        raise InputError(
            f"data_shape {row['data_shape'][:40]!a}, but its image is stored as "
            f"{reference.stored_shape}; code the mask in the order of the image's file."
        )
    mask = np.empty(reference.array.shape, np.uint8)
    as_stored(mask, reference.stored_affine)[...] = rle_decode(row["rle"], shape)
    return mask


def _table_rows(path: Path) -> list[dict[str, str]]:
    """The lines of a submission.csv with their id, rle and data_shape as text."""
    try:
        table = pd.read_csv(path, dtype=str, na_filter=False, usecols=[*COLUMNS[:2], COLUMNS[-1]])
    except ValueError as error:
        raise InputError(f"{TABLE}: is no CSV with {','.join(COLUMNS)} ({error}).") from error
    if len(table) > MAX_FILES:
        raise InputError(f"{TABLE}: {len(table)} lines; at most {MAX_FILES} are read, one a case.")
    table["id"] = table["id"].str.removesuffix(MASK_SUFFIX)
    return table.to_dict("records")
