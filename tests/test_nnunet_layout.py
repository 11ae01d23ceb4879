"""nnU-Net's raw folders: what is written is what it reads, and what it writes is read."""

import dataclasses
import json

import pytest

from seg_lib.data.cases import CASES_CSV, read_cases
from seg_lib.data.check_data import check_data
from seg_lib.data.nifti import read_image, read_mask
from seg_lib.data.nnunet_layout import read_dataset, write_dataset
from seg_lib.data.phantom import make_phantom
from seg_lib.errors import InputError
from seg_lib.files import sha256_of


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
        ({"numTraining": 7}, "3 images in imagesTr, but numTraining 7"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, "2 channels"),
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
    with pytest.raises(InputError, match="2 images in imagesTr, but numTraining 3"):
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
