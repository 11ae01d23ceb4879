"""Exercises of lesson 11: windows along an axis, components to keep, memory."""

import numpy as np

from seg_lib.course.exercises import Exercise, call, expect, refuse


def _windows_along(answer) -> None:
    known = {2.0: "That is without overlap: a step is shorter than a window."}
    expect(call(answer, 96, 96, 0.5), 1, "an axis as long as the window")
    expect(call(answer, 50, 96, 0.5), 1, "an axis shorter than the window")
    expect(call(answer, 192, 96, 0.5), 3, "192 voxels, windows of 96, overlap 0.5", known)
    expect(call(answer, 200, 96, 0.5), 4, "200 voxels: a last window moved back")
    expect(call(answer, 192, 96, 0.0), 2, "192 voxels without overlap")
    expect(call(answer, 211, 96, 0.8), 8, "211 voxels, steps of 19")


def _large_components(answer) -> None:
    mask = np.zeros((12, 6, 6), np.uint8)
    mask[0:4, 0:3, 0:3] = 1  # 36 voxels
    mask[6:8, 0:3, 0:3] = 1  # 18
    mask[10, 0, 0] = 1  # 1
    kept = np.asarray(call(answer, mask.copy()))
    refuse(kept.shape != mask.shape, "The mask has another shape.", "Return (X, Y, Z).")
    expect(int(kept.sum()), 54, "pieces of 36, 18 and 1 voxels, share 0.5", {36: "Half counts."})
    expect(int(np.asarray(call(answer, mask.copy(), 0.01)).sum()), 55, "the same with share 0.01")
    expect(int(np.asarray(call(answer, mask.copy(), 1.0)).sum()), 36, "the same with share 1")
    empty = call(answer, np.zeros_like(mask))
    expect(int(np.asarray(empty).sum()), 0, "an empty mask")


def _memory_gb(answer) -> None:
    known = {
        0.4194304: "That is one array of four bytes a voxel; there are image, logits and weights.",
        1.2582912: "The weights of the blending need one number a voxel too.",
    }
    expect(call(answer), 1.6777216, "512 x 512 x 400 voxels, two classes", known)
    expect(call(answer, (100, 100, 100), 1), 0.012, "100 x 100 x 100, one class")


# fmt: off
EXERCISES = {
    "11a": Exercise(level=2, check=_windows_along,
        task="Write the number of windows along an axis.",
        why="One, and one more for every step that is begun: 1 + ceil((n - w) / step).",
        hint="step = int(window * (1 - overlap)); what is left after the first window?"),
    "11b": Exercise(level=2, check=_large_components,
        task="Keep every connected piece with at least `share` of the voxels of the largest.",
        why="One tumour is not the only tumour.",
        hint="ndimage.label, np.bincount, and a look-up table of what is kept."),
    "11c": Exercise(level=3, check=_memory_gb,
        task="GB that sliding_window must hold for a scan.",
        why="Image, logits and weights: (1 + classes + 1) x 4 bytes a voxel.",
        hint="Count the arrays that are as large as the scan."),
}
