"""Do a radiologist's ratings help? Real lung nodules (LIDC-IDRI), ratings put into notes.

    python benchmarks/nodule_ratings.py --data DIR --seeds 0 1 2 3 4

DIR holds image/, nodule_mask/ and nodules.csv; README says how to get the public collection.

To classify: `nodule_malignancy.py`. To segment: seed k tests the patients of fold k with the
text-guided network of lesson 15, at 1 mm. From one image-only start of the seed, three networks are
trained for as many steps on the same patches: by the image alone, with notes, and with notes that
are all empty. The last one is the control: it has the same weights as the second, and the
positions of the voxels too, which in a block that is cut around its nodule say where the nodule is.
What the second one gains over the first, the third may gain without having been told anything.

A seed that is done is not trained again; ``--seeds`` with fewer numbers reports these.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from nodule_malignancy import malignancy
from nodule_notes import Rated, note_of, read_ratings
from options import options_of, same_work
from real_nodules_2d import FOLDS, fold_of
from real_nodules_3d import Block, ellipsoids, read_blocks, scored, through_1_mm

from seg_lib import evaluation, text3d
from seg_lib.data.case_rules import first_few
from seg_lib.data.patches import NotedPatches, greys
from seg_lib.data.volumes import Preparation
from seg_lib.errors import InputError
from seg_lib.files import write_text
from seg_lib.inference import SlidingWindow, mask_of
from seg_lib.metrics import dice
from seg_lib.models.presets import sizes_for
from seg_lib.models.text_guided import TextGuided
from seg_lib.small_llama import train_small_llama
from seg_lib.steps import text_segmentation_step
from seg_lib.tasks import dice_line
from seg_lib.text_inference import logits_of
from seg_lib.training import TrainConfig, fit, load_weights, seed_everything
from seg_lib.volumes3d import dice_ce_of_batch

RESULT = "nodule_ratings.json"
PREPARATION = Preparation(spacing_mm=(1.0, 1.0, 1.0), box="all")
PATCH = (32, 32, 8)
NETWORK = sizes_for("text_unet3d", 0, "small") | {"features": (16, 32, 64)}
HOW = SlidingWindow(PATCH, overlap=0.25, skip_air=False)
ENCODER = {"order": "note_first", "prompt_std": 0.1}
BUDGET = 200  # tokens of a note; words that the small Llama has not read are spelt
IMAGE, EMPTY, NOTES = "image only", "empty notes", "notes"
OTHER, UNTOLD = "notes of another nodule", "notes left empty in the test"
BLIND = "ellipsoid from the block's size"
PAIRS = ((NOTES, EMPTY), (NOTES, OTHER), (NOTES, UNTOLD), (NOTES, IMAGE), (EMPTY, IMAGE))
PAIRS += ((IMAGE, BLIND),)
KEPT = ("case", "patient", "dice", "volume_ml", "reference_volume_ml")


def with_notes(blocks: Sequence[Block], table: dict[str, Rated]) -> list[Block]:
    """The blocks with the notes of their lines.

    Raises:
        InputError: a block without a line.
    """
    if absent := [b.ready.case.case for b in blocks if b.ready.case.case not in table]:
        raise InputError(f"no ratings of {len(absent)} blocks: {first_few(absent)}; add the lines.")
    return [told(b, note_of(table[b.ready.case.case].ratings)) for b in blocks]


def told(block: Block, note: str) -> Block:
    """The block with this note."""
    case = dataclasses.replace(block.ready.case, note=note)
    return dataclasses.replace(block, ready=dataclasses.replace(block.ready, case=case))


def language_model(work: Path, seed: int, steps: int) -> str:
    """The folder of a small Llama, trained if it is not there."""
    folder = work / f"llama_{seed}"
    if not (folder / "config.json").exists():
        train_small_llama(folder, steps, seed)
    return str(folder)


def trained(
    train: list[Block], work: Path, condition: str, words: argparse.Namespace
) -> TextGuided:
    """One training; all but that of the start begin with the start.

    Args:
        train: with notes.
        work: folder of the seed.
        condition: "start", or one of IMAGE, EMPTY, NOTES.
        words: ``seed``, ``llama`` and the sizes of `main`.
    """
    seed_everything(words.seed)
    model = text3d.text_guided(words.llama, ENCODER, NETWORK)
    model.budget = BUDGET
    model.standardise([block.ready.case.note for block in train])
    if condition != "start":
        load_weights(model, work / "start" / "best.safetensors")
    epochs = words.image_epochs if condition == "start" else words.epochs
    ready = [(told(block, "") if condition == EMPTY else block).ready for block in train]
    drawn = {"patches": 1, "positives": 1.0, "batch_size": words.batch, "jitter": 0.3}
    drawn |= {"augment": greys, "seed": words.seed, "other_note": 0.0, "without_note": 0.0}
    step = partial(
        text_segmentation_step, loss=dice_ce_of_batch, with_notes=condition in (EMPTY, NOTES)
    )
    config = TrainConfig(
        epochs=epochs, learning_rate=words.learning_rate, seed=words.seed, checkpoint_every=epochs
    )
    out = work / condition.replace(" ", "_")
    done = (out / "last.safetensors").is_file()
    fit(model, step, NotedPatches(ready, PATCH, **drawn), config, out, resume=done)
    load_weights(model, out / "best.safetensors")
    if cut := [note for note, n in model.n_cut.items() if n]:
        raise InputError(f"{len(cut)} notes are longer than {BUDGET} tokens; raise BUDGET.")
    return model.eval()


def masks_of(
    model: TextGuided, blocks: Sequence[Block], notes: Sequence[str | None]
) -> list[np.ndarray]:
    """The mask of every block with its note, on the grid of its file."""
    pairs = zip(blocks, notes, strict=True)
    return [mask_of(logits_of(model, b.ready, note, HOW), b.ready.place) for b, note in pairs]


def others(notes: Sequence[str]) -> list[str]:
    """For every nodule the note of one that is half the list away, mostly of another patient."""
    half = len(notes) // 2
    return [*notes[half:], *notes[:half]]


def once(path: Path, make: Callable[[], Any]) -> Any:
    """What is in a file, which is made if it is not there."""
    if not path.exists():
        write_text(path, json.dumps(make(), default=float))
    return json.loads(path.read_text())


def one_seed(blocks: list[Block], words: argparse.Namespace) -> dict[str, Any]:
    """Rows of every method on the nodules of one fold; each is kept as soon as it is there."""
    fold, work = words.seed % FOLDS, words.work / f"seed_{words.seed}"
    train, test = ([blocks[i] for i in at] for at in fold_of([b.ready.case for b in blocks], fold))
    own, nothing = [block.ready.case.note for block in test], [""] * len(test)
    asked = {IMAGE: {IMAGE: [None] * len(test)}, EMPTY: {EMPTY: nothing}}
    asked |= {NOTES: {NOTES: own, OTHER: others(own), UNTOLD: nothing}}

    def judged(condition: str) -> dict[str, list]:
        once(work / "start.json", lambda: bool(trained(train, work, "start", words)))
        model = trained(train, work, condition, words)
        masks = {name: masks_of(model, test, notes) for name, notes in asked[condition].items()}
        found = {name: scored(test, m, fold) for name, m in masks.items()}
        if condition == NOTES:  # how much another note changes of what is drawn
            for row, a, b in zip(found[OTHER], masks[NOTES], masks[OTHER], strict=True):
                row["dice_of_both"] = dice(a, b)
        return found

    def unseen() -> dict[str, list]:
        masks = {BLIND: ellipsoids(train, test)}
        masks |= {"truth through 1 mm and back": [through_1_mm(block) for block in test]}
        return {name: scored(test, m, fold) for name, m in masks.items()}

    rows: dict[str, list] = {}
    for condition in asked:
        name = f"{condition.replace(' ', '_')}.json"
        rows |= once(work / name, partial(judged, condition))
    rows |= once(work / "unseen.json", unseen)
    same = np.mean([a == b for a, b in zip(own, others(own), strict=True)])
    return {"rows": rows, "same_notes": float(same)}


def summarised(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Dice of every row over all seeds, and the paired differences, by patient and seed by seed."""
    table, gaps = {}, {}
    for name in runs[0]["rows"]:
        together = [row for run in runs for row in run["rows"][name]]
        wanted = [{k: v for k, v in row.items() if k in KEPT} for row in together]
        table[name] = {"dice": evaluation.summarise(wanted)["dice"]}
        table[name]["by_seed"] = [dice_in(run, name).mean() for run in runs]
        print(dice_line(name, table[name]))
    patients = [row["patient"] for run in runs for row in run["rows"][NOTES]]
    for one, other in PAIRS:
        each = [(dice_in(run, one), dice_in(run, other)) for run in runs]
        a, b = (np.concatenate(values) for values in zip(*each, strict=True))
        gap = evaluation.paired_difference(a, b, patients)
        gaps[f"{one} - {other}"] = gap | {"by_seed": [(x - y).mean() for x, y in each]}
    both = [row["dice_of_both"] for run in runs for row in run["rows"][OTHER]]
    heard = {"dice_of_both": np.mean(both), "same_notes": np.mean([r["same_notes"] for r in runs])}
    return {"table": table, "gaps": gaps, "other_note": heard}


def dice_in(run: dict[str, Any], name: str) -> np.ndarray:
    """(N,) Dice of a method in a run."""
    return np.array([row["dice"] for row in run["rows"][name]])


def main() -> None:
    """Classify, then train and judge seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--work", type=Path, default=Path("runs/nodule_ratings"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--image-epochs", type=int, default=3, help="of the start")
    parser.add_argument("--epochs", type=int, default=2, help="of each of the three from there")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--llama-steps", type=int, default=150)
    parser.add_argument("--threads", type=int, default=1)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    options = options_of(words)
    same_work(words, "data", "image_epochs", "epochs", "batch", "learning_rate", "llama_steps")
    table = read_ratings(words.data / "nodules.csv")
    blocks = with_notes(read_blocks(words.data, PREPARATION), table)
    rated = [table[block.ready.case.case] for block in blocks]
    volumes = [float(b.truth.sum()) * math.prod(b.spacing_mm) / 1000 for b in blocks]
    notes = [block.ready.case.note for block in blocks]
    llamas = [language_model(words.work, seed, words.llama_steps) for seed in words.seeds]
    runs = []
    for seed, llama in zip(words.seeds, llamas, strict=True):
        words.seed, words.llama = seed, llama
        runs.append(one_seed(blocks, words))
    kept = words.work / f"malignancy_{'_'.join(map(str, words.seeds))}.json"
    result = {"seeds": words.seeds, "epochs": [words.image_epochs, words.epochs]}
    result |= {"options": options, "machine": machine(), "segmentation": summarised(runs)}
    result |= {"malignancy": once(kept, lambda: malignancy(rated, volumes, notes, llamas))}
    for name, found in result["malignancy"]["table"].items():
        print(f"{name}: AUC {found['auc']:.3f} ({found['low']:.3f}-{found['high']:.3f})")
    write_text(words.out / RESULT, json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
