"""Exercises of lesson 03: from HU to gray, and a split by patient."""

import numpy as np

from seg_lib.course.exercises import Exercise, NotYet, call, refuse


def _window_to_uint8(answer) -> None:
    hu = np.array([[-2000.0, -1350.0], [-600.0, 150.0], [3000.0, -975.0]], np.float32)
    before = hu.copy()
    gray = np.asarray(call(answer, hu, -1350, 150))
    changed = not np.array_equal(hu, before)
    refuse(changed, "The function changed the image that it was given.", "Work on a copy.")
    kind = gray.dtype
    refuse(kind != np.uint8, f"The result is {kind}, not uint8.", "End with .astype(np.uint8).")
    refuse(gray.shape != hu.shape, f"An image of shape {hu.shape} came back as {gray.shape}.")
    refuse(
        np.abs(gray - (hu - hu.min()) / (hu.max() - hu.min()) * 255).max() <= 1,
        "The image is stretched between its own darkest and brightest voxel.",
        "The same HU must give the same gray in every patient: use low and high.",
    )
    air, metal = int(gray[0, 0]), int(gray[2, 0])
    wrong = f"-2000 HU became {air} and 3000 HU became {metal}, not 0 and 255."
    refuse(air > 1 or metal < 254, wrong, "Clip to [low, high] before uint8 wraps around.")
    error = np.abs(gray - np.array([[0, 0], [127.5, 255], [255, 63.75]])).max()
    wrong = f"-600 HU, the middle of the window, became {gray[1, 0]}, not 127 or 128."
    refuse(error > 1, wrong)
    soft = np.asarray(call(answer, np.array([[-200.0, 40.0, 300.0]]), -160, 240))
    wrong = f"With the window (-160, 240), 40 HU became {soft.flat[1]}, not 127 or 128."
    refuse(np.abs(soft - np.array([[0, 127.5, 255]])).max() > 1, wrong, "Use low and high.")


def _split_by_patient(answer) -> None:
    patients = [f"p{i}" for i in (1, 1, 1, 1, 1, 2, 3, 3, 3, 4, 4, 5, 5, 5, 5)]
    cases = {f"scan{i:02d}": patient for i, patient in enumerate(patients)}
    result = call(answer, dict(cases), 2)
    try:
        train, test = (list(part) for part in result)
    except (TypeError, ValueError):
        raise NotYet("This asks for two collections of cases: (train, test).") from None
    named = set(train) | set(test)
    refuse(named <= set(patients), "These are patients; the split must name their cases.")
    whole = sorted([*train, *test]) == sorted(cases)
    refuse(not whole, "Every case must be in one of the two parts, once.")
    tested = {cases[case] for case in test}
    for patient in sorted({cases[case] for case in train} & tested):
        raise NotYet(
            f"Patient {patient} is in both parts: the network would be tested on a patient that "
            "it has seen.",
            "Choose patients first, then gather their cases.",
        )
    refuse(len(tested) != 2, f"n_test=2 asks for 2 test patients, not {len(tested)}.")


# fmt: off
EXERCISES = {
    "03a": Exercise(level=2, check=_window_to_uint8,
        task="Write window_to_uint8(hu, low, high): low becomes 0, high 255, the rest is clipped.",
        why="The same HU gives the same gray in every patient.",
        hint="Clip, subtract low, divide by high - low, times 255, then uint8."),
    "03b": Exercise(level=3, check=_split_by_patient,
        task="Write split_by_patient(case_to_patient, n_test): (train, test) cases, no patient "
        "in both.",
        why="A patient in both parts would flatter the network.",
        hint="Draw n_test patients, then gather their cases."),
}
