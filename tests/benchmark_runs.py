"""How the tests run a benchmark in small."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(__file__).parents[1] / "benchmarks"


def run(script, *words):
    """The finished process, with what it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, PROGRAMS / script, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def few_nodules(lidc_nodules, folder):
    """The folder, with the first 24 nodules as links."""
    for part in ("image", "nodule_mask"):
        (folder / part).mkdir(parents=True)
        for path in sorted((lidc_nodules / part).iterdir())[:24]:
            (folder / part / path.name).symlink_to(path)
    return folder
