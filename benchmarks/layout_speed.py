"""Does the order of the weights in memory (channels last) make a 3D training step faster here?

    python benchmarks/layout_speed.py

A step is forward, backward and AdamW in float32 on patches as the lessons cut them. Both orders are
timed in turn, so that a busy machine slows both; the ratio is that of the medians.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from machine import machine

from seg_lib.costs import step_seconds
from seg_lib.files import write_text
from seg_lib.memory import keep_memory
from seg_lib.models import build_model
from seg_lib.models.presets import sizes_for

SHAPE = (4, 1, 32, 32, 32)
NETWORKS = ("unet3d", "segresnet", "monai_unet", "multitask_unet3d")
ORDERS = {"usual": torch.contiguous_format, "channels_last": torch.channels_last_3d}


def layout_ratio(network: str, rounds: int) -> dict[str, float]:
    """Seconds of a step in both orders, and how many times faster channels last is."""
    sizes = sizes_for(network, 0, "small")
    models = {
        name: build_model(network, **sizes).to(memory_format=order)
        for name, order in ORDERS.items()
    }
    took = {name: [] for name in ORDERS}
    for _ in range(rounds):
        for name, model in models.items():
            took[name].append(step_seconds(model, SHAPE, steps=2))
    usual, last = (float(np.median(took[name])) for name in ORDERS)
    return {"usual_s": usual, "channels_last_s": last, "ratio": usual / last, "rounds": rounds}


def main() -> None:
    """Measure every network and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    keep_memory()  # as the lessons do
    result = {"shape": SHAPE, "machine": machine(), "networks": {}}
    for network in NETWORKS:
        found = result["networks"][network] = layout_ratio(network, words.rounds)
        print(f"{network}: channels last is {found['ratio']:.2f} x faster a step", flush=True)
    write_text(words.out / "layout_speed.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
