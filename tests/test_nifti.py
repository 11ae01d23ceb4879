import gzip
import itertools
import os
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from hostile import read_apart

from seg_lib.data.nifti import (
    Volume,
    axial_view,
    check_same_grid,
    from_axial_view,
    read_image,
    read_mask,
    write_image,
    write_mask,
)
from seg_lib.data.volumes import Preparation, prepare
from seg_lib.errors import DataWarning, InputError
from seg_lib.inference import SlidingWindow, predict_volume
from seg_lib.models import build_model
from seg_lib.models.presets import sizes_for
from seg_lib.steps import segmentation_step

AFFINE = np.array([[0.7, 0, 0, -30], [0, 0.8, 0, 12], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])
HU = np.random.default_rng(0).integers(-1000, 400, (6, 5, 4)).astype(np.int16)
MASK = (HU > 0).astype(np.uint8)
ORIENTATIONS = [
    "".join(codes)
    for codes in itertools.product("RLAPSI", repeat=3)
    if {frozenset(pair) & set(codes) != set() for pair in ("RL", "AP", "SI")} == {True}
]


def nifti(
    array, affine=AFFINE, path=None, qform=1, sform=1, header_class=nib.Nifti1Image, **fields
):
    """A NIfTI image as bytes; ``fields`` overwrite header entries after everything else."""
    image = header_class(array, affine)
    image.set_qform(affine, qform)
    image.set_sform(affine, sform)
    content = bytearray(image.to_bytes())
    size = image.header.sizeof_hdr
    header = type(image.header)(bytes(content[:size]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:size] = header.binaryblock
    if path is not None:
        path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return bytes(content)


def reoriented(array, affine, codes):
    """The same image stored in another axis order; says nothing about where it is in space."""
    stored = nib.orientations.axcodes2ornt(codes)
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), stored)
    inverse = nib.orientations.inv_ornt_aff(change, array.shape)
    return nib.apply_orientation(array, change), affine @ inverse


def rotated(affine, degrees=20.0):
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


# ---- what is read ----


def test_a_plain_file(tmp_path):
    nifti(HU, path=tmp_path / "ct.nii.gz")
    volume = read_image(tmp_path / "ct.nii.gz")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, HU)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.8, 2.5), rtol=1e-6)
    assert volume.stored_shape == HU.shape


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_the_stored_order_makes_no_difference(tmp_path, codes):
    stored, affine = reoriented(HU, AFFINE, codes)
    nifti(stored, affine, tmp_path / "ct.nii.gz")
    volume = read_image(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(volume.array, HU)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert nib.aff2axcodes(volume.stored_affine) == tuple(codes)


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("turned", [False, True])
def test_a_written_mask_lies_where_the_stored_image_lies(tmp_path, codes, turned):
    stored, affine = reoriented(HU, AFFINE, codes)
    affine = rotated(affine) if turned else affine
    nifti(stored, affine, tmp_path / "ct.nii.gz")
    image = read_image(tmp_path / "ct.nii.gz")
    mask = (image.array > 0).astype(np.uint8)
    write_mask(tmp_path / "mask.nii.gz", mask, image)
    written = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(written.dataobj, stored > 0)  # voxel by voxel as stored
    np.testing.assert_allclose(written.affine, affine, atol=1e-5)
    assert (written.header["qform_code"], written.header["sform_code"]) == (1, 1)
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", image).array, mask)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "ASR", "IPL"])
def test_two_rounds_of_writing_change_nothing(tmp_path, codes):
    stored, affine = reoriented(HU, rotated(AFFINE), codes)
    write_image(tmp_path / "1.nii.gz", stored, affine)
    first = read_image(tmp_path / "1.nii.gz")
    write_image(tmp_path / "2.nii.gz", stored, first.stored_affine)
    assert (tmp_path / "1.nii.gz").read_bytes() == (tmp_path / "2.nii.gz").read_bytes()


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f8"]
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_number_type_in_both_byte_orders(tmp_path, dtype, suffix):
    values = np.arange(120).reshape(6, 5, 4).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(values, AFFINE, header)
    path = tmp_path / f"ct{suffix}"
    path.write_bytes(image.to_bytes() if suffix == ".nii" else gzip.compress(image.to_bytes()))
    with pytest.warns(DataWarning, match="no value below 0"):
        np.testing.assert_array_equal(read_image(path).array, values)


def test_nifti_2_and_a_wrong_suffix(tmp_path):
    nifti(HU, path=tmp_path / "two.nii", header_class=nib.Nifti2Image)
    np.testing.assert_array_equal(read_image(tmp_path / "two.nii").array, HU)
    (tmp_path / "zipped.nii").write_bytes(gzip.compress(nifti(HU)))
    np.testing.assert_array_equal(read_image(tmp_path / "zipped.nii").array, HU)


def test_slope_and_intercept_give_hu(tmp_path):
    nifti((HU + 1024).astype(np.uint16), path=tmp_path / "a.nii", scl_slope=1.0, scl_inter=-1024.0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii").array, HU)
    nifti(HU, path=tmp_path / "b.nii.gz", scl_slope=0.5, scl_inter=10.25)
    np.testing.assert_array_equal(read_image(tmp_path / "b.nii.gz").array, HU * 0.5 + 10.25)


def test_a_gzip_file_of_several_members(tmp_path):
    content = nifti(HU)
    members = gzip.compress(content[:400]) + gzip.compress(content[400:])
    (tmp_path / "ct.nii.gz").write_bytes(members)
    np.testing.assert_array_equal(read_image(tmp_path / "ct.nii.gz").array, HU)


def test_big_blocks_are_put_together_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("seg_lib.data.nifti.BLOCK_VOXELS", 13)
    nifti(HU, path=tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "ct.nii.gz").array, HU)


@pytest.mark.parametrize("name", ["-rf.nii.gz", "a b;c.nii.gz", "$(x) `y`.nii.gz", "é ü.nii.gz"])
def test_odd_file_names_work(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_image(name, HU, AFFINE)
    image = read_image(name)
    write_mask(f"m{name}", MASK, image)
    write_mask(name, MASK, image)
    assert (read_mask(name).array == MASK).all()
    assert sorted(os.listdir()) == sorted([name, f"m{name}"])


def test_only_one_form_is_enough(tmp_path):
    for qform, sform in ((1, 0), (0, 2)):
        nifti(HU, rotated(AFFINE), tmp_path / "ct.nii", qform=qform, sform=sform)
        image = read_image(tmp_path / "ct.nii")
        np.testing.assert_allclose(image.affine, rotated(AFFINE), atol=1e-5)
        write_mask(tmp_path / "m.nii.gz", MASK, image)
        read_mask(tmp_path / "m.nii.gz", image)


# ---- what is refused ----


def with_nan(value):
    hu = HU.astype(np.float32)
    hu[1, 2, 3] = value
    hu[5, 4, 3] = value
    return hu


REFUSED = {
    "empty": (lambda: b"", "empty"),
    "web page": (lambda: b"\n<!DOCTYPE html><html>", "web page.*download"),
    "lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "text": (lambda: b"hello" * 200, "not a NIfTI"),
    "dicom": (lambda: bytes(128) + b"DICM" + bytes(500), "DICOM"),
    "pair": (lambda: nifti(HU, magic=b"ni1"), "pair"),
    "not a single number": (
        lambda: nifti(np.full(HU.shape, np.nan, np.float32)),
        r"120 of 120 voxels are NaN.*first at \(0, 0, 0\)",
    ),
    "cut header": (lambda: nifti(HU)[:300], "cut short"),
    "cut body": (lambda: nifti(HU)[:-1], "cut"),
    "cut body, gzip intact": (lambda: gzip.compress(nifti(HU)[:-7]), "7 bytes too early"),
    "cut gzip": (lambda: gzip.compress(nifti(HU))[:-30], "damaged or cut"),
    "cut gzip trailer": (lambda: gzip.compress(nifti(HU))[:-4], "damaged or cut"),
    "wrong gzip checksum": (lambda: gzip.compress(nifti(HU))[:-8] + bytes(8), "damaged or cut"),
    "surplus": (lambda: nifti(HU) + b"\0", "more data"),
    "NaN": (lambda: nifti(with_nan(np.nan)), r"2 of 120 voxels.*first at \(1, 2, 3\)"),
    "inf": (lambda: nifti(with_nan(-np.inf)), r"2 of 120 voxels.*first at \(1, 2, 3\)"),
    "float64 overflow": (lambda: nifti(np.full((2, 2, 2), 1e300)), "8 of 8 voxels"),
    "RGB": (lambda: nifti(np.zeros((2, 2, 2), [(c, "u1") for c in "RGB"])), "RGB"),
    "complex": (lambda: nifti(np.ones((2, 2, 2), np.complex64)), "complex"),
    "unknown type": (lambda: nifti(HU, datatype=5), "type 5"),
    "4D": (lambda: nifti(np.zeros((4, 3, 2, 2), np.int16)), "4D image of size .*one 3D volume"),
    "2D": (lambda: nifti(np.zeros((4, 3), np.int16)), "2D image"),
    "negative size": (lambda: nifti(HU, dim=[3, 6, -5, 4, 1, 1, 1, 1]), "impossible size"),
    "no axes": (lambda: nifti(HU, dim=[0] * 8), "impossible size"),
    "54 TB": (lambda: nifti(HU, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), "limit"),
    "more than the file": (lambda: nifti(HU, dim=[3, 600, 600, 600, 1, 1, 1, 1]), "the file has"),
    "offset": (lambda: nifti(HU, vox_offset=1e9), "offset"),
    "no offset": (lambda: nifti(HU, vox_offset=np.nan), "offset"),
    "zero spacing": (lambda: nifti(HU, pixdim=[1, 0.7, 0, 2.5, 0, 0, 0, 0]), "spacing"),
    "NaN spacing": (lambda: nifti(HU, pixdim=[1, np.nan, 1, 1, 0, 0, 0, 0]), "spacing"),
    "metres": (lambda: nifti(HU, xyzt_units=1), "metres"),
    "flat": (lambda: nifti(HU, srow_z=[0, 0, 0, 0], qform_code=0), "singular"),
    "NaN affine": (lambda: nifti(HU, srow_x=[np.nan] * 4, qform_code=0), "singular or not finite"),
    "bad quaternion": (lambda: nifti(HU, quatern_b=3.0), "damaged NIfTI header"),
    "qform against sform": (lambda: nifti(HU, qoffset_x=-29.9), "0.143 voxels apart"),
    "infinite slope": (lambda: nifti(HU, scl_slope=np.inf, scl_inter=0), "infinite scl_slope"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_faulty_file_is_refused_by_name(tmp_path, fault):
    content, message = REFUSED[fault]
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(content())
    with pytest.raises(InputError, match=message) as refusal:
        read_image(path)
    assert str(refusal.value).startswith(f"{path}: ")
    with pytest.raises(InputError, match=message):
        read_mask(path)


def test_every_single_bit_flip_in_a_gzip_file_is_found(tmp_path):
    content = gzip.compress(nifti(HU), mtime=0)
    path = tmp_path / "ct.nii.gz"
    for position in range(10, len(content), 7):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        )
        with pytest.raises(InputError, match=str(path)):
            read_image(path)


def test_random_damage_of_the_header_never_ends_in_another_error(tmp_path):
    good, path = nifti(HU), tmp_path / "ct.nii"
    generator = np.random.default_rng(1)
    refused = 0
    for _ in range(400):
        damaged = bytearray(good)
        for position in generator.integers(0, 352, 3):
            damaged[position] = generator.integers(0, 256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            try:
                read_image(path)
            except InputError:
                refused += 1
    assert 100 < refused < 400


def test_an_absent_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "nowhere.nii.gz", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_image(path)


BOMBS = {
    "54 TB": lambda: gzip.compress(nifti(HU, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])),
    "10 GB follow": lambda: gzip.compress(nifti(HU)) + gzip.compress(bytes(2**26)) * 160,
    "3 GB declared": lambda: (
        gzip.compress(nifti(HU, dim=[3, 1500, 1000, 1000, 1, 1, 1, 1])[:352])
        + gzip.compress(bytes(2**26)) * 45
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_with_little_memory(tmp_path, bomb):
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(BOMBS[bomb]())
    message, memory = read_apart("seg_lib.data.nifti", "read_image", path)
    assert message.startswith(f"{path}: ")
    assert memory < 300


# ---- what is read with a warning ----


@pytest.mark.parametrize(
    ("array", "fields", "message"),
    [
        (HU[..., None], {}, "4D image with a single frame"),
        (np.full((3, 3, 3), 7, np.int16), {}, "every voxel is 7"),
        ((HU + 1024).astype(np.uint16), {}, "the offset of -1024 is missing"),
        ((HU - HU.min()) / np.float32(np.ptp(HU)), {}, "not HU"),
        (HU, {"qform_code": 0, "sform_code": 0}, "neither qform nor sform"),
        (HU, {"srow_x": [0.7, 0.1, 0, -30], "qform_code": 0}, "not at right angles"),
    ],
)
def test_a_suspicious_image_is_read_with_a_warning(tmp_path, array, fields, message):
    nifti(array, path=tmp_path / "ct.nii.gz", **fields)
    with pytest.warns(DataWarning, match=message) as caught:
        volume = read_image(tmp_path / "ct.nii.gz")
    assert len(caught) == 1 and str(tmp_path) in str(caught[0].message)
    assert volume.array.shape == array.shape[:3]


@pytest.mark.parametrize("network", ["unet3d", "monai_unet", "segresnet", "swin_unetr"])
@pytest.mark.parametrize("value", [-1000, 7])
def test_a_network_answers_an_image_of_one_value_without_nan(tmp_path, network, value):
    """Every normalisation divides by a standard deviation of 0; also in a step of training."""
    nifti(np.full((64, 32, 32), value, np.int16), path=tmp_path / "ct.nii")
    with pytest.warns(DataWarning, match="every voxel is"):
        volume = read_image(tmp_path / "ct.nii")
    torch.manual_seed(0)
    model = build_model(network, **sizes_for(network, 0, "small"))
    patch = torch.from_numpy(prepare(volume, Preparation()).image)[None, None]
    assert patch.unique().numel() == 1 and patch.shape == (1, 1, 64, 32, 32)
    segmentation_step(model, {"image": patch, "label": (patch > 2).long()})["loss"].backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
    with torch.inference_mode():
        assert torch.isfinite(model.eval()(patch)).all()
    mask = predict_volume(model, volume, Preparation(), SlidingWindow((64, 32, 32)))
    assert mask.shape == volume.array.shape and mask.max() <= 1


def test_a_mask_for_a_sheared_image_can_be_read_again(tmp_path):
    nifti(HU, path=tmp_path / "ct.nii", srow_x=[0.7, 0.1, 0, -30], qform_code=0)
    with pytest.warns(DataWarning, match="right angles"):
        image = read_image(tmp_path / "ct.nii")
    write_mask(tmp_path / "m.nii.gz", MASK, image)
    with pytest.warns(DataWarning, match="right angles"):
        np.testing.assert_array_equal(read_mask(tmp_path / "m.nii.gz", image).array, MASK)


# ---- masks ----


@pytest.fixture
def image(tmp_path) -> Volume:
    nifti(HU, path=tmp_path / "ct.nii.gz")
    return read_image(tmp_path / "ct.nii.gz")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (MASK * 255, "labels found: 0, 255; a mask of 2 classes .*0 to 1"),
        (MASK * 2, "labels found: 0, 2"),
        (-MASK.astype(np.int16), "labels found: -1, 0"),
        (MASK * np.float32(0.5), "labels found: 0, 0.5"),
        (MASK.astype(np.float32) * 0.999, "0.999"),
    ],
)
def test_wrong_labels_are_listed(tmp_path, labels, message):
    nifti(labels, path=tmp_path / "m.nii.gz")
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "m.nii.gz")


def test_more_classes_and_float_labels_are_fine(tmp_path):
    labels = (HU % 7).astype(np.float64)
    nifti(labels, path=tmp_path / "m.nii.gz")
    mask = read_mask(tmp_path / "m.nii.gz", n_classes=7)
    assert mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.array, labels)


@pytest.mark.parametrize(("fill", "message"), [(0, "mask is empty"), (1, "covers every voxel")])
def test_an_empty_or_full_mask_warns(tmp_path, fill, message):
    nifti(np.full(HU.shape, fill, np.uint8), path=tmp_path / "m.nii.gz")
    with pytest.warns(DataWarning, match=message):
        assert (read_mask(tmp_path / "m.nii.gz").array == fill).all()


def moved(**entries):
    affine = AFFINE.copy()
    for place, value in entries.items():
        affine[int(place[1]), int(place[2])] = value
    return affine


@pytest.mark.parametrize(
    "affine",
    [
        moved(a03=-29.9),  # a seventh of a voxel
        moved(a00=-0.7),
        moved(a22=3.0),
        np.eye(4),
        np.diag([-1, -1, 1, 1]) @ AFFINE,
        rotated(AFFINE),
    ],
)
def test_a_mask_on_another_grid_is_refused(tmp_path, image, affine):
    nifti(MASK, affine, tmp_path / "m.nii.gz")
    with pytest.raises(InputError, match="corners lie .* voxels away") as refusal:
        read_mask(tmp_path / "m.nii.gz", like=image)
    assert "m.nii.gz" in str(refusal.value) and "ct.nii.gz" in str(refusal.value)


def test_a_mask_of_another_shape_is_refused(tmp_path, image):
    nifti(MASK[1:], path=tmp_path / "m.nii.gz")
    with pytest.raises(InputError, match=r"\(5, 5, 4\) voxels, but the image"):
        read_mask(tmp_path / "m.nii.gz", like=image)


def test_rounding_of_the_affine_is_accepted(tmp_path, image):
    nifti(MASK, AFFINE + 1e-5, tmp_path / "m.nii.gz")
    check_same_grid(image, read_mask(tmp_path / "m.nii.gz"))


@pytest.mark.parametrize("codes", ["LPS", "SRA", "IPL"])
def test_a_mask_stored_in_another_order_on_the_same_grid_is_the_same_mask(tmp_path, image, codes):
    stored, affine = reoriented(MASK, AFFINE, codes)
    nifti(stored, affine, tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii.gz", like=image).array, MASK)


@pytest.mark.parametrize("mask", [MASK[1:], MASK * 300.0, MASK * 0.5, MASK.astype(int) - 1])
def test_a_mask_that_does_not_fit_is_not_written(tmp_path, image, mask):
    with pytest.raises(InputError, match=r"m\.nii\.gz: (mask of shape|labels from)"):
        write_mask(tmp_path / "m.nii.gz", mask, image)
    assert not (tmp_path / "m.nii.gz").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, image):
    path = tmp_path / "ct.nii.gz" / "m.nii.gz"  # the folder is a file
    with pytest.raises(InputError, match="cannot be written") as refusal:
        write_mask(path, MASK, image)
    assert str(refusal.value).startswith(f"{path}: ")


def test_bool_masks_are_written_and_bytes_are_repeatable(tmp_path, image):
    write_mask(tmp_path / "a.nii.gz", MASK.astype(bool), image)
    write_mask(tmp_path / "b.nii.gz", MASK, image)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_no_text_of_the_original_is_carried_over(tmp_path):
    stored = nib.Nifti1Image(HU, AFFINE)
    stored.header["descrip"] = b"Jane Doe 1950"
    stored.header["db_name"] = b"Doe"
    stored.header["aux_file"] = b"Doe.txt"
    stored.header["intent_name"] = b"Doe"
    stored.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe again"))
    stored.to_filename(tmp_path / "ct.nii.gz")
    write_mask(tmp_path / "m.nii.gz", MASK, read_image(tmp_path / "ct.nii.gz"))
    assert b"Doe" in gzip.decompress((tmp_path / "ct.nii.gz").read_bytes())
    assert b"Doe" not in gzip.decompress((tmp_path / "m.nii.gz").read_bytes())


@pytest.mark.parametrize(("hu", "dtype"), [(HU, np.int16), (HU + 0.5, np.float32)])
def test_images_are_written_without_loss(tmp_path, hu, dtype):
    write_image(tmp_path / "ct.nii.gz", hu, AFFINE)
    assert nib.load(tmp_path / "ct.nii.gz").get_data_dtype() == dtype
    np.testing.assert_array_equal(read_image(tmp_path / "ct.nii.gz").array, hu)


def test_an_image_with_nan_is_not_written(tmp_path):
    with pytest.raises(InputError, match="finite"):
        write_image(tmp_path / "ct.nii.gz", with_nan(np.nan), AFFINE)
    assert list(tmp_path.iterdir()) == []


# ---- views ----


def test_the_axial_view_is_what_a_radiologist_sees():
    volume = np.zeros((3, 4, 2))
    volume[2, 3, 1] = 1  # right, anterior, superior
    volume[0, 3, 1] = 2  # left, anterior
    view = axial_view(volume, 1)
    assert view.shape == (4, 3)
    assert view[0, 0] == 1 and view[0, 2] == 2
    assert not axial_view(volume, 0).any()


def test_axial_views_can_be_stacked_back():
    stack = np.stack([axial_view(HU, z) for z in range(HU.shape[2])], axis=-1)
    np.testing.assert_array_equal(from_axial_view(stack), HU)
    assert stack.shape == (5, 6, 4)


# ---- real files ----


@pytest.mark.real
def test_real_blocks_are_read_without_a_word_and_written_without_loss(lidc_nodules, tmp_path):
    images = sorted((lidc_nodules / "image").glob("*.nii.gz"))
    assert len(images) == 292
    for path in images:
        image = read_image(path)  # -W error: a warning would fail here
        mask = read_mask(lidc_nodules / "nodule_mask" / path.name, like=image)
        write_mask(tmp_path / "m.nii.gz", mask.array, image)
        again = read_mask(tmp_path / "m.nii.gz", like=image)
        np.testing.assert_array_equal(again.array, mask.array)
        np.testing.assert_allclose(again.stored_affine, image.stored_affine, atol=1e-4)
        assert again.stored_shape == image.stored_shape
