"""Exercises of lesson 16: equal steps, nested shares, what a mirrored scan proves."""

from seg_lib.course.exercises import Exercise, call, refuse, refuse_letters, refuse_number

PROVED = {"a", "d"}
PATIENTS = [f"p{i:02d}" for i in range(20)]
N_OF = {0.1: 2, 0.5: 10, 1.0: 20}


def _epochs(answer) -> None:
    hints = {
        10: "As many epochs are a fifth of the steps.",
        2: "Her epochs are shorter, so she needs more of them, not fewer.",
        28: "That is how many steps one of her epochs has.",
        1400: "Those are the steps of the long training; how many epochs are they for her?",
    }
    refuse_number(answer, 50, hints)


def _drawn(answer, shares, seed) -> dict:
    patients = list(PATIENTS)
    found = call(answer, patients, list(shares), seed)
    refuse(patients != PATIENTS, "The list that came in was changed.", "Shuffle a copy.")
    refuse(not isinstance(found, dict), "This asks for a dictionary: share to set of patients.")
    refuse(set(found) != set(shares), f"Its keys should be {list(shares)}, not {list(found)}.")
    for share, some in found.items():
        a_set = isinstance(some, set | frozenset | list | tuple)
        refuse(not a_set, f"For {share:g} this asks for a set of patients.")
        n, strangers = len(set(some)), set(some) - set(PATIENTS)
        refuse(bool(strangers), f"For {share:g} there are patients who were not given.")
        said = f"A share of {share:g} of 20 patients is {N_OF[share]}, not {n}."
        refuse(n != N_OF[share], said)
    return {share: set(some) for share, some in found.items()}


def _nested(answer) -> None:
    for seed in range(4):
        found = _drawn(answer, N_OF, seed)
        again, alone = _drawn(answer, N_OF, seed), _drawn(answer, [0.5], seed)
        hint = "Begin with random.Random(seed)."
        refuse(found != again, "The same seed gives other patients each time.", hint)
        nested = found[0.1] <= found[0.5] <= found[1.0]
        hint = "Shuffle once, then take the first ones for every share."
        refuse(not nested, "The tenth does not lie within the half.", hint)
        hint = "A share should not hang on which others are asked for."
        refuse(found[0.5] != alone[0.5], "Asked for alone, the half has other patients.", hint)
    firsts = {tuple(sorted(_drawn(answer, [0.5], seed)[0.5])) for seed in range(4)}
    hint = "Patients come in the order of their scans: the first ones are the oldest."
    refuse(len(firsts) == 1, "Every seed takes the same patients.", hint)


def _proved(answer) -> None:
    hints = {
        "b": "With a true note it lost next to nothing.",
        "c": "Then it would have missed it in the mirrored scans, whatever the note said.",
        "e": "Nobody has changed greys, spacing or wording here.",
    }
    refuse_letters(answer, PROVED, hints, "does not follow")


# fmt: off
EXERCISES = {
    "16a": Exercise(level=1, check=_epochs,
        task="How many epochs does she need for as many steps?",
        why="50: with equal epochs she would have compared 280 steps with 1400.",
        hint="How many batches of four are 14 times 8 patches?"),
    "16b": Exercise(level=2, check=_nested,
        task="Write nested(patients, shares, seed): share to set of patients.",
        why="Two points of a curve now differ by patients that came in, and by nothing else.",
        hint="random.Random(seed).sample(patients, len(patients)) is a shuffled copy."),
    "16c": Exercise(level=3, check=_proved,
        task="Which of the five sentences follow? A set of letters.",
        why="A network that reads is robust as long as its note is true, and lost if it is not.",
        hint="Compare two of the numbers at a time: what changed between them?"),
}
