"""The manifests of real data sets: what they may say, and folders that are compared with them."""

import hashlib
import json
import os
import re
import warnings
from collections import Counter

import nibabel as nib
import numpy as np
import pytest
import yaml
from made_up_server import CONTENT, Server

from seg_lib import cli
from seg_lib.data.cases import read_cases
from seg_lib.data.check_data import check_data
from seg_lib.data.manifests import (
    FREE,
    MANIFESTS,
    check_no_leak,
    names,
    parts_to_accept,
    read_manifest,
    to_croissant,
)
from seg_lib.data.phantom import DEFAULT_SIZES, make_phantom
from seg_lib.data.real_sets import prepare, verify
from seg_lib.errors import InputError

WANTED = {
    "msd_task06_lung",
    "msd_task07_pancreas",
    "nsclc_radiomics",
    "lidc_idri",
    "luna16",
    "kz_lungrads",
    "pancreas_ct",
    "panorama",
    "hecktor_2025",
    "han_seg",
    "llmseg_sample",
    "pancreas_quiz",
    "pscc_ippmed",
    "llama2_7b_chat",
    "smollm2_135m",
    "tinyllama_1_1b_chat",
    "biomedclip",
    "medsam_vit_base",
    "imagenet_resnet50",
    "imagenet_swin_tiny",
}
ALL = [read_manifest(name) for name in names()]
by_name = pytest.mark.parametrize("manifest", ALL, ids=lambda m: m["id"])


def test_all_sets_are_described():
    assert set(names()) == WANTED


@by_name
def test_private_sets_have_no_address(manifest):
    """A set that may not be passed on is named, and nothing more."""
    addresses = re.findall(r"https?://", yaml.safe_dump(manifest))
    assert (manifest["status"] == "private") == (not addresses)


@by_name
def test_what_may_be_fetched_travels_encrypted(manifest):
    for file in manifest["access"].get("files", []):
        assert file["url"].startswith("https://")


@by_name
def test_a_null_is_explained(manifest):
    """No checksum, revision or licence without a word on why."""
    text = yaml.safe_dump(manifest)
    for file in manifest["access"].get("files", []):
        assert file["hash"] or "checksum" in file["source"]
    for part in manifest["licence"]:
        assert part["spdx"] or re.search("not|no |page", part["source"]) or part.get("name")
    assert "TODO" not in text


@by_name
def test_twins_are_phantoms_that_exist(manifest):
    kind = manifest["synthetic_twin"]["kind"]
    assert kind in DEFAULT_SIZES if manifest["kind"] == "images" else kind is None


@by_name
def test_overlaps_name_other_manifests(manifest):
    for overlap in manifest.get("overlaps", []):
        assert overlap["with"] in WANTED - {manifest["id"]}


@by_name
def test_every_set_can_be_prepared_or_says_what_to_run(manifest):
    how = manifest["prepare"]
    assert how.get("layout") or how.get("pickles") or how.get("instead")
    splits = {row["split"] for row in manifest.get("layout", [])}
    assert splits <= set(manifest["cases"]), "each split of the layout is counted"


def test_what_was_counted_stands_beside_what_is_stated():
    counts = {m["id"]: m["cases"] for m in ALL}
    assert (counts["msd_task06_lung"]["train"]["stated"]) == 64
    assert (counts["msd_task06_lung"]["train"]["found"]) == 63
    assert counts["kz_lungrads"]["test"]["stated"] == 264
    assert counts["kz_lungrads"]["train"]["stated"] == 708
    assert sum(counts["kz_lungrads"]["test"]["by_class"].values()) == 264
    assert counts["pancreas_ct"]["patients"]["stated"] == 82
    assert counts["pancreas_ct"]["patients"]["found"] == 80
    for split in ("train", "val"):
        about = counts["pancreas_quiz"][split]
        assert sum(about["by_class"].values()) == about["stated"]


def test_licences_that_ask_for_something():
    assert parts_to_accept(read_manifest("smollm2_135m")) == []
    assert parts_to_accept(read_manifest("msd_task06_lung")) == []
    assert parts_to_accept(read_manifest("kz_lungrads")) == ["all: licence unknown"]
    assert parts_to_accept(read_manifest("panorama"))[0] == "images: CC-BY-NC-4.0"
    assert not any("-NC" in licence or "-ND" in licence for licence in FREE)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["lidc_idri"], ["luna16"]),
        (["luna16"], ["lidc_idri"]),
        (["kz_lungrads"], ["luna16"]),
        (["msd_task06_lung", "pancreas_ct"], ["panorama"]),
        (["panorama"], ["msd_task07_pancreas"]),
        (["pancreas_quiz"], ["panorama"]),
        (["msd_task06_lung"], ["msd_task06_lung"]),
    ],
)
def test_pairs_that_leak_are_refused(train, test):
    with pytest.raises(InputError, match=f"test on {test[0]}: .*too good"):
        check_no_leak(train, test)


def test_pairs_that_do_not_leak_pass():
    check_no_leak(["lidc_idri", "kz_lungrads"], ["nsclc_radiomics", "msd_task06_lung"])
    check_no_leak(["msd_task07_pancreas"], ["pancreas_ct"])


def broken(tmp_path, **changes):
    manifest = read_manifest("luna16") | {"id": "broken"} | changes
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return path


def with_file(**changes):
    file = {"name": "a.zip", "url": "https://e.org/a", "hash": None, "source": "s"} | changes
    return {"access": {"backend": "pooch", "files": [file]}}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        (with_file(name="../a.zip"), "access.files.0.name"),
        (with_file(name="/etc/a.zip"), "access.files.0.name"),
        (with_file(name=".bashrc"), "access.files.0.name"),
        (with_file(url="file:///etc/passwd"), "access.files.0.url"),
        (with_file(hash="md5:short"), "access.files.0.hash"),
        ({"status": "secret"}, "status"),
        ({"status": "private"}, "access.backend"),
        ({"access": {"backend": "hf", "repo": "a/b"}}, "access"),
        ({"surprise": 1}, "the top"),
        ({"cases": {"train": {"stated": -1, "found": None, "source": "s"}}}, "cases.train.stated"),
        ({"pitfalls": [{"id": "x", "text": "x"}]}, "pitfalls.0"),
        ({"layout": [{"split": "train", "image": "../{case}", "label": None}]}, "layout.0.image"),
        ({"prepare": {"pickles": {"train": "../x.pkl"}}}, "prepare.pickles.train"),
    ],
)
def test_manifests_that_break_a_rule(tmp_path, changes, place):
    with pytest.raises(InputError, match=f"broken.yaml: at {place}: .*schema.json"):
        read_manifest(broken(tmp_path, **changes))


def test_manifests_that_cannot_be_found_or_read(tmp_path):
    with pytest.raises(InputError, match="choose one of .*lidc_idri"):
        read_manifest("lidc")
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"x.yaml: cannot be read"):
        read_manifest(tmp_path / "x.yaml")
    with pytest.raises(InputError, match="give file and id one name"):
        read_manifest(broken(tmp_path, id="other"))
    with pytest.raises(InputError, match="no manifests"):
        names(tmp_path / "nowhere")


@by_name
def test_croissant_is_valid(manifest, tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant checks the export")
    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(to_croissant(manifest)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rdflib and what is recommended, not asked for
        dataset = mlcroissant.Dataset(jsonld=str(path))
    assert dataset.metadata.name == manifest["id"]
    known = [f["name"] for f in manifest["access"].get("files", []) if f["hash"]]
    assert [file.name for file in dataset.metadata.distribution] == known


def test_croissant_without_checksum_is_not_valid(tmp_path):
    """The check bites: a file without checksum is what Croissant refuses."""
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant checks the export")
    about = to_croissant(read_manifest("msd_task06_lung"))
    del about["distribution"][0]["md5"]
    (tmp_path / "croissant.json").write_text(json.dumps(about))
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))


def scan(path, seed, labels=None):
    """A small CT (or its mask with the values ``labels``) whose voxels depend on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(seed)
    array = numbers.integers(-1000, 400, (12, 12, 8)).astype(np.int16)
    if labels:
        array = np.zeros((12, 12, 8), np.uint8)
        for place, value in enumerate(labels):
            array[3 + place, 4:7, 2:5] = value
    nib.save(nib.Nifti1Image(array, np.diag([0.8, 0.8, 2.5, 1])), path)


@pytest.fixture
def msd(tmp_path):
    """A folder as Task07_Pancreas.tar leaves it, with the litter of macOS."""
    folder = tmp_path / "set" / "Task07_Pancreas"
    for n in range(10):
        scan(folder / "imagesTr" / f"pancreas_{n:03}.nii.gz", n)
        scan(folder / "labelsTr" / f"pancreas_{n:03}.nii.gz", n, labels=(1, 2))
    scan(folder / "imagesTs" / "pancreas_900.nii.gz", 900)
    (folder / "__MACOSX" / "imagesTr").mkdir(parents=True)
    for litter in ("imagesTr/._pancreas_000", "__MACOSX/imagesTr/pancreas_000"):
        (folder / f"{litter}.nii.gz").write_bytes(b"litter")
    return folder.parent


def found(manifest, folder):
    return {(p.case, p.problem): p.must_fix for p in verify(manifest, folder)}


def test_verify_counts_what_is_there(msd):
    manifest = read_manifest("msd_task07_pancreas")
    problems = found(manifest, msd)
    assert problems[("train", "10 here instead of 281 (281 stated, None found before)")]
    assert problems[("test", "1 here instead of 139 (139 stated, None found before)")]
    manifest["cases"]["train"] |= {"stated": 11, "found": 10}
    manifest["cases"]["test"]["stated"] = 1
    assert found(manifest, msd) == {("train", "10 as found before; its makers state 11"): False}


def test_verify_names_images_without_label(msd):
    (msd / "Task07_Pancreas" / "labelsTr" / "pancreas_003.nii.gz").unlink()
    problems = found(read_manifest("msd_task07_pancreas"), msd)
    assert problems[("all", "1 images without label: pancreas_003")]


def test_verify_wants_a_folder_with_something_of_the_set(msd, tmp_path):
    with pytest.raises(InputError, match="nothing of nsclc_radiomics lies here"):
        verify(read_manifest("nsclc_radiomics"), msd)
    with pytest.raises(InputError, match="there is no such folder"):
        verify(read_manifest("nsclc_radiomics"), tmp_path / "nowhere")


def test_verify_compares_checksums(tmp_path):
    (tmp_path / "HaN-Seg.zip").write_bytes(b"another")
    problems = found(read_manifest("han_seg"), tmp_path)
    digest = hashlib.sha256(b"another").hexdigest()
    [fault] = [problem for case, problem in problems if case == "HaN-Seg.zip"]
    assert fault.startswith(f"sha256 {digest} instead of 20226dd7")
    (tmp_path / "lung_cancer_test.pkl").write_bytes(b"x")
    (tmp_path / "checksums.json").write_text(json.dumps({"lung_cancer_test.pkl": "md5:0"}))
    problems = found(read_manifest("kz_lungrads"), tmp_path)
    assert any(case == "lung_cancer_test.pkl" and "md5" in what for case, what in problems)


def test_verify_names_the_bad_cases_that_are_there(tmp_path):
    for patient in ("LUNG1-001", "LUNG1-128", "LUNG1-085"):
        (tmp_path / "NSCLC-Radiomics" / patient / "study").mkdir(parents=True)
        (tmp_path / "NSCLC-Radiomics" / patient / "study" / "1.dcm").write_bytes(b"x")
    problems = verify(read_manifest("nsclc_radiomics"), tmp_path)
    assert problems[0].problem == "3 here instead of 422 (422 stated, 422 found before)"
    assert problems[0].must_fix
    assert {p.case for p in problems[1:]} == {"LUNG1-128", "LUNG1-085"}
    [no_seg] = [p for p in problems if p.case == "LUNG1-128"]
    assert "No DICOM SEG" in no_seg.problem and no_seg.fix == "leave it out"


def test_verify_misses_absent_weights(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    [problem] = verify(read_manifest("smollm2_135m"), tmp_path)
    assert problem.must_fix and "instead of 80521b40" in problem.problem
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="nothing of smollm2_135m"):
        verify(read_manifest("smollm2_135m"), tmp_path)


def test_prepare_makes_what_read_cases_and_check_data_read(msd, tmp_path):
    out = tmp_path / "ready"
    cases = prepare(read_manifest("msd_task07_pancreas"), msd, out)
    assert sorted(cases, key=lambda c: c.case) == sorted(read_cases(out), key=lambda c: c.case)
    assert len(cases) == 10  # the one without label is left out: its label is hidden
    assert {case.split for case in cases} == {"train", "val", "test"}
    about = json.loads((out / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "pancreas": 1, "cancer": 2}
    assert [p for p in check_data(out) if p.must_fix] == []
    again = prepare(read_manifest("msd_task07_pancreas"), msd, out)
    assert again == cases  # the deal depends on the names alone


def test_prepare_merges_the_labels_of_panorama(tmp_path):
    """Duct and parenchyma are pancreas, the tumour is the lesion, all else is background."""
    folder, to_lps = tmp_path / "set", [[0, -1], [1, -1], [2, 1]]
    for number in range(3):
        image = folder / "images" / f"{100_001 + number}_00001_0000.nii.gz"
        label = folder / "labels" / f"{100_001 + number}_00001.nii.gz"
        scan(image, number)
        scan(label, number, labels=(1, 2, 3, 4, 5, 6))
        if number:
            for path in (image, label):
                nib.save(nib.as_closest_canonical(nib.load(path)).as_reoriented(to_lps), path)
    cases = prepare(read_manifest("panorama"), folder, tmp_path / "ready")
    assert len(cases) == 3
    about = json.loads((tmp_path / "ready" / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "pancreas": 1, "lesion": 2}
    for case in cases:
        before, after = nib.load(folder / "labels" / case.label.name), nib.load(case.label)
        assert np.array_equal(before.affine, after.affine)
        pairs = zip(before.get_fdata().ravel(), after.get_fdata().ravel(), strict=True)
        assert set(pairs) == {(0, 0), (1, 2), (2, 0), (3, 0), (4, 1), (5, 1), (6, 0)}
    assert [p for p in check_data(tmp_path / "ready") if p.must_fix] == []


@by_name
def test_what_is_merged_are_labels_of_the_set(manifest):
    for parts in manifest["prepare"].get("merge", {}).values():
        assert set(parts) <= set(manifest["labels"]) - {"background"}


def test_prepare_keeps_splits_and_subtypes_of_the_quiz(tmp_path):
    folder = tmp_path / "set" / "ML-Quiz-3DMedImg"
    for split, subtype, n in (("train", 0, 41), ("train", 2, 7), ("validation", 1, 12)):
        stem = folder / split / f"subtype{subtype}" / f"quiz_{subtype}_{n:03}"
        scan(stem.with_name(stem.name + "_0000.nii.gz"), n)
        scan(stem.with_name(stem.name + ".nii.gz"), n, labels=(1, 2))
    scan(folder / "test" / "quiz_037_0000.nii.gz", 37)
    prepare(read_manifest("pancreas_quiz"), folder, tmp_path / "ready")
    cases = {case.case: case for case in read_cases(tmp_path / "ready")}
    assert {name: (c.split, c.subtype) for name, c in cases.items()} == {
        "quiz_0_041": ("train", "0"),
        "quiz_2_007": ("train", "2"),
        "quiz_1_012": ("val", "1"),
        "quiz_037": ("test", ""),
    }
    assert cases["quiz_037"].label is None
    mapping = json.loads((tmp_path / "ready" / "subtype_mapping.json").read_text())
    assert mapping == {  # in the form of source 004
        "mapping": {
            "quiz_0_041": {"subtype": 0, "split": "train"},
            "quiz_2_007": {"subtype": 2, "split": "train"},
            "quiz_1_012": {"subtype": 1, "split": "val"},
        },
        "validation_cases": ["quiz_1_012"],
    }
    (tmp_path / "ready" / "cases.csv").unlink()  # then the mapping alone tells
    again = {case.case: (case.split, case.subtype) for case in read_cases(tmp_path / "ready")}
    assert again == {name: (c.split, c.subtype) for name, c in cases.items()}
    for damaged in ("[]", "{}", "{", '{"mapping": {"quiz_0_041": 0}}'):
        (tmp_path / "ready" / "subtype_mapping.json").write_text(damaged)
        with pytest.raises(InputError, match=r"subtype_mapping\.json: not in the form"):
            read_cases(tmp_path / "ready")
    first = nib.load(cases["quiz_1_012"].image).get_fdata()
    assert np.array_equal(
        first,
        nib.load(folder / "validation" / "subtype1" / "quiz_1_012_0000.nii.gz").get_fdata(),
    )


def test_the_subtypes_of_the_quiz_are_counted_as_stated(tmp_path):
    """62, 106 and 84 to train, 9, 15 and 12 to validate: in the manifest, and of a set so built."""
    manifest, folder = read_manifest("pancreas_quiz"), tmp_path / "ML-Quiz-3DMedImg"
    names = {"train": "train", "val": "validation"}
    scan(tmp_path / "image.nii.gz", 1)
    scan(tmp_path / "label.nii.gz", 1, labels=(1, 2))
    for split, part in names.items():
        for subtype, count in manifest["cases"][split]["by_class"].items():
            (folder / part / f"subtype{subtype}").mkdir(parents=True)
            for n in range(count):
                stem = folder / part / f"subtype{subtype}" / f"quiz_{subtype}_{split}{n:03}"
                os.link(tmp_path / "image.nii.gz", f"{stem}_0000.nii.gz")
                os.link(tmp_path / "label.nii.gz", f"{stem}.nii.gz")
    prepare(manifest, folder, tmp_path / "ready")
    mapping = json.loads((tmp_path / "ready" / "subtype_mapping.json").read_text())
    found = Counter((entry["split"], entry["subtype"]) for entry in mapping["mapping"].values())
    assert [found["train", n] for n in range(3)] == [62, 106, 84]
    assert [found["val", n] for n in range(3)] == [9, 15, 12]
    assert len(mapping["validation_cases"]) == 36


def test_prepare_keeps_the_blocks_of_a_patient_together_and_leaves_bad_cases_out(tmp_path):
    folder = tmp_path / "blocks"
    for patient in range(12):
        for n in (1, 2):
            name = f"LIDC-IDRI-{patient:04}_R_{n}.nii.gz"
            scan(folder / "image" / name, 10 * patient + n)
            scan(folder / "nodule_mask" / name, n, labels=(1,))
    cases = prepare(read_manifest("lidc_idri"), folder, tmp_path / "ready")
    assert len(cases) == 24
    assert {case.patient for case in cases} == {f"LIDC-IDRI-{p:04}" for p in range(12)}
    for patient in {case.patient for case in cases}:
        assert len({case.split for case in cases if case.patient == patient}) == 1
    for name in ("LUNG1-001", "LUNG1-002", "LUNG1-128"):
        scan(tmp_path / "nsclc" / "images" / f"{name}.nii.gz", 1)
        scan(tmp_path / "nsclc" / "labels" / f"{name}.nii.gz", 1, labels=(1,))
    cases = prepare(read_manifest("nsclc_radiomics"), tmp_path / "nsclc", tmp_path / "lung1")
    assert {case.case for case in cases} == {"LUNG1-001", "LUNG1-002"}


def test_prepare_turns_pickles_into_pictures_and_arrays(tmp_path):
    twin = tmp_path / "twin"
    made = make_phantom("lung2d", 24, 48, 0, twin)
    cases = prepare(read_manifest("kz_lungrads"), twin, tmp_path / "ready", npz=True)
    read = read_cases(tmp_path / "ready")
    assert len(cases) == len(read) == len(made)
    assert {case.split for case in read} == {"train", "test"}
    for split in ("train", "test"):
        with np.load(tmp_path / "ready" / f"lung_cancer_{split}.npz") as arrays:
            assert len(arrays["hu"]) == sum(case.split == split for case in read)
    (twin / "lung_cancer_test.pkl").unlink()
    with pytest.raises(InputError, match="lung_cancer_test.pkl: there 0 times"):
        prepare(read_manifest("kz_lungrads"), twin, tmp_path / "other")


def test_what_prepare_refuses(msd, tmp_path):
    manifest = read_manifest("msd_task07_pancreas")
    with pytest.raises(InputError, match="choose a folder outside"):
        prepare(manifest, msd, msd / "ready")
    (msd / "Task07_Pancreas" / "labelsTr" / "pancreas_003.nii.gz").unlink()
    with pytest.raises(InputError, match="images without label: pancreas_003"):
        prepare(manifest, msd, tmp_path / "ready")
    assert not (tmp_path / "ready").exists()
    (tmp_path / "LUNG1-001").mkdir()
    with pytest.raises(InputError, match="seg-lib dicom-to-nifti CT_FOLDER"):
        prepare(read_manifest("nsclc_radiomics"), tmp_path / "LUNG1-001", tmp_path / "ready")
    with pytest.raises(InputError, match="convert the CT and the organs"):
        prepare(read_manifest("han_seg"), tmp_path / "LUNG1-001", tmp_path / "ready")


def test_the_real_nodule_blocks_are_as_described(lidc_nodules, tmp_path):
    manifest = read_manifest("lidc_idri")
    assert not any(p.must_fix for p in verify(manifest, lidc_nodules))
    cases = prepare(manifest, lidc_nodules, tmp_path / "ready")
    assert len(cases) == manifest["cases"]["train"]["found"]
    assert len({case.patient for case in cases}) == manifest["cases"]["train"]["patients"]


def said(capsys, *words):
    """Exit code, and all that the command said."""
    code = cli.main(["data", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out + err


def test_the_commands(msd, tmp_path, capsys):
    code, text = said(capsys, "list")
    assert code == 0 and all(name in text for name in WANTED)
    code, text = said(capsys, "info", "kz_lungrads")
    assert code == 0 and yaml.safe_load(text) == read_manifest("kz_lungrads")
    assert said(capsys, "info", "lidc_idri", "--against", "luna16")[0] == 1
    assert said(capsys, "info", "lidc_idri", "--against", "msd_task06_lung")[0] == 0
    assert said(capsys, "info", "luna16", "--croissant", tmp_path / "c.json")[0] == 0
    assert json.loads((tmp_path / "c.json").read_text())["name"] == "luna16"
    code, text = said(capsys, "fetch", "pancreas_quiz", "--accept-licence")
    assert code == 1 and "may not pass it on" in text
    code, text = said(capsys, "verify", "msd_task07_pancreas", msd)
    assert code == 1 and "FIX  | train | 10 here instead of 281" in text
    code, text = said(capsys, "prepare", "msd_task07_pancreas", msd, tmp_path / "ready")
    assert code == 0 and "10 cases. Next: seg-lib check-data" in text


def test_fetch_verifies_what_came(tmp_path, capsys):
    file = {"name": "a.zip", "hash": "sha256:" + hashlib.sha256(CONTENT).hexdigest(), "source": "s"}
    cases = {"scans": {"stated": 2, "found": None, "files": "*.zip", "source": "s"}}
    with Server() as server:
        file["url"] = f"{server.url}/good/a.zip"
        access = {"backend": "pooch", "files": [file]}
        path = broken(tmp_path, access=access, cases=cases, overlaps=[])
        code, text = said(capsys, "fetch", path, "--out", tmp_path / "data")
        assert code == 1 and "1 here instead of 2" in text
        assert (tmp_path / "data" / "a.zip").read_bytes() == CONTENT
        path.write_text(path.read_text().replace("stated: 2", "stated: 1"))
        assert said(capsys, "fetch", path, "--out", tmp_path / "data")[0] == 0
        assert len(server.asked) == 1
        server.shutdown()


def test_the_folder_explains_itself():
    text = (MANIFESTS / "README.md").read_text()
    for word in ("stated", "found", "schema.json", "croissant_context.json", "--trust-first"):
        assert word in text
