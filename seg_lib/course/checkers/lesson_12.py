"""Exercises of lesson 12: Dice, RECIST error, IoU."""

import numpy as np

from seg_lib.course.exercises import Exercise, call, expect, number, refuse


def _dice(answer) -> None:
    mask, reference = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    mask[0, :3], reference[0, 1:4] = True, True  # 3 and 3 pixels, 2 of them shared
    empty = np.zeros_like(mask)
    known = {
        0.5: "That is the IoU; Dice counts the overlap twice: 2 |A and B| / (|A| + |B|).",
        1 / 3: "The overlap counts twice: once for each mask.",
    }
    expect(call(answer, mask, reference), 2 / 3, "3 and 3 pixels with 2 in common", known)
    both = call(answer, mask.astype(np.uint8), reference.astype(np.uint8))
    expect(both, 2 / 3, "the same masks as uint8")
    expect(call(answer, mask, empty), 0, "a prediction where there is nothing")
    expect(call(answer, empty, mask), 0, "an empty prediction of a lesion")
    with np.errstate(all="ignore"):
        value = number(call(answer, empty, empty.copy()))
    hint = "Nothing to find and nothing found is right: return 1 before you divide by 0."
    refuse(np.isnan(value), "Two empty masks give nan, which no mean survives.", hint)
    expect(value, 1, "two empty masks", {0.0: hint})


def _recist_error(answer) -> None:
    known = {
        1.0: "max(…, 1) can never fall below 1; the source means min, a cap on the error.",
        1 / 11: "Divide by the reference, not by the prediction.",
        -1 / 10: "An error has no sign: take the absolute value.",
    }
    expect(call(answer, 22.0, 20.0), 0.1, "22 mm where 20 mm are right", known)
    expect(call(answer, 18.0, 20.0), 0.1, "18 mm where 20 mm are right", known)
    expect(call(answer, 20.0, 20.0), 0, "the right diameter", known)
    expect(call(answer, 90.0, 20.0), 1, "90 mm where 20 mm are right", {3.5: "Cap it: min(…, 1)."})
    expect(call(answer, 0.0, 20.0), 1, "a missed lesion of 20 mm")
    expect(call(answer, 0.0, 0.0), 0, "no lesion, and none found")
    expect(call(answer, 12.0, 0.0), 1, "12 mm where there is no lesion")


def _iou_from_dice(answer) -> None:
    known = {
        8 / 9: "That is Dice from IoU; solve D = 2 J / (1 + J) for J.",
        0.4: "Half is right only for Dice near 0.",
    }
    for dice, iou in ((0.8, 2 / 3), (0.5, 1 / 3), (0.0, 0.0), (1.0, 1.0)):
        expect(call(answer, dice), iou, f"a Dice of {dice:g}", known)


# fmt: off
EXERCISES = {
    "12a": Exercise(level=2, check=_dice,
        task="Write dice_by_hand(mask, reference) for arrays of 0 and 1; two empty masks give 1.",
        why="2 |A and B| / (|A| + |B|), and the empty case is written down.",
        hint="Count the voxels in common, in the mask and in the reference."),
    "12b": Exercise(level=2, check=_recist_error,
        task="Write recist_error(predicted_mm, true_mm): relative error, at most 1.",
        why="The printed max(…, 1) could never fall below 1; min caps the error.",
        hint="min(|p - g| / g, 1); with g = 0 it is 0 if p is 0 too, else 1."),
    "12c": Exercise(level=1, check=_iou_from_dice,
        task="Write iou_from_dice(dice).",
        why="J = D / (2 - D): a table in which this fails has an error in it.",
        hint="With Dice = 2 J / (1 + J), what is J?"),
}
