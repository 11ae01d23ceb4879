"""Exercises of lesson 14: ages, a note without gaps, what a recall of 99 % leaves."""

from seg_lib.course.exercises import Exercise, call, refuse, refuse_number


def _age(answer) -> None:
    hint = "Completed years, as text; above 89 one word for all: '90 or older'."
    for age, right in ((66.9, "66"), (89.9, "89"), (90.0, "90 or older"), (101.2, "90 or older")):
        said = str(call(answer, age))
        refuse(said != right, f"An age of {age} should be '{right}', not '{said[:30]}'.", hint)


def _listing(answer) -> None:
    hint = "Go through the items, skip what is None, empty or not equal to itself (nan)."
    row = {"BMI": 28.7, "ECOG": None, "Pack-years": 0, "T": "T2", "N": "", "Age": float("nan")}
    said = call(answer, dict(row))
    refuse(not isinstance(said, str), "This asks for a text.", "Join the parts with ', '.")
    refuse("nan" in said or ": ," in said or "None" in said, f"It says '{said[:60]}'.", hint)
    zero = "0 pack-years is a finding (never smoked), not a gap: test for None, not for truth."
    refuse("Pack-years" not in said, "The pack-years are gone.", zero)
    right = "BMI: 28.7, Pack-years: 0, T: T2"
    refuse(said != right, f"It should be '{right}', not '{said[:60]}'.", hint)
    refuse(call(answer, {"ECOG": None, "N": ""}) != "", "A row without facts gives an empty text.")


def _left(answer) -> None:
    hints = {
        10: "That is notes times 0.01; a note has five identifiers.",
        4950: "Those are the ones found.",
        0.01: "That is the share; how many are they?",
    }
    refuse_number(answer, 50, hints)


# fmt: off
EXERCISES = {
    "14a": Exercise(level=1, check=_age,
        task="Write age_text(age): completed years as text, '90 or older' from 90 on.",
        why="The few who are older than 89 could be found by their age.",
        hint="int(age) cuts the fraction off."),
    "14b": Exercise(level=2, check=_listing,
        task="Write listing(row): 'BMI: 28.7, T: T2' of what was recorded, and of nothing else.",
        why="A gap in a table must not become a word in a note.",
        hint="None, '' and nan are gaps; 0 is none."),
    "14c": Exercise(level=1, check=_left,
        task="How many identifiers stay in 1,000 notes of five each at a recall of 99 %?",
        why="Fifty: 99 % sounds like safe and is not, so texts are read before they are shared.",
        hint="Count the identifiers first."),
}
