"""Less data, compared fairly: nested patients, as many steps, the same start.

    patients ─ nested_shares ─> 20 % in 50 % in 100 % ─ filled_up ─> epochs of equal length
             ─ train_pair ─> image only, with notes ─ learning_curve ─> a row for each share

A share that is drawn anew may be of easier patients. A share of the epochs' length is a shorter
training. And several seeds of one case are no new cases. The first training can be that of the
smallest share for all: its patients are in every other. Taught in notebook 16.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_lib import text3d
from seg_lib.course.profiles import Settings
from seg_lib.data.volumes import Prepared
from seg_lib.errors import InputError
from seg_lib.models.text_guided import TextGuided
from seg_lib.resampling import bootstrap_interval
from seg_lib.volumes3d import Parts

NETWORKS = ("image only", "with notes")
Rows = list[dict[str, Any]]


def nested_shares(
    volumes: Sequence[Prepared], shares: Sequence[float], seed: int = 0
) -> dict[float, list[Prepared]]:
    """Volumes of a share of the patients for each share; a smaller one lies within a larger one.

    Args:
        volumes: with cases; all volumes of a patient go together.
        shares: above 0, up to 1; half a patient counts as one, and there is at least one.
        seed: which patients come first. The other shares asked for make no difference.

    Raises:
        InputError: a share that is none, or no volumes.
    """
    if not volumes or not all(0 < share <= 1 for share in shares):
        raise InputError(f"shares {list(shares)} of {len(volumes)} volumes: above 0, up to 1.")
    patients = sorted({volume.case.patient for volume in volumes})
    order = np.random.default_rng(seed).permutation(patients).tolist()
    chosen = {share: set(order[: max(1, int(share * len(order) + 0.5))]) for share in shares}
    return {share: [v for v in volumes if v.case.patient in kept] for share, kept in chosen.items()}


def filled_up(volumes: Sequence[Prepared], n: int) -> list[Prepared]:
    """The volumes again and again, in turn, until there are ``n``: epochs of the same length."""
    return [volumes[i % len(volumes)] for i in range(n)]


def train_pair(
    parts: Parts,
    out: str | Path,
    sizes: Settings,
    seed: int,
    llama_in: str | Path,
    start: str | Path | None = None,
) -> dict[str, TextGuided]:
    """The two networks of `NETWORKS`, after as many steps from the same image-only start.

    Args:
        parts: train, val and test volumes; the test is not looked at.
        out: folder of the two runs; what it holds is replaced.
        sizes: see lesson 16 in `seg_lib.course.sizes`.
        seed: of weights, patches and notes.
        llama_in: folder of `seg_lib.text3d.language_model_for`.
        start: `start_of` another pair, whose patients are among these; else it is trained.
    """
    image, text = (Path(out) / name.replace(" ", "_") for name in NETWORKS)
    for folder in (image, text):
        shutil.rmtree(folder, ignore_errors=True)

    def train(folder: Path, start: Path | None, **how: Any) -> TextGuided:
        if start:
            shutil.copytree(start, folder / "image_only")
        model = text3d.untrained(Path(llama_in), sizes, seed)
        resume = start is not None  # at its end, so that only the second training is left
        return text3d.train_text(parts, folder, sizes, seed, model=model, resume=resume, **how)

    image_only = train(image, Path(start) if start else None, with_notes=False)
    return dict(zip(NETWORKS, (image_only, train(text, start_of(out))), strict=True))


def start_of(out: str | Path) -> Path:
    """The folder of the first training, by the image alone, of a pair in ``out``."""
    return Path(out) / "image_only" / "image_only"


def learning_curve(scores: Mapping[tuple[str, float], Sequence[Sequence[float]]]) -> Rows:
    """A row for each network and share.

    Args:
        scores: (network, share) -> Dice of every case, a list for each seed, cases in one order.

    Returns:
        Rows {"network", "share", "dice", "low", "high", "n", "seeds", "seed_low", "seed_high"}. A
        case counts once, with its mean over the seeds; ``low`` and ``high`` are the 95 % interval
        over the cases, the ``seed`` ones the worst and the best training.
    """
    rows = []
    for (network, share), runs in scores.items():
        of_case, of_seed = np.mean(runs, axis=0), np.mean(runs, axis=1)
        low, high = bootstrap_interval(of_case)
        row = {"network": network, "share": share, "dice": float(of_case.mean())}
        row |= {"low": low, "high": high, "n": len(of_case), "seeds": len(runs)}
        rows.append(row | {"seed_low": float(of_seed.min()), "seed_high": float(of_seed.max())})
    return rows
