"""DICOM to NIfTI. Numbers in brackets are those of the fault list that the project keeps."""

import gzip
import re
import signal
import subprocess
import sys
import warnings
import zipfile

import nibabel as nib
import numpy as np
import pydicom
import pytest
from made_up_dicom import (
    AXIAL,
    CORONAL,
    CT,
    OBLIQUE,
    PRONE,
    ROOT,
    SAGITTAL,
    assert_right,
    hu_at,
    make_enhanced,
    make_rtstruct,
    make_series,
    make_slice,
    positions,
    save,
    set_pixels,
)
from pydicom import uid

from seg_lib import cli
from seg_lib.data.dicom import dicom_to_nifti
from seg_lib.data.dicom_files import read_folder
from seg_lib.data.nifti import read_image
from seg_lib.errors import DataWarning, InputError


@pytest.fixture
def src(tmp_path):
    return tmp_path / "series"


@pytest.fixture
def dst(tmp_path):
    return tmp_path / "ct.nii.gz"


def refused(src, dst, pattern):
    with pytest.raises(InputError, match=pattern) as caught:
        dicom_to_nifti(src, dst)
    message = str(caught.value)
    assert message.startswith(str(dst)), "says which conversion"
    assert caught.value.__cause__ is None, "a cause could quote the header"
    assert not list(dst.parent.glob("*.nii*")) and not list(dst.parent.glob(".part*"))
    return message


def noted(src, dst, pattern):
    with pytest.warns(DataWarning, match=pattern):
        return dicom_to_nifti(src, dst)


# ---- geometry and HU ----


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, PRONE, OBLIQUE])
def test_each_voxel_lands_where_it_belongs(src, dst, orientation):  # 62
    save(src, make_series(orientation=orientation))
    assert dicom_to_nifti(src, dst) == [dst]
    hu = assert_right(dst)
    assert hu.shape == (10, 12, 6)
    assert nib.load(dst).get_data_dtype() == np.int16


@pytest.mark.parametrize("order", [[5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_the_order_of_files_means_nothing(src, dst, order):  # 62
    slices = make_series()
    for n, piece in enumerate(slices):
        piece.InstanceNumber = 6 - n
    save(src, [slices[n] for n in order])
    dicom_to_nifti(src, dst)
    assert_right(dst)


def test_the_reader_of_the_course_reads_it(src, dst):
    save(src, make_series())
    dicom_to_nifti(src, dst)
    volume = read_image(dst)
    np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.8, 2.5), rtol=1e-6)
    # The first pixel lies at LPS (-20, -30, 40), that is 20 mm to the right: RAS (20, 30, 40).
    np.testing.assert_allclose(volume.stored_affine[:3, 3], (20, 30, 40), atol=1e-4)


def test_plain_nii_holds_the_same(src, dst, tmp_path):
    save(src, make_series())
    dicom_to_nifti(src, dst)
    dicom_to_nifti(src, tmp_path / "ct.nii")
    assert gzip.decompress(dst.read_bytes()) == (tmp_path / "ct.nii").read_bytes()


def test_rescale_per_slice(src, dst):  # 61
    slices = make_series()
    for n, piece in enumerate(slices):
        set_pixels(piece, np.rint(hu_at(positions(piece))), 1, -1000 + 8 * n)
    save(src, slices)
    dicom_to_nifti(src, dst)
    assert_right(dst)
    assert nib.load(dst).get_data_dtype() == np.int16


def test_fractional_rescale_is_exact(src, dst):  # 61
    slices = make_series()
    for n, piece in enumerate(slices):
        set_pixels(piece, hu_at(positions(piece)), 0.05 * (n + 1), -500.5)
    save(src, slices)
    dicom_to_nifti(src, dst)
    hu = assert_right(dst, within=0.151)
    assert nib.load(dst).get_data_dtype() == np.float32
    values = np.frombuffer(slices[2].PixelData, np.int16).reshape(12, 10)
    np.testing.assert_allclose(hu[:, :, 2], values.T * 0.15 - 500.5, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["<u2", "<i2"])
def test_padding_far_below_air_stays_exact(src, dst, dtype):
    slices = make_series()
    for piece in slices:
        hu = np.rint(hu_at(positions(piece)))
        hu[0, 0] = -3024 if dtype == "<i2" else -2000
        set_pixels(piece, hu, 1, -1024 if dtype == "<i2" else -2000, dtype)
        piece.add_new(0x00280120, "SS" if dtype == "<i2" else "US", 0)
    save(src, slices)
    dicom_to_nifti(src, dst)
    hu = np.asarray(nib.load(dst).dataobj)
    assert (hu[0, 0] == (-3024 if dtype == "<i2" else -2000)).all()
    assert hu.dtype == np.int16 and (hu[1, 0] > -1024).all()


def test_padding_below_int16_does_not_wrap_round(src, dst):
    """-32768 with an intercept of -1024 is no int16, and must not come out as bright as metal."""
    slices = make_series()
    for piece in slices:
        stored = np.frombuffer(piece.PixelData, np.int16).copy()
        stored[0] = -32768
        piece.PixelData = stored.tobytes()
    save(src, slices)
    dicom_to_nifti(src, dst)
    assert (np.asarray(nib.load(dst).dataobj)[0, 0] == -33792).all()


def test_twelve_bits_without_their_sign(src, dst):
    """Some writers leave bits 12 to 15 of a negative 12-bit number at 0."""
    slices = make_series()
    for piece in slices:
        set_pixels(piece, np.rint(hu_at(positions(piece))), 1, 0, "<i2", bits=12)
        stored = np.frombuffer(piece.PixelData, np.uint16) & 0x0FFF
        piece.PixelData = stored.tobytes()
    save(src, slices)
    dicom_to_nifti(src, dst)
    assert_right(dst)


def test_an_overlay_in_the_upper_bits_is_no_part_of_the_pixel(src, dst):
    slices = make_series()
    for piece in slices:
        set_pixels(piece, np.rint(hu_at(positions(piece))), 1, -1024, "<u2", bits=12)
        stored = np.frombuffer(piece.PixelData, np.uint16) | 0x1000
        piece.PixelData = stored.tobytes()
    save(src, slices)
    refused(src, dst, "need more than the 12 bits declared")
    for piece in slices:
        piece.add_new(0x60000102, "US", 12)
    save(src, slices)
    dicom_to_nifti(src, dst)
    assert_right(dst)


def test_absent_rescale_warns(src, dst):  # 60
    slices = make_series()
    for piece in slices:
        del piece.RescaleSlope, piece.RescaleIntercept
    save(src, slices)
    noted(src, dst, "without RescaleSlope")


@pytest.mark.parametrize(("tag", "value"), [("RescaleSlope", 0), ("PixelSpacing", [0, 1])])
def test_impossible_numbers(src, dst, tag, value):
    slices = make_series()
    setattr(slices[3], tag, value)
    save(src, slices)
    refused(src, dst, r"file \d of 6 \(00\d.dcm\)")


def test_a_slanted_slice_and_an_unusual_layout_of_bits(src, dst, tmp_path):
    slices = make_series()
    for piece in slices:
        piece.ImageOrientationPatient = [1, 0, 0, 0.5, 0.5, 0]
    save(src, slices)
    refused(src, dst, "ImageOrientationPatient is no pair of unit vectors")
    slices = make_series()
    slices[2].HighBit = 12
    save(tmp_path / "bits", slices)
    refused(tmp_path / "bits", dst, r"\(002.dcm\): an unusual layout of bits")


# ---- slices missing, twice, uneven, tilted ----


def test_a_missing_slice_is_named_by_its_neighbours(src, dst):  # 48
    slices = make_series(n=8)
    del slices[5]
    save(src, slices)
    message = refused(src, dst, r"1 slice\(s\) missing between")
    assert "(-20.00, -30.00, 50.00) mm" in message and "(-20.00, -30.00, 55.00) mm" in message
    assert "(004.dcm)" in message and "(005.dcm)" in message


def test_two_missing_of_five(src, dst):  # 48
    slices = make_series(n=7)
    save(src, [*slices[:2], *slices[4:]])
    refused(src, dst, r"2 slice\(s\) missing")


def test_the_same_file_twice(src, dst):  # 49
    slices = make_series()
    save(src, [*slices, slices[2], slices[4]])
    noted(src, dst, r"2 slice\(s\) were there twice")
    assert assert_right(dst).shape[2] == 6


@pytest.mark.parametrize("same_uid", [False, True])
def test_two_images_at_one_place(src, dst, same_uid):  # 50
    slices = make_series()
    other = make_slice(2 if same_uid else 99, slices[2].ImagePositionPatient)
    set_pixels(other, np.zeros((12, 10)))
    save(src, [*slices, other])
    refused(src, dst, r"two images at \(-20.00, -30.00, 45.00\) mm")


def test_two_phases_in_one_series(src, dst):  # 53
    late = make_series()
    for n, piece in enumerate(late):
        piece.SOPInstanceUID, piece.AcquisitionNumber = f"{ROOT}7.{n + 1}", 2
        set_pixels(piece, np.zeros((12, 10)))
    save(src, [*make_series(), *late])
    refused(src, dst, "perhaps two phases")


def test_uneven_slices(src, dst):  # 56
    slices = make_series()
    for piece in slices[3:]:
        piece.ImagePositionPatient[2] += 0.9
    save(src, slices)
    refused(src, dst, "uneven slices between .* 3.400 mm apart, the others 2.500 mm")


def test_jitter_of_rounding_is_accepted(src, dst):  # 57
    slices = make_series(gap=1.0)
    for n, piece in enumerate(slices):
        piece.ImagePositionPatient[2] += 0.004 * (-1) ** n
    save(src, slices)
    dicom_to_nifti(src, dst)
    assert nib.load(dst).header.get_zooms()[2] == pytest.approx(1, abs=0.002)


@pytest.mark.parametrize("lean", [(0, 0.6, 0), (0, -0.6, 0), (0.3, 0, 0)])
def test_gantry_tilt_is_straightened(src, dst, lean):  # 55
    save(src, make_series(lean=lean, shape=(20, 20)))
    noted(src, dst, "gantry was tilted")
    assert_right(dst, within=1.01, inside=5)  # a plane, interpolated linearly, stays a plane
    axes = nib.load(dst).affine[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)


def test_a_tilted_series_loses_nothing_at_its_border(src, dst):
    save(src, make_series(lean=(0, 0.8, 0), n=5, shape=(12, 10), spacing=(0.8, 0.7)))
    noted(src, dst, "gantry")
    assert nib.load(dst).shape == (10, 16, 5)  # 4 slices further, one row a slice


def test_a_tilt_that_no_gantry_has(src, dst):
    """Else damaged positions would ask for a canvas without end."""
    save(src, make_series(lean=(0, 1e6, 0)))
    refused(src, dst, "lean by more than 45 degrees")


def test_a_slice_off_the_line(src, dst):
    slices = make_series()
    slices[3].ImagePositionPatient[0] += 4
    save(src, slices)
    refused(src, dst, r"lies 4.000 mm off the line")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("matrix", {"shape": (12, 12)}),
        ("pixel spacing", {"spacing": (0.9, 0.7)}),
        ("direction", {"orientation": OBLIQUE}),
    ],
)
def test_mixed_grids(src, dst, what, words):  # 58
    slices = make_series()
    slices[3] = make_slice(3, slices[3].ImagePositionPatient, **words)
    save(src, slices)
    refused(src, dst, f"another {what} than")


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_slices_say_so(src, dst, n):
    save(src, make_series(n=n))
    noted(src, dst, f"{n} slice\\(s\\): too few for 3D")
    assert_right(dst)


def test_one_slice_of_unknown_thickness(src, dst):
    slices = make_series(n=1)
    del slices[0].SliceThickness
    save(src, slices)
    with pytest.raises(InputError, match="without SliceThickness"):
        dicom_to_nifti(src, dst)


# ---- what belongs together ----


def test_two_series_become_two_files(src, dst, tmp_path):  # 51
    other = make_series(n=4, gap=5.0)
    for n, piece in enumerate(other):
        piece.SeriesInstanceUID, piece.SOPInstanceUID = f"{ROOT}22", f"{ROOT}7.{n + 1}"
    both = [*make_series(), *other]
    save(src, [both[n] for n in np.random.default_rng(0).permutation(10)])
    written = dicom_to_nifti(src, dst)
    assert [path.name for path in written] == ["ct-1.nii.gz", "ct-2.nii.gz"]
    assert sorted(assert_right(path).shape[2] for path in written) == [4, 6]


def test_of_two_series_the_good_one_is_written(src, dst, tmp_path):
    other = make_series(n=5)
    for n, piece in enumerate(other):
        piece.SeriesInstanceUID, piece.SOPInstanceUID = f"{ROOT}22", f"{ROOT}7.{n + 1}"
    save(src, [*make_series(), *other[:2], *other[3:]])
    with pytest.raises(InputError, match=r"ct-2.nii.gz: 1 slice\(s\) missing"):
        dicom_to_nifti(src, dst)
    assert [path.name for path in tmp_path.glob("*.nii.gz")] == ["ct-1.nii.gz"]


@pytest.mark.parametrize("tag", ["PatientID", "PatientName", "PatientBirthDate"])
@pytest.mark.parametrize("other_series", [False, True])
def test_two_patients_are_never_mixed(src, dst, tag, other_series):  # 52
    slices = make_series()
    for n, piece in enumerate(slices):
        setattr(piece, tag, "19500101" if n < 4 else "19600202")
        if other_series and n >= 4:
            piece.SeriesInstanceUID = f"{ROOT}22"
    save(src, slices)
    message = refused(src, dst, f"belong to two patients \\({tag} differs\\)")
    assert "1950" not in message and "1960" not in message


def test_a_scout_is_left_out(src, dst):  # 54
    scout = make_slice(50, (0, 0, 0), CORONAL, (40, 40))
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    del scout.ImagePositionPatient
    save(src, [*make_series(), scout])
    noted(src, dst, "left out: 1 scouts")
    assert_right(dst)


def test_only_scouts(src, dst):  # 54
    slices = make_series(n=2)
    for piece in slices:
        piece.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(src, slices)
    refused(src, dst, r"no slices of a CT or PET scan \(2 scouts\)")


TAGS = ["ImagePositionPatient", "PixelSpacing", "ImageOrientationPatient"]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("value", [None, ""])
def test_an_absent_tag_is_named(src, dst, tag, value):  # 59
    slices = make_series()
    if value is None:
        del slices[2][tag]
    else:
        setattr(slices[2], tag, value)
    save(src, slices)
    refused(src, dst, rf"\(002.dcm\): the tag {tag} is absent")


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_with_too_few_numbers(src, dst, tag):
    slices = make_series()
    setattr(slices[2], tag, [1.0])
    save(src, slices)
    refused(src, dst, rf"\(002.dcm\): {tag} does not hold")


@pytest.mark.parametrize("tag", [0x00200032, 0x00280008])
def test_a_number_that_is_none_is_not_quoted(src, dst, tag):  # 70
    """Without explicit types, pydicom finds out only when the number is wanted."""
    slices = make_series(n=3)
    src.mkdir()
    for n, piece in enumerate(slices):
        if n == 1:
            piece.add(pydicom.DataElement(tag, "LO", "Muster, Erika"))
        del piece.file_meta
        pydicom.dcmwrite(src / f"{n}.dcm", piece, implicit_vr=True, little_endian=True)
    message = refused(src, dst, r"file 2 of 3 \(1.dcm\): (a tag holds no|Image.* does not hold)")
    assert "Muster" not in message


# ---- how it is stored ----


PACKED = [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless]


@pytest.mark.parametrize("syntax", PACKED, ids=lambda s: s.name)
def test_compressed_without_loss(src, dst, syntax):  # 63, 64
    slices = make_series(n=3, shape=(64, 64))
    for piece in slices:
        piece.compress(syntax, generate_instance_uid=False)
    save(src, slices)
    dicom_to_nifti(src, dst)
    assert_right(dst)


@pytest.mark.parametrize(
    "syntax",
    [uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.ExplicitVRBigEndian],
    ids=lambda s: s.name,
)
def test_other_byte_orders(src, dst, syntax):  # 63
    slices = make_series(n=3)
    for piece in slices:
        piece.file_meta.TransferSyntaxUID = syntax
        if syntax == uid.ExplicitVRBigEndian:
            piece.PixelData = np.frombuffer(piece.PixelData, "<i2").astype(">i2").tobytes()
    src.mkdir()
    for n, piece in enumerate(slices):
        words = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
        if not syntax.is_deflated:
            pydicom.dcmwrite(src / f"{n}.dcm", piece, enforce_file_format=True, **words)
        else:
            piece.save_as(src / f"{n}.dcm", enforce_file_format=True)
    dicom_to_nifti(src, dst)
    assert_right(dst)


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble(src, dst, implicit):  # 67
    src.mkdir()
    for n, piece in enumerate(make_series()):
        del piece.file_meta
        pydicom.dcmwrite(src / f"IM{n}", piece, implicit_vr=implicit, little_endian=True)
    dicom_to_nifti(src, dst)
    assert_right(dst)


def test_enhanced_multi_frame(src, dst):  # 67
    slices = make_series()
    for n, piece in enumerate(slices):
        set_pixels(piece, np.rint(hu_at(positions(piece))), 1, -1000 + n)
    save(src, [make_enhanced(slices)])
    dicom_to_nifti(src, dst)
    assert assert_right(dst).shape == (10, 12, 6)


def test_enhanced_and_compressed(src, dst):
    data = make_enhanced(make_series())
    data.compress(uid.RLELossless, generate_instance_uid=False)
    save(src, [data])
    dicom_to_nifti(src, dst)
    assert_right(dst)


def test_frames_without_positions(src, dst):
    data = make_enhanced(make_series())
    del data.PerFrameFunctionalGroupsSequence
    save(src, [data])
    refused(src, dst, "frames without positions")


@pytest.mark.parametrize("syntax", PACKED, ids=lambda s: s.name)
def test_a_broken_stream(src, dst, syntax):  # 65
    slices = make_series(n=4, shape=(64, 64))
    for piece in slices:
        piece.compress(syntax, generate_instance_uid=False)
    slices[2].PixelData = slices[2].PixelData[: len(slices[2].PixelData) // 4 * 2]
    save(src, slices)
    refused(src, dst, r"file 3 of 4 \(002.dcm\)")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.999])
def test_a_file_cut_short(src, dst, keep):  # 65
    save(src, make_series(shape=(64, 64)))
    content = (src / "003.dcm").read_bytes()
    (src / "003.dcm").write_bytes(content[: int(len(content) * keep)])
    refused(src, dst, r"file 4 of 6 \(003.dcm\): the pixels end \d+ bytes too early")


@pytest.mark.parametrize("content", [b"", b"<html>sorry</html>", b"\0" * 200])
def test_a_slice_that_is_none(src, dst, content):  # 65
    """At the end of a series nobody would miss it."""
    save(src, make_series())
    (src / "005.dcm").write_bytes(content)
    refused(src, dst, r"file 6 of 6 \(005.dcm\): is (empty|no readable DICOM)")


@pytest.mark.parametrize("name", ["005.dcm", "005"])
@pytest.mark.parametrize("length", [132, 133, 140, 200, 340, 500, 700, 800])
def test_a_header_cut_short(src, dst, length, name):  # 65
    save(src, make_series())
    content = (src / "005.dcm").read_bytes()
    assert len(content) > 1000
    (src / "005.dcm").unlink()
    (src / name).write_bytes(content[:length])
    refused(src, dst, r"\(005(\.dcm)?\): (the DICOM header is damaged|the file ends before|is no)")


def test_a_missing_decoder_is_named(src, dst, monkeypatch):  # 64
    slices = make_series(n=3, shape=(64, 64))
    for piece in slices:
        piece.compress(uid.JPEG2000Lossless, generate_instance_uid=False)
    save(src, slices)
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder as decoder

    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", {"pylibjpeg": ("pylibjpeg-openjpeg>=2.0",)})
    refused(src, dst, "no decoder for JPEG 2000 .*; install pylibjpeg")


def test_litter_is_skipped_and_counted(src, dst):  # 66
    save(src, make_series())
    (src / "notes.txt").write_text("hello")
    (src / "sub").mkdir()
    (src / "sub" / "readme").write_text("hello " * 100)
    save(src / "rt", [make_rtstruct({"GTV": []})])
    noted(src, dst, "left out: 1 other DICOM objects, 2 no DICOM|2 no DICOM, 1 other DICOM")
    assert_right(dst)


@pytest.mark.parametrize("content", ["empty", "file", "absent", "litter"])
def test_nothing_to_convert(tmp_path, dst, content):
    folder = tmp_path / "in"
    if content == "file":
        save(tmp_path / "x", make_series(n=1))
        folder = tmp_path / "x" / "000.dcm"
    elif content != "absent":
        folder.mkdir()
    if content == "litter":
        (folder / "notes.txt").write_text("hello")
    refused(folder, dst, "not a folder|no slices of a CT or PET scan")


def test_a_colour_picture(src, dst):
    slices = make_series()
    slices[1].SamplesPerPixel, slices[1].PhotometricInterpretation = 3, "RGB"
    save(src, slices)
    refused(src, dst, "not a plain grey image")


def test_too_many_voxels_are_refused_before_memory_is_taken(src, dst):
    slices = make_series(n=3)
    for piece in slices:
        piece.Rows = piece.Columns = 60000
    save(src, slices)
    refused(src, dst, "too many voxels")


def test_the_output_must_be_nifti(src, tmp_path):
    save(src, make_series())
    with pytest.raises(InputError, match="call the output something.nii.gz"):
        dicom_to_nifti(src, tmp_path / "ct.png")


# ---- what must not get through ----


def test_hostile_names_are_only_text(tmp_path, dst):  # 68
    folder = tmp_path / "$(touch hacked); x"
    slices = make_series()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom says rightly that these are no UIDs
        for n, piece in enumerate(slices):
            piece.SeriesInstanceUID = "../../evil$(touch hacked)"
            piece.SOPInstanceUID = f"../{n}"
            piece.PatientID = "../../../etc/passwd"
        save(folder, slices, names="$(touch x){:03d};.dcm")
        save(tmp_path / "b", slices[:3] + slices[4:], names="$(touch x)\n{:03d};.dcm")
    before = {path.name for path in tmp_path.iterdir()}
    dicom_to_nifti(folder, dst)
    assert {path.name for path in tmp_path.iterdir()} == before | {dst.name}
    dst.unlink()
    message = refused(tmp_path / "b", dst, "missing")
    assert "$" not in message and "\n" not in message


def test_a_dicomdir_is_not_followed(src, dst, tmp_path):  # 69
    outside = save(tmp_path / "outside", make_series())
    src.mkdir()
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = uid.MediaStorageDirectoryStorage, f"{ROOT}6"
    record = pydicom.Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.add(pydicom.DataElement(0x00041500, "LO", ["..", "outside", "000.dcm"]))
    data.DirectoryRecordSequence = [record]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom says rightly that ".." is no file id
        data.save_as(src / "DICOMDIR", enforce_file_format=True)
    refused(src, dst, "no slices")
    refused(src / "DICOMDIR", dst, "not a folder")
    assert outside.is_dir()


SECRETS = ["Muster", "Erika", "MRN-20177", "19630812", "Mercy", "A-991", "Dr. Who"]


def identified(piece):
    piece.PatientName, piece.PatientID = "Muster^Erika", "MRN-20177"
    piece.PatientBirthDate, piece.InstitutionName = "19630812", "Mercy Hospital"
    piece.AccessionNumber, piece.ReferringPhysicianName = "A-991", "Dr. Who"
    piece.ImageComments = "Erika Muster, MRN-20177"
    piece.private_block(0x0011, "MERCY", create=True).add_new(1, "LO", "Muster MRN-20177")
    nested = pydicom.Dataset()
    nested.PatientID, nested.PatientName = "MRN-20177", "Muster^Erika"
    piece.OtherPatientIDsSequence = [nested]
    return piece


def test_nothing_of_the_patient_gets_into_the_file(tmp_path, dst, capsys):  # 70
    folder = save(tmp_path / "Muster_Erika" / "MRN-20177", map(identified, make_series()))
    assert cli.main(["dicom-to-nifti", str(folder), str(dst)]) == 0
    said = "".join(capsys.readouterr())
    content = gzip.decompress(dst.read_bytes())
    for secret in [*SECRETS, "Muster_Erika", ROOT]:
        assert secret.encode() not in content and secret not in said
    packed = dst.read_bytes()
    assert packed[3] == 0 and packed[4:8] == bytes(4), "gzip keeps neither a name nor a time"
    # Only voxels, geometry and types: without them, the header is that of any other series.
    empty = nib.load(dst).header
    assert bytes(empty["descrip"]).strip(b"\0") == bytes(empty["intent_name"]).strip(b"\0") == b""
    assert not empty.extensions


FAULTS = {
    "missing": lambda slices: slices.pop(3),
    "absent": lambda slices: slices[3].__delattr__("PixelSpacing"),
    "not a number": lambda slices: slices[3].__setitem__(
        0x00280030, pydicom.DataElement(0x00280030, "LO", "Muster")
    ),
    "short": lambda slices: setattr(slices[3], "PixelData", b"12"),
    "other patient": lambda slices: setattr(slices[3], "PatientID", "MRN-20178"),
    "twice": lambda slices: setattr(
        slices[3], "ImagePositionPatient", slices[2].ImagePositionPatient
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_refusal_tells_who_it_is(tmp_path, dst, capsys, fault):  # 70
    slices = [identified(piece) for piece in make_series()]
    FAULTS[fault](slices)
    folder = save(tmp_path / "Muster_Erika", slices, names="Muster_Erika_{:03d}.dcm")
    assert cli.main(["dicom-to-nifti", str(folder), str(dst)]) == 1
    said = "".join(capsys.readouterr())
    assert re.search(r"file \d of \d", said), said
    for secret in SECRETS:
        assert secret.lower() not in said.lower()
    assert not dst.exists()


def test_a_burned_in_name_is_warned_of(src, dst):  # 70
    slices = make_series()
    slices[2].BurnedInAnnotation = "YES"
    save(src, slices)
    noted(src, dst, "burned into the pixels")


@pytest.mark.parametrize(
    ("units", "kind", "known"),
    [("GML", "BW", True), ("GML", None, True), ("GML", "LBM", False), ("BQML", None, False)],
)
def test_pet_that_is_not_in_suv_is_warned_of(src, dst, recwarn, units, kind, known):
    slices = make_series()
    for data in slices:
        data.SOPClassUID, data.Modality, data.Units = "1.2.840.10008.5.1.4.1.1.128", "PT", units
        if kind:
            data.SUVType = kind
    save(src, slices)
    dicom_to_nifti(src, dst)
    said = [str(one.message) for one in recwarn]
    assert any("not in body-weight SUV" in one for one in said) != known, said


def test_lossy_compression_is_warned_of(src, dst):
    slices = make_series()
    slices[2].LossyImageCompression = "01"
    save(src, slices)
    noted(src, dst, "compressed with losses")


def test_the_secret_part_is_read_and_stays_inside(src):
    save(src, [identified(piece) for piece in make_series()], names="MUSTER{:03d}.dcm")
    pieces, _ = read_folder(src)
    assert [piece.name for piece in pieces] == [f"file {n} of 6" for n in range(1, 7)]


# ---- other converters ----


def compare(ours, theirs):
    """The same HU at the same places, whatever the order of storage."""
    a, b = nib.load(ours), nib.load(theirs)
    across = np.linalg.inv(b.affine) @ a.affine
    index = np.moveaxis(np.indices(a.shape), 0, -1)
    there = index @ across[:3, :3].T + across[:3, 3]
    whole = np.rint(there)
    mm = np.linalg.norm((there - whole) * b.header.get_zooms()[:3], axis=-1)
    assert mm.max() <= 0.01
    values = np.asarray(b.dataobj, float)[tuple(np.moveaxis(whole.astype(int), -1, 0))]
    assert np.abs(values - np.asarray(a.dataobj, float)).max() <= 0.5


SERIES = {
    "axial": {},
    "prone": {"orientation": PRONE},
    "sagittal": {"orientation": SAGITTAL},
    "oblique": {"orientation": OBLIQUE},
}


@pytest.mark.parametrize("name", SERIES)
def test_equal_to_dcm2niix(src, dst, tmp_path, name):
    dcm2niix = pytest.importorskip("dcm2niix", reason="dcm2niix is not installed")
    save(src, make_series(shape=(16, 16), **SERIES[name]))
    dicom_to_nifti(src, dst)
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "peer", "-o", tmp_path, src]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    compare(dst, tmp_path / "peer.nii")


@pytest.mark.parametrize("name", SERIES)
def test_equal_to_dicom2nifti(src, dst, tmp_path, name):
    peer = pytest.importorskip("dicom2nifti", reason="dicom2nifti is not installed")
    save(src, make_series(shape=(16, 16), **SERIES[name]))
    dicom_to_nifti(src, dst)
    peer.dicom_series_to_nifti(str(src), str(tmp_path / "peer.nii"), reorient_nifti=False)
    compare(dst, tmp_path / "peer.nii")


# ---- real scans ----

REAL = {  # folder: shape as stored, lowest and highest HU, as the collection's README says
    "nsclc_rt/pat_1/ct": ((204, 201, 60), -1000, 3065),
    "nsclc_rt/pat_2/ct": ((141, 138, 41), -1000, 2254),
    "sts_ct_pet/STS_019/CT/image": ((136, 134, 47), -1000, 1478),
    "sts_ct_pet/STS_019/PET/image": ((28, 28, 47), 0, 16.327686),
    "dicom_seg_liver/ct": ((512, 512, 3), -3024, 1381),
    "awkward_dicom/ge_padding_abdomen_CRLM-CT-1004": ((512, 512, 2), -3024, 1240),
}


@pytest.mark.real
@pytest.mark.parametrize("folder", REAL)
def test_real_series(real_data, dst, tmp_path, folder):
    shape, low, high = REAL[folder]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        dicom_to_nifti(real_data / folder, dst)
    hu = np.asarray(nib.load(dst).dataobj)
    assert hu.shape == shape
    assert (hu.min(), hu.max()) == pytest.approx((low, high))
    dcm2niix = pytest.importorskip("dcm2niix", reason="dcm2niix is not installed")
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "peer", "-o", tmp_path]
    command += [real_data / folder]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    compare(dst, tmp_path / "peer.nii")


@pytest.mark.real
def test_one_slice_in_five_transfer_syntaxes(real_data, tmp_path):
    files = sorted((real_data / "ct_transfer_syntaxes").iterdir())
    assert len(files) == 5
    results = []
    for n, path in enumerate(files):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "slice.dcm").write_bytes(path.read_bytes())
        with pytest.warns(DataWarning, match="too few for 3D"):
            dicom_to_nifti(folder, tmp_path / f"{n}.nii")
        results.append((tmp_path / f"{n}.nii").read_bytes())
    assert results.count(results[0]) == 5
    hu = np.asarray(nib.load(tmp_path / "0.nii").dataobj)
    assert (hu.min(), hu.max()) == (-3024, 2402 - 1024)


@pytest.mark.real
def test_the_real_missing_slice(real_data, tmp_path, dst):
    with zipfile.ZipFile(real_data / "awkward_dicom" / "missing_slice_head.zip") as archive:
        for n, name in enumerate(archive.namelist()):
            if name.endswith(".dcm"):
                (tmp_path / f"{n}.dcm").write_bytes(archive.read(name))
    refused(tmp_path, dst, r"1 slice\(s\) missing between")


@pytest.mark.real
def test_jpeg_lossless(real_data, tmp_path):  # 64
    gdcm = pytest.importorskip("gdcm", reason="gdcm, which can write JPEG lossless, is absent")
    source = next((real_data / "ct_transfer_syntaxes").glob("*LittleEndianExplicit*"))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    (tmp_path / "a").mkdir()
    writer.SetFileName(str(tmp_path / "a" / "slice.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(tmp_path / "a" / "slice.dcm").file_meta.TransferSyntaxUID in (
        uid.JPEGLosslessSV1,
        uid.JPEGLossless,
    )
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "slice.dcm").write_bytes(source.read_bytes())
    for name in "ab":
        with pytest.warns(DataWarning, match="too few"):
            dicom_to_nifti(tmp_path / name, tmp_path / f"{name}.nii")
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


def test_the_class_of_ct_is_the_one_of_the_standard():
    assert str(uid.CTImageStorage) == CT


KILLED = """
import os, signal, sys
from seg_lib import cli
from seg_lib.data import dicom

def die_at(call, number):
    calls = iter(range(number))
    def dies(*args):
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args)
    return dies

if sys.argv[1] == "voxels":
    dicom.read_hu = die_at(dicom.read_hu, 3)
else:
    os.replace = die_at(os.replace, 0)
cli.main(["dicom-to-nifti", *sys.argv[2:]])
"""


@pytest.mark.parametrize("moment", ["voxels", "end"])
def test_killed_in_the_middle_and_run_again(tmp_path, moment):
    """SIGKILL after three of six slices, or before the file gets its name: no file, or the old one.

    What is left is hidden, and the next run does not stumble over it.
    """
    folder = save(tmp_path / "s", make_series())
    out = tmp_path / "out"
    words = [str(folder), str(out / "ct.nii.gz")]
    run = subprocess.run([sys.executable, "-c", KILLED, moment, *words], capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    (left,) = out.iterdir()
    assert left.name.startswith(".part-")
    assert cli.main(["dicom-to-nifti", *words]) == 0
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == ["ct.nii.gz"]
    assert_right(out / "ct.nii.gz")
    whole = (out / "ct.nii.gz").read_bytes()
    assert subprocess.run([sys.executable, "-c", KILLED, moment, *words]).returncode == -9
    assert (out / "ct.nii.gz").read_bytes() == whole
