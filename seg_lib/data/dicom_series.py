"""From slices to one regular stack: one patient, one grid, no slice missing, none twice.

Strict where a mistake would be silent (a missing slice shortens the patient), lenient where files
differ by rounding: distances may vary by 1 % or 0.01 mm. Every refusal says where. Taught in
notebook 01.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from seg_lib.data.dicom_header import IDENTIFIERS, Piece
from seg_lib.data.dicom_pixels import stored_values
from seg_lib.data.nifti_header import MAX_SHEAR_COSINE, MAX_VOXELS
from seg_lib.errors import InputError

JITTER_SHARE, JITTER_MM = 0.01, 0.01  # dcm2niix issue 216: 0.9 and 0.900002 mm are the same
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order along their normal, and where they lie (LPS, mm)."""

    pieces: list[Piece]
    step: np.ndarray  # (3,) from a slice to the next
    drift: np.ndarray  # (2,) its part along rows and columns, in pixels; 0 without gantry tilt

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) RAS: index (column, row, slice) to mm."""
        first = self.pieces[0]
        affine = np.eye(4)
        affine[:3, :2] = (first.axes * first.spacing_mm[:, None]).T
        affine[:3, 2], affine[:3, 3] = self.step, first.position
        return LPS_TO_RAS @ affine


def split_series(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The slices of each series, in the order in which the files came.

    Raises:
        InputError: slices of more than one patient; who they are is not said.
    """
    for n, tag in enumerate(IDENTIFIERS):
        known = [piece for piece in pieces if piece.patient[n]]
        other = next((p for p in known if p.patient[n] != known[0].patient[n]), None)
        if other is not None:
            raise InputError(
                f"{other.name} and {known[0].name} belong to two patients ({tag} differs); keep "
                "each patient in a folder of his own."
            )
    series = defaultdict(list)
    for piece in pieces:
        series[piece.series].append(piece)
    return list(series.values())


def stack_up(pieces: Sequence[Piece]) -> tuple[Stack, list[str]]:
    """Put the slices of one series in order along their normal; and what a user should know.

    Raises:
        InputError: mixed matrices, spacings or directions; slices missing, uneven, or two
            different ones at the same place; says which and where.
    """
    normal = _check_one_grid(pieces)
    ordered = sorted(pieces, key=lambda piece: float(piece.position @ normal))
    ordered = _without_copies(ordered, normal)
    first, n = ordered[0], len(ordered)
    copies, remarks = len(pieces) - n, []
    if copies:
        remarks.append(f"{copies} slice(s) were there twice; the copies were left out.")
    if n * first.shape[0] * first.shape[1] > MAX_VOXELS:
        raise InputError(f"{n} slices of {first.shape} are too many voxels; split the scan.")
    if n < 3:
        remarks.append(f"{n} slice(s): too few for 3D, and nobody can tell if one is missing.")
    if n == 1:
        if not (first.thickness_mm or 0) > 0:
            raise InputError(f"{first.name}: one slice without SliceThickness; add its neighbours.")
        return Stack(ordered, normal * first.thickness_mm, np.zeros(2)), remarks
    _check_even(ordered, normal)
    step = (ordered[-1].position - first.position) / (n - 1)
    drift = first.axes @ step
    if np.abs(drift).max() > step @ normal:
        raise InputError(f"{first.name}: the slices lean by more than 45 degrees; export again.")
    if np.abs(drift).max() <= MAX_SHEAR_COSINE * (step @ normal):
        drift = np.zeros(2)
    return Stack(ordered, step, drift / first.spacing_mm), remarks


def _check_one_grid(pieces: Sequence[Piece]) -> np.ndarray:
    """(3,) the normal that all slices share."""
    first = pieces[0]
    off_square = np.abs(first.axes @ first.axes.T - np.eye(2)).max()
    if off_square > MAX_SHEAR_COSINE:
        raise InputError(f"{first.name}: ImageOrientationPatient is no pair of unit vectors.")
    if min(*first.shape, *first.spacing_mm) <= 0:
        raise InputError(f"{first.name}: Rows, Columns and PixelSpacing must be above 0.")
    for piece in pieces:
        differs = {
            "matrix": piece.shape != first.shape,
            "pixel spacing": not np.allclose(piece.spacing_mm, first.spacing_mm, rtol=1e-3),
            "direction": np.abs(piece.axes - first.axes).max() > MAX_SHEAR_COSINE,
            "frame of reference": piece.frame_of_reference != first.frame_of_reference,
        }
        for what in (what for what, holds in differs.items() if holds):
            raise InputError(
                f"{piece.name} has another {what} than {first.name} in the same series; keep "
                "only the slices that belong together."
            )
    return np.cross(*first.axes)


def _without_copies(ordered: list[Piece], normal: np.ndarray) -> list[Piece]:
    kept = ordered[:1]
    for piece in ordered[1:]:
        other = kept[-1]
        if np.abs((piece.position - other.position) @ normal) > JITTER_MM:
            kept.append(piece)
        elif piece.image != other.image or not _same_pixels(piece, other):
            raise InputError(
                f"{piece.name} and {other.name} are two images at {_mm(piece)}, perhaps two "
                "phases or reconstructions in one series; keep one of them."
            )
    return kept


def _same_pixels(one: Piece, other: Piece) -> bool:
    return np.array_equal(stored_values(one), stored_values(other))


def _check_even(ordered: Sequence[Piece], normal: np.ndarray) -> None:
    positions = np.array([piece.position for piece in ordered])
    gaps = np.diff(positions @ normal)
    gap = float(np.quantile(gaps, 0.5, method="lower"))
    tolerance = max(JITTER_SHARE * gap, JITTER_MM)
    for (before, after), found in zip(itertools.pairwise(ordered), gaps, strict=True):
        if abs(found - gap) <= 2 * tolerance:  # both ends may be off
            continue
        slices = round(found / gap)
        missing = slices > 1 and abs(found - slices * gap) <= 2 * slices * tolerance
        what = f"{slices - 1} slice(s) missing" if missing else "uneven slices"
        raise InputError(
            f"{what} between {before.name} at {_mm(before)} and {after.name} at {_mm(after)}: "
            f"{found:.3f} mm apart, the others {gap:.3f} mm; export the whole series again."
        )
    ideal = np.linspace(positions[0], positions[-1], len(positions))
    off = np.abs(positions - ideal).max(axis=1)
    if off.max() > tolerance:
        worst = ordered[int(off.argmax())]
        raise InputError(
            f"{worst.name} at {_mm(worst)} lies {off.max():.3f} mm off the line of the others; "
            "export the whole series again."
        )


def _mm(piece: Piece) -> str:
    return "(" + ", ".join(f"{mm:.2f}" for mm in piece.position) + ") mm"
