"""One network of lesson 17, trained once, for the benchmarks that look at it.

Everything lies below ``--work``: ``raw/Dataset001_Pancreas`` to train on, ``judged`` with patients
of another seed, the run in ``ours``, and what it cost in ``ours.json``.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from options import same_work

from seg_lib import multitask
from seg_lib.course.profiles import Settings, settings
from seg_lib.data.cases import Case, read_cases
from seg_lib.data.phantom import make_phantom
from seg_lib.files import write_text
from seg_lib.models import build_model
from seg_lib.training import load_weights

JUDGED_SEED = 3  # of the patients; 1 was looked at while the recipe was made, 2 is the ablation's


def parser(about: str) -> argparse.ArgumentParser:
    """The words that these benchmarks share."""
    words = argparse.ArgumentParser(description=about.splitlines()[0])
    words.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    words.add_argument("--work", type=lambda text: Path(text).resolve(), default="runs/pancreas")
    words.add_argument("--profile", default="laptop", help="sizes of lesson 17")
    words.add_argument("--epochs", type=int, help="if not those of the profile")
    words.add_argument("--cases", type=int, default=240, help="to train and validate")
    words.add_argument("--judged", type=int, default=40, help="patients of another seed")
    words.add_argument("--seed", type=int, default=0, help="of the training")
    return words


def lesson(words: argparse.Namespace, **more: Any) -> Settings:
    """The sizes of lesson 17, with the numbers asked for."""
    usual = settings("17", words.profile)
    more |= {"epochs": words.epochs} if words.epochs else {}
    return Settings("17", words.profile, dict(usual.sizes) | {"n_cases": words.cases} | more)


def data(words: argparse.Namespace) -> tuple[multitask.Parts, list[Case]]:
    """Phantom patients to train on, in nnU-Net's raw folder, and the cases to judge."""
    same_work(words, "profile", "epochs", "cases", "judged", "seed")
    raw, other = words.work / "raw" / "Dataset001_Pancreas", words.work / "judged"
    for seed, folder, n in ((0, raw, words.cases), (JUDGED_SEED, other, words.judged)):
        if not (folder / "cases.csv").is_file():
            make_phantom("pancreas", n, lesson(words).size, seed, folder)
    return multitask.multitask_parts(raw, words.work, lesson(words), 0), read_cases(other)


def trained(words: argparse.Namespace, parts: multitask.Parts) -> dict[str, Any]:
    """Train, if that has not been done; seconds, steps, patches and weights of the U-Net."""
    kept, sizes = words.work / "ours.json", lesson(words)
    if not kept.is_file():
        began = time.perf_counter()
        model = multitask.train_multitask(parts, words.work / "ours", sizes, words.seed)
        found = {"seconds": time.perf_counter() - began}
        steps = sizes.epochs * -(-len(parts[0]) * sizes.patches // sizes.batch_size)
        found |= {"steps": steps, "patches": steps * sizes.batch_size}
        found |= {"parameters": sum(weight.numel() for weight in model.unet.parameters())}
        write_text(kept, json.dumps(found | {"threads": torch.get_num_threads()}))
    return json.loads(kept.read_text())


def network(words: argparse.Namespace) -> torch.nn.Module:
    """The network as it was trained."""
    model = build_model("multitask_unet3d", **multitask.sizes_of(lesson(words)))
    load_weights(model, words.work / "ours" / "best.safetensors")
    return model.eval()
