"""The house keeps its shape: imports go down, nothing grows monstrous, nothing is unsafe."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seg_lib.course import library_pages

REPOSITORY = Path(__file__).parents[1]
LIBRARY = REPOSITORY / "seg_lib"
FILES = sorted(LIBRARY.rglob("*.py"))

FLOORS = list(library_pages.FLOORS.values())  # the lowest first; there because the site shows them


def floor_of(room: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def room_of(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seg_lib"):
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("seg_lib."):
                    yield alias.name.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_imports_only_go_down(path):
    room = room_of(path)
    for other in imported_rooms(ast.parse(path.read_text())):
        if other in ("__version__", room):
            continue
        assert floor_of(other) <= floor_of(room), f"{room} may not import {other}"
        assert {room, other} != {"data", "models"}, "data and models do not know each other"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_nothing_is_monstrous(path):
    source = path.read_text()
    assert source.count("\n") <= 250, "a file has at most 250 lines: split it by concept"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 45, f"{node.name} has {length} lines"


def test_the_library_does_not_grow():
    """A ratchet: lower it whenever the library gets thinner. The aim is 6,000 lines."""
    assert sum(path.read_text().count("\n") for path in FILES) <= 27_089


UNSAFE = {
    "pickle.load": r"\bpickle\.loads?\(",
    "torch.load without weights_only=True": r"torch\.load\((?![^)]*weights_only=True)",
    "arrays of objects": r"allow_pickle\s*=\s*True",
    "extractall": r"\.extractall\(",
    "shell=True": r"shell\s*=\s*True",
    "strict=False on a state dict": r"load_state_dict\([^)]*strict\s*=\s*False",
    "unfinished work": r"\b(TODO|FIXME|NotImplementedError)\b",
}


@pytest.mark.parametrize("name", UNSAFE)
def test_nothing_unsafe(name):
    pattern = re.compile(UNSAFE[name])
    found = [str(p) for p in FILES if pattern.search(p.read_text())]
    assert found == []


def test_the_unsafe_patterns_do_bite():
    assert re.search(UNSAFE["torch.load without weights_only=True"], "torch.load(path)")
    assert not re.search(
        UNSAFE["torch.load without weights_only=True"], "torch.load(path, weights_only=True)"
    )
    assert re.search(UNSAFE["pickle.load"], "pickle.load(stream)")


def test_importing_the_library_loads_nothing_heavy():
    """Lessons that need neither MONAI nor transformers do not wait for them."""
    modules = [
        "seg_lib." + ".".join(p.relative_to(LIBRARY).with_suffix("").parts)
        for p in FILES
        if p.name not in ("__init__.py", "__main__.py")
    ]
    heavy = ("monai", "transformers", "segmentation_models_pytorch", "albumentations", "papermill")
    code = (
        f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
        f"print([h for h in {heavy!r} if h in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
