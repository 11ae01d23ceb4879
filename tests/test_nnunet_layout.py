"""nnU-Net's raw folders: what is written is what it reads, and what it writes is read."""

import dataclasses
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from seg_lib.course.profiles import Settings, settings
from seg_lib.data.cases import CASES_CSV, read_cases
from seg_lib.data.check_data import check_data
from seg_lib.data.modalities import load_channels
from seg_lib.data.nifti import read_image, read_mask, write_image
from seg_lib.data.nnunet_layout import read_dataset, write_dataset
from seg_lib.data.phantom import make_phantom
from seg_lib.errors import InputError
from seg_lib.files import sha256_of
from seg_lib.inference import mask_of
from seg_lib.trained import load_trained
from seg_lib.volumes3d import (
    predict_case,
    preparation_of,
    score_on_volumes,
    sliding_of,
    train_volumes,
    volume_logits,
    volumes3d_parts,
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return make_phantom("lung3d", 4, (48, 48, 8), 0, tmp_path_factory.mktemp("p"))


@pytest.fixture
def raw(cases, tmp_path):
    folder = tmp_path / "nnUNet_raw" / "Dataset001_Lung"
    write_dataset(cases, folder)
    return folder


def change(raw, **changes):
    about = json.loads((raw / "dataset.json").read_text()) | changes
    (raw / "dataset.json").write_text(json.dumps(about))
    (raw / CASES_CSV).unlink()


def test_the_layout_is_the_one_that_nnunet_describes(raw, cases):
    names = {str(p.relative_to(raw)) for p in raw.rglob("*") if p.is_file()}
    assert names == {
        "dataset.json",
        "splits_final.json",
        "subtype_mapping.json",
        "cases.csv",
        *(f"imagesTr/lung3d_p{n}_0000.nii.gz" for n in ("000", "001", "003")),
        *(f"labelsTr/lung3d_p{n}.nii.gz" for n in ("000", "001", "003")),
        "imagesTs/lung3d_p002_0000.nii.gz",
        "labelsTs/lung3d_p002.nii.gz",
    }
    assert json.loads((raw / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (fold,) = json.loads((raw / "splits_final.json").read_text())
    assert fold == {"train": ["lung3d_p000", "lung3d_p003"], "val": ["lung3d_p001"]}
    for case, written in zip(cases, read_cases(raw), strict=True):
        assert sha256_of(case.image) == sha256_of(written.image)
        assert (case.patient, case.split, case.subtype) == (
            written.patient,
            written.split,
            written.subtype,
        )


def test_a_folder_made_by_others_is_a_data_folder(raw, cases):
    (raw / CASES_CSV).unlink()
    found = {case.case: case for case in read_cases(raw)}
    assert {c.case: (c.split, c.subtype) for c in cases} == {
        name: (c.split, c.subtype) for name, c in found.items()
    }
    for case in found.values():
        image = read_image(case.image)
        read_mask(case.label, like=image)
    assert [p for p in check_data(raw) if p.must_fix] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file_ending": ".png"}, "file endings .png; seg_lib reads .nii.gz or .nii or .nrrd"),
        ({"file_ending": ".b2nd"}, "convert"),
        ({"numTraining": 7}, "3 cases in imagesTr, but numTraining 7"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, "absent: 0001, too many: none"),
        ({"channel_names": {"0": "CT", "1": "CT"}}, "give each a name of its own"),
        ({"channel_names": {"1": "CT"}}, "KeyError '0'; it needs channel_names"),
        ({"channel_names": {}}, "channels .* give each a name"),
        ({"labels": {"background": 0, "lesion": 2}}, "number them 0"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "labels .one whole number each"),
        ({"labels": None}, "it needs channel_names"),
    ],
)
def test_a_wrong_description_is_refused(raw, changes, message):
    change(raw, **changes)
    with pytest.raises(InputError, match=message) as caught:
        read_cases(raw)
    assert str(raw) in str(caught.value)
    assert message.split()[0].strip("(") and check_data(raw)[0].must_fix


def test_broken_json_and_names_are_refused(raw):
    change(raw)
    (raw / "splits_final.json").write_text("{}")
    with pytest.raises(InputError, match=r"splits_final\.json"):
        read_dataset(raw)
    (raw / "splits_final.json").unlink()
    image = raw / "imagesTr" / "lung3d_p000_0000.nii.gz"
    image.rename(image.with_name("lung3d_p000.nii.gz"))
    with pytest.raises(InputError, match="without channel number: lung3d_p000.nii.gz"):
        read_dataset(raw)
    image.with_name("lung3d_p000.nii.gz").unlink()
    with pytest.raises(InputError, match="without image: lung3d_p000.nii.gz"):
        read_dataset(raw)
    (raw / "dataset.json").write_text("{not json")
    with pytest.raises(InputError, match=r"dataset\.json"):
        read_cases(raw)


def test_validation_cases_in_folders_of_their_own(raw, cases):
    """imagesVal and labelsVal, as source 004 asks: they validate and do not count as training."""
    (raw / CASES_CSV).unlink()
    (raw / "splits_final.json").unlink()
    for part in ("images", "labels"):
        (raw / f"{part}Val").mkdir()
        for path in (raw / f"{part}Tr").glob("lung3d_p001*"):
            path.rename(raw / f"{part}Val" / path.name)
    with pytest.raises(InputError, match="2 cases in imagesTr, but numTraining 3"):
        read_dataset(raw)
    about = json.loads((raw / "dataset.json").read_text()) | {"numTraining": 2}
    (raw / "dataset.json").write_text(json.dumps(about))
    found = {case.case: case for case in read_dataset(raw)}
    assert {c.case: c.split for c in cases} == {c.case: c.split for c in found.values()}
    assert found["lung3d_p001"].label == raw / "labelsVal" / "lung3d_p001.nii.gz"
    assert [p for p in check_data(raw) if p.must_fix] == []
    found["lung3d_p001"].image.rename(raw / "imagesVal" / "lung3d_p001.nii.gz")
    with pytest.raises(InputError, match="imagesVal without channel number: lung3d_p001.nii.gz"):
        read_dataset(raw)


def test_what_cannot_be_written_is_refused_before_anything_is(cases, tmp_path):
    bare = [dataclasses.replace(c, label=None) for c in cases]
    with pytest.raises(InputError, match="has no label"):
        write_dataset(bare, tmp_path / "a")
    odd = tmp_path / "x.nrrd"
    odd.write_bytes(b"NRRD0004")
    with pytest.raises(InputError, match=r"\.nrrd"):
        write_dataset([dataclasses.replace(cases[0], image=odd)], tmp_path / "b")
    assert not list(tmp_path.glob("*/dataset.json"))


# ---- several channels ----


@pytest.fixture(scope="module")
def pairs(cases, tmp_path_factory):
    """The cases with a PET on the voxels of each CT, stored as the CT is; values tell the voxel."""
    folder, found = tmp_path_factory.mktemp("pet"), []
    for n, case in enumerate(cases):
        ct = nib.load(case.image)
        suv = np.random.default_rng(n).uniform(0, 8, ct.shape).astype(np.float32)
        write_image(folder / case.image.name, suv, ct.affine)
        found.append(dataclasses.replace(case, channels=(("PET", folder / case.image.name),)))
    return found


@pytest.fixture
def raw_pairs(pairs, tmp_path):
    write_dataset(pairs, tmp_path / "Dataset002_PET")
    return tmp_path / "Dataset002_PET"


def stored(path):
    image = nib.load(path)
    return image.get_fdata(), image.affine


def test_several_channels_are_written_as_nnunet_describes(raw_pairs, pairs):
    numbers = {"000": "Tr", "001": "Tr", "003": "Tr", "002": "Ts"}
    assert {str(p.relative_to(raw_pairs)) for p in raw_pairs.glob("images*/*")} == {
        f"images{part}/lung3d_p{n}_{channel}.nii.gz"
        for n, part in numbers.items()
        for channel in ("0000", "0001")
    }
    about = json.loads((raw_pairs / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "CT", "1": "PET"} and about["numTraining"] == 3
    header = (raw_pairs / CASES_CSV).read_text().splitlines()[0]
    assert header.endswith("spacing_mm,image_PET")


@pytest.mark.parametrize("table", [True, False], ids=["with cases.csv", "made by others"])
def test_several_channels_come_back_voxel_for_voxel(raw_pairs, pairs, table, tmp_path):
    if not table:
        (raw_pairs / CASES_CSV).unlink()
    found = {case.case: case for case in read_cases(raw_pairs)}
    assert found.keys() == {case.case for case in pairs}
    for case in pairs:
        again = found[case.case]
        assert [name for name, _ in again.channels] == ["PET"] and again.split == case.split
        for before, after in zip(case.files, again.files, strict=True):
            for expected, got in zip(stored(before), stored(after), strict=True):
                np.testing.assert_array_equal(expected, got)
    assert [p for p in check_data(raw_pairs) if p.must_fix] == []
    twice = write_dataset(found.values(), tmp_path / "again")
    assert [sha256_of(f) for c in twice for f in c.files] == [
        sha256_of(f) for c in found.values() for f in c.files
    ]


def test_three_channels_keep_their_order(pairs, tmp_path):
    case = pairs[0]
    three = dataclasses.replace(case, channels=(("T2", case.image), *case.channels))
    write_dataset([three], tmp_path / "raw")
    about = json.loads((tmp_path / "raw" / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "CT", "1": "T2", "2": "PET"}
    for cases_csv in (True, False):
        [again] = read_cases(tmp_path / "raw")
        assert [(name, file.name[-11:-7]) for name, file in again.channels] == [
            ("T2", "0001"),
            ("PET", "0002"),
        ]
        if cases_csv:
            (tmp_path / "raw" / CASES_CSV).unlink()
    with pytest.raises(InputError, match="_0001.nii.gz: no window for channel T2"):
        load_channels([again], preparation_of(settings("10", "smoke")))


def fault_of(raw):
    """The sentence of `read_dataset`; `check-data` says the same."""
    with pytest.raises(InputError) as caught:
        read_dataset(raw)
    [problem] = check_data(raw)
    assert problem.must_fix and problem.problem.replace(f"{raw}/", "") in str(caught.value)
    return str(caught.value)


def test_a_channel_that_is_missing_or_too_many_is_refused_by_case(raw_pairs):
    (raw_pairs / CASES_CSV).unlink()
    pet = raw_pairs / "imagesTr" / "lung3d_p001_0001.nii.gz"
    third = pet.with_name("lung3d_p001_0002.nii.gz")
    pet.rename(third)
    assert (
        "'lung3d_p001' of imagesTr: channels CT, PET are named; absent: 0001, too many: 0002"
        in (fault_of(raw_pairs))
    )
    third.rename(pet)
    third.write_bytes(pet.read_bytes())
    assert "absent: none, too many: 0002; add or remove lung3d_p001_0002.nii.gz" in (
        fault_of(raw_pairs)
    )
    third.unlink()
    pet.unlink()
    assert "absent: 0001, too many: none; add or remove lung3d_p001_0001.nii.gz" in (
        fault_of(raw_pairs)
    )


def test_a_table_without_one_channel_of_a_case_is_refused(raw_pairs):
    table = raw_pairs / CASES_CSV
    table.write_text(table.read_text().replace("imagesTr/lung3d_p001_0001.nii.gz", ""))
    with pytest.raises(InputError, match="'lung3d_p001' has the channels .'CT'., where others"):
        read_cases(raw_pairs)


@pytest.mark.parametrize("fault", ["shape", "origin"])
def test_channels_with_other_voxels_are_refused(raw_pairs, pairs, fault, tmp_path):
    case = pairs[1]
    suv, affine = stored(case.channels[0][1])
    moved = affine + np.outer([0, 0, 3.0, 0], [0, 0, 0, 1]) * (fault == "origin")
    odd = tmp_path / "odd.nii.gz"
    write_image(odd, suv[: suv.shape[0] - (fault == "shape")], moved)
    with pytest.raises(InputError, match=f"'{case.case}', channel PET: .*odd.nii.gz: .*onto_grid"):
        write_dataset([dataclasses.replace(case, channels=(("PET", odd),))], tmp_path / "raw")
    assert not list(tmp_path.glob("raw/**/*.nii.gz"))
    target = raw_pairs / "imagesTr" / f"{case.case}_0001.nii.gz"
    target.write_bytes(odd.read_bytes())
    [problem] = [p for p in check_data(raw_pairs) if p.must_fix]
    assert problem.case == case.case and "_0001.nii.gz: " in problem.problem
    assert "onto these voxels" in problem.fix


def test_a_network_learns_from_a_raw_folder_with_two_channels(raw_pairs, tmp_path):
    """Training, scores and prediction see both channels, each in its window."""
    small = {"patch": (16, 16, 8), "epochs": 1, "patches": 1, "box": "all"}
    sizes = Settings("10", "x", dict(settings("10", "smoke").sizes) | small)
    parts = volumes3d_parts(raw_pairs, None, sizes, 0)
    for volume in (volume for part in parts for volume in part):
        suv = read_image(volume.case.channels[0][1], hu=False).array
        np.testing.assert_allclose(volume.image[1], np.clip(suv / 10, 0, 1), atol=1e-5)
        assert volume.image.shape == (2, *volume.label.shape)
    network = train_volumes(parts, tmp_path / "run", sizes, 0)
    rows = score_on_volumes(network, parts, sizes)
    assert [row["case"] for row in rows["network"]] == ["lung3d_p002"]
    assert [row["case"] for row in rows["threshold"]] == ["lung3d_p002"]

    trained = load_trained(tmp_path / "run")
    assert trained.about["channels"] == ["PET"]
    [test], how = parts[2], sliding_of(sizes)
    seen, no_pet = (
        volume_logits(trained.model, dataclasses.replace(test, image=image), how)
        for image in (test.image, test.image * np.float32([[[[1]]], [[[0]]]]))
    )
    assert not torch.equal(seen, no_pet), "PET is looked at"
    mask = predict_case(trained.model, test.case, preparation_of(sizes), how)
    np.testing.assert_array_equal(mask, mask_of(seen, test.place))
    trained.predict(test.case.image, tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz").array, mask)
    for name, told in (("a", "more channels .PET. than this file"), ("a_0000", "absent: .*a_0001")):
        alone = tmp_path / f"{name}.nii.gz"
        alone.write_bytes(test.case.image.read_bytes())
        with pytest.raises(InputError, match=told):
            trained.predict(alone, tmp_path / "none.nii.gz")


def test_reading_and_writing_folders_needs_no_torch():
    code = (
        "import sys, seg_lib.data.phantom, seg_lib.data.check_data; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
