"""CT and PET as two channels: what does the second one add, and what if it is missing?

    python benchmarks/two_modalities.py

The small 3D U-Net learns nodules of the phantom from CT alone, from both, and from both with
modality dropout: the same patients, steps and seeds. Each network is then judged on patients of
another seed with every choice of channels that it knows; a missing channel is 0. The weights of the
last step are judged, so nothing is chosen by looking at results.
"""

import argparse
import dataclasses
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import machine
from options import options_of, same_work
from torch import nn

from seg_lib.data.cases import CASES_CSV, read_cases
from seg_lib.data.modalities import ModalityDropout, add_channel
from seg_lib.data.nifti import read_image, read_mask, write_image
from seg_lib.data.patches import PatchBatches, flips_and_greys
from seg_lib.data.phantom import make_phantom
from seg_lib.data.phantom_pet import lung_pet
from seg_lib.data.volumes import Preparation, Prepared, prepare
from seg_lib.evaluation import bootstrap_interval, paired_difference
from seg_lib.files import write_text
from seg_lib.inference import SlidingWindow, mask_of
from seg_lib.models import build_model
from seg_lib.models.presets import sizes_for
from seg_lib.steps import segmentation_step
from seg_lib.training import TrainConfig, fit, seed_everything
from seg_lib.volumes3d import dice_ce_of_batch, score_masks, volume_logits

HOW = Preparation(box="lungs")
CT, PET = 0, 1
INPUTS = {"CT and PET": (CT, PET), "CT only": (CT,), "PET only": (PET,)}
# name: channels it learns from, share of the patches that lose one of them
TRAININGS = {
    "CT": ((CT,), 0.0),
    "CT and PET": ((CT, PET), 0.0),
    "CT and PET, modality dropout": ((CT, PET), 0.5),
}
Rows = list[dict]


def draw_pairs(folder: Path, n: int, seed: int, size: tuple[int, int, int]) -> list[Prepared]:
    """Write CT, PET and masks of ``n`` patients once, read them, and make them ready."""
    pairs = []
    if not (folder / CASES_CSV).exists():
        make_phantom("lung3d", n, size, seed, folder)
    for patient, case in enumerate(read_cases(folder)):
        path = folder / "pet" / case.image.name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            write_image(path, *lung_pet(seed, size, patient))
        ct, pet = read_image(case.image), read_image(path, hu=False)
        ready = prepare(ct, HOW, read_mask(case.label, ct).array)
        pairs.append(dataclasses.replace(add_channel(ready, ct, pet), case=case))
    return pairs


def seen(volume: Prepared, channels: tuple[int, ...]) -> Prepared:
    """The volume with 0 in all other channels."""
    kept = np.isin(np.arange(len(volume.image)), channels)
    return dataclasses.replace(volume, image=volume.image * kept[:, None, None, None])


def train(name: str, pairs: list[Prepared], seed: int, words: argparse.Namespace) -> nn.Module:
    """One network after its last step."""
    channels, share = TRAININGS[name]
    augment = ModalityDropout(share, flips_and_greys) if share else flips_and_greys
    volumes = [seen(pair, channels) for pair in pairs]
    drawn = {"batch_size": 4, "patches": words.patches, "augment": augment, "seed": seed}
    batches = PatchBatches(volumes, words.patch, **drawn, jitter=0.3)
    how = {"learning_rate": 4e-3, "schedule": "warmup_cosine", "seed": seed}
    config = TrainConfig(epochs=words.epochs, **how)
    seed_everything(seed)
    model = build_model("unet3d", in_channels=2, **sizes_for("unet3d", 0, "small"))
    step = partial(segmentation_step, loss=dice_ce_of_batch)
    fit(model, step, batches, config, words.work / f"{name.replace(' ', '_')}_{seed}")
    return model


def judge(model: nn.Module, pairs: list[Prepared], channels: tuple[int, ...], patch: tuple) -> Rows:
    """Dice of every patient on the grid of the CT, with these channels."""
    sliding = SlidingWindow(patch=patch, overlap=0.25, skip_air=False)  # the same for all inputs
    volumes = [seen(pair, channels) for pair in pairs]
    masks = (mask_of(volume_logits(model, v, sliding), v.place) for v in volumes)
    rows = score_masks(volumes, masks)
    return [{"patient": row["patient"], "dice": row["dice"]} for row in rows]


def summary(rows: Rows) -> dict:
    """Mean with its interval over patients."""
    dice, patients = [row["dice"] for row in rows], [row["patient"] for row in rows]
    low, high = bootstrap_interval(dice, patients)
    found = {"mean": float(np.mean(dice)), "low": low, "high": high, "n": len(set(patients))}
    return found | {"missed": sum(value == 0 for value in dice) / len(dice)}


def gain(rows: Rows, than: Rows) -> dict:
    """The difference in Dice of the same patients."""
    patients = [row["patient"] for row in rows]
    return paired_difference(*([r["dice"] for r in part] for part in (rows, than)), patients)


def gains(rows: dict[str, dict[str, Rows]]) -> dict[str, dict]:
    """What the second channel and what the dropout are worth."""
    alone, both, dropped = rows.values()
    found = {"PET beside CT": gain(both["CT and PET"], alone["CT only"])}
    for name in INPUTS:
        found[f"dropout, {name}"] = gain(dropped[name], both[name])
    found["CT and PET on CT only, against CT"] = gain(both["CT only"], alone["CT only"])
    return found | {"dropout on CT only, against CT": gain(dropped["CT only"], alone["CT only"])}


def main() -> None:
    """Train three networks a seed and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/two_modalities"))
    parser.add_argument("--size", type=int, nargs=3, default=(96, 96, 32), help="voxels of the CT")
    parser.add_argument("--patch", type=int, nargs=3, default=(24, 24, 16))
    parser.add_argument("--cases", type=int, nargs=2, default=(40, 32), help="to train, to judge")
    parser.add_argument("--patches", type=int, default=8, help="of a patient in an epoch")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    same_work(words, "cases", "size")
    size, began = tuple(words.size), time.monotonic()
    parts = [draw_pairs(words.work / f"seed{i}", n, i, size) for i, n in enumerate(words.cases)]
    rows = {name: {key: [] for key in INPUTS} for name in TRAININGS}
    for seed in words.seeds:
        for name, (known, _) in TRAININGS.items():
            model = train(name, parts[0], seed, words)
            for key, channels in INPUTS.items():
                if set(channels) <= set(known):
                    rows[name][key] += judge(model, parts[1], channels, tuple(words.patch))
                    print(name, key, summary(rows[name][key]), flush=True)
    table = {n: {k: summary(r) for k, r in found.items() if r} for n, found in rows.items()}
    result = {"options": options_of(words), "machine": machine()}
    result |= {"minutes": (time.monotonic() - began) / 60}
    result |= {key: getattr(words, key) for key in ("size", "patch", "cases", "epochs", "seeds")}
    result |= {"patches": words.patches, "table": table, "gains": gains(rows)}
    write_text(words.out / "two_modalities.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
