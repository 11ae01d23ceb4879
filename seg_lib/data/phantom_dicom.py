"""The phantom as a scanner would hand it over: a CT series and an RTSTRUCT, for lesson 01.

The patient's name and number in the headers are made up, and are there to be lost on the way.
"""

from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid

from seg_lib.data.contours import outlines
from seg_lib.data.dicom_files import CT
from seg_lib.data.dicom_masks import rtstruct
from seg_lib.data.dicom_series import LPS_TO_RAS

PATIENT = {"PatientName": "Phantom^Paula", "PatientID": "PH-4711", "PatientBirthDate": "19500101"}


def write_ct_series(
    folder: str | Path, hu: np.ndarray, affine: np.ndarray, intercept: int = -1024, seed: int = 0
) -> list[Path]:
    """Write a volume (X, Y, Z) of HU, RAS, as CT slices ``IM0000.dcm`` and so on, head last.

    Args:
        folder: made if needed.
        hu: whole numbers; ``hu - intercept`` must fit into int16.
        affine: (4, 4) diagonal, index to mm.
        intercept: RescaleIntercept; the slope is 1.
        seed: the series' own number; other seeds are other series of other patients.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = np.abs(np.diag(affine)[:3])
    # Columns of a DICOM slice run to the left, rows to the back: both reversed against RAS.
    first = LPS_TO_RAS @ affine @ [hu.shape[0] - 1, hu.shape[1] - 1, 0, 1]
    paths = []
    for z in range(hu.shape[2]):
        data = _dataset(f"{seed}.{z + 1}", seed)
        data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.SeriesInstanceUID = _uid(f"{seed}.series")
        data.InstanceNumber = z + 1
        data.ImagePositionPatient = [*np.round(first[:2], 5), round(first[2] + z * sizes[2], 5)]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing = [round(sizes[1], 5), round(sizes[0], 5)]
        data.SliceThickness = round(sizes[2], 5)
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, intercept, "HU"
        _set_pixels(data, hu[::-1, ::-1, z].T - intercept)
        paths.append(folder / f"IM{z:04d}.dcm")
        data.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_rtstruct(
    path: str | Path, mask: np.ndarray, affine: np.ndarray, series: list[Path], roi: str = "GTV-1"
) -> None:
    """Write the outlines of a mask (X, Y, Z), RAS, as an RTSTRUCT with one region of interest.

    Args:
        path: of the file.
        mask: 0 and 1.
        affine: index to mm, as for ``write_ct_series``.
        series: what ``write_ct_series`` returned.
        roi: name of the region.
    """
    sources = [pydicom.dcmread(slice_path, stop_before_pixels=True) for slice_path in series]
    data = rtstruct(list(outlines(mask, affine)), roi, sources)
    for tag in PATIENT:
        data[tag] = sources[0][tag]
    data.save_as(path, enforce_file_format=True)


def _dataset(name: str, seed: int) -> pydicom.Dataset:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CT, _uid(name)
    data.StudyInstanceUID, data.FrameOfReferenceUID = _uid(f"{seed}.study"), _uid(f"{seed}.frame")
    for tag, value in PATIENT.items():
        setattr(data, tag, value)
    data.PatientID += f"-{seed}"
    data.InstitutionName, data.StudyDate = "Hospital of the Phantoms", "20260101"
    return data


def _uid(name: str) -> str:
    return uid.generate_uid(entropy_srcs=["seg-lib phantom", name])


def _set_pixels(data: pydicom.Dataset, stored: np.ndarray) -> None:
    data.Rows, data.Columns = stored.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PixelData = np.ascontiguousarray(stored, np.int16).tobytes()
