"""Exercises of lesson 21: what a box gives away, from a map to a box, and a control."""

import math

import numpy as np

from seg_lib.course.exercises import Exercise, Unsolved, call, number, refuse, refuse_number


def _dice_of_the_box(answer) -> None:
    share = "That is the share of the box that the disc fills; Dice has a 2 and a sum."
    right = 2 * (math.pi / 4) / (1 + math.pi / 4)
    if not abs(number(answer) - right) <= 0.006:  # two decimals will do
        known = {0.785: share, 0.79: share, math.pi / 4: share, 1.0: "The corners are no nodule."}
        refuse_number(answer, right, known)


def _box(answer) -> None:
    found = np.zeros((6, 9))
    found[1:4, 2:4] = 0.6
    found[2, 3], found[5, 8] = 1.0, 0.2
    result = np.asarray(call(answer, found.copy(), 0.5), float).ravel()
    refuse(result.size != 4, f"{result.size} numbers; a box has four: x0, y0, x1, y1.")
    right = np.array([2, 1, 3, 3])
    hint = "np.nonzero gives rows first; x counts columns."
    refuse(np.array_equal(result, right[[1, 0, 3, 2]]), "Rows and columns changed places.", hint)
    hint = "The last pixel belongs to the box: take the maximum itself, as MedSAM does."
    refuse(np.array_equal(result, [2, 1, 4, 4]), "One pixel too far on two sides.", hint)
    hint = "Only pixels of at least share times the maximum count."
    refuse(np.array_equal(result, [2, 1, 8, 5]), "That is the box of all that is not 0.", hint)
    refuse(not np.array_equal(result, right), f"{result} is not the box of that map.")
    bright = np.asarray(call(answer, found.copy(), 1.0), float).ravel()
    hint = "share comes as an argument, and the maximum itself is at least 1.0 of the maximum."
    wrong = "With a share of 1 the box holds only the brightest pixel."
    refuse(not np.array_equal(bright, [3, 2, 3, 2]), wrong, hint)
    dim = np.asarray(call(answer, 0.1 * found, 0.5), float).ravel()
    hint = "share counts from the largest value of the map, whatever that is."
    refuse(not np.array_equal(dim, right), "A map a tenth as bright has the same box.", hint)


def _controls(answer) -> None:
    controls = {"box as mask", "moved box", "no prompt", "box of the cascade"}
    if answer == {...}:
        raise Unsolved
    some = isinstance(answer, set | frozenset | list | tuple)
    refuse(not some, "Hand in a set of words, such as {'no prompt'}.")
    answer = set(answer)
    refuse(
        "more epochs" in answer or "larger network" in answer,
        "More training answers another question.",
        "Which rows show how much of the Dice came from the person who drew the box?",
    )
    strange = answer - controls
    refuse(bool(strange), f"{sorted(map(str, strange))}: not in the list.")
    refuse(answer != controls, f"{len(controls - answer)} missing.")


# fmt: off
EXERCISES = {
    "21a": Exercise(level=1, check=_dice_of_the_box,
        task="A round nodule touches all sides of its box. Dice of the box itself?",
        why="The disc is π/4 of the box: 2·π/4 / (1 + π/4) = 0.88, with nothing segmented at all.",
        hint="Dice = 2·overlap / (area of the box + area of the disc), with a box of area 1."),
    "21b": Exercise(level=2, check=_box,
        task="Write box_around(found, share): the box of what is at least share of the maximum.",
        why="That box is all that MedSAM is told: whatever the map got wrong, it gets wrong too.",
        hint="rows, columns = np.nonzero(found >= share * found.max())."),
    "21c": Exercise(level=3, check=_controls,
        task="Name the rows that are missing in the colleague's table, as a set of words.",
        why="Only they tell what the network did from what the box gave away.",
        hint="Who drew the box, how well, and what would have come out without it?"),
}
