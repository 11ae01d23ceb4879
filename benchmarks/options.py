"""The options of a benchmark: written into its result, and tied to the work that it keeps."""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seg_lib.files import write_text


def options_of(words: argparse.Namespace, *names: str) -> dict[str, Any]:
    """These options, or all but the folders, as they stand in a JSON file."""
    asked = {
        name: value
        for name, value in vars(words).items()
        if (name in names if names else not isinstance(value, Path))
    }
    return json.loads(json.dumps(asked, default=str))


def same_work(words: argparse.Namespace, *names: str) -> None:
    """Trainings in ``--work`` are not done twice, so what they depend on must be as it was.

    Raises:
        SystemExit: the folder was filled with other values of the options called ``names``, or
            with nobody knows which.
    """
    path, asked = Path(words.work) / "options.json", options_of(words, *names)
    if not path.is_file() and path.parent.is_dir() and any(path.parent.iterdir()):
        raise SystemExit(f"{words.work}: holds other work; name another folder by --work.")
    if path.is_file() and (before := json.loads(path.read_text())) != asked:
        was = ", ".join(f"--{name} {value}" for name, value in before.items())
        raise SystemExit(f"{words.work}: holds the work of {was}; name another folder by --work.")
    write_text(path, json.dumps(asked))


def once(folder: Path, make: Callable[[], Any]) -> None:
    """Fill a folder, unless that came to its end before; what was broken off begins anew."""
    if not (folder / "done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        make()
        write_text(folder / "done", "")
