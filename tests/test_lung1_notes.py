"""Tumour crops and clinical rows of the same patients: joined, and through the text network."""

from pathlib import Path

import lung1_notes
import numpy as np
import pytest
import torch

from seg_lib import text3d
from seg_lib.data.patches import NotedPatches
from seg_lib.errors import InputError
from seg_lib.inference import SlidingWindow
from seg_lib.small_llama import train_small_llama
from seg_lib.steps import text_segmentation_step
from seg_lib.text_inference import logits_of

HEADER = "PatientID,age,clinical.T.Stage,Clinical.N.Stage,Clinical.M.Stage,Histology,gender\n"


def crops(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        mask = np.zeros((32, 24), np.uint8)
        mask[10:20, 8:16] = 1
        np.savez(folder / f"{name}.npz", image=mask * 0.5 + 0.25, mask=mask)
    return folder


def rows(path: Path, *names: str) -> Path:
    lines = [f"{name},66.{i},2,0,0,adenocarcinoma,male\n" for i, name in enumerate(names)]
    path.write_text(HEADER + "".join(lines))
    return path


def test_who_stays_alone_is_said_in_one_sentence_each(tmp_path):
    volumes, said = lung1_notes.joined(
        crops(tmp_path / "c", "a1", "a2", "a3"), rows(tmp_path / "t.csv", "a2", "a3", "b1", "b2")
    )
    assert said == [
        "Crops without a row get an empty note, 1: a1.",
        "Rows without a crop are left out, 2: b1, b2.",
    ]
    assert [volume.case.patient for volume in volumes] == ["a1", "a2", "a3"]
    assert volumes[0].case.note == "" and "66-year-old man" in volumes[1].case.note
    assert volumes[0].image.shape == volumes[0].label.shape == (32, 24, 1)
    _, said = lung1_notes.joined(crops(tmp_path / "d", "a2"), rows(tmp_path / "u.csv", "a2"))
    assert said == []


def test_nobody_in_both_and_crops_that_are_none(tmp_path):
    with pytest.raises(InputError, match=r"1 crops \(.npz\), none of a patient .*name each crop"):
        lung1_notes.joined(crops(tmp_path / "c", "a1"), rows(tmp_path / "t.csv", "b1"))
    image = np.zeros((4, 4))
    for arrays, match in (
        ({"image": image}, "has image; a crop has 'image' and 'mask'"),
        ({"image": image, "mask": np.zeros((4, 3))}, r"give two \(X, Y\)"),
        ({"image": image, "mask": image + 2}, r"give two \(X, Y\), 0 or 1"),
        ({"image": image - 900, "mask": image}, "greys from -900 to -900; give 0 to 1"),
    ):
        np.savez(tmp_path / "bad.npz", **arrays)
        with pytest.raises(InputError, match=match):
            lung1_notes.read_crop(tmp_path / "bad.npz", "")


@pytest.mark.real
def test_the_real_crops_go_with_their_rows_through_the_network(real_data, tmp_path):
    folder = real_data / "lung1_tumour_crops"
    tables = list((real_data / "lung1_clinical").glob("*.csv"))
    if not (folder.is_dir() and tables):
        pytest.skip("lung1_tumour_crops or lung1_clinical is not among the real samples")
    volumes, said = lung1_notes.joined(folder, tables[0])
    assert (
        len(volumes) == 21
        and len(said) == 1
        and said[0].startswith("Rows without a crop are left out, 190: ")
    )
    for volume in volumes:
        assert volume.image.shape == (128, 128, 1) and volume.label.any()
        assert volume.case.note and volume.case.patient not in volume.case.note
    train_small_llama(tmp_path / "llama", 2)
    torch.manual_seed(0)
    model = text3d.text_guided(tmp_path / "llama", lung1_notes.ENCODER, lung1_notes.NETWORK)
    model.standardise([volume.case.note for volume in volumes])
    drawn = {"batch_size": 4, "patches": 1, "positives": 1.0, "other_note": 0.0}
    batch = next(iter(NotedPatches(volumes, lung1_notes.PATCH, **drawn)))
    assert batch["image"].shape == (4, 1, *lung1_notes.PATCH) and all(
        batch["label"].amax((1, 2, 3, 4))
    )
    loss = text_segmentation_step(model, batch)["loss"]
    loss.backward()
    assert torch.isfinite(loss) and model.encoder.prompts.grad.abs().sum() > 0
    how = SlidingWindow(lung1_notes.PATCH)
    logits = [logits_of(model.eval(), volumes[0], v.case.note, how) for v in volumes[:2]]
    assert logits[0].shape == (1, 1, 128, 128, 1) and torch.isfinite(logits[0]).all()
    assert not torch.equal(*logits), "another note, another answer"
    assert not any(model.n_cut.values())
