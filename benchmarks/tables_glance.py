"""README's first table of results: every experiment in one row, beside what it must beat."""

from tables_pancreas import RESULTS, mean_of, read
from tables_slices import later, with_lesion

from seg_lib import comparison
from seg_lib.charts import markdown_table
from seg_lib.comparison import interval


def row_of(data: str, network: str, found: dict, rival: str, of_rival: dict) -> dict:
    """A row from two summaries of Dice."""
    row = {"data": data, "network": network, "score (95 % interval)": mean_of(found)}
    row |= {"must beat": rival, "its score": mean_of(of_rival)}
    return row | {"n": of_rival.get("n", found.get("n", ""))}


def nodules() -> list[dict]:
    """Real nodules: the folds at which nobody looked, beside the best that learns no network."""
    kinds = {
        "real_nodules_2d_centred_resnet18_unet": ("one slice", ", folds 3 and 4 alone"),
        "real_nodules_3d": ("volumes", ", folds 1 and 2 alone"),
    }
    rows = []
    for file, (kind, unseen) in kinds.items():
        found = (read(file).get("summary") or {}).items()
        dice = {n.removesuffix(unseen): one["dice"] for n, one in found if n.endswith(unseen)}
        rivals = [name for name in dice if "unet" not in name and "truth" not in name]
        for network in (name for name in dice if "unet" in name):
            best = max(rivals, key=lambda name: dice[name]["mean"])
            about = f"lung nodules, real, {kind}"
            rows.append(row_of(about, network, dice[network], best, dice[best]))
    return rows


def slices() -> list[dict]:
    """The best of the three 2D networks of the comparison, and the best rival."""
    rows = []
    kinds = {
        "lung2d": ("lung phantom, slices", dict),
        "pancreas": ("pancreas, real, slices", later),
    }
    for name, (data, unseen) in kinds.items():
        path = RESULTS / f"compare_2d_{name}.json"
        if not path.is_file():
            continue
        result = unseen(with_lesion(comparison.read_comparison(path)))
        table = comparison.score_table(result, "same samples", ("dice",))
        table.sort(key=lambda row: -float(row["dice"].split()[0]))
        networks = {run["network"] for run in result["runs"]["same samples"]}
        best = next(row for row in table if row["method"] in networks)
        rival = next(row for row in table if row["method"] not in networks)
        row = {"data": data, "network": best["method"], "score (95 % interval)": best["dice"]}
        rows.append(
            row | {"must beat": rival["method"], "its score": rival["dice"], "n": best["n"]}
        )
    return rows


def volumes() -> list[dict]:
    """Phantom volumes: what another input or another head adds."""
    rows = []
    if found := read("compare_3d").get("table"):
        best = max(found, key=lambda name: found[name]["dice"]["mean"])
        first = "monai_unet"
        about = (best, found[best]["dice"], first, found[first]["dice"])
        rows.append(row_of("lung phantom, volumes", *about))
    if found := read("text_guided").get("table"):
        pair = [found[name]["dice"] for name in ("right note", "image only")]
        about = ("text_unet3d with the note", pair[0], "the same without the note", pair[1])
        rows.append(row_of("phantom, the note names the tumour", *about))
    if found := read("two_modalities").get("table"):
        pair = found["CT and PET"]["CT and PET"], found["CT"]["CT only"]
        rows.append(row_of("phantom, CT and PET", "unet3d", pair[0], "the same, CT only", pair[1]))
    return rows


def pancreas() -> list[dict]:
    """The pancreas phantom: organ, lesion, and the macro-F1 of the subtype."""
    result = read("pancreas_multitask")
    if not result:
        return []
    ours = result["table"]["segmentation first, the head afterwards"]
    blind, n = result["table"]["atlas, blind"], {"n": result["cases"][-1]}
    rows = []
    for key, what in {"dice": "pancreas", "lesion_dice": "lesion"}.items():
        about = f"pancreas phantom, {what}"
        rows.append(row_of(about, "multitask_unet3d", ours[key], "atlas, blind", blind[key] | n))
    f1 = ours["subtypes"]["macro_f1"]
    row = {"data": "pancreas phantom, subtype (macro-F1)", "network": "multitask_unet3d"}
    row["score (95 % interval)"] = interval(f1["value"], f1["low"], f1["high"])
    row |= {"must beat": "the commonest subtype", "its score": f"{f1['majority']:.3f}"}
    return [*rows, row | n]


def glance() -> str:
    """Every experiment in one row."""
    return markdown_table([*nodules(), *slices(), *volumes(), *pancreas()])


TABLES = {"glance": glance}
