import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from seg_lib.data.case_rules import pair_by_name
from seg_lib.data.cases import CASES_CSV, Case, read_cases, split_cases, write_cases
from seg_lib.errors import DataWarning, InputError

HEADER = "case,patient,image,label,split,note,subtype,spacing_mm\n"


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)  # every file has other bytes


def make_table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / CASES_CSV
    path.write_text(header + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def fake_cases(n_patients: int, per_patient: int = 1) -> list[Case]:
    return [
        Case(f"p{patient}_{number}", f"p{patient}", Path(f"{patient}_{number}.png"))
        for patient in range(n_patients)
        for number in range(per_patient)
    ]


def test_what_is_written_is_read_back(tmp_path):
    make_files(tmp_path, "images/007.png", "masks/007.png", "images/b $(x);.png", "masks/b.png")
    cases = [
        Case(
            "007",
            "0001",
            tmp_path / "images/007.png",
            tmp_path / "masks/007.png",
            "train",
            'T2, "3 cm"\nsecond line é',
            "LR4B",
            (0.7, 0.703125),
        ),
        Case("b", "02", tmp_path / "images/b $(x);.png", tmp_path / "masks/b.png", "test"),
    ]
    write_cases(cases, tmp_path)
    assert read_cases(tmp_path) == cases
    assert read_cases(tmp_path / CASES_CSV) == cases
    assert "images/007.png" in (tmp_path / CASES_CSV).read_text().splitlines()[1]


def test_five_columns_and_a_byte_order_mark_are_enough(tmp_path):
    make_files(tmp_path, "a.png")
    make_table(tmp_path, "a,p,a.png,,val", header="\ufeffcase,patient,image,label,split\n")
    assert read_cases(tmp_path) == [Case("a", "p", tmp_path / "a.png", None, "val")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no case is listed"),
        (["a,p,a.png,,train,,,", "a,p,b.png,,train,,,"], "'a' is listed twice"),
        (["a,p,a.png,,train,,,", "b,p,b.png,,test,,,"], "more than one split: p;"),
        (["a,p,a.png,,train,,,", "b,q,nowhere.png,,test,,,"], r"1 of 2 files .*nowhere\.png"),
        (["a,p,a.png,nomask.png,train,,,"], r"1 of 2 files .*nomask\.png"),
        (["a,p,a.png,b.png,train,,,", "b,q,b.png,,train,,,"], "without label in split 'train'.* b"),
        (["a,p,,b.png,train,,,"], r"line 2 \(case 'a'\) has no image"),
        (["a,p,a.png,,training,,,"], "'training'; use train, val, test"),
        (["a,,a.png,,train,,,"], "'a' has no patient"),
        (["../a,p,a.png,,train,,,"], "cannot be a case id"),
        ([".a,p,a.png,,train,,,"], "cannot be a case id"),
        ([",p,a.png,,train,,,"], "cannot be a case id"),
        (["a,p,../a.png,,train,,,"], "line 2: '../a.png' leads out of the folder"),
        (["a,p,x/../../a.png,,train,,,"], "leads out of the folder"),
        (["a,p,/etc/passwd,,train,,,"], "leads out of the folder"),
        (["a,p,a.png,,train,,,0.7 wide"], "spacing_mm '0.7 wide'"),
        (["a,p,a.png,,train,,,0.7 0"], "positive millimetres"),
        (["a,p,a.png,,train,,,nan"], "positive millimetres"),
        (["a,p,a.png,,train"], "line 2: more or fewer cells"),
        (["a,p,a.png,,train,,,,more"], "line 2: more or fewer cells"),
        (["a,p,a.png,,train,\0,,"], "line 2"),
        (['a,p,a.png,,train,"open,,'], "line 2"),
    ],
)
def test_a_contradictory_table_is_refused(tmp_path, lines, message):
    make_files(tmp_path, "a.png", "b.png")
    path = make_table(tmp_path, *lines)
    with pytest.raises(InputError, match=message) as refusal:
        read_cases(tmp_path)
    assert str(refusal.value).startswith(str(path))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("case,image,label,split\n", "missing columns: patient; found case, image, label, split"),
        ("case,case,patient,image,label,split\n", "one is there twice"),
        ("", "found nothing"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path, header, message):
    make_table(tmp_path, header=header)
    with pytest.raises(InputError, match=message):
        read_cases(tmp_path)


def test_latin_1_is_refused_with_its_line(tmp_path):
    (tmp_path / CASES_CSV).write_bytes(HEADER.encode() + "a,Müller,a.png".encode("latin-1"))
    with pytest.raises(InputError, match="line 2 is not UTF-8"):
        read_cases(tmp_path)


def test_an_absent_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_cases(tmp_path)


def test_unknown_columns_are_named(tmp_path):
    make_files(tmp_path, "a.png")
    make_table(tmp_path, "a,p,a.png,,val,x", header="case,patient,image,label,split,notes\n")
    with pytest.warns(DataWarning, match="not used: notes"):
        read_cases(tmp_path)


def test_the_same_image_in_train_and_test_warns(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_text("c" if name == "c.png" else "same bytes")
    make_table(tmp_path, "a,p,a.png,,train,,,", "b,q,b.png,,test,,,", "c,r,c.png,,test,,,")
    with pytest.warns(DataWarning, match=r"a \(train\), b \(test\); scores") as caught:
        read_cases(tmp_path)
    assert len(caught) == 1


def test_the_same_image_within_one_split_is_no_leak(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("same bytes")
    make_table(tmp_path, "a,p,a.png,,train,,,", "b,q,b.png,,train,,,")
    assert len(read_cases(tmp_path)) == 2  # -W error: a warning would fail here


def test_a_file_outside_the_folder_is_not_written_into_the_table(tmp_path):
    with pytest.raises(InputError, match="lies outside its folder"):
        write_cases([Case("a", "p", tmp_path / "a.png")], tmp_path / "data")
    assert not (tmp_path / "data" / CASES_CSV).exists()


@pytest.mark.parametrize("seed", range(5))
def test_a_split_never_cuts_a_patient_and_loses_no_case(seed):
    cases = fake_cases(20, per_patient=3)
    split = split_cases(cases, seed=seed)
    assert [dataclasses.replace(case, split="train") for case in split] == cases
    assert len({(case.patient, case.split) for case in split}) == 20
    assert Counter(case.split for case in split) == {"train": 42, "val": 9, "test": 9}


def test_a_split_does_not_depend_on_the_order_of_the_cases():
    cases = fake_cases(12, per_patient=2)
    forward = {case.case: case.split for case in split_cases(cases, seed=3)}
    backward = {case.case: case.split for case in split_cases(cases[::-1], seed=3)}
    assert forward == backward
    assert forward != {case.case: case.split for case in split_cases(cases, seed=4)}


@pytest.mark.parametrize(
    ("n_patients", "counts"),
    [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (7, (5, 1, 1)), (100, (70, 15, 15))],
)
def test_small_groups_still_get_a_patient_each(n_patients, counts):
    split = Counter(case.split for case in split_cases(fake_cases(n_patients)))
    assert tuple(split[name] for name in ("train", "val", "test")) == counts


@pytest.mark.parametrize(
    "fractions", [{}, {"train": 0.9}, {"train": 1.5, "test": -0.5}, {"training": 1.0}]
)
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(InputError, match="fractions"):
        split_cases(fake_cases(3), fractions)


def test_files_are_paired_by_exact_name(tmp_path):
    make_files(tmp_path, "i/p1.nii.gz", "i/p10.nii.gz", "l/p1.nii.gz", "l/p10.nii", "i/.hidden.png")
    pairs = pair_by_name(tmp_path / "i", tmp_path / "l")
    assert {name: label.name for name, (_, label) in pairs.items()} == {
        "p1": "p1.nii.gz",
        "p10": "p10.nii",
    }


def test_unpaired_files_are_listed(tmp_path):
    make_files(tmp_path, "i/p1.nii.gz", "i/p2.nii.gz", "l/p10.nii.gz", "l/p2.nii.gz")
    with pytest.raises(InputError, match="without label: p1; labels without image: p10;"):
        pair_by_name(tmp_path / "i", tmp_path / "l")


def test_two_files_for_one_case_are_refused(tmp_path):
    make_files(tmp_path, "i/p1.nii.gz", "i/p1.nii", "l/p1.nii.gz")
    with pytest.raises(InputError, match="two files for one case"):
        pair_by_name(tmp_path / "i", tmp_path / "l")


def test_pairing_an_absent_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        pair_by_name(tmp_path / "nowhere", tmp_path)
