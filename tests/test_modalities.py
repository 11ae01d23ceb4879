"""Two images of one patient: brought together exactly, and one of them left out now and then."""

import dataclasses
import os
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from made_up_dicom import make_series, save

from seg_lib.data.cases import Case
from seg_lib.data.contours import rtstruct_to_mask
from seg_lib.data.dicom import dicom_to_nifti
from seg_lib.data.modalities import ModalityDropout, add_channel, check_same_frame, onto_grid
from seg_lib.data.nifti import Volume, read_image, read_mask, write_mask
from seg_lib.data.patches import NotedPatches, PatchBatches, flips_and_greys, greys
from seg_lib.data.volumes import Preparation, prepare, put_back
from seg_lib.errors import InputError
from seg_lib.inference import AIR_LOGIT, SlidingWindow, mask_of, sliding_window
from seg_lib.metrics import dice
from seg_lib.models import build_model
from seg_lib.steps import segmentation_step
from seg_lib.training import TrainConfig, fit, seed_everything
from seg_lib.volumes3d import volume_logits

ALL = Preparation(box="all", window=(0.0, 1.0))


def volume(shape, affine, seed=0):
    array = np.random.default_rng(seed).random(shape).astype(np.float32)
    return Volume(array, affine, affine, shape, Path(f"made_up_{seed}.nii"))


def affine_of(spacing, origin, degrees=0.0):
    turn = np.deg2rad(degrees)
    axes = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * spacing, origin
    return affine


CT = volume((20, 24, 12), affine_of((1.0, 1.1, 2.5), (-9.0, 3.0, 7.0)))
PET = volume((9, 8, 10), affine_of((3.9, 4.1, 3.0), (-7.3, 1.2, 9.5), 12.0), 1)


# ---- one grid ----


@pytest.mark.parametrize("image", [CT, PET], ids=["straight", "turned"])
def test_on_its_own_grid_an_image_stays_as_it_is(image):
    np.testing.assert_allclose(onto_grid(image, image), image.array, atol=1e-5)


def in_itk(image):
    """The volume in SimpleITK, which counts in LPS mm."""
    here = sitk.GetImageFromArray(image.array.transpose(2, 1, 0))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    here.SetSpacing(image.spacing_mm)
    here.SetOrigin(lps[:3, 3].tolist())
    here.SetDirection((lps[:3, :3] / image.spacing_mm).ravel().tolist())
    return here


@pytest.mark.parametrize(("moving", "fixed"), [(PET, CT), (CT, PET)], ids=["to CT", "to PET"])
def test_the_other_grid_is_that_of_simpleitk(moving, fixed):
    """Also at the border and outside of the field of view, where there is 0."""
    there = sitk.Resample(in_itk(moving), in_itk(fixed), sitk.Transform(), sitk.sitkLinear, 0.0)
    expected = sitk.GetArrayFromImage(there).transpose(2, 1, 0)
    found = onto_grid(moving, fixed)
    assert 0.02 < (expected == 0).mean() < 0.9, "a part lies outside"
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_images_that_do_not_meet_are_refused():
    far = dataclasses.replace(PET, affine=affine_of((4, 4, 4), (500, 0, 0)))
    with pytest.raises(InputError, match="no voxel lies within .*made_up_0.nii"):
        onto_grid(far, CT)


def test_another_frame_of_reference_is_refused(tmp_path):
    first = save(tmp_path / "a", make_series(n=3))
    second, nameless = make_series(n=3), make_series(n=3)
    for k in range(3):
        second[k].FrameOfReferenceUID = "1.2.3"
        del nameless[k].FrameOfReferenceUID
    check_same_frame(first, first)
    for other in (save(tmp_path / "b", second), save(tmp_path / "c", nameless)):
        with pytest.raises(InputError, match="no common frame of reference") as caught:
            check_same_frame(first, other)
        assert str(tmp_path) not in str(caught.value), "a folder may be called after its patient"


def test_each_channel_has_a_window_of_its_own_and_one_way_back():
    ready = prepare(CT, ALL)
    pet = dataclasses.replace(PET, array=10 * PET.array)
    both = add_channel(add_channel(ready, CT, pet), CT, CT, (0.0, 2.0))
    assert both.image.shape == (3, *CT.array.shape) and both.image.dtype == np.float32
    np.testing.assert_array_equal(both.image[0], ready.image)
    np.testing.assert_allclose(both.image[1], onto_grid(PET, CT), atol=1e-6)
    np.testing.assert_allclose(both.image[2], CT.array / 2, atol=1e-5)
    np.testing.assert_array_equal(put_back(both.image[0], both.place), CT.array)


@pytest.mark.parametrize(("factor", "window"), [(5000, (0.0, 10.0)), (1, (10.0, 0.0))])
def test_values_that_are_no_suv_are_refused(factor, window):
    becquerels = dataclasses.replace(PET, array=factor * PET.array)
    with pytest.raises(InputError, match="made_up_1.nii: .* PET as SUV"):
        add_channel(prepare(CT, ALL), CT, becquerels, window)


# ---- a channel that is not there ----


def drawn(share, channels=2, n=4000, seed=0):
    """Which channels (n, C) of n cases are gone."""
    image, label = torch.ones(n, channels, 1, 1, 1), torch.ones(n, 1, 1, 1, 1)
    out, same = ModalityDropout(share)(image, label, torch.Generator().manual_seed(seed))
    assert torch.equal(same, label) and out.unique().tolist() in ([0, 1], [1])
    return (out == 0).flatten(1)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_as_many_cases_as_promised_lose_channels_and_none_loses_all(share, channels):
    """Every choice is as likely as the others, within four standard deviations."""
    gone = drawn(share, channels)
    assert not gone.all(1).any()
    assert abs(gone.any(1).float().mean() - share) <= 4 * np.sqrt(0.25 / 4000)
    choices = (gone * 2 ** torch.arange(channels)).sum(1).bincount(minlength=2**channels)[1:-1]
    each = share / (2**channels - 2)
    assert (abs(choices / 4000 - each) <= 4 * np.sqrt(each / 4000)).all()


def test_a_share_of_0_changes_nothing_and_the_same_seed_loses_the_same():
    assert not drawn(0.0).any()
    assert torch.equal(drawn(0.5), drawn(0.5)) and not torch.equal(drawn(0.5), drawn(0.5, seed=1))


@pytest.mark.parametrize(("channels", "share"), [(1, 0.5), (2, 1.5), (2, -0.1)])
def test_one_channel_or_an_odd_share_is_refused(channels, share):
    with pytest.raises(InputError, match=f"{channels} channels, share {share}"):
        drawn(share, channels)


def pair(note=""):
    """A case of two channels that tell the place of every voxel, the second with the sign -."""
    place = np.arange(1, 24 * 24 * 16 + 1, dtype=np.float32).reshape(24, 24, 16) / 10_000
    label = np.zeros(place.shape, np.uint8)
    label[10:14, 9:12, 6:9] = 1
    case = Case("one", "p0", Path("ct.nii"), note=note)
    ready = prepare(dataclasses.replace(CT, array=place), ALL, label)
    return dataclasses.replace(ready, image=np.stack([place, -place]), case=case)


def test_patches_cut_all_channels_at_one_place():
    for batch in PatchBatches([pair()], (8, 8, 8), 4, patches=12):
        assert batch["image"].shape == (4, 2, 8, 8, 8)
        assert torch.equal(batch["image"][:, 0], -batch["image"][:, 1])
    dropped = PatchBatches([pair()], (8, 8, 8), 40, patches=40, augment=ModalityDropout(0.5))
    image = next(iter(dropped))["image"]
    assert 8 <= (image.flatten(2).abs().amax(2) == 0).any(1).sum() <= 32


def test_where_the_first_image_is_missing_the_second_one_is_still_looked_at():
    image = torch.rand(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    image[:, 0] = 0
    image[:, :, :8] = 0  # air in both
    model = torch.nn.Conv3d(2, 1, 1)
    model.requires_grad_(False)
    how = SlidingWindow((8, 8, 8), 0.0, "constant", 1)
    logits = sliding_window(model, image, how)
    torch.testing.assert_close(logits[:, :, 8:], model(image)[:, :, 8:])
    assert (logits[:, :, :8].flatten()[-1] == -AIR_LOGIT).all(), "air is left out"


def run(out, epochs=2, stop_at=None, resume=False):
    """Train two channels with dropout; by SIGTERM in its n-th step stopped and saved."""
    augment = ModalityDropout(0.7, flips_and_greys)
    batches = PatchBatches([pair()], (8, 8, 8), 2, patches=6, augment=augment)
    calls = []

    def step(model, batch):
        calls.append(batch)
        if len(calls) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return segmentation_step(model, batch)

    seed_everything(0 if not resume else 9)
    model = build_model("unet3d", in_channels=2, features=(4, 8))
    fit(model, step, batches, TrainConfig(epochs=epochs), out, resume=resume)
    return model.state_dict()


def test_a_run_with_dropout_that_was_stopped_goes_on_bit_by_bit(tmp_path):
    straight = run(tmp_path / "a")
    run(tmp_path / "b", stop_at=4)
    resumed = run(tmp_path / "b", resume=True)
    assert all(torch.equal(resumed[name], weight) for name, weight in straight.items())


def test_patches_with_notes_lose_channels_too_but_are_never_mirrored():
    how = {"batch_size": 6, "patches": 6, "without_note": 0.0}
    noted = NotedPatches(
        [pair("Left lower lobe.")], (8, 8, 8), augment=ModalityDropout(1.0, greys), **how
    )
    batch = next(iter(noted))
    assert batch["positions"].shape == (6, 3, 8, 8, 8) and batch["note"][0] == "Left lower lobe."
    assert ((batch["image"].flatten(2).abs().amax(2) == 0).sum(1) == 1).all()
    net = build_model("text_unet3d", text_width=16, in_channels=2, features=(8, 8), heads=1)
    assert net(batch["image"], torch.zeros(6, 2, 16)).shape == (6, 2, 8, 8, 8)
    with pytest.raises(InputError, match="use greys"):
        NotedPatches([pair()], (8, 8, 8), augment=ModalityDropout(0.5, flips_and_greys))


# ---- a real CT and PET ----


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::seg_lib.errors.DataWarning")
def test_a_real_ct_and_pet_become_one_case_and_the_answer_lies_on_the_ct(real_data, tmp_path):
    here = real_data / "sts_ct_pet" / "STS_019"
    check_same_frame(here / "CT" / "image", here / "PET" / "image")
    for name in ("CT", "PET"):
        dicom_to_nifti(here / name / "image", tmp_path / f"{name}.nii.gz")
    ct = read_image(tmp_path / "CT.nii.gz")
    pet = read_image(tmp_path / "PET.nii.gz", hu=False)
    contours, mask = here / "CT" / "rtstruct" / "RS.dcm", tmp_path / "mask.nii.gz"
    rtstruct_to_mask(contours, ct, "GTV_Mass_CT", mask, series_dir=here / "CT" / "image")
    label = read_mask(mask, ct).array
    assert dice(label, read_mask(here / "CT" / "reference_mask.nii.gz", ct).array) == 1.0

    suv = onto_grid(pet, ct)
    assert suv.shape == ct.array.shape != pet.array.shape
    on_pet = read_mask(here / "PET" / "reference_mask.nii.gz", pet).array > 0
    assert suv[label > 0].mean() == pytest.approx(pet.array[on_pet].mean(), rel=0.05)
    assert suv[label > 0].mean() > 3 * suv[label == 0].mean(), "the tumour takes up more"

    how = Preparation(spacing_mm=(2.0, 2.0, 3.27), window=(-160, 240), box="body")
    ready = prepare(ct, how, label)
    ready = add_channel(ready, ct, pet, (0.0, 20.0))
    assert ready.image.shape == (2, *ready.label.shape)
    assert [channel.min() for channel in ready.image] == [0, 0]
    assert ready.image[1].max() == pytest.approx(pet.array.max() / 20, rel=0.1)

    seed_everything(0)
    net = build_model("unet3d", in_channels=2, features=(4, 8, 8))
    logits = volume_logits(net, ready, SlidingWindow((32, 32, 16), 0.0))
    assert logits.shape == (1, 1, *ready.label.shape) and logits.isfinite().all()
    write_mask(tmp_path / "p.nii.gz", mask_of(logits, ready.place), ct)
    stored, origin = nib.load(tmp_path / "p.nii.gz"), nib.load(tmp_path / "CT.nii.gz")
    assert stored.shape == origin.shape
    np.testing.assert_allclose(stored.affine, origin.affine, atol=1e-4)
    # As if the network had found the tumour: the way back costs little.
    back = put_back(ready.label, ready.place)
    assert dice(back, label) > 0.9
