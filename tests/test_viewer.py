"""SliceViewer without a browser: its state, its words, its widgets, and no widget when headless."""

import base64
import importlib.util
import io
import sys
from pathlib import Path

import nbformat
import nibabel as nib
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

import seg_lib.viewer
from seg_lib.data.hu import HU_WINDOWS
from seg_lib.data.nifti import Volume
from seg_lib.errors import InputError
from seg_lib.panes import canvas_bytes
from seg_lib.rendering import (
    FALSE_ALARM,
    FOUND,
    MISSED,
    PREDICTION,
    TRUTH,
    render,
)
from seg_lib.scans import open_scan
from seg_lib.viewer import SliceViewer
from seg_lib.viewer_niivue import nifti_bytes

SHAPE = (40, 32, 24)


@pytest.fixture
def chest():
    """A CT with noise, a truth of two lesions (z 5 to 7 and 15 to 18) and half of a prediction."""
    hu = np.random.default_rng(0).normal(-700, 60, SHAPE).astype(np.float32)
    truth, prediction = np.zeros((2, *SHAPE), bool)
    truth[5:10, 6:12, 15:19] = truth[20:28, 10:20, 5:8] = True
    prediction[22:30, 10:20, 5:8] = True
    return hu, truth, prediction


@pytest.fixture
def viewer(chest):
    return SliceViewer(*chest, spacing=(0.8, 0.8, 2.5))


@pytest.fixture
def controls(viewer, monkeypatch):
    """The widgets as a live notebook would show them."""
    monkeypatch.setattr(seg_lib.viewer, "widgets_can_display", lambda: True)
    viewer._repr_mimebundle_()
    return viewer._controls


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_opens_at_the_fullest_slice_of_the_lowest_lesion(viewer, chest):
    assert viewer.view.index == 6
    assert len(viewer.lesions) == 2
    assert viewer.view.window == HU_WINDOWS["lung"]
    assert SliceViewer(chest[0]).view.index == 12  # no mask: in the middle


def test_frame_is_what_rendering_draws(viewer):
    assert np.array_equal(decoded(viewer.frame()), render(viewer.scan, viewer.view))


def test_caption_says_slice_millimetres_values_and_lesion(viewer):
    values = viewer.scan.image[:, :, 6]
    assert viewer.caption() == (
        f"axial slice 7 of 24 · z 15.0 mm · HU {values.min():.0f} to {values.max():.0f} · "
        "lesion 1 of 2"
    )
    viewer.change(index=0)
    assert viewer.caption().endswith("· 2 lesions")


def test_voxels_that_are_no_numbers_are_black_and_not_counted(chest):
    hu, truth, _ = chest
    hu[::2, :, 6], hu[1, 1, 6] = np.nan, np.inf
    hu[:, :, 7] = np.nan
    viewer = SliceViewer(hu, truth, spacing=(0.8, 0.8, 2.5))
    seen = hu[:, :, 6][np.isfinite(hu[:, :, 6])]
    assert f"· HU {seen.min():.0f} to {seen.max():.0f} · lesion 1 of 2" in viewer.caption()
    viewer.change(overlay="none")
    brightest = decoded(viewer.frame())[50:-50, 50:-50].max(axis=(0, 2))
    assert brightest.min() < 20 < 60 < brightest.max()  # of each column; every second is black
    viewer.change(index=7)
    assert "· HU of no voxel · " in viewer.caption()
    assert decoded(viewer.frame())[50:-50, 50:-50].max() == 0
    assert "nan" not in viewer.alt_text() + repr(viewer)


def test_next_lesion_goes_up_and_comes_round(viewer):
    seen = []
    for step in (viewer.next_lesion, viewer.next_lesion, viewer.previous_lesion):
        step()
        seen.append(viewer.view.index)
    assert seen == [16, 6, 16]


def test_next_lesion_stays_in_the_plane_and_shows_its_fullest_slice(viewer):
    viewer.change(plane="sagittal")
    viewer.next_lesion()
    assert (viewer.view.plane, viewer.view.index) == ("sagittal", 7)


def test_without_lesions_the_buttons_do_nothing(chest):
    viewer = SliceViewer(chest[0], np.zeros(SHAPE))
    viewer.next_lesion()
    assert viewer.view.index == 12


def test_another_plane_opens_where_one_stands(viewer):
    viewer.change(index=9)
    viewer.change(plane="coronal", index=3)
    viewer.change(plane="sagittal")
    assert viewer.view.index == viewer.lesions[0].peak[0]
    viewer.change(plane="axial")
    assert viewer.view.index == 9
    viewer.change(plane="coronal")
    assert viewer.view.index == 3


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"index": 24}, "axial slice 24: choose 0 to 23"),
        ({"index": -1}, "axial slice -1: choose 0 to 23"),
        ({"plane": "coronal", "index": 32}, "coronal slice 32: choose 0 to 31"),
        ({"plane": "oblique"}, "plane 'oblique': choose axial"),
        ({"overlay": "dots"}, "overlay 'dots': choose outline"),
        ({"show": "nothing"}, "show 'nothing': choose both"),
        ({"window": "liver"}, "window 'liver': choose one of lung"),
        ({"window": (100, -100)}, "second value must be above the first"),
        ({"overlay": "heat map"}, "heat map: the prediction is a mask"),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(viewer, wrong, says):
    before = viewer.view
    with pytest.raises(InputError, match=says):
        viewer.change(**wrong)
    assert viewer.view == before
    viewer.change(index=6)
    assert viewer.view == before


def test_shapes_that_do_not_fit_are_named(chest):
    with pytest.raises(InputError, match=r"\(40, 32, 23\).*\(40, 32, 24\)"):
        SliceViewer(chest[0], chest[1][:, :, 1:])


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"show": "both"}, [("truth", TRUTH), ("prediction", PREDICTION)]),
        ({"show": "truth"}, [("truth", TRUTH)]),
        (
            {"show": "difference"},
            [("found", FOUND), ("missed", MISSED), ("false alarm", FALSE_ALARM)],
        ),
        ({"overlay": "none"}, []),
    ],
)
def test_legend_names_what_is_painted(viewer, changes, expected):
    viewer.change(**changes)
    assert viewer.legend() == expected
    assert ("no overlay" in viewer.alt_text()) == (not expected)
    assert all(words in viewer.alt_text() for words, _ in expected)


def test_save_writes_the_current_view(viewer, tmp_path):
    viewer.change(plane="coronal", overlay="filled")
    viewer.save(tmp_path / "pictures" / "view.png")
    assert (tmp_path / "pictures" / "view.png").read_bytes() == viewer.frame()


def test_a_2d_image_has_one_plane_and_no_position(chest):
    viewer = SliceViewer(chest[0][:, :, 6].T, chest[1][:, :, 6].T)
    assert viewer.caption().startswith("HU ")
    assert "slice" not in viewer.caption()
    assert decoded(viewer.frame()).shape == (410, 512, 3)


def test_what_lies_under_the_pointer_is_told_as_in_the_array_that_was_given():
    viewer = SliceViewer(np.arange(24.0).reshape(4, 6))
    viewer.frame()
    (pane, *_), last = viewer.panes, viewer.panes[0].width - 1
    assert viewer.under(pane.left + 1, pane.top + 1).startswith("HU 0 · row 0, column 0")
    assert viewer.under(pane.left + last, pane.top + 1).startswith("HU 5 · row 0, column 5")


# Several predictions, probabilities, all planes.


def test_two_models_stand_side_by_side_on_the_same_slice(chest):
    hu, truth, half = chest
    viewer = SliceViewer(hu, truth, {"half": half, "none": np.zeros(SHAPE)}, (0.8, 0.8, 2.5))
    left, right = viewer.panes
    assert (left.title, right.title) == ("half", "none")
    assert left.view == right.view and left.scan.image is right.scan.image
    assert left.scan.prediction.sum() == half.sum() and not right.scan.prediction.any()
    assert "half, none side by side" in viewer.alt_text()
    frame = decoded(viewer.frame())
    assert frame.shape[1] == left.width + right.width + 8
    viewer.next_lesion()
    assert {pane.view.index for pane in viewer.panes} == {16}


def test_no_prediction_in_a_dictionary_is_refused(chest):
    with pytest.raises(InputError, match="empty dictionary"):
        SliceViewer(chest[0], prediction={})
    with pytest.raises(InputError, match=r"U-Net: has shape \(2, 2, 2\)"):
        SliceViewer(chest[0], prediction={"U-Net": np.zeros((2, 2, 2))})


def test_heat_map_of_probabilities(chest):
    hu, truth, half = chest
    likely = half * np.float32(0.75)
    viewer = SliceViewer(hu, truth, likely)
    assert np.array_equal(viewer.scan.prediction, half)
    viewer.change(overlay="heat map")
    assert viewer.legend() == [("truth", TRUTH)]
    assert "heat map of the probability and outline of truth" in viewer.alt_text()
    pane = viewer.panes[0]
    x_px = (SHAPE[0] - 25 - 0.5) / SHAPE[0] * pane.width
    y_px = (SHAPE[1] - 15 - 0.5) / SHAPE[1] * pane.height
    assert viewer.under(x_px, y_px).endswith(
        "voxel 25, 15, 6 · truth · prediction · probability 0.75"
    )


def test_all_planes_pass_through_the_voxel(viewer):
    viewer.go_to((22, 11, 7))
    viewer.change(all_planes=True)
    assert [pane.view.index for pane in viewer.panes] == [7, 11, 22]
    with pytest.raises(InputError, match="coronal slice 32"):
        viewer.go_to((22, 32, 7))
    assert viewer.voxel == [22, 11, 7]
    flat = SliceViewer(viewer.scan.image[:, :, 6].T)
    with pytest.raises(InputError, match="only one plane"):
        flat.change(all_planes=True)


# Headless: one picture, no widget.


def test_headless_shows_one_picture_and_words(viewer, monkeypatch):
    monkeypatch.setenv("SEG_LIB_HEADLESS", "1")
    bundle = viewer._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/plain"}
    assert bundle["text/plain"].startswith("SliceViewer(40 × 32 × 24 voxels of 0.8 × 0.8 × 2.5 mm")
    png = base64.b64decode(bundle["image/png"])
    assert len(png) < 160_000
    assert len(np.unique(decoded(png).reshape(-1, 3), axis=0)) > 50
    assert viewer._controls is None


def test_a_notebook_run_by_a_program_holds_no_widget_state(monkeypatch, tmp_path):
    for name in ("SEG_LIB_HEADLESS", "JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    cell = (
        "import sys, numpy as np\n"
        "from seg_lib.viewer import SliceViewer\n"
        "display(SliceViewer(np.random.default_rng(0).normal(-500, 300, (16, 16, 4))))\n"
        "print('ipywidgets' in sys.modules)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    shown, printed = notebook.cells[0].outputs
    assert set(shown["data"]) == {"image/png", "text/plain"}
    assert printed["text"] == "False\n"
    assert "widgets" not in notebook.metadata


def test_without_ipywidgets_a_person_gets_the_picture(monkeypatch):
    monkeypatch.setattr(seg_lib.viewer, "is_watched", lambda: True)
    assert seg_lib.viewer.widgets_can_display()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "ipywidgets" or None)
    assert not seg_lib.viewer.widgets_can_display(), "without anywidget"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not seg_lib.viewer.widgets_can_display()


# Widgets: each change sends one picture.


def test_live_shows_widgets_and_a_picture_for_those_who_cannot(viewer, controls):
    bundle = viewer._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == controls.box.model_id
    assert base64.b64decode(bundle["image/png"])[1:4] == b"PNG"
    assert bundle["text/plain"] == repr(viewer)


def test_the_image_has_alternative_text_and_is_the_frame(viewer, controls):
    told = controls.picture.words
    assert (told["alt"], told["caption"]) == (viewer.alt_text(), viewer.caption())
    assert told["legend"] == [("truth", f"rgb{TRUTH}"), ("prediction", f"rgb{PREDICTION}")]
    assert controls.picture.frame == canvas_bytes(decoded(viewer.frame()))


ACTIONS = {
    "slice": lambda controls: setattr(controls.index, "value", 11),
    "plane": lambda controls: setattr(controls.plane, "value", "sagittal"),
    "window": lambda controls: setattr(controls.preset, "value", "bone"),
    "level": lambda controls: setattr(controls.level, "value", 40),
    "width": lambda controls: setattr(controls.width, "value", 333),
    "overlay": lambda controls: setattr(controls.overlay, "value", "filled"),
    "show": lambda controls: setattr(controls.show, "value", "difference"),
    "next": lambda controls: controls.next.click(),
    "previous": lambda controls: controls.previous.click(),
    "all planes": lambda controls: setattr(controls.plane, "value", "all three"),
    "wheel": lambda controls: controls.hear({"scroll": -2, "at": [100, 100]}),
    "key for a lesion": lambda controls: controls.hear({"lesion": 1}),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_each_action_sends_exactly_one_new_picture(viewer, controls, name):
    sent = []
    controls.picture.observe(lambda change: sent.append(change.new), "frame")
    ACTIONS[name](controls)
    assert sent == [canvas_bytes(decoded(viewer.frame()))]


def test_the_pointer_asks_and_a_click_goes_there(viewer, controls):
    viewer.change(all_planes=True)
    axial, coronal, _ = viewer.panes
    controls.hear({"under": [axial.width / 2, axial.height / 2]})
    hu = viewer.scan.image[19, 15, 6]
    assert controls.picture.under == f"HU {hu:.0f} · voxel 19, 15, 6"
    controls.hear({"click": [coronal.left + 1, 1]})  # upper left: far right of the patient, top
    assert viewer.voxel == [39, 14, 23]
    assert controls.picture.under.endswith("voxel 39, 14, 23")
    controls.hear({"scroll": 1, "at": [coronal.left + 1, 1]})  # the pane under the pointer
    assert (viewer.view.plane, viewer.voxel) == ("coronal", [39, 15, 23])
    before = list(viewer.voxel)
    controls.hear({"click": [axial.width + 2, 5]})  # between two panes
    assert viewer.voxel == before and viewer.under(axial.width + 2, 5) == ""


def test_a_slice_fetched_in_advance_is_the_one_shown_later(viewer, controls):
    ahead, shown = [], []
    controls.picture.send = lambda content, buffers: ahead.append((content["ahead"], *buffers))
    controls.picture.observe(lambda change: shown.append(change.new), "words")
    here, voxel = viewer.view, list(viewer.voxel)
    controls.hear({"ahead": [here.index + 1]})
    assert (viewer.view, viewer.voxel, shown) == (here, voxel, [])  # nobody has moved
    viewer.scroll(1)
    words, frame = ahead[0]
    assert controls.picture.frame == frame
    assert controls.picture.words == words | {"turn": words["turn"] + 1}


def test_a_slice_that_the_browser_shows_is_not_sent_again(viewer, controls):
    sent = []
    controls.picture.observe(lambda change: sent.append(change.name), ["frame", "words"])
    controls.hear({"index": 3, "move": 7, "ahead": []})
    assert sent == [] and (viewer.view.index, controls.index.value) == (3, 3)
    controls.hear({"rest": True})  # now the page would show slice 3 again if it were reloaded
    assert sorted(sent) == ["frame", "words"]
    assert controls.picture.frame == canvas_bytes(decoded(viewer.frame()))
    told = controls.picture.words
    assert (told["index"], told["move"], told["n_slices"]) == (3, 7, viewer.n_slices)


def test_every_refresh_is_news_even_of_an_equal_frame(viewer, controls):
    """A browser that has gone on by itself would otherwise stay there."""
    sent = []
    controls.picture.observe(lambda change: sent.append(change.new), "words")
    controls.refresh()
    controls.refresh()
    assert len(sent) == 2


LOOKS = {
    "window": {"window": "bone"},
    "plane": {"plane": "coronal"},
    "overlay": {"overlay": "filled"},
    "show": {"show": "truth"},
}


@pytest.mark.parametrize("name", LOOKS)
def test_frames_of_another_look_are_told_apart(viewer, controls, name):
    before = controls.picture.words
    viewer.change(index=before["index"] + 1)
    assert controls.picture.words["look"] == before["look"]
    viewer.change(**LOOKS[name])
    assert controls.picture.words["look"] != before["look"]


def test_three_planes_and_pictures_are_not_fetched_in_advance(viewer, controls):
    viewer.change(all_planes=True)
    assert controls.picture.words["n_slices"] == 0


def test_scrolling_stops_at_the_ends(viewer):
    viewer.scroll(100)
    assert viewer.view.index == 23
    viewer.scroll(-100)
    assert viewer.view.index == 0


def test_the_code_of_the_picture_asks_nobody():
    """No address and no library: what runs in the browser is this one file."""
    source = (Path(seg_lib.viewer.__file__).parent / "viewer_picture.js").read_text()
    assert "http" not in source and "import " not in source and "innerHTML" not in source


def test_widgets_follow_the_code(viewer, controls):
    viewer.change(plane="coronal", index=31, window=(-50.0, 250.0), overlay="filled", opacity=0.7)
    assert (controls.plane.value, controls.index.value, controls.index.max) == ("coronal", 31, 31)
    assert (controls.level.value, controls.width.value) == (100, 300)
    assert controls.preset.value == "own"
    assert controls.opacity.value == 0.7 and not controls.opacity.disabled
    viewer.change(window="soft tissue", overlay="outline")
    assert controls.preset.value == "soft tissue" and controls.opacity.disabled


def test_window_can_be_set_by_level_and_width(viewer, controls):
    controls.level.value = 0
    controls.width.value = 400
    assert viewer.view.window == (-200.0, 200.0)


def test_slider_survives_a_plane_with_fewer_slices(viewer, controls):
    viewer.change(plane="sagittal", index=39)
    controls.plane.value = "axial"
    assert (controls.index.value, controls.index.max) == (6, 23)


def test_grey_images_get_grey_levels(monkeypatch):
    monkeypatch.setattr(seg_lib.viewer, "widgets_can_display", lambda: True)
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    viewer = SliceViewer(picture, picture > 100)
    viewer._repr_mimebundle_()
    assert viewer._controls.preset.value == "grey"
    assert (viewer._controls.level.value, viewer._controls.width.value) == (128, 255)


# NiiVue, the optional third dimension.


def test_the_scan_goes_to_niivue_on_its_own_grid(chest, monkeypatch):
    pytest.importorskip("ipyniivue", reason="ipyniivue is not installed: seg-lib[view3d]")
    monkeypatch.setattr(seg_lib.viewer, "widgets_can_display", lambda: True)
    hu, truth, prediction = chest
    affine = np.diag([0.8, 0.8, 2.5, 1.0])
    affine[:3, 3] = (-120, 35, 400)
    hu[3, 4, 5] = np.nan
    viewer = SliceViewer(Volume(hu, affine, affine, SHAPE, Path("ct")), truth, prediction)
    widget = viewer.in_3d()
    assert widget.opts.is_radiological_convention, "left and right as in SliceViewer"
    shown = widget.volumes
    assert [volume.name for volume in shown] == ["image.nii", "truth.nii", "prediction.nii"]
    image, labels, _ = (nib.Nifti1Image.from_bytes(bytes(volume.data)) for volume in shown)
    assert np.allclose(image.affine, affine) and np.allclose(labels.affine, affine)
    assert np.array_equal(labels.get_fdata() > 0, truth)
    hu[3, 4, 5] = -32768  # what is no number is black, as in SliceViewer
    assert np.array_equal(image.get_fdata(), hu.astype(np.int16))


def test_a_large_volume_is_thinned_and_stays_in_its_place():
    affine = np.diag([0.5, 1.0, 2.0, 1.0])
    affine[:3, 3] = (-120, 35, 400)
    hu = np.zeros((400, 161, 160), np.float32) - 1000
    scan = open_scan(Volume(hu, affine, affine, hu.shape, Path("ct")))
    image = nib.Nifti1Image.from_bytes(nifti_bytes(scan, scan.image.astype(np.int16)))
    assert image.shape == (134, 81, 160)
    assert image.header.get_zooms() == (1.5, 2.0, 2.0)
    assert image.affine[:3, 3].tolist() == [-120, 35, 400]


def test_without_niivue_or_a_person_it_says_what_to_do(viewer, monkeypatch):
    with pytest.raises(InputError, match="open the notebook in JupyterLab"):
        viewer.in_3d()
    monkeypatch.setattr(seg_lib.viewer, "widgets_can_display", lambda: True)
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(InputError, match="view3d"):
        viewer.in_3d()
    flat = SliceViewer(viewer.scan.image[:, :, 6].T)
    with pytest.raises(InputError, match="this is a single slice; give a volume"):
        flat.in_3d()
