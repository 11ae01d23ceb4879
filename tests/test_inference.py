"""The sliding window: what it may change (time, memory) and what it may not (the answer)."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from seg_lib.data.nifti import read_image, read_mask, write_image, write_mask
from seg_lib.data.volumes import Preparation
from seg_lib.errors import InputError
from seg_lib.inference import (
    SlidingWindow,
    Windows,
    foreground_of,
    labels_of,
    predict_volume,
    sliding_window,
)
from seg_lib.memory import keep_memory
from seg_lib.models.unet3d import UNet3d


class Pointwise(nn.Module):
    """A network whose answer at a voxel depends on that voxel alone; counts what it sees."""

    def __init__(self, classes=1):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(10, 20, classes).view(1, classes, 1, 1, 1))
        self.batches = []

    def forward(self, image):
        self.batches.append(len(image))
        return (image - 0.5) * self.scale


def image(shape=(20, 17, 13), seed=0):
    return torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("blend", ["constant", "gaussian"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
def test_windows_of_a_pointwise_network_give_the_whole_image(blend, overlap):
    how = SlidingWindow((8, 8, 8), overlap, blend)
    network = Pointwise(2)
    assert torch.allclose(sliding_window(network, image(), how), network(image()), atol=1e-5)


def test_an_image_smaller_than_the_window():
    how = SlidingWindow((32, 32, 32))
    network = Pointwise()
    assert torch.allclose(sliding_window(network, image(), how), network(image()), atol=1e-5)


def test_the_batch_does_not_change_the_answer():
    torch.manual_seed(0)
    network = UNet3d(features=(4, 8), blocks=(1, 1))
    found = [
        sliding_window(network, image(), SlidingWindow((8, 8, 8), batch_size=n)) for n in (1, 2, 5)
    ]
    assert (found[0] - found[1]).abs().max() < 1e-4 and (found[0] - found[2]).abs().max() < 1e-4


def test_small_windows_go_more_at_once_and_large_ones_two():
    at_once = {side: SlidingWindow((side,) * 3).windows_at_once for side in (16, 32, 64, 160)}
    assert at_once == {16: 32, 32: 4, 64: 2, 160: 2}
    assert SlidingWindow((16,) * 3, batch_size=1).windows_at_once == 1


def test_bf16_is_near_and_the_result_float32():
    torch.manual_seed(0)
    network = UNet3d(features=(4, 8), blocks=(1, 1))
    exact = sliding_window(network, image(), SlidingWindow((8, 8, 8)))
    near = sliding_window(network, image(), SlidingWindow((8, 8, 8), precision="bf16"))
    assert near.dtype == torch.float32 and not torch.equal(exact, near)
    assert (exact - near).abs().mean() < 0.05 * exact.abs().mean()


def test_windows_of_air_are_background_unseen():
    half = image((32, 8, 8))
    half[:, :, 12:] = 0
    seen = {}
    for skip in (True, False):
        network = Pointwise()
        how = SlidingWindow((8, 8, 8), 0.0, "constant", 1, skip_air=skip)
        seen[skip] = sliding_window(network, half, how), sum(network.batches)
    assert seen[False][1] == 4 and seen[True][1] == 2
    assert torch.equal(seen[True][0][:, :, :16], seen[False][0][:, :, :16])
    assert (seen[True][0][:, :, 16:] == -20).all()


def test_air_is_background_of_several_classes():
    windows = Windows(Pointwise(3), SlidingWindow((4, 4, 4)))
    windows(torch.ones(1, 1, 4, 4, 4))
    logits = windows(torch.zeros(2, 1, 4, 4, 4))
    assert (logits.argmax(1) == 0).all() and (windows.run, windows.skipped) == (1, 2)


def test_flips_of_a_network_without_direction_change_nothing():
    how = SlidingWindow((8, 8, 8), flips=True)
    plain = sliding_window(Pointwise(), image(), SlidingWindow((8, 8, 8)))
    assert torch.allclose(sliding_window(Pointwise(), image(), how), plain, atol=1e-5)


def test_flips_make_any_network_symmetric():
    torch.manual_seed(0)
    network = UNet3d(features=(4, 8), blocks=(1, 1))
    how = SlidingWindow((16, 16, 16), flips=True)
    there = image((16, 16, 16))
    mirrored = sliding_window(network, there.flip(2), how).flip(2)
    assert torch.allclose(sliding_window(network, there, how), mirrored, atol=1e-4)


def test_overlap_08_costs_what_the_lesson_says():
    counts = []
    for overlap in (0.5, 0.8):
        network = Pointwise()
        sliding_window(network, image((64, 64, 64)), SlidingWindow((16, 16, 16), overlap))
        counts.append(sum(network.batches))
    assert counts[0] == 7**3 and counts[1] == 17**3


class Greedy(Pointwise):
    """Out of memory with more than one window."""

    def forward(self, image):
        if len(image) > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return super().forward(image)


def test_out_of_memory_halves_the_batch_and_says_so():
    network = Greedy()
    network.most = 1
    how = SlidingWindow((8, 8, 8), batch_size=2)
    with pytest.warns(RuntimeWarning, match="going on with 1"):
        found = sliding_window(network, image(), how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(found, sliding_window(Pointwise(), image(), how))
    network.most = 0
    with pytest.raises(InputError, match=r"One window of 8 x 8 x 8"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sliding_window(network, image(), how)


def test_other_errors_are_not_taken_for_lack_of_memory():
    class Broken(nn.Module):
        def forward(self, image):
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        sliding_window(Broken(), image(), SlidingWindow((8, 8, 8)))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"overlap": 1.0}, "0 to below 1"),
        ({"blend": "linear"}, "constant, gaussian"),
        ({"precision": "fp8"}, "no, bf16"),
        ({"patch": (8, 8)}, "three sides"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_wrong_numbers_are_named(wrong, says):
    with pytest.raises(InputError, match=says):
        SlidingWindow(**wrong)


def box_volume(tmp_path, affine=None):
    """Air with a bright box in it, read from a file."""
    hu = np.full((24, 20, 16), -1000.0)
    hu[4:20, 4:16, 2:14] = -300
    hu[10:14, 8:12, 6:10] = 300
    affine = np.diag([-2.0, -2.0, 3.0, 1.0]) if affine is None else affine  # stored LPS
    write_image(tmp_path / "ct.nii.gz", hu, affine)
    return read_image(tmp_path / "ct.nii.gz"), hu > 0


def test_from_file_to_file(tmp_path):
    """A mask from windows of a cropped volume lies where the bright box is stored."""
    volume, truth = box_volume(tmp_path)
    how = Preparation(box="body", margin_mm=4.0, window=(-1000, 400))
    mask = predict_volume(Pointwise(), volume, how, SlidingWindow((8, 8, 8)), threshold=0.9)
    write_mask(tmp_path / "mask.nii.gz", mask, like=volume)
    stored = read_mask(tmp_path / "mask.nii.gz", like=volume).array
    assert np.array_equal(stored[::-1, ::-1], truth)


def test_at_another_spacing_the_mask_has_the_shape_of_the_file(tmp_path):
    volume, truth = box_volume(tmp_path)
    how = Preparation(spacing_mm=(1.0, 1.0, 1.5), box="body", window=(-1000, 400))
    mask = predict_volume(Pointwise(), volume, how, SlidingWindow((16, 16, 16)), threshold=0.9)
    assert mask.shape == truth.shape and mask.dtype == np.uint8
    assert abs(int(mask.sum()) - int(truth.sum())) <= 0.6 * truth.sum()
    assert mask[::-1, ::-1][11:13, 9:11, 7:9].all() and not mask[::-1, ::-1][~truth].all()
    middle, true_middle = (np.argwhere(m).mean(0) for m in (mask[::-1, ::-1], truth))
    assert np.abs(middle - true_middle).max() < 0.25  # voxels


def test_softmax_of_two_classes_is_argmax_at_one_half(tmp_path):
    volume, _ = box_volume(tmp_path)
    how = Preparation(box="all", window=(-1000, 300))  # no voxel at exactly one half
    two = predict_volume(Pointwise(2), volume, how, SlidingWindow((8, 8, 8)))
    logits = Pointwise(2)(torch.from_numpy((volume.array + 1000) / 1300)[None, None])
    assert np.array_equal(two, labels_of(logits))


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_nan_is_no_empty_mask(tmp_path, classes):
    volume, _ = box_volume(tmp_path)
    network = Pointwise(classes)
    network.scale.data[:] = torch.nan
    with pytest.raises(InputError, match="answers NaN; check that image and weights are numbers"):
        predict_volume(network, volume, Preparation(box="all"), SlidingWindow((8, 8, 8)))


def test_three_classes_are_labels():
    logits = torch.zeros(1, 3, 20, 2, 2)
    logits[0, 2, 5:] = 1
    logits[0, 1, 12:] = 2
    labels = labels_of(logits)[:, 0, 0]
    assert labels.tolist() == [0] * 5 + [2] * 7 + [1] * 8 and labels.dtype == np.uint8


def test_foreground_slab_by_slab_is_the_sigmoid():
    logits = torch.randn(1, 1, 37, 3, 3)
    assert np.allclose(foreground_of(logits), torch.sigmoid(logits)[0, 0], atol=1e-6)


def test_more_than_two_classes_come_back_to_the_grid(tmp_path):
    hu = np.full((10, 12, 14), -1000.0)
    hu[1:4, 6:10, 8:13] = 300  # in no middle of any axis
    write_image(tmp_path / "ct.nii.gz", hu, np.diag([-1.0, -1.0, 1.0, 1.0]))
    volume, how = read_image(tmp_path / "ct.nii.gz"), Preparation(box="body", margin_mm=1.0)
    mask = predict_volume(Pointwise(3), volume, how, SlidingWindow((8, 8, 8)))
    assert np.array_equal(mask[::-1, ::-1], 2 * (hu > 0))


def test_memory_is_kept_once():
    assert keep_memory() is keep_memory()


def test_peak_memory_of_a_large_scan():
    """Bounded by the arrays that must exist: 4 bytes a voxel each for HU, image, two logits, …

    The peak is the child's own: ``getrusage`` would count that of the process that started it.
    """
    import subprocess
    import sys

    code = """
import numpy as np, torch
from pathlib import Path
from torch import nn
from seg_lib.data.nifti import Volume
from seg_lib.data.volumes import Preparation
from seg_lib.inference import SlidingWindow, predict_volume
class Two(nn.Module):
    def forward(self, image): return torch.cat([-image, image - 1], 1)
import monai.inferers
def peak():
    return 1024 * int(next(s.split()[1] for s in open("/proc/self/status") if "VmHWM" in s))
start = peak()
hu = np.zeros((256, 256, 100), np.float32)
volume = Volume(hu, np.eye(4), np.eye(4), hu.shape, Path("x"))
predict_volume(Two(), volume, Preparation(box="all"), SlidingWindow((128, 128, 96), 0.25))
print((peak() - start) / hu.size)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    bytes_a_voxel = float(out.stdout)
    assert bytes_a_voxel > 4, "nothing was measured"
    assert bytes_a_voxel * 512 * 512 * 400 + 0.5e9 <= 6e9
