"""Exercises of lesson 17: always the commonest class, the best epoch, a head that memorises."""

import numpy as np

from seg_lib.course.exercises import Exercise, call, number, refuse, refuse_letters

RIGHT = {"b", "d"}


def _always_one(answer) -> None:
    given = number(answer)
    known = {
        0.588: "That is the F1 of subtype 1; the mean over three classes is asked for.",
        0.417: "That is the accuracy, 15 of 36.",
        0.333: "That is the balanced accuracy.",
        0.294: "Three classes, not two: the others have F1 0.",
    }
    for value, why in known.items():
        refuse(abs(given - value) < 0.001, f"{given:g} is not it.", why)
    refuse(not abs(given - 30 / 51 / 3) <= 0.001, f"{given:g} is not it.")


def _best_epoch(answer) -> None:
    cases = {
        "a peak that does not last": ([0.5, 0.5, 0.9, 0.1, 0.6], 2),
        "one lucky epoch early, then steady": ([0.2, 0.8, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6], 7),
        "the first is the best": ([0.7, 0.6, 0.5], 0),
    }
    for case, (values, right) in cases.items():
        given = call(answer, list(values))
        refuse(isinstance(given, float) and not given.is_integer(), "An epoch is asked for.")
        hint = "average = 0.9 * average + 0.1 * value, from the second value on."
        if case.startswith("one lucky"):
            plain = "That is the best epoch without the moving average."
            hint = plain if given == int(np.argmax(values)) else hint
        refuse(given != right, f"For {case} it should be {right}, not {given}.", hint)


def _head(answer) -> None:
    hints = {
        "a": "It has learned the training cases by heart already.",
        "c": "Patches of one case are not cases; their F1 looks better and means less.",
        "e": "The stage fits those cases by choice, so they cannot judge it.",
    }
    refuse_letters(answer, RIGHT, hints, "does not help")


# fmt: off
EXERCISES = {
    "17a": Exercise(level=1, check=_always_one,
        task="Always answering 1 on 9, 15 and 12 cases of subtypes 0, 1, 2: the macro-F1?",
        why="F1 of subtype 1 is 2 * 15 / (36 + 15), of the others 0; a third of it is 0.196.",
        hint="F1 = 2 TP / (2 TP + FP + FN) for each class, then the mean of three."),
    "17b": Exercise(level=2, check=_best_epoch,
        task="Write best_epoch(pseudo_dice): the epoch with the highest moving average (0.9).",
        why="The average forgives one bad epoch and does not fall for one lucky one.",
        hint="Keep a list of averages; its first entry is the first value."),
    "17c": Exercise(level=3, check=_head,
        task="A head with 0.97 on its training cases and 0.50 on others: what would you do?",
        why="Fewer weights on maps that show texture, and cases left out to judge by.",
        hint="Which of them could make the number on others better, or the number honest?"),
}
