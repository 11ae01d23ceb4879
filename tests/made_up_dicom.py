"""DICOM made up for the tests: every voxel's HU tells where it lies, so any mix-up shows."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom import uid

CT = "1.2.840.10008.5.1.4.1.1.2"
ROOT = "1.2.826.0.1.3680043.8.498."
AXIAL, CORONAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1)
SAGITTAL, PRONE = (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0)
TURN = np.deg2rad(20)
OBLIQUE = (np.cos(TURN), np.sin(TURN), 0, -np.sin(TURN), np.cos(TURN), 0)


def hu_at(lps):
    """HU that belong to positions (..., 3) in LPS mm, before rounding."""
    return np.asarray(lps) @ np.array([3.0, 5.0, 7.0]) - 100


def positions(data):
    """(rows, columns, 3): where the pixels of a slice lie, in LPS mm."""
    along, down = np.array(data.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = map(float, data.PixelSpacing)
    r, c = (
        np.mgrid[: data.Rows, : data.Columns][..., None]
        * np.array([[row_mm], [column_mm]])[:, None, None]
    )
    return np.array(data.ImagePositionPatient, float) + c * along + r * down


def set_pixels(data, hu, slope=1, intercept=-1024, dtype="<i2", bits=16):
    data.RescaleSlope, data.RescaleIntercept = slope, intercept
    dtype = np.dtype(dtype)
    data.BitsAllocated, data.BitsStored, data.HighBit = dtype.itemsize * 8, bits, bits - 1
    data.PixelRepresentation = int(dtype.kind == "i")
    stored = np.rint((np.asarray(hu) - intercept) / slope).astype(dtype)
    data.PixelData = stored.tobytes()


def make_slice(n, position, orientation=AXIAL, shape=(12, 10), spacing=(0.8, 0.7)):
    """One CT slice as a dataset; ``n`` numbers it."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CT, f"{ROOT}1.{n + 1}"
    data.SeriesInstanceUID, data.StudyInstanceUID = f"{ROOT}2", f"{ROOT}3"
    data.FrameOfReferenceUID, data.Modality = f"{ROOT}4", "CT"
    data.PatientID, data.PatientName, data.PatientBirthDate = "4711", "", ""
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.InstanceNumber = n + 1
    data.ImagePositionPatient = [f"{mm:.6f}" for mm in position]
    data.ImageOrientationPatient = [f"{part:.9f}" for part in orientation]
    data.PixelSpacing, data.SliceThickness = list(spacing), 2.5
    data.Rows, data.Columns = shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    set_pixels(data, np.rint(hu_at(positions(data))))
    return data


def make_series(n=6, gap=2.5, orientation=AXIAL, origin=(-20, -30, 40), lean=(0, 0, 0), **words):
    """``n`` slices in order along their normal; ``lean`` (mm a slice) tilts the gantry."""
    normal = np.cross(orientation[:3], orientation[3:])
    step = gap * normal + np.array(lean)
    return [make_slice(k, np.array(origin) + k * step, orientation, **words) for k in range(n)]


def save(folder, slices, names="{:03d}.dcm"):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for n, data in enumerate(slices):
        data.save_as(folder / names.format(n), enforce_file_format=True)
    return folder


def assert_right(path, within=0.51, inside=0):
    """Each voxel of a converted volume has the HU of the place where its affine puts it.

    ``inside`` leaves out so many voxels at the border, where a straightened volume is padded.
    """
    image = nib.load(path)
    hu = np.asarray(image.dataobj, float)
    index = np.moveaxis(np.indices(hu.shape), 0, -1)
    ras = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    off = np.abs(hu - hu_at(ras * [-1, -1, 1]))
    if inside:
        off = off[inside:-inside, inside:-inside]
    assert off.max() <= within, f"{off.max()} HU off"
    return hu


def make_rtstruct(regions, frame=f"{ROOT}4", patient="4711"):
    """``regions``: {name: [(N, 3) LPS mm, ...]}; a pair (kind, points) sets another kind."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", f"{ROOT}9"
    data.Modality, data.PatientID = "RTSTRUCT", patient
    data.StructureSetROISequence, data.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(regions.items(), 1):
        region, drawn = pydicom.Dataset(), pydicom.Dataset()
        region.ROINumber, region.ROIName = number, name
        region.ReferencedFrameOfReferenceUID = frame
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for contour in contours:
            kind, points = contour if isinstance(contour, tuple) else ("CLOSED_PLANAR", contour)
            item = pydicom.Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
            item.ContourData = [f"{mm:.4f}" for mm in np.ravel(points)]
            drawn.ContourSequence.append(item)
        data.StructureSetROISequence.append(region)
        data.ROIContourSequence.append(drawn)
    return data


def make_enhanced(slices):
    """The same slices as one enhanced multi-frame file."""
    first = slices[0]
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    for tag in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "Modality"):
        setattr(data, tag, first[tag].value)
    for tag in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"):
        setattr(data, tag, first[tag].value)
    for tag in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PatientID"):
        setattr(data, tag, first[tag].value)
    data.SOPClassUID, data.SOPInstanceUID = f"{CT}.1", f"{ROOT}8"
    data.NumberOfFrames = len(slices)
    shared, measures, turn = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = first.PixelSpacing, first.SliceThickness
    turn.ImageOrientationPatient = first.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turn]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = []
    for piece in slices:
        frame, place, values = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = piece.ImagePositionPatient
        values.RescaleSlope, values.RescaleIntercept = piece.RescaleSlope, piece.RescaleIntercept
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [values]
        data.PerFrameFunctionalGroupsSequence.append(frame)
    data.PixelData = b"".join(piece.PixelData for piece in slices)
    return data
