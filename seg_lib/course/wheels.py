"""Wheels: this project as one file, and beside it every package that it needs.

pip does the work. What it is told by its own settings (``PIP_FIND_LINKS``, ``PIP_NO_INDEX``, an
index of one's own) holds here too.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from seg_lib.errors import InputError

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "seg_lib")
CONSTRAINTS = "constraints.txt"


def build_wheel(root: Path, folder: Path) -> Path:
    """Build the wheel of the project in ``root`` into ``folder``; needs no network.

    Raises:
        InputError: ``root`` is no checkout of the project, or the wheel cannot be built.
    """
    for name in SOURCES:
        if not (root / name).exists():
            raise InputError(f"{root}: no {name} there; run this in the project's own folder.")
    with tempfile.TemporaryDirectory() as work:  # building leaves traces among the sources
        for name in SOURCES:
            if (root / name).is_file():
                shutil.copy(root / name, work)
            else:
                no_caches = shutil.ignore_patterns("__pycache__")
                shutil.copytree(root / name, Path(work) / name, ignore=no_caches)
        offline = ["--no-deps", "--no-index", "--no-build-isolation"]
        _pip("wheel", *offline, "--wheel-dir", str(folder), work)
    return next(folder.glob("seg_lib-*.whl"))


def gather_wheels(wheel: Path, constraints: Path, folder: Path) -> None:
    """Put a wheel and wheels of all that it needs, in the pinned versions, into ``folder``.

    For this platform and this Python. ``InputError`` with pip's own words if one is not found.
    """
    _pip("wheel", "--constraint", str(constraints), "--wheel-dir", str(folder), str(wheel))


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
        said = [line for line in lines if line.startswith("ERROR:") or "(constraint)" in line]
        why = " ".join(said[:2] or lines[-1:])
        ask = "is the network there, and that version for this Python?"
        raise InputError(f"pip could not make the wheels ({why}); {ask}")
