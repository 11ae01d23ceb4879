"""The tasks: one literal table from a name to how it trains and predicts.

``seg-lib train TASK`` and the notebooks share what stands here. Taught in notebook 06.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from seg_lib import evaluation
from seg_lib.classification import classification_summary, write_subtypes
from seg_lib.course.profiles import settings
from seg_lib.errors import InputError, Interrupted
from seg_lib.files import write_text
from seg_lib.model_card import write_card
from seg_lib.models import build_model
from seg_lib.models.presets import fast_layout
from seg_lib.multitask import multitask_parts, train_multitask
from seg_lib.multitask_scores import score_multitask
from seg_lib.predictions import (
    predict_by_slices,
    predict_by_windows,
    predict_with_note,
    predict_with_subtype,
)
from seg_lib.processes import connected
from seg_lib.run_log import read_history
from seg_lib.slices2d import score_on_slices, slices2d_parts, train_slices
from seg_lib.tables import write_case_table
from seg_lib.text3d import build_as_trained, score_on_noted, train_text
from seg_lib.volumes3d import score_on_volumes, train_volumes, volumes3d_parts


def build_as_told(about: dict[str, Any], _: Path) -> nn.Module:
    """The network of a checkpoint, without its weights."""
    network = about["network"]
    model = build_model(network, **about.get("sizes", {}))
    return model.to(memory_format=fast_layout(network))


@dataclasses.dataclass(frozen=True)
class Task:
    """What differs between tasks."""

    load: Callable[..., Any]  # (data, work, sizes, seed) -> train, val, test
    train: Callable[..., nn.Module]  # (parts, out, sizes, seed, ...) -> network
    score: Callable[..., dict[str, list]]  # (network, parts, sizes) -> rows of it and of a rival
    predict: Callable[[nn.Module, dict, Path, Path], None]  # (network, about, image, out)
    lessons: dict[str, str]  # network -> lesson with its sizes; the first is the usual one
    needs: tuple[str, ...] = ("network", "preparation", "patch")  # in the checkpoint, to predict
    build: Callable[[dict, Path], nn.Module] = build_as_told  # (about, folder of the run)


def train_task(task: str, data: Path, out: Path, profile: str, seed: int, **how: Any) -> str:
    """Train, score on the test cases beside a rival, write the results, say them.

    Args:
        task: of ``TASKS``.
        data: see `slices2d_parts`.
        out: gets the weights, results.csv, results.json and a card, README.md.
        profile: sizes; see `seg_lib.course.profiles`.
        seed: of everything.
        how: see `train_slices`.

    Raises:
        InputError: an unknown task or network, or faulty data.
        Interrupted: by a signal or by ``minutes``; nothing is scored then.
    """
    if task not in TASKS:
        raise InputError(f"There is no task {task!r}; choose one of: {', '.join(TASKS)}.")
    chosen = TASKS[task]
    network = how.get("network") or next(iter(chosen.lessons))
    if network not in chosen.lessons:
        raise InputError(f"{task} has no network {network!r}; choose: {', '.join(chosen.lessons)}.")
    if (out / "best.safetensors").exists() and not how.get("resume"):
        raise InputError(f"{out}: holds a run; go on with --resume or choose another folder.")
    sizes = settings(chosen.lessons[network], profile)
    if spacing_mm := how.pop("spacing_mm", None):
        if "spacing_mm" not in sizes.sizes or min(spacing_mm) <= 0:
            raise InputError(f"{task}: --spacing {spacing_mm}; give volumes three lengths above 0.")
        changed = dict(sizes.sizes) | {"spacing_mm": tuple(spacing_mm)}
        sizes = dataclasses.replace(sizes, sizes=changed)
    with connected() as main:  # the others of several processes have nothing to score
        parts = chosen.load(data, out, sizes, seed)
        model = chosen.train(parts, out, sizes, seed, **how)
    stopped = read_history(out)["stopped"]
    if stopped in ("minutes", "signal"):
        raise Interrupted(f"{out}: stopped ({stopped}), saved and not scored; --resume goes on.")
    if not main:
        return ""
    told = write_scores(chosen.score(model, parts, sizes), out)
    names = ("train", "validation", "test")
    write_card(out, {name: len(part) for name, part in zip(names, parts, strict=True)})
    return told


def write_scores(rows: dict[str, list[dict]], out: Path) -> str:
    """Write results.csv of the network and results.json of all, and say them.

    Rows with a subtype give subtype_results.csv and "subtypes" in results.json too.
    """
    true = [row.pop("subtype") for row in rows["network"] if "subtype" in row]
    chances = [row.pop("chances") for row in rows["network"] if "chances" in row]
    write_case_table(out / "results.csv", rows["network"])
    summary = {name: evaluation.summarise(part) for name, part in rows.items()}
    lines = [dice_line(name, values) for name, values in summary.items()]
    if chances:
        named = [int(np.argmax(each)) for each in chances]
        write_subtypes(out, dict(zip((r["case"] for r in rows["network"]), named, strict=True)))
        summary["subtypes"] = classification_summary(named, true, len(chances[0]))
        f1 = summary["subtypes"]["macro_f1"]
        lines.append(
            f"subtypes: macro-F1 {f1['value']:.3f} ({f1['low']:.3f}-{f1['high']:.3f}), always the "
            f"commonest {f1['majority']:.3f}, n = {len(named)}"
        )
    write_text(out / "results.json", json.dumps(summary, indent=1) + "\n")
    return "\n".join(lines)


def dice_line(name: str, summary: dict[str, Any]) -> str:
    """``network: Dice 0.712 (0.640-0.771), n = 30 of 12 patients``."""
    d = summary["dice"]
    return (
        f"{name}: Dice {d['mean']:.3f} ({d['low']:.3f}-{d['high']:.3f}), "
        f"n = {d['n']} of {d['n_patients']} patients"
    )


TASKS = {
    "slices2d": Task(
        lambda data, work, sizes, seed: slices2d_parts(data, work, sizes.size, seed),
        train_slices,
        score_on_slices,
        predict_by_slices,
        {"resnet50_unet": "06", "resnet18_unet": "06", "swin_unet": "07", "unetr": "08"},
        ("network", "window", "size"),
    ),
    "volumes3d": Task(
        volumes3d_parts,
        train_volumes,
        score_on_volumes,
        predict_by_windows,
        dict.fromkeys(("unet3d", "monai_unet", "segresnet", "swin_unetr"), "10"),
    ),
    "text3d": Task(
        volumes3d_parts,
        train_text,
        score_on_noted,
        predict_with_note,
        {"text_unet3d": "15"},
        build=build_as_trained,
    ),
    "pancreas": Task(
        multitask_parts,
        train_multitask,
        score_multitask,
        predict_with_subtype,
        {"multitask_unet3d": "17"},
    ),
}


def evaluate_to_csv(predictions_dir: Path, reference_dir: Path, out: Path) -> str:
    """Score a folder of masks against the reference, write the table, and say the means.

    Returns:
        One line a metric with its 95 % interval, and how many were missed or false alarms.
    """
    rows = evaluation.evaluate_folders(predictions_dir, reference_dir)
    write_case_table(out, rows)
    summary = evaluation.summarise(rows)
    counts = summary.pop("counts")
    lines = [
        f"{name}: {s['mean']:.3f} ({s['low']:.3f}-{s['high']:.3f})" for name, s in summary.items()
    ]
    told = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.items())
    return "\n".join([*lines, told])
