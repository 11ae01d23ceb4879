"""README's tables about the pancreas: recipe, nnU-Net beside it, faster inference, eight bits."""

import json
from pathlib import Path

from seg_lib.charts import markdown_table
from seg_lib.comparison import interval

RESULTS = Path(__file__).parent / "results"
UNKNOWN = "Not measured yet."


def read(name: str) -> dict:
    """A result, empty if there is none yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def gap_of(gap: dict | None) -> str:
    """A difference with its sign and interval."""
    return interval(gap["difference"], gap["low"], gap["high"], "+") if gap else ""


def mean_of(found: dict) -> str:
    """A mean with its interval."""
    return interval(found["mean"], found["low"], found["high"])


def pancreas() -> str:
    """Pancreas, lesion and subtype with one thing of the recipe changed at a time."""
    result = read("pancreas_multitask")
    if not result:
        return UNKNOWN
    rows = []
    for name, found in result["table"].items():
        row = {"recipe": name, "pancreas": f"{found['dice']['mean']:.3f}"}
        lesion = found["lesion_dice"]
        row["lesion (95 % interval)"] = interval(lesion["mean"], lesion["low"], lesion["high"])
        gap = lesion.get("minus")
        row["lesion, minus the first"] = (
            interval(gap["difference"], gap["low"], gap["high"], "+") if gap else ""
        )
        f1 = found.get("subtypes", {}).get("macro_f1")
        row["macro-F1"] = interval(f1["value"], f1["low"], f1["high"]) if f1 else ""
        rows.append(row)
    first = next(iter(result["table"].values()))
    always = first["subtypes"]["macro_f1"]["majority"]
    (train, val, test), about = result["cases"], result["machine"]
    note = (
        f"\n\n{train} cases to train, {val} to validate, n = {test} of another seed to judge; "
        f"{result['epochs']} epochs, one seed; {first['seconds']:.0f} s of training for the first "
        f"row, threads: {about['threads']} of {about['processor']}. Always naming the commonest "
        f"subtype has a macro-F1 of {always:.3f}."
    )
    return markdown_table(rows) + note


def versus() -> str:
    """nnU-Net itself: what it learns from the same cases, and how long both take to predict."""
    result = read("versus_nnunet")
    if not result:
        return UNKNOWN
    rows = []
    for name, found in result["table"].items():
        row = {"training": name, "steps": str(found["steps"]), "s": f"{found['seconds']:.0f}"}
        row["weights"] = f"{found['parameters']:,}"
        row["pancreas (95 % interval)"] = mean_of(found["dice"])
        row["minus ours"] = gap_of(found["dice"].get("minus_ours"))
        row["lesion (95 % interval)"] = mean_of(found["lesion_dice"])
        row["minus ours "] = gap_of(found["lesion_dice"].get("minus_ours"))
        rows.append(row)
    train, val, judged = result["cases"]
    about = result["machine"]
    note = (
        f"{train} cases to train, {val} to validate, n = {judged} of another seed to judge; one "
        f"seed; threads: {about['threads']} of {about['processor']}. nnU-Net 2.8.1 planned patches "
        f"of {' x '.join(map(str, result['plan']['patch_size'][::-1]))} voxels for itself."
    )
    times = f"\n\n{_seconds(result['seconds'])}" if "seconds" in result else ""
    return f"{markdown_table(rows)}\n\n{note}{times}"


def _seconds(found: dict) -> str:
    rows, theirs = [], {name: found[name]["seconds"] for name in list(found)[:2]}
    for name, one in found.items():
        row = {"prediction, file to file": name, "s a case": f"{one['seconds']:.2f}"}
        for other, seconds in theirs.items():
            row[f"times as fast as {other}"] = f"{seconds / one['seconds']:.1f}"
        row["Dice"] = f"{one['dice']:.3f}" if "dice" in one else ""
        gap = one.get("minus_mirrored")
        change = f"{gap['difference']:+.3f}" if gap and gap["difference"] else ""
        row["minus ours with mirror images"] = change
        rows.append(row)
    n = max(one.get("n", 0) for one in found.values())
    note = f"n = {n} cases, in turn, networks of the same size; Dice of the whole pancreas, "
    note += "without an interval: so few cases tell the seconds, and little about Dice."
    return f"{markdown_table(rows)}\n\n{note}"


def pancreas_speed() -> str:
    """One thing about the inference changed at a time."""
    result = read("pancreas_speed")
    if not result:
        return UNKNOWN
    rows = []
    for name, found in result["ways"].items():
        row = {"way": name, "s a case": f"{found['seconds']:.3f}"}
        row["times faster"] = f"{found['times_faster']:.2f}"
        row["peak MB"] = f"{found['peak_mb']:.0f}"
        for measure, column in (("dice", "pancreas"), ("lesion_dice", "lesion")):
            row[column] = f"{found[measure]['mean']:.3f}"
            gap = found[measure]["minus"]
            row[f"{column}, change"] = gap_of(gap) if gap["difference"] else ""
        rows.append(row)
    about = result["machine"]
    first = {name: row["first_s"] for name, row in result["ways"].items()}
    extra = first.get("torch.compile", 0) - first["float32"]
    longer = f"The first case with torch.compile took {extra:.0f} s longer than without. "
    note = (
        f"n = {result['n']} patients of another seed, {result['rounds']} turns, {about['threads']} "
        f"thread of {about['processor']}, torch {about['torch']}. "
        f"{longer if 'torch.compile' in first else ''}The last two rows are of scans with "
        "eight times the voxels, the second of them is compared with the first."
    )
    return f"{markdown_table(rows)}\n\n{note}"


def quantised() -> str:
    """Eight bits in the 2D network."""
    result = read("quantised_2d")
    if not result:
        return UNKNOWN
    rows = []
    for name, found in result["rows"].items():
        row = {"ResNet50-U-Net": name, "ms a slice": f"{found['ms']:.1f}"}
        row |= {"MB": f"{found['mb']:.0f}", "Dice (95 % interval)": mean_of(found["dice"])}
        gap = found["dice"]["minus"]
        row["minus the first"] = gap_of(gap) if gap["difference"] else ""
        rows.append(row)
    about = result["machine"]
    n = next(iter(result["rows"].values()))["n"]
    note = f"n = {n} test slices of the phantom, one seed, {about['threads']} thread, ONNX Runtime."
    return f"{markdown_table(rows)}\n\n{note}"


TABLES = {"pancreas": pancreas, "versus": versus, "pancreas_speed": pancreas_speed}
TABLES |= {"quantised": quantised}
