"""Tiny notebooks for the tests of the course's machinery."""

import json
from pathlib import Path

PARAMETERS = 'PROFILE = "laptop"\nSEED = 0\nDATA_DIR = ""\nOUT_DIR = ""'
LESSON = (
    "from seg_lib.course import Lesson, check\n"
    "lesson = Lesson({!r}, PROFILE, SEED, DATA_DIR, OUT_DIR)"
)
FIGURE = (
    "import matplotlib.pyplot as plt\nfig, axes = plt.subplots(figsize=(2, 2))\n"
    'axes.plot([0, 1], [1, 0])\nlesson.figure(fig, "line", alt="A falling line")'
)
SECTIONS = (
    "# A made-up lesson\n\n## Objectives\n\n* Measure a thing\n\n## Budget\n\nOne second.\n\n"
    "## Exercises\n\n## What would break this?\n\nA tie: $1 < 2$."
)


def code(source: str, tags: tuple[str, ...] = (), **more) -> dict:
    metadata = {"tags": list(tags)} if tags else {}
    cell = {"cell_type": "code", "id": "", "metadata": metadata, "source": source}
    return {**cell, "execution_count": None, "outputs": [], **more}


def text(source: str) -> dict:
    return {"cell_type": "markdown", "id": "", "metadata": {}, "source": source}


def notebook(*sources: str, number: str = "00", parameters: str = PARAMETERS) -> dict:
    """A lesson that begins as every lesson does, then runs ``sources``."""
    cells = [text(SECTIONS), code(parameters, ("parameters",)), code(LESSON.format(number))]
    cells += [code(source) for source in sources]
    for index, cell in enumerate(cells):
        cell["id"] = f"made-up-{index}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def write(path: Path, content: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
