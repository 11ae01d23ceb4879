"""The benchmarks of the pancreas run in small."""

import json
import math
import os

import numpy as np
import pancreas_speed
import pytest
import torch
from benchmark_runs import run

from seg_lib import predictions
from seg_lib.checkpoints import load_checkpoint
from seg_lib.data.cases import read_cases
from seg_lib.data.nifti import read_mask

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


BOXES = ["a coarse pass first", "the box around the true organ only"]
WAYS = [*BOXES, "ONNX Runtime, int8", "labels, then resampled"]


@pytest.fixture(scope="module")
def speed(tmp_path_factory):
    """What the benchmark of the seconds has left in its folder, with the work in ``work``."""
    out = tmp_path_factory.mktemp("speed")
    words = [*SMALL, "--timed", 2, "--rounds", 1, "--out", out, "--figures", out]
    done = run("pancreas_speed.py", *words, "--work", out / "work", "--only", *WAYS)
    assert done.returncode == 0, done.stderr
    return out


def test_ways_of_inference_differ_only_where_they_may(speed):
    """The usual way is compared with itself, 8 bits are smaller, and both grids are judged."""
    found = json.loads((speed / "pancreas_speed.json").read_text())["ways"]
    assert list(found) == ["float32", *WAYS]
    assert found["float32"]["times_faster"] == found["labels, then resampled"]["times_faster"] == 1
    assert found["float32"]["dice"]["minus"]["difference"] == 0
    files = [speed / "work" / name for name in ("int8.onnx", "network.onnx")]
    assert files[0].stat().st_size < 0.75 * files[1].stat().st_size
    assert (speed / "pancreas_speed.png").stat().st_size > 5000


def test_windows_slide_where_the_coarse_network_or_the_truth_says(speed, monkeypatch):
    """In voxels of the file; the network on coarse voxels is one of its own."""
    about = load_checkpoint(speed / "work" / "coarse" / "best.safetensors")[1]
    assert about["preparation"]["spacing_mm"] == [4.0, 4.0, 6.0]
    find, asked = (slice(30, 40), slice(20, 30), slice(9, 15)), []

    def coarse(model, volume, how, sliding):
        mask = np.zeros(volume.array.shape, np.uint8)
        mask[find] = 1
        return mask

    def slide(model, image, how, ready):
        asked.append(ready.how.part)
        return torch.zeros(1, 3, *image.shape[2:])

    monkeypatch.setattr(pancreas_speed.torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(predictions, "predict_volume", coarse)
    monkeypatch.setattr(pancreas_speed, "slide_in_part", slide)
    words = pancreas_speed.pancreas_runs.parser("x").parse_args([*map(str, SMALL)])
    words.work, words.timed, words.threads = speed / "work", 1, 1
    for name in BOXES:
        pancreas_speed.run_way(name, words)
    _, first, _, true = asked  # each after one that warms up
    label = read_mask(read_cases(speed / "work" / "judged")[0].label, n_classes=3)
    margin = [math.ceil(6.0 / mm) for mm in label.spacing_mm]
    assert first == tuple(
        slice(side.start - more, side.stop + more) for side, more in zip(find, margin, strict=True)
    )
    assert (
        label.array[true].sum() == label.array.sum() and label.array[true].size < label.array.size
    )


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
