"""Exercises of lesson 07: attention by hand, and where a shifted window needs its mask."""

import numpy as np

from seg_lib.course.exercises import Exercise, call, expect, refuse


def _attended(query, key, value, scale: float, axis: int = 1) -> np.ndarray:
    scores = np.exp(query @ key.T / scale)
    return scores / scores.sum(axis, keepdims=True) @ value


def _attention(answer) -> None:
    chance = np.random.default_rng(0)
    for d in (4, 9):
        given = [chance.normal(size=shape) for shape in ((3, d), (5, d), (5, 2))]
        result = np.asarray(call(answer, *(array.copy() for array in given)))
        wrong = f"Not {result.shape}: 3 queries and values of 2 make (3, 2)."
        refuse(result.shape != (3, 2), wrong)
        refuse(np.allclose(result, _attended(*given, 1.0)), "The scores are not divided by √d.")
        over_queries = np.allclose(result, _attended(*given, d**0.5, axis=0))
        hint = "Each query's weights over all keys sum to 1."
        refuse(over_queries, "The softmax runs over the queries.", hint)
        wrong = f"With d = {d} the numbers differ from softmax(QKᵀ/√d)V."
        refuse(not np.allclose(result, _attended(*given, d**0.5)), wrong)


def _masked_windows(answer) -> None:
    known = {
        64: "Most windows hold neighbours only; strangers meet where the map was glued together.",
        16: "The corner window lies in the last row and in the last column: count it once.",
        14: "The corner window needs a mask too.",
        1: "The corner is one of them; the rest of the last row and column also mix two borders.",
    }
    expect(answer, 15, "56 x 56 tokens, windows of 7, shifted by 3", known)


# fmt: off
EXERCISES = {
    "07a": Exercise(level=2, check=_attention,
        task="Write attention(query, key, value) for arrays (T, d), (S, d), (S, e).",
        why="Scores, divided by √d, a softmax over the keys, and a weighted mean of the values.",
        hint="scores = query @ key.T / sqrt(d); subtracting the row's maximum keeps exp small."),
    "07b": Exercise(level=1, check=_masked_windows,
        task="56 x 56 tokens, windows of 7 x 7, shifted by 3: how many windows need a mask?",
        why="8 in the last row and 8 in the last column, the corner counted once.",
        hint="After the roll, which windows hold tokens of opposite borders?"),
}
