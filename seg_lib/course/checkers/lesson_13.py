"""Exercises of lesson 13: a missing row, rows that cannot be, what a table proves."""

from seg_lib.course.exercises import Exercise, call, refuse, refuse_letters, refuse_number

PROVED = {"a", "c", "e"}


def _missing(answer) -> None:
    hints = {
        0.803: "That is the mean of the means; undo the mean: how large is the sum of ten?",
        0.019: "That is ten means minus the sum of ten values; nine are printed.",
        8.02: "That is the sum of all ten.",
        0.8: "That is about the mean of the nine.",
    }
    refuse_number(answer, 0.821, hints)


def _suspects(answer) -> None:
    good = [("A", 0.802, 0.670), ("B", 0.804, 0.672), ("C", 0.0, 0.0), ("D", 1.0, 1.0)]
    tables = [
        (good, set(), "Rounding alone is no fault: compare the intervals, not the digits."),
        ([*good, ("E", 0.810, 0.672)], {"E"}, "0.810 / (2 - 0.810) is far from 0.672."),
        ([("F", 0.795, 0.661), *good], {"F"}, "Even 0.7955 gives 0.6604, which prints as 0.660."),
        ([("G", 0.807, 0.678), *good], {"G"}, "An IoU can be too large as well."),
        ([*good, ("A", 0.802, 0.670)], {"A"}, "An id that comes twice is suspect, fault or not."),
        ([("H", 0.798, 0.665), *good], set(), "0.7985 gives 0.66459, which prints as 0.665."),
    ]
    for rows, right, hint in tables:
        found = call(answer, list(rows))
        a_set = isinstance(found, set | frozenset | list | tuple)
        refuse(not a_set, "This asks for a set of ids.", "Begin with an empty set and add.")
        found = set(map(str, found))
        wrong = f"In {rows[0]} … {rows[-1]} it should be {sorted(right)}, not {sorted(found)}."
        refuse(found != right, wrong, hint)


def _proved(answer) -> None:
    hints = {
        "b": "The rows may be wrong instead of the mean; the table cannot tell.",
        "d": "A slip, a stale row, a changed script: a contradiction does not say why.",
        "f": "The mean of its rows is higher than the printed one.",
    }
    refuse_letters(answer, PROVED, hints, "is not proved")


# fmt: off
EXERCISES = {
    "13a": Exercise(level=1, check=_missing,
        task="Which Dice had the missing tenth case, if the mean of ten was 0.802?",
        why="0.821: one missing row may be the best of all, or the worst.",
        hint="Ten times the mean is the sum of all ten."),
    "13b": Exercise(level=2, check=_suspects,
        task="Write suspects(rows): ids that occur twice, or whose IoU is not D / (2 - D).",
        why="What does not overlap after rounding belongs to no mask.",
        hint="From (D - h) / (2 - D + h) - h to (D + h) / (2 - D - h) + h with h = 0.0005."),
    "13c": Exercise(level=3, check=_proved,
        task="Which of the six sentences does the table of five prove? A set of letters.",
        why="A contradiction says that something is wrong, not what, and never why.",
        hint="Could the sentence be false, and the slide still look exactly so?"),
}
