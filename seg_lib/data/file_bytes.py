"""What a file really is, by its first bytes: a web page saved as ``.nii.gz`` is not an image."""

from pathlib import Path

from seg_lib.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
GZIP_BEST_RATIO = 1032  # deflate cannot shrink anything further (zlib technical details)


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
