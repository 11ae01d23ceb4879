"""The commands between the files of others and ours: pickles and DICOM, there and back."""

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
    from seg_lib.data.dicom import convert

    print("\n".join(f"{path}: written." for path in convert(src_dir, out, **contours)))
    return 0


def mask_to_dicom(mask: Path, series_dir: Path, dst: Path, form: str, label: str) -> int:
    """Write a mask as DICOM SEG or RTSTRUCT of its CT series, for a viewer or planning system."""
    from seg_lib.data.dicom_masks import mask_to_rtstruct, mask_to_seg

    {"seg": mask_to_seg, "rtstruct": mask_to_rtstruct}[form](mask, series_dir, dst, label)
    print(f"{dst}: written.")
    return 0


def add_conversions(add: Callable) -> None:
    """The commands between the files of others and ours."""
    word = add(pickle_to_png, "pickle", "out_dir")
    word("--size", type=int, default=256)
    word("--split", default="train", choices=["train", "val", "test"])
    word = add(dicom_to_nifti, "src_dir", "out")
    word("--rtstruct", type=Path, help="contours drawn on this series")
    word("--roi", help="name of the region to fill")
    word("--mask-out", type=Path, help="its mask, a NIfTI file")
    word = add(mask_to_dicom, "mask", "series_dir", "dst")
    word("--form", default="seg", choices=["seg", "rtstruct"])
    word("--label", default="Tumour", help="name of the segment or region")
