"""A submission: its code and score by hand, and every way to hand in something wrong or hostile."""

import contextlib
import copy
import hashlib
import io
import os
import re
import stat
import struct
import tarfile
import tempfile
import zipfile

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from seg_lib import cli, submission_archive
from seg_lib.data.nifti import read_image, read_mask, write_image, write_mask
from seg_lib.errors import InputError
from seg_lib.rle import rle_decode, rle_encode
from seg_lib.submission import (
    SCORES,
    check_submission,
    official_score,
    score_case,
    score_submission,
    score_to_csv,
    write_submission,
)
from seg_lib.submission_archive import submitted_files
from seg_lib.submission_rules import read_rules

SHAPE = (12, 10, 6)
AFFINE = np.array([[1.0, 0, 0, -5], [0, 1, 0, 7], [0, 0, 2, 30], [0, 0, 0, 1]])
FLIPPED = np.array(
    [[-1.0, 0, 0, 6], [0, -1, 0, 16], [0, 0, 2, 30], [0, 0, 0, 1]]
)  # LPS, same place


def box(start, size=4):
    """``size`` x 4 x 3 voxels of 1 x 1 x 2 mm; the diameter is that of size x 4 pixels."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[start : start + size, 2:6, 1:4] = 1
    return mask


TRUTH = {"a": box(2), "b": box(6), "c": box(0, size=0)}


def save(folder, masks, affine=AFFINE, stored=lambda mask: mask):
    folder.mkdir(parents=True, exist_ok=True)
    for case, mask in masks.items():
        image = nib.Nifti1Image(stored(mask), affine)
        image.set_qform(affine, 1)
        image.set_sform(affine, 1)
        nib.save(image, folder / f"{case}.nii.gz")
    return folder


def checksum(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(f.name.encode() + f.read_bytes() for f in files)).hexdigest()


@pytest.fixture
def reference(tmp_path):
    """The hidden masks; after every test each byte of them is as before."""
    folder = save(tmp_path / "reference", TRUTH)
    before = checksum(folder)
    yield folder
    assert checksum(folder) == before


@pytest.fixture
def team(tmp_path):
    return save(tmp_path / "team", TRUTH)


def zipped(folder, path, within="", extra=()):
    """The folder as ZIP, and more members (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, within + file.name)
        for member, content in extra:
            archive.writestr(member, content)
    return path


def scores(submission, reference):
    return score_submission(submission, reference)[1]["score"]["mean"]


# --- run-length code ------------------------------------------------------------------------------


def test_the_code_by_hand():
    """C order: the last axis runs fastest, and the first voxel has the number 1."""
    mask = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0]])  # flat: 0 1 1  0 0 1  1 0 0
    assert rle_encode(mask) == "2 2 6 2"
    assert rle_encode(mask.T) == "3 2 7 2"  # flat: 0 0 1  1 0 0  1 1 0, whatever the memory order
    assert rle_encode(np.zeros((3, 3))) == ""
    assert rle_encode(np.ones((2, 3))) == "1 6"
    assert rle_decode("2 2 6 2", (3, 3)).tolist() == mask.tolist()
    assert rle_decode("2 1 3 1 6 2", (3, 3)).tolist() == mask.tolist()  # runs may touch


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_decoding_undoes_coding(share):
    mask = (np.random.default_rng(0).random((7, 5, 3)) < share).astype(np.uint8)
    for order in ("C", "F"):
        again = rle_decode(rle_encode(np.array(mask, order=order)), mask.shape)
        assert again.dtype == np.uint8
        assert np.array_equal(again, mask)


@pytest.mark.parametrize(
    ("text", "shape", "said"),
    [
        ("1 2 3", (3, 3), "3 numbers, not pairs"),
        ("1 2 2 2", (3, 3), "overlap or are out of order"),
        ("5 1 1 1", (3, 3), "overlap or are out of order"),
        ("9 2", (3, 3), "outside of the voxels 1 to 9"),
        ("0 2", (3, 3), "outside of the voxels 1 to 9"),
        ("3 0", (3, 3), "empty or outside"),
        ("-1 2", (3, 3), "'-1' is no voxel number"),
        ("1.0 2", (3, 3), "'1.0' is no voxel number"),
        ("1 nan", (3, 3), "'nan' is no voxel number"),
        ("1 99999999999999999999", (3, 3), "is no voxel number"),
        ("1 " + "9" * 10_000, (3, 3), "is no voxel number"),
        ("1 \u0662", (3, 3), "is no voxel number"),
        ("1 1", (10**6, 10**6, 10**6), "at most 3.5e[+]08 voxels"),
        ("1 1", (0, 3), "sizes from 1 on"),
        ("1 1", (), "sizes from 1 on"),
    ],
)
def test_a_code_that_cannot_be_true(text, shape, said):
    with pytest.raises(InputError, match=said):
        rle_decode(text, shape)


def test_only_masks_are_coded():
    with pytest.raises(InputError, match="0 and 1 only"):
        rle_encode(np.array([0, 0.3]))


# --- the score ------------------------------------------------------------------------------------


def test_the_score_by_hand():
    """6 x 4 x 3 voxels predicted where 4 x 4 x 3 are right, all of them inside."""
    row = score_case(box(2, size=6), box(2, size=4), (1, 1, 2))
    assert row["dice"] == pytest.approx(2 * 48 / (72 + 48), abs=1e-6)
    assert row["volume_error"] == pytest.approx(0.5)
    # pixel centres: 5 x 3 against 3 x 3; of a box, circle and longest diameter are the diagonal
    error = np.hypot(5, 3) / np.hypot(3, 3) - 1
    assert row["recist_error"] == pytest.approx(error)
    assert row["recist_error_feret"] == pytest.approx(error)
    assert row["score"] == pytest.approx((0.2 + 0.5 + error) / 3, abs=1e-6)


def test_circle_and_diameter_differ_on_a_triangle():
    """Without its tip, a triangle's longest side is as before, and the circle around it smaller."""
    triangle = np.zeros((60, 60, 1), np.uint8)
    for x in range(46):  # side 52, height 45: equilateral to 1e-3
        triangle[x, round(x * 26 / 45) : 53 - round(x * 26 / 45), 0] = 1
    tipless = triangle.copy()
    tipless[41:] = 0
    row = score_case(tipless, triangle, (1, 1, 1))
    assert row["recist_error"] > row["recist_error_feret"] == 0


def test_errors_are_clipped_with_min_and_not_with_max():
    row = score_case(box(2, size=6), box(2), (1, 1, 2))
    assert row["volume_error"] == 0.5  # max(0.5, 1) would be 1
    row = score_case(np.ones(SHAPE), box(2, size=1), (1, 1, 2))
    assert row["volume_error"] == 1  # the mask is 60 times too large
    assert row["recist_error"] == 1


def test_empty_masks_have_the_policy_of_the_metrics():
    nothing, something = TRUTH["c"], TRUTH["a"]
    perfect = score_case(nothing, nothing, (1, 1, 2))
    assert perfect == {
        "score": 0,
        "dice": 1,
        "recist_error": 0,
        "recist_error_feret": 0,
        "volume_error": 0,
    }
    for pair in ((something, nothing), (nothing, something), (np.ones(SHAPE), nothing)):
        row = score_case(*pair, (1, 1, 2))
        assert row["score"] == pytest.approx(1, abs=1e-6)  # a false alarm costs as much as a miss
        assert row["dice"] == pytest.approx(0, abs=1e-6)


def test_the_final_score_is_the_mean_of_the_three_means():
    rng = np.random.default_rng(1)
    rows = [score_case(rng.random(SHAPE) < 0.3, box(n % 6), (1, 1, 2)) for n in range(9)]
    mean = {k: v["mean"] for k, v in official_score(rows).items()}
    three = (1 - mean["dice"] + mean["recist_error"] + mean["volume_error"]) / 3
    assert mean["score"] == pytest.approx(three)
    score = official_score(rows)["score"]
    assert score["low"] < score["mean"] < score["high"]


# --- what is handed in ----------------------------------------------------------------------------


def test_folder_zip_and_table_score_the_same(reference, team, tmp_path):
    write_mask(team / "a.nii.gz", box(3), read_mask(team / "a.nii.gz"))
    write_submission(team, tmp_path / "submission.csv")
    expected = official_score([{"case": k, **score_case(box(3) if k == "a" else v, v, (1, 1, 2))}
                               for k, v in TRUTH.items()])["score"]["mean"]  # fmt: skip
    assert 0 < expected < 1
    (tmp_path / "table").mkdir()
    (tmp_path / "submission.csv").rename(tmp_path / "table" / "submission.csv")
    for submission in (
        team,
        zipped(team, tmp_path / "top.zip"),
        zipped(team, tmp_path / "inside.zip", within="results/"),
        tmp_path / "table",
        zipped(tmp_path / "table", tmp_path / "table.zip"),
        tmp_path / "table" / "submission.csv",
    ):
        assert check_submission(submission, reference) == []
        assert scores(submission, reference) == pytest.approx(expected)


def test_the_columns_of_the_table(team, tmp_path):
    write_submission(team, tmp_path / "s.csv")
    table = pd.read_csv(tmp_path / "s.csv", dtype=str, na_filter=False)
    assert list(table) == ["id", "rle", "recist", "volume", "data_shape"]
    assert table.id.tolist() == ["a", "b", "c"]
    # box(2): x 2..5, y 2..5, z 1..3 in (12, 10, 6): 1 + (2 * 10 + 2) * 6 + 1 = 134, runs of 3
    assert table.rle[0].startswith("134 3 140 3 146 3 152 3 194 3")
    assert table.rle[2] == ""
    assert table.recist.tolist() == ["4.243", "4.243", "0.000"]  # sqrt(3^2 + 3^2) mm
    assert table.volume.tolist() == ["0.10", "0.10", "0.00"]  # 48 voxels of 2 mm3
    assert table.data_shape[0] == "(12, 10, 6)"


def test_what_participants_claim_is_ignored(reference, team, tmp_path):
    write_submission(team, tmp_path / "s.csv")
    table = pd.read_csv(tmp_path / "s.csv", dtype=str, na_filter=False)
    table["rle"] = ""
    honest = table.to_csv(index=False)
    table["recist"], table["volume"], table["score"] = "4.243", "0.10", "0"
    (tmp_path / "honest.csv").write_text(honest)
    (tmp_path / "liar.csv").write_text(table.to_csv(index=False))
    for name in ("honest.csv", "liar.csv"):
        assert scores(tmp_path / name, reference) == pytest.approx(2 / 3, abs=1e-6)


def test_macos_leaves_traces(reference, team, tmp_path):
    traces = [("__MACOSX/results/._a.nii.gz", "x"), ("results/.DS_Store", "x"), ("results/", "")]
    traces += [("results/._a.nii.gz", "x")]
    archive = zipped(team, tmp_path / "mac.zip", within="results/", extra=traces)
    assert check_submission(archive, reference) == []
    (team / ".DS_Store").write_text("x")
    assert check_submission(team, reference) == []


def test_another_storage_order_scores_the_same(reference, tmp_path):
    """The same places in the patient, stored LPS: 1, and not the score of a mirrored mask."""
    flipped = save(tmp_path / "lps", TRUTH, FLIPPED, lambda mask: mask[::-1, ::-1])
    # the origin of FLIPPED is where the last voxel of AFFINE lies
    assert np.allclose(FLIPPED[:3, 3], (AFFINE @ (11, 9, 0, 1))[:3])
    assert scores(flipped, reference) == 0


def test_a_table_is_in_the_order_of_the_image(tmp_path, team):
    """Images stored LPS, masks stored RAS: with the images' folder the table is turned."""
    reference = save(tmp_path / "lps", TRUTH, FLIPPED, lambda mask: mask[::-1, ::-1])
    images = tmp_path / "images"
    for case in TRUTH:
        hu = np.random.default_rng(0).normal(-500, 200, SHAPE).round()
        write_image(images / f"{case}.nii.gz", hu, FLIPPED)
    assert read_image(images / "a.nii.gz").stored_shape == SHAPE
    write_submission(team, tmp_path / "turned.csv", images)
    assert scores(tmp_path / "turned.csv", reference) == 0
    write_submission(team, tmp_path / "plain.csv")
    assert scores(tmp_path / "plain.csv", reference) > 0.1


def test_missing_extra_and_duplicate_cases_are_named_and_nothing_is_scored(
    reference, team, tmp_path
):
    (team / "b.nii.gz").rename(team / "z.nii.gz")
    findings = check_submission(team, reference)
    assert len(findings) == 2
    assert any("case b: is missing" in finding for finding in findings)
    assert any("case 'z'" in finding for finding in findings)
    with pytest.raises(InputError, match="refused, no case is scored"):
        score_submission(team, reference)
    (team / "z.nii.gz").rename(team / "b.nii.gz")
    write_submission(team, tmp_path / "s.csv")
    lines = (tmp_path / "s.csv").read_text().splitlines()
    (tmp_path / "s.csv").write_text("\n".join([*lines, lines[1]]))
    assert check_submission(tmp_path / "s.csv", reference) == [
        "case 'a': is there 2 times; keep one."
    ]
    twice = [("other/a.nii.gz", (team / "a.nii.gz").read_bytes())]
    findings = check_submission(zipped(team, tmp_path / "x.zip", extra=twice), reference)
    assert "case 'a': is there 2 times" in findings[-1]
    assert "files lie in" in findings[0]


def spoilt(team, **how):
    """The team's case b replaced by an image with another array or affine."""
    array, affine = how.get("array", TRUTH["b"]), how.get("affine", AFFINE)
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, team / "b.nii.gz")


MIRRORED = AFFINE * [-1, 1, 1, 1]
NAN = np.where(TRUTH["b"], np.nan, 0).astype(np.float32)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"affine": MIRRORED}, "corners lie"),
        ({"affine": np.eye(4)}, "corners lie"),
        ({"affine": AFFINE @ np.diag([0.5, 0.5, 1, 1])}, "spacing"),
        ({"array": TRUTH["b"][:-1]}, r"\(11, 10, 6\) voxels"),
        ({"array": TRUTH["b"] * 2}, "labels found: 0, 2"),
        ({"array": TRUTH["b"] * 255}, "labels found: 0, 255"),
        ({"array": (TRUTH["b"] * 0.7).astype(np.float32)}, "labels found: 0, 0.7"),
        ({"array": NAN}, "NaN or infinite"),
        ({"array": np.stack([TRUTH["b"]] * 2, -1)}, "4D image"),
        ({"array": TRUTH["b"][:, :, 0]}, "2D image"),
    ],
)
def test_a_mask_that_is_none_is_refused_by_name(reference, team, how, said):
    spoilt(team, **how)
    [finding] = check_submission(team, reference)
    assert finding.startswith("case b: ")
    assert re.search(said, finding)
    assert str(reference) not in finding, "the organiser's folders stay private"
    with pytest.raises(InputError, match="no case is scored"):
        score_submission(team, reference)


def test_all_problems_at_once(reference, team):
    spoilt(team, array=TRUTH["b"] * 2)
    (team / "a.nii.gz").write_bytes(b"<!doctype html><html>not found</html>")
    (team / "c.nii.gz").unlink()
    (team / "predict.py").write_text("raise SystemExit('run')")
    findings = check_submission(team, reference)
    assert [f.split(":")[0] for f in findings] == ["'predict.py'", "case a", "case b", "case c"]


def test_empty_full_and_false_alarm(reference, tmp_path):
    empty = save(tmp_path / "empty", {case: TRUTH["c"] for case in TRUTH})
    full = save(tmp_path / "full", {case: np.ones(SHAPE, np.uint8) for case in TRUTH})
    assert scores(empty, reference) == pytest.approx(2 / 3, abs=1e-6)  # c is empty, and right
    rows = score_submission(full, reference)[0]
    assert rows[2]["score"] == pytest.approx(1, abs=1e-6)  # the false alarm
    assert [row["volume_error"] for row in rows] == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,rle\na,1 1\n", "no CSV with id,rle"),
        ("", "the file is empty"),
        ("\0\0\xff", "no CSV"),
        ("id,rle,data_shape\na,1 1,(12 10 5)\n", r"case a: data_shape '\(12 10 5\)'"),
        ("id,rle,data_shape\na,1 1,9999999999999\n", "case a: data_shape"),
        ("id,rle,data_shape\na,1 1 1,(12 10 6)\n", "case a: run-length code"),
        ("id,rle,data_shape\na,721 1,(12 10 6)\n", "case a: run-length code"),
        ("id,rle,data_shape\na\n", "case a: data_shape"),
        ("id,rle,data_shape\n" + "a,,\n" * 2001, "at most 2000"),
    ],
)
def test_tables_that_cannot_be_read(reference, tmp_path, text, said):
    (tmp_path / "s.csv").write_bytes(text.encode("latin-1"))
    assert any(
        re.search(said, finding) for finding in check_submission(tmp_path / "s.csv", reference)
    )


# --- hostile archives -----------------------------------------------------------------------------


def member(name, mode=0o100644):
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    return info


HOSTILE_NAMES = [
    "../reference/a.nii.gz",
    "results/../../reference/a.nii.gz",
    "/etc/a.nii.gz",
    "..\\reference\\a.nii.gz",
    "C:a.nii.gz",
    "./a.nii.gz",
    "x//a.nii.gz",
    "a\n.nii.gz",
    "\u202ea.nii.gz",
]


def contents_of(folder):
    """Every path below the folder, with the bytes of files."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refusal(archive, reference, tmp_path):
    """The one finding; nothing was left anywhere, and no temporary folder either."""
    before = contents_of(tmp_path)
    [finding] = check_submission(archive, reference)
    assert contents_of(tmp_path) == before
    with pytest.raises(InputError, match="no case is scored"):
        score_submission(archive, reference)
    return finding


@pytest.fixture(autouse=True)
def temporary_folders_are_gone(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_lead_elsewhere(reference, team, tmp_path, name):
    archive = zipped(team, tmp_path / "x.zip", extra=[(member(name), b"x")])
    assert "no plain name" in refusal(archive, reference, tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO])
def test_links_and_devices(reference, tmp_path, team, kind):
    target = str(reference / "a.nii.gz").encode()
    archive = zipped(team, tmp_path / "x.zip", extra=[(member("d.nii.gz", kind | 0o777), target)])
    assert "link or a device" in refusal(archive, reference, tmp_path)


def test_links_in_a_folder(reference, team, tmp_path):
    (team / "a.nii.gz").unlink()
    (team / "a.nii.gz").symlink_to(reference / "a.nii.gz")
    assert "link" in refusal(team, reference, tmp_path)
    whole = tmp_path / "whole"
    whole.symlink_to(reference)
    assert "link" in refusal(whole, reference, tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner").symlink_to(reference)
    assert "link" in refusal(tmp_path / "folder", reference, tmp_path)
    os.mkfifo(tmp_path / "pipe.zip")
    [finding] = check_submission(tmp_path / "pipe.zip", reference)  # and it does not wait for it
    assert "device" in finding


@pytest.mark.parametrize("place", ["reference/a.nii.gz", "reference/new/x.csv", "link/a.nii.gz"])
def test_no_result_is_written_among_the_hidden_masks(reference, team, tmp_path, place, capsys):
    """Neither over a mask nor beside one; the fixture compares every byte afterwards."""
    (tmp_path / "link").symlink_to(reference)
    before = contents_of(tmp_path)
    words = [["submission", "score", team, reference, "--out", tmp_path / place]]
    words += [["leaderboard", tmp_path, tmp_path / place, "--reference", reference]]
    for command in words:
        assert cli.main(list(map(str, command))) == 1
        said = capsys.readouterr().err
        assert f"{tmp_path / place}: lies in the reference" in said
    assert contents_of(tmp_path) == before


@pytest.mark.parametrize("second", ["A.nii.gz", "a.nii.gz"])
def test_names_that_collide(reference, team, tmp_path, second):
    says = pytest.warns(UserWarning) if second == "a.nii.gz" else contextlib.nullcontext()
    with says:  # zipfile warns of the duplicate that we ask it to write
        archive = zipped(team, tmp_path / "x.zip", extra=[(second, b"x")])
    assert "is there 2 times" in refusal(archive, reference, tmp_path)


def test_bombs(reference, team, tmp_path, monkeypatch):
    big = zipped(team, tmp_path / "ratio.zip", extra=[("d.nii.gz", bytes(20 * 2**20))])
    assert "unpacks to" in refusal(big, reference, tmp_path)
    many = zipped(team, tmp_path / "many.zip", extra=[(f"{n}.nii.gz", b"") for n in range(2001)])
    assert "2004 members" in refusal(many, reference, tmp_path)
    member_with_a_story = member("d.nii.gz")
    member_with_a_story.comment = bytes(60_000)
    stories = [(copy.copy(member_with_a_story), b"") for _ in range(20)]
    with pytest.warns(UserWarning, match="Duplicate"):
        long = zipped(team, tmp_path / "long.zip", extra=stories)
    assert "23 members; at most" in refusal(long, reference, tmp_path)
    monkeypatch.setattr(submission_archive, "MAX_TOTAL_BYTES", 100)
    total = zipped(team, tmp_path / "total.zip")
    assert "all together unpack to" in refusal(total, reference, tmp_path)
    folder = save(tmp_path / "many", {"a": TRUTH["a"]})
    for n in range(2001):
        (folder / f"{n}.nii.gz").touch()
    assert "more than 2000 files" in refusal(folder, reference, tmp_path)


def patched(path, offset, new):
    """The archive with bytes replaced in the first entry of its list (central directory)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02") + offset
    content[start : start + len(new)] = new
    path.write_bytes(content)
    return path


def test_archives_that_lie(reference, team, tmp_path):
    """In the list: flags at offset 8, method 10, CRC 16, size packed 20 and unpacked 24."""
    archive = zipped(team, tmp_path / "declared.zip")
    patched(archive, 24, struct.pack("<I", 3 * 10**9))
    assert "unpacks to 3e+09 bytes" in refusal(archive, reference, tmp_path)
    archive = zipped(team, tmp_path / "short.zip")
    patched(archive, 24, struct.pack("<I", 10))  # more is packed than it says: never written
    assert "damaged" in refusal(archive, reference, tmp_path)
    archive = patched(zipped(team, tmp_path / "crc.zip"), 16, b"\1\2\3\4")
    assert "CRC" in refusal(archive, reference, tmp_path)
    archive = patched(zipped(team, tmp_path / "encrypted.zip"), 8, b"\1\0")
    assert "is encrypted" in refusal(archive, reference, tmp_path)
    archive = patched(zipped(team, tmp_path / "method.zip"), 10, struct.pack("<H", 14))
    assert "another method" in refusal(archive, reference, tmp_path)


def test_no_zip_at_all(reference, team, tmp_path):
    whole = zipped(team, tmp_path / "whole.zip").read_bytes()
    for name, content, said in [
        ("cut", whole[:-30], "cut short"),
        ("page", b"<!doctype html><html>please log in</html>", "web page"),
        ("empty", b"", "empty"),
        ("gzip", (team / "a.nii.gz").read_bytes(), "no ZIP archive"),
        ("hole", whole[:100] + bytes(100) + whole[200:], "damaged"),
    ]:
        (tmp_path / f"{name}.zip").write_bytes(content)
        assert said in refusal(tmp_path / f"{name}.zip", reference, tmp_path)
    assert "check the path" in refusal(tmp_path / "nowhere.zip", reference, tmp_path)


def test_a_tar_that_ends_like_a_zip_is_no_zip(reference, team, tmp_path):
    """Its list of members would not be the one that was counted."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(team / "a.nii.gz", "a.nii.gz")
    zip_bytes = zipped(team, tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(content.getvalue() + zip_bytes)
    assert "no ZIP archive" in refusal(tmp_path / "x.zip", reference, tmp_path)


def test_a_zip64_list_is_not_read(reference, team, tmp_path):
    content = zipped(team, tmp_path / "x.zip").read_bytes()
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 0, 1)
    (tmp_path / "x.zip").write_bytes(content[:-22] + locator + content[-22:])
    assert "at most" in refusal(tmp_path / "x.zip", reference, tmp_path)


def test_a_header_of_8_terabytes(reference, team):
    image = nib.Nifti1Image(TRUTH["b"], AFFINE)
    header = bytearray(image.to_bytes())
    header[42:48] = struct.pack("<3h", 20000, 20000, 20000)
    (team / "b.nii.gz").write_bytes(header)
    [finding] = check_submission(team, reference)
    assert finding.startswith("case b: ")
    assert "8e+12" in finding


def test_code_inside_is_neither_loaded_nor_kept(reference, team, tmp_path):
    """Pickle, .npy objects, Python, a ZIP in the ZIP: refused as extra files, never opened."""
    trap = b"cos\nsystem\n(S'touch " + str(tmp_path / "trapped").encode() + b"'\ntR."
    names = ["a.pkl", "a.npy", "sitecustomize.py", "seg_lib/__init__.py", "more.zip", "a.nii.gz.pt"]
    archive = zipped(team, tmp_path / "x.zip", extra=[(name, trap) for name in names])
    with submitted_files(archive) as files:
        assert {name for name, path in files.items() if path is None} == set(names)
        kept = [path for path in files.values() if path is not None]
        assert sorted(kept[0].parent.iterdir()) == sorted(kept)
    findings = check_submission(archive, reference)
    assert len(findings) == len(names)
    assert not (tmp_path / "trapped").exists()


def test_a_nested_zip_as_mask(reference, team, tmp_path):
    inner = zipped(team, tmp_path / "inner.zip").read_bytes()
    (team / "b.nii.gz").write_bytes(inner)
    [finding] = check_submission(zipped(team, tmp_path / "x.zip"), reference)
    assert finding.startswith("case b: ")
    assert "not a NIfTI" in finding


def test_the_organiser_is_told_of_his_own_faults(team, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="holds no masks"):
        check_submission(team, tmp_path / "nothing")
    broken = save(tmp_path / "broken", {"a": TRUTH["a"] * 2})
    for _ in range(2):
        with pytest.raises(InputError, match="broken"):
            check_submission(team, broken)
        (team / "a.nii.gz").unlink(missing_ok=True)  # what is missing is looked for afterwards


def test_a_case_named_like_a_formula_is_text_in_the_scores(tmp_path):
    masks = {"=1+1": TRUTH["a"], "b": TRUTH["b"]}
    reference, team = (save(tmp_path / name, masks) for name in ("reference", "team"))
    score_to_csv(team, reference, None, tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv")
    assert list(table) == ["case", *SCORES]
    assert table.case.tolist() == ["'=1+1", "b"]


# --- rules and commands ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("pretrained_weights: none", True),
        ("pretrained_weights: None\nteam: x", True),
        ("pretrained_weights: imagenet", False),
        ("team: x", False),
        ("- none", False),
        ("[" * 5000, False),
        ("!!python/object/apply:os.system ['true']", False),
    ],
)
def test_a_declaration_where_weights_are_forbidden(reference, team, tmp_path, text, fine):
    (tmp_path / "rules.yml").write_text("pretrained_weights: forbidden\nmax_submissions: 2\n")
    rules = read_rules(tmp_path / "rules.yml")
    without = zipped(team, tmp_path / "without.zip")
    assert "declaration.yml" in check_submission(without, reference, rules)[0]
    assert check_submission(without, reference) == []
    archive = zipped(team, tmp_path / "x.zip", extra=[("declaration.yml", text)])
    assert (check_submission(archive, reference, rules) == []) is fine


@pytest.mark.parametrize(
    "text",
    ["pretrained_weights: maybe", "max_submissions: 0", "max_submissions: many", "deadline: soon"]
    + ["colour: red", "- a", "{", "max_submissions: true"],
)
def test_rules_that_make_no_sense(tmp_path, text):
    (tmp_path / "rules.yml").write_text(text)
    with pytest.raises(InputError, match="rules.yml"):
        read_rules(tmp_path / "rules.yml")


def test_the_commands(reference, team, tmp_path, capsys):
    assert cli.main(["submission", "check", str(team), str(reference)]) == 0
    out = tmp_path / "results.csv"
    assert cli.main(["submission", "score", str(team), str(reference), "--out", str(out)]) == 0
    assert "score: 0.0000 (0.0000-0.0000)" in capsys.readouterr().out
    assert pd.read_csv(out).case.tolist() == ["a", "b", "c"]
    (team / "b.nii.gz").unlink()
    assert cli.main(["submission", "check", str(team), str(reference)]) == 1
    assert capsys.readouterr().out.startswith("case b: is missing")
    assert cli.main(["submission", "score", str(team), str(reference)]) == 1
    assert "no case is scored" in capsys.readouterr().err
