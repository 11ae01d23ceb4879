"""Overlap of the sliding window from 0 to 0.8, constant and Gaussian: Dice, seams, seconds.

    python benchmarks/overlap.py

The 3D U-Net of lesson 10 is trained once, with the sizes of the lesson. Then patients of another
seed are predicted in windows of the size of its patches. Seam error: mean error of the probability
within two voxels of a border between windows without overlap, near a lesion; *elsewhere*: of the
other voxels near a lesion. Differences in Dice are taken patient by patient. What is done stays in
``--work``, so more overlaps can be asked for later: the windows, and the seconds, of 0.7 are about
four times, of 0.8 about twelve times those of 0.5.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch
from machine import machine
from options import once, options_of, same_work
from scipy import ndimage

from seg_lib import evaluation, volumes3d
from seg_lib.course.profiles import Settings, settings
from seg_lib.data.cases import read_cases
from seg_lib.data.phantom import make_phantom
from seg_lib.data.volumes import Prepared, load_volumes
from seg_lib.files import write_text
from seg_lib.inference import SlidingWindow, foreground_of
from seg_lib.models import build_model
from seg_lib.models.presets import fast_layout, sizes_for
from seg_lib.training import load_weights

OVERLAPS, BLENDS = (0.0, 0.25, 0.5, 0.7, 0.8), ("constant", "gaussian")
USUAL = "0.5 gaussian"
NEAR = 8  # voxels around a lesion


def lesson(words: argparse.Namespace) -> Settings:
    """The sizes of lesson 10, with the numbers asked for."""
    asked = {"n_cases": words.cases, "epochs": words.epochs, "size": tuple(words.size)}
    return Settings("10", "laptop", dict(settings("10", "laptop").sizes) | asked)


def trained(words: argparse.Namespace) -> torch.nn.Module:
    """The network of lesson 10, trained once in the work folder."""
    sizes, folder, run = lesson(words), words.work / "phantom", words.work / "run"
    if not (folder / "cases.csv").is_file():
        make_phantom("lung3d", words.cases, sizes.size, 0, folder)
    if not (run / "done").is_file():
        parts = volumes3d.volumes3d_parts(folder, words.work, sizes, 0)
        once(run, lambda: volumes3d.train_volumes(parts, run, sizes, 0))
    model = build_model(sizes.network, **sizes_for(sizes.network, 0, sizes.preset))
    load_weights(model, run / "best.safetensors")
    return model.to(memory_format=fast_layout(sizes.network))


def judged(words: argparse.Namespace) -> list[Prepared]:
    """Patients of another seed."""
    folder = words.work / "judged"
    if not (folder / "cases.csv").is_file():
        make_phantom("lung3d", words.judged, tuple(words.size), 1, folder)
    return load_volumes(read_cases(folder), volumes3d.preparation_of(lesson(words)))


def near_seams(shape: tuple[int, ...], patch: tuple[int, ...], reach: int = 2) -> np.ndarray:
    """(X, Y, Z) bool: voxels within ``reach`` of a border between windows without overlap."""
    near = np.zeros(shape, bool)
    for axis, (n, w) in enumerate(zip(shape, patch, strict=True)):
        for start in {min(start, n - w) for start in range(w, n, w)} - {0}:
            index: list[slice] = [slice(None)] * 3
            index[axis] = slice(max(0, start - reach), start + reach)
            near[tuple(index)] = True
    return near


def errors_of(volume: Prepared, p: np.ndarray, patch: tuple[int, ...]) -> list[tuple[float, int]]:
    """Sum of the errors and number of voxels, near seams and elsewhere around the lesion."""
    lesion = volume.label > 0
    around = ndimage.binary_dilation(lesion, iterations=NEAR)
    seam, error = near_seams(p.shape, patch), np.abs(p - lesion)
    places = (around & seam, around & ~seam)
    return [(float(error[place].sum()), int(place.sum())) for place in places]


def windows_of(shape: tuple[int, ...], patch: tuple[int, ...], overlap: float) -> int:
    """Windows of a volume."""
    steps = [max(1, int(w * (1 - overlap))) for w in patch]
    along = [1 + max(0, -(-(n - w) // s)) for n, w, s in zip(shape, patch, steps, strict=True)]
    return int(np.prod(along))


def predict(model: torch.nn.Module, volumes: list[Prepared], how: SlidingWindow) -> dict:
    """One row: Dice of every patient, errors, windows and seconds of all."""
    found = []
    began = time.perf_counter()
    for volume in volumes:
        found.append(foreground_of(volumes3d.volume_logits(model, volume, how)))
    row: dict = {"seconds": time.perf_counter() - began}
    rows = evaluation.evaluate_cases(
        (v.case.case, v.case.patient, p >= 0.5, v.label, v.spacing_mm)
        for v, p in zip(volumes, found, strict=True)
    )
    row |= {"dice": evaluation.summarise(rows)["dice"], "cases": [each["dice"] for each in rows]}
    errors = [errors_of(v, p, how.patch) for v, p in zip(volumes, found, strict=True)]
    totals = np.sum(errors, axis=0)
    row["seam_error"], row["elsewhere"] = (float(s / max(1, n)) for s, n in totals)
    row["windows"] = sum(windows_of(v.image.shape, how.patch, how.overlap) for v in volumes)
    return row


def main() -> None:
    """Train, predict with every setting, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/overlap"))
    usual = settings("10", "laptop")
    parser.add_argument("--cases", type=int, default=usual.n_cases, help="phantom patients")
    parser.add_argument("--size", type=int, nargs=3, default=usual.size, help="voxels")
    parser.add_argument("--epochs", type=int, default=usual.epochs)
    parser.add_argument("--judged", type=int, default=24, help="patients of another seed")
    parser.add_argument("--overlaps", type=float, nargs="+", default=OVERLAPS)
    parser.add_argument("--threads", type=int, default=2)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    same_work(words, "cases", "size", "epochs", "judged")
    model, volumes, plain = trained(words), judged(words), volumes3d.sliding_of(lesson(words))
    table = {}
    for overlap in sorted({0.5, *words.overlaps}):
        for blend in BLENDS:
            how = dataclasses.replace(plain, overlap=overlap, blend=blend)
            kept = words.work / f"{overlap}_{blend}.json"
            if not kept.is_file():
                write_text(kept, json.dumps(predict(model, volumes, how), default=float))
            table[f"{overlap} {blend}"] = row = json.loads(kept.read_text())
            print(f"{overlap} {blend}: Dice {row['dice']['mean']:.3f}, {row['seconds']:.0f} s")
    usual_dice = table[USUAL]["cases"]
    for name, row in table.items():
        if name != USUAL:
            row["minus_usual"] = evaluation.paired_difference(row["cases"], usual_dice)
    result = {"options": options_of(words), "machine": machine(), "patch": plain.patch}
    result |= {"rows": table, "n": len(volumes)}
    write_text(words.out / "overlap.json", json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
