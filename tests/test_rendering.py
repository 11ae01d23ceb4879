"""Frames: the right way round, the right grey, the right colours, fast and without loss."""

import io
import time

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from seg_lib.data.nifti import axial_view
from seg_lib.errors import InputError
from seg_lib.figure_style import fewer_colours
from seg_lib.rendering import (
    FALSE_ALARM,
    FOUND,
    MISSED,
    PLANES,
    PREDICTION,
    TRUTH,
    WHITE,
    View,
    frame_size,
    grey_levels,
    layers,
    outline,
    paint,
    pixel_spacing_mm,
    plane_slice,
    png_bytes,
    render,
)
from seg_lib.scans import open_scan

# RAS: x grows to the patient's right, y to the front, z to the head.
RIGHT, LEFT, FRONT, BACK, HEAD, FEET = 7, 0, 8, 0, 9, 0


@pytest.fixture
def marked():
    """8 x 9 x 10 voxels of zeros with one bright voxel in a corner: right, front, head."""
    volume = np.zeros((8, 9, 10))
    volume[RIGHT, FRONT, HEAD] = 1
    return volume


@pytest.mark.parametrize(
    "plane, index, shape, letters",
    [
        ("axial", HEAD, (9, 8), "RLAP"),
        ("coronal", FRONT, (10, 8), "RLSI"),
        ("sagittal", RIGHT, (10, 9), "APSI"),
    ],
)
def test_right_front_head_is_the_upper_left_corner_of_every_plane(
    marked, plane, index, shape, letters
):
    image = plane_slice(marked, plane, index)
    assert image.shape == shape
    assert np.argwhere(image).tolist() == [[0, 0]]
    assert PLANES[plane].edges == letters


@pytest.mark.parametrize(
    "voxel, plane, corner",
    [
        ((LEFT, FRONT, HEAD), "axial", (0, 7)),  # left of the patient: right of the picture
        ((RIGHT, BACK, HEAD), "axial", (8, 0)),  # back: below
        ((LEFT, FRONT, HEAD), "coronal", (0, 7)),
        ((RIGHT, FRONT, FEET), "coronal", (9, 0)),  # feet: below
        ((RIGHT, BACK, HEAD), "sagittal", (0, 8)),  # back: right of the picture
        ((RIGHT, FRONT, FEET), "sagittal", (9, 0)),
    ],
)
def test_each_direction_lies_where_its_letter_says(voxel, plane, corner):
    volume = np.zeros((8, 9, 10))
    volume[voxel] = 1
    image = plane_slice(volume, plane, voxel[PLANES[plane].axis])
    assert np.argwhere(image).tolist() == [list(corner)]


def test_axial_plane_equals_the_slices_that_networks_see():
    volume = np.random.default_rng(0).normal(size=(5, 6, 7))
    assert np.array_equal(plane_slice(volume, "axial", 4), axial_view(volume, 4))


@pytest.mark.parametrize("index", [-1, 10])
def test_a_slice_outside_the_volume_is_refused(marked, index):
    with pytest.raises(InputError, match="choose 0 to 9"):
        plane_slice(marked, "axial", index)


def test_letters_are_drawn_at_the_four_edges_and_not_on_a_picture_without_directions():
    scan = open_scan(np.full((64, 64, 4), -3000.0))
    frame = render(scan, View())
    lit = np.argwhere(frame[:, :, 0] == WHITE)
    for edge in ((256, 15), (256, 497), (15, 256), (497, 256)):
        assert np.abs(lit - edge).max(axis=1).min() < 12
    assert not render(scan, View(letters=False)).any()
    assert not render(open_scan(np.full((64, 64), -3000.0)), View()).any()


@pytest.mark.parametrize(
    "plane, shape, size",
    [
        ("axial", (300, 400), (200, 200)),  # 300 x 1 mm high, 400 x 0.75 mm wide
        ("coronal", (50, 400), (133, 200)),  # 50 x 4 mm high, 300 mm wide
        ("sagittal", (50, 300), (133, 200)),
    ],
)
def test_aspect_is_true_in_millimetres(plane, shape, size):
    spacing_mm = (0.75, 1.0, 4.0)
    assert plane_slice(np.empty((400, 300, 50)), plane, 0).shape == shape
    assert frame_size(shape, pixel_spacing_mm(spacing_mm, plane), 200) == size
    scan = open_scan(np.zeros((400, 300, 50), np.int16), spacing=spacing_mm)
    assert render(scan, View(plane, size_px=200)).shape == (*size, 3)


def test_window_maps_low_to_black_middle_to_middle_and_high_to_white():
    hu = np.array([[-2000.0, -1350.0, -600.0], [150.0, 3000.0, np.nan]])
    assert grey_levels(hu, (-1350.0, 150.0)).tolist() == [[0, 0, 125], [WHITE, WHITE, 0]]


def test_outline_is_the_line_of_pixels_at_the_border():
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    hollow = mask.copy()
    hollow[2:5, 2:5] = False
    assert np.array_equal(outline(mask), hollow)
    hollow[2:5, 2:5] = True
    hollow[3, 3] = False
    assert np.array_equal(outline(mask, width_px=2), hollow)


def test_outline_at_the_border_of_the_frame_and_of_a_single_pixel():
    full = np.ones((4, 4), bool)
    assert outline(full).sum() == 12
    single = np.zeros((3, 3), bool)
    single[1, 1] = True
    assert np.array_equal(outline(single), single)


def test_difference_paints_found_missed_and_false_alarm():
    truth = np.array([[1, 1, 0, 0]], bool)
    prediction = np.array([[0, 1, 1, 0]], bool)
    scan = open_scan(np.full((1, 4), -3000.0), truth, prediction)
    view = View(overlay="filled", show="difference", opacity=1.0, size_px=4)
    assert render(scan, view)[0].tolist() == [
        list(MISSED), list(FOUND), list(FALSE_ALARM), [0, 0, 0]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "show, colours",
    [("truth", {TRUTH}), ("prediction", {PREDICTION}), ("both", {TRUTH, PREDICTION})],
)
def test_outlines_show_what_was_asked_for(show, colours):
    truth, prediction = np.zeros((2, 64, 64, 3), bool)
    truth[10:30, 10:30] = prediction[15:35, 15:35] = True
    frame = render(open_scan(np.zeros((64, 64, 3)), truth, prediction), View(index=1, show=show))
    seen = {tuple(colour) for colour in np.unique(frame.reshape(-1, 3), axis=0).tolist()}
    assert {colour for colour in seen if len(set(colour)) > 1} == colours


def test_a_perfect_prediction_does_not_hide_the_truth():
    mask = np.zeros((64, 64, 3), bool)
    mask[10:30, 10:30] = True
    frame = render(open_scan(np.zeros((64, 64, 3)), mask, mask), View(index=1))
    assert (frame == TRUTH).all(axis=2).any() and (frame == PREDICTION).all(axis=2).any()


def test_missing_masks_leave_their_layer_out():
    mask = np.ones((2, 2), bool)
    assert [words for words, _, _ in layers(mask, None, "difference")] == []
    assert [words for words, _, _ in layers(mask, None, "both")] == ["truth"]
    assert [words for words, _, _ in layers(None, mask, "both")] == ["prediction"]


def test_no_overlay_is_the_plain_image():
    hu = np.random.default_rng(0).normal(-500, 300, (64, 64, 3))
    with_mask = open_scan(hu, np.ones(hu.shape, bool))
    assert np.array_equal(
        render(with_mask, View(overlay="none")), render(open_scan(hu), View(overlay="none"))
    )


def test_a_lesion_of_one_pixel_survives_the_smallest_frame():
    truth = np.zeros((512, 512, 1), bool)
    truth[301, 77, 0] = True
    frame = render(open_scan(np.zeros(truth.shape), truth), View(size_px=100, letters=False))
    assert (frame == TRUTH).all(axis=2).sum() >= 1


def test_paint_blends_by_opacity_over_32_levels():
    frame = np.full((1, 2, 3), 104, np.uint8)
    paint(frame, np.array([[True, False]]), (255, 0, 104), 0.5)
    assert frame[0].tolist() == [[180, 52, 104], [104, 104, 104]]  # round half to even: 179.5


@pytest.mark.parametrize("name", ["plane", "overlay", "show"])
def test_a_view_refuses_words_that_mean_nothing(name):
    with pytest.raises(InputError, match=name):
        View(**{name: "sideways"})


def decoded(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


@pytest.fixture(scope="module")
def noisy():
    """A noisy 512 x 512 slice with a large truth and a prediction that differs: the worst case."""
    hu = np.random.default_rng(0).normal(-600, 400, (512, 512, 2)).astype(np.float32)
    truth, prediction = np.zeros((2, *hu.shape), bool)
    truth[100:400, 100:300] = prediction[150:450, 130:330] = True
    return open_scan(hu, truth, prediction)


@pytest.mark.parametrize("overlay", ["none", "outline", "filled"])
@pytest.mark.parametrize("show", ["both", "difference"])
def test_a_frame_survives_png_and_needs_one_byte_a_pixel(noisy, overlay, show):
    frame = render(noisy, View(overlay=overlay, show=show))
    picture = decoded(png_bytes(frame))
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture.convert("RGB")), frame)


def test_png_of_more_than_256_colours_is_without_loss_too():
    frame = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert np.array_equal(np.asarray(decoded(png_bytes(frame))), frame)


def test_fewer_colours_keeps_the_overlay_and_stays_within_a_palette(noisy):
    frame = render(noisy, View())
    few = fewer_colours(frame, n_greys=32)
    assert len(np.unique(few.reshape(-1, 3), axis=0)) <= 256
    coloured = (frame[:, :, 0] != frame[:, :, 1]) | (frame[:, :, 2] != frame[:, :, 1])
    assert np.array_equal(few[coloured], frame[coloured])
    assert np.abs(few.astype(int) - frame)[~coloured].max() <= 255 / 31 / 2 + 1


def best_of(repeats: int, act) -> float:
    """Seconds of the fastest repeat: the one that other programs disturbed least."""
    durations = []
    for _ in range(repeats):
        started = time.perf_counter()
        act()
        durations.append(time.perf_counter() - started)
    return min(durations)


def pyplot_frame(scan, index: int) -> bytes:
    """The same frame the usual way: a matplotlib figure each."""
    figure = Figure(figsize=(5.12, 5.12))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(plane_slice(scan.image, "axial", index), cmap="gray", vmin=-1350, vmax=150)
    axes.contour(plane_slice(scan.truth, "axial", index), [0.5])
    axes.contour(plane_slice(scan.prediction, "axial", index), [0.5])
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def test_a_frame_is_at_least_four_times_as_fast_as_a_matplotlib_figure(noisy, capsys):
    with matplotlib.rc_context():
        usual = best_of(4, lambda: pyplot_frame(noisy, 1))
    ours = best_of(12, lambda: png_bytes(render(noisy, View(index=1))))
    with capsys.disabled():
        print(f"\nframe of 512 x 512: {ours * 1e3:.1f} ms, matplotlib {usual * 1e3:.1f} ms")
    assert usual > 4 * ours


# Machado, Oliveira, Fernandes 2009, "A physiologically-based model for simulation of color vision
# deficiency", severity 1.0, on linear RGB.
COLOUR_BLIND = {
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def seen_lab(colour, kind: str) -> np.ndarray:
    """CIELAB of a colour as a person with this colour blindness sees it (D65)."""
    scaled = np.array(colour) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(COLOUR_BLIND[kind]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ seen / (0.9505, 1.0, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", COLOUR_BLIND)
@pytest.mark.parametrize(
    "one, other",
    [(TRUTH, PREDICTION), (FOUND, MISSED), (FOUND, FALSE_ALARM), (MISSED, FALSE_ALARM)],
)
def test_colours_stay_apart_for_the_colour_blind(one, other, kind):
    assert np.linalg.norm(seen_lab(one, kind) - seen_lab(other, kind)) > 20  # 2.3 is just visible
