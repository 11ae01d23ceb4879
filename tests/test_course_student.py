"""What a class is handed: clean, whole, enough to begin with, and no solution in it."""

import ast
import doctest
import inspect
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import nbformat
import pytest
from made_up_notebooks import code, notebook, write
from solutions.solutions import SOLUTIONS

from seg_lib.cli import main
from seg_lib.course import exercises, handout
from seg_lib.course.handout import exercises_in, without_outputs, write_otter_tests
from seg_lib.course.lesson import Lesson
from seg_lib.course.notebooks import (
    code_cells,
    find_notebooks,
    read_notebook,
    source_of,
    source_sha256,
    tags_of,
)
from seg_lib.errors import InputError

REPOSITORY = Path(__file__).parents[1]
BOOKS = find_notebooks(REPOSITORY / "notebooks")
NOTEBOOKS = {book.path.name: read_notebook(book.path) for book in BOOKS}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The students' copy of this course, as the command writes it."""
    folder = tmp_path_factory.mktemp("class") / "copy"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        assert main(["course", "--student", str(folder)]) == 0
    return folder


def test_every_lesson_is_there_as_its_author_wrote_it(copy):
    assert sorted(path.name for path in (copy / "notebooks").iterdir()) == sorted(NOTEBOOKS)
    for name, committed in NOTEBOOKS.items():
        given = read_notebook(copy / "notebooks" / name)
        nbformat.validate(nbformat.from_dict(given))
        assert source_sha256(given) == source_sha256(committed), "same cells, tags and profile"
        assert given["metadata"].keys() == {"kernelspec", "language_info"}
        for cell, original in zip(given["cells"], committed["cells"], strict=True):
            assert source_of(cell) == source_of(original)
            assert cell["metadata"] == ({"tags": tags_of(original)} if tags_of(original) else {})
            assert not cell.get("outputs") and cell.get("execution_count") is None


def test_nothing_else_is_there_and_no_line_of_a_solution(copy):
    (wheel,) = copy.glob("*.whl")
    tops = {path.name for path in copy.iterdir()}
    assert tops == {
        "LICENSE",
        "README.md",
        "benchmarks",
        "constraints.txt",
        "notebooks",
        wheel.name,
    }
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = (REPOSITORY / "seg_lib").rglob("*")
    ours = {path.relative_to(REPOSITORY).as_posix() for path in package if path.is_file()}
    assert inside == {name for name in ours if "__pycache__" not in name}, "no tests, no guides"
    books = map(read_notebook, (copy / "notebooks").iterdir())
    text = "\n".join(source_of(cell) for book in books for cell in book["cells"])
    solved = [inspect.getsource(s).split(":\n", 1)[1] for s in SOLUTIONS.values() if is_def(s)]
    assert len(solved) > 30
    assert [body for body in solved if body in text] == []


def is_def(answer: object) -> bool:
    """Is it one of the functions that are written out, no lambda?"""
    return inspect.isfunction(answer) and answer.__name__ != "<lambda>"


def test_the_readme_names_files_that_are_there(copy):
    text = (copy / "README.md").read_text()
    wheel = next(copy.glob("*.whl")).name
    assert f"pip install -c constraints.txt {wheel}" in text
    links = re.findall(r"\]\((notebooks/[^)]+)\)", text)
    assert [Path(link).name for link in links] == sorted(NOTEBOOKS)
    assert all((copy / link).is_file() for link in links)
    for book, notebook_ in zip(BOOKS, NOTEBOOKS.values(), strict=True):
        seconds = notebook_["metadata"]["seg_lib"]["seconds"]
        assert re.search(rf"{book.path.stem}\].+ \({seconds:.0f} s on two cores\)", text)


def test_what_the_lessons_read_of_the_course_is_there(copy):
    """Lessons 09 and 13 show stored results; a lesson that needs more would stop here."""
    for name, notebook_ in NOTEBOOKS.items():
        for file in re.findall(r"[\w.-]+\.(?:json|ya?ml|csv)\b", "\n".join(strings(notebook_))):
            stored = list(REPOSITORY.glob(f"benchmarks/results/{file}"))
            assert all((copy / path.relative_to(REPOSITORY)).is_file() for path in stored), name


def strings(notebook_: dict) -> list[str]:
    """Every text in the code of a lesson, without widths such as the 16 of ``{name:16}``."""
    nodes = [n for cell in code_cells(notebook_) for n in ast.walk(ast.parse(source_of(cell)))]
    widths = [n.format_spec for n in nodes if isinstance(n, ast.FormattedValue) and n.format_spec]
    left_out = {id(part) for width in widths for part in ast.walk(width)}
    texts = [n for n in nodes if isinstance(n, ast.Constant) and id(n) not in left_out]
    return [node.value for node in texts if isinstance(node.value, str)]


def test_no_lesson_needs_what_another_has_left():
    """So nobody needs a checkpoint to catch up: who is late opens the lesson the others are at."""
    jobs = {"data", "runs/swin", "runs/grid", "~"}  # words in the job scripts that lesson 19 prints
    for name, notebook_ in NOTEBOOKS.items():
        texts = set(strings(notebook_))
        folders = {t for t in texts if re.search(r"(^|/)(runs|data|out)(/|$)|\.\./|~|^/\w+/", t)}
        assert folders <= (jobs if name.startswith("19") else set()), name
        sources = "\n".join(source_of(cell) for cell in code_cells(notebook_))
        assert re.findall(r'Lesson\(\s*"(\d\d)"', sources) == [name[:2]]
        assert texts & {book.number for book in BOOKS} == {name[:2]}


def test_two_lessons_never_share_a_folder_of_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {Lesson(book.number, "smoke").out_dir for book in BOOKS}
    assert len(folders) == len(BOOKS)
    assert not any(a in b.parents for a in folders for b in folders)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    (tmp_path / "mine.txt").write_text("keep")
    for words in ("--student", "--otter"):
        assert main(["course", words, str(tmp_path)]) == 1
        assert "there is something in it already; choose a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="class: cannot be written .+ choose a folder you may"):
        write_otter_tests(tmp_path / "file" / "class", REPOSITORY)


@pytest.fixture
def small_course(tmp_path) -> Path:
    """A course of one lesson without a library."""
    root = tmp_path / "course"
    lesson = notebook("guess = ...", 'check("00a", guess)\ncheck("00b", (guess, 2))')
    write(root / "notebooks" / "00_start.ipynb", lesson)
    return root


def test_half_a_copy_never_stays(small_course, tmp_path):
    """The lessons are written before the wheel is found to be impossible."""
    with pytest.raises(InputError, match="no pyproject.toml there; run this in the project's own"):
        handout.write_student_copy(tmp_path / "class", small_course)
    assert [path.name for path in tmp_path.iterdir()] == ["course"]


def test_a_course_without_lessons_is_a_sentence(tmp_path):
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(InputError, match="no notebook NN_name.ipynb; is this the course"):
        handout.write_student_copy(tmp_path / "class", tmp_path)


def test_traces_of_a_run_are_taken_out():
    content = notebook("1")
    content["metadata"] |= {"widgets": {"state": {}}, "seg_lib": {"seconds": 1}}
    content["cells"].insert(1, code("SEED = 1", ("injected-parameters",)))
    content["cells"][-1] |= {"execution_count": 3, "outputs": [{"output_type": "stream"}]}
    content["cells"][-1]["metadata"] = {"execution": {"started": "now"}, "tags": ["b", "a"]}
    content["cells"][0]["attachments"] = {"drawing.png": {"image/png": "AAAA"}}
    del content["cells"][0]["id"]  # as notebooks before format 4.5
    clean = without_outputs(content)
    assert len(clean["cells"]) == len(content["cells"]) - 1
    assert clean["cells"][-1]["outputs"] == [] and clean["cells"][-1]["execution_count"] is None
    assert clean["cells"][-1]["metadata"] == {"tags": ["a", "b"]}
    assert "widgets" not in json.dumps(clean)
    assert clean["cells"][0]["attachments"] == content["cells"][0]["attachments"]
    nbformat.validate(nbformat.from_dict(clean))


def test_exercises_are_found_with_what_is_handed_in(small_course):
    found = exercises_in(read_notebook(small_course / "notebooks" / "00_start.ipynb"))
    assert found == {"00a": "guess", "00b": "(guess, 2)"}


def test_otter_gets_a_test_file_per_exercise(tmp_path):
    files = write_otter_tests(tmp_path / "otter", REPOSITORY)
    every = {id_ for number in exercises.LESSONS for id_ in exercises.exercises_of(number)}
    assert {path.stem for path in files} == every and len(files) == len(every)
    for path in files:
        tree = ast.parse(path.read_text())
        names = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body}
        assert names["OK_FORMAT"] is True
        assert names["test"]["name"] == path.stem and names["test"]["points"] == 1
        (suite,) = names["test"]["suites"]
        assert suite["type"] == "doctest"
        assert f"verdict({path.stem!r}, " in suite["cases"][0]["code"]


def test_a_right_answer_that_prints_is_right_for_otter(tmp_path):
    [path] = [p for p in write_otter_tests(tmp_path / "otter", REPOSITORY) if p.stem == "12c"]
    test = ast.literal_eval(ast.parse(path.read_text()).body[-1].value)
    case = test["suites"][0]["cases"][0]["code"]
    name = re.search(r"verdict\('12c', (\w+)\)", case)[1]
    answer = {name: lambda dice: print("thinking") or dice / (2 - dice)}
    found = doctest.DocTestParser().get_doctest(case, answer, "12c", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(found).failed == 0


def otter() -> str | None:
    return os.environ.get("SEG_LIB_OTTER") or shutil.which("otter")


@pytest.mark.skipif(
    otter() is None, reason="no otter-grader: pip install otter-grader (its own venv)"
)
def test_otter_itself_grades_with_them(tmp_path):
    """A right answer and a wrong one, by otter's own command, where seg_lib is installed too."""
    lesson = notebook("half = (-1350, 150)\ncheck('00a', half)", "check('12c', lambda d: d / 2)")
    lesson["cells"] = [cell for cell in lesson["cells"] if "Lesson(" not in source_of(cell)]
    lesson["cells"].insert(1, code("from seg_lib.course import check"))
    write(tmp_path / "course" / "notebooks" / "00_start.ipynb", lesson)
    write_otter_tests(tmp_path / "otter", tmp_path / "course")
    command = [otter(), "check", tmp_path / "course" / "notebooks" / "00_start.ipynb"]
    command += ["-t", tmp_path / "otter" / "00_start"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    said = done.stdout + done.stderr
    assert "12c: not yet. For a Dice of 0.8 it should be 0.666667, not 0.4." in said
    assert re.search(r"00a results:\s+All test cases passed", said), said
