"""Masks as DICOM objects: SEG to mask, and a predicted mask to SEG or RTSTRUCT.

What is written refers to its CT by UIDs alone; name, number and dates of the patient stay empty:
whoever sends the object to an archive fills them in there. A mask goes back only onto the very
series that it was made on. DICOM PS3.3 A.51 (SEG), A.19 (RTSTRUCT).
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid

from seg_lib.data.case_rules import first_few
from seg_lib.data.contours import as_ras, outlines
from seg_lib.data.dicom_files import read_folder
from seg_lib.data.dicom_header import quiet
from seg_lib.data.dicom_series import LPS_TO_RAS, Stack, split_series, stack_up
from seg_lib.data.nifti import Volume, as_stored, read_image, read_mask, write_mask
from seg_lib.data.nifti_header import MAX_CORNER_SHIFT_VOXELS, corner_shift_voxels
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import written_whole

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
LINKS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
LINKS += ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
LINKS += ("SliceThickness", "Rows", "Columns", "Modality")
EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")
EMPTY += ("AccessionNumber", "StudyID", "ReferringPhysicianName")


def seg_to_mask(
    seg: str | Path, reference: str | Path | Volume, dst: str | Path, segment: str | None = None
) -> np.ndarray:
    """Write one segment of a DICOM SEG as a mask on the grid of an image.

    Args:
        seg: the SEG file.
        reference: the image, as `dicom_to_nifti` wrote it.
        dst: the mask, a NIfTI file of 0 and 1.
        segment: label of the segment; may be left out if there is only one.

    Returns:
        The mask (X, Y, Z), RAS, uint8. Voxels outside the image are left out with a
        ``DataWarning``.

    Raises:
        InputError: no SEG, no such segment, or voxels that are not those of the image.
    """
    import highdicom

    try:
        with quiet():
            data = highdicom.seg.segread(seg)
            labels = {int(item.SegmentNumber): item.SegmentLabel for item in data.SegmentSequence}
    except Exception:  # whatever a damaged file does to the parser
        raise InputError(f"{seg}: no readable DICOM SEG; give another file.") from None
    chosen = [n for n, label in labels.items() if segment in (None, label)]
    if len(chosen) != 1:
        raise InputError(f"{dst}: name one segment; there are: {first_few(labels.values(), 20)}.")
    try:
        with quiet():
            volume = data.get_volume(segment_numbers=chosen, combine_segments=True, relabel=True)
    except Exception:  # each reason has an error of its own
        raise InputError(f"{seg}: no 0 and 1 on regular slices; export it as BINARY.") from None
    like = reference if isinstance(reference, Volume) else read_image(reference)
    mask = as_ras(_on_grid(volume.array > 0, LPS_TO_RAS @ volume.affine, like, dst), like)
    write_mask(dst, mask, like)
    return mask


def mask_to_seg(mask: str | Path, series_dir: str | Path, dst: str | Path, label: str) -> None:
    """Write a predicted mask (a NIfTI file of 0 and 1) as DICOM SEG of its CT series.

    Raises:
        InputError: an empty mask, or one that does not lie on the voxels of the series.
    """
    import highdicom
    from pydicom.sr.codedict import codes

    stored, stack = _on_series(mask, series_dir, dst)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="seg-lib", version="1", family=codes.DCM.ArtificialIntelligence
    )
    description = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
    )
    with quiet():
        data = highdicom.seg.Segmentation(
            source_images=[_linked(piece.path) for piece in stack.pieces],
            pixel_array=stored.transpose(2, 1, 0).astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=[description],
            series_instance_uid=uid.generate_uid(),
            series_number=1,
            sop_instance_uid=uid.generate_uid(),
            instance_number=1,
            manufacturer="seg-lib",
            manufacturer_model_name="seg-lib",
            software_versions="1",
            device_serial_number="0",
        )
        data.ContentCreatorName = ""  # must be there, and may be empty; highdicom leaves it out
        with written_whole(dst) as part:
            data.save_as(part, enforce_file_format=True)


def mask_to_rtstruct(mask: str | Path, series_dir: str | Path, dst: str | Path, roi: str) -> None:
    """Write a predicted mask (a NIfTI file of 0 and 1) as RTSTRUCT of its CT series.

    `rtstruct_to_mask` turns the contours into exactly the same mask again.

    Raises:
        InputError: as ``mask_to_seg``.
    """
    stored, stack = _on_series(mask, series_dir, dst)
    sources = [_linked(piece.path) for piece in stack.pieces]
    data = rtstruct(list(outlines(stored, stack.affine)), roi, sources)
    with written_whole(dst) as part:
        data.save_as(part, enforce_file_format=True)


def rtstruct(
    contours: Sequence[np.ndarray], roi: str, sources: Sequence[pydicom.Dataset]
) -> pydicom.Dataset:
    """An RTSTRUCT with one region: its contours (N, 3) in LPS mm, drawn on the source slices."""
    data = _dataset(RTSTRUCT, sources[0])
    data.Modality, data.StructureSetLabel = "RTSTRUCT", "SEG-LIB"
    data.StructureSetDate = data.StructureSetTime = ""
    region, drawn, observed = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    region.ROINumber, region.ROIName, region.ROIGenerationAlgorithm = 1, roi, "AUTOMATIC"
    region.ReferencedFrameOfReferenceUID = sources[0].FrameOfReferenceUID
    drawn.ReferencedROINumber, drawn.ROIDisplayColor = 1, [255, 0, 0]
    drawn.ContourSequence = [_contour(points, sources) for points in contours]
    observed.ObservationNumber, observed.ReferencedROINumber = 1, 1
    observed.RTROIInterpretedType, observed.ROIInterpreter = "GTV", ""
    data.ReferencedFrameOfReferenceSequence = [_references(sources)]
    data.StructureSetROISequence, data.ROIContourSequence = [region], [drawn]
    data.RTROIObservationsSequence = [observed]
    return data


def _references(sources: Sequence[pydicom.Dataset]) -> pydicom.Dataset:
    """The frame of reference, and in it the study, its series and each of the slices."""
    frame, study, series = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    series.ContourImageSequence = [_reference(source) for source in sources]
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = sources[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _reference(source: pydicom.Dataset) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return item


def _contour(points_mm: np.ndarray, sources: Sequence[pydicom.Dataset]) -> pydicom.Dataset:
    """One contour, with the slice it lies nearest to."""
    contour = pydicom.Dataset()
    rows = np.array(sources[0].ImageOrientationPatient, float).reshape(2, 3)
    places = [np.array(source.ImagePositionPatient, float) for source in sources]
    heights = (np.array(places) - points_mm[0]) @ np.cross(*rows)
    contour.ContourImageSequence = [_reference(sources[int(np.abs(heights).argmin())])]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points_mm)
    contour.ContourData = [f"{mm:.4f}" for mm in np.ravel(points_mm)]
    return contour


def _dataset(kind: str, source: pydicom.Dataset) -> pydicom.Dataset:
    """A new object in the study and the frame of reference of a slice, its patient left empty."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = kind, uid.generate_uid()
    data.SeriesInstanceUID, data.SeriesNumber = uid.generate_uid(), 1
    data.StudyInstanceUID, data.Manufacturer = source.StudyInstanceUID, "seg-lib"
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = source.FrameOfReferenceUID, ""
    for tag in EMPTY:
        setattr(data, tag, "")
    return data


def _linked(path: Path) -> pydicom.Dataset:
    """The tags of a slice that a mask needs to find it again, and none about the patient."""
    with quiet():
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    if "StudyInstanceUID" not in header or "FrameOfReferenceUID" not in header:
        raise InputError("a slice without StudyInstanceUID or FrameOfReferenceUID; export again.")
    linked = pydicom.Dataset()
    linked.file_meta = header.file_meta
    for tag in filter(header.__contains__, LINKS):
        linked[tag] = header[tag]
    for tag in EMPTY:
        setattr(linked, tag, "")
    return linked


def _on_series(mask: str | Path, folder: str | Path, dst: str | Path) -> tuple[np.ndarray, Stack]:
    """A mask (columns, rows, slices) and the stack of the series, if both have the same voxels."""
    series = split_series(read_folder(folder)[0])
    stack, _ = stack_up(series[0])
    if stack.pieces[0].frame is not None:
        raise InputError(f"{dst}: the series is multi-frame (enhanced); export single slices.")
    volume = read_mask(mask)
    shape = (*stack.pieces[0].shape[::-1], len(stack.pieces))
    shift = corner_shift_voxels(volume.stored_affine, stack.affine, shape)
    fits = len(series) == 1 and volume.stored_shape == shape and not stack.drift.any()
    if not fits or shift > MAX_CORNER_SHIFT_VOXELS:
        raise InputError(
            f"{dst}: the mask {mask} does not lie on the voxels of this one series; write it in "
            "the geometry that dicom_to_nifti gave the image."
        )
    if not volume.array.any():
        raise InputError(f"{dst}: the mask {mask} is empty; there is nothing to outline.")
    return as_stored(volume.array, volume.stored_affine), stack


def _on_grid(found: np.ndarray, affine: np.ndarray, like: Volume, dst: str | Path) -> np.ndarray:
    """Foreground of another grid with the same voxels, in the stored order of ``like``."""
    across = np.linalg.inv(like.stored_affine) @ affine
    rounded = np.rint(across)
    turn, start = rounded[:3, :3], rounded[:3, 3]
    same = np.array_equal(np.abs(turn).sum(axis=0), [1, 1, 1])
    if not same or corner_shift_voxels(rounded, across, found.shape) > MAX_CORNER_SHIFT_VOXELS:
        raise InputError(f"{dst}: the segment has other voxels than the image; give its own image.")
    index = (np.argwhere(found) @ turn.T + start).astype(int)
    inside = ((index >= 0) & (index < like.stored_shape)).all(axis=1)
    if not inside.all():
        remark = f"{np.count_nonzero(~inside)} of {len(inside)} voxels lie outside the image."
        warnings.warn(f"{dst}: {remark}", DataWarning, stacklevel=3)
    if not inside.any():
        raise InputError(f"{dst}: the segment is empty on this image; give its own image.")
    mask = np.zeros(like.stored_shape, np.uint8)
    mask[tuple(index[inside].T)] = 1
    return mask
