"""What the header of a DICOM file says about its slices: place, scaling, layout of the pixels.

A header holds far more about the patient than a network may know. What tells two series or two
patients apart is read too, and never leaves `dicom_files` and `dicom_series`. Tags: DICOM PS3.3
C.7.6 (image plane, pixels), C.7.6.16 (enhanced), C.8.2 (CT). Taught in notebook 01.
"""

import dataclasses
import functools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian

from seg_lib.errors import InputError

SCOUTS = ("LOCALIZER", "SCOUT", "TOPOGRAM")
IDENTIFIERS = ("PatientID", "PatientName", "PatientBirthDate")
TAGS = [
    *IDENTIFIERS,
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "ImageType"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("RescaleSlope", "RescaleIntercept", "Rows", "Columns", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BurnedInAnnotation"),
    *("LossyImageCompression", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", OVERLAY_BIT := 0x60000102, "Units", "SUVType"),
]
PET = "1.2.840.10008.5.1.4.1.1.128"
PIXEL_DATA = {"<": b"\xe0\x7f\x10\0", ">": b"\x7f\xe0\0\x10"}
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
    marks: frozenset[str]  # scout, burned in, lossy, overlay, no SUV
    dtype: np.dtype  # of the stored values
    bits: int  # of them that belong to the pixel
    offset: int | None  # where they begin in the file; None if they are packed


class Header(NamedTuple):
    """What was read of a file, and what follows it."""

    tags: pydicom.Dataset
    offset: int | None  # where plain pixels begin
    ends: bool  # nothing follows

    @property
    def kind(self) -> str:
        """The SOP class, as text."""
        meta = self.tags.file_meta.get("MediaStorageSOPClassUID", "")
        return str(self.tags.get("SOPClassUID") or meta)


# Keeps pydicom's warnings to itself: they quote what stands in the header.
quiet = functools.partial(warnings.catch_warnings, action="ignore")


def header_of(stream: BinaryIO) -> Header:
    """Read a file as far as its pixels; may raise whatever pydicom raises."""
    how = {"stop_before_pixels": True, "force": True, "specific_tags": TAGS}
    tags = pydicom.dcmread(stream, **how)
    implicit, little = tags.original_encoding
    head = stream.read(8 if implicit else 12)
    plain = head[:4] == PIXEL_DATA["<" if little else ">"] and head[-4:] != b"\xff\xff\xff\xff"
    inflated = tags.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    return Header(tags, stream.tell() if plain else None, not head and not inflated)


def pieces_of(path: Path, name: str, header: Header) -> Iterator[Piece]:
    """The slices of one file."""
    tags = header.tags
    if header.ends:
        raise InputError(f"{name}: the file ends before its pixels; copy it again.")
    frames = tags.get("PerFrameFunctionalGroupsSequence")
    if frames is None and int(tags.get("NumberOfFrames") or 1) > 1:
        raise InputError(f"{name}: frames without positions; export single slices.")
    shared = (tags.get("SharedFunctionalGroupsSequence") or [None])[0]
    for n, frame in enumerate([None] if frames is None else frames):
        layers = [group for group in (frame, shared) if group is not None]
        yield _piece(path, name, header, layers, None if frames is None else n)


def _piece(
    path: Path, name: str, header: Header, layers: Sequence[pydicom.Dataset], frame: int | None
) -> Piece:
    tags, marks = header.tags, _marks(header.tags)

    def numbers(tag: str, count: int, needed: bool = True) -> np.ndarray | None:
        sequences = [layer.get(SEQUENCES[tag]) or [] for layer in layers]
        for item in [*(item for sequence in sequences for item in sequence), tags]:
            value = item.get(tag)
            if value is not None and value != "":
                return _numbers(value, tag, count, name)
        if "scout" in marks:  # needs no place, it is left out
            return np.zeros(count)
        if needed:
            raise InputError(f"{name}: the tag {tag} is absent; export the series again.")
        return None

    def number(tag: str) -> float | None:
        found = numbers(tag, 1, needed=False)
        return None if found is None else float(found[0])

    bits, dtype = _pixel_type(tags, name)
    shape = int(tags.get("Rows") or 0), int(tags.get("Columns") or 0)
    start = (frame or 0) * shape[0] * shape[1] * dtype.itemsize
    return Piece(
        path=path,
        name=name if frame is None else f"{name}, frame {frame + 1}",
        frame=frame,
        series=str(tags.get("SeriesInstanceUID", "")),
        image=str(tags.get("SOPInstanceUID", "")),
        frame_of_reference=str(tags.get("FrameOfReferenceUID", "")),
        patient=tuple(str(tags.get(tag) or "").strip().lower() for tag in IDENTIFIERS),
        position=numbers("ImagePositionPatient", 3),
        axes=numbers("ImageOrientationPatient", 6).reshape(2, 3),
        spacing_mm=numbers("PixelSpacing", 2)[::-1],
        shape=shape,
        thickness_mm=number("SliceThickness"),
        slope=number("RescaleSlope"),
        intercept=number("RescaleIntercept"),
        marks=marks,
        dtype=dtype,
        bits=bits,
        offset=None if header.offset is None else header.offset + start,
    )


def _pixel_type(tags: pydicom.Dataset, name: str) -> tuple[int, np.dtype]:
    """How many bits a pixel has, and the type that holds it in the file."""
    grey = tags.get("PhotometricInterpretation", "MONOCHROME2") == "MONOCHROME2"
    if not grey or tags.get("SamplesPerPixel", 1) != 1:
        raise InputError(f"{name}: not a plain grey image; export the original slices.")
    allocated = int(tags.get("BitsAllocated") or 16)
    bits = int(tags.get("BitsStored") or allocated)
    if allocated not in (8, 16, 32) or tags.get("HighBit", bits - 1) != bits - 1:
        raise InputError(f"{name}: an unusual layout of bits; export the series again.")
    kind = "i" if tags.get("PixelRepresentation") else "u"
    order = "<" if tags.original_encoding[1] else ">"
    return bits, np.dtype(f"{order}{kind}{allocated // 8}")


def _numbers(value: object, tag: str, count: int, name: str) -> np.ndarray:
    try:
        found = np.array(value, float).reshape(count)
    except (ValueError, TypeError, OverflowError):
        found = np.array([np.nan])
    if not np.isfinite(found).all():
        raise InputError(f"{name}: {tag} does not hold {count} number(s); export the series again.")
    return found


def _marks(tags: pydicom.Dataset) -> frozenset[str]:
    kinds = tags.get("ImageType") or []
    kinds = [kinds] if isinstance(kinds, str) else kinds
    # C.8.9.1: g/ml are SUV, by body weight unless another type is named.
    suv = tags.get("Units") == "GML" and (tags.get("SUVType") or "BW") == "BW"
    found = {
        "no SUV": tags.get("SOPClassUID") == PET and not suv,
        "scout": any(scout in str(kind).upper() for kind in kinds for scout in SCOUTS),
        "burned in": tags.get("BurnedInAnnotation") == "YES",
        "lossy": tags.get("LossyImageCompression") == "01",
        "overlay": OVERLAY_BIT in tags and tags[OVERLAY_BIT].value > 0,
    }
    return frozenset(mark for mark, holds in found.items() if holds)
