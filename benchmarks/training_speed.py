"""How much faster a training step is in bfloat16, and whether the network learns the same.

    python benchmarks/training_speed.py
    python benchmarks/training_speed.py --dice   # the Dice check only; the stored times stay

A step is forward, backward and AdamW on a batch of 8 slices of 128 x 128 pixels. The plain way is
float32 in the usual layout; ours is bfloat16 autocast, and for convolutions channels-last memory.
Both are timed in turn, so that a busy machine slows both. Then the same network is trained twice on
the phantom, with the same seed and number of steps, and the test Dice compared, over several seeds.
The Dice needs no processor with bfloat16 instructions: others compute the same numbers, slower.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import machine
from options import options_of

from seg_lib import costs
from seg_lib.data.batches import SliceBatches
from seg_lib.data.phantom import make_phantom
from seg_lib.data.slices import SliceSet
from seg_lib.evaluation import paired_difference
from seg_lib.files import write_text
from seg_lib.inference import predict_slices
from seg_lib.models import build_model
from seg_lib.models.presets import fast_layout, sizes_for
from seg_lib.slices2d import dice_weighted_bce, score_slices, slices2d_parts
from seg_lib.steps import segmentation_step
from seg_lib.training import TrainConfig, fit, seed_everything

SHAPE = (8, 1, 128, 128)
SIZES = {
    "resnet50_unet": {},
    "swin_unet": sizes_for("swin_unet", 128, "small"),
    "unetr": {"image_size": 128, "hidden": 384, "heads": 6},
}


def step_ratio(network: str, rounds: int) -> dict:
    """Seconds of a step both ways, measured in turn; the ratio is that of the medians."""
    plain = build_model(network, **SIZES[network])
    ours = build_model(network, **SIZES[network]).to(memory_format=fast_layout(network))
    pairs = [
        (costs.step_seconds(plain, SHAPE, "no", 2), costs.step_seconds(ours, SHAPE, "bf16", 2))
        for _ in range(rounds)
    ]
    slow, fast = np.median(pairs, axis=0)
    return {"float32_s": slow, "bf16_s": fast, "ratio": slow / fast, "rounds": rounds}


def dice_of_both(network: str, epochs: int, seeds: int, work: Path) -> dict:
    """Test Dice after the same steps from the same weights, in both precisions, over seeds."""
    folder = work / "phantom"
    if not folder.exists():
        make_phantom("lung2d", 240, 96, 0, folder)
    train, _, test = slices2d_parts(folder, work, 96)
    dices = {
        precision: np.array(
            [
                dice_of(network, precision, seed, epochs, (train, test), work)
                for seed in range(seeds)
            ]
        )
        for precision in ("no", "bf16")
    }
    mean = {precision: found.mean(0) for precision, found in dices.items()}  # of each case
    gap = paired_difference(mean["bf16"], mean["no"], test.patients)
    each = (dices["bf16"] - dices["no"]).mean(1)
    return {"epochs": epochs, "float32": float(mean["no"].mean()), "bf16_minus_float32": gap} | {
        "of_each_seed": each.tolist()
    }


def dice_of(
    network: str, precision: str, seed: int, epochs: int, parts: tuple[SliceSet, ...], work: Path
) -> list[float]:
    """Test Dice of every case after one training; ``parts`` are those for training and test."""
    train, test = parts
    seed_everything(seed)
    model = build_model(network, **sizes_for(network, 96, "small"))
    if precision == "bf16":
        model = model.to(memory_format=fast_layout(network))
    config = TrainConfig(epochs=epochs, precision=precision, seed=seed, checkpoint_every=epochs)
    batches = SliceBatches(train, 8, shuffle=True, seed=seed)
    step = partial(segmentation_step, loss=dice_weighted_bce)
    fit(model, step, batches, config, work / f"{network}_{precision}_{seed}")
    masks = predict_slices(model, test.images)[:, 0] >= 0.5
    return [row["dice"] for row in score_slices(masks, test)]


def main() -> None:
    """Measure every network and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="of the Dice check; 0 leaves it out")
    parser.add_argument("--seeds", type=int, default=3, help="of the Dice check")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dice", action="store_true", help="the Dice check only, no times")
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    path = words.out / "training_speed.json"
    result = {"options": options_of(words), "machine": machine()}
    result |= {"shape": SHAPE, "networks": {name: {} for name in SIZES}}
    if words.dice:
        result = json.loads(path.read_text())
    for network, found in result["networks"].items():
        if not words.dice:
            found |= step_ratio(network, words.rounds)
            print(f"{network}: bf16 {found['ratio']:.2f} x faster a step", flush=True)
    with tempfile.TemporaryDirectory() as work:
        for network in ("resnet50_unet", "unetr") if words.epochs else ():
            dice = dice_of_both(network, words.epochs, words.seeds, Path(work))
            result["networks"][network]["dice"] = dice
            print(f"{network}: Dice {dice}", flush=True)
    if words.epochs:
        result["dice_options"] = options_of(words, "epochs", "seeds")
        result["dice_machine"] = machine()
    write_text(path, json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
