"""Tables of a comparison: averaged over seeds by case, paired, corrected for many questions."""

import pytest

from seg_lib import comparison
from seg_lib.comparison import (
    cost_table,
    over_seeds,
    pair_table,
    part_table,
    read_comparison,
    recipe_table,
    score_table,
    seed_means,
)
from seg_lib.errors import InputError


def rows(*dices):
    return [
        {"case": f"c{i}", "patient": f"p{i}", "dice": d, "iou": d, "rmse": 0.1, "hd95_mm": 1.0}
        for i, d in enumerate(dices)
    ]


def run(network, seed, *dices, seconds=10.0):
    about = {"network": network, "seed": seed, "epochs": 5, "seconds": seconds, "peak_mb": 1500}
    return about | {"rows": rows(*dices)}


RESULT = {
    "cost": {n: {"parameters": 2_500_000, "gflops": 1.25} for n in ("a", "b", "c")},
    "rivals": {"nothing": rows(*[0.0] * 8)},
    "runs": {
        "same samples": [
            run("a", 0, *[0.8] * 8),
            run("a", 1, *[0.6] * 8, seconds=20),
            run("b", 0, *[0.5] * 8),
            run("c", 0, *[0.5, 0.5, 0.5, 0.5, 0.7, 0.3, 0.6, 0.4]),
        ]
    },
}


def test_a_case_is_averaged_over_its_seeds():
    found = over_seeds(RESULT["runs"]["same samples"][:2])
    assert [row["dice"] for row in found] == pytest.approx([0.7] * 8)
    assert [row["case"] for row in found] == [f"c{i}" for i in range(8)]


def test_score_table_shows_networks_rivals_and_seeds():
    table = {line["method"]: line for line in score_table(RESULT, "same samples")}
    assert table["a"]["dice"] == "0.700 (0.700 to 0.700)" and table["a"]["n"] == 8
    assert table["a"]["Dice of the seeds"] == "0.800, 0.600"
    assert table["nothing"]["dice"].startswith("0.000") and table["nothing"]["n"] == 8
    assert seed_means(RESULT, "same samples", "nothing") == []


def test_pairs_are_tested_on_the_same_cases_and_corrected():
    """a - b is 0.2 for all 8 patients: of 2^8 assignments of signs only two are as far from 0."""
    lines = {line["pair"]: line for line in pair_table(RESULT, "same samples")}
    assert lines["a - b"]["difference"] == pytest.approx(0.2)
    assert lines["a - b"]["p"] == pytest.approx(2 / 256)
    assert lines["a - b"]["p after Holm"] == pytest.approx(6 / 256)
    assert lines["b - c"]["p"] == 1 and lines["b - c"]["p after Holm"] == 1
    ordered = [line["p after Holm"] for line in pair_table(RESULT, "same samples")]
    assert ordered == sorted(ordered)


def test_a_p_after_holm_is_never_below_the_one_before(monkeypatch):
    """0.02 of three questions is 0.06; 0.021 of the two left would be 0.042."""
    found = {"difference": 0.0, "low": 0.0, "high": 0.0, "n_groups": 8}
    ps = iter([0.9, 0.02, 0.021])  # a - b, a - c, b - c
    monkeypatch.setattr(comparison, "paired_difference", lambda *_: found | {"p": next(ps)})
    lines = pair_table(RESULT, "same samples")
    assert [line["pair"] for line in lines] == ["a - c", "b - c", "a - b"]
    assert [line["p after Holm"] for line in lines] == pytest.approx([0.06, 0.06, 0.9])


def test_cost_table():
    line = cost_table(RESULT)[0]
    assert line["parameters (M)"] == "2.5" and line["GFLOPs an image"] == "1.25"
    assert line["seconds, same samples"] == "15" and line["seconds an epoch"] == "3.0"
    assert line["peak memory (GB)"] == "1.5"


def test_a_missing_result_names_the_command(tmp_path):
    with pytest.raises(InputError, match="python benchmarks/compare_2d.py"):
        read_comparison(tmp_path / "none.json")


def test_a_part_of_the_cases_has_the_mean_of_its_own_and_an_interval_over_patients():
    """Both cases of the last part belong to one patient, so nothing is known of the spread."""
    one = {**RESULT, "runs": {"same samples": [run("c", 0, 0.2, 0.4, 0.6, 0.8)]}, "cost": {"c": {}}}
    for row in one["runs"]["same samples"][0]["rows"][2:]:
        row["patient"] = "p9"
    (line,) = part_table(one, "same samples", ["large"] * 2 + ["small"] * 2, ["small", "large"])
    assert list(line) == ["network", "small (n = 2)", "large (n = 2)"]
    assert line["small (n = 2)"] == "0.700 (0.700 to 0.700)"
    assert line["large (n = 2)"] == "0.300 (0.200 to 0.400)"


def test_a_changed_recipe_stands_beside_the_unchanged():
    gap = {"difference": -0.25, "low": -0.3, "high": -0.2}
    table = {"unchanged": {"dice": 0.75, "found": 1.0}}
    table["no skip"] = {"dice": 0.5, "found": 0.875, "minus_unchanged": gap}
    first, second = recipe_table({"n": 8, "table": table})
    assert first["Dice"] == "0.750" and first["minus unchanged (95 % interval)"] == ""
    assert second["share found"] == "0.88"
    assert second["minus unchanged (95 % interval)"] == "-0.250 (-0.300 to -0.200)"
