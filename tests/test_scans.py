"""What people hand to the viewer and the figures ends up as the same scan."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from seg_lib.data.cases import Case
from seg_lib.data.hu import HU_WINDOWS
from seg_lib.data.nifti import axial_view, read_image, write_image
from seg_lib.errors import InputError
from seg_lib.rendering import plane_slice
from seg_lib.scans import GREY_WINDOW, Lesion, find_lesions, open_scan, window_limits

SPACING_MM = (0.7, 0.8, 2.5)


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1000, 400, (6, 5, 4)).astype(np.float32)


@pytest.fixture
def files(tmp_path, hu):
    """The volume and a mask as NIfTI, stored head first (LPI), with an origin."""
    affine = np.diag([-0.7, -0.8, -2.5, 1.0])
    affine[:3, 3] = (100.0, 50.0, 30.0)
    write_image(tmp_path / "image.nii.gz", hu, affine)
    mask = np.zeros(hu.shape, np.uint8)
    mask[1, 2, 3] = 1
    nib.save(nib.Nifti1Image(mask, affine), tmp_path / "mask.nii.gz")
    return tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz"


def test_array_is_taken_as_it_is_and_not_copied(hu):
    scan = open_scan(hu, spacing=SPACING_MM)
    assert scan.image is hu
    assert scan.truth is None and scan.prediction is None
    assert (scan.unit, scan.spacing_mm, scan.is_slice) == ("HU", SPACING_MM, False)
    assert scan.default_window == HU_WINDOWS["lung"]


def test_spacing_is_1_mm_where_nobody_knows_better(hu):
    assert open_scan(hu).spacing_mm == (1.0, 1.0, 1.0)


def test_files_come_in_ras_with_their_spacing_and_origin(files, hu):
    image, mask = files
    scan = open_scan(image, mask, str(mask))
    assert np.array_equal(scan.image, hu[::-1, ::-1, ::-1])
    assert np.argwhere(scan.truth).tolist() == [[4, 2, 0]]  # (1, 2, 3) from the other ends
    assert np.array_equal(scan.truth, scan.prediction)
    assert scan.spacing_mm == pytest.approx(SPACING_MM)
    assert scan.origin_mm == pytest.approx((100 - 0.7 * 5, 50 - 0.8 * 4, 30 - 2.5 * 3))


def test_volume_and_case_give_the_same_scan_as_their_paths(files):
    image, mask = files
    by_path = open_scan(image, mask)
    case = Case(case="c", patient="p", image=image, label=mask)
    for scan in (open_scan(read_image(image), mask), open_scan(case)):
        assert np.array_equal(scan.image, by_path.image)
        assert np.array_equal(scan.truth, by_path.truth)
        assert (scan.spacing_mm, scan.origin_mm) == (by_path.spacing_mm, by_path.origin_mm)


def test_a_mask_on_another_grid_is_refused_even_if_the_shape_fits(files, tmp_path):
    image, mask = files
    moved = nib.load(mask).affine + np.array([[0, 0, 0, 9.0]] + [[0] * 4] * 3)
    nib.save(nib.Nifti1Image(np.asarray(nib.load(mask).dataobj), moved), tmp_path / "m.nii.gz")
    with pytest.raises(InputError, match="origin"):
        open_scan(image, tmp_path / "m.nii.gz")


def test_picture_files_are_grey_slices_with_the_spacing_of_their_case(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    Image.fromarray(grey).save(tmp_path / "image.png")
    Image.fromarray((grey > 100).astype(np.uint8) * 255).save(tmp_path / "mask.png")
    scan = open_scan(
        Case("c", "p", tmp_path / "image.png", tmp_path / "mask.png", spacing_mm=(0.5, 0.6))
    )
    assert (scan.unit, scan.is_slice, scan.default_window) == ("grey", True, GREY_WINDOW)
    assert np.array_equal(plane_slice(scan.image, "axial", 0), grey)
    assert np.array_equal(plane_slice(scan.truth, "axial", 0), grey > 100)
    assert scan.spacing_mm == (0.6, 0.5, 1.0)  # (row, column) -> X, Y


def test_a_slice_and_its_volume_are_seen_the_same_way(hu):
    scan = open_scan(axial_view(hu, 2))
    assert np.array_equal(scan.image[:, :, 0], hu[:, :, 2])


def test_floats_from_0_to_1_are_grey_values():
    scan = open_scan(np.array([[0.0, 0.5], [0.25, 1.0]], np.float32))
    assert scan.unit == "grey"
    assert sorted(scan.image.ravel()) == [0.0, 63.75, 127.5, 255.0]
    assert open_scan(np.array([[0.0, np.nan], [0.25, 1.0]], np.float32)).unit == "grey"


def test_predictions_may_be_probabilities(hu):
    probability = np.linspace(0, 1, hu.size, dtype=np.float32).reshape(hu.shape)
    assert np.array_equal(open_scan(hu, prediction=probability).prediction, probability >= 0.5)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"image": np.zeros((2, 1, 8, 8))}, r"\(2, 1, 8, 8\)"),
        ({"image": np.zeros((0, 8))}, r"\(0, 8\)"),
        ({"image": np.zeros((8, 8, 4)), "mask": np.zeros((8, 8, 5))}, r"\(8, 8, 5\).*\(8, 8, 4\)"),
        ({"image": np.zeros((8, 8, 4)), "prediction": np.zeros((8, 8))}, r"prediction.*\(8, 8\)"),
        ({"image": np.zeros((8, 8, 4)), "spacing": (1.0, 1.0)}, "3 positive numbers"),
        ({"image": np.zeros((8, 8)), "spacing": (1.0, 0.0)}, "2 positive numbers"),
        ({"image": "there/is/none.png"}, "none.png"),
        ({"image": "there/is/none.nii.gz"}, "none.nii.gz"),
    ],
)
def test_what_cannot_be_shown_is_refused_by_name(arguments, words):
    with pytest.raises(InputError, match=words):
        open_scan(**arguments)


def test_window_by_name_or_limits():
    assert window_limits("bone") == HU_WINDOWS["bone"]
    assert window_limits((-10, 20)) == (-10.0, 20.0)
    with pytest.raises(InputError, match="soft tissue"):
        window_limits("lungs")
    with pytest.raises(InputError, match="above"):
        window_limits((20, 20))


def test_lesions_are_found_from_the_lowest_to_the_highest_at_their_fullest_slice():
    mask = np.zeros((12, 12, 12), bool)
    mask[2:5, 2:5, 8:11] = True  # a cube: all slices are equally full, the middle one counts
    mask[7, 7, 0] = mask[8, 8, 1] = mask[8, 9, 1] = True  # touch by corners; z = 1 is fuller
    assert find_lesions(mask) == [Lesion((8, 8, 1), 3), Lesion((3, 3, 9), 27)]


def test_no_lesion_in_an_empty_mask():
    assert find_lesions(np.zeros((3, 3, 3), bool)) == []
