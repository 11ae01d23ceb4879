"""Records, figures and phantoms of a lesson."""

import ast
import json
import math
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

import seg_lib.data
from seg_lib.course import Lesson
from seg_lib.course.lesson import METRICS_FILE, _phantom_version
from seg_lib.course.profiles import settings
from seg_lib.errors import InputError


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    monkeypatch.setenv("SEG_LIB_HEADLESS", "1")
    return Lesson("06", "smoke", seed=3, data_dir=tmp_path / "data", out_dir=tmp_path / "out")


def records(lesson):
    lines = (lesson.out_dir / METRICS_FILE).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_budget_is_said_first(tmp_path, capsys):
    Lesson("06", "laptop", 0, tmp_path, tmp_path)
    said = capsys.readouterr().out
    sizes = settings("06", "laptop")
    told = f"about {sizes.budget_s:.0f} s and {sizes.budget_mb / 1000:.1f} GB on two cores"
    assert said.startswith(f"Lesson 06, profile laptop: {told}\n")


def test_records_are_written_and_said(lesson, capsys):
    capsys.readouterr()
    lesson.record("val_dice", 0.78125)
    lesson.record("hd95_mm", np.float32(3.5), "mm")
    lesson.record("n_cases", np.int64(40))
    lesson.record("loss", torch.tensor(0.25))
    lesson.record("found", True)
    assert capsys.readouterr().out.splitlines() == [
        "val_dice = 0.7812",
        "hd95_mm = 3.5 mm",
        "n_cases = 40",
        "loss = 0.25",
        "found = 1",
    ]
    assert records(lesson)[:2] == [
        {"name": "val_dice", "value": 0.78125, "unit": ""},
        {"name": "hd95_mm", "value": 3.5, "unit": "mm"},
    ]
    assert [record["value"] for record in records(lesson)[2:]] == [40, 0.25, 1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "a is nan; find out"),
        (math.inf, "a is inf; find out"),
        (np.float32("nan"), "a is nan"),
        ("0.7", "a is a str"),
        (None, "a is a NoneType"),
        ([0.7], "a is a list"),
        (np.zeros(1), "a is a ndarray"),
        (torch.zeros(2), "a is a Tensor"),
        (1j, "a is a complex"),
    ],
)
def test_what_is_no_finite_number_is_refused(lesson, value, message):
    with pytest.raises(InputError, match=message):
        lesson.record("a", value)
    assert records(lesson) == []


@pytest.mark.parametrize("name", ["", "Val Dice", "9lives", "../dice", "dice-1"])
def test_an_odd_name_is_refused(lesson, name):
    with pytest.raises(InputError, match="no metric name"):
        lesson.record(name, 1)
    with pytest.raises(InputError, match="no figure name"):
        lesson.figure(plt.figure(), name)
    plt.close("all")


def test_a_name_is_recorded_once(lesson):
    lesson.record("val_dice", 0.7)
    with pytest.raises(InputError, match="val_dice has been recorded already"):
        lesson.record("val_dice", 0.8)
    assert [record["value"] for record in records(lesson)] == [0.7]


def test_at_the_keyboard_a_cell_may_run_again(lesson, monkeypatch):
    monkeypatch.delenv("SEG_LIB_HEADLESS")
    lesson.record("val_dice", 0.7)
    lesson.record("val_dice", 0.8)
    assert [record["value"] for record in records(lesson)] == [0.8]


def test_a_new_lesson_begins_an_empty_record(lesson):
    lesson.record("val_dice", 0.7)
    Lesson("06", "smoke", out_dir=lesson.out_dir, data_dir=lesson.data_dir)
    assert records(lesson) == []


def test_a_figure_is_saved_and_closed(lesson, capsys):
    fig, axes = plt.subplots(figsize=(2, 1))
    axes.plot([0, 1])
    lesson.figure(fig, "curve", alt="A rising line")
    with Image.open(lesson.out_dir / "figures" / "06_curve.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 0
    assert not plt.fignum_exists(fig.number)
    assert "A rising line" in capsys.readouterr().out


def test_an_empty_figure_is_refused(lesson):
    for fig in (plt.figure(), plt.subplots()[0]):
        with pytest.raises(InputError, match="the figure shows nothing"):
            lesson.figure(fig, "curve")
        plt.close(fig)
    assert not (lesson.out_dir / "figures").exists()


def make_files(kind, n_cases, size, seed, out_dir):
    out_dir.mkdir(parents=True)
    (out_dir / "cases.csv").write_text(f"{kind} {n_cases} {size} {seed}")


def test_a_phantom_is_made_once_for_each_choice(lesson, monkeypatch):
    made = []

    def counted(kind, **sizes):
        made.append(kind)
        make_files(kind, **sizes)

    monkeypatch.setattr("seg_lib.data.phantom.make_phantom", counted)
    sizes = lesson.settings
    first = lesson.phantom("lung2d")
    assert (first / "cases.csv").read_text() == f"lung2d {sizes.n_cases} {sizes.size} 3"
    assert lesson.phantom("lung2d") == first
    assert made == ["lung2d"]
    others = [
        lesson.phantom("lung3d", n_cases=2, size=(32, 32, 16)),
        lesson.phantom("lung2d", n_cases=2),
        lesson.phantom("lung2d", size=32),
        lesson.phantom("lung2d", seed=4),
    ]
    assert len({first, *others}) == 5
    monkeypatch.setattr("seg_lib.course.lesson._phantom_version", lambda: "newer")
    assert lesson.phantom("lung2d") != first


def imported_data_modules(path):
    """Names of the modules of `seg_lib.data` that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "seg_lib.data":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.removeprefix("seg_lib.data.")
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("seg_lib.data.") for alias in node.names)


def test_the_version_of_a_phantom_changes_with_every_module_that_makes_it(tmp_path, monkeypatch):
    """With each phantom*.py, what these import of `seg_lib.data`, and what that imports."""
    data, seen = tmp_path / "data", set()
    data.mkdir()
    for path in Path(seg_lib.data.__file__).parent.glob("*.py"):
        shutil.copy(path, data)
    monkeypatch.setattr("seg_lib.course.lesson.__file__", str(tmp_path / "course" / "lesson.py"))
    before, left = _phantom_version(), list(data.glob("phantom*.py"))
    while left:
        path = left.pop()
        if path in seen or not path.is_file():  # of another part of the library, or not ours
            continue
        seen.add(path)
        left += [data / f"{name}.py" for name in imported_data_modules(path)]
        source = path.read_text()
        path.write_text(source + "\n# changed\n")
        assert _phantom_version() != before, path.name
        path.write_text(source)
        assert _phantom_version() == before
    assert {"phantom.py", "notes.py", "nifti_header.py", "clinical_table.py"} <= {
        path.name for path in seen
    }


def test_another_hospital_has_its_own_phantom(lesson, monkeypatch):
    def told(kind, hospital="home", **sizes):
        make_files(kind, **sizes)
        (sizes["out_dir"] / "hospital").write_text(hospital)

    monkeypatch.setattr("seg_lib.data.phantom.make_phantom", told)
    home, there = lesson.phantom("lung2d"), lesson.phantom("lung2d", hospital="external1")
    assert (home / "hospital").read_text() == "home"
    assert (there / "hospital").read_text() == "external1"


def test_a_phantom_made_halfway_is_not_taken_for_a_whole_one(lesson, monkeypatch):
    def stops(kind, n_cases, size, seed, out_dir):
        make_files(kind, n_cases, size, seed, out_dir)
        raise KeyboardInterrupt

    monkeypatch.setattr("seg_lib.data.phantom.make_phantom", stops)
    with pytest.raises(KeyboardInterrupt):
        lesson.phantom("lung2d")
    assert list(lesson.data_dir.iterdir()) == []
    monkeypatch.setattr("seg_lib.data.phantom.make_phantom", make_files)
    assert (lesson.phantom("lung2d") / "cases.csv").is_file()


def test_a_phantom_made_twice_at_once_is_the_first_one(lesson, monkeypatch):
    folder = lesson.data_dir / "lung2d-2cases-32px-seed3-x"

    def raced(kind, n_cases, size, seed, out_dir):
        make_files(kind, n_cases, size, seed, out_dir)
        make_files("other run", n_cases, size, seed, folder)

    monkeypatch.setattr("seg_lib.course.lesson._phantom_version", lambda: "x")
    monkeypatch.setattr("seg_lib.data.phantom.make_phantom", raced)
    assert lesson.phantom("lung2d", n_cases=2, size=32) == folder
    assert (folder / "cases.csv").read_text().startswith("other run")
    assert list(lesson.data_dir.iterdir()) == [folder]


def test_folders_are_those_of_the_course(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    lesson = Lesson("12", "smoke")
    assert lesson.out_dir == tmp_path / "runs" / "smoke" / "out" / "12"
    assert lesson.data_dir == tmp_path / "data" / "phantoms" / "smoke"


def test_a_notebook_outside_of_the_course_still_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Lesson("12", "smoke").out_dir == tmp_path / "runs" / "smoke" / "out" / "12"
