"""The files of a DICOM folder: which are slices of a scan, and what messages may call them.

Even a file may be called after its patient, so messages use `Piece.name`. Taught in notebook 01.
"""

import os
import re
from collections import Counter
from pathlib import Path

from seg_lib.data.dicom_header import IDENTIFIERS, PET, Header, Piece, header_of, pieces_of, quiet
from seg_lib.errors import InputError

CT = "1.2.840.10008.5.1.4.1.1.2"
SCANS = (CT, f"{CT}.1", f"{CT}.2", PET)  # CT, enhanced CT (2), PET
SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
SHORTEST_SECRET = 3  # letters; a patient called "1" cannot be kept out of IM0001


def read_folder(src: str | Path) -> tuple[list[Piece], Counter]:
    """All slices below a folder, scouts left out, and how many files of which kind were skipped.

    Raises:
        InputError: no folder, no slices, a damaged DICOM file, or a header that says too little.
    """
    src = Path(src)
    if not src.is_dir():
        advice = "give the folder that holds the slices" if src.is_file() else "check the path"
        raise InputError(f"{src}: not a folder; {advice}.")
    paths = sorted(Path(top) / name for top, _, names in os.walk(src) for name in names)
    headers, faults = {}, {}
    for path in paths:
        try:
            headers[path] = read_header(path)
        except InputError as error:
            faults[path] = str(error)
    secrets = {secret for header in headers.values() for secret in _secrets(header)}
    names = {path: _harmless(path, n, len(paths), secrets) for n, path in enumerate(paths, 1)}
    for path, fault in faults.items():
        more = f" ({len(faults) - 1} more files are damaged)" if len(faults) > 1 else ""
        raise InputError(f"{names[path]}: {fault}{more}")
    skipped, pieces = Counter(), []
    for path, header in headers.items():
        if header is None or header.kind not in SCANS:
            skipped["no DICOM" if header is None else "other DICOM objects"] += 1
            continue
        found = _read_pieces(path, names[path], header)
        pieces += [piece for piece in found if "scout" not in piece.marks]
        skipped["scouts"] += sum("scout" in piece.marks for piece in found)
    if not pieces:
        kinds = ", ".join(f"{number} {kind}" for kind, number in (+skipped).items()) or "no files"
        raise InputError(f"no slices of a CT or PET scan ({kinds}); give the folder of a series.")
    return pieces, +skipped


def read_header(path: Path) -> Header | None:
    """The tags of ``TAGS``; None if the file is no DICOM. ``InputError`` if it is a damaged one."""
    try:
        with open(path, "rb") as stream, quiet():
            start = stream.read(132)
            stream.seek(0)
            # Without the preamble, files begin with group 2 or 8 in either byte order.
            bare = start[:2] in (b"\2\0", b"\x08\0", b"\0\2", b"\0\x08")
            if start[128:] == b"DICM" or bare:
                header = header_of(stream)
                if header.kind:
                    return header
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); check it.") from None
    except Exception:  # whatever a damaged file does to the parser
        raise InputError("the DICOM header is damaged; copy the file again.") from None
    if path.suffix.lower() in SUFFIXES or start[128:] == b"DICM":
        fault = "is no readable DICOM" if start else "is empty"
        raise InputError(f"{fault}; copy it again, or take it away if it is no slice.")
    return None


def _read_pieces(path: Path, name: str, header: Header) -> list[Piece]:
    try:
        with quiet():
            return list(pieces_of(path, name, header))
    except InputError:
        raise
    except Exception:  # pydicom reads values late, and quotes those that it cannot read
        raise InputError(f"{name}: a tag holds no valid value; export the series again.") from None


def _secrets(header: Header | None) -> set[str]:
    """The words of a header that identify a patient, in small letters."""
    texts = [str(header.tags.get(tag, "")) for tag in IDENTIFIERS] if header is not None else []
    words = {word.lower() for text in texts for word in [text, *re.split(r"[\W_]+", text)]}
    return {word for word in words if len(word) >= SHORTEST_SECRET}


def _harmless(path: Path, number: int, total: int, secrets: set[str]) -> str:
    """A name for messages: no folders, and no file name that tells who the patient is."""
    place = f"file {number} of {total}"
    if any(secret in path.name.lower() for secret in secrets):
        return place
    return f"{place} ({re.sub(r'[^A-Za-z0-9._-]', '_', path.name)[:64]})"
