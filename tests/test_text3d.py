"""Text-guided segmentation from files to a score: the task, its controls, and what it keeps."""

import dataclasses
import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from made_up_runs import made_phantoms, trained_run

from seg_lib import cli, text3d, text_inference, volumes3d
from seg_lib.course.profiles import Settings, settings
from seg_lib.data.case_rules import Case
from seg_lib.data.cases import read_cases
from seg_lib.data.phantom import make_phantom
from seg_lib.errors import DataWarning, InputError, Interrupted
from seg_lib.inference import SlidingWindow, foreground_of
from seg_lib.tables import read_case_table
from seg_lib.training import load_checkpoint, load_weights

SMALL = {"patch": (32, 16, 16), "epochs": 2, "image_epochs": 1, "patches": 2, "llama_steps": 2}
TINY = Settings("15", "x", dict(settings("15", "smoke").sizes) | SMALL | {"validate_every": 1})


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    return made_phantoms("thorax_notes", 5, tmp_path_factory)


@pytest.fixture(scope="module")
def began():
    """Folder of a training -> the weights with which it began."""
    return {}


@pytest.fixture(scope="module")
def run(phantoms, began, tmp_path_factory):
    """Its trainings leave zeros in the network, as if the last epoch had been the worst."""
    fit = text3d.fit

    def watched(model, step, batches, config, folder, *more, **others):
        began[folder] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        found = fit(model, step, batches, config, folder, *more, **others)
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text3d, "fit", watched)
        return trained_run("text3d", TINY, phantoms, tmp_path_factory)


@pytest.fixture(scope="module")
def model(run):
    network = text3d.build_as_trained(load_checkpoint(run / "best.safetensors")[1], run)
    load_weights(network, run / "best.safetensors")
    return network.eval()


@pytest.fixture(scope="module")
def volume(phantoms):
    return volumes3d.volumes3d_parts(phantoms, None, TINY, 0)[2][0]


def test_training_from_the_command_line(run):
    results = json.loads((run / "results.json").read_text())
    assert list(results) == ["network"], "there is one patient to test, and no other"
    assert results["network"]["dice"]["n"] == 1
    tensors, about = load_checkpoint(run / "best.safetensors")
    assert (about["task"], about["language_model"]) == ("text3d", "language_model")
    assert (run / "language_model" / "config.json").exists()
    names = {name.split(".")[0] for name in tensors}
    assert names == {"unet", "encoder", "mean", "spread"}
    assert {name for name in tensors if name.startswith("encoder")} == {
        "encoder.prompts",
        "encoder.seg",
    }  # nothing of the language model


def test_step_three_begins_with_the_image_only_network(run, began):
    first = json.loads((run / "image_only" / "history.json").read_text())
    second = json.loads((run / "history.json").read_text())
    assert (len(first["history"]), len(second["history"])) == (1, 2)
    before, after = (load_checkpoint(p / "best.safetensors")[0] for p in (run / "image_only", run))
    assert list(began) == [run / "image_only", run]
    kept = before.keys() - {"mean", "spread"}  # these two are set by the notes
    assert all(torch.equal(began[run][name], before[name]) for name in kept)
    assert any(not torch.equal(began[run / "image_only"][name], before[name]) for name in kept)
    listening = [name for name in before if ".listen." in name or name.startswith("encoder")]
    assert any(not torch.equal(before[name], after[name]) for name in listening)


def test_nobody_is_judged_with_a_note_of_his_own_for_that_of_another(monkeypatch):
    told = []
    monkeypatch.setattr(text3d, "score_noted", lambda _, __, notes, ___: told.append(list(notes)))

    def scored(*patients):
        cases = [
            Case(f"c{n}", patient, "x.nii.gz", note=f"note {n} of {patient}")
            for n, patient in enumerate(patients)
        ]
        told.clear()
        return text3d.score_on_noted(None, ([], [], [SimpleNamespace(case=c) for c in cases]), TINY)

    assert list(scored("p1", "p1", "p2")) == ["network", "note of another patient"]
    assert told == [
        ["note 0 of p1", "note 1 of p1", "note 2 of p2"],
        ["note 2 of p2", "note 2 of p2", "note 0 of p1"],
    ]
    assert list(scored("p1", "p1")) == ["network"]


def test_a_training_stopped_in_its_first_step_goes_on(phantoms, tmp_path):
    parts = volumes3d.volumes3d_parts(phantoms, None, TINY, 0)
    with pytest.raises(Interrupted, match="image_only.*--resume"):
        text3d.train_text(parts, tmp_path, TINY, 0, minutes=0)
    last = tmp_path / "image_only" / "last.safetensors"
    last.rename(last.with_name("last.previous.safetensors"))  # as after a damaged newest one
    with pytest.warns(DataWarning, match="Going on from last.previous"):
        text3d.train_text(parts, tmp_path, TINY, 0, resume=True)
    for folder, epochs in ((tmp_path / "image_only", 1), (tmp_path, 2)):
        assert len(json.loads((folder / "history.json").read_text())["history"]) == epochs


def test_a_batch_that_the_processes_cannot_share_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="batch of 4 cannot be shared by 3 processes"):
        text3d.train_text(([], [], []), tmp_path, TINY, 0)
    assert not list(tmp_path.iterdir())


def test_prediction_with_a_table_of_notes(run, phantoms, tmp_path, capsys):
    images = sorted((phantoms / "images").iterdir())[:2]
    words = ["predict", str(run), *map(str, images), "--out", str(tmp_path)]
    assert cli.main([*words, "--notes", str(phantoms / "cases.csv")]) == 0
    for path in images:
        scan, mask = nib.load(path), nib.load(tmp_path / path.name)
        assert scan.shape == mask.shape and np.allclose(scan.affine, mask.affine)
    table = tmp_path / "notes.csv"
    table.write_text(f"case,note\n{images[0].name.removesuffix('.nii.gz')},left lung\n")
    assert cli.main([*words, "--notes", str(table)]) == 1
    said = capsys.readouterr()
    assert "no note of" in said.err and "done 1, failed 1" in said.out


def test_another_hospital_gets_the_table_of_source_001_with_its_notes(run, tmp_path):
    """Predict, compare, and each line of the table has the note that the network was told."""
    make_phantom("thorax_notes", 2, (48, 48, 16), 0, tmp_path / "external1", "external1")
    cases = read_cases(tmp_path / "external1")
    words = ["predict", str(run), *(str(case.image) for case in cases)]
    words += ["--out", str(tmp_path / "masks"), "--notes", str(tmp_path / "external1/cases.csv")]
    assert cli.main(words) == 0
    table = tmp_path / "result_external1_report.csv"
    words = ["evaluate", str(tmp_path / "masks"), str(tmp_path / "external1")]
    assert cli.main([*words, "--out", str(table)]) == 0
    lines = table.read_text().splitlines()
    assert lines[0] == "no,ID,Avr,Dice,IoU,HD,Report"
    assert [line.split(",")[0] for line in lines[-2:]] == ["Avr", "Std"]
    rows, _ = read_case_table(table)
    told = {row["ID"]: row.get("Report", "") for row in rows}
    assert told == {case.case: case.note for case in cases} and any(told.values())


def test_a_note_left_out_or_too_long_is_said(run, phantoms, tmp_path, capsys):
    image = sorted((phantoms / "images").iterdir())[0]
    words = ["predict", str(run), str(image), "--out", str(tmp_path)]
    assert cli.main(words) == 0
    assert "without its note; give the table with --notes" in capsys.readouterr().err
    table, name = tmp_path / "notes.csv", image.name.removesuffix(".nii.gz")
    table.write_text(f"case,note\n{name},{'left lung ' * 200}\n")
    assert cli.main([*words, "--notes", str(table)]) == 0
    assert f"{name}: the last " in capsys.readouterr().err


def test_states_are_standardised_over_the_training_notes(model, phantoms):
    train = volumes3d.volumes3d_parts(phantoms, None, TINY, 0)[0]
    notes = sorted({volume.case.note for volume in train})
    model.standardise(notes)
    with torch.no_grad():
        states = model.states(notes)
    assert torch.allclose(states.mean(0), torch.zeros_like(states[0]), atol=1e-4)
    spread = states.std(0, correction=0)
    assert torch.allclose(spread[model.spread > 1e-3], torch.ones(1), atol=1e-2)


def test_the_note_changes_the_answer_and_the_same_note_does_not(model, volume):
    how = SlidingWindow(patch=TINY.patch, overlap=0.0)
    one = text_inference.logits_of(model, volume, "A tumour of the left upper lobe.", how)
    same = text_inference.logits_of(model, volume, "A tumour of the left upper lobe.", how)
    other = text_inference.logits_of(model, volume, "A tumour of the right lower lobe.", how)
    assert one.shape == (1, 1, *volume.image.shape)
    assert torch.equal(one, same) and not torch.allclose(one, other)


def test_without_a_note_the_answer_is_that_of_the_unet_alone(model, volume):
    sides = tuple(-(-n // 16) * 16 for n in volume.image.shape)
    image = np.zeros(sides, np.float32)
    image[tuple(slice(0, n) for n in volume.image.shape)] = volume.image
    how = SlidingWindow(patch=sides, overlap=0.0)
    found = text_inference.logits_of(model, dataclasses.replace(volume, image=image), None, how)
    with torch.no_grad():
        assert torch.allclose(found, model.unet(torch.from_numpy(image)[None, None]), atol=1e-4)


def test_the_share_of_the_text_is_a_share_of_every_voxel(model, volume):
    notes = ("A tumour of the left upper lobe.", "A tumour of the right lower lobe.")
    one, other = (text_inference.share_of_text(model, volume, note) for note in notes)
    assert one.shape == volume.image.shape
    assert one.min() > 0 and one.max() < 1 and not np.allclose(one, other)
    with pytest.raises(KeyError):
        text_inference.share_of_text(model, volume, notes[0], stage=9)


def test_the_volume_goes_to_the_device_of_the_network(model, volume, monkeypatch, sent):
    maps, seen = model.unet.attention_maps, []

    def watched(image, text, positions):
        seen.extend((image.sent_to, positions.sent_to))
        return maps(image, text, positions)

    monkeypatch.setattr(model.unet, "attention_maps", watched)
    text_inference.share_of_text(model, volume, "A tumour.")
    assert seen == [torch.device("cpu")] * 2


def test_false_alarms_are_no_tumour(model, volume):
    found = text3d.false_alarms(model, volume, TINY)
    assert not volume.label.ravel()[found].any()
    probability = foreground_of(
        text_inference.logits_of(model, volume, None, volumes3d.sliding_of(TINY))
    )
    assert len(found) == int(((probability >= 0.25) & (volume.label == 0)).sum())
