"""Archives from elsewhere: what may not be unpacked leaves nothing behind."""

import io
import os
import stat
import tarfile
import zipfile

import pytest

from seg_lib.data import archives
from seg_lib.data.archives import unpack
from seg_lib.errors import InputError


def tarred(path, *members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content, changes in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in changes.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return path


def refusal(path, tmp_path):
    """The message; nothing is there that was not there before."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as refused:
        unpack(path, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_a_plain_tar_as_macos_makes_it(tmp_path):
    folder = {"type": tarfile.DIRTYPE, "mode": 0o755}
    path = tarred(
        tmp_path / "set.tar",
        (".", b"", folder),
        ("./imagesTr", b"", folder),
        ("./imagesTr/a.nii.gz", b"image", {"mode": 0o777, "uid": 1000}),
        ("./imagesTr/._a.nii.gz", b"litter", {}),
        ("./.DS_Store", b"litter", {}),
    )
    assert unpack(path, tmp_path / "out") == tmp_path / "out"
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert files == [tmp_path / "out" / "imagesTr" / "a.nii.gz"]
    assert files[0].read_bytes() == b"image"
    assert not files[0].stat().st_mode & 0o111  # rights are not taken over


def test_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", "text")
    unpack(tmp_path / "set.zip", tmp_path / "out")
    assert (tmp_path / "out" / "a" / "b.txt").read_text() == "text"


def test_a_tar_with_a_zip_at_its_end_is_a_tar(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("evil.txt", "x")
    path = tarred(tmp_path / "set.tar", ("inner.zip", inner.getvalue(), {}))
    unpack(path, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["inner.zip"]


def test_what_is_there_already_is_kept(tmp_path):
    (tmp_path / "out").mkdir()
    assert unpack(tmp_path / "gone.tar", tmp_path / "out") == tmp_path / "out"


LINK = {"linkname": "/etc/passwd"}


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("../up.txt", {}, "leads out"),
        ("a/../../up.txt", {}, "leads out"),
        ("/etc/up.txt", {}, "leads out"),
        ("a\\up.txt", {}, "leads out"),
        ("C:up.txt", {}, "leads out"),
        ("link", LINK | {"type": tarfile.SYMTYPE}, "link or a device"),
        ("hard", LINK | {"type": tarfile.LNKTYPE}, "link or a device"),
        ("pipe", {"type": tarfile.FIFOTYPE}, "link or a device"),
        ("disk", {"type": tarfile.BLKTYPE}, "link or a device"),
        ("root", {"mode": 0o4755}, "rights of another user"),
    ],
)
def test_one_hostile_member_refuses_the_whole_tar(tmp_path, name, changes, said):
    content = b"" if "type" in changes else b"x"
    path = tarred(tmp_path / "x.tar", ("good.txt", b"good", {}), (name, content, changes))
    message = refusal(path, tmp_path)
    assert said in message
    assert repr(name) in message


def test_a_link_that_a_later_member_follows(tmp_path):
    link = {"type": tarfile.SYMTYPE, "linkname": str(tmp_path)}
    path = tarred(tmp_path / "x.tar", ("a", b"", link), ("a/escaped.txt", b"x", {}))
    assert "link" in refusal(path, tmp_path)


@pytest.mark.parametrize("second", ["a.txt", "A.txt", "A\u0308.txt"])
def test_names_that_replace_one_another(tmp_path, second):
    first = "\u00e4.txt" if "\u0308" in second else "a.txt"
    path = tarred(tmp_path / "x.tar", (first, b"1", {}), (second, b"2", {}))
    assert "is there 2 times" in refusal(path, tmp_path)


def test_a_file_that_is_also_a_folder(tmp_path):
    path = tarred(tmp_path / "x.tar", ("a", b"1", {}), ("a/b", b"2", {}))
    assert "damaged" in refusal(path, tmp_path)


def test_a_zip_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(20 * 2**20))
    assert "unpack to 2.1e+07 bytes" in refusal(tmp_path / "x.zip", tmp_path)


def test_a_mask_that_shrinks_a_thousandfold_is_no_bomb(tmp_path):
    noise = os.urandom(2**20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mask.nrrd", bytes(20 * 2**20))
        archive.writestr("image.nrrd", noise)
    unpack(tmp_path / "x.zip", tmp_path / "out")
    assert (tmp_path / "out" / "mask.nrrd").stat().st_size == 20 * 2**20
    assert (tmp_path / "out" / "image.nrrd").read_bytes() == noise


def test_more_than_fits_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: type("", (), {"free": 100}))
    path = tarred(tmp_path / "x.tar", ("a", bytes(60), {}), ("b", bytes(60), {}))
    assert "all together unpack to 120 bytes, more than 100" in refusal(path, tmp_path)


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    path = tarred(tmp_path / "x.tar", *((str(n), b"", {}) for n in range(3)))
    assert "3 members" in refusal(path, tmp_path)


@pytest.mark.parametrize("kept", [600, 1500])
def test_a_tar_cut_short(tmp_path, kept):
    path = tarred(tmp_path / "x.tar", ("a", bytes(2000), {}))
    path.write_bytes(path.read_bytes()[:kept])
    assert "damaged" in refusal(path, tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"<!doctype html>", "web page"), (b"nothing of the kind", "damaged")],
)
def test_no_archive_at_all(tmp_path, content, said):
    (tmp_path / "x.tar").write_bytes(content)
    assert said in refusal(tmp_path / "x.tar", tmp_path)


def test_a_packed_tar_hides_its_size(tmp_path):
    path = tarred(tmp_path / "x.tar.gz", ("a", bytes(10), {}), mode="w:gz")
    assert "damaged" in refusal(path, tmp_path)


def test_a_zip_with_a_link(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "link or a device" in refusal(tmp_path / "x.zip", tmp_path)


def test_a_zip_with_a_second_name_that_leads_out(tmp_path, monkeypatch):
    """Python 3.12 and later take the name from an extra field, and keep the other one beside it."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("good.txt", "x")
    plain = zipfile.ZipFile.infolist

    def renamed(archive):
        [member] = plain(archive)
        member.filename = "../up.txt"
        return [member]

    monkeypatch.setattr(zipfile.ZipFile, "infolist", renamed)
    assert "'../up.txt' leads out" in refusal(tmp_path / "x.zip", tmp_path)
