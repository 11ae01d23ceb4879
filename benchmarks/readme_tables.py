"""Write the measured tables of README.md and of the guides anew, from lessons and results.

    python benchmarks/readme_tables.py [--check]

Between ``<!-- name -->`` and ``<!-- end name -->`` nothing is typed by hand; ``--check`` only says
whether all is up to date. In a guide ``<!-- minutes 00,12 -->`` is a table of these lessons.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import tables_glance
import tables_pancreas
import tables_ratings
import tables_slices
import tables_volumes
from tables_pancreas import UNKNOWN, gap_of, mean_of, read

from seg_lib.charts import markdown_table
from seg_lib.comparison import interval
from seg_lib.course.exercises import exercises_of
from seg_lib.course.lesson import METRIC_MIME
from seg_lib.course.notebooks import find_notebooks, read_notebook
from seg_lib.course.ways_in import launch_links, repository
from seg_lib.files import write_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def recorded(notebook: dict) -> dict[str, float]:
    """What a published lesson recorded, by name."""
    outputs = (o for cell in notebook["cells"] for o in cell.get("outputs", []))
    metrics = [o["data"][METRIC_MIME] for o in outputs if METRIC_MIME in o.get("data", {})]
    return {metric["name"]: metric["value"] for metric in metrics}


def lessons() -> str:
    """The map of the lessons with what each took when it was published."""
    rows = []
    for book in find_notebooks(ROOT / "notebooks"):
        notebook = read_notebook(book.path)
        stamp = notebook["metadata"]["seg_lib"]
        title = notebook["cells"][0]["source"]
        title = "".join(title).splitlines()[0].split("·", 1)[-1].strip()
        link = f"[{book.path.stem}](notebooks/{book.path.name})"
        rows.append({"lesson": link, "what": title, "seconds": str(round(stamp["seconds"]))})
        rows[-1]["GB"] = f"{stamp['peak_mb'] / 1000:.1f}"
        if ways := launch_links(repository(ROOT), book.path):
            rows[-1]["open in"] = ", ".join(f"[{name}]({link})" for name, link in ways.items())
    together = sum(int(row["seconds"]) for row in rows) / 60
    return f"{markdown_table(rows)}\n\nTogether {together:.0f} minutes."


def minutes(numbers: str) -> str:
    """What a teacher plans with: how long and how large some lessons were, and their exercises."""
    rows = []
    for book in find_notebooks(ROOT / "notebooks", numbers):
        notebook = read_notebook(book.path)
        stamp = notebook["metadata"]["seg_lib"]
        rows.append({"lesson": book.path.stem, "minutes": f"{stamp['seconds'] / 60:.1f}"})
        rows[-1]["GB"] = f"{stamp['peak_mb'] / 1000:.1f}"
        levels = {id_: exercise.level for id_, exercise in exercises_of(book.number).items()}
        rows[-1]["exercises (level)"] = ", ".join(f"{id_} ({n})" for id_, n in levels.items())
    note = "Level 1: change a number; 2: write a function; 3: design."
    return f"{markdown_table(rows)}\n\n{note}"


def phantom() -> str:
    """Lesson 06: the network beside what does not learn, on phantom patients never seen."""
    path = next((ROOT / "notebooks").glob("06_*.ipynb"))
    notebook = read_notebook(path)
    found = recorded(notebook)
    stamp = notebook["metadata"]["seg_lib"]
    names = {
        "network": "ResNet50-U-Net",
        "threshold": "threshold + largest component",
        "majority": "majority vote of the training masks",
        "nothing": "nothing",
    }
    rows = []
    for key, name in names.items():
        values = [found[f"test_dice_{key}{end}"] for end in ("", "_low", "_high")]
        rows.append({"method": name, "test Dice (95 % interval)": interval(*values)})
    note = (
        f"n = {found['test_slices']} slices of phantom patients that the network has not seen; "
        f"profile {stamp['profile']}, seed {stamp['seed']}, {found['train_slices']} training "
        f"slices, {stamp['seconds']:.0f} s for the whole lesson on two cores, torch "
        f"{stamp['torch']}. Best validation Dice {found['val_dice']:.3f}."
    )
    return markdown_table(rows) + "\n\n" + note


def text() -> str:
    """Text-guided segmentation: what the note is worth, and its controls."""
    path = RESULTS / "text_guided.json"
    if not path.is_file():
        return "Not measured yet."
    result = json.loads(path.read_text())
    rows = []
    for name, found in result["table"].items():
        d = found["dice"]
        row = {
            "told": name,
            "n": d["n"],
            "Dice (95 % interval)": interval(d["mean"], d["low"], d["high"]),
        }
        row["each seed"] = ", ".join(f"{value:.3f}" for value in found["dice_by_seed"])
        rows.append(row)
    gains = [
        f"{name}: {interval(g['difference'], g['low'], g['high'], '+')}"
        for name, g in result["gains"].items()
    ]
    moved = result["moved"]
    note = (
        f"\n\nSeeds {result['seeds']}. Dice gained by case, {'; '.join(gains)}. "
        f"Told the wrong side, the network drew there in {moved['moved']} of the {moved['n']} "
        "cases with nodules in both lungs in which it drew anything."
    )
    return markdown_table(rows) + note


def modalities() -> str:
    """CT and PET as two channels, and what becomes of it when one is missing."""
    result = read("two_modalities")
    if not result:
        return UNKNOWN
    rows = []
    for name, found in result["table"].items():
        judged = {f"Dice with {key} (95 % interval)": mean_of(one) for key, one in found.items()}
        rows.append({"learned from": name} | judged)
    gains = [f"{name}: {gap_of(gap)}" for name, gap in result["gains"].items()]
    (train, n), about = result["cases"], result["machine"]
    note = (
        f"\n\n{train} patients to train, {result['epochs']} epochs of {result['patches']} patches "
        f"of each; n = {n} patients of another seed to judge; seeds {result['seeds']}; "
        f"{result['minutes']:.0f} minutes in all with {about['threads']} thread of "
        f"{about['processor']}. Differences in Dice of the same patients: {'; '.join(gains)}."
    )
    return markdown_table(rows, list(rows[-1])) + note


def speed() -> str:
    """Times beside the peers, as ratios within one run."""
    result = json.loads((RESULTS / "metrics_speed.json").read_text())
    rows = []
    for name, values in result["results"].items():
        rows.append({"call": name, "median ms": f"{values['median_ms']:.1f}"})
        rows[-1]["times ours"] = f"{values['times_ours']:.1f}"
    about = result["machine"]
    note = f"\n\nMedians with {about['threads']} thread of {about['processor']}."
    return markdown_table(rows) + note


def dicom() -> str:
    """A DICOM series to .nii.gz: seconds and sizes beside the peers."""
    result = json.loads((RESULTS / "dicom_speed.json").read_text())
    rows = []
    for name, found in result["results"].items():
        rows.append({"converter": name, "median s": f"{found['median_s']:.2f}"})
        rows[-1] |= {"times ours": f"{found['times_ours']:.2f}", "MB": f"{found['megabytes']:.1f}"}
    about = result["machine"]
    note = (
        f"\n\n120 made-up slices of 512 x 512, {result['repeats']} repeats in turn, "
        f"{about['threads']} threads of {about['processor']}."
    )
    return markdown_table(rows) + note


def deidentification() -> str:
    """Recall and precision of the rules on made-up notes."""
    result = json.loads((RESULTS / "deidentification.json").read_text())
    rows = []
    for name, found in result["results"].items():
        worst = min(found["recall_by_type"], key=found["recall_by_type"].get)
        rows.append({"notes": f"{name}, {found['notes']}", "recall": f"{found['recall']:.3f}"})
        lowest = f"{worst.upper()} {found['recall_by_type'][worst]:.3f}"
        rows[-1]["lowest of the types"] = lowest
        rows[-1]["word precision"] = f"{found['word_precision']:.3f}"
        rows[-1]["clinical terms kept"] = f"{found['terms_kept']:.3f}"
        rows[-1]["s for 1,000"] = f"{found['cpu_seconds_per_1000_notes']:.2f}"
    return markdown_table(rows) + "\n\n" + result["about"]


def steps() -> str:
    """Seconds of a training step in float32 and in bfloat16, and the Dice after equal steps."""
    result = json.loads((RESULTS / "training_speed.json").read_text())
    rows = []
    for name, found in result["networks"].items():
        row = {"network": name, "float32 s": f"{found['float32_s']:.2f}"}
        row |= {"bf16 s": f"{found['bf16_s']:.2f}", "times faster": f"{found['ratio']:.2f}"}
        dice = found.get("dice")
        row["Dice float32"] = f"{dice['float32']:.3f}" if dice else "not measured"
        gap = dice and dice["bf16_minus_float32"]
        row["bf16 - float32"] = (
            interval(gap["difference"], gap["low"], gap["high"], "+") if gap else ""
        )
        rows.append(row)
    about = result["machine"]
    note = f"\n\nBatches {result['shape']}, {about['threads']} thread of {about['processor']}."
    told = [found["dice"] for found in result["networks"].values() if "dice" in found]
    if told:
        gap = told[0]["bf16_minus_float32"]
        note += f" Dice: smaller networks on 96 pixels, {told[0]['epochs']} epochs, mean of "
        note += f"{len(told[0]['of_each_seed'])} seeds, n = {gap['n']} slices of {gap['n_groups']} "
        note += "patients."
    if not result.get("dice_machine", {}).get("bf16_instructions", True):
        note += " The Dice was measured on a processor without bfloat16 instructions: it computes"
        note += " the same numbers, slower."
    return markdown_table(rows) + note


def layout() -> str:
    """Times faster a 3D training step is with channels last, in float32."""
    result = json.loads((RESULTS / "layout_speed.json").read_text())
    found = [f"{name} {of['ratio']:.2f}" for name, of in result["networks"].items()]
    about = result["machine"]
    return (
        f"In 3D, float32, channels last is faster by the factor: {', '.join(found)} (batches "
        f"{result['shape']}, {about['threads']} thread of {about['processor']}, "
        f"{'with' if about['bf16_instructions'] else 'without'} bfloat16 instructions)."
    )


def viewer() -> str:
    """From a key to the picture in the browser."""
    found = json.loads((RESULTS / "viewer_frames.json").read_text())
    shape = " x ".join(map(str, found["shape"]))
    ways = {"held": "while a key is held down", "steady": "with ten keys a second"}
    times = [
        f"median {row['median_ms']:.0f} ms, slowest {row['slowest_ms']:.0f} ms {ways[way]}"
        for way, row in found.items()
        if way in ways
    ]
    return (
        f"From key to picture in the browser: {'; '.join(times)} ({found['held']['n']} frames "
        f"each, CT of {shape} voxels, mask and prediction, JupyterLab and chromium on the same "
        f"{found['cores']} cores)."
    )


TABLES = {"lessons": lessons, "phantom": phantom}
TABLES |= {"speed": speed, "steps": steps, "text": text}
TABLES |= {"modalities": modalities, "viewer": viewer, "layout": layout}
TABLES |= tables_pancreas.TABLES | tables_ratings.TABLES | tables_volumes.TABLES
TABLES |= tables_glance.TABLES | tables_slices.TABLES
TABLES |= {"dicom": dicom, "deidentification": deidentification}


def updated(text: str) -> str:
    """A document with its tables as they are now."""
    for name, table in TABLES.items():
        block = rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)"
        if not re.search(block, text, re.DOTALL):
            continue
        text = re.sub(block, lambda m, t=table: f"{m[1]}{t()}\n{m[2]}", text, flags=re.DOTALL)
    block = r"(<!-- minutes ([\d,]+) -->\n).*?(<!-- end minutes -->)"
    return re.sub(block, lambda m: f"{m[1]}{minutes(m[2])}\n{m[3]}", text, flags=re.DOTALL)


def main() -> int:
    """Rewrite the tables, or say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    words = parser.parse_args()
    stale = []
    for path in [ROOT / "README.md", *sorted(ROOT.glob("notebooks/guides/*.md"))]:
        before = path.read_text(encoding="utf-8")
        text = updated(before)
        if text != before:
            stale.append(path.name)
            if not words.check:
                write_text(path, text)
    if words.check:
        print(f"{', '.join(stale)} is stale: make tables." if stale else "All is up to date.")
    return int(words.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
