"""pyproject.toml, constraints.txt and environment.yml say the same thing."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import seg_lib

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"] + EXTRAS]
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE
    )
}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_every_requirement_is_pinned_within_its_range(requirement):
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


def test_constraints_are_exact_and_nothing_else():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    odd = [x for x in lines if x and not x.startswith("#") and not re.fullmatch(r"[\w.-]+==\S+", x)]
    assert odd == []


def test_torch_and_torchvision_are_a_matching_pair():
    """A CPU build of one beside a CUDA build of the other has no operator torchvision::nms."""
    import torch
    from torchvision.ops import nms

    asked = [Requirement(line) for line in importlib.metadata.requires("torchvision")]
    torch_asked = next(r for r in asked if r.name == "torch")
    assert PINS["torch"] in torch_asked.specifier
    assert PINS["torch"] >= Version("2.10")
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]


def test_also_installs_beside_torch_2_11():
    torch = next(r for r in REQUIREMENTS if r.name == "torch")
    assert "2.11.0" in torch.specifier


def test_the_safe_versions_are_the_floor():
    """CVE-2026-24747 (torch < 2.10) and GHSA-89gg-p5r5-q6r4 (MONAI < 1.5.2)."""
    floors = {r.name: r.specifier for r in REQUIREMENTS}
    assert "2.9.9" not in floors["torch"]
    assert "1.5.1" not in floors["monai"]


def test_files_beside_the_code_are_packed():
    """The style sheet of the pages, lists of words: without them an installed library is broken."""
    tool = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = tool["package-data"]["seg_lib"]
    library = REPOSITORY / "seg_lib"
    packed = {path for pattern in patterns for path in library.glob(pattern)}
    others = {path for path in library.rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert {path for path in others if path.is_file()} == packed


def test_conda_takes_the_same_set():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    python = next(d for d in environment["dependencies"] if str(d).startswith("python"))
    asked = Requirement(python).specifier
    assert asked == Requirement("python" + PROJECT["requires-python"]).specifier
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == ["--constraint constraints.txt", "--editable .[dev]"]
    others = [d for d in environment["dependencies"] if isinstance(d, str)]
    assert others == [python, "pip"], "torch and its kin come from one place: pip"


def test_the_version_is_told_once():
    assert seg_lib.__version__ == PROJECT["version"]
    assert f"version: {PROJECT['version']}" in (REPOSITORY / "CITATION.cff").read_text()
    assert f"## {PROJECT['version']}" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_the_makefile_installs_what_is_pinned():
    assert "-c constraints.txt -e '.[dev]'" in (REPOSITORY / "Makefile").read_text()


def test_a_wheel_carries_every_file_that_is_no_code():
    """Word lists are read at run time; an install without them would fail at import."""
    configured = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    library = REPOSITORY / "seg_lib"
    found = {f for f in library.rglob("*") if f.is_file() and f.suffix not in (".py", ".pyc")}
    listed = {f for glob in configured["package-data"]["seg_lib"] for f in library.glob(glob)}
    assert found and found == listed
