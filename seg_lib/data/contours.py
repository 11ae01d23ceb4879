"""Contours (RTSTRUCT) to voxels and back.

A contour is a polygon in millimetres (LPS) in the plane of a slice. A voxel belongs to the region
if its centre lies inside: the even-odd rule, by which a contour within a contour is a hole. Where
an edge runs exactly through a centre, the side of lower index counts as inside, so that two regions
that share an edge never share a voxel. DICOM PS3.3 C.8.8.6. Taught in notebook 01.
"""

import difflib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import contourpy
import numpy as np
import pydicom

from seg_lib.data.case_rules import first_few
from seg_lib.data.dicom_files import read_folder
from seg_lib.data.dicom_header import quiet
from seg_lib.data.dicom_series import LPS_TO_RAS
from seg_lib.data.nifti import Volume, as_stored, read_image, write_mask
from seg_lib.errors import DataWarning, InputError

FLAT_VOXELS = 0.2  # a contour may be off its slice by so much: positions are rounded


def rtstruct_to_mask(
    rtstruct: str | Path,
    reference: str | Path | Volume,
    roi: str,
    dst: str | Path,
    series_dir: str | Path | None = None,
) -> np.ndarray:
    """Fill the contours of one region of interest and write the mask.

    Args:
        rtstruct: the RTSTRUCT file.
        reference: the image on whose grid the mask shall lie, as `dicom_to_nifti` wrote it.
        roi: name of the region; case does not matter where it is clear.
        dst: the mask, a NIfTI file of 0 and 1.
        series_dir: the DICOM series of the reference; if given, patient and frame of reference
            are compared with those of the RTSTRUCT.

    Returns:
        The mask (X, Y, Z), RAS, uint8. Contours outside the image are left out with a
        ``DataWarning``.

    Raises:
        InputError: no RTSTRUCT, no such region (near names are offered), no contours in it, or
            contours that do not lie in the slices of the reference.
    """
    structures = _read_rtstruct(rtstruct)
    if series_dir is not None:
        check_same_patient(structures, series_dir, dst)
    contours = list(_contours(structures, roi, dst))
    like = reference if isinstance(reference, Volume) else read_image(reference)
    stored, left_out = _filled(contours, like, f"{dst}: the region {roi!r}")
    if left_out:
        places = first_few([f"{mm:.1f}" for mm in left_out])
        fault = f"lie on no slice of the image (at {places} mm to the head) and were left out."
        message = f"{dst}: {len(left_out)} of {len(contours)} contours of {roi!r} {fault}"
        warnings.warn(message, DataWarning, stacklevel=2)
    mask = as_ras(stored, like)
    write_mask(dst, mask, like)
    return mask


def fill(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """(rows, columns) bool: pixel centres inside an odd number of polygons.

    Args:
        polygons: each (N, 2): column and row of its corners; the last joins the first.
        shape: rows and columns; polygons may reach over the border.
    """
    rows, columns = shape
    crossings = np.zeros((rows, columns + 1), np.int32)
    for polygon in polygons:
        start, end = polygon, np.roll(polygon, -1, axis=0)
        low, high = np.minimum(start, end)[:, 1], np.maximum(start, end)[:, 1]
        # An edge crosses the rows in [low, high): a corner is counted once, a flat edge never.
        first = np.clip(np.ceil(low), 0, rows).astype(int)
        count = np.clip(np.ceil(high), 0, rows).astype(int) - first
        edge = np.repeat(np.arange(len(polygon)), count)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        run, rise = (end - start)[edge].T
        column = start[edge, 0] + (row - start[edge, 1]) * run / rise
        np.add.at(crossings, (row, np.clip(np.ceil(column), 0, columns).astype(int)), 1)
    return np.cumsum(crossings, axis=1)[:, :columns] % 2 == 1


def outlines(mask: np.ndarray, affine: np.ndarray) -> Iterator[np.ndarray]:
    """Polygons (N, 3) in LPS mm that ``fill`` turns into the mask (X, Y, Z) again, slice by slice.

    They run midway between voxel centres; holes are polygons of their own.
    """
    to_lps = LPS_TO_RAS @ affine
    for z in np.flatnonzero(mask.any(axis=(0, 1))):
        padded = np.pad(mask[:, :, z] > 0, 1).astype(float)
        for line in contourpy.contour_generator(z=padded).lines(0.5):
            corners = line[:-1, ::-1] - 1  # contourpy counts columns (here y) first
            index = np.c_[corners, np.full(len(corners), z), np.ones(len(corners))]
            yield (index @ to_lps.T)[:, :3]


def check_same_patient(data: pydicom.Dataset, series_dir: str | Path, dst: str | Path) -> None:
    """Refuse a DICOM object of another patient, or in another frame of reference, than a series.

    Raises:
        InputError: says which tag differs, and not how.
    """
    pieces, _ = read_folder(series_dir)
    frames = {piece.frame_of_reference for piece in pieces} - {""}
    own = str(data.get("PatientID") or "").strip().lower()
    if own and any(piece.patient[0] not in ("", own) for piece in pieces):
        raise InputError(f"{dst}: the contours are those of another patient (PatientID differs).")
    named = {
        str(roi.get("ReferencedFrameOfReferenceUID", ""))
        for roi in data.get("StructureSetROISequence") or []
    } - {""}
    if frames and named and not named & frames:
        raise InputError(
            f"{dst}: the contours were drawn on another image (FrameOfReferenceUID differs); give "
            "the series that they refer to."
        )


def _read_rtstruct(path: str | Path) -> pydicom.Dataset:
    try:
        with quiet():
            data = pydicom.dcmread(path, force=True)
    except Exception:  # whatever a damaged file does to the parser
        raise InputError(f"{path}: no readable DICOM file; give the RTSTRUCT.") from None
    if "StructureSetROISequence" not in data:
        raise InputError(f"{path}: not an RTSTRUCT but {data.get('Modality', 'something else')}.")
    return data


def _contours(structures: pydicom.Dataset, roi: str, dst: str | Path) -> Iterator[np.ndarray]:
    """The closed contours (N, 3) of a region, in LPS mm."""
    numbers = [int(item.ROINumber) for item in _chosen(structures, roi, dst)]
    found = [
        contour
        for item in structures.get("ROIContourSequence") or []
        if int(item.ReferencedROINumber) in numbers
        for contour in item.get("ContourSequence") or []
    ]
    closed = [item for item in found if str(item.ContourGeometricType).startswith("CLOSED")]
    if not closed:
        others = first_few({str(item.ContourGeometricType) for item in found})
        raise InputError(
            f"{dst}: the region {roi!r} is empty (closed contours: none, others: {others}); choose "
            "another region, or have it drawn."
        )
    for item in closed:
        points = np.array(item.ContourData, float)
        if points.size % 3 or points.size < 9 or not np.isfinite(points).all():
            raise InputError(f"{dst}: a contour of {roi!r} is no list of three or more points.")
        yield points.reshape(-1, 3)


def _chosen(structures: pydicom.Dataset, roi: str, dst: str | Path) -> list[pydicom.Dataset]:
    """The one region of that name, exactly written or else in any case."""
    items = list(structures.StructureSetROISequence)
    names = [str(item.get("ROIName", "")) for item in items]
    for same in (lambda name: name == roi, lambda name: name.strip().lower() == roi.lower()):
        chosen = [item for item, name in zip(items, names, strict=True) if same(name)]
        if len(chosen) == 1:
            return chosen
        if chosen:
            raise InputError(f"{dst}: {len(chosen)} regions are called {roi!r}; rename one.")
    lower = {name.lower(): name for name in names}
    near = [lower[name] for name in difflib.get_close_matches(roi.lower(), lower, 3, 0.5)]
    advice = f"did you mean {' or '.join(near)}" if near else f"there are: {first_few(names, 20)}"
    raise InputError(f"{dst}: no region called {roi!r}; {advice}?")


def _filled(contours: list[np.ndarray], like: Volume, what: str) -> tuple[np.ndarray, list[float]]:
    """The mask in the stored order of ``like``, and the z in mm of contours beside its slices."""
    to_index = np.linalg.inv(like.stored_affine) @ LPS_TO_RAS
    indices = [points @ to_index[:3, :3].T + to_index[:3, 3] for points in contours]
    # The slices of a stored volume are the axis along which every contour is flat.
    spread = np.max([np.ptp(points, axis=0) for points in indices], axis=0)
    axis = int(spread.argmin())
    if spread[axis] > FLAT_VOXELS:
        raise InputError(f"{what} was not drawn in the slices of this image; give its own image.")
    shape = like.stored_shape
    others = [n for n in range(3) if n != axis]
    by_slice, left_out = {}, []
    for points, polygon in zip(contours, indices, strict=True):
        level = float(polygon[:, axis].mean())
        number = round(level)
        if 0 <= number < shape[axis] and abs(level - number) <= FLAT_VOXELS:
            by_slice.setdefault(number, []).append(polygon[:, others])
        else:
            left_out.append(float(points[:, 2].mean()))
    if not by_slice:
        raise InputError(f"{what} lies on no slice of this image; give the image it was drawn on.")
    mask = np.zeros(shape, np.uint8)
    plane = np.moveaxis(mask, axis, 0)  # a view: (slices, first other axis, second)
    for number, polygons in by_slice.items():
        plane[number] = fill(polygons, (shape[others[1]], shape[others[0]])).T
    return mask, left_out


def as_ras(stored: np.ndarray, like: Volume) -> np.ndarray:
    """A mask in stored order as (X, Y, Z): the inverse of ``as_stored``."""
    mask = np.zeros(like.array.shape, np.uint8)
    as_stored(mask, like.stored_affine)[:] = stored  # writes through the view
    return mask
