"""README's tables about 2D networks: real nodules, three networks side by side, recipes."""

import json

from tables_pancreas import RESULTS

from seg_lib import comparison
from seg_lib.charts import markdown_table
from seg_lib.comparison import interval

SETS = {
    "lung2d": "Lung phantom",
    "nodules": "Real lung nodules, LIDC-IDRI",
    "pancreas": "Real pancreas slices, NIH Pancreas-CT",
}
# The pancreas slices are JPEG files without a spacing, so nothing there can be told in millimetres.
MEASURED = dict.fromkeys(SETS, comparison.METRICS) | {"pancreas": ("dice", "iou", "rmse")}


def real() -> str:
    """Real nodules: every method on both kinds of window."""
    tables = []
    for path in sorted(RESULTS.glob("real_nodules_2d_*.json")):
        result = json.loads(path.read_text())
        rows = []
        for name, summary in result["summary"].items():
            d = summary["dice"]
            rows.append({"method": name} | {"n": d["n"], "patients": d["n_patients"]})
            rows[-1]["Dice (95 % interval)"] = interval(d["mean"], d["low"], d["high"])
            rows[-1]["HD95 mm"] = f"{summary['hd95_mm']['mean']:.2f}"
        about = result["machine"]
        tables.append(
            f"**{result['kind'].capitalize()} windows** ({result['folds']} of 5 folds by patient; "
            f"{result['epochs']} epochs; windows a nodule: {result['windows_a_nodule']}; "
            f"{result['training_minutes_a_fold']:.1f} minutes a fold by the clock with "
            f"{about['threads']} thread of {about['processor']}):\n\n" + markdown_table(rows)
        )
    return "\n\n".join(tables)


def compare() -> str:
    """The three networks on every data set, at the same samples and at the same time."""
    parts = []
    for name, title in SETS.items():
        path = RESULTS / f"compare_2d_{name}.json"
        if not path.is_file():
            parts.append(f"**{title}**: not measured yet.")
            continue
        result = with_lesion(comparison.read_comparison(path))
        for kind, runs in result["runs"].items():
            epochs = {run["network"]: run["epochs"] for run in runs}
            told = ", ".join(f"{network} {n}" for network, n in epochs.items())
            parts.append(
                f"**{title}, {kind}** ({result['size']} pixels, {len(result['seeds'])} seeds; "
                f"epochs: {told}):\n\n"
                + markdown_table(comparison.score_table(result, kind, MEASURED[name]))
            )
        if name == "pancreas":
            parts.append("**The same, seeds 1 and 2 alone**, at whose test nobody looked before:")
            unseen = comparison.score_table(later(result), "same samples", MEASURED[name])
            parts.append(markdown_table(unseen))
        parts.append("<details><summary>What they cost, and differences in Dice</summary>")
        about = result["machine"]
        cost = f"Seconds of processor time, one thread each, of {about['processor']}:"
        parts += [cost, markdown_table(comparison.cost_table(result))]
        pairs = markdown_table(comparison.pair_table(result, "same samples"))
        parts += ["Differences in Dice, same samples:", pairs, "</details>"]
    return "\n\n".join(parts)


def _rows_where(result: dict, keep) -> dict:
    """The result with those rows alone, of networks and rivals."""
    runs = {
        kind: [run | {"rows": [row for row in run["rows"] if keep(row)]} for run in found]
        for kind, found in result["runs"].items()
    }
    rivals = {name: [r for r in rows if keep(r)] for name, rows in result["rivals"].items()}
    return result | {"runs": runs, "rivals": rivals}


def with_lesion(result: dict) -> dict:
    """Without slices that lost their mask when they were made smaller: nothing to find there."""
    return _rows_where(result, lambda row: row["reference_volume_ml"] > 0)


def later(result: dict) -> dict:
    """Without seed 0, at whose test the recipe was chosen."""
    runs = {kind: [r for r in found if r["seed"] > 0] for kind, found in result["runs"].items()}
    cases = {row["case"] for found in runs.values() for run in found for row in run["rows"]}
    return _rows_where(result | {"runs": runs}, lambda row: row["case"] in cases)


def recipes() -> str:
    """UNETR with one thing of the recipe changed at a time."""
    parts = []
    for name, title in SETS.items():
        path = RESULTS / f"unetr_recipe_{name}.json"
        if path.is_file():
            result = json.loads(path.read_text())
            about = f"n = {result['n']} of {result['patients']} patients"
            parts.append(f"**{title}**, {result['epochs']} epochs, one seed, {about}:")
            parts.append(markdown_table(comparison.recipe_table(result)))
    return "\n\n".join(parts) or "Not measured yet."


TABLES = {"real": real, "compare": compare, "recipes": recipes}
