"""Slices: from a pickle or from volumes to 8-bit images, and from there to batches.

    pickle ─ pickle_to_png ─> PNG + cases.csv ─ load_slices ─┐
                                                             ├─> SliceSet (then SliceBatches)
    NIfTI ─────────────────── slices_of_volumes ─────────────┘

All slices are kept in memory (708 slices of 256 x 256 with masks are 93 MB): decoding them again in
every epoch, or in worker processes, costs more than it brings. Taught in notebooks 03 and 04.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from seg_lib.data.cases import CASES_CSV, Case, read_cases, write_cases
from seg_lib.data.hu import HU_WINDOWS, apply_window
from seg_lib.data.nifti import axial_view, read_image, read_mask
from seg_lib.data.patients import patients_of_rows
from seg_lib.data.pickles import SliceRecord, read_lungrads_pickle
from seg_lib.errors import InputError
from seg_lib.files import sha256_of, write_text, written_whole

CONVERSION = "conversion.json"
Augment = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
Warp = Callable[[torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]]


@dataclasses.dataclass(frozen=True)
class SliceSet:
    """Slices in memory: images and labels (N, 1, H, W) uint8, and the case of each slice."""

    images: np.ndarray
    labels: np.ndarray
    cases: list[Case]

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, chosen: Iterable[int]) -> "SliceSet":
        """The slices with these numbers, in this order."""
        chosen = list(chosen)
        return SliceSet(self.images[chosen], self.labels[chosen], [self.cases[i] for i in chosen])

    def subset(self, split: str) -> "SliceSet":
        """The slices of one split: "train", "val" or "test"."""
        return self.take(i for i, case in enumerate(self.cases) if case.split == split)

    @property
    def patients(self) -> list[str]:
        """The patient of each slice."""
        return [case.patient for case in self.cases]


def to_grey(hu: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """HU to 8 bits through a window: ``low`` is 0, ``high`` is 255."""
    return np.rint(apply_window(hu, window) * 255).astype(np.uint8)


def resize_image(grey: np.ndarray, size: int) -> np.ndarray:
    """(H, W) uint8 to (size, size): area average when it shrinks, bilinear when it grows."""
    if grey.shape == (size, size):
        return grey
    how = Image.Resampling.BOX if max(grey.shape) > size else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(grey).resize((size, size), how))


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """(H, W) of 0 and 1 to (size, size): pixels at least half covered; never loses a lesion.

    A lesion that covers no pixel by half keeps the pixel that it covers most.
    """
    if mask.shape == (size, size):
        return mask.astype(np.uint8)
    covered = resize_image(mask.astype(np.uint8) * 255, size)
    kept = covered >= 128
    if mask.any() and not kept.any():
        kept.flat[covered.argmax()] = True
    return kept.astype(np.uint8)


def pickle_to_png(
    pickle: str | Path,
    out_dir: str | Path,
    window: tuple[float, float] = HU_WINDOWS["nodule"],
    size: int = 256,
    split: str = "train",
) -> list[Case]:
    """Convert a pickled table of slices (the public Lung-RADS layout) to PNG, once.

    Nothing in the pickle is run. ``out_dir`` gets images/, masks/ (0 and 255), conversion.json
    (window, size, checksum, census) and, last, cases.csv; cases that are there already stay.

    Args:
        pickle: the file; ``patients.csv`` beside it says who is who, if it is there.
        out_dir: where to.
        window: (low, high) in HU, the same for every slice.
        size: pixels along each side of the result.
        split: "train", "val" or "test".

    Returns:
        One case a slice, in the order of the pickle.

    Raises:
        InputError: the pickle is not such a table; nothing is written then.
    """
    pickle, out_dir = Path(pickle), Path(out_dir)
    records = read_lungrads_pickle(pickle)
    people, provenance = patients_of_rows(pickle, len(records))
    cases = []
    for row, (record, (patient, spacing)) in enumerate(zip(records, people, strict=True)):
        name = f"{pickle.stem}_{row:04d}"
        image, label = out_dir / "images" / f"{name}.png", out_dir / "masks" / f"{name}.png"
        save_png(image, resize_image(to_grey(record.hu, window), size))
        save_png(label, resize_mask(record.mask, size) * 255)
        spacing = spacing and tuple(mm * record.hu.shape[0] / size for mm in spacing)
        cases.append(
            Case(name, patient, image, label, split, subtype=record.lungrads, spacing_mm=spacing)
        )
    census = {"window_hu": list(window), "size": size, "sha256": sha256_of(pickle)}
    census |= _census(records) | {"split_provenance": provenance}
    _write_index(out_dir, cases, {pickle.name: census})
    return cases


def _census(records: Sequence[SliceRecord]) -> dict[str, Any]:
    """How many slices of each class, and of each smallest value (the padding of the scanner)."""
    classes, smallest = (
        dict(sorted(Counter(values).items()))
        for values in ([r.lungrads for r in records], [str(int(r.hu.min())) for r in records])
    )
    return {"slices": len(records), "classes": classes, "smallest_hu": smallest}


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W) uint8, whole or not at all."""
    with written_whole(path) as part:
        Image.fromarray(pixels).save(part)


def _write_index(out_dir: Path, cases: list[Case], census: dict[str, Any]) -> None:
    """Merge with what an earlier pickle left; cases.csv comes last."""
    path = out_dir / CONVERSION
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_text(path, json.dumps(earlier | census, indent=1) + "\n")
    new = {case.case for case in cases}
    kept = read_cases(out_dir) if (out_dir / CASES_CSV).is_file() else []
    write_cases([case for case in kept if case.case not in new] + cases, out_dir)


def load_slices(cases: Sequence[Case], size: int = 256) -> SliceSet:
    """Read PNG slices into memory.

    Raises:
        InputError: no cases, a case without mask, or a file that is no PNG image.
    """
    if not cases:
        raise InputError("There are no cases to load; check the split.")
    images = np.empty((len(cases), 1, size, size), np.uint8)
    labels = np.empty_like(images)
    for i, case in enumerate(cases):
        if case.label is None:
            raise InputError(f"case {case.case} has no mask; training and scoring need one.")
        images[i, 0] = resize_image(read_png(case.image), size)
        labels[i, 0] = resize_mask(read_png(case.label) > 127, size)
    return SliceSet(images, labels, list(cases))


def read_png(path: Path) -> np.ndarray:
    """Read (H, W) uint8; colours become grey."""
    try:
        return np.asarray(Image.open(path).convert("L"))
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error}); convert again.") from error


def centred(slice_hw: np.ndarray, size: int) -> np.ndarray:
    """The middle (size, size) of a slice in its own pixels; what lies outside is 0."""
    out = np.zeros((size, size), slice_hw.dtype)
    here, there = [], []
    for n in slice_hw.shape:
        here.append(slice(max(0, (n - size) // 2), max(0, (n - size) // 2) + min(n, size)))
        there.append(slice(max(0, (size - n) // 2), max(0, (size - n) // 2) + min(n, size)))
    out[tuple(there)] = slice_hw[tuple(here)]
    return out


def slices_of_volumes(
    cases: Sequence[Case],
    window: tuple[float, float] = HU_WINDOWS["nodule"],
    size: int = 64,
    per_case: str = "largest",
    place: Callable[[np.ndarray, int], np.ndarray] = centred,
) -> SliceSet:
    """Axial slices with lesion of NIfTI cases, in their own pixels.

    Args:
        cases: volumes with masks.
        window: (low, high) in HU.
        size: pixels along each side.
        per_case: "largest" takes the slice with most lesion, "all-positive" every one with lesion.
        place: (slice, size) -> (size, size); ``centred`` crops or pads around the middle.

    Returns:
        The slices; each case is the volume's, its name with the slice number ``_z12``.

    Raises:
        InputError: a faulty file, or no slice with lesion in any case.
    """
    images, labels, found = [], [], []
    for case in cases:
        volume = read_image(case.image)
        mask = read_mask(case.label, like=volume).array
        area = mask.sum((0, 1))
        chosen = [int(area.argmax())] if per_case == "largest" else range(len(area))
        for z in (z for z in chosen if area[z]):
            images.append(place(to_grey(axial_view(volume.array, z), window), size))
            labels.append(place(axial_view(mask, z), size))
            found.append(
                dataclasses.replace(
                    case, case=f"{case.case}_z{z}", spacing_mm=tuple(volume.spacing_mm[1::-1])
                )
            )
    if not found:
        raise InputError("No case has a slice with lesion; check the masks.")
    return SliceSet(np.stack(images)[:, None], np.stack(labels)[:, None], found)
