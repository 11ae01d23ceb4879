"""Exercises of lesson 01: LPS to RAS, stored values to HU, missing slices."""

import numpy as np

from seg_lib.course.exercises import Exercise, Unsolved, call, refuse


def _numbers(answer: object, count: int) -> list[float]:
    """An answer as so many numbers."""
    if isinstance(answer, list | tuple | np.ndarray) and len(answer) == count:
        found = np.asarray(answer)
        if found.shape == (count,) and found.dtype.kind in "iuf":
            return found.tolist()
    if answer is ... or answer is None:
        raise Unsolved
    refuse(True, f"This asks for {count} numbers in a list, a tuple or an array.")


def _lps_to_ras(answer) -> None:
    got = _numbers(call(answer, (10.0, -20.0, 30.0)), 3)
    refuse(got == [10, -20, 30], "The point is still in LPS.", "Left and back change their signs.")
    refuse(
        got == [-10, 20, -30],
        "Superior is superior in both.",
        "Only the first two signs change; z points to the head in both.",
    )
    refuse(got == [-10, -20, 30], "Only x was changed.", "P and A are opposites too.")
    wrong = f"LPS (10, -20, 30) is RAS (-10, 20, 30), not {tuple(got)}."
    refuse(not np.allclose(got, [-10, 20, 30]), wrong)
    got = _numbers(call(answer, np.array([-1.5, 2.0, 0.0])), 3)
    refuse(not np.allclose(got, [1.5, -2, 0]), "A point as an array comes out wrong.")


def _to_hu(answer) -> None:
    stored = np.array([[24, 1024], [1074, 4095]], np.uint16)
    before = stored.copy()
    got = call(answer, stored, 1, -1024)
    refuse(not isinstance(got, np.ndarray), "This should return an array.")
    refuse(got.shape != (2, 2), f"The shape changed from (2, 2) to {got.shape}.")
    refuse((stored != before).any(), "Your function changed the stored array itself.")
    expected = np.array([[-1000, 0], [50, 3071]])
    refuse(got.dtype.kind not in "iuf", "This should hold numbers.")
    wraps = "uint16 has no negative numbers: 24 - 1024 becomes 64536. Convert to float32 first."
    refuse((got > 4000).any(), "Air came out brighter than any metal.", wraps)
    refuse(not np.allclose(got, expected), "24, 1024, 1074, 4095 are -1000, 0, 50, 3071 HU.")
    halves = call(answer, np.array([3, 5], np.int16), 0.5, -1)
    refuse(not np.allclose(halves, [0.5, 1.5]), "A slope of 0.5 is not applied, or is cut off.")
    refuse(got.dtype != np.float32, f"HU should be float32, not {got.dtype}.")


def _missing_slices(answer) -> None:
    for z_mm, missing in (
        ([5.0, 0.0, 2.5, 10.0], [7.5]),
        ([0.0, 1.0, 2.0, 3.0], []),
        ([8.0, 4.0, 0.0, 6.0], [2.0]),
        ([-3.0, -12.0, -9.0, -6.0, 6.0], [0.0, 3.0]),
    ):
        got = call(answer, list(z_mm))
        refuse(not isinstance(got, list | tuple | np.ndarray), "This asks for a list.")
        case = f"For {z_mm} it should be {missing}."
        hint = "Sort them first; the smallest gap is the spacing, wherever it is."
        refuse(len(got) == 0 and len(missing) > 0, f"{case} You found none.", hint)
        hint = "A gap of n spacings hides n - 1 slices."
        refuse(len(got) != len(missing), f"{case} You found {len(got)}.", hint)
        same = not len(missing) or np.allclose(_numbers(got, len(missing)), missing)
        refuse(not same, case, "The first is one spacing above the slice below the gap.")


# fmt: off
EXERCISES = {
    "01a": Exercise(level=1, check=_lps_to_ras,
        task="Write lps_to_ras(point) for three numbers.",
        why="Left and posterior change their signs, superior does not.",
        hint="L is the opposite of R, and P of A; S is S."),
    "01b": Exercise(level=2, check=_to_hu,
        task="Write to_hu(stored, slope, intercept); return float32.",
        why="First to float32, then slope and intercept: nothing can wrap round.",
        hint="stored * slope + intercept, in a type that has room for it."),
    "01c": Exercise(level=2, check=_missing_slices,
        task="Write missing_slices(z_mm): the positions where a slice should be.",
        why="Sorted gaps, the usual gap, and every multiple of it tells what is missing.",
        hint="np.diff of the sorted positions; the usual gap is their median or minimum."),
}
