"""Panes: where each slice stands, the crosshair, and the way back from a pixel to its voxel."""

import dataclasses

import numpy as np
import pytest

from seg_lib.panes import CROSS, GAP_PX, arrange, canvas_bytes, draw, voxel_at
from seg_lib.rendering import PLANES, View, heat_colours, paint_heat, plane_slice, render
from seg_lib.scans import open_scan, open_scans

SHAPE = (20, 30, 10)
SPACING = (1.0, 1.0, 3.0)


@pytest.fixture
def scan():
    hu = np.random.default_rng(0).normal(-500, 300, SHAPE)
    return open_scan(hu, spacing=SPACING)


def test_one_pane_is_the_rendered_slice(scan):
    view = View(index=4, size_px=300)
    panes = arrange({"": scan}, view, (3, 7, 4))
    assert np.array_equal(draw(panes, (3, 7, 4)), render(scan, view))


def test_three_planes_stand_in_a_row_on_one_scale(scan):
    panes = arrange({"": scan}, View(all_planes=True), (3, 7, 4))
    assert [(p.view.plane, p.view.index) for p in panes] == [
        ("axial", 4),
        ("coronal", 7),
        ("sagittal", 3),
    ]
    assert [p.left for p in panes] == [
        0,
        panes[0].width + GAP_PX,
        panes[0].width + panes[1].width + 2 * GAP_PX,
    ]
    assert {p.top for p in panes} == {0}


def test_two_scans_in_three_planes_are_two_rows(scan):
    panes = arrange({"a": scan, "b": scan}, View(all_planes=True), (3, 7, 4))
    assert [p.title for p in panes] == ["a"] * 3 + ["b"] * 3
    assert panes[3].top == max(p.height for p in panes[:3]) + GAP_PX
    height, width, _ = draw(panes, (3, 7, 4)).shape
    assert (height, width) == (
        panes[3].top + max(p.height for p in panes[3:]),
        panes[2].left + panes[2].width,
    )


@pytest.mark.parametrize("plane", PLANES)
def test_from_a_pixel_back_to_its_voxel(scan, plane):
    """Every pixel of a plane shown without resizing names the voxel whose value it shows."""
    (pane,) = arrange({"": scan}, View(plane, index=5), (5, 5, 5))
    shown = plane_slice(scan.image, plane, 5)
    rows, columns = shown.shape
    for row, column in np.ndindex(rows, columns):
        x_px = (column + 0.5) / columns * pane.width
        y_px = (row + 0.5) / rows * pane.height
        found, voxel = voxel_at([pane], x_px, y_px)
        assert found is pane
        assert scan.image[voxel] == shown[row, column]


def test_between_and_outside_the_panes_is_nothing(scan):
    panes = arrange({"": scan}, View(all_planes=True), (3, 7, 4))
    assert voxel_at(panes, panes[0].width + GAP_PX / 2, 5) is None
    assert voxel_at(panes, 5, 10_000) is None
    assert voxel_at(panes, -1, 5) is None


def test_the_crosshair_runs_through_the_voxel(scan):
    voxel = (3, 7, 4)
    panes = arrange({"": scan}, View(all_planes=True, letters=False), voxel)
    picture = draw(panes, voxel)
    yellow = (picture == CROSS).all(-1)
    for pane in panes:
        part = yellow[pane.top :, pane.left :][: pane.height, : pane.width]
        column, row = part.sum(0).argmax(), part.sum(1).argmax()
        assert voxel_at(panes, pane.left + column + 0.5, pane.top + row + 0.5)[1] == voxel
    plain = dataclasses.replace(panes[0], view=View(index=4, letters=False))
    assert not (draw([plain], voxel) == CROSS).all(-1).any(), "one plane has no crosshair"


def test_heat_colours_by_tenths():
    """0.04 counts as 0 and stays grey; 1 has the brightest colour at the opacity asked for."""
    frame = np.zeros((2, 2, 3), np.uint8)
    paint_heat(frame, np.array([[0.04, 1.0], [np.nan, 0.5]]), opacity=1.0)
    assert not frame[0, 0].any() and not frame[1, 0].any()
    assert np.array_equal(frame[0, 1], heat_colours()[10])
    assert 0 < frame[1, 1].sum() < frame[0, 1].sum()


def test_the_image_is_read_once_for_several_predictions(tmp_path):
    hu = np.zeros((4, 5, 6), np.float32) - 500
    scans = open_scans(hu, None, {"a": np.zeros(hu.shape), "b": np.ones(hu.shape)})
    assert scans["a"].image is scans["b"].image
    assert scans["b"].prediction.all() and scans["b"].probability is not None


def test_packed_for_a_canvas_a_frame_comes_out_as_it_was(scan):
    frame = draw(arrange({"": scan}, View(all_planes=True), (3, 7, 4)), (3, 7, 4))
    packed = canvas_bytes(frame)
    height, width, n = np.frombuffer(packed, "<u4", 3)
    places, colours = np.frombuffer(packed, "<u4", 2 * n, offset=12).reshape(2, n)
    grey = np.frombuffer(packed, np.uint8, offset=12 + 8 * n).reshape(height, width)
    unpacked = np.repeat(grey[:, :, None], 3, axis=2)
    unpacked.reshape(-1, 3)[places] = colours.view(np.uint8).reshape(n, 4)[:, :3]
    assert 0 < n < grey.size and np.array_equal(unpacked, frame)
