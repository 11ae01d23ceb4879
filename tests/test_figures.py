"""Figures show what they should, are never blank when saved, and stay small."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from seg_lib.charts import dice_by_size, dice_strip, hu_histogram, loss_curve, markdown_table
from seg_lib.errors import InputError
from seg_lib.evaluation import bootstrap_interval
from seg_lib.figure_style import figure_png, save_figure
from seg_lib.figures import contact_sheet, grid_of_images, overlay_panel
from seg_lib.rendering import PREDICTION, TRUTH


@pytest.fixture(scope="module")
def chest():
    hu = np.random.default_rng(0).normal(-700, 60, (48, 40, 30)).astype(np.float32)
    truth, prediction = np.zeros((2, 48, 40, 30), bool)
    truth[10:20, 10:20, 4:7] = truth[30:36, 20:26, 22:24] = True
    prediction[12:22, 10:20, 4:7] = True
    return hu, truth, prediction


@pytest.fixture(scope="module")
def slices(chest):
    return [[volume[:, :, z] for z in (5, 22, 14)] for volume in chest]


def rows(scores, volumes_ml=None, patients=None):
    made = [{"case": f"c{number}", "dice": score} for number, score in enumerate(scores)]
    for key, values in (("reference_volume_ml", volumes_ml), ("patient", patients)):
        for row, value in zip(made, values or (), strict=False):
            row[key] = value
    return made


def colours_in(figure) -> set[tuple[int, ...]]:
    pixels = [image.get_array().reshape(-1, 3) for axes in figure.axes for image in axes.images]
    codes = np.unique(np.concatenate(pixels) @ np.array([1 << 16, 1 << 8, 1]))
    return {(code >> 16, code >> 8 & 255, code & 255) for code in codes.tolist()}


def texts(figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(plt.Text))


MAKERS = {
    "overlay_panel": lambda chest, slices: overlay_panel(*slices, titles=["a", "b", "c"]),
    "contact_sheet": lambda chest, slices: contact_sheet(*chest, spacing_mm=(0.8, 0.8, 2.5)),
    "contact_sheet_2d": lambda chest, slices: contact_sheet(slices[0][0], slices[1][0]),
    "grid_of_images": lambda chest, slices: grid_of_images(slices[0] * 5, slices[1] * 5),
    "loss_curve": lambda chest, slices: loss_curve([{"epoch": 1, "loss": 0.5, "dice": 0.3}]),
    "dice_strip": lambda chest, slices: dice_strip({"a": rows([0.2, 0.9]), "b": rows([0.5])}),
    "dice_by_size": lambda chest, slices: dice_by_size(rows([0.2, 0.9, 0.5], [1.0, 8.0, 0.0])),
    "hu_histogram": lambda chest, slices: hu_histogram({"a": chest[0]}, "lung"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_each_figure_is_drawn_saved_small_and_leaves_pyplot_alone(name, chest, slices, tmp_path):
    figure = MAKERS[name](chest, slices)
    assert isinstance(figure, Figure)
    path = save_figure(figure, tmp_path / "figures" / f"{name}.png")
    with Image.open(path) as picture:
        assert min(picture.size) > 200
        assert len(picture.convert("RGB").getcolors(256)) > 5
    assert path.stat().st_size <= 150_000
    assert MAKERS[name](chest, slices)._repr_png_() == path.read_bytes()
    assert plt.get_fignums() == []


def test_panel_has_the_columns_that_were_given(slices):
    images, truths, predictions = slices
    everything = overlay_panel(images, truths, predictions, titles=["a", "b", "c"])
    titles = [axes.get_title() for axes in everything.axes[:3]]
    assert titles == ["image", "truth", "prediction"]
    assert everything.axes[3].get_ylabel() == "b"
    assert {TRUTH, PREDICTION} <= colours_in(everything)
    only_predictions = overlay_panel(images, predictions=predictions)
    assert [axes.get_title() for axes in only_predictions.axes[:2]] == ["image", "prediction"]
    assert TRUTH not in colours_in(only_predictions)
    assert len(overlay_panel(images).axes) == 3


def test_panel_takes_tensors_with_a_channel_axis(slices):
    with_channel = [torch.tensor(np.stack(arrays)[:, None].astype(np.float32)) for arrays in slices]
    for one, other in zip(
        overlay_panel(*with_channel).axes, overlay_panel(*slices).axes, strict=True
    ):
        assert np.array_equal(one.images[0].get_array(), other.images[0].get_array())


def test_lists_of_unequal_length_are_refused(slices):
    images, truths, _ = slices
    with pytest.raises(InputError, match="'image': 3, 'truth': 2"):
        overlay_panel(images, truths[:2])
    with pytest.raises(InputError, match="titles"):
        grid_of_images(images, titles=["one"])
    with pytest.raises(InputError, match="at least one"):
        grid_of_images([])


def test_contact_sheet_shows_three_planes_and_every_slice_with_a_lesion(chest):
    figure = contact_sheet(*chest, spacing_mm=(0.8, 0.8, 2.5), n_slices=5)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[:3] == ["axial, z 12.5 mm", "coronal, y 11.2 mm", "sagittal, x 11.2 mm"]
    assert titles[3:] == ["z 10.0 mm", "z 12.5 mm", "z 15.0 mm", "z 55.0 mm", "z 57.5 mm"]
    assert {TRUTH, PREDICTION} <= colours_in(figure)
    assert "truth" in texts(figure) and "prediction" in texts(figure)


def test_contact_sheet_adds_neighbours_where_a_lesion_has_few_slices(chest):
    figure = contact_sheet(*chest, n_slices=7)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[3:] == [f"z {z}.0 mm" for z in (3, 4, 5, 6, 7, 22, 23)]


def test_contact_sheet_without_mask_spreads_over_the_volume(chest):
    figure = contact_sheet(chest[0], n_slices=4)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[3:] == ["z 0.0 mm", "z 10.0 mm", "z 19.0 mm", "z 29.0 mm"]
    assert TRUTH not in colours_in(figure)


def test_contact_sheet_of_a_thin_volume_shows_each_slice_once(chest):
    figure = contact_sheet(chest[0][:, :, :3], chest[1][:, :, 4:7])
    assert len([axes for axes in figure.axes if axes.get_title()]) == 3 + 3


def test_loss_curve_draws_each_epoch_that_has_a_number():
    history = [
        {"epoch": 1, "loss": 0.9},
        {"epoch": 2, "loss": 0.7, "val_loss": 0.8, "dice": 0.4},
        {"epoch": 3, "loss": 0.6, "val_loss": None},
        {"epoch": 4, "loss": 0.5, "val_loss": 0.6, "dice": 0.6},
    ]
    losses, dice = loss_curve(history).axes
    training, validation = (line.get_xydata().tolist() for line in losses.lines)
    assert training == [[1, 0.9], [2, 0.7], [3, 0.6], [4, 0.5]]
    assert validation == [[2, 0.8], [4, 0.6]]
    assert dice.lines[0].get_xydata().tolist() == [[2, 0.4], [4, 0.6]]
    assert len(loss_curve(history[:1]).axes) == 1
    with pytest.raises(InputError, match="empty"):
        loss_curve([])


def test_loss_curve_draws_the_learning_rate_only_if_asked():
    history = [{"epoch": n, "loss": 1 / n, "lr": lr} for n, lr in ((1, 1e-3), (2, 4e-4), (3, 0.0))]
    losses, rates = loss_curve(history, rate=True).axes
    assert rates.lines[0].get_xydata().tolist() == [[1, 1e-3], [2, 4e-4], [3, 0.0]]
    assert rates.get_ylim()[0] == 0 and 1e-3 < rates.get_ylim()[1] < 1.2e-3
    assert "learning rate" in rates.get_ylabel() and "loss" in losses.get_ylabel()
    assert len(loss_curve(history).axes) == 1
    scored = [row | {"dice": 0.5} for row in history]
    labels = [axes.get_ylabel().split(",")[0] for axes in loss_curve(scored, rate=True).axes]
    assert labels == ["loss", "Dice on validation cases", "learning rate"]
    with pytest.raises(InputError, match="history: .*'lr'"):
        loss_curve([{"epoch": 1, "loss": 0.5}], rate=True)


def test_dice_strip_shows_every_case_and_the_interval_by_patient():
    scores, patients = [0.1, 0.9, 0.2, 0.8], ["a", "a", "b", "b"]  # equal means: no spread
    figure = dice_strip({"net": rows(scores, patients=patients)})
    axes = figure.axes[0]
    assert axes.lines[0].get_xdata().tolist() == scores
    assert "0.50 [0.50, 0.50], n = 4" in texts(figure)
    low, high = bootstrap_interval(scores)
    assert f"0.50 [{low:.2f}, {high:.2f}], n = 4" in texts(dice_strip({"net": rows(scores)}))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["net"]


def test_dice_by_size_leaves_out_cases_without_lesion():
    scores, volumes_ml = [0.1, 0.4, 0.9, 1.0], [0.5, 2.0, 30.0, 0.0]
    axes = dice_by_size(rows(scores, volumes_ml)).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0.5, 0.1], [2.0, 0.4], [30.0, 0.9]]
    with pytest.raises(InputError, match="no case has a lesion"):
        dice_by_size(rows([1.0], [0.0]))


@pytest.mark.parametrize("volumes_ml", [(2.5, 9.5), (4.1, 4.4), (4.0,), (3.0, 20.0), (0.02, 90.0)])
def test_dice_by_size_labels_both_axes_with_plain_numbers(volumes_ml):
    figure = dice_by_size(rows([0.5] * len(volumes_ml), volumes_ml))
    figure.canvas.draw()
    axes = figure.axes[0]
    limits_ml = np.array(axes.get_xlim())
    limits_mm = np.cbrt(6000 * limits_ml / np.pi)
    for axis, (low, high) in ((axes.xaxis, limits_ml), (axes.child_axes[0].xaxis, limits_mm)):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        assert 3 <= len(labels) <= 9
        assert all(low <= float(label) <= high for label in labels), "plain, and inside the axis"
        assert axis.get_minorticklabels() == []


@pytest.mark.parametrize("draw", [dice_strip, lambda methods: dice_by_size(methods["net"])])
def test_rows_without_the_column_are_refused(draw):
    with pytest.raises(InputError, match="'dice'"):
        draw({"net": [{"case": "a", "reference_volume_ml": 1.0}]})


def test_histogram_counts_each_voxel_once_and_marks_the_window():
    hu = np.array([[-1000.0, -1000.0, 0.0, 9000.0]])
    axes = hu_histogram(hu, (-160, 240)).axes[0]
    outline = axes.patches[0].get_xy()  # steps: two corners a bin
    assert outline[:, 1].max() == 50.0  # two of four voxels
    assert "window -160 to 240" in texts(axes.figure)


def test_markdown_table_escapes_rounds_and_aligns():
    table = markdown_table(
        [{"net": "a|b", "dice": 0.91239, "n": 3}, {"net": "c", "dice": None, "n": 12}],
        {"net": "Network", "dice": "Dice", "n": "n"},
    )
    assert table.splitlines() == [
        "| Network | Dice | n |",
        "| --- | --: | --: |",
        r"| a\|b | 0.912 | 3 |",
        "| c |  | 12 |",
    ]
    assert markdown_table([{"a": 1}]).splitlines()[0] == "| a |"
    small = markdown_table([{"p": 0.0001}, {"p": 0.0}]).splitlines()
    assert small[2:] == ["| < 0.001 |", "| 0.000 |"]  # not impossible, and impossible
    with pytest.raises(InputError, match="at least one row"):
        markdown_table([])


def blank_figures():
    yield Figure()
    empty_axes = Figure()
    empty_axes.subplots()
    yield empty_axes
    black = Figure()
    black.subplots().imshow(np.zeros((4, 4)))
    yield black
    no_points = Figure()
    no_points.subplots().plot([np.nan, np.nan])
    yield no_points


@pytest.mark.parametrize("figure", list(blank_figures()))
def test_a_blank_figure_is_refused(figure, tmp_path):
    with pytest.raises(InputError, match="shows nothing"):
        save_figure(figure, tmp_path / "blank.png")
    assert list(tmp_path.iterdir()) == []


def test_only_png_is_written(tmp_path):
    with pytest.raises(InputError, match=r"\.png"):
        save_figure(loss_curve([{"loss": 1.0}]), tmp_path / "loss.pdf")


def test_a_figure_full_of_noise_is_made_to_fit():
    noise = np.random.default_rng(0).normal(-600, 200, (256, 256))
    figure = grid_of_images([noise] * 15)
    assert len(figure_png(figure, limit_bytes=400_000)) <= 400_000
    small = Image.open(io.BytesIO(figure_png(figure, limit_bytes=1)))
    assert small.width == round(9 * 150 * 0.65)
