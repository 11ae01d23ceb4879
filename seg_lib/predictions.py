"""One file in, one mask out, for each task: what ``seg-lib predict`` runs. Notebook 11."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from seg_lib.classification import write_subtypes
from seg_lib.data.case_rules import Case, check_files, mask_name
from seg_lib.data.nifti import Volume, read_image, write_mask
from seg_lib.data.nnunet_layout import channel_files
from seg_lib.data.slices import read_png, save_png
from seg_lib.data.volumes import Preparation, coarse_box
from seg_lib.errors import DataWarning, InputError
from seg_lib.inference import SlidingWindow, predict_volume
from seg_lib.multitask_inference import predict_multitask
from seg_lib.slice_inference import predict_resized, predict_slicewise
from seg_lib.text_inference import predict_noted, warn_of_cut
from seg_lib.volumes3d import predict_case


def predict_by_slices(model: nn.Module, about: dict[str, Any], image: Path, out: Path) -> None:
    """Mask of one slice or volume from a 2D network, written as ``out``."""
    window, size, native = tuple(about["window"]), about["size"], about.get("native_pixels")
    if native and hasattr(model, "image_size"):
        model = ByWindows(model)
    if image.suffix == ".png":
        mask = predict_resized(model, [read_png(image)], None if native else size)[0] >= 0.5
        save_png(out, mask.astype(np.uint8) * 255)
        return
    volume = read_image(image)
    if native:
        mask = predict_padded(model, volume, window, size)
    else:
        mask = predict_slicewise(model, volume, window, size)
    write_mask(out, mask, volume)


class ByWindows(nn.Module):
    """A 2D network of one image size, such as UNETR, that sees larger slices window by window."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> logits (B, K, H, W)."""
        from monai.inferers import sliding_window_inference

        sides = self.model.image_size
        return sliding_window_inference(image, sides, 8, self.model, 0.5, "gaussian")


def predict_padded(model: nn.Module, volume: Volume, window: tuple, size: int) -> np.ndarray:
    """Mask (X, Y, Z) by a network of native pixels; small slices get air around them."""
    missing = [max(0, size - n) for n in volume.array.shape[:2]]
    before = [-(-n // 2) for n in missing]  # the halves of `centred`, seen from the other end
    pads = [(b, n - b) for b, n in zip(before, missing, strict=True)] + [(0, 0)]
    larger = np.pad(volume.array, pads, constant_values=window[0])
    mask = predict_slicewise(model, dataclasses.replace(volume, array=larger), window)
    x, y = (slice(b, b + n) for b, n in zip(before, volume.array.shape, strict=False))
    return mask[x, y]


def predict_by_windows(model: nn.Module, about: dict[str, Any], image: Path, out: Path) -> None:
    """Mask of one volume from a 3D network, written as ``out``; CASE_0001 lies beside CASE_0000."""
    volume, names = read_image(image), about.get("channels")
    if not names:
        write_mask(out, predict_volume(model, volume, *windows_of(about, volume)), volume)
        return
    if "_0000" not in image.name:
        raise InputError(
            f"{image}: the network has more channels ({', '.join(names)}) than this file; give "
            "CASE_0000 with CASE_0001 and so on beside it, as nnU-Net names them."
        )
    case = Case(image.name, image.name, image, channels=channel_files(image, names))
    check_files([case], image)
    write_mask(out, predict_case(model, case, *windows_of(about, volume)), volume)


def predict_with_note(model: nn.Module, about: dict[str, Any], image: Path, out: Path) -> None:
    """Mask of one volume and its note from a text-guided network, written as ``out``."""
    name = mask_name(image).removesuffix(".gz").removesuffix(".nii")
    notes = about["notes"]
    if notes is None:
        notes = {name: ""}
        if about["with_notes"]:
            message = f"{image}: predicted without its note; give the table with --notes."
            warnings.warn(message, DataWarning, stacklevel=2)
    if name not in notes:
        raise InputError(
            f"{image}: no note of '{name}' in the table; add a line, empty if need be."
        )
    volume = read_image(image)
    note = notes[name] if about["with_notes"] else None
    write_mask(out, predict_noted(model, volume, note, *windows_of(about, volume)), volume)
    warn_of_cut(model, name, note)


def windows_of(about: dict[str, Any], volume: Volume) -> tuple[Preparation, SlidingWindow]:
    """How a 3D network was trained to see a volume, and where another has found something in it."""
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in about["preparation"].items()}
    how = Preparation(**plain)
    if about.get("coarse"):
        first, margin_mm = about["coarse"]
        found = predict_volume(first.model, volume, *windows_of(first.about, volume))
        how = dataclasses.replace(how, part=coarse_box(volume, found, margin_mm))
    return how, SlidingWindow(patch=tuple(about["patch"]))


def predict_with_subtype(model: nn.Module, about: dict[str, Any], image: Path, out: Path) -> None:
    """Labels of one volume, and a line with its subtype in ``subtype_results.csv`` beside them."""
    volume = read_image(image)
    how, sliding = windows_of(about, volume)
    labels, chances = predict_multitask(model, volume, how, sliding.patch)
    write_mask(out, labels, volume)
    write_subtypes(out.parent, {mask_name(image): int(chances.argmax())})
