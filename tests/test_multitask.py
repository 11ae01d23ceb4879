"""Segment and classify, from files to a score."""

import json
import shutil
from types import MappingProxyType

import nibabel as nib
import numpy as np
import pytest
import torch
from made_up_runs import made_phantoms, trained_run
from torch.nn import functional as F

from seg_lib import cli, multitask
from seg_lib.course.profiles import Settings
from seg_lib.data.case_rules import Case
from seg_lib.data.cases import read_cases
from seg_lib.data.mixing import Mixing
from seg_lib.data.subtyped_patches import (
    LESION,
    PANCREAS,
    SubtypedPatches,
    class_weights,
    lesion_patch,
    subtypes_of,
)
from seg_lib.data.volumes import Place, Preparation, Prepared
from seg_lib.errors import InputError
from seg_lib.multitask_inference import one_lesion, subtype_probabilities
from seg_lib.multitask_scores import atlas, score_case
from seg_lib.run_log import read_history
from seg_lib.steps import deep_supervision, multitask_step
from seg_lib.training import load_checkpoint

TINY = Settings(
    "17",
    "x",
    MappingProxyType(
        {
            "preset": "small",
            "spacing_mm": (4.0, 4.0, 8.0),
            "patch": (32, 24, 16),
            "batch_size": 2,
            "patches": 1,
            "positives": 0.7,
            "jitter": 0.2,
            "share": 0.5,
            "ramp_epochs": 0,
            "head": "together",
            "epochs": 1,
            "learning_rate": 2e-3,
        }
    ),
)


def with_sizes(**others):
    return Settings("17", "x", MappingProxyType(dict(TINY.sizes) | others))


def volume_of(subtype, n=0, shape=(16, 16, 8)):
    """An organ of brightness 0.5 with a lesion whose brightness is its subtype's."""
    label = np.zeros(shape, np.uint8)
    label[4:12, 4:12, 2:6] = 1
    label[6:10, 6:10, 3:5] = 2
    image = np.full(shape, 0.1, np.float32)
    image[label == 1] = 0.5
    image[label == 2] = 0.6 + 0.15 * subtype
    case = Case(f"c{subtype}{n}", f"p{subtype}{n}", "x.nii.gz", subtype=str(subtype))
    place = Place(shape, tuple(map(slice, shape)))
    return Prepared(image, label, place, (1.0, 1.0, 1.0), case, Preparation(box="all"))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    return made_phantoms("pancreas", 14, tmp_path_factory)


@pytest.fixture(scope="module")
def run(phantoms, tmp_path_factory):
    return trained_run("pancreas", TINY, phantoms, tmp_path_factory)


def test_training_from_the_command_line(run, capsys):
    results = json.loads((run / "results.json").read_text())
    assert set(results) == {"network", "atlas", "subtypes"}
    for name in ("dice", "label1_dice", "lesion_dice", "lesion_hd95_mm"):
        assert results["network"][name]["n"] == results["atlas"][name]["n"] > 0
    assert results["atlas"]["lesion_dice"]["mean"] == 0, "an atlas names no lesion"
    assert results["subtypes"]["macro_f1"]["majority"] < 0.5
    lines = (run / "subtype_results.csv").read_text().splitlines()
    assert lines[0] == "Names,Subtype" and len(lines) == 1 + results["network"]["dice"]["n"]
    [row] = read_history(run)["history"]
    assert row["score"] == pytest.approx((row["dice"] + row["lesion_dice"] + row["macro_f1"]) / 3)


def prepared(label, subtype):
    """A row of voxels with these labels."""
    shape = (len(label), 1, 1)
    case = Case(f"c{subtype}", f"p{subtype}", "x.nii.gz", subtype=str(subtype))
    place = Place(shape, tuple(map(slice, shape)))
    label = np.array(label, np.uint8).reshape(shape)
    image = np.zeros(shape, np.float32)
    return Prepared(image, label, place, (1.0, 1.0, 1.0), case, Preparation(box="all"))


def test_the_pseudo_dice_pools_voxels_and_the_score_is_the_mean_of_its_parts(monkeypatch):
    """Of the lesion 3 voxels of 4 and 4 are shared, then 1 of 2 and 2; of the pancreas all."""
    volumes = [prepared([1, 2, 2, 2, 2, 0], 0), prepared([1, 2, 2, 0], 1)]
    answers = [prepared(found, 0).label for found in ([1, 2, 2, 2, 0, 2], [1, 2, 0, 2])]
    named = np.array([0.6, 0.3, 0.1])  # subtype 0 for both: F1 of 2/3, 0 and 0
    monkeypatch.setattr(multitask, "sliding_window", lambda *_: None)
    monkeypatch.setattr(multitask, "one_lesion", lambda _: answers.pop(0))
    monkeypatch.setattr(multitask, "subtype_probabilities", lambda *_: named)
    parts = {"dice": (8 / 10 + 4 / 6) / 2, "lesion_dice": (6 / 8 + 2 / 4) / 2, "macro_f1": 2 / 9}
    pooled = {"pseudo_dice": (1 + 2 / 3) / 2}  # and not (1 + (6 / 8 + 2 / 4) / 2) / 2
    answers *= 2
    row = multitask.multitask_validation(volumes, (16, 16, 8))(None)
    assert row == pytest.approx(parts | pooled | {"score": sum(parts.values()) / 3})
    del parts["macro_f1"]
    row = multitask.multitask_validation(volumes, (16, 16, 8), classify=False)(None)
    assert row == pytest.approx(parts | pooled | {"score": sum(parts.values()) / 2})


def test_a_case_is_scored_by_hand(tmp_path):
    """Pancreas and lesion are found to the voxel, but one of the lesion's is called pancreas."""
    truth = np.zeros((12, 8, 4), np.uint8)
    truth[2:6, 3, 1], truth[6:8, 3, 1] = PANCREAS, LESION
    image = nib.Nifti1Image(truth, np.diag([1.0, 1.0, 2.0, 1.0]))
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    nib.save(image, tmp_path / "c.nii.gz")
    found = truth.copy()
    found[6, 3, 1] = PANCREAS
    row = score_case(Case("c", "p", "x.nii.gz", label=tmp_path / "c.nii.gz"), found)
    expected = {"dice": 1, "label1_dice": 8 / 9, "lesion_dice": 2 / 3, "lesion_ml": 0.004}
    assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_prediction_writes_labels_and_a_line_of_subtype(run, phantoms, tmp_path):
    images = sorted((phantoms / "imagesTs").iterdir())[:2]
    assert cli.main(["predict", str(run), *map(str, images), "--out", str(tmp_path)]) == 0
    for path in images:
        scan, mask = nib.load(path), nib.load(tmp_path / path.name)
        assert scan.shape == mask.shape and np.allclose(scan.affine, mask.affine)
        assert set(np.unique(mask.get_fdata())) <= {0, 1, 2}
    lines = (tmp_path / "subtype_results.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == [path.name for path in images]
    assert {line.split(",")[1] for line in lines} <= {"0", "1", "2"}


def test_the_72_cases_of_source_004_in_one_run(run, phantoms, tmp_path):
    """Copies of a few images under 72 names: a mask and a line each, and none is mixed up."""
    images = sorted((phantoms / "imagesTs").iterdir())
    (tmp_path / "images").mkdir()
    of = {f"quiz_{n:03}.nii.gz": images[n % len(images)] for n in range(72)}
    for name, image in of.items():
        shutil.copy(image, tmp_path / "images" / name)
    words = [str(tmp_path / "images" / name) for name in of]
    assert cli.main(["predict", str(run), *words, "--out", str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out" / "subtype_results.csv").read_text().splitlines()
    assert lines[0] == "Names,Subtype"
    subtypes = dict(line.split(",") for line in lines[1:])
    assert list(subtypes) == list(of) and len(lines) == 73
    found = {name: (tmp_path / "out" / name).read_bytes() for name in of}
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 72
    first = {image: name for name, image in reversed(of.items())}
    assert len({found[name] for name in first.values()}) == len(images) > 1
    for name, image in of.items():
        assert found[name] == found[first[image]] and subtypes[name] == subtypes[first[image]]


def test_the_checkpoint_says_how_it_saw(run, phantoms):
    _, about = load_checkpoint(run / "best.safetensors")
    assert about["patch"] == [32, 24, 16] and about["task"] == "pancreas"
    low, high = about["preparation"]["window"]
    hu = [
        nib.load(case.image).get_fdata()[nib.load(case.label).get_fdata() > 0]
        for case in read_cases(phantoms)
        if case.split == "train"
    ]
    shares = [((part < low).mean(), (part > high).mean()) for part in hu]
    assert np.mean(shares, axis=0) == pytest.approx([0.005, 0.005], abs=0.004)


def test_the_head_afterwards_leaves_the_segmentation_as_it_is(phantoms, tmp_path):
    sizes = with_sizes(head="afterwards")
    parts = multitask.multitask_parts(phantoms, None, sizes)
    multitask.train_multitask(parts, tmp_path, sizes, 0, minutes=0)
    assert read_history(tmp_path)["stopped"] == "minutes"
    first, _ = load_checkpoint(tmp_path / "best.safetensors")
    last, _ = load_checkpoint(tmp_path / "last.safetensors")
    assert torch.equal(first["head.decide.bias"], last["model.head.decide.bias"]), "no head yet"
    multitask.train_multitask(parts, tmp_path, sizes, 0, resume=True)
    whole, about = load_checkpoint(tmp_path / "best.safetensors")
    last, _ = load_checkpoint(tmp_path / "last.safetensors")
    for name, tensor in whole.items():
        same = torch.equal(tensor, last[f"model.{name}"])
        assert same == (not name.startswith("head.")), name
    assert "macro_f1" not in about["result"] and about["task"] == "pancreas"
    again = multitask.train_multitask(parts, tmp_path, sizes, 0, resume=True)
    for name, tensor in again.state_dict().items():
        torch.testing.assert_close(tensor, whole[name])


def test_subtypes_are_learned_from_the_lesion(tmp_path):
    """Brightness tells the subtype."""
    torch.manual_seed(0)
    volumes = [volume_of(subtype, n) for subtype in range(3) for n in range(2)]
    parts = (volumes, volumes, volumes)
    sizes = with_sizes(patch=(16, 16, 8), patches=4, batch_size=6, epochs=12, learning_rate=1e-2)
    model = multitask.train_multitask(parts, tmp_path, sizes, 0, augment=None)
    assert max(row["macro_f1"] for row in read_history(tmp_path)["history"]) > 0.4  # else 0.167
    assert read_history(tmp_path)["history"][-1]["dice"] > 0.8
    multitask.fit_head(model, volumes, (16, 16, 8))
    labels = volumes[0].label
    found = [
        int(subtype_probabilities(model, v.image, labels, (16, 16, 8)).argmax()) for v in volumes
    ]
    assert found == [0, 0, 1, 1, 2, 2]


def test_patches_count_by_rarity_and_only_with_lesion():
    volumes = [volume_of(0), volume_of(1), volume_of(1, 1), volume_of(2)]
    how = {"batch_size": 4, "patches": 8, "positives": 0.5, "seed": 3}
    batches = SubtypedPatches(volumes, (8, 8, 4), share=0.3, fewest=5, **how)
    rarity = {0: 4 / 3, 1: 2 / 3, 2: 4 / 3}
    seen = set()
    for batch in batches:
        shown = (batch["label"] == 2).flatten(1).sum(1) >= 5
        for case, truth, weight, lesion in zip(
            batch["case"], batch["subtype"], batch["subtype_weight"], shown, strict=True
        ):
            subtype = int(case[1])
            assert truth.argmax() == subtype and truth.sum() == 1
            expected = 0.3 * rarity[subtype] if lesion else 0.0
            assert float(weight) == pytest.approx(expected)
            seen.add(bool(lesion))
    assert seen == {True, False}


def test_the_weight_grows_over_the_first_epochs():
    batches = SubtypedPatches(
        [volume_of(s) for s in range(3)], (16, 16, 8), share=0.4, ramp_epochs=4, batch_size=3
    )
    found = []
    for epoch in (1, 2, 4, 9):
        batches.set_epoch(epoch)
        found.append(float(next(iter(batches))["subtype_weight"].max()))
    assert found == pytest.approx([0.1, 0.2, 0.4, 0.4])


def test_small_lesions_are_as_often_in_the_middle_as_the_organ():
    volume = volume_of(0, shape=(24, 24, 12))
    batches = SubtypedPatches(
        [volume, volume_of(1), volume_of(2)], (1, 1, 1), patches=200, positives=1.0, batch_size=50
    )
    middles = torch.cat([batch["label"].flatten() for batch in batches])
    assert float((middles == 2).float().mean()) == pytest.approx(0.5, abs=0.07)


def test_a_mixed_lesion_has_the_subtype_of_its_owner():
    volumes = [volume_of(s) for s in range(3)]
    batches = SubtypedPatches(
        volumes, (16, 16, 8), batch_size=3, patches=4, mixing=Mixing("anatomix", share=1.0)
    )
    for batch in batches:
        brightness = [
            float(image[label == 2].mean())
            for image, label in zip(batch["image"], batch["label"], strict=True)
        ]
        subtypes = [(b - 0.6) / 0.15 for b in brightness]
        assert batch["subtype"].argmax(1).tolist() == pytest.approx(subtypes, abs=0.2)


def test_the_step_is_segmentation_plus_weighted_cross_entropy():
    logits = [torch.randn(2, 3, 8, 8, 4), torch.randn(2, 3, 4, 4, 4)]
    subtypes, truth = torch.randn(2, 3), torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    label = torch.randint(3, (2, 1, 8, 8, 4))
    batch = {"image": torch.rand(2, 1, 8, 8, 4), "label": label, "subtype": truth}
    batch["subtype_weight"] = torch.tensor([0.3, 0.6])

    def model(image, classify):
        return logits, subtypes

    smooth = 0.95 * truth + 0.05 / 3
    wrong = -(smooth * F.log_softmax(subtypes, 1)).sum(1)
    expected = (0.3 * wrong[0] + 0.6 * wrong[1]) / 2
    both = multitask_step(model, batch)["loss"]
    torch.testing.assert_close(both, expected + deep_supervision(logits, label))


def test_the_patch_around_the_lesion():
    image = np.arange(20 * 16 * 8, dtype=np.float32).reshape(20, 16, 8)
    labels = np.zeros(image.shape, np.uint8)
    labels[2:18, 2:14, 1:7] = 1
    labels[14:17, 9:12, 3:6] = 2
    found = lesion_patch(image, labels, (5, 5, 3))[0, 0].numpy()
    assert np.array_equal(found, image[13:18, 8:13, 3:6])
    organ = lesion_patch(image, labels * (labels == 1), (4, 4, 2))[0, 0].numpy()
    assert organ.shape == (4, 4, 2)
    whole = lesion_patch(image, np.zeros_like(labels), (24, 16, 8))[0, 0].numpy()
    assert np.array_equal(whole[:20], image) and not whole[20:].any()


def test_of_several_lesions_the_largest_is_kept():
    logits = torch.zeros(1, 3, 12, 8, 8)
    logits[:, 1, 2:10] = 1.0  # organ
    logits[:, 2, 3:6, 2:5, 2:5] = 9.0
    logits[:, 2, 8:9, 2:5, 2:5] = 9.0  # in the organ
    logits[:, 2, 11:, 2, 2] = 9.0  # outside
    labels = one_lesion(logits)
    assert (labels == 2).sum() == 27 and (labels[3:6, 2:5, 2:5] == 2).all()
    assert (labels[8:9, 2:5, 2:5] == 1).all() and (labels[11:] == 0).all()
    logits[0, 1, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="answers NaN"):
        one_lesion(logits)


def test_an_atlas_is_where_organs_usually_lie():
    train = [volume_of(s) for s in range(3)]
    assert np.array_equal(atlas(train, train[0]), train[0].label > 0)


@pytest.mark.parametrize(
    ("subtype", "message"), [("", "subtype ''"), ("3", "subtype '3'"), ("IPMN", "from 0 to 2")]
)
def test_unknown_subtypes_are_refused(subtype, message):
    with pytest.raises(InputError, match=message):
        subtypes_of([Case("quiz_7", "quiz_7", "x.nii.gz", subtype=subtype)])


def test_a_subtype_without_training_case_is_refused():
    with pytest.raises(InputError, match=r"\[2, 0, 1\]; each needs at least one"):
        class_weights([0, 0, 2], 3)
    with pytest.raises(InputError, match=r"\[1, 1, 0\]; each needs at least one"):
        SubtypedPatches([volume_of(0), volume_of(1)], (8, 8, 4))
    assert class_weights([0, 0, 1, 2], 3).tolist() == pytest.approx([2 / 3, 4 / 3, 4 / 3])
