"""From network to mask: padding, batches, flips and lack of memory must not change the answer."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seg_lib.data.nifti import Volume, read_image, read_mask, write_image, write_mask
from seg_lib.errors import InputError
from seg_lib.slice_inference import (
    foreground_probability,
    predict_slice,
    predict_slices,
    predict_slicewise,
)


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny layers: two threads would spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Bright(nn.Module):
    """A network that needs no training: foreground where the pixel is brighter than 0.5."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, image):
        assert image.shape[2] % 32 == 0 and image.shape[3] % 32 == 0
        return (image - 0.5) * self.scale


def u_like():
    """Strides, skips, batch norm and dropout on images whose sides divide by 4."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 1, 3, padding=1),
    )


def images(n=5, height=40, width=33):
    return np.random.default_rng(0).random((n, 1, height, width), dtype=np.float32)


def volume_of(array, spacing=(1.0, 2.0, 3.0)):
    affine = np.diag([*spacing, 1.0])
    return Volume(array.astype(np.float32), affine, affine, array.shape, Path("made-up.nii.gz"))


def test_the_probability_of_a_known_network():
    found = predict_slices(Bright(), images())
    assert found.shape == (5, 1, 40, 33) and found.dtype == np.float32
    assert np.allclose(found, 1 / (1 + np.exp(-20 * (images() - 0.5))), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 64])
def test_any_batch_size_gives_the_same(batch_size):
    model = u_like()
    assert np.allclose(
        predict_slices(model, images(), batch_size), predict_slices(model, images(), 4), atol=1e-6
    )


def test_bytes_and_floats_and_tensors_are_the_same_image():
    grey = (images() * 255).astype(np.uint8)
    from_bytes = predict_slices(Bright(), grey)
    assert np.allclose(from_bytes, predict_slices(Bright(), grey / 255.0), atol=1e-6)
    assert np.array_equal(from_bytes, predict_slices(Bright(), torch.from_numpy(grey)))


def test_an_image_that_needs_no_padding_goes_in_as_it_is():
    model, image = u_like().eval(), images(2, 32, 64)
    with torch.inference_mode():
        expected = model(torch.from_numpy(image)).sigmoid().numpy()
    assert np.array_equal(predict_slices(model, image), expected)


def test_padding_repeats_the_border():
    """A bright border pixel stays bright: with black padding a smoothing network would dim it."""
    smooth = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.constant_(smooth.weight, 1 / 9)
    found = predict_slices(smooth, np.ones((1, 1, 33, 33), np.float32))
    at_the_seam = found[0, 0, 1:-1, -1]  # the last column before the padding
    assert np.allclose(at_the_seam, 1 / (1 + np.exp(-1)), atol=1e-6)


def test_flips_average_the_four_mirror_images():
    model, image = u_like().eval(), images(1, 32, 32)
    with torch.inference_mode():
        x = torch.from_numpy(image)
        views = [model(x.flip(d)).sigmoid().flip(d) for d in ((), (2,), (3,), (2, 3))]
    expected = torch.stack(views).mean(dim=0).numpy()
    assert np.allclose(predict_slices(model, image, flips=True), expected, atol=1e-6)
    assert not np.allclose(predict_slices(model, image), expected, atol=1e-4)


def test_flips_make_the_answer_independent_of_the_side():
    model, image = u_like(), images(1, 40, 50)
    once = predict_slices(model, image, flips=True)
    mirrored = predict_slices(model, image[..., ::-1], flips=True)
    assert once.shape == mirrored.shape
    centred = np.s_[..., 8:-26]  # the padding lies on the right, so its neighbours may differ
    assert np.allclose(once[centred], mirrored[..., ::-1][centred], atol=1e-6)


def test_a_mirrored_view_of_a_slice_is_a_slice():
    grey = images(1, 40, 33)[0, 0]
    for view in (grey[:, ::-1], grey[::-1], grey.T, grey[::2, ::3]):
        assert np.array_equal(predict_slice(Bright(), view), predict_slice(Bright(), view.copy()))


def test_the_mode_of_every_layer_is_given_back():
    model = u_like().train()
    model[1].eval()  # a frozen batch norm in a network that trains
    modes = [module.training for module in model.modules()]
    statistics = model[1].running_mean.clone()
    assert np.array_equal(predict_slices(model, images()), predict_slices(model, images()))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model[1].running_mean, statistics)


def test_the_mode_is_given_back_after_an_error_too():
    model = u_like().train()
    with pytest.raises(RuntimeError):
        predict_slices(model, images()[:, :, :, :0])
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("shape", [(4, 8, 8), (2, 3, 8, 8), (8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="N, 1, H, W"):
        predict_slices(Bright(), np.zeros(shape, np.float32))


def test_no_slices_give_no_slices():
    assert predict_slices(Bright(), images(0)).shape == (0, 1, 40, 33)


class Greedy(Bright):
    """Runs out of memory with more than two slices at once."""

    def __init__(self, most=2, error=None):
        super().__init__()
        self.most, self.batches = most, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")

    def forward(self, image):
        self.batches.append(len(image))
        if len(image) > self.most:
            raise self.error
        return super().forward(image)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["GPU", "CPU"],
)
def test_out_of_memory_halves_the_batch_and_changes_nothing(error):
    model = Greedy(error=error)
    with pytest.warns(RuntimeWarning, match="Out of memory with 5") as said:
        found = predict_slices(model, images(5), batch_size=8)
    assert len(said) == 1
    assert model.batches == [5, 2, 2, 1]  # once down, it stays down
    assert np.allclose(found, predict_slices(Bright(), images(5)), atol=1e-6)


def test_one_slice_too_many_is_an_error_with_advice():
    with warnings.catch_warnings(), pytest.raises(InputError, match="40 x 33"):
        warnings.simplefilter("ignore", RuntimeWarning)
        predict_slices(Greedy(most=0), images(5))


def test_other_errors_of_the_network_are_not_hidden():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        predict_slices(Greedy(most=0, error=RuntimeError("shapes cannot be multiplied")), images())


def test_softmax_networks_give_the_probability_of_not_being_background():
    logits = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 3, 1, 1)
    e = np.exp([0.0, 1.0, 2.0])
    assert foreground_probability(logits).item() == pytest.approx((e[1] + e[2]) / e.sum())
    two = torch.tensor([0.3, 1.5]).reshape(1, 2, 1, 1)  # equal to a sigmoid of the difference
    one = torch.tensor([[[[1.2]]]])
    assert foreground_probability(two).item() == pytest.approx(foreground_probability(one).item())


def test_one_slice():
    image = images(1)[0, 0]
    assert np.array_equal(predict_slice(Bright(), image), predict_slices(Bright(), images(1))[0, 0])


WINDOW = (-1000.0, 400.0)  # its middle is -300 HU: what Bright takes for foreground


def box_volume():
    hu = np.full((37, 45, 9), -900.0)
    hu[5:12, 20:40, 2:6] = 50.0
    return volume_of(hu)


@pytest.mark.parametrize("flips", [False, True])
def test_a_volume_comes_back_on_its_own_grid(flips):
    """Neither mirrored nor turned nor shifted: an off-centre box is found where it is."""
    volume = box_volume()
    mask = predict_slicewise(Bright(), volume, WINDOW, flips=flips)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, volume.array > -300)


def test_resizing_to_the_training_size_and_back_finds_the_box():
    seen = []

    class Sized(Bright):
        def forward(self, image):
            seen.append(image.shape[2:])
            return super().forward(image)

    volume = box_volume()
    mask = predict_slicewise(Sized(), volume, WINDOW, size=64, batch_size=4)
    assert seen == [(64, 64)] * 3  # nine slices
    truth = volume.array > -300
    overlap = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert mask.shape == truth.shape and overlap > 0.9


def test_threshold():
    hu = box_volume().array
    hu[30:32, 3:5, 3] = 50.0  # four voxels elsewhere
    volume = volume_of(hu)
    both = predict_slicewise(Bright(), volume, WINDOW)
    assert both[30:32, 3:5, 3].all() and both.sum() == (hu > -300).sum()
    assert predict_slicewise(Bright(), volume, WINDOW, threshold=0.0).all()


def test_from_file_to_file_in_any_storage_order(tmp_path):
    """A mask written for a flipped and permuted scan lies on the same place in the patient."""
    truth = box_volume().array > -300
    stored = np.transpose(box_volume().array, (2, 0, 1))[::-1]  # z reversed first, then x, y
    affine = np.array([[0, 1, 0, 0], [0, 0, 2, 0], [-3, 0, 0, 24], [0, 0, 0, 1]], float)
    write_image(tmp_path / "scan.nii.gz", stored, affine)
    volume = read_image(tmp_path / "scan.nii.gz")
    mask = predict_slicewise(Bright(), volume, WINDOW)
    write_mask(tmp_path / "mask.nii.gz", mask, like=volume)
    assert np.array_equal(read_mask(tmp_path / "mask.nii.gz", like=volume).array, truth)
