"""The benchmarks of volumes run in small."""

import json

import numpy as np
import pytest
import tables_volumes
from benchmark_runs import few_nodules, run


@pytest.mark.real
def test_the_3d_benchmark_on_real_nodules_in_small(lidc_nodules, tmp_path):
    words = ["--data", few_nodules(lidc_nodules, tmp_path / "data")]
    words += ["--out", tmp_path, "--runs", tmp_path / "runs"]
    done = run("real_nodules_3d.py", *words, "--folds", 0, "--epochs", 1)
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
    words = ["--cases", 5, "--epochs", 1, "--volumes", 1, "--rounds", 1, "--size", 96, 80, 40]
    done = run("inference_speed.py", *words, "--out", tmp_path, "--work", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "inference_speed.json").read_text())
    rows = {row["way"]: row for row in result["rows"]}
    assert rows["MONAI, four windows at once"]["change"] < 1e-4
    assert rows["seg_lib, float32"]["change"] < 1e-4
    boxed = rows["seg_lib, float32, lung box"]["windows"]
    assert boxed <= rows["seg_lib, float32"]["windows"]
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


def test_the_order_of_memory_is_timed_in_turn(tmp_path):
    done = run("layout_speed.py", "--rounds", 1, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "layout_speed.json").read_text())["networks"]
    for row in found.values():
        assert row["ratio"] == pytest.approx(row["usual_s"] / row["channels_last_s"])


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


def test_overlap_costs_windows_and_is_judged_on_other_patients(tmp_path, monkeypatch):
    words = ["--cases", 11, "--size", 64, 64, 32, "--epochs", 1, "--judged", 3, "--threads", 1]
    done = run("overlap.py", *words, "--out", tmp_path, "--work", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "overlap.json").read_text())
    rows = result["rows"]
    assert len(rows) == 10 and "minus_usual" not in rows["0.5 gaussian"]
    assert {len(row["cases"]) for row in rows.values()} == {result["n"]} == {3}
    counts = [rows[f"{overlap} constant"]["windows"] for overlap in (0.0, 0.25, 0.5, 0.7, 0.8)]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    told = [row["minus_usual"]["difference"] for name, row in rows.items() if "0.5 g" not in name]
    usual = np.mean(rows["0.5 gaussian"]["cases"])
    means = [np.mean(row["cases"]) - usual for name, row in rows.items() if "0.5 g" not in name]
    np.testing.assert_allclose(told, means, atol=1e-9)
    monkeypatch.setattr(tables_volumes, "read", lambda _: result)
    assert "n = 3 of another seed" in tables_volumes.overlap()


def test_windows_and_seams_by_hand():
    import overlap

    assert overlap.windows_of((10, 4, 4), (4, 4, 4), 0.0) == 3
    assert overlap.windows_of((10, 4, 4), (4, 4, 4), 0.5) == 4  # at 0, 2, 4 and 6
    seam = overlap.near_seams((10, 4, 4), (4, 4, 4), reach=1)
    assert seam[:, 0, 0].nonzero()[0].tolist() == [3, 4, 5, 6]  # borders at 4 and, moved back, 6


def test_four_3d_networks_are_judged_on_the_same_patients(tmp_path, monkeypatch):
    """The rate with the best validation is shown; whole volumes are larger than patches."""
    words = ["--cases", 11, "--size", 64, 64, 32, "--epochs", 1, "--patches", 1]
    words += ["--rates", 1e-3, 1e-4, "--workers", 0]
    done = run("compare_3d.py", *words, "--out", tmp_path, "--work", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "compare_3d.json").read_text())
    *networks, whole = result["table"]
    assert networks == ["unet3d", "monai_unet", "segresnet", "swin_unetr"]
    for name in networks:
        chosen = result["table"][name]
        assert chosen["rate"] == (1e-3, 1e-4)[int(np.argmax(result["val_dice"][name]))]
        assert chosen["dice"]["n"] == result["cases"][2] == 2
    assert "minus_first" not in result["table"]["unet3d"]
    first, last = result["table"]["unet3d"], result["table"][whole]
    assert last["minus_first"]["n"] == 2 and last["rate"] == first["rate"]
    assert np.prod(last["patch"]) > np.prod(first["patch"]) == 64 * 32 * 32
    monkeypatch.setattr(tables_volumes, "read", lambda _: result)
    table = tables_volumes.compare3d()
    assert all(f"\n| {name} | " in table for name in (*networks, whole)) and "n = 2 to" in table
