"""Two processes train the text-guided network that one would have trained, in all of its steps."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import made_phantoms
from test_distributed import TORCHRUN, assert_close, weights_of, without_seconds

from seg_lib import tasks, text3d
from seg_lib.checkpoints import without_prefix
from seg_lib.course.profiles import Settings, settings
from seg_lib.data.patches import NotedPatches
from seg_lib.processes import process_state
from seg_lib.tables import read_case_table

TWO_STEPS = ("image_only", ".")  # folders of the run
pytestmark = pytest.mark.timeout(600)
# Nothing looks at other patches of a batch: instance norms, and a Dice for each patch.
UNET = {"features": (4, 6, 8), "norm": "instance", "output": "full", "positions": True}
UNET |= {"registers": 1, "classes": 1, "heads": 1}
SMALL = {"patch": (16, 16, 16), "epochs": 2, "image_epochs": 2, "patches": 4, "llama_steps": 2}
SMALL |= {"optimizer": "sgd", "loss": "dice_ce", "other_note": 0.0, "validate_every": 1}
SMALL |= {"learning_rate": 3e-3}  # larger ones blow up the rounding of a Llama hardly trained
TINY = Settings("15", "x", dict(settings("15", "smoke").sizes) | SMALL | {"precision": "no"})


def watched(model, volume, sizes, seen):
    """In the place of `text3d.false_alarms`, which at a threshold may differ by a voxel."""
    seen.append(volume.case.case)
    return np.flatnonzero((volume.image > 0.4) & (volume.label == 0))


def scenario(data, out):
    """``seg-lib train text3d``; nothing that is drawn for a batch as a whole."""
    seen = []
    text3d.false_alarms = partial(watched, seen=seen)
    text3d.sizes_for = lambda *_: dict(UNET)
    text3d.greys, text3d.NotedPatches = None, partial(NotedPatches, without_note=0.0)
    tasks.settings = lambda *_: TINY
    rank = process_state().process_index
    told = tasks.train_task("text3d", data, out, "smoke", 0)
    (out / f"rank{rank}.json").write_text(json.dumps({"looked at": seen, "told": told}))


def ran(launcher, data, out):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    words = [*launcher, __file__, str(data), str(out)]
    folder = Path(__file__).parent
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(folder, what was said) of two processes, and of one: batches of 4 instead of 2 and 2."""
    data = made_phantoms("thorax_notes", 5, tmp_path_factory)
    folders = [tmp_path_factory.mktemp(name) for name in ("two", "one")]
    launchers = (TORCHRUN, [sys.executable])
    return [(f, ran(how, data, f)) for how, f in zip(launchers, folders, strict=True)]


def trained(folder):
    """The weights after the last step."""
    return without_prefix("model", weights_of(folder))


@pytest.mark.parametrize("step", TWO_STEPS)
def test_two_processes_equal_one_in_every_step(runs, step):
    two, one = (folder / step for folder, _ in runs)
    assert_close(trained(two), trained(one), 5e-7)
    pairs = list(zip(without_seconds(two), without_seconds(one), strict=True))
    assert len(pairs) == 2
    for several, single in pairs:
        assert several == pytest.approx(single, abs=1e-5)


def test_the_learned_vectors_before_the_note_moved_by_more_than_that(runs):
    """Or nothing would be said of their gradient; without notes they stay as they are."""
    image_only, noted = (trained(runs[0][0] / step)["encoder.prompts"] for step in TWO_STEPS)
    assert (image_only - noted).abs().max() > 1e-6


def test_the_first_process_alone_trains_the_language_model_and_looks_again(runs):
    files = [(folder / text3d.LANGUAGE_MODEL / "model.safetensors") for folder, _ in runs]
    assert files[0].read_bytes() == files[1].read_bytes(), "as one process trains it"
    first, second = (json.loads((runs[0][0] / f"rank{r}.json").read_text()) for r in (0, 1))
    alone = json.loads((runs[1][0] / "rank0.json").read_text())
    assert first["looked at"] == alone["looked at"] != [] and second["looked at"] == []
    assert first["told"].startswith("network: Dice") and second["told"] == ""


def test_one_of_them_speaks_and_scores(runs):
    assert [said.count("epoch 1/2") for _, said in runs] == [2, 2]
    two, one = (read_case_table(folder / "results.csv")[0] for folder, _ in runs)
    assert [row["ID"] for row in two] == [row["ID"] for row in one] != []


if __name__ == "__main__":
    scenario(*map(Path, sys.argv[1:]))
