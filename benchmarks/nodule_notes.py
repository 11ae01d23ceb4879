"""What radiologists rated of a lung nodule (LIDC-IDRI), put into the words of a note.

A note tells the look of a nodule. It never tells the malignancy, which the same readers rated and
which is what a classification is to find, and never a size, which decides it almost alone.
The scales: McNitt-Gray et al. 2007, https://doi.org/10.1016/j.acra.2007.07.021.
"""

import dataclasses
from pathlib import Path

from seg_lib.data.case_rules import first_few
from seg_lib.data.clinical_table import read_cells
from seg_lib.errors import InputError

# The words of the values 1, 2, 3 ... of each rating.
WORDS = {
    "subtlety": "extremely subtle, moderately subtle, fairly subtle, moderately obvious, obvious",
    "sphericity": "linear, linear to ovoid, ovoid, ovoid to round, round",
    "texture": "ground-glass, mostly ground-glass, part-solid, mostly solid, solid",
    "margin": "poorly defined, rather poorly defined, fairly sharp, nearly sharp, sharp",
    "lobulation": "no, hardly any, medium, rather marked, marked",
    "spiculation": "no, hardly any, medium, rather marked, marked",
    "calcification": "popcorn, laminated, solid, non-central, central, no",
}
WORDS = {rating: words.split(", ") for rating, words in WORDS.items()}
SUSPICIOUS, HARMLESS = 4, 2  # of the malignancy: from 4 on, and up to 2; 3 says nothing
COLUMNS = ("patient_id", "nodule_id", "diameter_mm", "Malignancy_value", "Diagnosis_value")


@dataclasses.dataclass(frozen=True)
class Rated:
    """One line of the table."""

    patient: str
    diameter_mm: float
    malignancy: int  # 1 to 5
    diagnosis: int  # 1 where the table calls it malignant, mostly as the readers rated it
    ratings: dict[str, int]  # of WORDS; what was not rated is not there

    @property
    def malignant(self) -> bool | None:
        """None where the readers could not tell."""
        if HARMLESS < self.malignancy < SUSPICIOUS:
            return None
        return self.malignancy >= SUSPICIOUS


def note_of(ratings: dict[str, int]) -> str:
    """What was rated, in plain words; what was not is left out, and without ratings it is "".

    Args:
        ratings: whole numbers from 1 on, by the names of ``WORDS``; other names are not told.

    Raises:
        InputError: a value that the scale does not have.
    """
    told = {name: _word(name, ratings[name]) for name in WORDS if name in ratings}
    look = [told[name] for name in ("subtlety", "sphericity", "texture") if name in told]
    sentences = []
    if look:
        article = "An" if look[0][0] in "aeiou" else "A"
        sentences.append(f"{article} {', '.join(look)} nodule.")
    if "margin" in told:
        sentences.append(f"The margin is {told['margin']}.")
    for name in ("lobulation", "spiculation", "calcification"):
        if name in told:
            sentences.append(f"{told[name].capitalize()} {name}.")
    return " ".join(sentences)


def _word(name: str, value: int) -> str:
    words = WORDS[name]
    if value not in range(1, len(words) + 1):
        raise InputError(f"{name} is {value!r}; the scale goes from 1 to {len(words)}.")
    return words[value - 1]


def read_ratings(table: Path) -> dict[str, Rated]:
    """Lines by the name of the block, ``<patient_id>_R_<nodule_id>``; empty cells are left out.

    Raises:
        InputError: a faulty table, a column that is not there, or a cell that is no number.
    """
    columns, lines, _ = read_cells(table)
    needed = [*COLUMNS, *(f"{name.capitalize()}_value" for name in WORDS)]
    if absent := [name for name in needed if name not in columns]:
        raise InputError(f"{table}: without the columns {first_few(absent)}; see README.")
    found = {}
    for line, texts in lines:
        row = dict(zip(columns, texts, strict=True))
        try:
            cells = {name: row[f"{name.capitalize()}_value"] for name in WORDS}
            ratings = {name: int(text) for name, text in cells.items() if text}
            size = float(row["diameter_mm"])
            called = int(row["Malignancy_value"]), int(row["Diagnosis_value"])
        except ValueError as fault:
            raise InputError(f"{table}: line {line}: {fault}; ratings are 1, 2, 3.") from fault
        name = f"{row['patient_id']}_R_{row['nodule_id']}"
        found[name] = Rated(row["patient_id"], size, *called, ratings)
    return found
