"""``check("06a", answer)``: a sentence for every answer, and never a stack trace.

An exercise begins unsolved (``answer = ...``, or a function that returns ``...``), and an unsolved
one says so in a line: a run without a person goes on. The exercises stand in ``checkers/``.
"""

import contextlib
import importlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

CHECKERS = (Path(__file__).parent / "checkers").glob("lesson_*.py")
LESSONS = sorted(path.stem.removeprefix("lesson_") for path in CHECKERS)
LIMIT_S = 5.0  # of computing, not by the clock: a right answer takes milliseconds
MOST_ITEMS = 10_000  # of an iterator; none of the checkers asks for more than a dozen


class Unsolved(Exception):
    """The answer is still the ``...`` that it began with."""


class NotYet(Exception):
    """The answer is wrong: what is wrong, and a hint (else the exercise's own hint)."""

    def __init__(self, wrong: str, hint: str = ""):
        """Keep the sentence and the hint for ``verdict``."""
        super().__init__(wrong)
        self.hint = hint


class TooLong(BaseException):
    """An answer computes without end; no ``except Exception`` of a student's swallows this."""


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
    """Print whether an answer (a value or a function) is right, else what to think about.

    ``exercise_id`` is the notebook's number and a letter: ``"06a"``.
    """
    print(verdict(exercise_id, answer)[1])


def verdict(exercise_id: str, answer: object) -> tuple[str, str]:
    """``right``, ``not yet``, ``not solved yet`` or ``unknown``, and the sentence to print."""
    exercise_id = str(exercise_id)
    exercises = exercises_of(exercise_id[:2])
    if exercise_id not in exercises:
        known = ", ".join(exercises) or f"there are lessons {', '.join(LESSONS)}"
        return "unknown", f"{exercise_id}: no such exercise; try {known}."
    exercise = exercises[exercise_id]
    try:
        if answer is None or answer is ...:
            raise Unsolved
        with time_limit(LIMIT_S):
            exercise.check(at_most(answer))
    except Unsolved:
        return "not solved yet", f"{exercise_id}: not solved yet. {exercise.task}"
    except NotYet as fault:
        wrong, hint = str(fault), fault.hint or exercise.hint
    except TooLong:
        wrong = f"Your answer was still computing after {LIMIT_S:g} s."
        hint = "Does every loop come to its end?"
    except (Exception, SystemExit) as error:  # whatever a student's function may do
        wrong = f"Your answer stopped with {type(error).__name__}: {error}."
        hint = exercise.hint
    else:
        return "right", f"{exercise_id}: right. {exercise.why}"
    return "not yet", f"{exercise_id}: not yet. {wrong} Hint: {hint}"


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TooLong`` in the block after so many seconds of computing.

    Computing time, so a busy machine does not judge, and sleeping does not count. The alarm is
    repeated, for an answer that catches it. Only the main thread of a POSIX system has one.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_) -> None:
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 0.1)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def at_most(answer: object, most: int = MOST_ITEMS) -> object:
    """An iterator (``map``, ``zip``, a generator) as a list, all else as it is.

    ``NotYet`` if it goes on after ``most`` items: ``itertools.count()`` would fill the memory.
    """
    if not hasattr(answer, "__next__"):
        return answer
    items = list(islice(answer, most + 1))
    refuse(len(items) > most, f"What came back goes on after {most:,} items.", "Give a list.")
    return items


def exercises_of(number: str) -> dict[str, Exercise]:
    """The exercises of one lesson by their ids; none for a lesson that has none."""
    if number not in LESSONS:
        return {}
    return importlib.import_module(f"seg_lib.course.checkers.lesson_{number}").EXERCISES


def refuse(when: bool, wrong: str, hint: str = "") -> None:
    """Raise ``NotYet`` with what is wrong and a hint, if ``when`` is true."""
    if when:
        raise NotYet(wrong, hint)


def function(answer: object) -> Callable:
    """An answer as a function; ``NotYet`` if it is something else."""
    wrong = f"This asks for a function, not {_short(answer)}."
    refuse(not callable(answer), wrong, "Hand in its name.")
    return answer


def call(answer: object, *arguments):
    """Call a student's function; one that returns nothing or ``...`` is ``Unsolved``."""
    result = at_most(function(answer)(*arguments))
    if result is None or result is ...:
        raise Unsolved
    return result


def number(answer: object) -> float:
    """An answer as a number; ``Unsolved`` if it is still ``...``, ``NotYet`` if anything else."""
    if hasattr(answer, "item") and getattr(answer, "size", 1) == 1:
        answer = answer.item()
    if answer is None or answer is ...:
        raise Unsolved
    is_number = isinstance(answer, int | float) and not isinstance(answer, bool)
    refuse(not is_number, f"This asks for a number, not {_short(answer)}.")
    return answer


def expect(answer: object, expected: float, case: str, known: dict[float, str] | None = None):
    """Compare what a student's function returned with the truth, to 1e-6.

    ``case`` says what was asked ("both masks empty"); ``known`` maps well-known wrong numbers to
    the hint that helps.
    """
    answer = number(answer)
    if abs(answer - expected) <= 1e-6:
        return
    hints = [hint for wrong, hint in (known or {}).items() if abs(answer - wrong) <= 1e-6]
    raise NotYet(f"For {case} it should be {expected:g}, not {answer:g}.", *hints[:1])


def refuse_number(answer: object, right: float, known: dict[float, str]) -> None:
    """Refuse every number but the right one, to 1e-6, without telling it; ``known`` as above."""
    found = number(answer)
    hint = next((text for wrong, text in known.items() if abs(found - wrong) < 1e-6), "")
    refuse(not abs(found - right) <= 1e-6, f"{found:g} is not it.", hint)


def refuse_letters(answer: object, right: set[str], hints: dict[str, str], wrong: str) -> None:
    """Refuse every set of letters but the right one, and tell why one of the wrong ones is wrong.

    Args:
        answer: set or sequence of letters; ``{...}`` is ``Unsolved``.
        right: letters that belong in.
        hints: letter that does not -> why.
        wrong: what the sentence says of such a letter, as "does not follow".
    """
    if answer == {...}:
        raise Unsolved
    many = isinstance(answer, set | frozenset | list | tuple)
    letters = many and all(isinstance(letter, str) for letter in answer)
    refuse(not letters, "A set of letters is asked for.", 'Such as {"a", "b"}.')
    given, known = set(answer), sorted(right | hints.keys())
    refuse(not given <= set(known), f"The letters go from {known[0]} to {known[-1]}.")
    for letter in sorted(given - right):
        raise NotYet(f"({letter}) {wrong}.", hints[letter])
    refuse(given != right, f"{len(given)} found, and there are more.")


def _short(thing: object) -> str:
    text = " ".join(repr(thing).split())
    return text if len(text) <= 60 else f"a {type(thing).__name__}"
