"""Archives from elsewhere (ZIP, plain tar): judged by their list of members, then copied out.

Nothing is written before every member has passed, no byte more than a member declares is written,
and links, devices and rights never leave the archive. For submissions and downloads alike.
"""

import contextlib
import os
import re
import shutil
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from seg_lib.data.case_rules import first_few
from seg_lib.data.file_bytes import first_bytes
from seg_lib.errors import InputError

IGNORED = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}
MAX_RATIO, FREE_BYTES = 100, 4 * 2**20  # an empty mask shrinks well even twice: small is free
DEFLATES_BEST = 1032
MAX_MEMBERS = 200_000  # of a downloaded archive
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError)


class Member(NamedTuple):
    """One entry of an archive; ``fault`` says why it may not be unpacked, empty if it may."""

    name: str
    size: int  # bytes, as declared
    is_dir: bool
    fault: str
    open: Callable[[], BinaryIO]


@contextlib.contextmanager
def opened_archive(
    path: Path, max_file_bytes: float, max_total_bytes: float, max_ratio: float = MAX_RATIO
) -> Iterator[list[Member]]:
    """The members of an archive, all of which may be unpacked, for as long as the block runs.

    Raises:
        InputError: no archive, damaged, or members that could leave the folder, replace one another
            or grow beyond the limits; names them.
    """
    is_tar = first_bytes(path, "an archive")[257:262] == b"ustar"
    try:  # a packed tar hides how large it is, so only plain ones are read
        with tarfile.open(path, "r:") if is_tar else zipfile.ZipFile(path) as archive:
            found, of = (archive.getmembers, _of_tar) if is_tar else (archive.infolist, _of_zip)
            members = [of(archive, member, max_file_bytes, max_ratio) for member in found()]
            _check(members, path, max_total_bytes)
            yield members
    except InputError:
        raise
    except (*DAMAGE, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); make or download it again.") from error


def _of_zip(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_file_bytes: float, max_ratio: float
) -> Member:
    most = min(max_file_bytes, max_ratio * member.compress_size + FREE_BYTES)
    kind = stat.S_IFMT(member.external_attr >> 16)
    faults = {
        "is a link or a device": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        "is encrypted": member.flag_bits & 0x41,
        "is packed by another method than deflate": member.compress_type not in METHODS,
    }
    name, is_dir = member.filename, member.is_dir()  # the name may come from an extra field
    fault = _fault([member.orig_filename, name], member.file_size, most, faults)
    return Member(name, member.file_size, is_dir, fault, lambda: archive.open(member))


def _of_tar(
    archive: tarfile.TarFile, member: tarfile.TarInfo, max_file_bytes: float, _: float
) -> Member:
    name = member.name.removeprefix("./")
    name = "" if name == "." and member.isdir() else name  # the folder itself, as tar writes it
    faults = {
        "is a link or a device": not (member.isreg() or member.isdir()) or member.issparse(),
        "asks for the rights of another user": member.mode & 0o6000,
    }
    fault = _fault([name], member.size, max_file_bytes, faults) if name else ""
    return Member(name, member.size, member.isdir(), fault, lambda: archive.extractfile(member))


def _fault(names: list[str], size: int, most: float, others: dict[str, object]) -> str:
    odd = not all(map(_plain, names))
    checks = {"leads out of the folder or is no plain name": odd} | others
    checks[f"unpacks to {size:.3g} bytes, more than {most:.3g}"] = size > most
    return next((why for why, holds in checks.items() if holds), "")


def _plain(name: str) -> bool:
    """Whether a member's name stays in its folder on every system."""
    parts = set(name.removesuffix("/").split("/"))
    odd = {"", ".", ".."} & parts or "\\" in name or re.match("[A-Za-z]:", name)
    return name.isprintable() and not odd


def _check(members: list[Member], path: Path, max_total_bytes: float) -> None:
    faults = [f"{member.name!a} {member.fault}" for member in members if member.fault]
    names = (unicodedata.normalize("NFC", m.name).casefold().rstrip("/") for m in members)
    faults += [f"{name!a} is there {n} times" for name, n in Counter(names).items() if n > 1]
    total = sum(member.size for member in members)
    if total > max_total_bytes:
        faults.append(f"all together unpack to {total:.3g} bytes, more than {max_total_bytes:.3g}")
    if faults:
        raise InputError(
            f"{path}: not opened, because of its members: {first_few(faults)}; make the archive "
            "from plain files with names of their own."
        )


def ignored(name: str) -> bool:
    """Whether a member is litter of an operating system."""
    parts = PurePosixPath(name).parts
    return not IGNORED.isdisjoint(parts) or parts[-1].startswith("._")


def copy_member(member: Member, target: Path) -> None:
    """Stream one member: no more than its entry declares is read; less or another CRC is damage."""
    with member.open() as source, open(target, "xb") as sink:
        shutil.copyfileobj(source, sink, 2**20)


def unpack(path: str | Path, folder: str | Path) -> Path:
    """Unpack a ZIP or plain tar into ``folder``, which appears whole or not at all.

    A folder that is there already is left as it is. Rights and times are not taken over.

    Raises:
        InputError: see `opened_archive`; an archive larger than the free disk.
    """
    path, folder = Path(path), Path(folder)
    if folder.is_dir():
        return folder
    free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
    # A mask may shrink a thousandfold, the whole of a data set does not.
    most = min(free, MAX_RATIO * path.stat().st_size + FREE_BYTES) if path.is_file() else 0
    with opened_archive(path, free, most, DEFLATES_BEST) as members:
        if len(members) > MAX_MEMBERS:
            raise InputError(f"{path}: {len(members)} members; at most {MAX_MEMBERS} are unpacked.")
        with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as part:
            whole = Path(part) / folder.name
            whole.mkdir()
            for member in members:
                target = whole / member.name
                (target if member.is_dir else target.parent).mkdir(parents=True, exist_ok=True)
                if not member.is_dir and not ignored(member.name):
                    copy_member(member, target)
            os.replace(whole, folder)
    return folder
