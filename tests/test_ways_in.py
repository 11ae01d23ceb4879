"""Colab, Binder, a development container: what their links and files name does exist."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from seg_lib.course.notebooks import find_notebooks
from seg_lib.course.ways_in import colab_cell, launch_links, repository
from seg_lib.errors import InputError

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
NOTEBOOKS = find_notebooks(REPOSITORY / "notebooks")
ASKED_PYTHON = Requirement("python" + PROJECT["requires-python"]).specifier


def told(root, address):
    content = f'[project]\nname = "x"\n[project.urls]\nRepository = "{address}"\n'
    (root / "pyproject.toml").write_text(content)
    return repository(root)


@pytest.mark.parametrize("end", ["", "/", ".git"])
def test_the_repository_is_told_in_one_place(tmp_path, end):
    assert repository(tmp_path) == ""
    assert told(tmp_path, f"https://github.com/made-up/course.ct{end}") == "made-up/course.ct"


@pytest.mark.parametrize("address", ["https://example.org/a/b", "github.com/a/b", "made-up/course"])
def test_another_address_is_refused(tmp_path, address):
    with pytest.raises(InputError, match="https://github.com/OWNER/NAME"):
        told(tmp_path, address)


def test_a_damaged_project_file_is_refused(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project")
    with pytest.raises(InputError, match="not valid TOML"):
        repository(tmp_path)


def test_the_citation_tells_the_same_address():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation.get("repository-code") == PROJECT.get("urls", {}).get("Repository")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.path.stem)
def test_links_open_files_that_exist(notebook):
    links = launch_links("made-up/course", notebook.path)
    colab = re.fullmatch(
        r"https://colab\.research\.google\.com/github/made-up/course/blob/main/(.+)", links["Colab"]
    )
    binder = re.fullmatch(
        r"https://mybinder\.org/v2/gh/made-up/course/main\?labpath=(.+)", links["Binder"]
    )
    assert colab[1] == binder[1] and (REPOSITORY / colab[1]).samefile(notebook.path)


def test_without_an_address_there_are_no_links():
    assert launch_links("", NOTEBOOKS[0].path) == {}


def test_the_map_of_readme_gets_the_links_of_a_published_repository(monkeypatch):
    import readme_tables as tables

    assert ("colab" in tables.lessons()) == bool(repository(REPOSITORY))
    monkeypatch.setattr(tables, "repository", lambda root: "made-up/course")
    rows = [line for line in tables.lessons().splitlines() if line.startswith("| [")]
    for row, notebook in zip(rows, NOTEBOOKS, strict=True):
        for service, address in launch_links("made-up/course", notebook.path).items():
            assert f"[{service}]({address})" in row


def test_colab_gets_the_library_and_the_files_of_the_course():
    lines = colab_cell("made-up/course").splitlines()
    assert lines[0] == "!git clone --depth 1 https://github.com/made-up/course.git"
    assert lines[1:] == ["%cd course", "%pip install --quiet ."]


def test_binder_installs_what_everybody_installs():
    environment = yaml.safe_load((REPOSITORY / "binder" / "environment.yml").read_text())
    python, pip = environment["dependencies"]
    assert python.removeprefix("python=") in ASKED_PYTHON and pip == "pip"
    script = REPOSITORY / "binder" / "postBuild"
    assert os.access(script, os.X_OK) and script.read_text().startswith("#!/usr/bin/env bash\n")
    assert "pip install --no-cache-dir --constraint constraints.txt --editable .\n" in (
        script.read_text()
    )


def test_the_development_container_runs_a_target_of_the_makefile():
    container = json.loads((REPOSITORY / ".devcontainer" / "devcontainer.json").read_text())
    python = re.fullmatch(r"python:([\d.]+)-bookworm", container["image"])
    assert python[1] in ASKED_PYTHON
    make, target = container["postCreateCommand"].split()
    assert make == "make"
    dry_run = ["make", "--dry-run", "--always-make", target]
    done = subprocess.run(dry_run, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and "pip install" in done.stdout
    settings = container["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].endswith("/.venv/bin/python")
    assert "BIN := .venv/bin\n" in (REPOSITORY / "Makefile").read_text()
