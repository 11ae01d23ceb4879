"""Measure `seg_lib.data.deidentify` on made-up notes: recall, precision, terms kept, speed.

A span counts as found only if every one of its letters and digits is gone. Precision is counted in
words: of the words taken out, those that belong to an identifier. Beside recall over all notes
stand recall over the notes that are written (not held back), and what is left standing when the
patient's own identifiers are known.
"""

import argparse
import contextlib
import json
import re
import time
from collections import defaultdict
from pathlib import Path

from machine import machine
from made_up_notes import Note, made_up_notes

from seg_lib.data.clinical_fields import OLD
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


def written(notes: list[Note], known: bool = False) -> list[tuple[Note, str]]:
    """The notes that are not held back, each with the text that is written."""
    pairs = []
    for note in notes:
        with contextlib.suppress(InputError):
            pairs.append((note, deidentify(note.text, note.known if known else ())))
    return pairs


def held_back(notes: list[Note]) -> int:
    """How many notes the residual check refuses to write."""
    return len(notes) - len(written(notes))


def with_known(notes: list[Note]) -> dict:
    """Each note with its own identifiers known: what still stands in the text that is written."""
    pairs = written(notes, known=True)
    bare = [(note, text.replace(OLD, "")) for note, text in pairs]  # "90 or older" is no leak
    left = [_stands(note.text[s:e], text) for note, text in bare for s, e, _ in note.spans]
    terms = [_stands(note.text[s:e], text) for note, text in pairs for s, e in note.terms]
    return {
        "held_back": len(notes) - len(pairs),
        "identifiers": len(left),
        "left_standing": round(sum(left) / len(left), 4),
        "terms_kept": round(sum(terms) / len(terms), 4),
    }


def _stands(words: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None


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
        pairs = written(notes)
        seconds = time.process_time() - start
        safe = measure([note for note, _ in pairs])
        results[which] = measure(notes) | {
            "held_back": len(notes) - len(pairs),
            "recall_written": safe["recall"],
            "recall_by_type_written": safe["recall_by_type"],
            "with_known_identifiers": with_known(notes),
            "cpu_seconds_per_1000_notes": round(1000 * seconds / len(notes), 3),
        }
        print(which, json.dumps(results[which], indent=1))
    about = (
        "Made-up notes. The held-out set has another author, who had not seen the rules; on it no "
        "rule was mended. No claim about real notes."
    )
    text = {"machine": machine(), "seed": words.seed, "about": about, "results": results}
    write_text(words.out, json.dumps(text, indent=2) + "\n")


if __name__ == "__main__":
    main()
