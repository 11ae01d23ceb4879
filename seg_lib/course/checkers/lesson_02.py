"""Exercises of lesson 02: siblings in a random split, patients on both sides, folds by patient."""

from collections import Counter

from seg_lib.course.exercises import Exercise, NotYet, call, number, refuse

ALL_FOUR_IN_TEST = 0.2**4  # without replacement it is 0.00159


def _probability_of_a_sibling(answer) -> None:
    p = number(answer)
    refuse(not 0 <= p <= 1, f"{p:g} is no probability.", "It lies between 0 and 1.")
    for wrong, hint in {
        0.8: "0.8 is the chance for one certain sibling; there are four.",
        0.8**4: "That is the chance that all four are in training; one is enough.",
        ALL_FOUR_IN_TEST: "That is the chance that no sibling is in training.",
        1 - 0.2**5: "The image itself is in the test already: it has four siblings.",
    }.items():
        refuse(abs(p - wrong) < 2e-5, f"Not {p:g}.", hint)
    refuse(abs(p - (1 - ALL_FOUR_IN_TEST)) > 5e-4, f"Not {p:g}.")


def _on_both_sides(answer) -> None:
    patient_of = {"s0": "a", "s0_aug1": "a", "s1": "a", "s2": "b", "s3": "c", "s4": "c"}
    cases = (["s0", "s2", "s3"], ["s0_aug1", "s4"])
    found = call(answer, *map(list, cases), dict(patient_of))
    refuse(isinstance(found, str | bool | int | float), "This asks for a set of patients.")
    found = set(found)
    refuse(bool(found & set(patient_of)), "These are cases; look up their patients.")
    right = {"a", "c"}
    refuse(found != right, f"It should be {sorted(right)}, not {sorted(map(str, found))}.")
    nobody = set(call(answer, ["s0", "s1"], ["s2"], dict(patient_of)))
    refuse(nobody != set(), "Here nobody is on both sides: return an empty set.")


def _patient_folds(answer) -> None:
    patients = [f"p{i}" for i in (9, 1, 9, 0, 3, 1, 9, 12, 15, 6, 0, 9)]
    for k in (3, 5):
        folds = list(call(answer, list(patients), k))
        refuse(len(folds) != len(patients), f"{len(patients)} slices got {len(folds)} folds.")
        unknown = sorted(map(str, set(folds) - set(range(k))))
        refuse(bool(unknown), f"Fold {', '.join(unknown[:1])} does not exist: 0 to {k - 1}.")
        of_patient = set(zip(patients, folds, strict=True))
        for patient, n in Counter(patient for patient, _ in of_patient).items():
            if n > 1:
                raise NotYet(f"Patient {patient} is in {n} folds.", "Deal patients, not slices.")
        sizes = Counter(fold for _, fold in of_patient)
        counts = [sizes[fold] for fold in range(k)]
        refuse(max(counts) - min(counts) > 1, f"The folds have {counts} patients.")


# fmt: off
EXERCISES = {
    "02a": Exercise(level=1, check=_probability_of_a_sibling,
        task="708 slices stored 5 times, a random 20 % for testing: how probable is it that a test "
        "image has a sibling in training?",
        why="1 - 0.2^4 = 0.998: nearly every test image has been seen in another dress.",
        hint="One minus the probability that all four siblings are in the test, too."),
    "02b": Exercise(level=2, check=_on_both_sides,
        task="Write on_both_sides(train, test, patient_of): the set of patients in both parts.",
        why="An empty set is the proof that belongs into every report.",
        hint="Make a set of patients of each part; & gives what they share."),
    "02c": Exercise(level=3, check=_patient_folds,
        task="Write patient_folds(patients, k): the fold of each slice, patients kept together.",
        why="Each patient is tested once, by a network that never saw him.",
        hint="Deal the sorted set of patients round and round: fold = position % k."),
}
