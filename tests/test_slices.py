import dataclasses
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from seg_lib.data import slices as module
from seg_lib.data.cases import Case, read_cases
from seg_lib.data.hu import HU_WINDOWS
from seg_lib.data.nifti import axial_view, read_image, read_mask, write_image
from seg_lib.data.phantom import make_phantom
from seg_lib.data.slices import (
    centred,
    load_slices,
    pickle_to_png,
    resize_image,
    resize_mask,
    slices_of_volumes,
    to_grey,
)
from seg_lib.errors import DataWarning, InputError


@pytest.fixture(scope="module")
def pickles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lung2d")
    make_phantom("lung2d", 8, 128, 0, folder)
    return folder


def test_the_window_is_fixed_and_padding_is_black():
    hu = np.array([[-3024.0, -1024.0, -1000.0, -300.0, 400.0, 3000.0]])
    assert to_grey(hu, (-1000, 400)).tolist() == [[0, 0, 0, 128, 255, 255]]


def test_shrinking_averages():
    image = np.array([[0, 100], [100, 200]], np.uint8)
    assert resize_image(image, 1).tolist() == [[100]]


def test_half_covered_counts_and_a_small_lesion_stays():
    mask = np.zeros((8, 8), np.uint8)
    mask[0:2, 0:2] = 1  # covers one pixel of the half size wholly
    mask[4, 4] = 1  # covers a quarter
    assert np.argwhere(resize_mask(mask, 4)).tolist() == [[0, 0]]
    mask[0:2, 0:2] = 0
    assert np.argwhere(resize_mask(mask, 4)).tolist() == [[2, 2]], "the only pixel left is kept"
    mask = np.zeros((512, 512), np.uint8)
    mask[300, 400] = 1  # a thousandth of a pixel of the small size: nothing, in 8 bits
    assert np.argwhere(resize_mask(mask, 16)).tolist() == [[9, 12]]


def test_centred_crops_and_pads_to_the_middle():
    square = np.arange(16).reshape(4, 4)
    assert centred(square, 2).tolist() == [[5, 6], [9, 10]]
    padded = centred(square, 8)
    assert padded[2:6, 2:6].tolist() == square.tolist() and padded.sum() == square.sum()


def test_pickle_to_png_writes_what_it_says(pickles, tmp_path):
    train = pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64, split="train")
    test = pickle_to_png(pickles / "lung_cancer_test.pkl", tmp_path, size=64, split="test")
    cases = read_cases(tmp_path)
    assert cases == train + test, "the second pickle joins the first"
    assert not {c.patient for c in train} & {c.patient for c in test}
    for case in cases:
        image, mask = np.asarray(Image.open(case.image)), np.asarray(Image.open(case.label))
        assert image.shape == mask.shape == (64, 64) and set(np.unique(mask)) == {0, 255}
        assert case.subtype in {"LR2", "LR3", "LR4A", "LR4B"}
        assert case.spacing_mm[0] > 2, "a quarter of the pixels, twice as large"
    about = json.loads((tmp_path / "conversion.json").read_text())["lung_cancer_train.pkl"]
    assert about["window_hu"] == list(HU_WINDOWS["nodule"]) and about["size"] == 64
    assert sum(about["classes"].values()) == about["slices"] == len(train)
    assert about["split_provenance"] == "patients.csv" and len(about["sha256"]) == 64


def test_the_size_of_the_source_is_256_pixels(pickles, tmp_path):
    """002-09."""
    cases = pickle_to_png(pickles / "lung_cancer_test.pkl", tmp_path)
    written = [np.asarray(Image.open(path)) for c in cases for path in (c.image, c.label)]
    assert {pixels.shape for pixels in written} == {(256, 256)}
    assert load_slices(cases).images.shape == (len(cases), 1, 256, 256)


def test_running_again_changes_nothing(pickles, tmp_path):
    def everything():
        pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64)
        return {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    assert everything() == everything()


def test_the_public_set_names_no_patients(pickles, tmp_path):
    alone = tmp_path / "lung_cancer_train.pkl"
    alone.write_bytes((pickles / "lung_cancer_train.pkl").read_bytes())
    with pytest.warns(DataWarning, match="split_provenance: unknown"):
        cases = pickle_to_png(alone, tmp_path / "out", size=64)
    assert len({c.patient for c in cases}) == len(cases)


def test_a_missing_row_of_patients_is_named(pickles, tmp_path):
    (tmp_path / "a.pkl").write_bytes((pickles / "lung_cancer_train.pkl").read_bytes())
    (tmp_path / "patients.csv").write_text("pickle,row,patient,spacing_mm\na.pkl,0,p,\n")
    with pytest.raises(InputError, match="no line for row 1 of a.pkl"):
        pickle_to_png(tmp_path / "a.pkl", tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing half-written"


def killed_after(monkeypatch, count):
    """The process dies while it writes the file number ``count``."""
    calls = iter(range(count))
    save = module.save_png

    def save_or_die(*args):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        save(*args)

    monkeypatch.setattr(module, "save_png", save_or_die)


@pytest.mark.parametrize("again", [False, True])
def test_killed_before_the_end_leaves_no_table_of_missing_files(
    pickles, tmp_path, monkeypatch, again
):
    pickle_to_png(pickles / "lung_cancer_test.pkl", tmp_path, size=64, split="test")
    if again:  # with another window the slices of before must not be taken for the new ones
        pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64)
    before = read_cases(tmp_path)
    with monkeypatch.context() as patch:
        killed_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64)
    assert {case.split for case in read_cases(tmp_path)} == {"test"}
    pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64)
    assert len(read_cases(tmp_path)) >= len(before), "running again completes it"


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"window": (-160.0, 240.0)}, "window_hu .*not .-160.0, 240.0.; convert both alike"),
        ({"size": 32}, "size 64, not 32; convert both alike"),
        ({"split": "training"}, "'training'; use train, val, test"),
        ({"window": (400.0, -1000.0)}, "the second value must be above the first"),
    ],
)
def test_a_second_pickle_is_converted_alike_or_not_at_all(pickles, tmp_path, how, message):
    pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64)
    before = files_of(tmp_path)
    with pytest.raises(InputError, match=message):
        pickle_to_png(
            pickles / "lung_cancer_test.pkl", tmp_path, **({"size": 64, "split": "test"} | how)
        )
    assert files_of(tmp_path) == before


def test_a_patient_on_both_sides_is_refused_before_anything_is_written(pickles, tmp_path):
    pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path / "out", size=64)
    before = files_of(tmp_path / "out")
    table = (pickles / "lung_cancer_train.pkl").read_bytes()
    rows = len(read_cases(tmp_path / "out"))
    patient = read_cases(tmp_path / "out")[0].patient
    (tmp_path / "b.pkl").write_bytes(table)
    (tmp_path / "patients.csv").write_text(
        "pickle,row,patient,spacing_mm\n" + "".join(f"b.pkl,{r},{patient},\n" for r in range(rows))
    )
    with pytest.raises(InputError, match="more than one split"):
        pickle_to_png(tmp_path / "b.pkl", tmp_path / "out", size=64, split="test")
    assert files_of(tmp_path / "out") == before


def test_rows_that_are_gone_leave_the_table(pickles, tmp_path):
    for name in ("train", "test"):  # the same file name, first with many rows, then with few
        (tmp_path / "a.pkl").write_bytes((pickles / f"lung_cancer_{name}.pkl").read_bytes())
        with pytest.warns(DataWarning, match="split_provenance"):
            cases = pickle_to_png(tmp_path / "a.pkl", tmp_path / "out", size=64)
        assert read_cases(tmp_path / "out") == cases


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.pkl,0,,", "has no patient"),
        ("a.pkl,0,p,\na.pkl,0,q,", "row 0 is there twice"),
        ("a.pkl,0,p,-0.7 0.7", "spacing_mm '-0.7 0.7' is not two millimetres"),
        ("a.pkl,0,p,0.7", "is not two millimetres"),
        ("a.pkl,first,p,", "invalid literal"),
        ("a.pkl,0,M\u00fcller,", "UTF-8"),
    ],
)
def test_a_faulty_table_of_patients_is_refused(pickles, tmp_path, line, message):
    (tmp_path / "a.pkl").write_bytes((pickles / "lung_cancer_test.pkl").read_bytes())
    table = tmp_path / "patients.csv"
    table.write_text(f"pickle,row,patient,spacing_mm\n{line}\n", encoding="latin-1")
    with pytest.raises(InputError, match=message) as refusal:
        pickle_to_png(tmp_path / "a.pkl", tmp_path / "out")
    assert str(refusal.value).startswith(f"{table}: ") and not (tmp_path / "out").exists()


def test_load_slices_gives_what_was_written(pickles, tmp_path):
    cases = pickle_to_png(pickles / "lung_cancer_train.pkl", tmp_path, size=64)
    loaded = load_slices(cases, 64)
    assert loaded.images.shape == loaded.labels.shape == (len(cases), 1, 64, 64)
    assert np.array_equal(loaded.images[1, 0], np.asarray(Image.open(cases[1].image)))
    assert set(np.unique(loaded.labels)) == {0, 1}


GREY, LESION = np.full((64, 64), 90, np.uint8), np.zeros((64, 64), np.uint8)
LESION[20:30, 20:30] = 1


def png_case(folder, image=GREY, mask=LESION * 255) -> Case:
    Image.fromarray(image).save(folder / "i.png")
    Image.fromarray(mask).save(folder / "m.png")
    return Case("c", "p", folder / "i.png", folder / "m.png")


@pytest.mark.parametrize("mask", [LESION, LESION * 255, LESION > 0])
def test_masks_of_0_and_1_and_of_0_and_255_are_the_same(tmp_path, mask):
    assert np.array_equal(load_slices([png_case(tmp_path, mask=mask)], 64).labels[0, 0], LESION)


def test_a_palette_mask_of_0_and_1_may_have_dark_colours(tmp_path):
    case = png_case(tmp_path)
    picture = Image.fromarray(LESION, mode="P")
    picture.putpalette([0, 0, 0, 128, 0, 0])  # dark red
    picture.save(case.label)
    assert np.array_equal(load_slices([case], 64).labels[0, 0], LESION)


def test_a_mask_with_soft_edges_is_cut_at_half_with_a_warning(tmp_path):
    soft = LESION * 255
    soft[19, 20:30], soft[30, 20:30] = 100, 3
    with pytest.warns(DataWarning, match=r"m\.png: grey values from 0 to 255 instead of"):
        loaded = load_slices([png_case(tmp_path, mask=soft)], 64)
    assert np.array_equal(loaded.labels[0, 0], LESION)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"mask": LESION[:32] * 255}, r"m\.png: mask of \(32, 64\) pixels for an image of"),
        ({"mask": LESION * 2}, r"m\.png: values up to 2; give a mask of 0 and 1, or 255\."),
        ({"image": GREY.astype(np.uint16) * 16}, r"i\.png: more than 8 bits a pixel \('I;16'\)"),
    ],
)
def test_pngs_that_would_be_misread_are_refused(tmp_path, what, message):
    with pytest.raises(InputError, match=message):
        load_slices([png_case(tmp_path, **what)], 64)


def png_header(width, height):
    """A PNG that declares a size and holds nothing."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", ihdr), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "web page"),
        (b"", "empty"),
        (b"hello", "convert again"),
        (png_header(64, 64), "convert again"),
        (png_header(10_000, 10_000), "convert again"),
        (png_header(60_000, 60_000), "convert again"),
        (png_header(60_000, 1), "16384 pixels a side"),
    ],
)
def test_a_broken_png_is_named(tmp_path, content, message):
    case = png_case(tmp_path)
    case.image.write_bytes(content)
    with pytest.raises(InputError, match=message) as refusal:
        load_slices([case], 64)
    assert str(refusal.value).startswith(f"{case.image}: ")


def test_an_unlabelled_case_is_named(tmp_path):
    case = dataclasses.replace(png_case(tmp_path), label=None)
    for load in (load_slices, slices_of_volumes):
        with pytest.raises(InputError, match="case c has no mask"):
            load([case])


def test_a_lesion_outside_the_crop_is_mentioned(tmp_path):
    hu = np.random.default_rng(0).integers(-900, 0, (64, 64, 3))
    mask = np.zeros_like(hu)
    mask[2:6, 2:6, 1] = 1
    case = Case("v", "p", tmp_path / "v.nii.gz", tmp_path / "m.nii.gz")
    for path, array in ((case.image, hu), (case.label, mask)):
        write_image(path, array, np.eye(4))
    with pytest.warns(DataWarning, match="outside the 32 x 32 pixels in v_z1"):
        slices_of_volumes([case], size=32)
    halved = slices_of_volumes([case], size=32, place=resize_image)
    assert halved.labels.sum() == 4, "resized, sixteen pixels become four"
    with pytest.raises(InputError, match="per_case 'all'"):
        slices_of_volumes([case], per_case="all")


def test_slices_of_volumes_take_the_largest_lesion(tmp_path):
    cases = make_phantom("lung3d", 2, (128, 128, 40), 0, tmp_path)
    found = slices_of_volumes(cases, size=128)
    assert len(found) == 2
    for i, case in enumerate(cases):
        image = read_image(case.image)
        mask = read_mask(case.label, like=image).array
        z = int(mask.sum((0, 1)).argmax())
        assert found.cases[i].case == f"{case.case}_z{z}"
        assert np.array_equal(found.labels[i, 0], centred(axial_view(mask, z), 128))
        grey = to_grey(axial_view(image.array, z), HU_WINDOWS["nodule"])
        assert np.array_equal(found.images[i, 0], centred(grey, 128))
    every = slices_of_volumes(cases, size=128, per_case="all-positive")
    assert len(every) > 2 and (every.labels.sum((1, 2, 3)) > 0).all()


@pytest.mark.real
def test_real_nodules_lie_in_the_middle(lidc_nodules):
    names = sorted(p.name for p in (lidc_nodules / "image").iterdir())[:20]
    cases = [
        Case(n, n[:14], lidc_nodules / "image" / n, lidc_nodules / "nodule_mask" / n) for n in names
    ]
    found = slices_of_volumes(cases, size=64)
    assert len(found) == 20
    assert found.labels[:, 0, 24:40, 24:40].any((1, 2)).all()
