"""The notebooks as files: where they are, what they are called, what their source is.

A notebook is plain JSON; nothing here starts Jupyter.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_lib.errors import InputError

FILE_NAME = re.compile(r"(\d\d)_([a-z0-9_]+)\.ipynb")
INJECTED = "injected-parameters"  # the tag of the cell that papermill adds


@dataclass(frozen=True)
class CourseNotebook:
    """One notebook of the course: ``notebooks/06_resnet50_unet.ipynb`` is ``06``."""

    number: str
    slug: str
    path: Path

    @property
    def name(self) -> str:
        """Number and slug, as the terminal shows them: ``06 resnet50_unet``."""
        return f"{self.number} {self.slug}"


def course_root(start: str | Path | None = None) -> Path:
    """The nearest folder with ``notebooks/`` in it, from ``start`` (or from here) upwards."""
    start = Path(start or Path.cwd()).resolve()
    for folder in [start, *start.parents]:
        if (folder / "notebooks").is_dir():
            return folder
    raise InputError(f"{start}: no folder notebooks/ here or above; go to the course's folder.")


def find_notebooks(folder: Path, only: str | Sequence[str] | None = None) -> list[CourseNotebook]:
    """The notebooks ``NN_slug.ipynb`` of a folder, in the order of their numbers.

    ``only`` names those to keep, as ``"04,07"`` or a sequence of strings.

    Raises:
        InputError: a number appears twice, or a wanted one does not exist.
    """
    found: dict[str, CourseNotebook] = {}
    for path in sorted(folder.glob("*.ipynb")):
        if name := FILE_NAME.fullmatch(path.name):
            if twin := found.get(name[1]):
                raise InputError(f"{path}: number {name[1]} is taken by {twin.path.name}.")
            found[name[1]] = CourseNotebook(name[1], name[2], path)
    if only is None:
        return list(found.values())
    wanted = only.split(",") if isinstance(only, str) else only
    numbers = {number.strip().zfill(2) for number in wanted if number.strip()}
    if not numbers:
        raise InputError(f"{folder}: no number of a notebook in {only!r}; write 04,07.")
    if unknown := ", ".join(sorted(numbers - found.keys())):
        raise InputError(f"{folder}: no notebook {unknown}; there are {', '.join(found)}.")
    return [found[number] for number in sorted(numbers)]


def lessons_of(root: Path, only: str | Sequence[str] | None = None) -> list[CourseNotebook]:
    """Notebooks of the course in ``root``, as `find_notebooks`; none at all: ``InputError``."""
    books = find_notebooks(root / "notebooks", only)
    if not books:
        raise InputError(f"{root / 'notebooks'}: no notebook NN_name.ipynb; is this the course?")
    return books


def read_notebook(path: Path) -> dict:
    """The JSON of a notebook of format 4; an ``InputError`` if the file is none, or missing."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable notebook ({error}); restore the file.") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise InputError(f"{path}: no list of cells in it; save it again from JupyterLab.")
    return notebook


def source_of(cell: dict) -> str:
    """A cell's text; the file may hold it as one string or as a list of lines."""
    return "".join(cell.get("source", ""))


def tags_of(cell: dict) -> list[str]:
    """A cell's tags, sorted."""
    return sorted(cell.get("metadata", {}).get("tags", []))


def written_cells(notebook: dict) -> list[dict]:
    """The cells that an author wrote: all but those that papermill put in."""
    papermill = {INJECTED, "papermill-error-cell-tag"}
    return [cell for cell in notebook["cells"] if papermill.isdisjoint(tags_of(cell))]


def code_cells(notebook: dict) -> list[dict]:
    """The author's code cells that have something in them."""
    cells = written_cells(notebook)
    return [cell for cell in cells if cell["cell_type"] == "code" and source_of(cell).strip()]


def markdown_of(notebook: dict) -> str:
    """All text of the author, without the code."""
    cells = written_cells(notebook)
    return "\n\n".join(source_of(cell) for cell in cells if cell["cell_type"] == "markdown")


def title_of(notebook: dict) -> str:
    """The first markdown heading, or an empty string."""
    heading = re.search(r"^#+ +(.+)$", markdown_of(notebook), re.MULTILINE)
    return heading[1].strip() if heading else ""


def source_sha256(notebook: dict) -> str:
    """SHA-256 over tags and source of the author's code: what outputs depend on, not the prose."""
    cells = [[tags_of(c), source_of(c)] for c in code_cells(notebook)]
    return hashlib.sha256(json.dumps(cells, ensure_ascii=False).encode()).hexdigest()
