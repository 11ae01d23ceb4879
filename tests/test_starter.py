"""The starter: a team that has only what it was given ends with a ZIP that can be ranked."""

import ast
import math
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from made_up_notebooks import notebook, write

from seg_lib import cli
from seg_lib.course.execute import execute
from seg_lib.course.findings import text_findings
from seg_lib.course.notebooks import (
    code_cells,
    find_notebooks,
    markdown_of,
    read_notebook,
    source_of,
    tags_of,
)
from seg_lib.course.site import build_site
from seg_lib.data.cases import read_cases
from seg_lib.data.phantom import make_phantom
from seg_lib.leaderboard import write_leaderboard
from seg_lib.submission import check_submission, score_submission
from seg_lib.submission_archive import masks_in
from seg_lib.submission_rules import read_rules

REPOSITORY = Path(__file__).parents[1]
GUIDES = REPOSITORY / "notebooks" / "guides"
GUIDE, STARTER = GUIDES / "hackathon_two_days.md", GUIDES / "starter.ipynb"
CELLS = code_cells(read_notebook(STARTER))
SMALL = {"EPOCHS": 1, "SPACING_MM": [6.0, 6.0, 12.0]}  # about the voxels of the scans below


@pytest.fixture(scope="module")
def organiser(tmp_path_factory) -> Path:
    """The organiser's folder after the lines of the guide: given, reference, empty and rules."""
    folder = tmp_path_factory.mktemp("organiser")
    make_phantom("lung3d", 8, (64, 64, 16), 20261, folder / "all")
    (lines,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    subprocess.run([sys.executable, "-c", textwrap.dedent(lines)], cwd=folder, check=True)
    rules = (GUIDES / "rules.yml").read_text().splitlines()  # its deadline is over one day
    kept = [line for line in rules if not line.startswith("deadline")]
    (folder / "rules.yml").write_text("\n".join(kept))
    return folder


@pytest.fixture(scope="module")
def team(organiser, tmp_path_factory) -> Path:
    """The team's folder after the starter: it held the notebook and ``given``, nothing else."""
    folder = tmp_path_factory.mktemp("team")
    shutil.copytree(organiser / "given", folder / "given")
    shutil.copy(STARTER, folder)
    on_cpu = {"CUDA_VISIBLE_DEVICES": ""}
    ran = execute(folder / STARTER.name, folder / "ran.ipynb", SMALL, math.inf, on_cpu)
    assert ran.fault == ""
    return folder


def outputs_of(team: Path) -> list[dict]:
    return [
        output
        for cell in code_cells(read_notebook(team / "ran.ipynb"))
        for output in cell["outputs"]
    ]


def test_the_lines_of_the_guide_give_no_mask_away(organiser):
    given, hidden = organiser / "given", masks_in(organiser / "given" / "hidden")
    assert masks_in(organiser / "reference").keys() == hidden.keys()
    assert {case.case for case in read_cases(given)}.isdisjoint(hidden)
    secret = {path.read_bytes() for path in (organiser / "reference").iterdir()}
    assert secret.isdisjoint(path.read_bytes() for path in given.rglob("*.*"))


def test_it_says_that_nothing_is_wrong_and_shows_a_case(team):
    found = outputs_of(team)
    said = "".join("".join(output.get("text", "")) for output in found)
    assert "nothing to complain: hand in our_team@1.zip" in said
    assert re.search(r"epoch +1/1 .*dice", said), "trained, and judged on the validation part"
    assert re.search(r"score +\d\.\d{3} \(", said), "its own score, before it is handed in"
    assert sum("image/png" in output.get("data", {}) for output in found) == 1


def test_it_leaves_its_own_folders_alone_and_changes_nothing_that_was_given(team, organiser):
    left = {path.name for path in team.iterdir()}
    assert left == {"given", "starter.ipynb", "ran.ipynb", "starter_run", "our_team@1"} | {
        "our_team@1.zip"
    }
    before, after = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (organiser / "given", team / "given")
    )
    assert before == after


def test_each_mask_lies_on_the_voxels_of_its_scan(team):
    masks = masks_in(team / "our_team@1")
    scans = masks_in(team / "given" / "hidden")
    assert masks.keys() == scans.keys()
    directions = set()
    for case, path in masks.items():
        mask, scan = nib.load(path), nib.load(scans[case])
        assert mask.shape == scan.shape
        assert np.allclose(mask.affine, scan.affine)
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}
        directions.add(nib.aff2axcodes(scan.affine))
    assert len(directions) > 1, "scans are stored in more than one direction"


def test_the_zip_is_accepted_and_scored_against_the_hidden_masks(team, organiser, tmp_path):
    archive, rules = team / "our_team@1.zip", organiser / "rules.yml"
    assert check_submission(archive, organiser / "reference", read_rules(rules)) == []
    rows, _ = score_submission(archive, organiser / "reference", read_rules(rules))
    assert {row["case"] for row in rows} == masks_in(organiser / "reference").keys()
    words = ["submission", "score", str(archive), str(organiser / "reference")]
    out = tmp_path / "scores.csv"
    assert cli.main([*words, "--rules", str(rules), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 1 + len(rows)


def test_a_leaderboard_of_two_teams(team, organiser, tmp_path):
    """The starter, and a team that hands in what the organiser hid."""
    teams = tmp_path / "teams"
    shutil.copytree(organiser / "reference", teams / "perfect@1")
    shutil.copy(team / "our_team@1" / "declaration.yml", teams / "perfect@1")
    shutil.copy(team / "our_team@1.zip", teams)
    page = tmp_path / "leaderboard.html"
    told = write_leaderboard(teams, page, organiser / "reference", organiser / "rules.yml")
    assert told.startswith("1. perfect 0.0000\n2. our_team "), told
    assert "2 teams, 0 refused" in told
    assert "our_team" in page.read_text()


def test_it_is_short_begins_with_its_settings_and_stores_no_outputs():
    content = read_notebook(STARTER)
    assert len(CELLS) <= 10
    assert max(len(source_of(cell).splitlines()) for cell in CELLS) <= 20
    first = ast.parse(source_of(CELLS[0])).body
    names = {node.targets[0].id: ast.literal_eval(node.value) for node in first}
    assert list(names)[:3] == ["GIVEN", "RUN", "OUT"] and names["GIVEN"] == "given"
    assert tags_of(CELLS[0]) == ["parameters"] and SMALL.keys() <= names.keys()
    assert not any(cell["outputs"] or cell["execution_count"] for cell in CELLS)
    assert content["metadata"].keys() == {"kernelspec", "language_info"}
    assert list(text_findings(content)) == []
    ideas = markdown_of(content).split("## What to try first")[1]
    assert re.findall(r"^(\d)\. ", ideas, re.MULTILINE) == ["1", "2", "3"]


def test_its_code_names_neither_profile_nor_reference():
    code = "\n".join(map(source_of, CELLS))
    assert not re.search(r"PROFILE|reference|labels/", code)


def test_it_is_no_lesson_but_a_page_of_the_site_that_the_guide_leads_to(tmp_path):
    assert STARTER not in {book.path for book in find_notebooks(REPOSITORY / "notebooks")}
    root = tmp_path / "course"
    write(root / "notebooks" / "00_start.ipynb", notebook())
    shutil.copytree(GUIDES, root / "notebooks" / "guides")
    (root / "seg_lib").mkdir()
    (root / "seg_lib" / "__init__.py").write_text('"""Nothing."""\n')
    site = build_site(tmp_path / "site", root).parent
    assert [path.name for path in (site / "lessons").iterdir()] == ["00_start.html"]
    assert 'href="starter.html"' in (site / "guides" / "hackathon_two_days.html").read_text()
    page = (site / "guides" / "starter.html").read_text()
    assert "check_submission" in page and "What to try first" in page
    assert 'href="glossary.html#Voxel"' in page, "words of the trade are explained"
    assert 'href="guides/starter.html"' in (site / "index.html").read_text()
