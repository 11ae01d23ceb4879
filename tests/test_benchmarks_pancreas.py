"""The benchmarks of the pancreas run in small."""

import json
import os

import pytest
from benchmark_runs import run

SMALL = ["--profile", "smoke", "--epochs", 1, "--cases", 14, "--judged", 3]


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
