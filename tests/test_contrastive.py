"""Contrastive pretraining: pairs are pairs, learning finds them, and the weights are handed on."""

import dataclasses

import numpy as np
import pytest
import torch
from made_up_runs import made_phantoms

from seg_lib import contrastive, text3d, volumes3d
from seg_lib.course.profiles import Settings, settings
from seg_lib.errors import InputError
from seg_lib.losses import contrastive_alignment_loss
from seg_lib.training import TrainConfig

SMALL = {"patch": (32, 16, 16), "llama_steps": 2}
TINY = Settings("15", "x", dict(settings("15", "smoke").sizes) | SMALL)
NOTES = ("left upper lobe, 20 mm", "right lower lobe, 20 mm", "right upper lobe, 29 mm")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = made_phantoms("thorax_notes", 5, tmp_path_factory)
    return volumes3d.volumes3d_parts(folder, None, TINY, 0)[0]


@pytest.fixture(scope="module")
def guided(tmp_path_factory, volumes):
    model = text3d.untrained(tmp_path_factory.mktemp("model"), TINY, 0)
    model.standardise([volume.case.note for volume in volumes])
    return model


def with_notes(volumes):
    """The volumes, each with one of the three notes."""
    return [
        dataclasses.replace(volume, case=dataclasses.replace(volume.case, note=note))
        for volume, note in zip(volumes, NOTES, strict=False)
    ]


def test_every_patch_has_a_tumour_and_its_own_note(volumes):
    noted = with_notes(volumes)
    own = {volume.case.case: volume.case.note for volume in noted}
    batches = list(contrastive.pairs_of(noted, TINY.patch, 2))
    assert sorted(note for batch in batches for note in batch["note"]) == sorted(own.values())
    for batch in batches:
        assert batch["note"] == [own[name] for name in batch["case"]]
        assert all(label.any() for label in batch["label"])


def test_patients_without_a_note_are_left_out(volumes):
    noted = with_notes(volumes)
    silent = dataclasses.replace(noted[0], case=dataclasses.replace(noted[0].case, note=""))
    batches = contrastive.pairs_of([silent, *noted[1:]], TINY.patch, 4)
    assert silent.case.case not in {name for batch in batches for name in batch["case"]}
    with pytest.raises(InputError, match="1 volumes with a note"):
        contrastive.pairs_of([silent, noted[1]], TINY.patch, 4)


def test_several_processes_would_see_a_part_of_the_pairs(guided, volumes, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="all pairs of a batch"):
        contrastive.pretrain_aligned(
            guided, with_notes(volumes), TINY.patch, TrainConfig(epochs=1), tmp_path / "run"
        )
    assert not list(tmp_path.iterdir())


def test_the_loss_is_that_of_the_points(guided, volumes):
    model = contrastive.Aligner(guided).eval()
    batch = next(iter(contrastive.pairs_of(with_notes(volumes), TINY.patch, 3)))
    image, text = model(batch["image"], batch["note"], batch["positions"])
    assert image.shape == text.shape == (3, 32)
    expected = contrastive_alignment_loss(image, text)
    assert torch.allclose(contrastive.alignment_step(model, batch)["loss"], expected)


def test_learning_finds_the_pairs_and_hands_on_its_weights(guided, volumes, tmp_path):
    noted = with_notes(volumes)
    guided.standardise(NOTES)
    before = {name: tensor.clone() for name, tensor in guided.state_dict().items()}
    config = TrainConfig(epochs=60, learning_rate=3e-3, seed=0)
    model = contrastive.pretrain_aligned(guided, noted, TINY.patch, config, tmp_path)
    assert model.guided is guided
    changed = {
        name.split(".")[0]
        for name, tensor in guided.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {"unet", "encoder"}
    listening = [name for name in before if ".listen." in name or ".decoder." in name]
    assert all(torch.equal(before[name], guided.state_dict()[name]) for name in listening)
    found = contrastive.retrieval(model, noted, TINY.patch)
    assert found["n"] == 3 and found["chance"] == 1 / 3
    assert found["image_to_text"] + found["text_to_image"] > 1.6  # five of the six, or all


def test_patches_go_to_the_device_of_the_network(monkeypatch, guided, volumes, sent):
    model = contrastive.Aligner(guided)

    def forward(image, notes, positions):
        assert image.sent_to == positions.sent_to == torch.device("cpu")
        return torch.eye(len(notes)), torch.eye(len(notes))

    monkeypatch.setattr(model, "forward", forward)
    assert contrastive.retrieval(model, with_notes(volumes), TINY.patch)["image_to_text"] == 1


def test_retrieval_by_hand(monkeypatch, guided, volumes):
    """Both images are nearest to the first text; to each text its own image is the nearest."""
    model = contrastive.Aligner(guided)
    points = torch.tensor([[1.0, 0.0], [1.0, 0.1]]), torch.eye(2)
    monkeypatch.setattr(model, "forward", lambda *_: points)
    found = contrastive.retrieval(model, with_notes(volumes)[:2], TINY.patch)
    assert found == {"image_to_text": 0.5, "text_to_image": 1.0, "n": 2, "chance": 0.5}


def test_retrieval_of_points_that_know_nothing_is_chance(monkeypatch, guided, volumes):
    model = contrastive.Aligner(guided)
    chance = torch.Generator().manual_seed(0)
    many = [with_notes(volumes)[0]] * 200

    def guess(image, notes, positions):
        return tuple(torch.randn(len(notes), 8, generator=chance) for _ in range(2))

    monkeypatch.setattr(model, "forward", guess)
    found = contrastive.retrieval(model, many, TINY.patch)
    assert found["n"] == 200 and np.isclose(found["chance"], 0.005)
    assert found["image_to_text"] < 0.04 and found["text_to_image"] < 0.04
