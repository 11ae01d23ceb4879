"""Diameters: shapes worked out by hand, brute force over all pixels, and OpenCV."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import pdist

from seg_lib.diameters import (
    convex_hull,
    enclosing_circle_diameter,
    longest_distance,
    recist_diameter_mm,
)
from seg_lib.errors import InputError

METHODS = ["feret", "circle"]


def blob(shape, seed):
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return field > np.quantile(field, 0.7)


def drawn(*rows):
    """A 2D mask from text: # is foreground."""
    return np.array([[character == "#" for character in row] for row in rows])


@pytest.mark.parametrize("method", METHODS)
def test_bar_is_as_long_as_from_its_first_to_its_last_centre(method):
    bar = np.zeros((9, 9), dtype=bool)
    bar[4, 2:8] = True  # six pixels, five steps
    assert recist_diameter_mm(bar, (1.0, 0.7), method) == pytest.approx(3.5, rel=1e-12)
    assert recist_diameter_mm(bar.T, (0.7, 1.0), method) == pytest.approx(3.5, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_rectangle_is_as_long_as_its_diagonal(method):
    mask = np.zeros((10, 10), dtype=np.uint8)
    mask[2:6, 3:8] = 1  # 3 steps by 4 steps
    assert recist_diameter_mm(mask, (1.0, 1.0), method) == pytest.approx(5.0, rel=1e-12)
    assert recist_diameter_mm(mask, (4.0, 1.0), method) == pytest.approx(12.6491106, rel=1e-8)


def test_circle_is_wider_than_feret_for_a_triangle():
    """Base 6, height 4, sides 5: the circle has diameter abc / (2 area) = 150 / 24 = 6.25."""
    mask = drawn("#######", ".#####.", "..###..", "...#...", "...#...")
    assert recist_diameter_mm(mask, (1, 1), "feret") == 6.0
    assert recist_diameter_mm(mask, (1, 1), "circle") == pytest.approx(6.25, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_small_and_empty_masks(method):
    mask = np.zeros((5, 5, 3), dtype=bool)
    assert recist_diameter_mm(mask, (1, 1, 1), method) == 0.0
    mask[2, 2, 1] = True
    assert recist_diameter_mm(mask, (1, 1, 1), method) == 0.0
    mask[3, 3, 1] = True
    assert recist_diameter_mm(mask, (3, 4, 1), method) == pytest.approx(5.0, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_only_the_axial_plane_counts(method):
    """A rod through the slices has no diameter in any of them; the longest slice decides."""
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[4, 4, :] = True
    assert recist_diameter_mm(mask, (1, 1, 5), method) == 0.0
    mask[4, 2:5, 3] = mask[1:9, 4, 6] = True
    assert recist_diameter_mm(mask, (1, 1, 5), method) == 7.0


def test_two_spots_in_a_slice_are_one_line_but_two_circles():
    mask = drawn("##......#", "##......#")
    assert recist_diameter_mm(mask, (1, 1), "feret") == pytest.approx(np.hypot(8, 1))
    assert recist_diameter_mm(mask, (1, 1), "circle") == pytest.approx(np.sqrt(2))
    corner = drawn("##...", "##...", "..##.", "..##.")  # touching corners: one spot
    assert recist_diameter_mm(corner, (1, 1), "circle") == pytest.approx(np.hypot(3, 3))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 3.0), (0.7, 1.3, 2.5)])
def test_feret_equals_brute_force(seed, spacing_mm):
    mask = blob((14, 12, 5), seed)
    slices = [np.argwhere(mask[:, :, z]) * spacing_mm[:2] for z in range(5)]
    expected = max(pdist(points).max(initial=0) for points in slices)
    assert recist_diameter_mm(mask, spacing_mm) == pytest.approx(expected, rel=1e-12)
    assert recist_diameter_mm(mask[:, :, 2], spacing_mm[:2]) == pytest.approx(
        pdist(slices[2]).max(), rel=1e-12
    )


def smallest_circle_by_trial(points):
    """Smallest circle through two or three points that holds all: every choice is tried."""
    best = np.inf
    for pair in itertools.combinations(points, 2):
        centre = np.mean(pair, axis=0)
        radius = np.linalg.norm(pair[0] - centre)
        if np.all(np.linalg.norm(points - centre, axis=1) <= radius + 1e-9):
            best = min(best, 2 * radius)
    for a, b, c in itertools.combinations(points, 3):
        system = 2 * np.array([b - a, c - a])
        if abs(np.linalg.det(system)) < 1e-9:
            continue
        centre = np.linalg.solve(system, [b @ b - a @ a, c @ c - a @ a])
        radius = np.linalg.norm(a - centre)
        if np.all(np.linalg.norm(points - centre, axis=1) <= radius + 1e-9):
            best = min(best, 2 * radius)
    return best


@pytest.mark.parametrize("seed", range(20))
def test_enclosing_circle_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    points = convex_hull(rng.integers(0, 12, (9, 2))) * rng.uniform(0.5, 3, 2)
    assert enclosing_circle_diameter(points) == pytest.approx(
        smallest_circle_by_trial(points), rel=1e-9
    )


@pytest.mark.parametrize("seed", range(8))
def test_circle_equals_opencv(seed):
    """As the hackathon scored: largest minEnclosingCircle over slices and contours, in float32."""
    cv2 = pytest.importorskip("cv2")
    mask = blob((40, 36, 4), seed)
    radii = []
    for z in range(4):
        axial = np.ascontiguousarray(mask[:, :, z], dtype=np.uint8)
        contours = cv2.findContours(axial, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]
        radii += [cv2.minEnclosingCircle(contour)[1] for contour in contours]
    expected = 2 * max(radii) * 0.7
    assert recist_diameter_mm(mask, (0.7, 0.7, 3), "circle") == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_circle_lies_between_feret_and_its_bound(seed):
    """Jung's theorem: the circle's diameter is at most 2 / sqrt(3) times the longest distance."""
    points = convex_hull(np.random.default_rng(seed).integers(0, 50, (30, 2)))
    feret, circle = longest_distance(points), enclosing_circle_diameter(points)
    assert feret - 1e-9 <= circle <= 2 / np.sqrt(3) * feret + 1e-9


@pytest.mark.parametrize("seed", range(10))
def test_convex_hull_equals_scipy(seed):
    from scipy.spatial import ConvexHull

    points = np.random.default_rng(seed).integers(0, 9, (25, 2))
    hull = convex_hull(points)
    expected = points[ConvexHull(points).vertices]
    assert {tuple(p) for p in hull.tolist()} == {tuple(p) for p in expected.tolist()}
    step, next_step = (np.roll(hull, -k - 1, axis=0) - np.roll(hull, -k, axis=0) for k in (0, 1))
    assert np.all(step[:, 0] * next_step[:, 1] > step[:, 1] * next_step[:, 0])  # only left turns


@pytest.mark.parametrize(
    ("points", "corners"),
    [
        ([(3, 4)], [(3, 4)]),
        ([(3, 4), (3, 4)], [(3, 4)]),
        ([(0, 0), (1, 1), (2, 2), (5, 5)], [(0, 0), (5, 5)]),
        ([(0, 3), (0, 1), (0, 2)], [(0, 1), (0, 3)]),
        ([(0, 0), (0, 2), (2, 0), (2, 2), (1, 1), (1, 0)], [(0, 0), (2, 0), (2, 2), (0, 2)]),
    ],
)
def test_convex_hull_of_lines_and_points(points, corners):
    assert [tuple(p) for p in convex_hull(np.array(points)).tolist()] == corners


@pytest.mark.parametrize("method", METHODS)
def test_turning_and_moving_change_nothing(method):
    mask = blob((20, 16, 3), 3)
    expected = pytest.approx(recist_diameter_mm(mask, (0.7, 1.2, 2.0), method), rel=1e-12)
    assert recist_diameter_mm(mask.swapaxes(0, 1), (1.2, 0.7, 2.0), method) == expected
    assert recist_diameter_mm(mask[::-1, :, ::-1], (0.7, 1.2, 9.0), method) == expected
    assert recist_diameter_mm(np.pad(mask, 4), (0.7, 1.2, 2.0), method) == expected


def test_faults():
    mask = np.ones((3, 3), dtype=bool)
    with pytest.raises(InputError, match=r"'ruler' is unknown; choose from \['circle', 'feret'\]"):
        recist_diameter_mm(mask, (1, 1), "ruler")
    with pytest.raises(InputError, match="mask of 2 axes"):
        recist_diameter_mm(mask, (1, 1, 1))
    with pytest.raises(InputError, match="holds the values 2"):
        recist_diameter_mm(mask * 2, (1, 1))
