"""Exercises of lesson 09: epochs for equal time, and p values when many questions are asked."""

import numpy as np

from seg_lib.course.exercises import Exercise, call, expect, refuse


def _epochs(answer) -> None:
    known = {16: "With 16 epochs both see the same samples; the question is equal time."}
    known |= {21: "The slower network gets fewer epochs, not more."}
    expect(answer, 12, "9 s against 12 s an epoch", known)


def _holm(answer) -> None:
    for p_values, right, what in (
        ([0.04, 0.01, 0.03], [0.06, 0.03, 0.06], "three p values"),
        ([0.9, 0.6], [1.0, 1.0], "values that would pass 1"),
    ):
        result = np.asarray(call(answer, list(p_values)), float)
        refuse(result.shape != (len(p_values),), "One corrected value a p value, same order.")
        times_all = np.minimum(1, np.array(p_values) * len(p_values))
        hint = "The smallest times n, the next times n - 1, and so on."
        wrong = "That is Bonferroni: each times n."
        refuse(np.allclose(result, times_all) and not np.allclose(right, times_all), wrong, hint)
        hint = "Put them back in the order in which they came."
        moved = np.allclose(result, sorted(right)) and right != sorted(right)
        refuse(moved, "The corrected values are sorted.", hint)
        hint = "No corrected value is below an earlier one, and none above 1."
        refuse(not np.allclose(result, right), f"{what}: {right}, not {result.tolist()}.", hint)


# fmt: off
EXERCISES = {
    "09a": Exercise(level=1, check=_epochs,
        task="A trains 16 epochs of 9 s, B needs 12 s an epoch: how many epochs for equal time?",
        why="16 · 9 = 144 s, and 144 / 12 = 12.",
        hint="How long does A train in all?"),
    "09b": Exercise(level=2, check=_holm,
        task="Write holm(p_values): the corrected values, in the order given.",
        why="The smallest p answers n questions, the next n - 1; the order is kept by a maximum.",
        hint="Sort, multiply by n, n - 1, …, take the running maximum, cut at 1, sort back."),
}
