"""Slices: from a pickle or from volumes to 8-bit images in memory.

    pickle ─ pickle_to_png ─> PNG + cases.csv ─ load_slices ─┐
                                                             ├─> SliceSet (then SliceBatches)
    NIfTI ─────────────────── slices_of_volumes ─────────────┘

All slices are kept in memory (708 slices of 256 x 256 with masks are 93 MB): decoding them again in
every epoch, or in worker processes, costs more than it brings. Taught in notebooks 03 and 04.
"""

import dataclasses
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seg_lib.data.case_rules import check_cases, first_few
from seg_lib.data.cases import CASES_CSV, Case, read_cases, write_cases
from seg_lib.data.hu import HU_WINDOWS
from seg_lib.data.nifti import axial_view, read_image, read_mask
from seg_lib.data.pickles import Person, SliceRecord, patients_of_rows, read_lungrads_pickle
from seg_lib.data.pictures import (
    centred,
    read_png,
    read_png_mask,
    resize_image,
    resize_mask,
    save_png,
    to_grey,
)
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import sha256_of, write_text

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


def pickle_to_png(
    pickle: str | Path,
    out_dir: str | Path,
    window: tuple[float, float] = HU_WINDOWS["nodule"],
    size: int = 256,
    split: str = "train",
) -> list[Case]:
    """Convert a pickled table of slices (the public Lung-RADS layout) to PNG, once.

    ``out_dir`` gets images/, masks/ (0 and 255) of ``size`` pixels a side, conversion.json (how and
    from what) and, last, cases.csv; cases of other pickles stay. ``window`` is (low, high) in HU.

    Raises:
        InputError: no such table, patients of another split, or ``out_dir`` was made with another
            window or size; nothing is written then.
    """
    pickle, out_dir = Path(pickle), Path(out_dir)
    records = read_lungrads_pickle(pickle)
    people, provenance = patients_of_rows(pickle, len(records))
    cases = _cases_of(records, people, out_dir / pickle.stem, size, split)
    greys = [to_grey(record.hu, window) for record in records]
    about = {"window_hu": list(window), "size": size, "sha256": sha256_of(pickle)}
    about |= _census(records) | {"split_provenance": provenance}
    conversions = _earlier(out_dir, pickle.name, about) | {pickle.name: about}
    there = read_cases(out_dir) if (out_dir / CASES_CSV).is_file() else []
    own = re.compile(re.escape(pickle.stem) + r"_\d{4,}")
    kept = [case for case in there if not own.fullmatch(case.case)]
    check_cases(kept + cases, out_dir / CASES_CSV)
    # Until the last line the table names no file of this pickle: whoever is killed in between
    # leaves no mixture of old and new slices.
    if kept:
        write_cases(kept, out_dir)
    else:
        (out_dir / CASES_CSV).unlink(missing_ok=True)
    for case, record, grey in zip(cases, records, greys, strict=True):
        save_png(case.image, resize_image(grey, size))
        save_png(case.label, resize_mask(record.mask, size) * 255)
    write_text(out_dir / CONVERSION, json.dumps(conversions, indent=1) + "\n")
    write_cases(kept + cases, out_dir)
    return cases


def _census(records: list[SliceRecord]) -> dict[str, Any]:
    """How many slices of which class, and which padding lies below the scale."""
    return {
        "slices": len(records),
        "classes": dict(sorted(Counter(r.lungrads for r in records).items())),
        "smallest_hu": dict(sorted(Counter(str(int(r.hu.min())) for r in records).items())),
    }


def _cases_of(
    records: list[SliceRecord], people: list[Person], stem: Path, size: int, split: str
) -> list[Case]:
    """One case a row, with the pixel size that the resized slice will have."""
    cases = []
    for row, (record, (patient, mm)) in enumerate(zip(records, people, strict=True)):
        name = f"{stem.name}_{row:04d}"
        mm = mm and tuple(a * n / size for a, n in zip(mm, record.hu.shape, strict=True))
        image, label = (stem.parent / part / f"{name}.png" for part in ("images", "masks"))
        known = {"subtype": record.lungrads, "spacing_mm": mm}
        cases.append(Case(name, patient, image, label, split, **known))
    return cases


def _earlier(out_dir: Path, name: str, census: dict[str, Any]) -> dict[str, Any]:
    """What conversion.json says of the other pickles, made in the same way."""
    path = out_dir / CONVERSION
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for other, about in earlier.items():
        for key in ("window_hu", "size"):
            if other != name and about[key] != census[key]:
                raise InputError(
                    f"{path}: {other} was converted with {key} {about[key]}, not {census[key]}; "
                    "convert both alike, or into another folder."
                )
    return earlier


def load_slices(cases: Sequence[Case], size: int = 256) -> SliceSet:
    """Read PNG slices into memory; the cases get the pixel size of the resized slices.

    Raises:
        InputError: no cases, a case without mask, or a file that is no PNG image.
    """
    if not cases:
        raise InputError("There are no cases to load; check the split.")
    _check_labelled(cases)
    cases = list(cases)
    images = np.empty((len(cases), 1, size, size), np.uint8)
    labels = np.empty_like(images)
    for i, case in enumerate(cases):
        image = read_png(case.image)
        images[i, 0] = resize_image(image, size)
        labels[i, 0] = resize_mask(read_png_mask(case.label, image.shape), size)
        if case.spacing_mm:
            sides = zip(case.spacing_mm, image.shape, strict=False)
            spacing_mm = tuple(mm * (n / size) for mm, n in sides)
            cases[i] = dataclasses.replace(case, spacing_mm=spacing_mm)
    return SliceSet(images, labels, cases)


def _check_labelled(cases: Sequence[Case]) -> None:
    for case in cases:
        if case.label is None:
            raise InputError(f"case {case.case} has no mask; training and scoring need one.")


def slices_of_volumes(
    cases: Sequence[Case],
    window: tuple[float, float] = HU_WINDOWS["nodule"],
    size: int = 64,
    per_case: str = "largest",
    place: Callable[[np.ndarray, int], np.ndarray] = centred,
) -> SliceSet:
    """Axial slices with lesion of NIfTI cases, seen through a window (low, high) in HU.

    ``per_case`` "largest" takes the slice with most lesion, "all-positive" every one with lesion.
    ``place`` makes (size, size) of a slice; ``centred`` keeps the pixels and crops or pads. The
    cases are the volumes', with the slice number ``_z12`` behind their names.

    Raises:
        InputError: a faulty file, or no slice with lesion in any case.
    """
    if per_case not in ("largest", "all-positive"):
        raise InputError(f"per_case '{per_case}'; use 'largest' or 'all-positive'.")
    _check_labelled(cases)
    images, labels, found, cut = [], [], [], []
    for case in cases:
        for of_slice, grey, mask in _lesion_slices(case, window, per_case == "largest"):
            found.append(of_slice)
            images.append(place(grey, size))
            # As grey values, so that a ``place`` that averages keeps what is half covered.
            labels.append((place(mask * 255, size) > 127).astype(np.uint8))
            if not labels[-1].any():
                cut.append(of_slice.case)
    if not found:
        raise InputError("No case has a slice with lesion; check the masks.")
    if cut:
        message = f"The lesion lies outside the {size} x {size} pixels in {first_few(cut)}."
        warnings.warn(message, DataWarning, stacklevel=2)
    return SliceSet(np.stack(images)[:, None], np.stack(labels)[:, None], found)


def _lesion_slices(
    case: Case, window: tuple[float, float], largest: bool
) -> Iterator[tuple[Case, np.ndarray, np.ndarray]]:
    """Case, grey slice and mask of the slices of one volume that show the lesion."""
    volume = read_image(case.image)
    mask = read_mask(case.label, like=volume).array
    area = mask.sum((0, 1))
    spacing_mm = tuple(volume.spacing_mm[1::-1])  # of rows, then of columns
    for z in [int(area.argmax())] if largest else range(len(area)):
        if area[z]:
            of_slice = dataclasses.replace(case, case=f"{case.case}_z{z}", spacing_mm=spacing_mm)
            yield of_slice, to_grey(axial_view(volume.array, z), window), axial_view(mask, z)
