"""The files of a DICOM folder: which are slices of a scan, and what their headers say.

A header holds far more about the patient than a network may know. Read here are geometry, scaling
and what tells two series or two patients apart; the latter never leaves this module and
`dicom_series`. Even a file may be called after its patient, so messages call it by `Piece.name`.
Tags: DICOM PS3.3 C.7.6 (image plane, pixel), C.8.2 (CT), C.7.6.16 (enhanced). Taught in notebook 01.
"""

import contextlib
import dataclasses
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom

from seg_lib.errors import InputError

CT = "1.2.840.10008.5.1.4.1.1.2"
SCANS = (CT, f"{CT}.1", f"{CT}.2", "1.2.840.10008.5.1.4.1.1.128")  # CT, enhanced CT (2), PET
SCOUTS = ("LOCALIZER", "SCOUT", "TOPOGRAM")
SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
IDENTIFIERS = ("PatientID", "PatientName", "PatientBirthDate")
SHORTEST_SECRET = 3  # letters; a patient called "1" cannot be kept out of IM0001
TAGS = [
    *IDENTIFIERS,
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "ImageType"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("RescaleSlope", "RescaleIntercept", "Rows", "Columns", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BurnedInAnnotation"),
    *("LossyImageCompression", "SharedFunctionalGroupsSequence"),
    "PerFrameFunctionalGroupsSequence",
]
# Enhanced images keep these in sequences, once for all frames or once a frame.
SEQUENCES = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """One slice: a file, or a frame of one. Directions and positions are LPS, in mm."""

    path: Path
    name: str  # what messages may call it
    frame: int | None  # of a multi-frame file, from 0
    series: str
    image: str  # SOP instance UID
    frame_of_reference: str
    patient: tuple[str, ...]
    position: np.ndarray  # (3,) centre of the first pixel
    axes: np.ndarray  # (2, 3) unit vectors: along a row, and down a column
    spacing_mm: np.ndarray  # (2,) between columns, and between rows
    shape: tuple[int, int]  # rows, columns
    thickness_mm: float | None
    slope: float | None  # None if the header has no rescale
    intercept: float | None
    marks: frozenset[str]  # scout, burned in, lossy


def read_folder(src: str | Path) -> tuple[list[Piece], Counter]:
    """All slices below a folder, scouts left out, and how many files of which kind were skipped.

    Raises:
        InputError: no folder, no slices, a damaged DICOM file, or a header that says too little.
    """
    src = Path(src)
    if not src.is_dir():
        advice = "give the folder that holds the slices" if src.is_file() else "check the path"
        raise InputError(f"{src}: not a folder; {advice}.")
    paths = sorted(Path(top) / name for top, _, names in os.walk(src) for name in names)
    headers, faults = {}, {}
    for path in paths:
        try:
            headers[path] = read_header(path)
        except InputError as error:
            faults[path] = str(error)
    secrets = {secret for header in headers.values() for secret in _secrets(header)}
    names = {path: _harmless(path, n, len(paths), secrets) for n, path in enumerate(paths, 1)}
    for path, fault in faults.items():
        more = f" ({len(faults) - 1} more files are damaged)" if len(faults) > 1 else ""
        raise InputError(f"{names[path]}: {fault}{more}")
    skipped, pieces = Counter(), []
    for path, header in headers.items():
        if header is None or str(header.get("SOPClassUID", "")) not in SCANS:
            skipped["no DICOM" if header is None else "other DICOM objects"] += 1
            continue
        found = list(_pieces(path, names[path], header))
        pieces += [piece for piece in found if "scout" not in piece.marks]
        skipped["scouts"] += sum("scout" in piece.marks for piece in found)
    if not pieces:
        kinds = ", ".join(f"{number} {kind}" for kind, number in (+skipped).items()) or "no files"
        raise InputError(f"no slices of a CT or PET scan ({kinds}); give the folder of a series.")
    return pieces, +skipped


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings to itself: they quote what stands in the header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path) -> pydicom.Dataset | None:
    """The tags of ``TAGS``; None if the file is no DICOM. ``InputError`` if it is a damaged one."""
    try:
        with open(path, "rb") as stream:
            start = stream.read(132)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); check it.") from None
    # Without the preamble, files begin with group 2 or 8 in either byte order.
    bare = start[:2] in (b"\2\0", b"\x08\0", b"\0\2", b"\0\x08")
    if start[128:] == b"DICM" or bare:
        try:
            with quiet():
                header = pydicom.dcmread(
                    path, stop_before_pixels=True, force=True, specific_tags=TAGS
                )
        except Exception:  # whatever a damaged file does to the parser
            raise InputError("the DICOM header is damaged; copy the file again.") from None
        if "SOPClassUID" in header or not bare:
            return header
    if path.suffix.lower() in SUFFIXES:
        fault = "is empty" if not start else "is called DICOM, but is none"
        raise InputError(f"{fault}; copy it again, or take it away if it is no slice.")
    return None


def _secrets(header: pydicom.Dataset | None) -> set[str]:
    """The words of a header that identify a patient, in small letters."""
    texts = [str(header.get(tag, "")) for tag in IDENTIFIERS] if header is not None else []
    words = {word.lower() for text in texts for word in [text, *re.split(r"[\W_]+", text)]}
    return {word for word in words if len(word) >= SHORTEST_SECRET}


def _harmless(path: Path, number: int, total: int, secrets: set[str]) -> str:
    """A name for messages: no folders, and no file name that tells who the patient is."""
    place = f"file {number} of {total}"
    if any(secret in path.name.lower() for secret in secrets):
        return place
    return f"{place} ({re.sub(r'[^A-Za-z0-9._-]', '_', path.name)[:64]})"


def _pieces(path: Path, name: str, header: pydicom.Dataset) -> Iterator[Piece]:
    """The slices of one file; a scout is not asked for its position."""
    with quiet():
        frames = header.get("PerFrameFunctionalGroupsSequence")
        if frames is None and int(header.get("NumberOfFrames") or 1) > 1:
            raise InputError(f"{name}: frames without positions; export single slices.")
        shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
        for n, frame in enumerate([None] if frames is None else frames):
            layers = [group for group in (frame, shared) if group is not None]
            number = None if frames is None else n
            yield _piece(path, name, header, layers, number)


def _piece(
    path: Path, name: str, header: pydicom.Dataset, layers: Sequence, frame: int | None
) -> Piece:
    def numbers(tag: str, count: int, needed: bool = True) -> np.ndarray | None:
        for layer in layers:
            for item in layer.get(SEQUENCES[tag]) or []:
                if tag in item:
                    return _numbers(item, tag, count, name)
        if tag in header and header[tag].value not in (None, ""):
            return _numbers(header, tag, count, name)
        if needed:
            raise InputError(f"{name}: the tag {tag} is absent; export the series again.")
        return None

    def number(tag: str) -> float | None:
        found = numbers(tag, 1, needed=False)
        return None if found is None else float(found[0])

    marks = _marks(header)
    scout = "scout" in marks
    nowhere = np.zeros(6)
    row_column = nowhere if scout else numbers("ImageOrientationPatient", 6)
    spacing = nowhere if scout else numbers("PixelSpacing", 2)
    photometric = header.get("PhotometricInterpretation", "MONOCHROME2")
    if header.get("SamplesPerPixel", 1) != 1 or photometric != "MONOCHROME2":
        raise InputError(f"{name}: not a plain grey image; export the original slices.")
    return Piece(
        path=path,
        name=name if frame is None else f"{name}, frame {frame + 1}",
        frame=frame,
        series=str(header.get("SeriesInstanceUID", "")),
        image=str(header.get("SOPInstanceUID", "")),
        frame_of_reference=str(header.get("FrameOfReferenceUID", "")),
        patient=tuple(str(header.get(tag) or "").strip().lower() for tag in IDENTIFIERS),
        position=nowhere[:3] if scout else numbers("ImagePositionPatient", 3),
        axes=row_column.reshape(2, 3),
        spacing_mm=spacing[1::-1],
        shape=(int(header.get("Rows") or 0), int(header.get("Columns") or 0)),
        thickness_mm=number("SliceThickness"),
        slope=number("RescaleSlope"),
        intercept=number("RescaleIntercept"),
        marks=marks,
    )


def _numbers(source: pydicom.Dataset, tag: str, count: int, name: str) -> np.ndarray:
    try:
        found = np.array(source[tag].value, float).reshape(count)
    except (ValueError, TypeError, OverflowError):
        found = np.array([np.nan])
    if not np.isfinite(found).all():
        raise InputError(f"{name}: {tag} does not hold {count} number(s); export the series again.")
    return found


def _marks(header: pydicom.Dataset) -> frozenset[str]:
    kinds = header.get("ImageType") or []
    kinds = [kinds] if isinstance(kinds, str) else kinds
    found = {
        "scout": any(scout in str(kind).upper() for kind in kinds for scout in SCOUTS),
        "burned in": header.get("BurnedInAnnotation") == "YES",
        "lossy": header.get("LossyImageCompression") == "01",
    }
    return frozenset(mark for mark, holds in found.items() if holds)
