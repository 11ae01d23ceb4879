"""The memory of the text-guided network on the region of source 001: measured, shown, promised."""

import json

import tables_volumes
from benchmark_runs import PROGRAMS, run

from seg_lib.models.text_unet3d import TextUNet3d

RESULT = PROGRAMS / "results" / "text_cost.json"


def test_the_memory_is_measured_and_the_other_numbers_stay(tmp_path):
    (tmp_path / RESULT.name).write_text('{"batch": 2}')
    done = run("text_cost.py", "--memory", "--region", 64, 64, 64, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / RESULT.name).read_text())
    ways = result["memory"]["ways"]
    assert result["batch"] == 2 and result["memory"]["region"] == [64, 64, 64]
    assert all(row["peak_mb"] > row["before_mb"] > 100 for row in ways.values())
    assert ways["prediction"]["peak_mb"] < ways["step"]["peak_mb"]


def test_the_table_and_the_docstring_say_what_was_measured_on_the_whole_region():
    memory = json.loads(RESULT.read_text())["memory"]
    assert memory["region"] == [64, 352, 352]
    gb = {way: row["peak_mb"] / 1000 for way, row in memory["ways"].items()}
    assert all(f"| {way} | {value:.1f} |" in tables_volumes.region() for way, value in gb.items())
    told = " ".join(TextUNet3d.__doc__.split())
    assert f"A step of 64 x 352 x 352 voxels needs {gb['step']:.0f} GB" in told
    assert f"{gb['step, recomputed']:.0f} GB with it" in told
    assert f"a prediction {gb['prediction']:.0f} GB" in told
