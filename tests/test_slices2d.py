"""The 2D path shared by command line and lessons: recipes of the source, presets, losses."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_tasks import TINY

from seg_lib import losses, slices2d
from seg_lib.course.profiles import settings
from seg_lib.data.cases import Case
from seg_lib.data.phantom import make_phantom
from seg_lib.data.slices import load_slices
from seg_lib.errors import InputError
from seg_lib.models.presets import sizes_for
from seg_lib.slices2d import LOSSES, dice_weighted_bce, score_slices


def config_of(lesson):
    chosen = settings(lesson, "paper")
    return chosen.train_config(seed=0), chosen.sizes


def test_resnet50_unet_as_in_source_002():
    config, sizes = config_of("06")
    assert (config.optimizer, config.learning_rate, config.epochs) == ("adam", 1e-4, 100)
    assert (config.schedule, config.weight_decay, config.clip_norm) == ("constant", 0, 0)
    assert (sizes["loss"], sizes["encoder_weights"], sizes["copies"]) == ("bce", "imagenet", 4)


def test_unetr_as_in_source_002():
    config, sizes = config_of("08")
    assert (config.optimizer, config.learning_rate, config.momentum) == ("sgd", 0.1, 0.0)
    assert (config.schedule, config.min_lr, config.early_stopping) == ("plateau", 1e-7, 20)
    assert (config.epochs, sizes["batch_size"], config.clip_norm) == (100, 8, 0)


def test_swin_unet_as_published():
    config, sizes = config_of("07")
    assert (config.optimizer, config.schedule, config.momentum) == ("sgd", "poly", 0.9)
    assert (config.learning_rate, config.weight_decay, config.epochs) == (0.05, 1e-4, 150)
    assert config.clip_norm == 0
    assert (sizes["batch_size"], sizes["loss"], sizes["encoder_weights"]) == (
        24,
        "swin_unet",
        "imagenet",
    )


def test_the_loss_of_swin_unet_is_04_ce_and_06_dice():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 1, 8, 8), torch.randint(0, 2, (2, 1, 8, 8))
    expected = 0.4 * losses.bce(logits, label) + 0.6 * losses.soft_dice_loss(logits, label, True)
    assert LOSSES["swin_unet"](logits, label).item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_weight_counts_lesion_pixels_more_often():
    """One lesion pixel in four, p = 1/2 everywhere: cross entropy ln 2 * (20 + 3) / 4."""
    logits, label = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1, 0], [0, 0]]]])
    dice = losses.soft_dice_loss(logits, label).item()
    weighted = dice_weighted_bce(logits, label).item() - dice
    assert weighted == pytest.approx(0.693147 * 23 / 4, abs=1e-4)


@pytest.mark.parametrize("network", ["resnet50_unet", "resnet18_unet", "swin_unet", "unetr"])
@pytest.mark.parametrize("size", [64, 96, 128])
def test_small_presets_fit_the_sizes_of_the_lessons(network, size):
    from seg_lib.models import build_model

    with torch.device("meta"):
        model = build_model(network, **sizes_for(network, size, "small"))
        assert model(torch.empty(2, 1, size, size)).shape == (2, 1, size, size)


def test_the_largest_window_that_fits_is_taken():
    assert [sizes_for("swin_unet", n)["window"] for n in (64, 96, 224, 256)] == [8, 6, 7, 8]


def test_sizes_without_a_window_and_unknown_presets():
    with pytest.raises(InputError, match="multiple of 32"):
        sizes_for("swin_unet", 100)
    with pytest.raises(InputError, match="'paper' and 'small' of resnet50_unet"):
        sizes_for("swin_unet", 96, "tiny")


def test_every_size_of_a_row_can_be_replaced():
    row = settings("08", "laptop")
    changed = dataclasses.replace(row, sizes=dict(row.sizes) | {"epochs": 2})
    assert (changed.epochs, row.epochs > 2) == (2, True)


@pytest.mark.parametrize(("kind", "native"), [("lung2d", False), ("lung3d", True)])
def test_a_checkpoint_says_whether_slices_kept_their_pixels(kind, native, tmp_path, monkeypatch):
    make_phantom(kind, 12, 64 if kind == "lung2d" else (64, 64, 10), 0, tmp_path)
    parts, seen = slices2d.slices2d_parts(tmp_path, tmp_path, 64), SimpleNamespace()
    monkeypatch.setattr(slices2d, "fit", lambda *_, **how: vars(seen).update(how["about"]))
    monkeypatch.setattr(slices2d, "load_weights", lambda *_: None)
    slices2d.train_slices(parts, tmp_path, TINY, 0)
    assert seen.native_pixels is native


def test_distances_in_mm_do_not_depend_on_the_size_at_which_slices_are_loaded(tmp_path):
    """A square moved by 16 mm, which is 16 rows of the file and 8 of the slice at half its size."""
    mask = np.zeros((128, 64), np.uint8)
    mask[32:64, 16:48] = 255
    for name in ("i.png", "m.png"):
        Image.fromarray(mask).save(tmp_path / name)
    case = Case("c", "p", tmp_path / "i.png", tmp_path / "m.png", spacing_mm=(1.0, 2.0))
    for size, rows in ((128, 16), (64, 8)):
        slices = load_slices([case], size)
        assert slices.cases[0].spacing_mm == (128 / size, 128 / size)
        [row] = score_slices(np.roll(slices.labels[:, 0], rows, axis=1), slices)
        assert row["hd_mm"] == pytest.approx(16)
