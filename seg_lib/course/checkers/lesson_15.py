"""Exercises of lesson 15: the cache of a note, mirrored notes, missing controls."""

from seg_lib.course.exercises import Exercise, Unsolved, call, refuse, refuse_number

CONTROLS = {"shuffled notes", "empty notes", "more seeds", "image-only, same steps"}
OTHERS = {"more epochs", "larger language model"}


def _bytes(answer) -> None:
    hints = {
        262144: "A key and a value are two numbers.",
        16384: "Every layer keeps its own keys and values.",
        4096: "That is one layer's key in numbers, not bytes.",
    }
    refuse_number(answer, 524288, hints)


def _mirrored(answer) -> None:
    pairs = {
        "A tumour of the left upper lobe.": "A tumour of the right upper lobe.",
        "Right lung.": "Left lung.",
        "From the left to the right.": "From the right to the left.",
        "No place is named.": "No place is named.",
        "The leftover is bright.": "The leftover is bright.",
    }
    hints = {
        "From the left to the right.": "Two replacements in a row undo each other.",
        "The leftover is bright.": "Whole words only: 'leftover' and 'bright' hold no side.",
        "Right lung.": "A capital letter stays a capital letter.",
    }
    for note, right in pairs.items():
        said = call(answer, note)
        wrong = f"'{note}' should become '{right}', not '{said}'."
        refuse(said != right, wrong, hints.get(note, ""))


def _controls(answer) -> None:
    if answer is None or answer is ...:
        raise Unsolved
    refuse(not isinstance(answer, set | frozenset | list | tuple), "This asks for a set of words.")
    given = set(answer)
    strangers = given - CONTROLS - OTHERS
    refuse(bool(strangers), f"{sorted(map(str, strangers))[:1]} is none of the six.")
    useless = "A better number is no better proof."
    idle = sorted(given & OTHERS)[:1]
    refuse(bool(idle), f"{idle} shows nothing about the text.", useless)
    refuse(given != CONTROLS, f"{len(CONTROLS - given)} more are missing.")


# fmt: off
EXERCISES = {
    "15a": Exercise(level=1, check=_bytes,
        task="How many bytes does one remembered token of Llama-2-7B take?",
        why="Half a megabyte: a note of 120 tokens takes 63 MB, a hundred patients 6 GB.",
        hint="Layers times heads times features, a key and a value, two bytes each."),
    "15b": Exercise(level=2, check=_mirrored,
        task="Write mirrored(note): the note of the mirror image.",
        why="An augmentation must keep image, label and text true to each other.",
        hint="re.sub with a function that looks the word up."),
    "15c": Exercise(level=3, check=_controls,
        task="Name the controls that are missing in the colleague's report, as a set of words.",
        why="Each of the four could explain the gain without any reading.",
        hint="What would a network show that ignores the text, and one that obeys any text?"),
}
