"""Out of fold: every patient judged once, by a network of lesson 17 that has not seen him.

    python benchmarks/pancreas_folds.py

Five trainings, each on four fifths of the patients (an eighth of them validates), with the head
fitted afterwards; subtypes are spread evenly over the folds. Five times as many patients are judged
as by one split, so the intervals are less than half as wide; they hold for the recipe, not for one
network.
"""

import json
from pathlib import Path

import numpy as np
import pancreas_runs
from machine import machine
from options import options_of

from seg_lib import multitask
from seg_lib.classification import classification_summary
from seg_lib.data.cases import Case, read_cases
from seg_lib.data.volumes import Preparation, load_volumes
from seg_lib.evaluation import bootstrap_interval
from seg_lib.files import write_text
from seg_lib.multitask_scores import score_multitask
from seg_lib.nnunet_plan import fingerprint

MEASURES = ("dice", "label1_dice", "lesion_dice", "lesion_hd95_mm")
VALIDATES = 8  # one in eight of those that are not judged


def fold_of(cases: list[Case], folds: int) -> dict[str, int]:
    """Fold of every case; each fold has as many of each subtype as the others, to within one."""
    found, seen = {}, {}
    for case in cases:
        place = seen.setdefault(case.subtype, 0)
        found[case.case] = place % folds
        seen[case.subtype] = place + 1
    return found


def parts_of(cases: list[Case], fold: int, folds: int, spacing_mm) -> multitask.Parts:
    """Train, validation and judged volumes; the HU window comes from the first."""
    number = fold_of(cases, folds)
    judged = [case for case in cases if number[case.case] == fold]
    others = [case for case in cases if number[case.case] != fold]
    validates = fold_of(others, VALIDATES)
    val = [case for case in others if validates[case.case] == 0]
    train = [case for case in others if validates[case.case] != 0]
    window = fingerprint(train, multitask.N_CLASSES).window
    how = Preparation(spacing_mm=spacing_mm, window=window, box="all")
    return tuple(load_volumes(part, how, multitask.N_CLASSES) for part in (train, val, judged))


def rows_of(fold: int, words, cases: list[Case]) -> list[dict]:
    """Train without a fold and judge it; done once."""
    kept = words.work / f"fold_{fold}_of_{words.folds}.json"
    if not kept.is_file():
        sizes = pancreas_runs.lesson(words, head="afterwards")
        parts = parts_of(cases, fold, words.folds, sizes.spacing_mm)
        model = multitask.train_multitask(parts, kept.with_suffix(""), sizes, words.seed)
        rows = score_multitask(model, parts, sizes)["network"]
        write_text(kept, json.dumps(rows, default=float))
    return json.loads(kept.read_text())


def main() -> None:
    """Train and judge every fold, and write the summary of all patients."""
    parser = pancreas_runs.parser(__doc__)
    parser.add_argument("--folds", type=int, default=5)
    words = parser.parse_args()
    pancreas_runs.data(words)
    folder = words.work / "raw" / "Dataset001_Pancreas"
    cases = [case for case in read_cases(folder) if case.split != "test"]
    rows = []
    for fold in range(words.folds):
        rows += rows_of(fold, words, cases)
        print(fold, len(rows), np.mean([row["lesion_dice"] for row in rows]), flush=True)
    result = {"n": len(rows), "folds": words.folds, "machine": machine()}
    result["options"] = options_of(words)
    for measure in MEASURES:
        values = [row[measure] for row in rows]
        low, high = bootstrap_interval(values)
        result[measure] = {"mean": float(np.mean(values)), "low": low, "high": high}
    named = [int(np.argmax(row["chances"])) for row in rows]
    result["subtypes"] = classification_summary(named, [row["subtype"] for row in rows], 3)
    path = Path(words.out) / "pancreas_folds.json"
    write_text(path, json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
