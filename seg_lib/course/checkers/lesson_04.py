"""Exercises of lesson 04: which augmentations are right for CT, and image and mask together."""

from collections.abc import Mapping

import numpy as np

from seg_lib.course.exercises import Exercise, NotYet, Unsolved, call, refuse

AUGMENTATIONS = {
    "flip": "flip image and mask left to right",
    "rotate": "rotate both by 15 degrees; image bilinear, mask nearest neighbour",
    "rotate_mask_bilinear": "rotate both by 15 degrees; image and mask bilinear",
    "rotate_image_only": "rotate the image by 15 degrees, leave the mask",
    "noise": "add noise of 10 HU standard deviation to the image",
    "brighten_300_hu": "add 300 HU to every voxel before the window",
    "elastic": "bend both by up to 5 pixels; image bilinear, mask nearest neighbour",
}
INVALID = {
    "rotate_mask_bilinear": "a mask value of 0.4 is no class",
    "rotate_image_only": "the mask no longer lies on the lesion",
    "brighten_300_hu": "HU are physical: fat at -100 would become bone at 200",
}


def _invalid_augmentations(answer) -> None:
    known = ", ".join(AUGMENTATIONS)
    no_set = isinstance(answer, str | Mapping) or not hasattr(answer, "__iter__")
    refuse(no_set, "This asks for a set of names.", f"Choose from {known}.")
    names = set(answer)
    if names <= {...}:
        raise Unsolved
    for name in sorted(map(str, names - AUGMENTATIONS.keys())):
        raise NotYet(f"{name} is not in the list.", f"It has {known}.")
    for name in sorted(names - INVALID.keys()):
        raise NotYet(f"{name} is harmless: {AUGMENTATIONS[name]}.")
    refuse(len(names) < len(INVALID), f"{len(names)} found, and there are more.")


def _flip_both(answer) -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    mask = (image % 5 == 0).astype(np.uint8)
    result = call(answer, image.copy(), mask.copy())
    try:
        flipped, moved = (np.asarray(part) for part in result)
    except (TypeError, ValueError):
        raise NotYet("This asks for two arrays: (image, mask).") from None
    same = np.array_equal
    refuse(same(flipped, image), "The image came back as it was.")
    refuse(same(moved, mask), "The mask stayed where it was.", "It must move with the image.")
    upside_down = same(flipped, image[::-1]) or same(flipped, image[::-1, ::-1])
    hint = "Left to right is the last axis: [:, ::-1]."
    refuse(upside_down, "The image is upside down.", hint)
    refuse(not same(flipped, image[:, ::-1]), "The image is not its mirror image.")
    wrong = "Image and mask moved differently."
    refuse(not same(moved, mask[:, ::-1]), wrong, "Flip both along the same axis.")


# fmt: off
EXERCISES = {
    "04a": Exercise(level=3, check=_invalid_augmentations,
        task="Give the set of names of the augmentations that are wrong for CT and masks.",
        why="; ".join(f"{name}: {reason}" for name, reason in INVALID.items()) + ".",
        hint="Ask of each: does the mask still fit, is it still 0 or 1, are HU still HU?"),
    "04b": Exercise(level=2, check=_flip_both,
        task="Write flip_both(image, mask): both (H, W) arrays flipped left to right.",
        why="What moves the image moves the mask.",
        hint="array[:, ::-1] flips left to right."),
}
