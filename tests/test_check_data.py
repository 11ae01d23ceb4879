"""One bad file does not hide another; every problem names the case and what to do."""

import gzip
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from seg_lib import cli
from seg_lib.data.cases import read_cases
from seg_lib.data.check_data import check_data
from seg_lib.data.nifti import read_mask
from seg_lib.data.phantom import make_phantom
from seg_lib.errors import DataWarning


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    make_phantom("lung3d", 4, (48, 48, 10), 0, folder)
    return folder


@pytest.fixture
def data(good, tmp_path):
    shutil.copytree(good, tmp_path / "data")
    return tmp_path / "data"


def faults(folder, **how):
    return [p for p in check_data(folder, **how) if p.must_fix]


def stored(path):
    image = nib.load(path)
    return np.asarray(image.dataobj).copy(), image.affine


def store(path, array, affine):
    nib.save(nib.Nifti1Image(array, affine), path)


def test_good_data_have_nothing_to_fix(good):
    assert faults(good) == []
    notes = check_data(good)
    assert [n.problem for n in notes] == ["stored in different orders: LPS, RAS"]


def spoil_nan(image, label):
    hu, affine = stored(image)
    hu = hu.astype(np.float32)
    hu[1, 2, 3] = np.nan
    store(image, hu, affine)


def spoil_inf(image, label):
    hu, affine = stored(image)
    hu = hu.astype(np.float32)
    hu[0] = np.inf
    store(image, hu, affine)


def spoil_shape(image, label):
    mask, affine = stored(label)
    store(label, mask[:-1], affine)


def spoil_origin(image, label):
    mask, affine = stored(label)
    affine[2, 3] += 5
    store(label, mask, affine)


def spoil_identity(image, label):
    mask, _ = stored(label)
    store(label, mask, np.eye(4))


def spoil_labels(image, label):
    mask, affine = stored(label)
    store(label, mask * np.uint8(255), affine)


def spoil_soft(image, label):
    mask, affine = stored(label)
    store(label, mask * np.float32(0.5), affine)


def spoil_cut(image, label):
    image.write_bytes(image.read_bytes()[:-900])


def spoil_bit(image, label):
    content = bytearray(gzip.decompress(image.read_bytes()))
    packed = bytearray(gzip.compress(bytes(content)))
    packed[-6] ^= 1  # in the checksum
    image.write_bytes(packed)


def spoil_page(image, label):
    image.write_text("<!DOCTYPE html><html>")


def spoil_pointer(image, label):
    image.write_text("version https://git-lfs.github.com/spec/v1\n")


def spoil_empty_file(image, label):
    label.write_bytes(b"")


def spoil_4d(image, label):
    hu, affine = stored(image)
    store(image, np.stack([hu, hu], -1), affine)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_nan, "1 of .* voxels are NaN"),
        (spoil_inf, "voxels are NaN or infinite"),
        (spoil_shape, "voxels, but the image"),
        (spoil_origin, "corners lie"),
        (spoil_identity, "corners lie"),
        (spoil_labels, "labels found: 0, 255"),
        (spoil_soft, "labels found: 0, 0.5"),
        (spoil_cut, "damaged or cut short"),
        (spoil_bit, "damaged or cut short"),
        (spoil_page, "web page"),
        (spoil_pointer, "git-LFS"),
        (spoil_empty_file, "empty"),
        (spoil_4d, r"4D image of size \[48, 48, 10, 2\]"),
    ],
)
def test_a_fault_is_found_in_its_case_and_no_other(data, capsys, spoil, message):
    case = read_cases(data)[0]
    spoil(case.image, case.label)
    (found,) = faults(data)
    assert found.case == case.case
    assert re.search(message, found.problem), found
    assert len(found.fix) > 5 and str(data) not in found.problem
    assert cli.main(["check-data", str(data)]) == 1
    said = capsys.readouterr().out
    assert f"FIX  | {case.case} | " in said and "1 to fix" in said


def test_five_faults_in_five_files_are_five_lines(data):
    cases = read_cases(data)
    for case, spoil in zip(cases, (spoil_nan, spoil_shape, spoil_cut, spoil_labels), strict=True):
        spoil(case.image, case.label)
    assert {found.case for found in faults(data)} == {case.case for case in cases}


def test_labels_almost_whole_are_rounded_with_a_note(data):
    """Source 004: 1.00001526."""
    case = read_cases(data)[0]
    before = read_mask(case.label).array
    mask, affine = stored(case.label)
    store(case.label, mask * np.float32(1.00001526), affine)
    with pytest.warns(DataWarning, match="up to 1.5e-05 off whole numbers were rounded"):
        after = read_mask(case.label).array
    assert after.dtype == np.uint8 and np.array_equal(before, after)
    store(case.label, mask * np.float32(0.99998474), affine)
    with pytest.warns(DataWarning, match="rounded"):
        assert np.array_equal(before, read_mask(case.label).array)
    assert faults(data) == []
    assert any("rounded" in note.problem for note in check_data(data))


def test_empty_and_full_masks_are_notes(data):
    cases = read_cases(data)
    for case, value in zip(cases, (0, 1), strict=False):
        mask, affine = stored(case.label)
        store(case.label, np.full_like(mask, value), affine)
    notes = {n.case: n.problem for n in check_data(data) if n.case != "all"}
    assert "mask is empty" in notes[cases[0].case]
    assert "covers every voxel" in notes[cases[1].case]


def test_values_that_are_no_hu_are_notes(data):
    cases = read_cases(data)
    hu, affine = stored(cases[0].image)
    store(cases[0].image, ((hu - hu.min()) / 4000).astype(np.float32), affine)
    hu, affine = stored(cases[1].image)
    hu[0, 0, 0] = 30000
    store(cases[1].image, hu, affine)
    notes = {n.case: n.problem for n in check_data(data) if n.case != "all"}
    assert "not HU" in notes[cases[0].case] and "30000 HU" in notes[cases[1].case]


def test_a_copy_is_found_under_another_name_order_and_compression(data):
    cases = read_cases(data)
    train, test = cases[0], next(c for c in cases if c.split == "test")
    hu, affine = stored(train.image)
    flipped = affine @ nib.orientations.inv_ornt_aff([[0, -1], [1, 1], [2, 1]], hu.shape)
    store(test.image, hu[::-1], flipped)  # the same scan, stored the other way round
    (found,) = [p for p in faults(data) if "same volume" in p.problem]
    assert train.case in found.problem and test.case in found.problem
    assert "the test is no test" in found.problem


def test_unusual_spacing_is_a_note(data):
    case = read_cases(data)[0]
    hu, affine = stored(case.image)
    affine[:3, 2] *= 10
    store(case.image, hu, affine)
    store(case.label, stored(case.label)[0], affine)
    assert any("along z" in n.problem and n.case == case.case for n in check_data(data))


def test_folders_without_a_table_are_paired_by_whole_names(data):
    (data / "cases.csv").unlink()
    assert faults(data) == []
    label = next((data / "labels").iterdir())
    label.rename(label.with_name("lung3d_p0000.nii.gz"))
    (found,) = faults(data)
    assert "images without label" in found.problem and "lung3d_p0000" in found.problem


def test_other_class_counts(data):
    case = read_cases(data)[0]
    mask, affine = stored(case.label)
    store(case.label, mask * np.uint8(2), affine)
    assert len(faults(data)) == 1 and faults(data, n_classes=3) == []


def test_an_absent_folder_and_a_table_that_contradicts_itself(tmp_path, data, capsys):
    assert "no such file" in faults(tmp_path / "none")[0].problem
    table = (data / "cases.csv").read_text().replace("p001,", "p000,")
    (data / "cases.csv").write_text(table)
    assert "more than one split" in faults(data)[0].problem or "twice" in faults(data)[0].problem
    assert cli.main(["check-data", str(data)]) == 1


def test_the_sheet_shows_the_cases_that_can_be_read(data, capsys):
    spoil_cut(read_cases(data)[0].image, None)
    sheet = data / "sheet.png"
    assert cli.main(["check-data", str(data), "--sheet", str(sheet)]) == 1
    assert sheet.stat().st_size > 5000
    for case in read_cases(data):
        case.image.write_bytes(b"nothing")
    assert cli.main(["check-data", str(data), "--sheet", str(sheet)]) == 1
    assert "nothing to show" in capsys.readouterr().err
