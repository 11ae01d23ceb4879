"""Notebooks are committed executed, so that a reader on the web sees results.

``update_committed`` copies the outputs of a passed run into ``notebooks/``, without what belongs
to one machine or one moment; ``check_committed`` finds whatever should not be published.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from seg_lib.course.findings import file_findings, stamp_findings, text_findings
from seg_lib.course.notebooks import (
    find_notebooks,
    read_notebook,
    source_of,
    source_sha256,
    tags_of,
    written_cells,
)
from seg_lib.course.report import PASSED, SUMMARY
from seg_lib.errors import InputError
from seg_lib.files import write_text, written_whole

STAMP = "seg_lib"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def stamp(notebook: dict, about: dict, seconds: float, peak_mb: float) -> dict:
    """What says which source the outputs of a notebook belong to.

    Args:
        notebook: its JSON.
        about: profile, seed and versions, from ``report.about_this_run``.
        seconds: how long it ran.
        peak_mb: its peak memory in 10^6 bytes.

    Returns:
        The content of ``metadata.seg_lib``.
    """
    names = ("profile", "seed", "seg_lib", "python", "torch")
    return {
        "source_sha256": source_sha256(notebook),
        **{name: about[name] for name in names},
        "seconds": round(seconds, 1),
        "peak_mb": round(peak_mb),
    }


def update_committed(run_dir: str | Path, folder: str | Path) -> list[Path]:
    """Copy outputs and figures of a run's passed notebooks to where they are published.

    Args:
        run_dir: ``runs/<profile>``, as the runner has left it.
        folder: ``notebooks/``; the figures go to ``figures/`` beside it.

    Returns:
        The notebooks that were written.

    Raises:
        InputError: there was no run, or a notebook has been edited since.
    """
    run_dir, folder = Path(run_dir), Path(folder).resolve()
    if not (run_dir / SUMMARY).is_file():
        raise InputError(f"{run_dir / SUMMARY}: no such run; run the course in this profile first.")
    summary = json.loads((run_dir / SUMMARY).read_text(encoding="utf-8"))
    passed = {row["notebook"]: row for row in summary["results"] if row["status"] == PASSED}
    written = []
    for notebook in find_notebooks(folder):
        if notebook.number not in passed:
            continue
        row = passed[notebook.number]
        source = read_notebook(notebook.path)
        if source_sha256(source) != row["source_sha256"]:
            raise InputError(f"{notebook.path}: edited since the run; run it again first.")
        executed = read_notebook(run_dir / notebook.path.name)
        published = _publish(source, executed, notebook.number, root=folder.parent)
        published["metadata"][STAMP] = stamp(
            published, summary["about"], row["seconds"], row["peak_mb"]
        )
        _write_notebook(notebook.path, published)
        figures = run_dir / "out" / notebook.number / "figures"
        _copy_figures(figures, folder.parent / "figures")
        written.append(notebook.path)
    return written


def _publish(source: dict, executed: dict, number: str, root: Path) -> dict:
    """The source's cells with the outputs of the run, and nothing else of it."""
    cells: list[dict] = []
    count = 0
    for cell, run in zip(written_cells(source), written_cells(executed), strict=True):
        kept = {
            "cell_type": cell["cell_type"],
            "id": f"{number}-{len(cells):02d}",
            "metadata": {"tags": tags_of(cell)} if tags_of(cell) else {},
            "source": source_of(cell),
        }
        if "attachments" in cell:
            kept["attachments"] = cell["attachments"]
        if cell["cell_type"] == "code":
            ran = run.get("execution_count") is not None
            count += ran
            kept["execution_count"] = count if ran else None
            kept["outputs"] = _outputs(run, count, root)
        cells.append(kept)
    language = executed["metadata"].get("language_info", {"name": "python"})
    metadata = {"kernelspec": KERNEL, "language_info": language}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _outputs(run: dict, count: int, root: Path) -> list[dict]:
    """A cell's outputs without widgets and without the names of this machine's folders."""
    outputs = _without_machine_paths(run.get("outputs", []), root)
    for output in outputs:
        output.get("data", {}).pop(WIDGET_VIEW, None)
        if output["output_type"] == "execute_result":
            output["execution_count"] = count
    return [output for output in outputs if output.get("data", True)]


def _without_machine_paths(value, root: Path):
    """``<folder of the course>/runs/…`` becomes ``runs/…``, the home folder ``~``, and so on."""
    if isinstance(value, list):
        return [_without_machine_paths(item, root) for item in value]
    if isinstance(value, dict):
        return {
            name: item if name == "image/png" else _without_machine_paths(item, root)
            for name, item in value.items()
        }
    if not isinstance(value, str):
        return value
    places = {str(root): "", sys.prefix: "<python>", str(Path.home()): "~"}
    places[tempfile.gettempdir()] = "<temporary>"
    for place in sorted(places, key=len, reverse=True):
        name = places[place]
        if place != os.sep:
            whole = rf"(?<![\w.~/]){re.escape(place)}"
            value = re.sub(rf"{whole}[/\\]", f"{name}/".lstrip("/"), value)
            value = re.sub(rf"{whole}(?![\w.-])", name or ".", value)
    return value


def _write_notebook(path: Path, notebook: dict) -> None:
    """Write as Jupyter does (sorted keys, one space), so that saving it there changes nothing."""
    import nbformat

    node = nbformat.reads(json.dumps(notebook), as_version=4)
    nbformat.validate(node)
    write_text(path, nbformat.writes(node, version=4) + "\n")


def _copy_figures(source: Path, target: Path) -> None:
    for path in sorted(source.glob("*.png")):
        with written_whole(target / path.name) as part:
            shutil.copyfile(path, part)


def check_committed(folder: str | Path) -> list[str]:
    """Everything that speaks against publishing the notebooks of a folder.

    Args:
        folder: ``notebooks/``; the figures are looked for in ``figures/`` beside it.

    Returns:
        Findings, each a sentence that begins with the file's name; empty if all is well.
    """
    folder = Path(folder)
    findings = []
    for notebook in find_notebooks(folder):
        try:
            content = read_notebook(notebook.path)
        except InputError as error:
            findings.append(str(error))
            continue
        figures = sorted((folder.parent / "figures").glob(f"{notebook.number}_*.png"))
        found = [
            *stamp_findings(content, content.get("metadata", {}).get(STAMP)),
            *file_findings(content, notebook.path.stat().st_size, has_figures=bool(figures)),
            *text_findings(content),
        ]
        findings += [f"{notebook.path.name}: {finding}" for finding in found]
    return findings
