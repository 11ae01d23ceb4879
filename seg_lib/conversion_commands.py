"""The commands that turn given files into what the rest reads: pickles and DICOM."""

from collections.abc import Callable
from pathlib import Path


def pickle_to_png(pickle: Path, out_dir: Path, size: int, split: str) -> int:
    """Turn a pickled table of slices into PNG files once, without running anything in it."""
    from seg_lib.data.slices import pickle_to_png as convert

    cases = convert(pickle, out_dir, size=size, split=split)
    print(f"{out_dir}: {len(cases)} slices, split {split}.")
    return 0


def dicom_to_nifti(src_dir: Path, out: Path, **contours: Path | str | None) -> int:
    """Convert a DICOM folder: HU and geometry only; with the three others also one region."""
    from seg_lib.data.contours import convert

    print("\n".join(f"{path}: written." for path in convert(src_dir, out, **contours)))
    return 0


def add_conversions(add: Callable) -> None:
    """The two commands that turn given files into what the rest reads."""
    word = add(pickle_to_png, "pickle", "out_dir")
    word("--size", type=int, default=256)
    word("--split", default="train", choices=["train", "val", "test"])
    word = add(dicom_to_nifti, "src_dir", "out")
    word("--rtstruct", type=Path, help="contours drawn on this series")
    word("--roi", help="name of the region to fill")
    word("--mask-out", type=Path, help="its mask, a NIfTI file")
