"""What a participant hands in, as files that may be read. Nothing in it is trusted, nothing is run.

A ZIP is judged by its list of members before any of them is opened. Then only masks, the CSV and
the declaration are copied, under numbers for names and with a cap on their bytes, into a private
temporary folder that is gone afterwards. Taught in notebook 18.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from seg_lib.data.archives import copy_member, ignored, opened_archive
from seg_lib.data.file_bytes import first_bytes
from seg_lib.errors import InputError

MASK_SUFFIX, TABLE, DECLARATION = ".nii.gz", "submission.csv", "declaration.yml"
MAX_FILES = 2000
MAX_LIST_BYTES = 2**20  # the list of members: 2,000 of them with names of 400 letters
MAX_ARCHIVE_BYTES = 500 * 2**20
MAX_FILE_BYTES = 200 * 2**20
MAX_TOTAL_BYTES = 2 * 2**30
END, END_BYTES, LOCATOR_64 = b"PK\x05\x06", 22, b"PK\x06\x07"  # ZIP format, sections 4.3.15-16

Files = dict[str, Path | None]  # name in the submission -> file to read; None: not to be read


@contextlib.contextmanager
def submitted_files(submission: str | Path) -> Iterator[Files]:
    """The files of a submission (ZIP, folder or one CSV) for as long as the block runs.

    Raises:
        InputError: a link, a device, no ZIP, or an archive that is damaged, encrypted, too large,
            or whose members could leave the folder or replace one another.
    """
    path = Path(submission)
    if path.is_symlink() or (path.exists() and not (path.is_file() or path.is_dir())):
        raise InputError(f"{path}: is a link or a device; hand in the file itself.")
    if path.is_dir():
        yield _files_of_folder(path)
    elif path.suffix.lower() == ".csv":
        first_bytes(path, "a CSV table")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: more than {MAX_FILE_BYTES / 1e6:.0f} MB; hand in masks.")
        yield {TABLE: path}
    else:
        first_bytes(path, "a ZIP archive")
        _check_list(path)
        with tempfile.TemporaryDirectory(prefix="seg-lib-submission-") as folder:
            yield _unpacked(path, Path(folder))


def masks_in(folder: str | Path) -> dict[str, Path]:
    """Case and file of every mask in a folder; none at all is an ``InputError``."""
    masks = {p.name.removesuffix(MASK_SUFFIX): p for p in Path(folder).glob(f"[!.]*{MASK_SUFFIX}")}
    if not masks:
        raise InputError(f"{folder}: holds no masks <case>{MASK_SUFFIX}; check the path.")
    return masks


def refuse_inside(reference_dir: str | Path, out: Path | None) -> None:
    """A result that would lie among the hidden masks, or replace one, is an ``InputError``."""
    if out and Path(out).resolve().is_relative_to(Path(reference_dir).resolve()):
        raise InputError(f"{out}: lies in the reference; write the result into another folder.")


def _files_of_folder(folder: Path) -> Files:
    files: Files = {}
    for where, folders, names in os.walk(folder):
        for path in (Path(where, name) for name in folders + names):
            mode, inside = path.lstat().st_mode, path.relative_to(folder).as_posix()
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise InputError(f"{folder}: {inside!a} is a link or a device; hand in the file.")
            if stat.S_ISREG(mode) and not ignored(inside):
                files[inside] = path if _wanted(inside) else None
        if len(files) > MAX_FILES:
            raise InputError(f"{folder}: more than {MAX_FILES} files; hand in one mask a case.")
    return files


def _wanted(name: str) -> bool:
    return name.endswith(MASK_SUFFIX) or PurePosixPath(name).name in (TABLE, DECLARATION)


def _check_list(path: Path) -> None:
    """Refuse what is no ZIP or too large, before its list of members is read into memory."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        start = stream.read(2)
        stream.seek(max(0, size - END_BYTES - len(LOCATOR_64) - 16))
        tail = stream.read()
    end = tail[-END_BYTES:]
    if not (start == END[:2] and end.startswith(END) and end.endswith(b"\0\0")):
        raise InputError(f"{path}: no ZIP archive, cut short, or with a comment; make it again.")
    n_members, list_bytes = (int.from_bytes(end[a:b], "little") for a, b in ((10, 12), (12, 16)))
    large = size > MAX_ARCHIVE_BYTES or tail.startswith(LOCATOR_64)
    if large or n_members > MAX_FILES or list_bytes > MAX_LIST_BYTES:
        raise InputError(
            f"{path}: {size / 1e6:.0f} MB and {n_members} members; at most "
            f"{MAX_ARCHIVE_BYTES / 1e6:.0f} MB and {MAX_FILES} files are read: one mask a case."
        )


def _unpacked(path: Path, folder: Path) -> Files:
    """Copy what is wanted into ``folder``; whatever is wrong refuses the whole archive."""
    files: Files = {}
    with opened_archive(path, MAX_FILE_BYTES, MAX_TOTAL_BYTES) as members:
        for number, member in enumerate(members):
            if not (member.is_dir or ignored(member.name)):
                wanted = _wanted(member.name)
                files[member.name] = folder / str(number) if wanted else None
                if wanted:
                    copy_member(member, folder / str(number))
    return files
