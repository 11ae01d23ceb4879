"""The teacher's guides: what can drift is held against the course itself."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from solutions.solutions import SOLUTIONS

from seg_lib import metrics
from seg_lib.cli import build_parser
from seg_lib.course.exercises import LESSONS, exercises_of
from seg_lib.course.notebooks import find_notebooks, read_notebook
from seg_lib.submission_rules import read_rules

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "notebooks" / "guides"
GUIDES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*_*.md"))}  # no glossary
SECONDS = {
    book.number: read_notebook(book.path)["metadata"]["seg_lib"]["seconds"]
    for book in find_notebooks(REPOSITORY / "notebooks")
}
MORE = 1.5  # the factor by which a lesson may be late before the runner calls it failed


def tables(text: str) -> list[list[dict[str, str]]]:
    """Every table of a guide: rows by the names of the columns."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [[c.strip() for c in line.strip("|\n").split("|")] for line in block.splitlines()]
        found.append([dict(zip(rows[0], row, strict=True)) for row in rows[2:]])
    return found


def minute_of(clock: str) -> int:
    """``9:30`` or ``10-35`` as minutes."""
    hours, _, minutes = clock.split("-")[0].rpartition(":")
    return 60 * int(hours or 0) + int(minutes)


def timetables() -> list[tuple[str, list[dict[str, str]]]]:
    return [
        (name, rows)
        for name, text in GUIDES.items()
        for rows in tables(text)
        if {"Time", "Minute"} & rows[0].keys()
    ]


def test_there_is_a_class_a_workshop_and_a_hackathon():
    assert list(GUIDES) == ["class_90_minutes", "hackathon_two_days", "workshop_one_day"]
    assert len(timetables()) == 4, "the hackathon has two days"


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_has_a_clock_a_script_mistakes_and_a_quiz_of_five(name):
    text = GUIDES[name]
    for heading in ("Quiz", "Typical mistakes, and what to say"):
        assert re.search(rf"^###? (?:.* )?{heading}$", text, re.MULTILINE), heading
    assert "seg-lib doctor --workshop" in text and "seg-lib bundle stick" in text
    assert len(re.findall(r"^> ", text, re.MULTILINE)) >= 10, "lines to read aloud"
    (quiz,) = [rows for rows in tables(text) if "Question" in rows[0]]
    assert len(quiz) == 5
    assert all(re.fullmatch(r"\*\*.+\*\*", row["Answer"]) for row in quiz)
    (mistakes,) = [rows for rows in tables(text) if "What you see or hear" in rows[0]]
    assert len(mistakes) >= 5 and all(row["What to say"] for row in mistakes)


@pytest.mark.parametrize(("name", "rows"), timetables())
def test_the_clock_goes_forward_and_lessons_fit_into_their_blocks(name, rows):
    column = "Time" if "Time" in rows[0] else "Minute"
    starts = [minute_of(row[column]) for row in rows]
    assert starts == sorted(set(starts))
    for row, start, end in zip(rows, starts, starts[1:], strict=False):
        lessons = re.findall(r"\b\d\d\b", row.get("Lesson", row.get("Lessons", "")))
        needed = sum(SECONDS[number] for number in lessons) / 60 * MORE
        assert needed <= end - start, f"{name}, {row[column]}: {needed:.0f} minutes of computing"


def test_the_ninety_minutes_are_ninety():
    rows = dict(timetables())["class_90_minutes"]
    ends = [int(row["Minute"].split("-")[1]) for row in rows]
    assert ends == [*(minute_of(row["Minute"]) for row in rows[1:]), 90]


def test_every_part_of_the_class_has_its_script():
    rows = dict(timetables())["class_90_minutes"]
    for row in rows:
        part = GUIDES["class_90_minutes"].split(f"### {row['Minute']} ")[1].split("\n## ")[0]
        assert "\n> " in part or row["Block"] == "Quiz"


@pytest.mark.parametrize("name", GUIDES)
def test_every_command_is_one_that_the_parser_knows(name):
    text = GUIDES[name].replace("\\\n", " ")
    said = re.findall(r"`(?:\.venv/bin/)?seg-lib ([^`]+)`", text)
    said += re.findall(r"^ {4,}(?:\.venv/bin/)?seg-lib (.+)$", text, re.MULTILINE)
    assert len(said) >= 4
    for words in said:
        build_parser().parse_args(shlex.split(words))


@pytest.mark.parametrize("name", GUIDES)
def test_every_exercise_and_lesson_that_is_named_exists(name):
    text = GUIDES[name]
    known = {id_ for number in LESSONS for id_ in exercises_of(number)}
    assert set(re.findall(r"\b\d\d[a-c]\b", text)) <= known
    assert set(re.findall(r"\blessons? (\d\d)\b", text)) <= set(SECONDS)
    for file in re.findall(r"`(notebooks/[\w/.]+)`", text):
        assert (REPOSITORY / file).is_file()


def answers(name: str) -> list[str]:
    (quiz,) = [rows for rows in tables(GUIDES[name]) if "Question" in rows[0]]
    return [row["Answer"].strip("*") for row in quiz]


def test_the_answers_of_the_class_are_right():
    mask, truth = np.array([[1, 1, 1, 0]]), np.array([[0, 1, 1, 1]])
    nothing = np.zeros((1, 4))
    right = [40 + 400 / 2, metrics.dice(mask, truth), metrics.iou(mask, truth)]
    right += [metrics.dice(nothing, nothing), SOLUTIONS["12b"](90.0, 20.0)]
    assert answers("class_90_minutes") == [f"{value:.3g}" for value in right]


def test_the_answers_of_the_workshop_are_right():
    right = [1 - 0.3**2, (1 - 0.01) / 0.01, SOLUTIONS["12c"](0.8), SOLUTIONS["11a"](192, 96, 0.5)]
    assert answers("workshop_one_day") == [*(f"{value:.3g}" for value in right), "cannot tell"]


def test_the_answers_of_the_hackathon_are_right():
    lesion, quarter = np.ones((4, 4)), np.zeros((4, 4))
    quarter[0] = 1
    right = [metrics.dice(quarter, lesion), SOLUTIONS["12b"](90.0, 20.0)]
    told = [f"{value:.3g}" for value in right]
    assert answers("hackathon_two_days") == [*told, "the third", "none", "cannot tell"]
    assert read_rules(FOLDER / "rules.yml")["max_submissions"] == 3


NUMBERS = re.compile(r"\b(?:10\.\d{4,5}/[\w./()-]*\w|\d{4}\.\d{5})\b")


def test_every_work_that_is_cited_stands_in_the_references_once():
    found = NUMBERS.findall((FOLDER / "references.md").read_text())
    assert len(found) == len(set(found)) > 40
    places = [*REPOSITORY.glob("seg_lib/**/*.py"), *REPOSITORY.glob("benchmarks/*.py")]
    places += [book.path for book in find_notebooks(REPOSITORY / "notebooks")]
    for path in places:
        for line in path.read_text().splitlines():
            cited = NUMBERS.findall(line) if re.search(r"arxiv|doi", line, re.I) else []
            assert set(cited) <= set(found), f"{path.name}: {line.strip()}"
