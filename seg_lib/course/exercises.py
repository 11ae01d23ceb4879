"""``check("06a", answer)``: a sentence for every answer, and never a stack trace.

An exercise begins unsolved (``answer = ...``, or a function that returns ``...``), and an unsolved
one says so in a line: a run without a person goes on. The exercises stand in ``checkers/``.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LESSONS = sorted(
    path.stem.removeprefix("lesson_")
    for path in (Path(__file__).parent / "checkers").glob("lesson_*.py")
)


class Unsolved(Exception):
    """The answer is still the ``...`` that it began with."""


class NotYet(Exception):
    """The answer is wrong; the message says what is wrong with it.

    Args:
        wrong: what is wrong, as a sentence.
        hint: what to think about next; the exercise's general hint if not given.
    """

    def __init__(self, wrong: str, hint: str = ""):
        """Keep the sentence and the hint for ``verdict``."""
        super().__init__(wrong)
        self.hint = hint


@dataclass(frozen=True)
class Exercise:
    """One task, and how an answer to it is judged.

    ``check`` gets the answer and returns if it is right; else it raises ``NotYet`` or
    ``Unsolved``. ``level`` is 1 (change a number), 2 (write a function) or 3 (design).
    """

    level: int
    task: str
    why: str
    hint: str
    check: Callable[[object], None]


def check(exercise_id: str, answer: object = ...) -> None:
    """Print whether an answer is right, and if it is not, what to think about.

    Args:
        exercise_id: the notebook's number and a letter: ``"06a"``.
        answer: the value or the function that the exercise asks for.
    """
    print(verdict(exercise_id, answer)[1])


def verdict(exercise_id: str, answer: object) -> tuple[str, str]:
    """Judge an answer.

    Returns:
        ``right``, ``not yet``, ``not solved yet`` or ``unknown``, and the sentence for the student.
    """
    exercises = exercises_of(str(exercise_id)[:2])
    if exercise_id not in exercises:
        known = ", ".join(exercises) or f"there are lessons {', '.join(LESSONS)}"
        return "unknown", f"{exercise_id}: no such exercise; try {known}."
    exercise = exercises[exercise_id]
    try:
        if answer is None or answer is ...:
            raise Unsolved
        exercise.check(answer)
    except Unsolved:
        return "not solved yet", f"{exercise_id}: not solved yet. {exercise.task}"
    except NotYet as fault:
        wrong, hint = str(fault), fault.hint or exercise.hint
    except (Exception, SystemExit) as error:  # whatever a student's function may do
        wrong = f"Your answer stopped with {type(error).__name__}: {error}."
        hint = exercise.hint
    else:
        return "right", f"{exercise_id}: right. {exercise.why}"
    return "not yet", f"{exercise_id}: not yet. {wrong} Hint: {hint}"


def exercises_of(number: str) -> dict[str, Exercise]:
    """The exercises of one lesson by their ids; none for a lesson that has none."""
    if number not in LESSONS:
        return {}
    return importlib.import_module(f"seg_lib.course.checkers.lesson_{number}").EXERCISES


def function(answer: object) -> Callable:
    """An answer as a function.

    Raises:
        NotYet: it is something else.
    """
    if not callable(answer):
        raise NotYet(f"This asks for a function, not {_short(answer)}.", "Hand in its name.")
    return answer


def call(answer: object, *arguments, **named):
    """Call a student's function; no answer yet is ``Unsolved``.

    Raises:
        NotYet: it is no function.
        Unsolved: it returned None or ``...``.
    """
    result = function(answer)(*arguments, **named)
    if result is None or result is ...:
        raise Unsolved
    return result


def number(answer: object) -> float:
    """An answer as a number.

    Raises:
        NotYet: it is something else.
        Unsolved: it is still ``...``.
    """
    if hasattr(answer, "item") and getattr(answer, "size", 1) == 1:
        answer = answer.item()
    if answer is None or answer is ...:
        raise Unsolved
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise NotYet(f"This asks for a number, not {_short(answer)}.")
    return answer


def expect(answer: object, expected: float, case: str, known: dict[float, str] | None = None):
    """Compare a number with the truth, to 1e-6.

    Args:
        answer: what the student's function returned.
        expected: the truth.
        case: what was asked, for the sentence: "both masks empty".
        known: well-known wrong numbers, each with the hint that helps with it.

    Raises:
        NotYet: the number is another one.
    """
    answer = number(answer)
    if abs(answer - expected) <= 1e-6:
        return
    hints = [hint for wrong, hint in (known or {}).items() if abs(answer - wrong) <= 1e-6]
    raise NotYet(f"For {case} it should be {expected:g}, not {answer:g}.", *hints[:1])


def _short(thing: object) -> str:
    text = " ".join(repr(thing).split())
    return text if len(text) <= 60 else f"a {type(thing).__name__}"
