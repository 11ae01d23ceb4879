"""Does the note help? Text-guided 3D segmentation on the phantom thorax_notes, with every control.

    python benchmarks/text_guided.py --seeds 0 1 2

Every patient has two nodules or more and one tumour; the note says which it is. For each seed the
network of lesson 15 is trained on more patients and for longer, with notes, and without them for as
many steps from the same image-only start. Validation and test patients are scored together: nothing
was chosen on them. The notes are right but where a row says otherwise; the training saw notes as
they come, some missing and some wrong. "Other words" are new to the segmentation, not to the small
Llama, which has read all three wordings.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from options import options_of, same_work

from seg_lib import evaluation, text3d, text_inference
from seg_lib.course.profiles import Settings, settings
from seg_lib.data.cases import read_cases
from seg_lib.data.notes import read_clinical, row_to_note
from seg_lib.data.patches import positions_of
from seg_lib.data.phantom import CLINICAL_CSV, lung_volume, make_phantom
from seg_lib.data.volumes import Prepared, load_volumes
from seg_lib.files import write_text
from seg_lib.tasks import dice_line
from seg_lib.volumes3d import preparation_of, sliding_of, volumes3d_parts

RESULTS = Path(__file__).parent / "results" / "text_guided.json"
OTHER_SIDE = {"left": "right", "right": "left"}
UNSEEN_WORDING = 2  # hospital "home" writes in the wordings 0 and 1
# Against the lesson: 294 patients to train on and not 70, fewer patches of each, more epochs.
# Validation comes after the last epoch, so nothing is chosen on it.
LONGER = {"n_cases": 420, "patches": 5, "epochs": 12, "validate_every": 12}
EXTERNAL = ("external1", "external2")


def phantom(work: Path, n_cases: int, size: tuple, hospital: str) -> Path:
    """The folder of one hospital, made once."""
    folder = work / f"{hospital}-{n_cases}"
    if not (folder / "cases.csv").exists():
        make_phantom("thorax_notes", n_cases, size, 0, folder, hospital)
    return folder


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The clinical rows, which are always right, by patient."""
    return {row["patient"]: row for row in read_clinical(folder / CLINICAL_CSV).rows}


def wrong_side(row: dict) -> dict:
    """The same patient with the tumour on the other side; the left lung has no middle lobe."""
    side = OTHER_SIDE[row["side"]]
    lobe = "upper" if side == "left" and row["lobe"] == "middle" else row["lobe"]
    return row | {"side": side, "lobe": lobe}


def notes_of(volumes: Sequence[Prepared], rows: dict[str, dict]) -> dict[str, list[str]]:
    """What the network is told, by the name of the control."""
    own = [rows[volume.case.patient] for volume in volumes]
    right = [row_to_note(row) for row in own]
    return {
        "right note": right,
        "note as it came": [volume.case.note for volume in volumes],
        "other words": [row_to_note(row, UNSEEN_WORDING) for row in own],
        "empty note": [""] * len(own),
        "note of another patient": right[1:] + right[:1],
        "wrong side": [row_to_note(wrong_side(row)) for row in own],
    }


def two_sided(volume: Prepared, size: tuple) -> bool:
    """Whether the patient has nodules in both lungs, so that a wrong side can be drawn at all."""
    drawn = lung_volume(0, size, int(volume.case.patient[1:]), kind="thorax_notes")
    return len({nodule["lobe"][0] for nodule in drawn.nodules}) == 2


def follows(model, volumes: Sequence[Prepared], rows: dict, sizes: Settings) -> tuple[int, ...]:
    """(moved, n, two_sided): told the wrong side, is the middle of what is drawn on that side?

    ``two_sided`` patients have nodules in both lungs; of ``n`` of them anything is drawn.
    """
    moved, n, sided = 0, 0, 0
    for volume in volumes:
        row = wrong_side(rows[volume.case.patient])
        how = sliding_of(sizes)
        found = text_inference.logits_of(model, volume, row_to_note(row), how)[0, 0] > 0
        if not two_sided(volume, tuple(sizes.size)):
            continue
        sided += 1
        if not found.any():
            continue
        right = float(positions_of(volume.image.shape)[0][found].mean()) > 0
        moved, n = moved + (right == (row["side"] == "right")), n + 1
    return moved, n, sided


def one_seed(work: Path, sizes: Settings, seed: int) -> dict[str, Any]:
    """Rows of every control, and how often a wrong side was followed."""
    folder = phantom(work, sizes.n_cases, sizes.size, "home")
    parts = volumes3d_parts(folder, work, sizes, 0)
    judged, rows = parts[1] + parts[2], rows_of(folder)
    image_only = text3d.train_text(parts, work / f"image_{seed}", sizes, seed, with_notes=False)
    found = {"image only": text3d.score_noted(image_only, judged, [None] * len(judged), sizes)}
    shutil.rmtree(work / f"text_{seed}", ignore_errors=True)  # of a run that was broken off
    for part in ("image_only", text3d.LANGUAGE_MODEL):  # the same start for both
        shutil.copytree(work / f"image_{seed}" / part, work / f"text_{seed}" / part)
    model = text3d.train_text(parts, work / f"text_{seed}", sizes, seed, resume=True)
    for name, notes in notes_of(judged, rows).items():
        found[name] = text3d.score_noted(model, judged, notes, sizes)
    for name in EXTERNAL:
        there = phantom(work, 24, sizes.size, name)
        volumes, known = load_volumes(read_cases(there), preparation_of(sizes)), rows_of(there)
        right = [row_to_note(known[volume.case.patient]) for volume in volumes]
        found[f"{name}, right note"] = text3d.score_noted(model, volumes, right, sizes)
        nothing = [None] * len(volumes)
        found[f"{name}, image only"] = text3d.score_noted(image_only, volumes, nothing, sizes)
    return {"rows": found, "moved": follows(model, judged, rows, sizes)}


def summarised(runs: list[dict[str, Any]], seeds: list[int]) -> dict[str, Any]:
    """Dice of every control over all seeds, and the gain of the right note, paired by case."""
    table = {}
    for name in runs[0]["rows"]:
        together = [row for run in runs for row in run["rows"][name]]
        each = [float(np.mean([row["dice"] for row in run["rows"][name]])) for run in runs]
        table[name] = {"dice": evaluation.summarise(together)["dice"], "dice_by_seed": each}
        print(dice_line(name, table[name]))
    mean = {  # of a case over the seeds, so that a case counts once
        name: np.mean([[row["dice"] for row in run["rows"][name]] for run in runs], axis=0)
        for name in ("right note", "image only", "note of another patient")
    }
    gains = {
        f"right note against {name}": evaluation.paired_difference(mean["right note"], mean[name])
        for name in ("image only", "note of another patient")
    }
    counts = np.sum([run["moved"] for run in runs], axis=0).tolist()
    moved = dict(zip(("moved", "n", "two_sided"), counts, strict=True))
    return {"seeds": seeds, "table": table, "gains": gains, "moved": moved}


def main() -> None:
    """Train and judge; a seed that is done is not trained again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--work", type=Path, default=Path("runs/text_guided"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    words = parser.parse_args()
    same_work(words, "profile")
    usual, runs = settings("15", words.profile), []
    sizes = Settings("15", words.profile, dict(usual.sizes) | LONGER)
    for seed in words.seeds:
        kept = words.work / f"seed_{seed}.json"
        if not kept.exists():
            write_text(kept, json.dumps(one_seed(words.work, sizes, seed), default=float))
        runs.append(json.loads(kept.read_text()))
    result = summarised(runs, words.seeds) | {"machine": machine()}
    result["options"] = options_of(words)
    result["sizes"] = {k: v for k, v in sizes.sizes.items() if v != ""}
    write_text(words.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
