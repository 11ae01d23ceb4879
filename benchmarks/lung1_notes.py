"""Tumour crops of NSCLC-Radiomics (Lung1) beside their clinical rows, through the text network.

    python benchmarks/lung1_notes.py --crops DIR --table TABLE.csv

DIR holds one .npz a patient, named as in the table, with ``image`` and ``mask`` (X, Y). This shows
that image, note and network fit together, and measures nothing: a crop is enlarged until the
tumour fills it, by an unknown factor, so there is no spacing, no size and no Dice to report.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from nodule_ratings import ENCODER, NETWORK

from seg_lib import text3d
from seg_lib.data.case_rules import Case, first_few
from seg_lib.data.notes import read_clinical, row_to_note
from seg_lib.data.volumes import Place, Prepared
from seg_lib.errors import InputError
from seg_lib.inference import SlidingWindow, foreground_of
from seg_lib.small_llama import train_small_llama
from seg_lib.text_inference import logits_of
from seg_lib.training import seed_everything

PATCH = (64, 64, 8)
PIXELS = (1.0, 1.0, 1.0)  # a spacing that nobody knows: one pixel is one


def read_crop(path: Path, note: str) -> Prepared:
    """A crop as a volume of one slice, (X, Y, 1), with its note.

    Raises:
        InputError: no such arrays, another shape, a grey outside of 0 to 1, or a mask of more.
    """
    with np.load(path, allow_pickle=False) as arrays:
        if not {"image", "mask"} <= set(arrays):
            raise InputError(f"{path}: has {first_few(arrays)}; a crop has 'image' and 'mask'.")
        image, mask = arrays["image"], arrays["mask"]
    if image.ndim != 2 or image.shape != mask.shape or not set(np.unique(mask)) <= {0, 1}:
        raise InputError(f"{path}: {image.shape} and a mask {mask.shape}; give two (X, Y), 0 or 1.")
    if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
        raise InputError(f"{path}: greys from {image.min():g} to {image.max():g}; give 0 to 1.")
    shape = (*image.shape, 1)
    place = Place(shape, tuple(slice(0, n) for n in shape))
    case = Case(path.stem, path.stem, path, note=note)
    ready = image.reshape(shape).astype(np.float32)
    return Prepared(ready, mask.reshape(shape).astype(np.uint8), place, PIXELS, case)


def joined(crops: Path, table: Path) -> tuple[list[Prepared], list[str]]:
    """Crops with the notes of their patients, and a sentence for each kind that stays alone.

    A crop without a row has an empty note; a row without a crop is left out. Impossible values of
    the table are left out of their rows.

    Raises:
        InputError: see `read_crop` and `read_clinical`, or no patient is in both.
    """
    rows = {row["patient"]: row for row in read_clinical(table, leave_out=True).rows}
    paths = {path.stem: path for path in sorted(crops.glob("*.npz"))}
    if not rows.keys() & paths.keys():
        raise InputError(
            f"{crops}: {len(paths)} crops (.npz), none of a patient of {table} ({len(rows)} rows); "
            "name each crop as its patient."
        )
    said = []
    if alone := paths.keys() - rows.keys():
        said.append(f"Crops without a row get an empty note, {len(alone)}: {first_few(alone)}.")
    if alone := rows.keys() - paths.keys():
        said.append(f"Rows without a crop are left out, {len(alone)}: {first_few(alone)}.")
    notes = {name: row_to_note(rows[name]) if name in rows else "" for name in paths}
    return [read_crop(path, notes[name]) for name, path in paths.items()], said


def main() -> None:
    """Join, and send every crop with its note through a network that is not trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--llama-steps", type=int, default=150)
    words = parser.parse_args()
    volumes, said = joined(words.crops, words.table)
    print(*said, sep="\n")
    seed_everything(0)
    with tempfile.TemporaryDirectory() as folder:
        train_small_llama(folder, words.llama_steps)
        model = text3d.text_guided(folder, ENCODER, NETWORK).eval()
    model.standardise([volume.case.note for volume in volumes])
    for volume in volumes:
        found = foreground_of(logits_of(model, volume, volume.case.note, SlidingWindow(PATCH)))
        cut = model.n_cut[volume.case.note]
        print(f"{volume.case.case}: {found.shape}, mean {found.mean():.3f}, {cut} tokens cut")


if __name__ == "__main__":
    main()
