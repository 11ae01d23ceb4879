"""A coarse network looks first: the fine one sees the box around its finds, and no other voxel."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from seg_lib import cli, predictions
from seg_lib.checkpoints import save_checkpoint
from seg_lib.data.nifti import Volume, read_image, read_mask, write_image
from seg_lib.data.volumes import Preparation, coarse_box, prepare
from seg_lib.errors import DataWarning, InputError
from seg_lib.inference import SlidingWindow, predict_volume
from seg_lib.models import build_model
from seg_lib.multitask_inference import predict_multitask
from seg_lib.text_inference import logits_of

SHAPE = (20, 18, 16)
MM = (1.0, 2.0, 4.0)
HOW = Preparation(box="all", window=(-1.0, np.prod(SHAPE)))
SMALL = {"features": [4, 8], "blocks": [1, 1]}


class Pointwise(nn.Module):
    """Foreground above the middle of the window; remembers which values it has seen."""

    def __init__(self, classes=1):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(10, 20, classes).view(1, classes, 1, 1, 1))
        self.windows, self.seen = 0, []

    def forward(self, image):
        self.windows += len(image)
        self.seen.append(image.unique())
        return (image - 0.5) * self.scale


def numbered():
    """A volume whose voxels have a value of their own each, so that what was seen has a place."""
    affine = np.diag([*MM, 1.0])
    array = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    return Volume(array, affine, affine, SHAPE, Path("made-up"))


def marked(*box):
    mask = np.zeros(SHAPE, np.uint8)
    mask[box] = 2
    return mask


def seen_by(network, volume):
    """(X, Y, Z) bool: the voxels that the network has seen."""
    ready = prepare(volume, HOW).image
    return np.isin(ready, torch.cat(network.seen).numpy())


def with_part(part, how=HOW):
    return Preparation(**(vars(how) | {"part": part}))


def test_the_margin_is_in_mm_and_ends_at_the_border_by_hand():
    volume, spot = numbered(), (slice(8, 10), slice(9, 11), slice(7, 9))
    expected = {0.0: spot, 3.0: (slice(5, 13), slice(7, 13), slice(6, 10))}
    expected |= {4.0: (slice(4, 14), slice(7, 13), slice(6, 10))}
    expected |= {17.0: (slice(0, 20), slice(0, 18), slice(2, 14))}
    for margin_mm, box in expected.items():
        assert coarse_box(volume, marked(*spot), margin_mm) == box
    corner = marked(slice(0, 1), slice(16, 18), slice(15, 16))
    assert coarse_box(volume, corner, 4.0) == (slice(0, 5), slice(14, 18), slice(14, 16))


def test_two_finds_lie_in_one_box():
    mask = marked(slice(2, 4), slice(5, 6), slice(3, 4)) | marked(9, 12, 10)
    assert coarse_box(numbered(), mask, 0) == (slice(2, 10), slice(5, 13), slice(3, 11))


def test_the_fine_network_sees_the_box_and_nothing_else():
    volume, window = numbered(), SlidingWindow((4, 4, 4), 0.5)
    part = (slice(5, 13), slice(7, 13), slice(6, 10))
    network = Pointwise()
    predict_volume(network, volume, with_part(part), window)
    inside = np.zeros(SHAPE, bool)
    inside[part] = True
    assert np.array_equal(seen_by(network, volume), inside)
    assert network.windows == 3 * 2 * 1, "8, 6 and 4 voxels in windows of 4, every 2"
    everywhere = Pointwise()
    plain = predict_volume(everywhere, volume, HOW, window)
    assert everywhere.windows == 9 * 8 * 7
    found = predict_volume(Pointwise(), volume, with_part(part), window)
    assert np.array_equal(found, np.where(inside, plain, 0)) and found.any()


@pytest.mark.parametrize(
    ("part", "seen"),
    [
        ((slice(9, 11), slice(9, 11), slice(7, 9)), (slice(6, 14), slice(7, 13), slice(6, 10))),
        ((slice(0, 2), slice(17, 18), slice(7, 9)), (slice(0, 8), slice(12, 18), slice(6, 10))),
    ],
)
def test_the_box_is_as_large_as_a_window_which_is_never_filled_with_air(part, seen):
    """In the middle of the find, or moved inwards from the border."""
    volume, network = numbered(), Pointwise()
    predict_volume(network, volume, with_part(part), SlidingWindow((8, 6, 4)))
    expected = np.zeros(SHAPE, bool)
    expected[seen] = True
    assert np.array_equal(seen_by(network, volume), expected) and network.windows == 1
    assert torch.cat(network.seen).min() > 0, "nothing was padded"


def test_the_box_is_cut_to_what_the_preparation_keeps():
    """A box of the body, and voxels of another size: part of the body, in prepared voxels."""
    volume = numbered()
    volume.array[:] = -1000
    volume.array[4:16, 4:16, 2:14] = 100
    how = Preparation((2.0, 2.0, 2.0), (-1000, 400), "body", 0.0)
    assert prepare(volume, how).image.shape == (6, 12, 24)
    network, window = Pointwise(), SlidingWindow((2, 2, 2), 0.0)
    found = predict_volume(
        network, volume, with_part((slice(7, 9), slice(6, 8), slice(5, 30)), how), window
    )
    expected = np.zeros(SHAPE, bool)
    expected[6:10, 6:8, 5:14] = True  # along x enlarged to whole voxels of 2 mm
    assert np.array_equal(found, expected)
    assert network.windows == 1 * 1 * 9, "2, 2 and 18 prepared voxels in windows of 2"


TURNED = {
    "LPS": np.diag([-2.0, -2.0, 3.0, 1.0]),
    "axes in another order": np.array([[0, 0, -3, 5], [2, 0, 0, -7], [0, -2, 0, 1], [0, 0, 0, 1]]),
    "oblique": np.array([[1.9, -0.6, 0, 5], [0.6, 1.9, 0, -7], [0, 0, 4, 1], [0, 0, 0, 1]]),
}
COARSE = {"preparation": {"spacing_mm": [4, 4, 6], "window": [-600, 100], "box": "all"}}
COARSE |= {"patch": [8, 8, 8]}


def scan_with_a_bright_box(folder, affine):
    hu = np.full((26, 22, 20), -1000.0)
    hu[3:24, 2:20, 2:18] = -300
    hu[6:11, 8:12, 10:14] = 300  # in no middle of any axis
    write_image(folder / "ct.nii.gz", hu, np.asarray(affine, float))
    return folder / "ct.nii.gz"


@pytest.mark.parametrize("spacing_mm", [None, [1.0, 1.0, 1.5]])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("affine", TURNED.values(), ids=TURNED)
def test_the_answer_is_the_plain_one_voxel_for_voxel(tmp_path, affine, classes, spacing_mm):
    image = scan_with_a_bright_box(tmp_path, affine)
    how = {"spacing_mm": spacing_mm, "window": [-600, 600], "box": "body", "margin_mm": 4.0}
    about = {"preparation": how, "patch": [8, 8, 8]}
    first = SimpleNamespace(model=Pointwise(), about=COARSE)
    fine, again = Pointwise(classes), Pointwise(classes)
    predictions.predict_by_windows(fine, about, image, tmp_path / "plain.nii.gz")
    about["coarse"] = (first, 6.0)
    predictions.predict_by_windows(again, about, image, tmp_path / "coarse.nii.gz")
    assert first.model.windows and again.windows < 0.5 * fine.windows
    plain, coarse = (tmp_path / f"{name}.nii.gz" for name in ("plain", "coarse"))
    assert coarse.read_bytes() == plain.read_bytes(), "the same voxels and the same geometry"
    labels = read_mask(coarse, read_image(image), 3).array
    assert set(np.unique(labels)) == {0, 2 if classes == 3 else 1}


def test_where_nothing_is_found_the_whole_volume_is_predicted_and_that_is_said(tmp_path):
    image = scan_with_a_bright_box(tmp_path, TURNED["LPS"])
    about = {"preparation": COARSE["preparation"], "patch": [8, 8, 8]}
    blind = COARSE["preparation"] | {"window": [2000, 3000]}
    about["coarse"] = (SimpleNamespace(model=Pointwise(), about=COARSE | {"preparation": blind}), 6)
    with pytest.warns(DataWarning, match=r"ct.nii.gz: the coarse network finds nothing; the whole"):
        predictions.predict_by_windows(Pointwise(), about, image, tmp_path / "coarse.nii.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        about["coarse"] = None
        predictions.predict_by_windows(Pointwise(), about, image, tmp_path / "plain.nii.gz")
    assert read_mask(tmp_path / "plain.nii.gz").array.any()
    plain, coarse = (tmp_path / f"{name}.nii.gz" for name in ("plain", "coarse"))
    assert coarse.read_bytes() == plain.read_bytes()


@pytest.mark.parametrize("margin_mm", [-1.0, float("nan"), float("inf")])
def test_a_margin_that_is_none_is_refused(margin_mm):
    with pytest.raises(InputError, match=r"margin of .* mm around a coarse mask; give 0 or more"):
        coarse_box(numbered(), marked(9, 9, 9), margin_mm)


class Classifier(Pointwise):
    """Three classes of voxels; the subtype depends on the mean of the patch that it is shown."""

    def __init__(self):
        super().__init__(3)

    def forward(self, image, classify=False):
        logits = super().forward(image)
        return (logits, 9 * image.mean((2, 3, 4)) * torch.arange(3)) if classify else logits


def test_the_subtype_is_judged_on_the_same_patch(tmp_path):
    """The patch around the lesion reaches beyond the box."""
    volume = read_image(scan_with_a_bright_box(tmp_path, TURNED["LPS"]))
    how, patch = Preparation(box="all", window=(-600, 600)), (12, 12, 12)
    part = coarse_box(volume, volume.array > 0, 0.0)
    networks = Classifier(), Classifier()
    labels, chances = predict_multitask(networks[0], volume, how, patch)
    some, same = predict_multitask(networks[1], volume, with_part(part, how), patch)
    assert np.array_equal(labels, some) and np.array_equal(labels, 2 * (volume.array > 0))
    assert torch.equal(chances, same) and networks[1].windows == 1 + 1 < networks[0].windows


def test_a_network_that_reads_is_told_where_in_the_whole_volume_it_is():
    """Its positions are those of the plain prediction, not those within the box."""
    told = SimpleNamespace(
        states=lambda notes: torch.zeros(len(notes), 1, 1),
        unet=lambda image, text, positions: positions,
    )
    volume, part = numbered(), (slice(4, 8), slice(6, 10), slice(8, 12))
    window = SlidingWindow((4, 4, 4), 0.0)
    whole, some = (
        logits_of(told, prepare(volume, how), "a note", window) for how in (HOW, with_part(part))
    )
    inside = (..., *part)
    assert torch.allclose(some[inside], whole[inside], atol=1e-6)
    assert whole[inside].unique().numel() > 6
    some[inside] = -20.0
    assert (some[:, 1:] == -20).all() and (some[:, 0] == 20).sum() == np.prod(SHAPE) - 4**3


def a_run(folder, network="unet3d", bias=0.0, **sizes):
    """A run whose network says the same of every voxel: foreground with 0, background with -1."""
    sizes = (SMALL if network == "unet3d" else {"upscale": 2}) | sizes
    state = {
        name: 0 * weight for name, weight in build_model(network, **sizes).state_dict().items()
    }
    state |= {name: state[name] + bias for name in state if name.startswith("heads.0.bias")}
    how = {"spacing_mm": [4.0, 4.0, 6.0], "window": [-600.0, 600.0], "box": "all", "margin_mm": 5.0}
    about = {"task": "volumes3d", "preparation": how, "patch": [8, 8, 8]}
    if network != "unet3d":
        about = {"task": "slices2d", "window": [-600.0, 600.0], "size": 32}
    folder.mkdir()
    path = folder / "best.safetensors"
    save_checkpoint(path, state, about | {"network": network, "sizes": sizes})
    return folder


def predicted(*words):
    return cli.main(["predict", *map(str, words)])


def test_from_the_command_line(tmp_path, capsys, monkeypatch):
    """What both find is written, the margin arrives, and a note says when nothing is found."""
    image = scan_with_a_bright_box(tmp_path, TURNED["oblique"])
    fine, coarse = a_run(tmp_path / "fine"), a_run(tmp_path / "coarse")
    box = (slice(3, 12), slice(4, 12), slice(5, 15))
    asked = []
    monkeypatch.setattr(predictions, "coarse_box", lambda *what: asked.append(what) or box)
    words = [fine, image, "--out", tmp_path / "some", "--coarse", coarse]
    assert predicted(*words, "--margin", 7) == predicted(*words) == 0
    assert [margin_mm for *_, margin_mm in asked] == [7.0, 15.0]
    assert all(mask.all() and mask.shape == volume.array.shape for volume, mask, _ in asked)
    monkeypatch.undo()
    some = read_mask(tmp_path / "some" / image.name, read_image(image)).array
    assert some[7, 7, 9] and 0 < some.sum() < 0.5 * some.size
    capsys.readouterr()
    blind = a_run(tmp_path / "blind", bias=-1.0)
    assert predicted(fine, image, "--out", tmp_path / "all", "--coarse", blind) == 0
    assert "note: " in (told := capsys.readouterr().err) and "finds nothing" in told
    assert np.asarray(nib.load(tmp_path / "all" / image.name).dataobj).all()


def test_runs_that_cannot_look_first_are_refused(tmp_path, capsys):
    image = scan_with_a_bright_box(tmp_path, TURNED["LPS"])
    fine, flat = a_run(tmp_path / "fine"), a_run(tmp_path / "flat", "resnet18_unet")
    two = a_run(tmp_path / "two", in_channels=2)
    for run, coarse, says in (
        (fine, flat, f"{flat}: slices2d cannot look first for volumes3d; --coarse takes a run of"),
        (flat, fine, f"{fine}: volumes3d cannot look first for slices2d"),
        (fine, two, f"{two}: its images have 2 channels, those of the network after it 1; --c"),
        (two, two, f"{two}: its images have 2 channels, those of the network after it 2; --c"),
        (fine, tmp_path / "none", "none"),
    ):
        assert predicted(run, image, "--out", tmp_path / "out", "--coarse", coarse) == 1
        told = capsys.readouterr().err
        assert says in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists()
