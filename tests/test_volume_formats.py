"""NRRD, MetaImage and TIFF volumes: what ITK writes is read as NIfTI is, or refused."""

import gzip
import json
import warnings

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from seg_lib.data.case_rules import mask_name
from seg_lib.data.cases import Case, read_cases
from seg_lib.data.check_data import check_data
from seg_lib.data.nifti import read_image, read_mask, write_mask
from seg_lib.data.nnunet_layout import write_dataset
from seg_lib.errors import DataWarning, InputError

itk = pytest.importorskip("SimpleITK")
tifffile = pytest.importorskip("tifffile")
HU = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)  # z, y, x
NRRD_TEXT = """NRRD0005
# a comment
type: short
dimension: 3
space: left-posterior-superior
sizes: 7 6 5
space directions: (0.7,0,0) (0,0.8,0) (0,0,3)
space origin: (1,2,3)
encoding: raw
endian: little
type:=a note of the writer

"""
META_TEXT = """ObjectType = Image
NDims = 3
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 1 2 3
ElementSpacing = 0.7 0.8 3
DimSize = 7 6 5
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""


def rotated(array, angles=(20, -35, 100)):
    """An ITK image with three voxel sizes that no axis of the patient is parallel to."""
    image = itk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 3.0))
    image.SetOrigin((10.0, -20.0, 33.5))
    image.SetDirection(Rotation.from_euler("xyz", angles, degrees=True).as_matrix().ravel())
    return image


def written(path, text, hu=HU):
    path.write_bytes(text.encode() + hu.tobytes())
    return path


def tiff(path, array=HU, spacing=(3, 0.8, 0.7), **how):
    """As nnU-Net's Tiff3DIO writes it."""
    tifffile.imwrite(path, array, **how)
    name = path.name.removesuffix(".tif").removesuffix("_0000")
    path.with_name(f"{name}.json").write_text(json.dumps({"spacing": spacing}))
    return path


def quietly(read, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unsigned numbers are no HU
        return read(path)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "float32"])
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "packed"])
@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_a_volume_is_the_same_in_every_format(tmp_path, ending, packed, dtype):
    """Voxels and affine as nibabel finds them in the NIfTI file that ITK makes of it."""
    array = (HU // 8).astype(dtype) if "8" in dtype else HU.astype(dtype)
    image = rotated(array)
    itk.WriteImage(image, tmp_path / f"ct{ending}", packed)
    itk.WriteImage(image, tmp_path / "ct.nii.gz")
    truth = nib.as_closest_canonical(nib.load(tmp_path / "ct.nii.gz"))
    volume = quietly(read_image, tmp_path / f"ct{ending}")
    np.testing.assert_array_equal(volume.array, np.asarray(truth.dataobj))
    np.testing.assert_allclose(volume.affine, truth.affine, atol=1e-5)
    for index in ((0, 0, 0), (6, 0, 0), (0, 5, 0), (6, 5, 4)):
        left, back, head = image.TransformIndexToPhysicalPoint(index)
        place = volume.stored_affine @ [*index, 1]
        np.testing.assert_allclose(place[:3], [-left, -back, head], atol=1e-9)


def test_the_id_of_a_tiff_case_may_end_in_four_digits(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    image, label = tiff(source / "lung_0001_0000.tif"), source / "lung_0001.tif"
    tifffile.imwrite(label, (HU > 900).astype(np.uint8))
    assert (source / "lung_0001.json").is_file()
    case = Case("lung_0001", "lung_0001", image, label, "train")
    [written] = write_dataset([case], tmp_path / "raw")
    assert (tmp_path / "raw" / "labelsTr" / "lung_0001.json").is_file()
    for where in (case, written):
        read_mask(where.label, like=read_image(where.image))
    (source / "lung_0001.json").unlink()
    with pytest.raises(InputError, match=r"lung_0001\.json: is absent; add it"):
        write_dataset([case], tmp_path / "again")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_has_the_spacing_beside_it(tmp_path, dtype, compression):
    array = np.abs(HU // 8).astype(dtype)
    path = tiff(tmp_path / "p1_0000.tif", array, compression=compression)
    volume = quietly(read_image, path)
    np.testing.assert_array_equal(volume.array, array.T)
    np.testing.assert_allclose(volume.affine, np.diag([0.7, 0.8, 3, 1]))
    label = read_mask(tiff(tmp_path / "p1.tif", (array > 9).astype(np.uint8)), like=volume)
    np.testing.assert_array_equal(label.array, array.T > 9)


@pytest.mark.parametrize("order", "<>")
def test_the_byte_order_and_the_space_are_those_of_the_text(tmp_path, order):
    """First voxel at 1 mm left, 2 mm back, 3 mm up; in RAS space 1 mm right, 2 mm to the front."""
    big = order == ">"
    hu = HU.astype(f"{order}i2")
    text = NRRD_TEXT.replace("little", "big") if big else NRRD_TEXT
    lps = read_image(written(tmp_path / "a.nrrd", text, hu))
    ras = read_image(
        written(tmp_path / "b.nrrd", text.replace("left-posterior", "right-anterior"), hu)
    )
    windows = read_image(written(tmp_path / "c.nrrd", text.replace("\n", "\r\n"), hu))
    meta = META_TEXT.replace("MSB = False", "MSB = True") if big else META_TEXT
    meta = read_image(written(tmp_path / "d.mha", meta, hu))
    assert lps.stored_affine[:3, 3].tolist() == [-1, -2, 3]
    assert ras.stored_affine[:3, 3].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(ras.array, HU.T)
    np.testing.assert_array_equal(lps.array, HU.T[::-1, ::-1])
    for same in (windows, meta):
        np.testing.assert_array_equal(same.array, lps.array)
        np.testing.assert_array_equal(same.affine, lps.affine)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("encoding: raw", "data file: other.raw\nencoding: raw", "voxels in another file"),
        ("\n\n", "\n", "voxels in another file"),
        ("encoding: raw", "encoding: bzip2", "bz"),
        ("space: left-posterior-superior\n", "", "'space'.*SimpleITK"),
        ("left-posterior-superior", "scanner-xyz", "scanner-xyz"),
        ("space directions: (0.7,0,0) (0,0.8,0) (0,0,3)\n", "", "convert it"),
        ("space origin: (1,2,3)\n", "", "convert it"),
        ("(0,0,3)", "none", "convert it"),
        ("(0,0,3)", "(0,0,0)", "singular"),
        ("sizes: 7 6 5", "sizes: 7 30", "one 3D volume"),
        ("sizes: 7 6 5", "sizes: 7 6 0", "one 3D volume"),
        ("sizes: 7 6 5", "sizes: 9999 9999 9999", "more than the limit"),
        ("sizes: 7 6 5", "sizes: 7 6 6", "84 bytes too early|file has"),
        ("sizes: 7 6 5", "sizes: 7 6 4", "more data follow"),
        ("type: short", "type: block", "block"),
        ("type: short", "type: int", "file has"),
    ],
)
def test_an_unusual_nrrd_is_refused(tmp_path, old, new, message):
    path = written(tmp_path / "a.nrrd", NRRD_TEXT)
    read_image(path)
    with pytest.raises(InputError, match=message) as refused:
        read_image(written(path, NRRD_TEXT.replace(old, new)))
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("= LOCAL", "= /etc/passwd", "voxels in another file"),
        ("= LOCAL", "= LIST", "voxels in another file"),
        ("CompressedData = False", "CompressedData = True", "damaged or cut short"),
        ("ElementSpacing = 0.7 0.8 3\n", "", "'elementspacing'"),
        ("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "", "convert it"),
        ("MET_SHORT", "MET_SHORT_ARRAY", "convert it"),
        ("MET_SHORT", "MET_CHAR", "more data follow"),
    ],
)
def test_an_unusual_meta_image_is_refused(tmp_path, old, new, message):
    path = written(tmp_path / "a.mha", META_TEXT)
    read_image(path)
    with pytest.raises(InputError, match=message):
        read_image(written(path, META_TEXT.replace(old, new)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (HU.astype(np.int8), r"\(8, 2\)"),  # which Pillow would read as uint8
        (HU.astype(np.uint32), r"\(32, 1\)"),
        (np.zeros((5, 6, 3), np.uint8), "8, 8, 8"),
    ],
    ids=["int8", "uint32", "colours"],
)
def test_an_unusual_tiff_is_refused(tmp_path, array, message):
    with pytest.raises(InputError, match=message):
        read_image(tiff(tmp_path / "a.tif", array))


def test_pages_of_several_sizes_are_no_volume(tmp_path):
    pages = [Image.new("L", (7, n)) for n in (6, 5)]
    pages[0].save(tiff(tmp_path / "a.tif"), save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="same shape"):
        read_image(tmp_path / "a.tif")


def test_a_sheared_volume_is_read_with_a_warning(tmp_path):
    leaning = written(tmp_path / "a.nrrd", NRRD_TEXT.replace("(0,0,3)", "(0,0.5,3)"))
    with pytest.warns(DataWarning, match="not at right angles"):
        read_image(leaning)


def test_a_tiff_without_its_spacing_is_refused(tmp_path):
    path = tiff(tmp_path / "p1_0000.tif")
    (tmp_path / "p1.json").write_text('{"spacing": [1, 2]}')
    with pytest.raises(InputError, match="convert it"):
        read_image(path)
    (tmp_path / "p1.json").unlink()
    with pytest.raises(InputError, match=r'write \{"spacing": \[z, y, x\]\}, in mm, to p1.json'):
        read_image(path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_every_flipped_bit_in_packed_voxels_is_found(tmp_path, ending):
    path = tmp_path / f"ct{ending}"
    itk.WriteImage(rotated(HU), path, True)
    good, truth = path.read_bytes(), read_image(path).array
    start = good.index(b"\n\n") + 2 if ending == ".nrrd" else good.index(b"LOCAL\n") + 6
    found = 0
    for place in range(start, len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:  # a bit of the gzip header that says nothing of the voxels may change
            np.testing.assert_array_equal(read_image(path).array, truth)
        except InputError:
            found += 1
    assert found >= len(good) - start - 10


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "packed"])
@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".tif"])
def test_a_file_cut_short_anywhere_is_refused(tmp_path, ending, packed):
    path = tmp_path / f"ct{ending}"
    if ending == ".tif":
        tiff(path, compression="zlib" if packed else None)
    else:
        itk.WriteImage(rotated(HU), path, packed)
    good = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, before it finds out
        truth = read_image(path).array
        for length in range(8, len(good), 5):
            path.write_bytes(good[:length])
            try:  # the last bytes of a TIFF may be a remark of the writer
                np.testing.assert_array_equal(read_image(path).array, truth)
                assert ending == ".tif"
            except InputError:
                pass
        path.write_bytes(good[: len(good) // 2])
        with pytest.raises(InputError, match="cut|declares"):
            read_image(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\3\4 and more", "an NPZ or ZIP archive.*write_image"),
        (b"\x89HDF\r\n", "an HDF5 file.*write_image"),
        (b"II+\0 BigTIFF", "this is not a NIfTI file; give .nii.gz"),
    ],
)
def test_other_formats_are_named(tmp_path, content, message):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_image(path)


# ---- where they are met ----


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".tif"])
def test_a_raw_folder_of_nnunet_in_any_of_the_four_formats(tmp_path, ending):
    """Written from cases, read back without cases.csv, and nothing to fix in it."""
    cases, source = [], tmp_path / "source"
    source.mkdir()
    for n, split in enumerate(("train", "train", "val", "test")):
        image, label = source / f"p{n}_0000{ending}", source / f"p{n}{ending}"
        hu = HU + np.int16(n)
        lesion = (hu > 900).astype(np.uint8)
        if ending == ".tif":
            tiff(image, hu, compression="zlib"), tiff(label, lesion)
        else:
            itk.WriteImage(rotated(hu, (0, 0, 3)), image, True)
            itk.WriteImage(rotated(lesion, (0, 0, 3)), label, True)
        cases.append(Case(f"p{n}", f"p{n}", image, label, split))
    raw = tmp_path / "nnUNet_raw" / "Dataset001_Lung"
    written = write_dataset(cases, raw)
    assert json.loads((raw / "dataset.json").read_text())["file_ending"] == ending
    (raw / "cases.csv").unlink()
    read = read_cases(raw)
    assert {(c.case, c.split, c.image) for c in read} == {
        (c.case, c.split, c.image) for c in written
    }
    assert [p for p in check_data(raw) if p.must_fix] == []
    for before, after in zip(cases, sorted(read, key=lambda case: case.case), strict=True):
        one, two = (quietly(read_image, c.image) for c in (before, after))
        np.testing.assert_array_equal(one.array, two.array)
        np.testing.assert_array_equal(one.affine, two.affine)


def test_a_mask_goes_back_as_nifti_on_the_grid_of_the_image(tmp_path):
    """ITK finds every voxel of the mask at the place of the image's voxel."""
    image = rotated(HU)
    itk.WriteImage(image, tmp_path / "p1.nrrd")
    volume = read_image(tmp_path / "p1.nrrd")
    name = mask_name(tmp_path / "p1.nrrd")
    assert name == "p1.nii.gz"
    write_mask(tmp_path / name, volume.array > 500, like=volume)
    mask = itk.ReadImage(tmp_path / name)
    np.testing.assert_array_equal(itk.GetArrayFromImage(mask), HU > 500)
    for index in ((0, 0, 0), (6, 5, 4)):
        np.testing.assert_allclose(
            mask.TransformIndexToPhysicalPoint(index),
            image.TransformIndexToPhysicalPoint(index),
            atol=1e-4,
        )
    for own in ("p1.png", "p1.nii", "p1.nii.gz"):
        assert mask_name(tmp_path / own) == own


def test_nii_without_gz_is_not_packed(tmp_path):
    written(tmp_path / "a.nrrd", NRRD_TEXT)
    volume = read_image(tmp_path / "a.nrrd")
    write_mask(tmp_path / "a.nii", volume.array > 0, like=volume)
    write_mask(tmp_path / "a.nii.gz", volume.array > 0, like=volume)
    plain = (tmp_path / "a.nii").read_bytes()
    assert plain == gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    assert nib.load(tmp_path / "a.nii").shape == (7, 6, 5)
