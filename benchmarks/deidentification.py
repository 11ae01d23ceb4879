"""Measure `seg_lib.data.deidentify` on made-up notes: recall, precision, terms kept, speed.

A span counts as found only if every one of its letters and digits is gone. Precision is counted in
words: of the words taken out, those that belong to an identifier.
"""

import argparse
import json
import re
import time
from collections import defaultdict
from pathlib import Path

from machine import machine
from made_up_notes import Note, made_up_notes

from seg_lib.data.deidentify import deidentify, find_identifiers
from seg_lib.errors import InputError
from seg_lib.files import write_text

WORD = re.compile(r"\w+")


def measure(notes: list[Note]) -> dict:
    """Recall in all and by type, word precision, clinical terms kept; only rules, nothing known."""
    found, taken, right, kept, terms = defaultdict(list), 0, 0, 0, 0
    for note in notes:
        gone = bytearray(len(note.text))
        for start, end, _ in find_identifiers(note.text):
            gone[start:end] = b"\1" * (end - start)
        truth = bytearray(len(note.text))
        for start, end, kind in note.spans:
            truth[start:end] = b"\1" * (end - start)
            letters = [i for i in range(start, end) if note.text[i].isalnum()]
            found[kind].append(all(gone[i] for i in letters))
        for word in WORD.finditer(note.text):
            if any(gone[slice(*word.span())]):
                taken += 1
                right += any(truth[slice(*word.span())])
        for start, end in note.terms:
            terms += 1
            kept += not any(gone[start:end])
    every = [hit for hits in found.values() for hit in hits]
    return {
        "notes": len(notes),
        "spans": len(every),
        "recall": round(sum(every) / len(every), 4),
        "recall_by_type": {k: round(sum(v) / len(v), 4) for k, v in sorted(found.items())},
        "word_precision": round(right / taken, 4),
        "terms_kept": round(kept / terms, 4),
    }


def held_back(notes: list[Note]) -> int:
    """How many notes the residual check refuses to write."""
    refused = 0
    for note in notes:
        try:
            deidentify(note.text)
        except InputError:
            refused += 1
    return refused


def main() -> None:
    """Measure both sets, time 1,000 notes, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    out = Path(__file__).parent / "results" / "deidentification.json"
    parser.add_argument("--out", type=Path, default=out)
    words = parser.parse_args()
    results = {}
    for which in ("development", "held out"):
        notes = made_up_notes(which, words.notes, words.seed)
        start = time.process_time()
        refused = held_back(notes)
        seconds = time.process_time() - start
        results[which] = measure(notes) | {
            "held_back": refused,
            "cpu_seconds_per_1000_notes": round(1000 * seconds / len(notes), 3),
        }
        print(which, json.dumps(results[which], indent=1))
    about = (
        "Made-up notes; templates and names of both sets have the author of the rules. "
        "No claim about real notes."
    )
    text = {"machine": machine(), "seed": words.seed, "about": about, "results": results}
    write_text(words.out, json.dumps(text, indent=2) + "\n")


if __name__ == "__main__":
    main()
