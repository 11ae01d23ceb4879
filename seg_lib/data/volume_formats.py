"""NRRD, MetaImage and TIFF, the other lossless formats of nnU-Net, declared as NIfTI declares.

NRRD and MetaImage are a text with the geometry, then the voxels; TIFF has no place in the patient,
so nnU-Net writes its spacing (z, y, x) to a JSON file beside it. Read here and not by ITK, which
does not look at checksums: it takes damaged voxels for good ones, and a cut TIFF for a thinner one.
Formats: teem.sourceforge.net/nrrd, itk.org/Wiki/MetaIO, nnU-Net's Tiff3DIO at 29df8b1.
"""

import dataclasses
import io
import json
import re
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageSequence

from seg_lib.data.nifti_header import MAX_AXIS, Declared, check_declared, parse_header
from seg_lib.errors import DataWarning, InputError

LONGEST_TEXT = 2**16
CONVERT = "python -c \"import SimpleITK as s; s.WriteImage(s.ReadImage('IN'), 'OUT.nii.gz')\""
TYPES = {"char": "i1", "short": "i2", "int": "i4", "float": "f4", "double": "f8"}
TYPES |= {"int8": "i1", "int16": "i2", "int32": "i4"}
TYPES |= {sign + t: "u" + code[1] for t, code in TYPES.items() for sign in ("u", "unsigned ")}
LPS = (-1, -1, 1)  # millimetres to the left, back and head, times this: right, front, head
SPACES = {"left-posterior-superior": LPS, "right-anterior-superior": (1, 1, 1)}
NRRD = ("sizes", "type", "space directions", "space origin", "encoding")
META = ("dimsize", "elementtype", "transformmatrix", "offset", "compresseddata")
PACKED = {"raw": False, "false": False, "gzip": True, "gz": True, "true": True}
TIFF_TYPES = {(8, 1): "u1", (16, 1): "u2", (16, 2): "i2", (32, 2): "i4", (32, 3): "f4"}
Opened = tuple[Declared, Callable[[], BinaryIO]]  # and what gives the voxels


def declared(stream: BinaryIO, path: Path) -> tuple[Declared, BinaryIO]:
    """What a volume of any of the four formats declares, and a stream that starts at its voxels.

    Raises:
        InputError: another format, or an image that cannot be a CT volume or its mask.
    """
    head = stream.read(LONGEST_TEXT)
    is_text = head.startswith((b"NRRD", b"ObjectType"))
    if not is_text and not head.startswith((b"II*\0", b"MM\0*")):
        header = parse_header(head, path)
        stream.seek(header.offset)
        return header, stream
    try:
        header, voxels = _text(head.decode("latin-1"), stream) if is_text else _tiff(stream, path)
        remarks = list(check_declared(header))
        stream = voxels()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (LookupError, ValueError, SyntaxError, TypeError) as error:
        fault = f"{path}: unusual or no volume ({error!r})"
        raise InputError(f"{fault}; convert it: {CONVERT}") from error
    for remark in remarks:
        warnings.warn(f"{path}: {remark}", DataWarning, stacklevel=4)
    return header, stream


def _declared(shape: list[int], dtype: str, axes: np.ndarray, origin: object = 0) -> Declared:
    """``axes`` (3, 3): the step in mm along each axis of the array, one a column."""
    if len(shape) != 3 or not all(1 <= size <= MAX_AXIS for size in shape):
        raise InputError(f"an image of size {shape}; give one 3D volume per file.")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, origin
    return Declared(tuple(shape), affine, np.dtype(dtype), 1.0, 0.0, offset=0)


def _text(text: str, stream: BinaryIO) -> Opened:
    """NRRD or MetaImage; both may pack all voxels at once, as gzip or zlib."""
    nrrd = text.startswith("NRRD")
    end = re.search(r"\n\r?\n" if nrrd else r"\nElementDataFile *= *LOCAL *\r?\n", text)
    before = text[: end and end.end()]
    lines = re.findall(r"^(\w[\w ]*?)(?::(?!=)| *=) *(.*?)\r?$", before, re.MULTILINE)
    known = {key.lower(): value.strip().lower() for key, value in lines}
    if end is None or {"data file", "datafile"} & known.keys():
        raise ValueError("voxels in another file")
    sizes, kind, axes, origin, packing = (known.get(key, "") for key in (NRRD if nrrd else META))
    order = ">" if re.search(r"^(endian|\w+msb)\W+(big|true)", before, re.M | re.I) else "<"
    dtype = order + TYPES[re.sub(r"^met_|_t$|\bsigned ", "", kind)]
    scale = 1 if nrrd else _numbers(known["elementspacing"])
    to_ras = np.array(SPACES[known["space"]] if nrrd else LPS)
    axes = _numbers(axes).reshape(3, 3).T * scale * to_ras[:, None]
    shape, packed = [int(size) for size in sizes.split()], PACKED[packing or "false"]
    header = _declared(shape, dtype, axes, _numbers(origin) * to_ras)
    stream.seek(end.end())
    if packed:
        return header, lambda: _unpacked(stream, header.end)
    return dataclasses.replace(header, offset=end.end()), lambda: stream


def _numbers(text: str) -> np.ndarray:
    return np.array([float(word) for word in re.split(r"[\s(),]+", text) if word])


def _unpacked(stream: BinaryIO, size: int) -> BinaryIO:
    unpacker = zlib.decompressobj(wbits=47)  # either form; the checksum comes with the end
    voxels = unpacker.decompress(stream.read(), size + 1)
    if len(voxels) == size and not unpacker.eof:
        raise EOFError("the end of the voxels is absent")
    return io.BytesIO(voxels)


def spacing_file(path: Path) -> Path:
    """Where nnU-Net looks for the spacing of a TIFF volume, ``CASE_0000.tif`` or ``CASE.tif``."""
    own = path.with_suffix(".json")  # a case may be called lung_0001, too
    return own if own.is_file() else own.with_stem(re.sub(r"_\d{4}$", "", own.stem))


def _tiff(stream: BinaryIO, path: Path) -> Opened:
    beside = spacing_file(path)
    if not beside.is_file():
        raise InputError(f'no spacing; write {{"spacing": [z, y, x]}}, in mm, to {beside.name}.')
    spacing = np.array(json.loads(beside.read_text(encoding="utf-8"))["spacing"], float)
    picture = Image.open(stream)
    dtype = TIFF_TYPES[(*picture.tag_v2[258], *picture.tag_v2.get(339, (1,)))]
    shape = [picture.width, picture.height, picture.n_frames]

    def voxels() -> BinaryIO:
        pages = [np.asarray(page) for page in ImageSequence.Iterator(picture)]
        if picture.tag_v2.next != 0:  # Pillow takes a file that was cut for one of fewer pages
            raise EOFError("pages are absent")
        return io.BytesIO(np.stack(pages).astype(dtype).tobytes())

    return _declared(shape, dtype, np.diag(spacing[::-1])), voxels
