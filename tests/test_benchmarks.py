"""The benchmarks run, and README shows what they and the lessons measured."""

import argparse
import json
import runpy

import pytest
from benchmark_runs import PROGRAMS, few_nodules, run

from seg_lib import comparison


def test_readme_and_guides_are_generated_from_the_results():
    done = run("readme_tables.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.real
def test_the_benchmark_on_real_nodules_in_small(lidc_nodules, tmp_path):
    words = ["--data", few_nodules(lidc_nodules, tmp_path / "data")]
    words += ["--out", tmp_path, "--figures", tmp_path]
    words += ["--runs", tmp_path / "runs", "--folds", 0, "--epochs", 2, "--upscale", 1]
    done = run("real_nodules_2d.py", *words, "--precision", "no")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "real_nodules_2d_centred_resnet18_unet.json").read_text())
    ellipse, ball = (
        found["summary"][name]["dice"]["mean"]
        for name in ("disc from the block's size", "centre ball")
    )
    assert ellipse > ball > 0.2, "the size of a block gives its nodule away"
    patients = {row["patient"] for row in found["rows"]["threshold"]}
    assert len(patients) == found["summary"]["threshold"]["dice"]["n_patients"]
    shifted = json.loads((tmp_path / "real_nodules_2d_shifted_resnet18_unet.json").read_text())
    assert "disc from the block's size" not in shifted["summary"]
    assert (tmp_path / "real_nodules_2d.png").stat().st_size > 5000


def test_three_networks_are_compared_and_the_tables_follow(tmp_path):
    """One epoch, one seed: every network has rows of the same cases, and no name of a case."""
    words = ["lung2d", "--epochs", 1, "--cases", 24, "--seeds", 0, "--workers", 1]
    done = run("compare_2d.py", *words, "--out", tmp_path, "--work", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    result = comparison.read_comparison(tmp_path / "compare_2d_lung2d.json")
    rows = comparison.rows_by_method(result, "same samples")
    assert {"resnet50_unet", "swin_unet", "unetr", "threshold"} <= set(rows)
    cases = {name: [row["case"] for row in found] for name, found in rows.items()}
    assert all(found == cases["unetr"] for found in cases.values())
    assert "lung_cancer" not in (tmp_path / "compare_2d_lung2d.json").read_text()
    assert [line["network"] for line in comparison.cost_table(result)] == [
        "resnet50_unet",
        "swin_unet",
        "unetr",
    ]


def test_eight_bits_are_a_quarter_of_the_file(tmp_path):
    words = ["--profile", "smoke", "--cases", 32, "--epochs", 1, "--more", 1, "--rounds", 1]
    done = run("quantised_2d.py", *words, "--out", tmp_path, "--work", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "quantised_2d.json").read_text())
    rows, options = result["rows"], result["options"]
    assert (options["cases"], options["more"]) == (32, 1) and "work" not in options
    exact, small = list(rows)[:2]
    assert len(rows) == 9 and rows[small]["mb"] < 0.3 * rows[exact]["mb"]
    assert rows[exact]["dice"]["minus"]["difference"] == 0


def test_work_of_other_options_is_not_taken_for_new(tmp_path):
    """The same options go on, others are refused by name, and the first ones stay."""
    same_work = runpy.run_path(PROGRAMS / "options.py")["same_work"]
    small, large = (argparse.Namespace(work=tmp_path, cases=n, size=(8, 8)) for n in (14, 240))
    for _ in range(2):
        same_work(small, "cases", "size")
    for _ in range(2):
        with pytest.raises(SystemExit, match="holds the work of --cases 14, .* by --work"):
            same_work(large, "cases", "size")
    same_work(small, "cases", "size")


def test_the_first_table_counts_unseen_folds_and_the_best_rival(monkeypatch):
    import tables_glance

    means = {"unet3d": 0.9, "threshold": 0.7, "ellipsoid": 0.6, "truth through 1 mm and back": 0.95}
    unseen = {"unet3d": 0.8, "threshold": 0.4, "ellipsoid": 0.5, "truth through 1 mm and back": 0.9}
    named = means | {f"{name}, folds 1 and 2 alone": mean for name, mean in unseen.items()}
    dice = {name: {"mean": m, "low": m, "high": m, "n": 7} for name, m in named.items()}
    result = {"summary": {name: {"dice": one} for name, one in dice.items()}}
    files = {"real_nodules_3d": result}
    monkeypatch.setattr(tables_glance, "read", lambda name: files.get(name, {}))
    [row] = tables_glance.nodules()
    assert (row["network"], row["must beat"]) == ("unet3d", "ellipsoid")
    assert row["score (95 % interval)"].startswith("0.800") and row["its score"].startswith("0.500")
