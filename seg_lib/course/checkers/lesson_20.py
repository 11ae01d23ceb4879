"""Exercises of lesson 20: pairing files, labels that are almost integers, nnU-Net's names."""

import contextlib

import numpy as np

from seg_lib.course.exercises import Exercise, call, refuse


def _pairs(answer) -> None:
    images = ["p1.nii.gz", "p10.nii.gz", "p2.nii.gz"]
    found = call(answer, images, ["p10.nii.gz", "p1.nii.gz", "p3.nii.gz"])
    refuse(not isinstance(found, tuple | list) or len(found) != 3, "Return three sets.")
    both, no_label, no_image = (set(part) for part in found)
    hint = "Compare whole names: both = set(images) & set(labels)."
    refuse(both != {"p1.nii.gz", "p10.nii.gz"}, f"Pairs: {sorted(map(str, both))[:4]}.", hint)
    refuse(no_label != {"p2.nii.gz"}, "p2 has an image and no label.", hint)
    refuse(no_image != {"p3.nii.gz"}, "p3 has a label and no image.", hint)


def _integers(answer) -> None:
    stored = np.array([0.0, 0.99998474, 1.00001526, 2.0], np.float32)
    found = np.asarray(call(answer, stored.copy()))
    refuse(found.dtype.kind not in "iu", "Labels are whole numbers.", "Convert with astype.")
    cut = "astype alone cuts off: 0.99998 becomes 0. Round first."
    refuse(found.tolist() != [0, 1, 1, 2], f"It gives {found.tolist()}.", cut)
    hint = "Raise ValueError if any value is further than 0.0001 from a whole number."
    for label in (0.5, 0.95):
        with contextlib.suppress(ValueError):
            soft = answer(np.array([0.0, label, 1.0]))
            wrong = f"A label of {label} became {soft!r}; that is a probability"
            refuse(True, f"{wrong}, not a rounding error.", hint)


def _name(answer) -> None:
    for case, channel, number in (("p01", 0, "0000"), ("lung_7", 12, "0012")):
        said, right = call(answer, case, channel), f"{case}_{number}.nii.gz"
        hint = "The channel has four digits: f'{channel:04d}'."
        refuse(said != right, f"It should be '{right}', not '{str(said)[:40]}'.", hint)


# fmt: off
EXERCISES = {
    "20a": Exercise(level=2, check=_pairs,
        task="Write pairs(images, labels): the names in both, without label, without image.",
        why="Whole names are compared, so p1 never meets p10.",
        hint="Sets have & and -."),
    "20b": Exercise(level=2, check=_integers,
        task="Write to_integers(labels): round what is almost whole, ValueError for the rest.",
        why="1.00001526 is a scaled 1; 0.5 is a probability and must not become a label.",
        hint="np.rint, and the largest difference to it."),
    "20c": Exercise(level=1, check=_name,
        task="Write nnunet_name(case, channel): 'p01_0000.nii.gz' for ('p01', 0).",
        why="The four digits name the channel; labels have none.",
        hint="An f-string with :04d."),
}
