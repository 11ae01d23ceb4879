"""Contours and DICOM SEG to masks and back."""

import subprocess
import warnings
from pathlib import Path

import matplotlib.path
import nibabel as nib
import numpy as np
import pydicom
import pytest
from made_up_dicom import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    ROOT,
    make_enhanced,
    make_rtstruct,
    make_series,
    save,
)
from scipy import ndimage

from seg_lib import cli
from seg_lib.data.contours import check_same_patient, fill, outlines, rtstruct_to_mask
from seg_lib.data.dicom import dicom_to_nifti
from seg_lib.data.dicom_masks import mask_to_rtstruct, mask_to_seg, seg_to_mask
from seg_lib.data.nifti import read_image, read_mask, write_mask
from seg_lib.data.phantom import lung_volume
from seg_lib.data.phantom_dicom import PATIENT, write_ct_series, write_rtstruct
from seg_lib.errors import DataWarning, InputError


def square(x, y, z, size):
    """A square of contour points; the first corner and the length of a side in mm."""
    return [(x, y, z), (x + size, y, z), (x + size, y + size, z), (x, y + size, z)]


@pytest.fixture
def series(tmp_path):
    """Six slices of 20 x 20 pixels of 1 mm, 2.5 mm apart; first pixel at LPS (-20, -30, 40)."""
    return save(tmp_path / "series", make_series(shape=(20, 20), spacing=(1, 1)))


@pytest.fixture
def image(series, tmp_path):
    dicom_to_nifti(series, tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def masked(tmp_path, image, regions, roi="GTV-1", **words):
    """Mask as stored (column, row, slice)."""
    path = tmp_path / "rs.dcm"
    make_rtstruct(regions).save_as(path, enforce_file_format=True)
    rtstruct_to_mask(path, image, roi, tmp_path / "mask.nii.gz", **words)
    return np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)


# ---- filling ----


def test_voxel_centres_inside_count(tmp_path, image):
    """From -17.5 to -13.5 mm lie the centres of columns 3 to 6."""
    mask = masked(tmp_path, image, {"GTV-1": [square(-17.5, -28.5, 45, 4)]})
    assert mask.sum() == 16
    assert mask[3:7, 2:6, 2].all()


def test_a_contour_in_a_contour_is_a_hole(tmp_path, image):
    outer, inner = square(-18.5, -28.5, 45, 10), square(-16.5, -26.5, 45, 4)
    mask = masked(tmp_path, image, {"GTV-1": [outer, inner]})
    assert mask.sum() == 100 - 16


def test_a_hole_through_a_keyhole(tmp_path, image):
    """One contour that runs in, round and out the same way: the other way to draw a hole."""
    outer, inner = square(-18.5, -28.5, 45, 10), square(-16.5, -26.5, 45, 4)
    mask = masked(tmp_path, image, {"GTV-1": [[*outer, outer[0], *inner, inner[0]]]})
    assert mask.sum() == 100 - 16


def test_two_regions_that_share_an_edge_through_centres_share_no_voxel():
    left = np.array([(2, 2), (5, 2), (5, 8), (2, 8)], float)
    right = left + (3, 0)
    shape = (12, 12)
    assert not (fill([left], shape) & fill([right], shape)).any()
    both = np.array([(2, 2), (8, 2), (8, 8), (2, 8)], float)
    assert (fill([left], shape) | fill([right], shape)).sum() == fill([both], shape).sum() == 36


@pytest.mark.parametrize("seed", range(20))
def test_as_another_library_fills(seed):
    """Random corners, so that no edge runs through a centre; also over the border."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    polygon = 10 + rng.uniform(3, 14, 12)[:, None] * np.c_[np.cos(angles), np.sin(angles)]
    centres = np.stack(np.meshgrid(np.arange(22), np.arange(18)), -1)
    path = matplotlib.path.Path(np.r_[polygon, polygon[:1]])
    inside = path.contains_points(centres.reshape(-1, 2)).reshape(18, 22)
    np.testing.assert_array_equal(fill([polygon], (18, 22)), inside)


def test_nothing_to_fill():
    assert not fill([], (4, 5)).any()


@pytest.mark.parametrize("seed", range(10))
def test_outlines_and_fill_are_inverse(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((9, 8, 3)) < 0.5  # single voxels, holes, diagonal neighbours, the border
    affine = np.diag([0.7, 0.8, 2.5, 1.0])
    back = np.zeros(mask.shape, bool)
    by_slice = {z: [] for z in range(3)}
    to_index = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ affine)
    for points in outlines(mask, affine):
        index = np.c_[points, np.ones(len(points))] @ to_index.T
        by_slice[round(index[0, 2])].append(index[:, :2])
    for z, polygons in by_slice.items():
        back[:, :, z] = fill(polygons, (8, 9)).T
    np.testing.assert_array_equal(back, mask)


# ---- which region, which image ----


@pytest.mark.parametrize("name", ["GTV-1", "gtv-1", "Gtv-1"])
def test_the_name_in_any_case(tmp_path, image, name):
    assert masked(tmp_path, image, {" GTV-1": [square(-17.5, -28.5, 45, 4)]}, name).sum() == 16


def test_near_names_are_offered(tmp_path, image):
    regions = {"GTV-1": [square(-17.5, -28.5, 45, 4)], "Heart": [], "Lung-Left": []}
    with pytest.raises(InputError, match="no region called 'GTV1'; did you mean GTV-1"):
        masked(tmp_path, image, regions, "GTV1")
    with pytest.raises(InputError, match="there are: GTV-1, Heart, Lung-Left"):
        masked(tmp_path, image, regions, "qqq")


def test_two_regions_of_one_name(tmp_path, image):
    regions = {"gtv": [square(-17.5, -28.5, 45, 4)], "GTV": [square(-17.5, -28.5, 45, 2)]}
    assert masked(tmp_path, image, regions, "GTV").sum() == 4
    with pytest.raises(InputError, match="2 regions are called 'Gtv'"):
        masked(tmp_path, image, regions, "Gtv")


@pytest.mark.parametrize("contours", [[], [("POINT", [(0, 0, 45)])]])
def test_an_empty_region(tmp_path, image, contours):
    with pytest.raises(InputError, match="the region 'GTV-1' is empty"):
        masked(tmp_path, image, {"GTV-1": contours})
    assert not (tmp_path / "mask.nii.gz").exists()


def test_contours_on_absent_slices_are_reported(tmp_path, image):
    inside, outside = square(-17.5, -28.5, 45, 4), square(-17.5, -28.5, 60, 4)
    between = square(-17.5, -28.5, 46.2, 4)
    with pytest.warns(DataWarning, match=r"2 of 3 contours .* no slice .* \(at 46.2, 60.0 mm"):
        mask = masked(tmp_path, image, {"GTV-1": [inside, outside, between]})
    assert mask.sum() == 16


def test_contours_on_no_slice(tmp_path, image):
    with pytest.raises(InputError, match="lies on no slice of this image"):
        masked(tmp_path, image, {"GTV-1": [square(-17.5, -28.5, 500, 4)]})


def test_contours_drawn_in_another_plane(tmp_path, image):
    steep = [(-17, -28, 41), (-12, -24, 45), (-10, -20, 50)]
    with pytest.raises(InputError, match="not drawn in the slices of this image"):
        masked(tmp_path, image, {"GTV-1": [steep]})


def test_too_few_points(tmp_path, image):
    with pytest.raises(InputError, match="no list of three or more points"):
        masked(tmp_path, image, {"GTV-1": [square(-17, -28, 45, 4)[:2]]})


@pytest.mark.parametrize("fault", ["text", "ct"])
def test_what_is_no_rtstruct(tmp_path, series, image, fault):
    path = tmp_path / "rs.dcm"
    if fault == "text":
        path.write_text("hello")
    else:
        path = series / "000.dcm"
    with pytest.raises(
        InputError, match="no readable DICOM|not an RTSTRUCT but (CT|something else)"
    ):
        rtstruct_to_mask(path, image, "GTV-1", tmp_path / "mask.nii.gz")


def test_contours_of_another_patient(tmp_path, series, image):
    data = make_rtstruct({"GTV-1": [square(-17.5, -28.5, 45, 4)]}, patient="0815")
    with pytest.raises(InputError, match="of another patient") as caught:
        check_same_patient(data, series, "mask.nii.gz")
    assert "0815" not in str(caught.value) and "4711" not in str(caught.value)


def test_a_series_of_another_patient_gets_no_mask(tmp_path, series, image, capsys):
    """Asked for by the function and on the command line; the contours lie in the image."""
    data = make_rtstruct({"GTV-1": [square(-17.5, -28.5, 45, 4)]}, patient="0815")
    data.save_as(tmp_path / "rs.dcm", enforce_file_format=True)
    mask = tmp_path / "mask.nii.gz"
    with pytest.raises(InputError, match="of another patient"):
        rtstruct_to_mask(tmp_path / "rs.dcm", image, "GTV-1", mask, series_dir=series)
    words = ["dicom-to-nifti", series, tmp_path / "out.nii.gz", "--roi", "GTV-1"]
    words += ["--rtstruct", tmp_path / "rs.dcm", "--mask-out", mask]
    assert cli.main([*map(str, words)]) == 1
    assert "of another patient" in capsys.readouterr().err
    assert not mask.exists()
    assert rtstruct_to_mask(tmp_path / "rs.dcm", image, "GTV-1", mask).sum() == 16


def test_contours_in_another_frame_of_reference(series):
    data = make_rtstruct({"GTV-1": []}, frame=f"{ROOT}44")
    with pytest.raises(InputError, match="drawn on another image"):
        check_same_patient(data, series, "mask.nii.gz")
    check_same_patient(make_rtstruct({"GTV-1": []}), series, "mask.nii.gz")


@pytest.mark.parametrize("codes", ["RAS", "SLP", "PIR"])
def test_a_reference_stored_in_another_order(tmp_path, image, codes):
    contours = {"GTV-1": [square(-17.5, -28.5, 45, 4), square(-16.5, -27.5, 47.5, 3)]}
    masked(tmp_path, image, contours)
    expected = read_mask(tmp_path / "mask.nii.gz").array
    turned = nib.as_closest_canonical(nib.load(image))
    change = nib.orientations.ornt_transform(
        nib.io_orientation(turned.affine), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(turned.as_reoriented(change), tmp_path / "turned.nii.gz")
    masked(tmp_path, tmp_path / "turned.nii.gz", contours)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz").array, expected)
    assert expected.sum() == 25


# ---- on the command line ----


def test_the_command(tmp_path, series, capsys):
    make_rtstruct({"GTV-1": [square(-17.5, -28.5, 45, 4)]}).save_as(tmp_path / "rs.dcm")
    words = ["dicom-to-nifti", series, tmp_path / "out" / "ct.nii.gz"]
    words += ["--rtstruct", tmp_path / "rs.dcm", "--roi", "GTV-1"]
    assert cli.main([*map(str, words)]) == 1
    assert "contours need" in capsys.readouterr().err
    words += ["--mask-out", tmp_path / "out" / "mask.nii.gz"]
    assert cli.main([*map(str, words)]) == 0
    assert capsys.readouterr().out.count("written") == 2
    image = read_image(tmp_path / "out" / "ct.nii.gz")
    assert read_mask(tmp_path / "out" / "mask.nii.gz", like=image).array.sum() == 16


def test_contours_for_two_series_and_damaged_contours(tmp_path, series, image, capsys):
    make_rtstruct({"GTV-1": [square(-17.5, -28.5, 45, 4)]}).save_as(tmp_path / "rs.dcm")
    second = make_series(shape=(20, 20), spacing=(1, 1), origin=(-20, -30, 400))
    for piece in second:
        piece.SeriesInstanceUID = f"{ROOT}22"
        piece.SOPInstanceUID += ".2"
    save(series, second, names="b{:03d}.dcm")
    words = ["dicom-to-nifti", series, tmp_path / "out" / "ct.nii.gz", "--roi", "GTV-1"]
    words += ["--rtstruct", tmp_path / "rs.dcm", "--mask-out", tmp_path / "out" / "mask.nii.gz"]
    assert cli.main([*map(str, words)]) == 1
    assert "2 series; give the folder of the one drawn on" in capsys.readouterr().err
    assert not (tmp_path / "out" / "mask.nii.gz").exists()
    for content in (b"", bytes(132) + b"\xff" * 40):
        (tmp_path / "rs.dcm").write_bytes(content)
        with pytest.raises(InputError, match="no readable DICOM file|not an RTSTRUCT"):
            rtstruct_to_mask(tmp_path / "rs.dcm", image, "GTV-1", tmp_path / "m.nii.gz")


# ---- and back ----


@pytest.fixture
def predicted(tmp_path, image):
    """A mask with a hole, two pieces, and a voxel in the corner."""
    like = read_image(image)
    mask = np.zeros(like.array.shape, np.uint8)
    mask[4:12, 5:12, 1:4] = 1
    mask[6:8, 7:9, 2] = 0
    mask[15:17, 2:4, 4] = 1
    mask[0, 0, 0] = 1
    write_mask(tmp_path / "predicted.nii.gz", mask, like)
    return tmp_path / "predicted.nii.gz"


def test_to_rtstruct_and_back(tmp_path, series, image, predicted):
    mask_to_rtstruct(predicted, series, tmp_path / "rs.dcm", "Tumour")
    back = rtstruct_to_mask(
        tmp_path / "rs.dcm", image, "Tumour", tmp_path / "back.nii.gz", series_dir=series
    )
    np.testing.assert_array_equal(back, read_mask(predicted).array)


def test_to_seg_and_back(tmp_path, series, image, predicted):
    mask_to_seg(predicted, series, tmp_path / "seg.dcm", "Tumour")
    back = seg_to_mask(tmp_path / "seg.dcm", image, tmp_path / "back.nii.gz", "Tumour")
    np.testing.assert_array_equal(back, read_mask(predicted).array)


@pytest.mark.parametrize("form", ["seg", "rtstruct"])
def test_to_dicom_and_back_from_the_command_line(tmp_path, series, image, predicted, form):
    out, back = tmp_path / "out.dcm", tmp_path / "back.nii.gz"
    words = [str(predicted), str(series), str(out), "--form", form, "--label", "GTV"]
    assert cli.main(["mask-to-dicom", *words]) == 0
    if form == "seg":
        found = seg_to_mask(out, image, back, "GTV")
    else:
        found = rtstruct_to_mask(out, image, "GTV", back, series_dir=series)
    np.testing.assert_array_equal(found, read_mask(predicted).array)
    assert cli.main(["mask-to-dicom", str(image), str(series), str(out)]) == 1  # no mask


@pytest.mark.parametrize("orientation", [CORONAL, OBLIQUE])
@pytest.mark.parametrize("form", ["seg", "rtstruct"])
def test_back_onto_slices_of_any_direction(tmp_path, orientation, form):
    folder = save(tmp_path / "s", make_series(shape=(14, 10), orientation=orientation))
    dicom_to_nifti(folder, tmp_path / "ct.nii.gz")
    like = read_image(tmp_path / "ct.nii.gz")
    mask = (np.random.default_rng(0).random(like.array.shape) < 0.4).astype(np.uint8)
    write_mask(tmp_path / "p.nii.gz", mask, like)
    dcm, out = tmp_path / "out.dcm", tmp_path / "back.nii.gz"
    if form == "seg":
        mask_to_seg(tmp_path / "p.nii.gz", folder, dcm, "Tumour")
        back = seg_to_mask(dcm, like, out)
    else:
        mask_to_rtstruct(tmp_path / "p.nii.gz", folder, dcm, "Tumour")
        back = rtstruct_to_mask(dcm, like, "Tumour", out)
    np.testing.assert_array_equal(back, mask)


def test_the_geometry_of_the_seg_read_without_us(tmp_path, series, predicted):
    mask_to_seg(predicted, series, tmp_path / "seg.dcm", "Tumour")
    data = pydicom.dcmread(tmp_path / "seg.dcm")
    stored = np.asarray(nib.load(predicted).dataobj)
    frames = np.atleast_3d(data.pixel_array)
    for frame, group in zip(frames, data.PerFrameFunctionalGroupsSequence, strict=True):
        z = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        np.testing.assert_array_equal(frame, stored[:, :, round((z - 40) / 2.5)].T)
    assert frames.sum() == stored.sum()
    assert data.SegmentSequence[0].SegmentLabel == "Tumour"


@pytest.mark.parametrize("form", ["seg", "rtstruct"])
def test_what_goes_back_names_no_patient(tmp_path, form):
    slices = make_series(shape=(20, 20), spacing=(1, 1))
    for piece in slices:
        piece.PatientName, piece.PatientID, piece.StudyDate = (
            "Muster^Erika",
            "MRN-20177",
            "20200202",
        )
        piece.InstitutionName = "Mercy"
    folder = save(tmp_path / "s", slices)
    dicom_to_nifti(folder, tmp_path / "ct.nii.gz")
    like = read_image(tmp_path / "ct.nii.gz")
    mask = np.zeros(like.array.shape, np.uint8)
    mask[4:9, 4:9, 2:4] = 1
    write_mask(tmp_path / "p.nii.gz", mask, like)
    write = mask_to_seg if form == "seg" else mask_to_rtstruct
    write(tmp_path / "p.nii.gz", folder, tmp_path / "out.dcm", "Tumour")
    content = (tmp_path / "out.dcm").read_bytes()
    for secret in (b"Muster", b"Erika", b"20177", b"Mercy", b"20200202"):
        assert secret not in content
    data = pydicom.dcmread(tmp_path / "out.dcm")
    assert data.StudyInstanceUID == slices[0].StudyInstanceUID
    assert data.file_meta.MediaStorageSOPClassUID == data.SOPClassUID


def test_another_reader_opens_the_rtstruct(tmp_path, series, predicted):
    """Every contour names a slice that exists, and lies in it."""
    mask_to_rtstruct(predicted, series, tmp_path / "rs.dcm", "Tumour")
    data = pydicom.dcmread(tmp_path / "rs.dcm")
    places = {}
    for path in series.iterdir():
        piece = pydicom.dcmread(path)
        places[piece.SOPInstanceUID] = float(piece.ImagePositionPatient[2])
    contours = data.ROIContourSequence[0].ContourSequence
    assert len(contours) == 6  # three slices, a hole, a second piece and a single voxel
    for contour in contours:
        z = places[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        assert set(map(float, contour.ContourData[2::3])) == {z}


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE], ids=["ax", "cor", "oblique"])
def test_dcmqi_finds_the_seg_where_the_mask_is(tmp_path, orientation):
    """DCMTK and ITK read it: the same voxels at the same places, and nothing to complain about."""
    dcmqi = pytest.importorskip("dcmqi")
    tool = Path(dcmqi.__file__).parent / "bin" / "segimage2itkimage"
    pieces = make_series(shape=(20, 24), spacing=(1, 0.8), orientation=orientation)
    folder = save(tmp_path / "s", pieces)
    dicom_to_nifti(folder, tmp_path / "ct.nii.gz")
    like = read_image(tmp_path / "ct.nii.gz")
    mask = np.zeros(like.array.shape, np.uint8)
    mask[2:5, 4:6, 2:4] = 1
    mask[5, -1, 1] = 1
    write_mask(tmp_path / "p.nii.gz", mask, like)
    mask_to_seg(tmp_path / "p.nii.gz", folder, tmp_path / "seg.dcm", "Tumour")
    words = ["--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path, "-t", "nii"]
    run = subprocess.run([tool, *words, "-p", "dcmqi"], capture_output=True, text=True, check=True)
    assert "absent" not in run.stdout + run.stderr
    ours, theirs = nib.load(tmp_path / "p.nii.gz"), nib.load(tmp_path / "dcmqi-1.nii.gz")
    places = []
    for image in (ours, theirs):  # dcmqi leaves empty slices out, so places in mm are compared
        found = np.argwhere(np.asarray(image.dataobj) > 0)
        mm = found @ image.affine[:3, :3].T + image.affine[:3, 3]
        places.append(mm[np.lexsort(np.rint(mm * 100).astype(int).T)])
    assert len(places[0]) == mask.sum() == 13
    np.testing.assert_allclose(places[1], places[0], atol=1e-3)


def test_rt_utils_finds_the_rtstruct_where_the_mask_is(tmp_path, series, predicted):
    """It fills with OpenCV, which adds the voxels that an edge runs through; never a whole one."""
    why = "pip install --no-deps rt-utils (its own dependencies break OpenCV)"
    builder = pytest.importorskip("rt_utils", reason=why).RTStructBuilder
    mask_to_rtstruct(predicted, series, tmp_path / "rs.dcm", "Tumour")
    opened = builder.create_from(str(series), str(tmp_path / "rs.dcm"))
    assert opened.get_roi_names() == ["Tumour"]
    found = opened.get_roi_mask_by_name("Tumour").transpose(1, 0, 2)  # to columns, rows, slices
    mask = np.asarray(nib.load(predicted).dataobj) > 0
    around = ndimage.binary_dilation(mask, np.ones((3, 3, 1)))
    hole = mask[..., 2] != ndimage.binary_fill_holes(mask[..., 2])
    assert found[mask].all() and not found[~around].any()
    assert hole.sum() == 4
    assert found.any((0, 1)).tolist() == mask.any((0, 1)).tolist()


@pytest.mark.parametrize("write", [mask_to_seg, mask_to_rtstruct])
def test_a_mask_of_another_grid_does_not_go_back(tmp_path, series, image, predicted, write):
    moved = nib.load(predicted)
    affine = moved.affine.copy()
    affine[0, 3] += 1
    nib.save(nib.Nifti1Image(np.asarray(moved.dataobj), affine), tmp_path / "moved.nii.gz")
    with pytest.raises(InputError, match="does not lie on the voxels"):
        write(tmp_path / "moved.nii.gz", series, tmp_path / "out.dcm", "Tumour")
    empty = nib.Nifti1Image(np.zeros(moved.shape, np.uint8), moved.affine)
    nib.save(empty, tmp_path / "empty.nii.gz")
    with pytest.raises(InputError, match="is empty"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        write(tmp_path / "empty.nii.gz", series, tmp_path / "out.dcm", "Tumour")
    assert not (tmp_path / "out.dcm").exists()


@pytest.mark.parametrize("write", [mask_to_seg, mask_to_rtstruct])
def test_a_multi_frame_series_is_refused(tmp_path, predicted, write):
    enhanced = make_enhanced(make_series(shape=(20, 20), spacing=(1, 1)))
    folder = save(tmp_path / "enhanced", [enhanced])
    with pytest.raises(InputError, match=r"multi-frame \(enhanced\); export single slices"):
        write(predicted, folder, tmp_path / "out.dcm", "Tumour")


@pytest.mark.parametrize("what", ["probabilities", "a frame twice"])
def test_a_segment_that_is_no_mask_is_refused(tmp_path, series, image, predicted, what):
    mask_to_seg(predicted, series, tmp_path / "seg.dcm", "Tumour")
    data = pydicom.dcmread(tmp_path / "seg.dcm")
    if what == "probabilities":
        data.SegmentationType, data.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.MaximumFractionalValue = 255
        data.PixelData = bytes([0, 128]) * (200 * int(data.NumberOfFrames))
    else:
        frames = data.PerFrameFunctionalGroupsSequence
        frames[1].PlanePositionSequence = frames[0].PlanePositionSequence
        frames[1].FrameContentSequence = frames[0].FrameContentSequence
    data.save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="no 0 and 1 on regular slices; export it as BINARY"):
        seg_to_mask(tmp_path / "seg.dcm", image, tmp_path / "m.nii.gz")


def test_the_wrong_segment_and_the_wrong_image(tmp_path, series, image, predicted):
    mask_to_seg(predicted, series, tmp_path / "seg.dcm", "Tumour")
    with pytest.raises(InputError, match="name one segment; there are: Tumour"):
        seg_to_mask(tmp_path / "seg.dcm", image, tmp_path / "m.nii.gz", "Liver")
    with pytest.raises(InputError, match="no readable DICOM SEG"):
        seg_to_mask(series / "000.dcm", image, tmp_path / "m.nii.gz")
    coarse = nib.load(image)
    nib.save(
        nib.Nifti1Image(np.asarray(coarse.dataobj)[::2], coarse.affine @ np.diag([2, 1, 1, 1])),
        tmp_path / "coarse.nii.gz",
    )
    with pytest.raises(InputError, match="other voxels than the image"):
        seg_to_mask(tmp_path / "seg.dcm", tmp_path / "coarse.nii.gz", tmp_path / "m.nii.gz")


# ---- the phantom's own DICOM ----


def test_the_phantom_survives_the_way_through_dicom(tmp_path):
    phantom = lung_volume(0, (64, 64, 16))
    paths = write_ct_series(tmp_path / "s", phantom.hu, phantom.affine)
    write_rtstruct(tmp_path / "rs.dcm", phantom.mask > 0, phantom.affine, paths)
    dicom_to_nifti(tmp_path / "s", tmp_path / "ct.nii.gz")
    image = read_image(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(image.array, phantom.hu)
    np.testing.assert_allclose(image.affine, phantom.affine, atol=1e-3)
    mask = rtstruct_to_mask(
        tmp_path / "rs.dcm", image, "GTV-1", tmp_path / "m.nii.gz", tmp_path / "s"
    )
    np.testing.assert_array_equal(mask, phantom.mask > 0)
    assert pydicom.dcmread(paths[0]).PatientName == PATIENT["PatientName"]


# ---- real contours ----

PAIRS = {
    "nsclc_rt/pat_1": ("ct", "rtstruct/DCM_RS_00060.dcm", "GTV-1", 125_256),
    "sts_ct_pet/STS_019/CT": ("image", "rtstruct/RS.dcm", "GTV_Mass_CT", None),
    "sts_ct_pet/STS_019/PET": ("image", "rtstruct/RS.dcm", "GTV_Mass_PET", None),
}


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::seg_lib.errors.DataWarning")
@pytest.mark.parametrize("folder", PAIRS)
def test_real_contours_give_the_official_mask(real_data, tmp_path, folder):
    images, structures, roi, voxels = PAIRS[folder]
    here: Path = real_data / folder
    dicom_to_nifti(here / images, tmp_path / "ct.nii.gz")
    image = read_image(tmp_path / "ct.nii.gz")
    mask = rtstruct_to_mask(
        here / structures, image, roi, tmp_path / "m.nii.gz", series_dir=here / images
    )
    official = read_mask(here / "reference_mask.nii.gz", like=image).array
    np.testing.assert_array_equal(mask, official)  # Dice 1.000
    assert voxels in (None, mask.sum())


@pytest.mark.real
def test_the_small_real_tumour(real_data, tmp_path):
    here = real_data / "nsclc_rt" / "pat_2"
    dicom_to_nifti(here / "ct", tmp_path / "ct.nii.gz")
    structures = here / "rtstruct" / "DCM_RS_00041.dcm"
    mask = rtstruct_to_mask(structures, tmp_path / "ct.nii.gz", "GTV-1", tmp_path / "m.nii.gz")
    assert mask.sum() * 0.977 * 0.977 * 3 / 1000 == pytest.approx(6.5, abs=0.05)  # ml
    assert mask.any((0, 1)).sum() == 7


@pytest.mark.real
def test_the_real_liver(real_data, tmp_path):
    import gzip

    here = real_data / "dicom_seg_liver"
    dicom_to_nifti(here / "ct", tmp_path / "ct.nii.gz")
    seg_to_mask(here / "liver_seg.dcm", tmp_path / "ct.nii.gz", tmp_path / "m.nii.gz")
    mask = np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj)
    _, _, content = (here / "liver_seg.nrrd").read_bytes().partition(b"\n\n")
    official = np.frombuffer(gzip.decompress(content), "<i2").reshape(3, 512, 512).T
    np.testing.assert_array_equal(mask, official > 0)
