"""README's tables on ratings of real nodules that became notes: malignancy, then contours."""

from tables_pancreas import UNKNOWN, gap_of, read

from seg_lib.charts import markdown_table
from seg_lib.comparison import interval

NOTES, EMPTY, OTHER = "notes", "empty notes", "notes of another nodule"


def verdict(gap: dict) -> str:
    """What an interval of a difference says."""
    return "higher" if gap["low"] > 0 else "lower" if gap["high"] < 0 else "no difference shown"


def each(values: list[float], sign: str = "") -> str:
    """One number a seed; nothing where there is one alone."""
    return ", ".join(f"{value:{sign}.3f}" for value in values) if len(values) > 1 else ""


def malignancy() -> str:
    """AUC of what size, ratings and notes tell of the malignancy."""
    found = read("nodule_ratings").get("malignancy")
    if not found:
        return UNKNOWN
    rows = auc_rows(found["table"])
    called = found["diagnosis"]
    note = (
        f"n = {found['n']} nodules of {found['patients']} patients, {found['malignant']} of them "
        f"rated 4 or 5 and the others 1 or 2; {found['left_out']} that were rated 3 are left out. "
        f"With the table's own diagnosis as the label, n = {called['n']} nodules of "
        f"{called['patients']} patients, {called['malignant']} malignant (of the nodules above it "
        f"calls {found['otherwise']:.0f} otherwise than their rating):"
    )
    plain = [
        {k: v for k, v in row.items() if k != "each seed"} for row in auc_rows(called["table"])
    ]
    return "\n\n".join([markdown_table(rows), note, markdown_table(plain)])


def auc_rows(table: dict) -> list[dict]:
    """A line for each method."""
    rows = []
    for name, found in table.items():
        known = name.replace("<SEG>", "`<SEG>`")  # else a page takes it for HTML
        row = {"known": known, "AUC (95 % interval)": interval(*(found[k] for k in AUC))}
        gap = found.get("minus")
        row |= {"each seed": each(found["by_seed"]), "minus the diameter": gap_of(gap)}
        rows.append(row | {"against the diameter": verdict(gap) if gap else ""})
    return rows


AUC = ("auc", "low", "high")


def contours() -> str:
    """Dice of the text-guided network with the notes and with every control."""
    result = read("nodule_ratings")
    found = result.get("segmentation")
    if not found:
        return UNKNOWN
    rows, pairs = [], []
    for name, told in found["table"].items():
        d = told["dice"]
        row = {"told": name, "n": d["n"], "patients": d["n_patients"]}
        row["Dice (95 % interval)"] = interval(d["mean"], d["low"], d["high"])
        rows.append(row | {"each seed": each(told["by_seed"])})
    for name, gap in found["gaps"].items():
        row = {"pair": name, "difference (95 % interval)": gap_of(gap)}
        row["each seed"] = each(gap["by_seed"], "+")
        row["seeds above 0"] = f"{sum(v > 0 for v in gap['by_seed'])} of {len(gap['by_seed'])}"
        pairs.append(row | {"the first is": verdict(gap)})
    start, more = result["epochs"]
    note = (
        f"{len(result['seeds'])} seeds, each with another fold of the patients; {start} epochs of "
        f"the start and {more} of each training, threads: {result['machine']['threads']} of "
        f"{result['machine']['processor']}. "
        f"{answer(found)}"
    )
    return "\n\n".join([markdown_table(rows), markdown_table(pairs), note])


def answer(found: dict) -> str:
    """Whether the notes help: only if they beat both controls, and the empty one in every seed."""
    gaps = found["gaps"]
    empty, other = gaps[f"{NOTES} - {EMPTY}"], gaps[f"{NOTES} - {OTHER}"]
    above = sum(value > 0 for value in empty["by_seed"])
    helps = empty["low"] > 0 and other["low"] > 0 and above == len(empty["by_seed"]) >= 5
    heard = found["other_note"]
    return (
        f"That the notes help to segment is {'shown' if helps else '**not shown**'}: against empty "
        f"notes {verdict(empty)} (above 0 in {above} of {len(empty['by_seed'])} seeds), against "
        f"notes of other nodules {verdict(other)}. With another nodule's note the same "
        f"network draws a mask that has a Dice of {heard['dice_of_both']:.2f} with its first one; "
        f"{heard['same_notes']:.1%} of those notes read the same."
    )


TABLES = {"malignancy": malignancy, "contours": contours}
