"""What a file really is, by its first bytes: a web page saved as ``.nii.gz`` is not an image."""

import gzip
import io
import mmap
import zlib
from pathlib import Path

from seg_lib.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
GZIP_BEST_RATIO = 1032  # deflate cannot shrink anything further (zlib technical details)
MAX_UNPACKED_BYTES = 256 * 2**20


def first_bytes(path: str | Path, wanted: str) -> bytes:
    """Read the first 1024 bytes and refuse what cannot be the ``wanted`` kind of file.

    Args:
        path: the file.
        wanted: for the message, such as "a NIfTI image".

    Raises:
        InputError: no such file, a folder, an empty file, a web page, a git-LFS pointer.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            head = stream.read(1024)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); check the path."
        ) from error
    fault = _fault(head)
    if fault:
        raise InputError(f"{path}: {fault.format(wanted=wanted)}.")
    return head


def mapped_bytes(path: str | Path, wanted: str) -> bytes | mmap.mmap:
    """All bytes of a file: mapped, not loaded, unless they have to be unpacked (gzip).

    Raises:
        InputError: as ``first_bytes``, and if the file unpacks to more than 256 MB.
    """
    compressed = first_bytes(path, wanted).startswith(GZIP_MAGIC)
    try:
        with open(path, "rb") as stream:
            if not compressed:
                return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            unpacked = io.BytesIO()
            with gzip.open(stream) as packed:
                while block := packed.read(2**20):
                    unpacked.write(block)
                    if unpacked.tell() > MAX_UNPACKED_BYTES:
                        raise InputError(
                            f"{path}: unpacks to more than {MAX_UNPACKED_BYTES // 2**20} MB; "
                            "unpack it with gunzip first if you trust where it comes from."
                        )
            return unpacked.getvalue()
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"{path}: the file is damaged or cut short ({error}); copy or download it again."
        ) from error


def _fault(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "the file is empty, not {wanted}; copy or download it again"
    if start.startswith(b"version https://git-lfs"):
        return "this is a git-LFS pointer, not {wanted}; run 'git lfs pull' in its repository"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "this is a web page, not {wanted}; download it again, perhaps after logging in"
    if head[128:132] == b"DICM":
        return "this is a DICOM file, not {wanted}; convert the series first"
    return ""
