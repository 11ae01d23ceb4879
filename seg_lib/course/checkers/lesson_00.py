"""Exercises of lesson 00: windows and slices."""

import numpy as np

from seg_lib.course.exercises import Exercise, NotYet, call, expect, number, refuse


def _window_limits(answer) -> None:
    try:
        low, high = (number(limit) for limit in answer)
    except (TypeError, ValueError):
        raise NotYet("This asks for two numbers: (low, high).") from None
    ends = (low, high)
    refuse(ends == (-600, 900), "The level is the middle of the window, not its lower end.")
    twice = "This window is twice as wide as it should be."
    refuse(ends == (-2100, 900), twice, "Half lies on each side.")
    wrong = f"({low:g}, {high:g}) is {high - low:g} HU wide around {(low + high) / 2:g}."
    refuse(ends != (-1350, 150), wrong)


def _largest_lesion_slice(answer) -> None:
    mask = np.zeros((6, 5, 8), np.uint8)
    mask[1:3, 1:3, 2] = 1  # 4 voxels
    mask[0:3, 0:4, 5] = 1  # 12 voxels
    mask[:, 0, 6] = 1  # 6 voxels
    mask[0, 0, 3:5] = 1  # 1 voxel each, so that neither the middle nor the last slice is right
    known = {
        2.0: "The first slice with any lesion is not the one with most of it.",
        0.0: "Which axis do you sum over? Slices lie along the last one: mask[:, :, z].",
        12.0: "That is the number of voxels; argmax gives the place instead of the value.",
    }
    expect(call(answer, mask), 5, "a mask whose slice 5 has most voxels", known)
    lower = np.zeros((4, 4, 3), np.uint8)
    lower[0, 0, 1] = 1
    expect(call(answer, lower), 1, "a mask with one voxel, in slice 1")


# fmt: off
EXERCISES = {
    "00a": Exercise(level=1, check=_window_limits,
        task="Give (low, high) in HU of the lung window: width 1500, level -600.",
        why="The level is the middle: -600 - 750 and -600 + 750.",
        hint="low = level - width / 2, high = level + width / 2."),
    "00b": Exercise(level=2, check=_largest_lesion_slice,
        task="Write largest_lesion_slice(mask): the index, along the last axis, with most voxels.",
        why="That is the slice a radiologist would measure.",
        hint="Sum over the first two axes, then argmax."),
}
