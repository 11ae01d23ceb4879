"""Exercises of lesson 04: which augmentations are right for CT, and image and mask together."""

from collections.abc import Mapping

import numpy as np

from seg_lib.course.exercises import Exercise, NotYet, Unsolved, call

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
    if isinstance(answer, str | Mapping) or not hasattr(answer, "__iter__"):
        raise NotYet("This asks for a set of names.", f"Choose from {', '.join(AUGMENTATIONS)}.")
    names = set(answer)
    if names <= {...}:
        raise Unsolved
    if unknown := sorted(str(name) for name in names if name not in AUGMENTATIONS):
        raise NotYet(f"{unknown[0]} is not in the list.", f"It has {', '.join(AUGMENTATIONS)}.")
    if wrong := sorted(names - INVALID.keys()):
        raise NotYet(f"{wrong[0]} is harmless: {AUGMENTATIONS[wrong[0]]}.")
    if len(names) < len(INVALID):
        raise NotYet(f"{len(names)} found, and there are more.")


def _flip_both(answer) -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    mask = (image % 5 == 0).astype(np.uint8)
    result = call(answer, image.copy(), mask.copy())
    try:
        flipped_image, flipped_mask = (np.asarray(part) for part in result)
    except (TypeError, ValueError):
        raise NotYet("This asks for two arrays: (image, mask).") from None
    if np.array_equal(flipped_image, image):
        raise NotYet("The image came back as it was.")
    if np.array_equal(flipped_mask, mask):
        raise NotYet("The mask stayed where it was.", "What moves the image must move the mask.")
    if np.array_equal(flipped_image, image[::-1]) or np.array_equal(
        flipped_image, image[::-1, ::-1]
    ):
        raise NotYet("The image is upside down.", "Left to right is the last axis: [:, ::-1].")
    if not np.array_equal(flipped_image, image[:, ::-1]):
        raise NotYet("The image is not its mirror image.")
    if not np.array_equal(flipped_mask, mask[:, ::-1]):
        raise NotYet("Image and mask moved differently.", "Flip both along the same axis.")


EXERCISES = {
    "04a": Exercise(
        level=3,
        task="Give the set of names of the augmentations that are wrong for CT and masks.",
        why="; ".join(f"{name}: {reason}" for name, reason in INVALID.items()) + ".",
        hint="Ask of each: does the mask still fit, is it still 0 or 1, are HU still HU?",
        check=_invalid_augmentations,
    ),
    "04b": Exercise(
        level=2,
        task="Write flip_both(image, mask): both (H, W) arrays flipped left to right.",
        why="What moves the image moves the mask.",
        hint="array[:, ::-1] flips left to right.",
        check=_flip_both,
    ),
}
