"""What a file really is, by its first bytes: a web page saved as ``.nii.gz`` is not an image."""

import contextlib
import gzip
import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from seg_lib.errors import InputError

MAX_UNPACKED_BYTES = 256 * 2**20
WEB_PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head")


def first_bytes(path: str | Path, wanted: str) -> bytes:
    """The first 1024 bytes of a file that may be ``wanted``, such as "a NIfTI image".

    Raises:
        InputError: no such file, a folder, an empty file, a web page, a git-LFS pointer, DICOM.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(1024)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be read ({reason}); check the path.") from error
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        fault, remedy = "the file is empty", "copy or download it again"
    elif start.startswith(b"version https://git-lfs"):
        fault, remedy = "this is a git-LFS pointer", "run 'git lfs pull' in its repository"
    elif start.startswith(WEB_PAGE):
        fault, remedy = "this is a web page", "download it again, perhaps after logging in"
    elif head[128:132] == b"DICM":
        fault, remedy = "this is a DICOM file", "convert the series first"
    else:
        return head
    raise InputError(f"{path}: {fault}, not {wanted}; {remedy}.")


@contextlib.contextmanager
def opened(path: str | Path, wanted: str) -> Iterator[BinaryIO | gzip.GzipFile]:
    """Open a file, unpacking gzip, whatever its suffix.

    Raises:
        InputError: as ``first_bytes``, or the file is damaged or cut short.
    """
    packed = first_bytes(path, wanted).startswith(b"\x1f\x8b")
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as stream:
            yield stream
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"{path}: the file is damaged or cut short ({error}); copy or download it again."
        ) from error


def mapped_bytes(path: str | Path, wanted: str) -> bytes | mmap.mmap:
    """All bytes of a file: mapped, not loaded, unless they have to be unpacked (gzip).

    Raises:
        InputError: as ``opened``, and if the file unpacks to more than 256 MB.
    """
    with opened(path, wanted) as stream:
        if not isinstance(stream, gzip.GzipFile):
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        content = stream.read(MAX_UNPACKED_BYTES + 1)
        if len(content) <= MAX_UNPACKED_BYTES:
            return content
    raise InputError(
        f"{path}: unpacks to more than {MAX_UNPACKED_BYTES // 2**20} MB; unpack it with gunzip "
        "first if you trust where it comes from."
    )
