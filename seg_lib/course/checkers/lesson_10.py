"""Exercises of lesson 10: share of patches with lesion, batch that fits, strides."""

import math

import numpy as np

from seg_lib.course.exercises import Exercise, call, expect, refuse


def _expected_share(answer) -> None:
    known = {
        0.25: "The other patches may hold lesion too, by chance.",
        0.35: "Only the patches that are not positive on purpose can be so by chance.",
    }
    expect(call(answer, 0.25, 0.1), 0.325, "a quarter on purpose, a tenth of the others", known)
    expect(call(answer, 0.0, 0.1), 0.1, "none on purpose")
    expect(call(answer, 1.0, 0.1), 1.0, "all on purpose")


def _largest_batch(answer) -> None:
    known = {24.0: "Weights, gradients and AdamW need their GB first."}
    expect(call(answer, 1000.0), 23, "23 GB left, 1 GB a patch", known)
    expect(call(answer, 3000.0), 7, "23 GB left, 3 GB a patch", {23 / 3: "Whole patches only."})
    expect(call(answer, 40_000.0), 0, "a patch larger than the memory")
    expect(call(answer, 2500.0, 11, 1), 4, "an 11 GB card")


def _strides(answer) -> None:
    given = call(answer)
    triples = np.array(given, dtype=object)
    refuse(triples.shape != (4, 3), "Four triples are asked for.", "One triple a halving step.")
    strides = np.array(given, int)
    refuse(not np.isin(strides, (1, 2)).all(), "A step halves an axis (2) or leaves it (1).", "")
    voxel = np.array([0.7, 0.7, 5.0]) * strides.prod(0)
    ratio = voxel.max() / voxel.min()
    hint = "0.7 mm doubled three times is 5.6 mm: leave z alone until x and y have caught up."
    told = f"The deepest voxels are {np.round(voxel, 1).tolist()} mm"
    refuse(strides[:, :2].min() < 2, f"{told}; x and y can be halved further.", hint)
    no_cubes = ratio > 2 or not math.isclose(voxel[2], 10.0)
    refuse(no_cubes, f"{told}: {ratio:.1f} times longer than wide.", hint)
    wrong = "Nearly cubes at the end, but z is halved while its voxels are still the longest."
    refuse(tuple(strides[-1]) != (2, 2, 2), wrong, hint)


# fmt: off
EXERCISES = {
    "10a": Exercise(level=2, check=_expected_share,
        task="Write the part of patches with lesion, from `positives` and `by_chance`.",
        why="positives + (1 - positives) * by_chance.",
        hint="Two kinds of patches: on purpose, and by chance among the others."),
    "10b": Exercise(level=2, check=_largest_batch,
        task="How many patches of `patch_mb` megabytes fit beside `reserved_gb`?",
        why="What is left, divided by one patch, rounded down.",
        hint="int(1000 * (gpu_gb - reserved_gb) // patch_mb)."),
    "10c": Exercise(level=3, check=_strides,
        task="Four triples of strides for voxels of 0.7 x 0.7 x 5 mm.",
        why="(2, 2, 1) three times and (2, 2, 2) once: 11.2 x 11.2 x 10 mm.",
        hint="Halve z only when x and y are about as long."),
}
