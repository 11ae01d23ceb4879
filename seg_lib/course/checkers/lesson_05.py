"""Exercises of lesson 05: the gradient of BCE, the soft Dice loss, a weight for rare pixels."""

import numpy as np

from seg_lib.course.exercises import Exercise, NotYet, Unsolved, call, expect, refuse

P = np.array([[0.8, 0.4], [0.1, 0.3]])
Y = np.array([[1, 1], [0, 0]])


def _bce_gradient(answer) -> None:
    for p, y, case in ((P, Y, "four pixels"), (np.full(10, 0.5), np.zeros(10), "ten pixels")):
        found = np.asarray(call(answer, p.copy(), y.copy()))
        if found.dtype == object:
            raise Unsolved if (found == ...).any() else NotYet("This asks for an array.")
        wrong = f"The gradient of {case} has shape {found.shape}, not {p.shape}."
        refuse(found.shape != p.shape, wrong, "Each pixel has its own gradient.")
        hint = "One pixel gives p - y; the mean over n pixels divides it by n."
        refuse(np.allclose(found, p - y), "That is the gradient of the sum.", hint)
        hint = "A lesion pixel (y = 1) has a negative gradient: its logit must grow."
        refuse(np.allclose(found, (y - p) / p.size), "The sign is turned round.", hint)
        with np.errstate(all="ignore"):
            by_p = (p - y) / (p * (1 - p)) / p.size
        hint = "Multiply by dp/dz = p (1 - p), and most of it cancels."
        refuse(np.allclose(found, by_p), "That is the gradient for p, not for the logit.", hint)
        refuse(not np.allclose(found, (p - y) / p.size), f"The numbers of {case} are not right.")


def _soft_dice(answer) -> None:
    known = {
        1 - 2.4 / 2.9: "Squares are for the other form; here sum(p) itself stands below the line.",
        2.4 / 3.6: "That is the Dice; the loss is 1 minus it.",
        1 - 1.2 / 3.6: "The overlap counts twice: 2 sum(p y).",
    }
    expect(call(answer, P.copy(), Y.copy(), 0.0), 1 - 2.4 / 3.6, "smooth = 0", known)
    known = {1 - 2.4 / 4.6: "smooth stands above the line too, or a perfect mask costs something."}
    expect(call(answer, P.copy(), Y.copy(), 1.0), 1 - 3.4 / 4.6, "smooth = 1", known)
    nothing = np.zeros((2, 2))
    expect(call(answer, nothing, nothing.copy(), 1.0), 0, "nothing to find, nothing found")
    expect(call(answer, P.copy(), nothing, 0.4), 0.8, "an empty label and smooth = 0.4")


def _pos_weight(answer) -> None:
    known = {
        400.0: "400 is all pixels over lesion pixels; the lesion itself is no background.",
        0.0025: "That is the share; how many background pixels come to one lesion pixel?",
        3.99: "0.25 % is 0.0025, not 0.25.",
        3.0: "0.25 % is 0.0025, not 0.25.",
    }
    expect(answer, 399, "a share of 0.25 %", known)


# fmt: off
EXERCISES = {
    "05a": Exercise(level=2, check=_bce_gradient,
        task="Write bce_gradient(p, y): the gradient of the mean BCE for the logits.",
        why="(p - y) / n: a pixel pulls by how wrong it is, and by nothing else.",
        hint="Section 3 has it: (p - y) / n."),
    "05b": Exercise(level=2, check=_soft_dice,
        task="Write soft_dice(p, y, smooth): 1 - (2 sum(p y) + s) / (sum(p) + sum(y) + s).",
        why="The overlap twice over both sizes, smoothed, taken from 1.",
        hint="Three sums and smooth twice; compare with the cell of section 2."),
    "05c": Exercise(level=1, check=_pos_weight,
        task="Lesions fill 0.25 % of the pixels: pos_weight for equal weight of both sides?",
        why="99.75 % over 0.25 %; in practice one takes less, or false alarms pile up.",
        hint="Background pixels for each lesion pixel."),
}
