"""What a class is handed: the lessons without outputs, and test files for otter-grader.

No solution leaves the project. ``check`` needs the right answers to judge, so they are in the
installed library, as in every course that checks itself offline.
"""

import ast
import json
import shutil
import tomllib
from pathlib import Path
from pprint import pformat

from seg_lib.course import notebooks
from seg_lib.course.committed import KERNEL, STAMP
from seg_lib.course.wheels import CONSTRAINTS, build_wheel
from seg_lib.files import folder_written_whole, write_text

WRITTEN = ("cell_type", "id", "source", "attachments")  # what of a cell is its author's
README = Path(__file__).with_name("student_readme.md")
OTTER = """
>>> import contextlib, io
>>> from seg_lib.course.exercises import verdict
>>> with contextlib.redirect_stdout(io.StringIO()):
...     status, sentence = verdict({id!r}, {answer})
>>> print(status if status == "right" else sentence)
right
"""


def write_student_copy(folder: str | Path, root: str | Path | None = None) -> list[Path]:
    """Write what students get: lessons with no outputs, the library's wheel, a README.

    ``folder`` must be new or empty; ``root`` is the course's. Returns the written notebooks.
    """
    root, folder = notebooks.course_root(root), Path(folder)
    books = notebooks.lessons_of(root)
    with folder_written_whole(folder) as part:
        for book in books:
            content = without_outputs(notebooks.read_notebook(book.path))
            text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True)
            write_text(part / "notebooks" / book.path.name, text + "\n")
            for file in _files_named_in(content, root):
                copy = part / file.relative_to(root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
        wheel = build_wheel(root, part)
        for name in ("LICENSE", CONSTRAINTS):
            shutil.copy(root / name, part)
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        told = {"python": project["requires-python"], "wheel": wheel.name}
        told["lessons"] = "\n".join(map(_line_of, books))
        write_text(part / "README.md", README.read_text(encoding="utf-8").format(**told))
    return [folder / "notebooks" / book.path.name for book in books]


def without_outputs(notebook: dict) -> dict:
    """A notebook as its author wrote it: source and tags, no outputs, no stamp of a run."""
    cells = []
    for n, cell in enumerate(notebooks.written_cells(notebook)):
        kept = {"id": f"cell-{n}"} | {name: cell[name] for name in WRITTEN if name in cell}
        kept["metadata"] = {"tags": notebooks.tags_of(cell)} if notebooks.tags_of(cell) else {}
        if cell["cell_type"] == "code":
            kept |= {"execution_count": None, "outputs": []}
        cells.append(kept)
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def write_otter_tests(folder: str | Path, root: str | Path | None = None) -> list[Path]:
    """Write a test file for otter-grader per exercise: ``NN_slug/NNx.py``, one point each.

    A teacher grades what was handed in with ``otter check NN_slug.ipynb -t DIR/NN_slug``, where
    otter-grader (7) and seg-lib are installed.
    """
    folder, written = Path(folder), []
    with folder_written_whole(folder) as part:
        for book in notebooks.lessons_of(notebooks.course_root(root)):
            for id_, answer in exercises_in(notebooks.read_notebook(book.path)).items():
                cases = [{"code": OTTER.format(id=id_, answer=answer), "hidden": False}]
                test = {"name": id_, "points": 1, "suites": [{"type": "doctest", "cases": cases}]}
                text = f"OK_FORMAT = True\ntest = {pformat(test, width=100)}\n"
                written.append(Path(book.path.stem) / f"{id_}.py")
                write_text(part / written[-1], text)
    return [folder / path for path in written]


def exercises_in(notebook: dict) -> dict[str, str]:
    """The exercises of a notebook: id to the expression that ``check`` is given as answer."""
    sources = [notebooks.source_of(cell) for cell in notebooks.code_cells(notebook)]
    trees = [ast.parse(source) for source in sources if "check(" in source]  # not %magic
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    asked = [c.args for c in calls if getattr(c.func, "id", "") == "check" and len(c.args) == 2]
    return {id_.value: ast.unparse(a) for id_, a in asked if isinstance(id_, ast.Constant)}


def _files_named_in(notebook: dict, root: Path) -> list[Path]:
    """Figures and stored results of the course that a notebook shows or reads."""
    text = "\n".join(map(notebooks.source_of, notebook["cells"]))
    files = [*root.glob("figures/*.png"), *root.glob("benchmarks/results/*.json")]
    return [file for file in files if file.name in text]


def _line_of(book: notebooks.CourseNotebook) -> str:
    """``* [06_resnet50_unet](…): title (280 s on two cores)``."""
    notebook = notebooks.read_notebook(book.path)
    seconds = notebook["metadata"].get(STAMP, {}).get("seconds")
    took = f" ({seconds:.0f} s on two cores)" if seconds else ""
    title = notebooks.title_of(notebook).split("·", 1)[-1].strip()
    return f"* [{book.path.stem}](notebooks/{book.path.name}): {title}{took}"
