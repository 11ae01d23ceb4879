"""Bad input of the 2D networks: what was got, what is needed, what to do; no traceback.

Through Python (build, forward, train, predict) and through the command line.
"""

import functools
import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from seg_lib import cli, tasks
from seg_lib.checkpoints import load_checkpoint, save_checkpoint
from seg_lib.course.profiles import Settings
from seg_lib.data.cases import Case, read_cases
from seg_lib.data.phantom import make_phantom
from seg_lib.data.slices import SliceSet
from seg_lib.errors import InputError
from seg_lib.models import build_model
from seg_lib.models.presets import sizes_for
from seg_lib.slice_inference import predict_resized, predict_slice, predict_slices
from seg_lib.slices2d import LOSSES, score_slices, slice_validation, slices2d_parts, train_slices

NETWORKS = ("resnet50_unet", "resnet18_unet", "swin_unet", "unetr")
SMALL = {
    "swin_unet": {"image_size": 64, "window": 4, "width": 24, "heads": (1, 2, 4, 8)},
    "unetr": {"image_size": 64, "hidden": 48, "heads": 4, "features": 8},
}
SIZES = {
    "network": "unetr", "encoder_weights": None, "loss": "dice_ce", "optimizer": "adamw",
    "batch_size": 8, "epochs": 1, "learning_rate": 1e-3, "size": 64, "copies": 0, "preset": "small",
}  # fmt: skip


@functools.cache
def network(name, in_channels=1):
    torch.manual_seed(0)
    return build_model(name, in_channels=in_channels, **SMALL.get(name, {})).eval()


def one_sentence(words, capsys, monkeypatch, **sizes):
    """What the command says about the fault; the run has the sizes of these tests."""
    monkeypatch.setattr(tasks, "settings", lambda *_: Settings("08", "x", SIZES | sizes))
    assert cli.main([str(word) for word in words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("seg-lib: ") and error.count("\n") == 1
    return error


# --- images


@pytest.mark.parametrize(
    ("channels", "shape", "dtype"),
    [
        (1, (2, 3, 64, 64), torch.float32),
        (3, (2, 1, 64, 64), torch.float32),
        (1, (1, 64, 64), torch.float32),
        (1, (64, 64), torch.float32),
        (1, (1, 1, 64, 64, 64), torch.float32),
        (1, (1, 1, 0, 64), torch.float32),
        (1, (1, 1, 64, 64), torch.uint8),
    ],
)
@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_of_another_kind_is_refused_before_torch_fails(name, channels, shape, dtype):
    with pytest.raises(InputError) as told:
        network(name, channels)(torch.zeros(shape, dtype=dtype))
    assert f"shape {shape} and {dtype}" in str(told.value)
    assert f"floats (B, {channels}, H, W)" in str(told.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_three_channels_are_welcome_where_they_were_asked_for(name):
    with torch.inference_mode():
        assert network(name, 3)(torch.rand(1, 3, 64, 64)).shape == (1, 1, 64, 64)


@pytest.mark.parametrize("name", ["resnet50_unet", "resnet18_unet"])
@pytest.mark.parametrize("sides", [(100, 100), (65, 80)])
def test_a_resnet_unet_takes_sides_that_do_not_divide(name, sides):
    with torch.inference_mode():
        assert network(name)(torch.rand(1, 1, *sides)).shape == (1, 1, *sides)


@pytest.mark.parametrize(
    ("name", "size"), [("unetr", 0), ("unetr", 80), ("swin_unet", 80), ("swin_unet", 352)]
)
def test_sizes_that_could_be_trained_but_not_predicted_are_refused_at_once(name, size):
    """Slices are padded to multiples of 32; a UNETR of 80 pixels would fail after an epoch."""
    with pytest.raises(InputError, match=f"{name}: {size} pixels a side .* multiple of 32 such as"):
        sizes_for(name, size)
    assert sizes_for("unetr", 352)["image_size"] == 352


@pytest.mark.parametrize("name", NETWORKS)
def test_a_grey_slice_for_a_network_of_three_channels(name):
    with pytest.raises(InputError, match=r"\(B, 3, H, W\)"):
        predict_slice(network(name, 3), np.zeros((64, 64), np.uint8))
    with pytest.raises(InputError, match=r"\(1, 3, 64, 64\); slices must be \(N, 1, H, W\)"):
        predict_slices(network(name, 3), np.zeros((1, 3, 64, 64), np.uint8))


def test_slices_of_another_size_than_the_network_was_built_for():
    with pytest.raises(InputError, match=r"built for images of \(64, 64\) pixels and got \(128"):
        predict_slice(network("unetr"), np.zeros((100, 100), np.uint8))


def test_nan_is_no_answer():
    """NaN >= 0.5 is false: it would be written as an empty mask."""
    broken = build_model("unetr", **SMALL["unetr"])
    broken.network.out.conv.conv.bias.data[:] = math.nan
    with pytest.raises(InputError, match="NaN; check that image and weights are numbers"):
        predict_slice(broken, np.zeros((64, 64), np.uint8))


@pytest.mark.parametrize("size", [None, 64])
def test_resized_prediction_answers_on_the_grid_of_the_images(size):
    seen = []

    class Bright(torch.nn.Module):
        def forward(self, image):
            seen.append(tuple(image.shape[2:]))
            return (image - 0.5) * 100

    image = np.zeros((50, 90), np.uint8)
    image[10:30, 20:60] = 255
    found = predict_resized(Bright(), [image, 255 - image], size) >= 0.5
    assert seen == [(64, 96) if size is None else (64, 64)]
    expected = np.stack([image, 255 - image]) > 0
    assert found.shape == (2, 50, 90)
    assert (found == expected).mean() > (0.97 if size else 0.9999)


# --- empty masks


def mixed_batch(n_empty):
    torch.manual_seed(0)
    label = torch.zeros(3, 1, 64, 64, dtype=torch.long)
    label[n_empty:, :, 20:26, 30:37] = 1
    return torch.rand(3, 1, 64, 64), label


@pytest.mark.parametrize("n_empty", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["resnet18_unet", "swin_unet", "unetr"])
def test_empty_masks_in_a_batch_give_a_finite_loss_and_gradient(name, loss, n_empty):
    image, label = mixed_batch(n_empty)
    model = build_model(name, **SMALL.get(name, {}))
    value = LOSSES[loss](model(image), label)
    value.backward()
    gradients = [w.grad for w in model.parameters() if w.grad is not None]
    assert torch.isfinite(value) and all(torch.isfinite(g).all() for g in gradients)
    assert sum(float(g.abs().sum()) for g in gradients) > 0


def slice_set(n_empty):
    image, label = mixed_batch(n_empty)
    cases = [Case(f"c{i}", f"p{i}", None, None, "train") for i in range(3)]
    return SliceSet((image * 255).byte().numpy(), label.byte().numpy(), cases)


@pytest.mark.parametrize("n_empty", [1, 3])
def test_empty_masks_give_finite_scores(n_empty):
    slices = slice_set(n_empty)
    found = slice_validation(slices)(network("unetr"))
    assert all(map(math.isfinite, found.values()))
    for masks in (np.zeros((3, 64, 64)), np.ones((3, 64, 64))):
        rows = score_slices(masks, slices, masks * 0.9)
        numbers = [v for row in rows for v in row.values() if isinstance(v, float)]
        assert len(numbers) >= 3 * 8 and all(map(math.isfinite, numbers))


# --- sets without a lesion


@pytest.mark.parametrize("part", ["training", "validation"])
def test_slices_without_any_lesion_are_refused_before_anything_is_written(tmp_path, part):
    full, empty = slice_set(1), slice_set(3)
    parts = (empty, full, full) if part == "training" else (full, empty, full)
    with pytest.raises(InputError, match=f"None of the 3 {part} slices, such as c0, .* lesion"):
        train_slices(parts, tmp_path / "run", Settings("08", "x", SIZES), 0)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def pngs(tmp_path_factory):
    """Twelve slices with a cases.csv, as `pickle_to_png` writes them."""
    folder = tmp_path_factory.mktemp("lung2d")
    make_phantom("lung2d", 12, 64, 0, folder)
    slices2d_parts(folder, folder, 64)
    return folder / "png"


def with_empty_masks(pngs, folder, chosen):
    """A copy of the set in which the masks of the chosen cases are black."""
    shutil.copytree(pngs, folder)
    for number, case in enumerate(read_cases(folder)):
        if chosen(number, case):
            Image.fromarray(np.zeros((64, 64), np.uint8)).save(case.label)
    return folder


@pytest.mark.parametrize("name", ["resnet50_unet", "swin_unet", "unetr"])
def test_a_set_without_any_lesion_is_refused_on_the_command_line(
    name, pngs, tmp_path, monkeypatch, capsys
):
    healthy = with_empty_masks(pngs, tmp_path / "healthy", lambda _, case: case.split == "train")
    words = ["train", "slices2d", "--data", healthy, "--out", tmp_path / "run", "--network", name]
    told = one_sentence(words, capsys, monkeypatch)
    assert "training slices, such as lung_cancer_train_0" in told and "check the masks" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["resnet18_unet", "swin_unet", "unetr"])
def test_healthy_cases_among_others_are_trained_on(name, pngs, tmp_path, monkeypatch):
    some = with_empty_masks(pngs, tmp_path / "some", lambda number, _: number % 2)
    monkeypatch.setattr(tasks, "settings", lambda *_: Settings("08", "x", SIZES))
    words = ["train", "slices2d", "--data", some, "--out", tmp_path / "run", "--network", name]
    assert cli.main([str(word) for word in words]) == 0
    summary = json.loads((tmp_path / "run" / "results.json").read_text())["network"]
    means = [value["mean"] for name, value in summary.items() if name != "counts"]
    assert len(means) > 8 and all(map(math.isfinite, means))


@pytest.mark.parametrize("name", ["swin_unet", "unetr"])
def test_a_size_that_does_not_fit_on_the_command_line(name, pngs, tmp_path, monkeypatch, capsys):
    words = ["train", "slices2d", "--data", pngs, "--out", tmp_path / "run", "--network", name]
    assert f"{name}: 80 pixels a side" in one_sentence(words, capsys, monkeypatch, size=80)
    assert not (tmp_path / "run").exists()


# --- weights for prediction


@pytest.fixture(scope="module", params=["resnet18_unet", "swin_unet", "unetr"])
def run(request, tmp_path_factory):
    """What ``seg-lib predict`` needs of a run, untrained."""
    folder = tmp_path_factory.mktemp(request.param)
    about = {"task": "slices2d", "network": request.param, "window": [-1000.0, 400.0], "size": 64}
    about["sizes"] = SMALL.get(request.param, {})
    state = network(request.param).state_dict()
    save_checkpoint(folder / "best.safetensors", state, about)
    return folder


def test_pngs_of_any_size_and_in_colour_are_predicted_on_their_own_grid(run, tmp_path):
    random = np.random.default_rng(0)
    shapes = [(64, 64), (100, 100), (64, 80), (30, 30), (64, 64, 3)]
    images = [tmp_path / f"{number}.png" for number in range(len(shapes))]
    for path, shape in zip(images, shapes, strict=True):
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(path)
    words = ["predict", run, *images, "--out", tmp_path / "masks"]
    assert cli.main([str(word) for word in words]) == 0
    for path, shape in zip(images, shapes, strict=True):
        mask = np.asarray(Image.open(tmp_path / "masks" / path.name))
        assert mask.shape == shape[:2] and set(np.unique(mask)) <= {0, 255}


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_about(path):
    save_file(load_checkpoint(path)[0], path)


def another_about(**changes):
    def change(path):
        tensors, about = load_checkpoint(path)
        about = {key: value for key, value in (about | changes).items() if value is not None}
        save_checkpoint(path, tensors, about)

    return change


def not_a_number(path):
    tensors, about = load_checkpoint(path)
    floats = {n: t * math.nan if t.is_floating_point() else t for n, t in tensors.items()}
    save_checkpoint(path, floats, about)


WRONG_WEIGHTS = {
    "cut": (cut, "not a whole safetensors file"),
    "empty": (lambda path: path.write_bytes(b""), "not a whole safetensors file"),
    "a page": (lambda path: path.write_text("<html>"), "not a whole safetensors file"),
    "gone": (lambda path: path.unlink(), "there is no such checkpoint"),
    "of others": (without_about, "lacks network, window, size; give a run of 'seg-lib train'"),
    "no window": (another_about(window=None), "lacks window"),
    "of another task": (another_about(task="volumes3d"), "lacks preparation, patch"),
    "of a task to come": (another_about(task="slices9"), "lacks a known task"),
    "of a network to come": (another_about(network="vgg"), "There is no network 'vgg'"),
    "with a size of no network": (another_about(sizes={"storeys": 3}), "sizes do not build"),
    "with sizes of words": (another_about(sizes={"in_channels": "one"}), "sizes do not build"),
    "with a list of sizes": (another_about(sizes=[3]), "sizes do not build"),
    "of another network": (another_about(network="resnet50_unet", sizes={}), "do not fit"),
    "NaN": (not_a_number, "The network answers NaN"),
}


@pytest.mark.parametrize("run", ["swin_unet", "unetr"], indirect=True)
@pytest.mark.parametrize(("spoil", "told"), WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
def test_wrong_weights_for_prediction_are_named(run, tmp_path, monkeypatch, capsys, spoil, told):
    shutil.copytree(run, tmp_path / "run")
    spoil(tmp_path / "run" / "best.safetensors")
    image = tmp_path / "slice.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(image)
    words = ["predict", tmp_path / "run", image, "--out", tmp_path / "masks"]
    error = one_sentence(words, capsys, monkeypatch)
    assert told in error and not (tmp_path / "masks").exists()
    assert str(image) in error or "best.safetensors" in error or "no network" in error


# --- weights to go on from


@pytest.fixture(scope="module")
def trained(pngs, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "settings", lambda *_: Settings("08", "x", SIZES))
        assert cli.main(["train", "slices2d", "--data", str(pngs), "--out", str(out)]) == 0
    return out


def best_as_last(path):
    shutil.copy(path.with_name("best.safetensors"), path)


WRONG_STATES = {
    "cut": (cut, [], "not a whole safetensors file"),
    "gone": (lambda path: path.unlink(), [], "there is nothing to resume"),
    "weights alone": (best_as_last, [], "holds no training state"),
    "of others": (without_about, [], "holds no training state"),
    "half a state": (another_about(steps=None), [], "holds no training state"),
    "another network": (lambda _: None, ["--network", "swin_unet"], "do not fit this network"),
}


@pytest.mark.parametrize(("spoil", "more", "told"), WRONG_STATES.values(), ids=WRONG_STATES)
def test_wrong_states_to_resume_are_named(
    trained, pngs, tmp_path, monkeypatch, capsys, spoil, more, told
):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "last.previous.safetensors").unlink(missing_ok=True)
    spoil(tmp_path / "run" / "last.safetensors")
    words = ["train", "slices2d", "--data", pngs, "--out", tmp_path / "run", "--resume", *more]
    error = one_sentence(words, capsys, monkeypatch, epochs=2)
    assert told in error and "last.safetensors" in error
