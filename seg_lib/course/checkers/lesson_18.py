"""Exercises of lesson 18: run-length code, the score of source 003, masks of equal Dice."""

import numpy as np

from seg_lib.course.exercises import Exercise, call, expect, number, refuse

ROWS = [
    {"dice": 0.8, "d": 22.0, "d_true": 20.0, "v": 3.0, "v_true": 2.0},  # errors 0.1 and 0.5
    {"dice": 0.0, "d": 90.0, "d_true": 20.0, "v": 9.0, "v_true": 2.0},  # both capped: 1 and 1
    {"dice": 1.0, "d": 0.0, "d_true": 0.0, "v": 0.0, "v_true": 0.0},  # nothing there, none found
    {"dice": 0.0, "d": 5.0, "d_true": 0.0, "v": 1.0, "v_true": 0.0},  # a false alarm: 1 and 1
]


def _encode(answer) -> None:
    mask = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0]], np.uint8)
    known = {
        "1 2 5 2": "The first voxel has the number 1, not 0.",
        "3 2 7 2": "That runs down the columns; in C order the last axis runs fastest.",
        "2 2 6 1 7 1": "A run goes on over the end of a row: flatten first.",
        "2 3 6 7": "Second comes the length of the run, not its last voxel.",
    }
    for given, right, what in [
        (mask, "2 2 6 2", "the mask of section 2"),
        (np.asfortranarray(mask), "2 2 6 2", "the same mask in another memory order"),
        (np.ones((2, 3)), "1 6", "a mask of six ones"),
        (np.array([1, 0, 1]), "1 1 3 1", "1 0 1"),
        (np.zeros((2, 2, 2), bool), "", "an empty mask"),
    ]:
        said = call(answer, given.copy(order="K"))
        refuse(not isinstance(said, str), "This asks for a text.", "Join the numbers with spaces.")
        said = " ".join(said.split())
        hint = known.get(said, "")
        refuse(said != right, f"For {what} it should be '{right}', not '{said[:40]}'.", hint)


def _final_score(answer) -> None:
    known = {
        0.9 / 3: "",
        (0.2 + 1 + 1) / 3: "max(…, 1) never falls below 1; the source means min, a cap.",
        0.8 / 3 + 0.6 / 3: "Dice is better when higher, errors when lower: 1 - Dice.",
    }
    one = (0.2 + 0.1 + 0.5) / 3
    expect(call(answer, [dict(ROWS[0])]), one, "a case of Dice 0.8 and errors 0.1 and 0.5", known)
    capped = {1 / 3 * (1 + 3.5 + 3.5): "An error is never above 1: min(|p - g| / g, 1)."}
    expect(call(answer, [dict(ROWS[1])]), 1, "sizes 4.5 times too large", capped)
    with np.errstate(all="ignore"):
        expect(call(answer, [dict(ROWS[2])]), 0, "nothing there, and nothing found")
        expect(call(answer, [dict(ROWS[3])]), 1, "a false alarm")
        every = [dict(row) for row in ROWS]
        expect(call(answer, every), (one + 2) / 4, "four cases", {one + 2: "Take the mean."})


def _same_dice(answer) -> None:
    factor = number(answer)
    for wrong, hint in {
        0.25: "That is the small mask itself; how large is the large one?",
        1.75: "That is the same volume error, 0.75; here the Dice is to be the same.",
        0.4: "That is the Dice; solve 2 / (1 + f) = 0.4 for f.",
    }.items():
        refuse(abs(factor - wrong) < 1e-6, f"Not {factor:g}.", hint)
    refuse(not abs(factor - 4) <= 1e-6, f"Not {factor:g}.")


# fmt: off
EXERCISES = {
    "18a": Exercise(level=2, check=_encode,
        task="Write encode(mask): 'start length' of each run of ones, counted from 1 in C order.",
        why="A run begins where a one follows a zero; an empty mask is an empty text.",
        hint="Flatten, put a 0 at both ends, and look where neighbours differ."),
    "18b": Exercise(level=2, check=_final_score,
        task="Write final_score(rows): the mean of 1 - Dice and two relative errors capped at 1.",
        why="0 is best; the cap keeps one absurd mask from deciding the whole mean.",
        hint="min(|p - g| / g, 1) for d and for v; with g = 0 it is 0 if p is 0, else 1."),
    "18c": Exercise(level=1, check=_same_dice,
        task="A mask of a quarter of the volume, inside: which multiple has the same Dice?",
        why="Dice is symmetric in f and 1 / f: 2 * 0.25 / 1.25 = 2 / (1 + 4).",
        hint="Set 2 f / (1 + f) of the small one equal to 2 / (1 + f) of the large one."),
}
