"""Each folder of real samples is read, or refused, as its README says of it."""

import csv
import re
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from seg_lib.data.case_rules import pair_by_name
from seg_lib.data.cases import Case, read_cases, split_cases, write_cases
from seg_lib.data.check_data import check_data
from seg_lib.data.manifests import read_manifest
from seg_lib.data.nifti import read_image, read_mask, write_image, write_mask
from seg_lib.data.notes import read_clinical
from seg_lib.data.pictures import read_png, save_png
from seg_lib.data.real_sets import prepare, verify
from seg_lib.data.slices import load_slices
from seg_lib.errors import DataWarning, InputError
from seg_lib.metrics import dice

pytestmark = pytest.mark.real
TESTS = Path(__file__).parent
ML = 1000.0  # mm3


def volume_ml(mask, volume):
    return np.count_nonzero(mask) * np.prod(volume.spacing_mm) / ML


def test_every_folder_of_the_samples_is_named_in_a_test(real_data):
    tests = "".join(path.read_text() for path in TESTS.glob("test_*.py"))
    folders = [path.name for path in real_data.iterdir() if path.is_dir()]
    assert len(folders) >= 17
    assert [name for name in folders if name not in tests] == []


@pytest.mark.parametrize(
    ("name", "shape", "spacing", "hu", "orientation"),
    [
        ("chest_ct_64/ct-64.nrrd", (64, 64, 79), (4.17, 4.17, 3.99), (-1007, 1095), "LPS"),
        (
            "head_neck_ct_2mm/head_neck_ct_2mm.nii.gz",
            (140, 170, 90),
            (2, 2, 3),
            (-1024, 1900),
            "LPS",
        ),
        ("abdomen_ct_3mm/example_ct_sm.nii.gz", (122, 101, 30), (3, 3, 3), (-1100, 1207), "RAS"),
    ],
    ids=["chest", "head and neck", "abdomen"],
)
def test_the_volumes_are_as_described(real_data, name, shape, spacing, hu, orientation):
    volume = read_image(real_data / name)
    assert volume.stored_shape == shape
    assert volume.spacing_mm == pytest.approx(spacing, abs=0.005)
    assert (volume.array.min(), volume.array.max()) == hu
    assert "".join(nib.aff2axcodes(volume.stored_affine)) == orientation


def test_the_lungs_of_the_chest(real_data, tmp_path):
    """4.55 l; the same voxels by ITK; and a NIfTI data folder made of the two NRRD files."""
    here = real_data / "chest_ct_64"
    image = read_image(here / "ct-64.nrrd")
    lungs = read_mask(here / "wholeLung-64.nrrd", like=image)
    assert volume_ml(lungs.array, image) == pytest.approx(4550, abs=5)
    assert image.array[lungs.array > 0].mean() < -600 < image.array[lungs.array == 0].mean()
    itk = pytest.importorskip("SimpleITK")
    array = itk.GetArrayFromImage(itk.ReadImage(here / "ct-64.nrrd")).T
    np.testing.assert_array_equal(image.array, array[::-1, ::-1])  # stored to the left and back
    write_mask(tmp_path / "labels" / "chest.nii.gz", lungs.array, like=image)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "chest.nrrd").write_bytes((here / "ct-64.nrrd").read_bytes())
    assert [p for p in check_data(tmp_path) if p.must_fix] == []


def test_the_organs_of_the_abdomen(real_data):
    here = real_data / "abdomen_ct_3mm"
    image = read_image(here / "example_ct_sm.nii.gz")
    organs = read_mask(here / "example_seg.nii.gz", like=image, n_classes=118).array
    assert volume_ml(organs == 7, image) == pytest.approx(17.4, abs=0.05)  # pancreas
    assert volume_ml(organs == 5, image) == pytest.approx(1043, abs=0.5)  # liver
    with pytest.raises(InputError, match="a mask of 2 classes holds only whole numbers"):
        read_mask(here / "example_seg.nii.gz", like=image)


# ---- head_neck_two_raters: masks without their CT, as NRRD ----

AGREEMENT = {"Parotid-Lt": 0.829, "Mandible": 0.956, "Brainstem": 0.904, "Lens-Lt": 0.898}


def test_two_raters_agree_as_measured(real_data):
    (patient,) = (real_data / "head_neck_two_raters").iterdir()
    pairs = {p.stem: (p, patient / "radiographer" / p.name) for p in patient.glob("onc*/*.nrrd")}
    assert len(pairs) == 10 and all(path.is_file() for pair in pairs.values() for path in pair)
    for organ, expected in AGREEMENT.items():
        first = read_mask(pairs[organ][0])
        second = read_mask(pairs[organ][1], like=first)
        assert first.stored_shape == (512, 512, 156)
        assert first.spacing_mm == pytest.approx((0.98, 0.98, 2.5))
        assert dice(second.array > 0, first.array > 0) == pytest.approx(expected, abs=5e-4)
    assert np.count_nonzero(first.array) == 90  # the left lens, the last of the four


# ---- panorama_labels: masks without their CT ----


def test_pancreas_tumours_without_their_ct(real_data, tmp_path):
    here = real_data / "panorama_labels"
    paths, orders = sorted(here.glob("*.nii.gz")), []
    assert len(paths) == 3
    for path in paths:
        with pytest.raises(InputError, match="labels found: 0, 1, 2, 3, 4, 5"):
            read_mask(path)
        organs = read_mask(path, n_classes=7)
        width, height, slices = organs.array.shape
        assert (width, height) == (512, 512) and 42 <= slices <= 51
        assert 0.63 <= round(organs.spacing_mm[0], 2) <= 0.78 and organs.spacing_mm[2] == 5
        assert 1.75 <= volume_ml(organs.array == 1, organs) <= 6.1
        orders.append("".join(nib.aff2axcodes(organs.stored_affine)))
        # Tumour inside pancreas, as the task of source 004 wants it; written in the stored order.
        nested = np.select([organs.array == 1, organs.array >= 4], [2, 1])
        write_mask(tmp_path / path.name, nested, like=organs)
        assert read_mask(tmp_path / path.name, like=organs, n_classes=3).array.max() == 2
    assert orders == ["RAS", "RAS", "LPS"]
    with pytest.raises(InputError, match="no images to prepare"):
        prepare(read_manifest("panorama"), here, tmp_path / "ready")
    with pytest.raises(InputError, match="nothing of panorama lies here"):
        verify(read_manifest("panorama"), here)


def test_the_clinical_table_of_the_pancreas_set(real_data, tmp_path):
    """Its columns have other names; one line is a study, so a patient may be there twice."""
    text = (real_data / "panorama_labels" / "clinical_information.csv").read_text()
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="no column names the patient; found: .*; call it patient"):
        read_clinical(path)
    path.write_text(text.replace("PANORAMA_patient_id", "patient", 1))
    with pytest.raises(InputError, match="keep one line a patient"):
        read_clinical(path)
    for old, new in (("PANORAMA_study_id", "patient"), ("patient_age", "age"), ("_sex", "sex")):
        text = text.replace(old, new, 1).replace("patientsex", "sex", 1)
    path.write_text(text)
    rows, _ = read_clinical(path)
    assert len(rows) == 1116
    assert sum("age" in row for row in rows) == len(re.findall(r",\d+Y,", text)) > 900


# ---- pictures: nih_pancreas_2d and msd_lung_2d_jpg ----


def picture_cases(folder, patient_of, n):
    pairs = pair_by_name(folder / "images", folder / "masks")
    assert len(pairs) == n
    return [Case(name, patient_of(name), *pair) for name, pair in pairs.items()]


def test_slices_of_the_pancreas_as_pictures(real_data, tmp_path):
    here = real_data / "nih_pancreas_2d"
    cases = picture_cases(here, lambda name: name.split("-")[0], 126)
    assert len({case.patient for case in cases}) == 31
    dealt = split_cases(cases)
    places = {(case.patient, case.split) for case in dealt}
    assert len(places) == 31 and {split for _, split in places} == {"train", "val", "test"}
    with pytest.warns(DataWarning, match="saved as JPEG"):
        slices = load_slices(dealt[:12], size=512)
    assert slices.images.shape == slices.labels.shape == (12, 1, 512, 512)
    assert set(np.unique(slices.labels)) == {0, 1} and slices.labels.any((1, 2, 3)).all()
    # Upside down: the table, a bright line below the patient, lies in the upper half.
    assert read_png(cases[0].image).shape == (512, 512)
    with pytest.raises(InputError, match="seg-lib dicom-to-nifti"):
        prepare(read_manifest("pancreas_ct"), here, tmp_path / "ready")
    with pytest.raises(InputError, match="this is not a NIfTI file"):
        read_image(cases[0].image)


def test_slices_of_lung_tumours_as_pictures(real_data):
    cases = picture_cases(real_data / "msd_lung_2d_jpg", lambda name: name.split("_")[0], 7)
    with pytest.warns(DataWarning, match="saved as JPEG"):
        slices = load_slices(cases, size=512)
    pixels = slices.labels.sum((1, 2, 3))
    assert (pixels.min(), pixels.max()) == (60, 3244)


# ---- arrays without a place: NPZ and HDF5 ----


def test_patches_of_lung_tumours_are_refused_and_hold_what_is_said(real_data):
    path = real_data / "msd_lung_2mm_patches" / "val_patches.h5"
    with pytest.raises(InputError, match="an HDF5 file.*write_image"):
        read_image(path)
    # Stored in one piece each, so that no HDF5 library is needed to look at them.
    content, n = path.read_bytes(), 130 * 48 * 48
    images = np.frombuffer(content, "<f4", n, offset=2048)
    labels = np.frombuffer(content, "<f8", n, offset=2048 + images.nbytes).reshape(130, -1)
    assert (images.min(), images.max()) == (0, 1)
    assert set(np.unique(labels)) == {0, 1} and labels.any(1).sum() == 111


def test_tumour_crops_become_slices_and_join_the_clinical_table(real_data, tmp_path):
    cases = []
    for path in sorted((real_data / "lung1_tumour_crops").glob("*.npz")):
        with pytest.raises(InputError, match="an NPZ or ZIP archive"):
            read_image(path)
        with np.load(path) as arrays:
            image, mask = arrays["image"], arrays["mask"]
        assert image.shape == mask.shape == (128, 128) and 0 <= image.min() <= image.max() <= 1
        case = Case(path.stem, path.stem, *(tmp_path / part / f"{path.stem}.png" for part in "im"))
        save_png(case.image, np.rint(image * 255).astype(np.uint8))
        save_png(case.label, mask * 255)
        cases.append(case)
    assert len(cases) == 21
    write_cases(cases, tmp_path)
    slices = load_slices(read_cases(tmp_path), size=128)
    assert slices.labels.any((1, 2, 3)).all()
    table = next((real_data / "lung1_clinical").glob("*.csv"))
    with open(table, newline="") as stream:
        known = {row["PatientID"] for row in csv.DictReader(stream)}
    assert {case.patient for case in cases} <= known


def test_a_lesion_in_npz_finds_its_place(real_data, tmp_path):
    """Refused as it is; written with its own direction it is a volume, the patient on its side."""
    (path,) = (real_data / "deeplesion_npz").glob("*.npz")
    with pytest.raises(InputError, match="an NPZ or ZIP archive.*write_image"):
        read_image(path)
    with np.load(path) as arrays:  # (z, y, x), and the geometry as ITK writes it
        grey, mask = arrays["imgs"].T, arrays["gts"].T
        axes = arrays["direction"].reshape(3, 3) * arrays["spacing"]
        origin = arrays["origin"]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.block([[axes, origin[:, None]], [0, 0, 0, 1]])
    write_image(tmp_path / "image.nii.gz", grey, affine)
    write_image(tmp_path / "mask.nii.gz", mask, affine)
    with pytest.warns(DataWarning, match="no value below 0"):  # windowed: no HU
        image = read_image(tmp_path / "image.nii.gz")
    lesion = read_mask(tmp_path / "mask.nii.gz", like=image)
    assert image.stored_shape == (512, 512, 13)
    assert image.spacing_mm == pytest.approx((0.785, 0.785, 5.0), abs=5e-4)
    assert (image.array.min(), image.array.max()) == (0, 255)
    assert volume_ml(lesion.array, lesion) == pytest.approx(27.2, abs=0.05)
    assert lesion.array.any((0, 1)).sum() == 7
    assert "".join(nib.aff2axcodes(image.stored_affine)) == "PLI"  # first axis front to back
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(image.array, grey.transpose(1, 0, 2)[::-1, ::-1, ::-1])
