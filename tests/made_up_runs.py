"""Phantoms and tiny 3D trainings from the command line, for tests of whole chains."""

from pathlib import Path

import pytest

from seg_lib import cli, tasks
from seg_lib.course.profiles import Settings
from seg_lib.data.phantom import make_phantom


def made_phantoms(kind: str, n_cases: int, factory: pytest.TempPathFactory) -> Path:
    """A folder of phantom volumes of 48 x 48 x 16 voxels."""
    folder = factory.mktemp(kind)
    make_phantom(kind, n_cases, (48, 48, 16), 0, folder)
    return folder


def trained_run(task: str, sizes: Settings, data: Path, factory: pytest.TempPathFactory) -> Path:
    """The folder of ``seg-lib train TASK`` with these sizes in place of those of the lesson."""
    out = factory.mktemp(f"run_{task}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "settings", lambda lesson, profile: sizes)
        words = ["train", task, "--data", str(data), "--out", str(out)]
        assert cli.main(words) == 0
    return out
