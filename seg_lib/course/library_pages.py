"""Pages about the library, one a module, from its docstrings; the code is read, never imported."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from seg_lib.course.pages import Page, markdown_html

# The lowest floor first. A module may import its own floor and those below; data and models, side
# by side, never import each other. tests/test_house.py enforces it, the site is sorted by it.
FLOORS = {
    "Ground": {"__init__", "errors", "files", "memory"},
    "Data": {"data"},
    "Models": {"models"},
    "Judging": {"losses", "surfaces", "diameters", "metrics", "tables", "rle", "resampling"}
    | {"classification", "lesions"},
    "Doing": {"steps", "schedules", "run_log", "checkpoints", "model_card", "runs", "training"}
    | {"slice_inference", "postprocessing", "inference", "processes", "baselines", "evaluation"}
    | {"pretraining", "costs", "comparison", "small_llama", "text_inference", "contrastive"}
    | {"nnunet_plan", "multitask_inference", "saliency", "foundation", "perturbations"},
    "Roof": {"scans", "lettering", "rendering", "panes", "figure_style", "figures", "charts"}
    | {"interval_charts", "less_data"}
    | {"viewer", "viewer_widgets", "viewer_niivue", "trained", "export"}
    | {"course", "slices2d", "volumes3d", "tasks", "text3d", "doctor", "cli", "__main__"}
    | {"data_commands", "manifest_commands", "course_commands", "preflight"}
    | {"submission_archive", "submission_rules", "submission", "leaderboard"}
    | {"cluster", "schedulers", "predictions"}
    | {"multitask", "multitask_scores"},
}
NOT_SHOWN = {"__main__", "checkers"}  # checkers would give the exercises away
SECTION = re.compile(r"^(Args|Returns|Yields|Raises):\n((?:(?: {4}.*)?\n?)+)", re.MULTILINE)
TITLES = {"Args": "Arguments"}
ENTRY = re.compile(r"^ {4}(\S[^:\n]*):", re.MULTILINE)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def library_pages(library: Path) -> list[Page]:
    """A page for each public module of the package in a folder, in the order of the floors."""
    floors = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
    pages = []
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        name = ".".join((library.name, *parts)).removesuffix(".__init__")
        hidden = any(part.startswith("_") and part != "__init__" for part in parts)
        if hidden or NOT_SHOWN & set(parts):
            continue
        body = markdown_html(module_markdown(name, path.read_text(encoding="utf-8")))
        source = path.relative_to(library.parent).as_posix()
        pages.append(Page(f"library/{name}.html", name, floors.get(parts[0], "Roof"), body, source))
    return sorted(pages, key=lambda page: list(FLOORS).index(page.group))


def module_markdown(name: str, source: str) -> str:
    """Name, docstring, and the public functions and classes of a module, as Markdown."""
    tree = ast.parse(source)
    lines = source.splitlines()
    parts = [f"# {name}", docstring_markdown(tree)]
    for node in _public(tree):
        parts += [f"## {node.name}", _signature(node, lines), docstring_markdown(node)]
        for method in _public(node) if isinstance(node, ast.ClassDef) else ():
            title = f"### {node.name}.{method.name}"
            parts += [title, _signature(method, lines), docstring_markdown(method)]
    return "\n\n".join(part for part in parts if part)


def _public(tree: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    for node in tree.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node


def _signature(node: Definition, lines: Sequence[str]) -> str:
    """The lines of the source down to the docstring; of a class also its fields and arguments."""
    shown = lines[node.lineno - 1 : node.body[0].lineno - 1] or [lines[node.lineno - 1]]
    for part in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(part, ast.AnnAssign):
            shown += lines[part.lineno - 1 : part.end_lineno]
        elif isinstance(part, ast.FunctionDef) and part.name == "__init__":
            shown += lines[part.lineno - 1 : part.body[0].lineno - 1]
    code = textwrap.dedent("\n".join(shown))
    return f"```python\n{code}\n```"


def docstring_markdown(node: ast.Module | Definition) -> str:
    """A docstring of Google's style as Markdown: its sections become headings and lists."""

    def section(match: re.Match) -> str:
        title, text = match.groups()
        if title in ("Args", "Raises"):
            text = ENTRY.sub(r"* `\1`:", text)
        return f"**{TITLES.get(title, title)}**\n\n{inspect.cleandoc(text)}\n\n"

    return SECTION.sub(section, ast.get_docstring(node) or "").strip()
