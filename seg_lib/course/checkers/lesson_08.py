"""Exercises of lesson 08: how many tokens a volume has, and an image cut into tokens."""

import numpy as np

from seg_lib.course.exercises import Exercise, Unsolved, call, expect, refuse


def _count(answer) -> None:
    pair = isinstance(answer, tuple | list | np.ndarray) and len(answer) == 2
    refuse(not pair, "This asks for two numbers: (tokens, weights).")
    if any(part is None or part is ... for part in answer):
        raise Unsolved
    known = {36: "That is a slice of 96 x 96; a volume has a third direction.", 18: "6 + 6 + 6?"}
    expect(answer[0], 216, "the tokens", known)
    known = {216: "Every token looks at every token.", 10077696: "That is 216 cubed."}
    expect(answer[1], 46656, "the weights of a head", known)


def _to_tokens(answer) -> None:
    image = np.arange(6 * 8).reshape(6, 8)
    right = np.stack([image[i : i + 2, j : j + 2].ravel() for i in (0, 2, 4) for j in (0, 2, 4, 6)])
    result = np.asarray(call(answer, image.copy(), 2))
    refuse(result.shape != (12, 4), f"6 x 8 pixels make 12 tokens of 4, not {result.shape}.")
    wrong = "The tokens are rows of the image cut in pieces, not squares."
    hint = "Move axes before the last reshape."
    refuse(np.array_equal(result, image.reshape(12, 4)), wrong, hint)
    refuse(not np.array_equal(result, right), "The numbers of a token are not one square patch.")


# fmt: off
EXERCISES = {
    "08a": Exercise(level=1, check=_count,
        task="96³ voxels, patches of 16³: (tokens, weights of one attention head)?",
        why="6 · 6 · 6 = 216 tokens, and 216² = 46,656 pairs.",
        hint="Patches along each side, multiplied; then every token with every token."),
    "08b": Exercise(level=2, check=_to_tokens,
        task="Write to_tokens(image, patch): (H, W) becomes (H/patch · W/patch, patch²).",
        why="Two axes become four, the middle ones change places, and four become two.",
        hint="reshape(H // p, p, W // p, p), swap the two middle axes, reshape again."),
}
