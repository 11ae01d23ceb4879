"""A card beside every trained network: what it is, what it saw, how well it does, its limits.

README.md in the form of the Hugging Face hub, written from what a run says of itself (the weights'
file, history.json and, once test cases are scored, results.json): nothing is typed by hand. Taught
in notebook 06.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from seg_lib.comparison import interval
from seg_lib.files import write_text
from seg_lib.run_log import read_history

CARD, WEIGHTS, RESULTS = "README.md", "best.safetensors", "results.json"
HEAD = """---
license: apache-2.0
library_name: seg-lib
pipeline_tag: image-segmentation
tags: [ct, medical, segmentation]
---
"""
LIMITS = """Not a medical device, not for patients. It has seen the cases named above, nothing else:
on another scanner, dose, contrast phase or kind of lesion its Dice is not known. A network that
was trained on phantoms has never seen a person. Intervals are 95 % bootstrap intervals over the
test patients, not over trainings with other seeds.
"""
USE = """```python
from seg_lib.trained import load_trained

load_trained("FOLDER OR hf:OWNER/NAME").predict("scan.nii.gz", "mask.nii.gz")
```

`seg-lib predict FOLDER scan.nii.gz --out masks` does the same from the command line.
"""
METRICS = {"dice": "Dice", "iou": "IoU", "hd95_mm": "HD95 mm", "rmse": "RMSE"}
METRICS |= {"lesion_recall": "lesions found"}
ENDS = ("mean", "low", "high")


def write_card(run_dir: str | Path, cases: Mapping[str, int] | None = None) -> Path:
    """Write README.md into a run's folder; ``cases`` counts those of each split."""
    run_dir = Path(run_dir)
    with safe_open(run_dir / WEIGHTS, framework="pt") as stream:  # the table alone, no tensor
        about = json.loads(stream.metadata()["about"])
        shapes = [stream.get_slice(name).get_shape() for name in stream.keys()]  # noqa: SIM118
    about["numbers"] = sum(map(math.prod, shapes))
    results = run_dir / RESULTS
    scores = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    path = run_dir / CARD
    write_text(path, card(about, read_history(run_dir), scores, cases or {}))
    return path


def card(
    about: dict[str, Any], run: dict[str, Any], scores: dict[str, Any], cases: Mapping[str, int]
) -> str:
    """The text of the card.

    Args:
        about: of the checkpoint, with ``numbers``, how many its tensors hold.
        run: as `read_history` gives it.
        scores: of results.json; {} if no test cases were scored.
        cases: split -> how many.
    """
    name = about.get("network", "network")
    counts = ", ".join(f"{n} {split}" for split, n in cases.items()) or "not noted"
    told = {k: v for k, v in about.items() if k not in ("format", "result", "numbers", "notes")}
    best = {k: v for k, v in about.get("result", {}).items() if isinstance(v, int | float)}
    parts = [
        f"{HEAD}# {name}, task {about.get('task', 'of its own')}",
        f"{about['numbers']:,} numbers in `{WEIGHTS}`, built from:\n\n{_table(told)}",
        f"## Data\n\nCases: {counts}. Split by patient.",
        f"## Training\n\n{_table(run['config'] | {'epochs trained': len(run['history'])})}\n\n"
        f"The epoch that was kept, on the validation cases:\n\n{_table(best)}",
        f"## Results on the test cases\n\n{_scores(scores)}",
        f"## Limits\n\n{LIMITS}",
        f"## Use\n\n{USE}",
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _table(values: Mapping[str, Any]) -> str:
    cells = (f"| {k} | {_cell(v)} |" for k, v in values.items() if v is not None)
    return "\n".join(["| | |", "| --- | --- |", *cells])


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
    return text.strip('"').replace("|", r"\|")


def _scores(scores: dict[str, Any]) -> str:
    """One line a method: every metric with its interval."""
    methods = {name: found for name, found in scores.items() if "dice" in found}
    if not methods:
        return "None were scored with this run."
    known = [m for m in METRICS if any(m in found for found in methods.values())]
    lines = [f"| method | n | patients | {' | '.join(METRICS[m] for m in known)} |"]
    lines.append("| --- " * (len(known) + 3) + "|")
    for name, found in methods.items():
        values = [[found[m][end] for end in ENDS] if m in found else [] for m in known]
        numbers = [interval(*value) if value else "" for value in values]
        dice = found["dice"]
        lines.append(f"| {name} | {dice['n']} | {dice['n_patients']} | {' | '.join(numbers)} |")
    if "subtypes" in scores:
        f1 = scores["subtypes"]["macro_f1"]
        value = interval(f1["value"], f1["low"], f1["high"])
        always = f"always naming the commonest has {f1['majority']:.3f}."
        lines.append(f"\nSubtypes: macro-F1 {value}; {always}")
    return "\n".join(lines)
