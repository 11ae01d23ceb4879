"""README's tables about volumes: nodules in 3D, four 3D networks, sliding window, memory."""

import statistics

from tables_pancreas import UNKNOWN, gap_of, mean_of, read

from seg_lib.charts import markdown_table
from seg_lib.comparison import interval


def real3d() -> str:
    """Real nodules in 3D: the network beside what does not look."""
    result = read("real_nodules_3d")
    if not result:
        return UNKNOWN
    rows = []
    for name, summary in result["summary"].items():
        d, v = summary["dice"], summary["volume_error"]
        rows.append({"method": name} | {"n": d["n"], "patients": d["n_patients"]})
        rows[-1]["Dice (95 % interval)"] = interval(d["mean"], d["low"], d["high"])
        rows[-1]["HD95 mm"] = f"{summary['hd95_mm']['mean']:.2f}"
        rows[-1]["relative volume error"] = f"{v['mean']:.2f}"
    about = result["machine"]
    note = (
        f"\n\n{result['folds']} of 5 folds by patient, {result['epochs']} epochs, "
        f"{result['training_minutes_a_fold']:.1f} minutes a fold by the clock with "
        f"{about['threads']} thread of {about['processor']}; whole blocks scored in their own "
        "voxels."
    )
    return markdown_table(rows) + note


def compare3d() -> str:
    """Four 3D networks on the same patches, and one of them on whole volumes."""
    result = read("compare_3d")
    if not result:
        return UNKNOWN
    rows = []
    for name, found in result["table"].items():
        row = {"trained": name, "parameters": f"{found['parameters']:,}"}
        row |= {"rate": f"{found['rate']:g}", "s": f"{found['seconds']:.0f}"}
        row["peak MB"] = f"{found['peak_mb']:.0f}"
        row["test Dice (95 % interval)"] = mean_of(found["dice"])
        row["minus the first"] = gap_of(found.get("minus_first"))
        rows.append(row | {"missed": found["missed"]})
    train, val, test = result["cases"]
    about, options = result["machine"], result["options"]
    side = " x ".join(map(str, next(iter(result["table"].values()))["patch"]))
    note = (
        f"\n\n{train} phantom patients to train, {val} to choose the rate, n = {test} to judge; "
        f"{options['epochs']} epochs of {options['patches']} patches a patient, {side} voxels, one "
        f"seed; seconds of processor time, one thread each of {about['processor']}, "
        f"{'with' if about['bf16_instructions'] else 'without'} bfloat16 instructions. Missed: "
        "patients with a Dice below 0.05."
    )
    return markdown_table(rows) + note


def overlap() -> str:
    """Dice, seams and seconds for every overlap of the windows."""
    result = read("overlap")
    if not result:
        return UNKNOWN
    rows = []
    for name, found in result["rows"].items():
        share, blend = name.split()
        row = {"overlap": share, "blending": blend, "Dice (95 % interval)": mean_of(found["dice"])}
        row["minus 0.5 gaussian"] = gap_of(found.get("minus_usual"))
        row |= {k.replace("_", " "): f"{found[k]:.4f}" for k in ("seam_error", "elsewhere")}
        rows.append(row | {"windows": found["windows"], "seconds": f"{found['seconds']:.0f}"})
    about, options = result["machine"], result["options"]
    note = (
        f"\n\nThe 3D U-Net of lesson 10, trained on phantom patients of seed 0; n = {result['n']} "
        f"of another seed, windows of {' x '.join(map(str, result['patch']))} voxels; seconds by "
        f"the clock for all of them, {options['threads']} threads of {about['processor']}."
    )
    return markdown_table(rows) + note


def windows() -> str:
    """Sliding-window inference: times beside MONAI as usually called."""
    result = read("inference_speed")
    if not result:
        return UNKNOWN
    slow = statistics.median(result["rows"][0]["seconds"])
    rows = []
    for row in result["rows"]:
        seconds = statistics.median(row["seconds"])
        change = "" if row["change"] is None else f"{row['change']:.0e}"
        rows.append({"way": row["way"], "windows": row["windows"], "seconds": f"{seconds:.2f}"})
        rows[-1] |= {"times faster": f"{slow / seconds:.2f}", "largest change of p": change}
        rows[-1]["Dice"] = f"{statistics.fmean(row['dice']):.4f}"
    about, first = result["machine"], result["rows"][0]
    note = (
        f"\n\nSeconds of all n = {len(first['dice'])} phantom volumes together, median of "
        f"{len(first['seconds'])} rounds, window {result['window']}, overlap {result['overlap']}, "
        f"one thread of {about['processor']}. Peak memory of predicting 512 x 512 x 400 voxels "
        f"with two classes: {result['peak_bytes_512x512x400'] / 1e9:.1f} GB."
    )
    return markdown_table(rows) + note


def region() -> str:
    """Peak memory of the text-guided network on the region of source 001."""
    found = read("text_cost").get("memory")
    if not found:
        return UNKNOWN
    rows = [
        {"once, one image": way, "peak GB": f"{row['peak_mb'] / 1000:.1f}"}
        for way, row in found["ways"].items()
    ]
    before = max(row["before_mb"] for row in found["ways"].values()) / 1000
    sides = " x ".join(map(str, found["region"]))
    note = (
        f"\n\n{sides} voxels, float32, the sizes of the release, two vectors of text of 4096. "
        "A step is forward and backward, without the optimizer and the language model; recomputed: "
        f"with `recompute=True`. Each in a process of its own, {found['machine']['threads']} "
        f"thread; {before:.1f} GB are taken before the network is built."
    )
    return markdown_table(rows) + note


TABLES = {"real3d": real3d, "compare3d": compare3d, "windows": windows, "region": region}
TABLES["overlap"] = overlap
