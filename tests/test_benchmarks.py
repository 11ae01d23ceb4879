"""The benchmarks run, and README shows what they and the lessons measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seg_lib import comparison

REPOSITORY = Path(__file__).parents[1]


def run(script, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, REPOSITORY / "benchmarks" / script, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_readme_and_guides_are_generated_from_the_results():
    done = run("readme_tables.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.real
def test_the_benchmark_on_real_nodules_in_small(lidc_nodules, tmp_path):
    for part in ("image", "nodule_mask"):
        (tmp_path / "data" / part).mkdir(parents=True)
        for path in sorted((lidc_nodules / part).iterdir())[:24]:
            (tmp_path / "data" / part / path.name).symlink_to(path)
    words = ["--data", tmp_path / "data", "--out", tmp_path, "--figures", tmp_path]
    words += ["--runs", tmp_path / "runs", "--folds", 0, "--epochs", 8, "--upscale", 1]
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


@pytest.mark.real
def test_the_3d_benchmark_on_real_nodules_in_small(lidc_nodules, tmp_path):
    for part in ("image", "nodule_mask"):
        (tmp_path / "data" / part).mkdir(parents=True)
        for path in sorted((lidc_nodules / part).iterdir())[:24]:
            (tmp_path / "data" / part / path.name).symlink_to(path)
    words = ["--data", tmp_path / "data", "--out", tmp_path, "--runs", tmp_path / "runs"]
    done = run("real_nodules_3d.py", *words, "--folds", 0, "--epochs", 6)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "real_nodules_3d.json").read_text()
    summary = json.loads(text)["summary"]
    ellipsoid, ball, through = (
        summary[name]["dice"]["mean"]
        for name in (
            "ellipsoid from the block's size",
            "ball in the centre",
            "truth through 1 mm and back",
        )
    )
    assert ball < ellipsoid < through and through > 0.85
    assert "LIDC" not in text


def test_every_way_of_inference_is_timed_and_float32_is_exact(tmp_path):
    words = ["--cases", 9, "--epochs", 1, "--volumes", 1, "--rounds", 1]
    done = run("inference_speed.py", *words, "--out", tmp_path, "--work", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "inference_speed.json").read_text())
    rows = {row["way"]: row for row in result["rows"]}
    assert rows["MONAI, four windows at once"]["change"] < 1e-4
    assert rows["seg_lib, float32"]["change"] < 1e-4
    assert rows["seg_lib, bfloat16, lung box"]["windows"] <= rows["seg_lib, float32"]["windows"]
    assert result["peak_bytes_512x512x400"] <= 6e9


def test_the_cost_of_text_is_measured_both_ways(tmp_path):
    words = ["--rounds", 1, "--steps", 2, "--layers", 2, "--out", tmp_path]
    done = run("text_cost.py", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "text_cost.json").read_text())
    for found in result["models"].values():
        assert found["ms"]["cached"] < found["ms"]["prompts_first"]
        assert found["cache_megabytes_a_note"] > 0
    assert result["machine"]["transformers"] and len(result["tokens_a_note"]) == 8


def test_the_pancreas_benchmark_is_judged_on_other_patients(tmp_path):
    """One epoch, two rows: differences from the first, and no case in training and judgement."""
    words = ["--out", tmp_path, "--work", tmp_path / "work", "--cases", 14, "--judged", 4]
    words += ["--epochs", 1, "--only", "segmentation first, the head afterwards"]
    done = run("pancreas_multitask.py", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "pancreas_multitask.json").read_text())
    assert result["cases"][2] == 4
    first, blind, second = result["table"].values()
    assert "subtypes" in first and "subtypes" in second and "subtypes" not in blind
    assert "minus" not in first["dice"] and second["dice"]["minus"]["n"] == 4
    difference = second["dice"]["mean"] - first["dice"]["mean"]
    assert abs(second["dice"]["minus"]["difference"] - difference) < 1e-9


SMALL = ["--profile", "smoke", "--epochs", 1, "--cases", 14, "--judged", 3]


def test_ways_of_inference_differ_only_where_they_may(tmp_path):
    """The usual way is compared with itself, 8 bits are smaller, and both grids are judged."""
    ways = ["ONNX Runtime, int8", "labels, then resampled"]
    words = [*SMALL, "--timed", 2, "--rounds", 1, "--out", tmp_path, "--figures", tmp_path]
    done = run("pancreas_speed.py", *words, "--work", tmp_path / "work", "--only", *ways)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "pancreas_speed.json").read_text())["ways"]
    assert list(found) == ["float32", *ways]
    assert found["float32"]["times_faster"] == found["labels, then resampled"]["times_faster"] == 1
    assert found["float32"]["dice"]["minus"]["difference"] == 0
    files = [tmp_path / "work" / name for name in ("int8.onnx", "network.onnx")]
    assert files[0].stat().st_size < 0.75 * files[1].stat().st_size
    assert (tmp_path / "pancreas_speed.png").stat().st_size > 5000


def test_two_modalities_are_judged_together_and_one_by_one(tmp_path):
    words = ["--size", 64, 64, 16, "--patch", 16, 16, 8, "--cases", 3, 3, "--epochs", 1]
    words += ["--patches", 4, "--out", tmp_path, "--work", tmp_path / "work"]
    done = run("two_modalities.py", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "two_modalities.json").read_text())
    alone, both, dropped = result["table"].values()
    assert list(alone) == ["CT only"], "it never saw PET"
    assert list(both) == list(dropped) == ["CT and PET", "CT only", "PET only"]
    assert all(0 <= one["low"] <= one["mean"] <= one["high"] <= 1 for one in dropped.values())
    assert {gap["n"] for gap in result["gains"].values()} == {3}


def test_eight_bits_are_a_quarter_of_the_file(tmp_path):
    words = ["--profile", "smoke", "--cases", 32, "--epochs", 1, "--more", 1, "--rounds", 1]
    done = run("quantised_2d.py", *words, "--out", tmp_path, "--work", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "quantised_2d.json").read_text())["rows"]
    exact, small = list(rows)[:2]
    assert len(rows) == 9 and rows[small]["mb"] < 0.3 * rows[exact]["mb"]
    assert rows[exact]["dice"]["minus"]["difference"] == 0


@pytest.mark.skipif("SEG_LIB_NNUNET" not in os.environ, reason="SEG_LIB_NNUNET: no nnU-Net given")
def test_nnunet_itself_is_trained_judged_and_timed(tmp_path):
    words = [*SMALL, "--timed", 1, "--rounds", 1, "--out", tmp_path, "--work", tmp_path / "work"]
    done = run("versus_nnunet.py", "--nnunet", os.environ["SEG_LIB_NNUNET"], *words)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "versus_nnunet.json").read_text())
    ours, same_steps, *_ = result["table"].values()
    assert len(result["table"]) == 4
    assert same_steps["parameters"] == ours["parameters"], "the same network"
    assert abs(same_steps["steps"] - ours["steps"]) < 12
    assert result["seconds"]["nnU-Net, mirror images"]["seconds"] > 0
