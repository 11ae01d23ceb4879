"""Patches: the promised share, the right place, the same ones for the same seed."""

import dataclasses

import numpy as np
import pytest
import torch

from seg_lib.data.cases import Case
from seg_lib.data.patches import (
    NotedPatches,
    PatchBatches,
    flips_and_greys,
    greys,
    positions_of,
)
from seg_lib.data.volumes import Place, Prepared
from seg_lib.errors import InputError


def prepared(shape=(40, 40, 20), lesion=(30, 31, 15)):
    """A volume whose grey value tells the place of every voxel, with a lesion of one voxel."""
    place = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    label = np.zeros(shape, np.uint8)
    if lesion:
        label[lesion] = 1
    return Prepared(place, label, Place(shape, tuple(map(slice, shape))), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0, 0.0])
def test_the_share_of_positive_patches(share):
    """800 draws: the share lies within four standard deviations of what was asked for.

    A background patch of 5³ voxels round a random voxel almost never holds the one lesion voxel.
    """
    batches = PatchBatches([prepared()], (5, 5, 5), 8, patches=800, positives=share)
    found = torch.cat([batch["label"].flatten(1).amax(1) for batch in batches]).float()
    chance = 125 / (40 * 40 * 20)  # of a background patch
    expected = share + (1 - share) * chance
    assert abs(found.mean() - expected) <= 4 * np.sqrt(0.25 / 800)
    if share == 1.0:
        assert found.all()


def test_image_and_label_are_cut_at_the_same_place():
    volume = prepared()
    flat = torch.from_numpy(volume.label.ravel())
    for batch in PatchBatches([volume], (9, 8, 7), 4, patches=40):
        assert batch["image"].shape == (4, 1, 9, 8, 7) and batch["label"].dtype == torch.int64
        at = batch["image"].long()
        assert torch.equal(flat[at].long(), batch["label"])


def test_small_volumes_are_padded_not_stretched():
    batches = PatchBatches([prepared((4, 30, 6), (2, 20, 3))], (8, 8, 8), 2, patches=6, positives=1)
    for batch in batches:
        assert batch["image"].shape[2:] == (8, 8, 8)
        assert (batch["label"].sum((1, 2, 3, 4)) == 1).all()


def test_a_volume_without_lesion_gives_background():
    batches = PatchBatches([prepared(lesion=None)], (8, 8, 8), 2, patches=6, positives=1.0)
    assert sum(int(batch["label"].sum()) for batch in batches) == 0


def test_the_same_epoch_is_the_same_and_the_next_is_not():
    def images(epoch, seed=0):
        batches = PatchBatches([prepared()], (9, 9, 9), 4, 8, augment=flips_and_greys, seed=seed)
        batches.set_epoch(epoch)
        return torch.cat([batch["image"] for batch in batches])

    assert torch.equal(images(1), images(1))
    assert not torch.equal(images(1), images(2))
    assert not torch.equal(images(1), images(1, seed=1))


def test_every_volume_gives_its_number_of_patches():
    batches = PatchBatches([prepared(), prepared()], (9, 9, 9), 4, patches=5)
    names = [name for batch in batches for name in batch["case"]]
    assert len(batches) == 3 and sorted(names) == ["volume 0"] * 5 + ["volume 1"] * 5


def test_no_volume_and_no_label_are_refused():
    with pytest.raises(InputError, match="at least one volume"):
        PatchBatches([], (8, 8, 8))
    unlabelled = Prepared(np.zeros((8, 8, 8)), None, Place((8, 8, 8), (slice(8),) * 3), (1, 1, 1))
    with pytest.raises(InputError, match="without label"):
        PatchBatches([unlabelled], (8, 8, 8))


def test_augmentation_mirrors_both_and_changes_greys_of_the_image_only():
    image = torch.rand(400, 1, 4, 3, 2)
    label = (image > 0.5).long()
    new, moved = flips_and_greys(image, label, torch.Generator().manual_seed(0))
    flipped = (moved == label.flip(2)).flatten(1).all(1) & (moved != label).flatten(1).any(1)
    assert 0.2 < flipped.float().mean() < 0.4
    back = torch.where(flipped.view(-1, 1, 1, 1, 1), new.flip(2), new)
    ratio = back.flatten(1) - image.flatten(1)
    touched = ratio.abs().amax(1) > 1e-6
    assert 0.25 < touched.float().mean() < 0.47  # 1 - 0.8²
    assert ratio.abs().max() <= 0.05 + 0.05 * 1.05 + 1e-6


def noted(note="Left lower lobe.", **how):
    case = Case("c1", "p1", "image.nii.gz", note=note)
    return NotedPatches([dataclasses.replace(prepared(), case=case)], (9, 8, 7), **how)


def test_positions_are_those_of_the_voxels_in_the_image():
    whole = positions_of((40, 40, 20))
    assert whole[:, 0, 0, 0].tolist() == [-1, -1, -1] and whole[:, -1, -1, -1].tolist() == [1, 1, 1]
    assert torch.allclose(whole[0, :, 3, 5], torch.linspace(-1, 1, 40))
    for batch in noted(batch_size=4, patches=40):
        voxel = batch["image"].long()  # the grey value is the number of the voxel
        assert torch.equal(whole.flatten(1)[:, voxel[:, 0]].transpose(0, 1), batch["positions"])
        assert batch["case"] == ["c1"] * 4


def test_some_notes_are_left_out_the_same_ones_for_the_same_seed():
    batches = noted(batch_size=8, patches=2000, without_note=0.2)
    notes = [note for batch in batches for note in batch["note"]]
    assert set(notes) == {"", "Left lower lobe."}
    assert abs(notes.count("") / 2000 - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 2000)
    assert notes == [note for batch in batches for note in batch["note"]]
    never = noted(without_note=0.0, patches=50)
    assert {note for batch in never for note in batch["note"]} == {"Left lower lobe."}


def test_under_the_note_of_another_place_there_is_nothing_to_be_found():
    names = {"Left lower lobe.": "c1", "Right lung.": "c2", "Lower lobe.": "c3", "": "c4"}
    cases = [Case(name, name, "image.nii.gz", note=note) for note, name in names.items()]
    volumes = [dataclasses.replace(prepared(), case=case) for case in cases]
    how = {"batch_size": 8, "patches": 400, "positives": 1.0, "without_note": 0.0}
    batches = list(NotedPatches(volumes, (9, 8, 7), other_note=0.5, **how))
    told = [
        (case, note, bool(label.any()))
        for batch in batches
        for case, note, label in zip(batch["case"], batch["note"], batch["label"], strict=True)
    ]
    assert all(lesion == (names[note] == case) for case, note, lesion in told)
    others = [note for case, note, lesion in told if case == "c1" and not lesion]
    assert set(others) == {"Right lung."}  # the lower lobe is no contradiction
    assert abs(len(others) / 400 - 0.5) < 4 * np.sqrt(0.25 / 400)
    assert all(lesion for case, _, lesion in told if case in ("c3", "c4"))


def test_most_patches_without_lesion_lie_where_they_are_hard():
    volume = dataclasses.replace(prepared(), case=Case("c1", "p1", "image.nii.gz"))
    there = np.ravel_multi_index(([5, 5, 6], [6, 7, 6], [4, 4, 4]), volume.image.shape)
    batches = NotedPatches([volume], (3, 3, 3), patches=800, positives=0.0, hard=[there])
    middles = [batch["image"][:, 0, 1, 1, 1].long() for batch in batches]
    share = np.isin(torch.cat(middles).numpy(), there).mean()
    assert abs(share - 0.7) < 4 * np.sqrt(0.21 / 800)
    nothing = NotedPatches([volume], (3, 3, 3), positives=0.0, hard=[np.array([], int)])
    assert np.array_equal(nothing.background[0], np.flatnonzero(volume.label == 0))


def test_mirror_images_with_notes_are_refused_and_greys_do_not_mirror():
    with pytest.raises(InputError, match="left into right"):
        noted(augment=flips_and_greys)
    label = torch.zeros(64, 1, 4, 2, 2, dtype=torch.long)
    label[:, :, 0] = 1
    image, after = greys(label.float(), label, torch.Generator().manual_seed(0))
    assert torch.equal(after, label)
    assert not torch.equal(image, label.float())


@pytest.mark.parametrize("shape", [(40, 40, 20), (10, 41, 9)], ids=["large", "short"])
def test_patches_are_those_of_monai(shape):
    """MONAI's crop and pad, without the bookkeeping of their tensors."""
    from monai.transforms import RandCropByPosNegLabel, SpatialPad

    volume, patch = prepared(shape, lesion=(3, 31, 5)), (24, 16, 12)
    batches = PatchBatches([volume], patch)
    image, label = (torch.from_numpy(part)[None] for part in (volume.image, volume.label))
    for seed in range(20):
        sides = [min(n, side) for n, side in zip(patch, shape, strict=True)]
        crop = RandCropByPosNegLabel(sides, pos=0.5, neg=0.5, num_samples=1)
        crop.set_random_state(seed).randomize(
            label, batches.foreground[0], batches.background[0], image
        )
        theirs = [crop(part, label=label, randomize=False)[0] for part in (image, label)]
        for ours, part in zip(batches.cut(0, seed), theirs, strict=True):
            assert torch.equal(ours, SpatialPad(patch)(part).as_tensor())
