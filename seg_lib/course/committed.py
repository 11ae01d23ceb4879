"""Notebooks are committed executed, so that a reader on the web sees results.

``update_committed`` copies the outputs of a passed run into ``notebooks/``, without what belongs
to one machine or one moment; ``check_committed`` finds whatever should not be published.
"""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

from seg_lib.course.findings import file_findings, stamp_findings, text_findings
from seg_lib.course.notebooks import (
    find_notebooks,
    read_notebook,
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
    """What says which source the outputs of a notebook belong to: ``metadata.seg_lib``.

    ``about`` comes from ``report.about_this_run``; the memory is in 10^6 bytes.
    """
    kept = {name: about[name] for name in ("profile", "seed", "seg_lib", "python", "torch")}
    kept |= {"seconds": round(seconds, 1), "peak_mb": round(peak_mb)}
    return kept | {"source_sha256": source_sha256(notebook)}


def update_committed(run_dir: str | Path, folder: str | Path) -> list[Path]:
    """Copy outputs and figures of a run's passed notebooks to where they are published.

    Args:
        run_dir: ``runs/<profile>``, as the runner has left it.
        folder: ``notebooks/``, of which the written ones are returned; ``figures/`` is beside it.

    Raises:
        InputError: there was no run, or a notebook has been edited since.
    """
    import nbformat

    run_dir, folder = Path(run_dir), Path(folder).resolve()
    if not (run_dir / SUMMARY).is_file():
        raise InputError(f"{run_dir / SUMMARY}: no such run; run the course in this profile first.")
    summary = json.loads((run_dir / SUMMARY).read_text(encoding="utf-8"))
    passed = {row["notebook"]: row for row in summary["results"] if row["status"] == PASSED}
    notebooks = [found for found in find_notebooks(folder) if found.number in passed]
    for notebook in notebooks:
        row = passed[notebook.number]
        content = read_notebook(notebook.path)
        if source_sha256(content) != row["source_sha256"]:
            raise InputError(f"{notebook.path}: edited since the run; run it again first.")
        executed = read_notebook(run_dir / notebook.path.name)
        _take_outputs(content, executed, notebook.number, root=folder.parent)
        about = stamp(content, summary["about"], row["seconds"], row["peak_mb"])
        content["metadata"][STAMP] = about
        # Written as Jupyter does (sorted keys, one space): saving it there changes nothing.
        node = nbformat.reads(json.dumps(content), as_version=4)
        nbformat.validate(node)
        write_text(notebook.path, nbformat.writes(node, version=4) + "\n")
        for figure in (run_dir / "out" / notebook.number / "figures").glob("*.png"):
            with written_whole(folder.parent / "figures" / figure.name) as part:
                shutil.copyfile(figure, part)
    return [notebook.path for notebook in notebooks]


def _take_outputs(notebook: dict, executed: dict, number: str, root: Path) -> None:
    """Give the source's cells the outputs of the run, and nothing else of it."""
    count = 0
    notebook["cells"] = written_cells(notebook)
    runs = written_cells(executed)
    for n, (cell, run) in enumerate(zip(notebook["cells"], runs, strict=True)):
        cell["id"] = f"{number}-{n:02d}"
        cell["metadata"] = {"tags": tags_of(cell)} if tags_of(cell) else {}
        if cell["cell_type"] == "code":
            ran = run.get("execution_count") is not None
            count += ran
            cell["execution_count"] = count if ran else None
            cell["outputs"] = _outputs(run, count, root)
    language = executed["metadata"].get("language_info", {"name": "python"})
    notebook["metadata"] = {"kernelspec": KERNEL, "language_info": language}
    notebook.update(nbformat=4, nbformat_minor=5)


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
    places.pop("/", None)
    for place in sorted(places, key=len, reverse=True):
        name = places[place]
        whole = rf"(?<![\w.~/]){re.escape(place)}"
        value = re.sub(rf"{whole}[/\\]", f"{name}/".lstrip("/"), value)
        value = re.sub(rf"{whole}(?![\w.-])", name or ".", value)
    return value


def check_committed(folder: str | Path) -> list[str]:
    """Everything that speaks against publishing the notebooks of a folder.

    Each finding is a sentence that begins with the file's name; ``figures/`` is beside the folder.
    """
    folder = Path(folder)
    findings = []
    for notebook in find_notebooks(folder):
        try:
            content = read_notebook(notebook.path)
        except InputError as error:
            findings.append(str(error))
            continue
        figures = list((folder.parent / "figures").glob(f"{notebook.number}_*.png"))
        found = [
            *stamp_findings(content, content.get("metadata", {}).get(STAMP)),
            *file_findings(content, notebook.path.stat().st_size, has_figures=bool(figures)),
            *text_findings(content),
        ]
        findings += [f"{notebook.path.name}: {finding}" for finding in found]
    return findings
