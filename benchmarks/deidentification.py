"""Measure `seg_lib.data.deidentify` on made-up notes: recall, precision, terms kept, speed.

A span counts as found only if every one of its letters and digits is gone. Precision is counted in
words: of the words taken out, those that belong to an identifier. Beside recall over all notes
stand recall over the notes that are written (not held back), and what is left standing when the
patient's own identifiers are known.

Each set has an author of its own, and none of them had seen the rules. The rules were mended on the
development sets, in order: `SETS` of made_up_notes.py, then `FILES`; the tagger is trained on all
of them (train_tagger.py). What was measured on a set that neither rules nor tagger had met stands
in results/deidentification_before.json (``--before STAGE SET ...`` adds to it). From
held_out_notes.json.gz nothing was learned; whoever does needs new ones (``--held-out FILE``, see
`read_notes`).
"""

import argparse
import contextlib
import gzip
import json
import re
import time
from collections import defaultdict
from pathlib import Path

from machine import machine
from made_up_notes import SETS, Note, made_up_notes

from seg_lib.data.clinical_fields import OLD
from seg_lib.data.deidentify import deidentify, find_identifiers
from seg_lib.errors import InputError
from seg_lib.files import write_text
from seg_lib.resampling import bootstrap_interval

WORD = re.compile(r"\w+")
TITLE = re.compile(
    r"(?:(?:Dr|Mr|Mrs|Ms|Miss|Prof|Professor|Sister|Nurse|Sir|Fr|Rev)\b\.? ?)+(?=\w)"
)
OLDEST = re.compile(r"(?i)ninet|hundred|nonagen|centen")
HERE = Path(__file__).parent
HELD_OUT_NOTES = HERE / "held_out_notes.json.gz"
STYLES = ("british", "american", "european", "asian_african")
STYLES += ("telegraphic", "forms", "specialists", "narrative")
FILES = {f"{nth} author": HERE / f"notes_{nth}_author.json.gz" for nth in ("third", "fourth")}
FILES |= {style.replace("_", " and "): HERE / f"notes_{style}.json.gz" for style in STYLES}
BEFORE = HERE / "results" / "deidentification_before.json"
HELD_OUT = (
    "The held-out set has another author, who had not seen the rules: 95 % "
    "interval of its recall {} to {}, notes drawn anew. "
)


def read_notes(path: Path) -> tuple[list[Note], dict]:
    """The notes of a file, and how many of its spans were changed or left out.

    The file is a gzipped JSON list of ``{"text", "spans": [[start, end, type]],
    "terms": [[start, end]], "known": {...}}``. An age up to 89 is no identifier and is left out; of
    a name, the title in front ("Dr.") is none.
    """
    notes, changed = [], {"ages_up_to_89_left_out": 0, "titles_left_out": 0}
    for item in json.loads(gzip.decompress(path.read_bytes())):
        spans = []
        for start, end, kind in item["spans"]:
            value = item["text"][start:end]
            number = re.search(r"\d+", value)
            if kind.lower() == "age" and not (
                int(number[0]) > 89 if number else OLDEST.search(value)
            ):
                changed["ages_up_to_89_left_out"] += 1
                continue
            title = TITLE.match(value) if kind.lower() == "name" else None
            changed["titles_left_out"] += bool(title)
            spans.append((start + (title.end() if title else 0), end, kind))
        terms, known = [tuple(term) for term in item["terms"]], []
        for values in item["known"].values():
            known += values if isinstance(values, list) else [values]
        notes.append(Note(item["text"], spans, terms, [str(value) for value in known if value]))
    return notes, changed


def interval(hits: list[list[bool]]) -> list[float]:
    """95 % interval of the recall: whole notes are drawn anew, with replacement."""
    note_of = [number for number, note in enumerate(hits) for _ in note]
    every = [float(hit) for note in hits for hit in note]
    return [round(q, 4) for q in bootstrap_interval(every, note_of)]


def measure(notes: list[Note]) -> dict:
    """Recall in all and by type, word precision, clinical terms kept; only rules, nothing known."""
    found, taken, right, kept, terms, hits = defaultdict(list), 0, 0, 0, 0, []
    for note in notes:
        gone = bytearray(len(note.text))
        for start, end, _ in find_identifiers(note.text):
            gone[start:end] = b"\1" * (end - start)
        truth = bytearray(len(note.text))
        hits.append([])
        for start, end, kind in note.spans:
            truth[start:end] = b"\1" * (end - start)
            letters = [i for i in range(start, end) if note.text[i].isalnum()]
            hits[-1].append(all(gone[i] for i in letters))
            found[kind].append(hits[-1][-1])
        for word in WORD.finditer(note.text):
            if any(gone[slice(*word.span())]):
                taken += 1
                right += any(truth[slice(*word.span())])
        for start, end in note.terms:
            terms += 1
            kept += not any(gone[start:end])
    every = [hit for note in hits for hit in note]
    return {
        "notes": len(notes),
        "spans": len(every),
        "recall": round(sum(every) / len(every), 4),
        "recall_interval": interval(hits),
        "recall_by_type": {k: round(sum(v) / len(v), 4) for k, v in sorted(found.items())},
        "spans_by_type": {k: len(v) for k, v in sorted(found.items())},
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


def results_of(notes: list[Note]) -> dict:
    """All measures of one set, and the processor time of writing its notes."""
    start = time.process_time()
    pairs = written(notes)
    seconds = time.process_time() - start
    safe = measure([note for note, _ in pairs])
    return measure(notes) | {
        "held_back": len(notes) - len(pairs),
        "recall_written": safe["recall"],
        "recall_by_type_written": safe["recall_by_type"],
        "with_known_identifiers": with_known(notes),
        "cpu_seconds_per_1000_notes": round(1000 * seconds / len(notes), 3),
    }


def development_notes(name: str, n_notes: int, seed: int) -> list[Note]:
    """A set on which the rules were mended: drawn from templates, or as it lies in a file."""
    return read_notes(FILES[name])[0] if name in FILES else made_up_notes(name, n_notes, seed)


def keep_before(stage: str, names: list[str], out: Path = BEFORE) -> None:
    """Measure sets that the rules have not met; ``stage`` says on what they were mended so far."""
    stages = json.loads(out.read_text()) if out.exists() else {}
    stages[stage] = {name: measure(development_notes(name, 1000, 0)) for name in names}
    write_text(out, json.dumps(stages, indent=2) + "\n")


def told_before(out: Path = BEFORE) -> str:
    """One clause a stage: the recall of the sets that nothing had been made from then."""
    clauses = []
    for stage, sets in json.loads(out.read_text()).items():
        recalls = [f"{found['recall']:.3f} ({name})" for name, found in sets.items()]
        clauses.append(f"{stage}: {', '.join(recalls)}")
    return f"Recall of sets that neither had met, {'; '.join(clauses)}. "


def main() -> None:
    """Measure every set, time 1,000 notes, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=Path, default=HELD_OUT_NOTES, help="see read_notes")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "deidentification.json")
    parser.add_argument("--before", nargs="+", metavar=("STAGE", "SET"), help="see above")
    words = parser.parse_args()
    if words.before:
        return keep_before(words.before[0], words.before[1:])
    results = {}
    for name in (*SETS, *FILES):
        results[name] = results_of(development_notes(name, words.notes, words.seed))
    notes, changed = read_notes(words.held_out)
    results["held out"] = results_of(notes) | changed
    print(json.dumps(results, indent=1))
    about = (
        "Made-up notes; the rules were mended and the tagger was trained on all sets but the "
        f"held-out one. {told_before()}"
    )
    about += HELD_OUT.format(*results["held out"]["recall_interval"])
    about += "No claim about real notes."
    text = {"machine": machine(), "seed": words.seed, "about": about, "results": results}
    write_text(words.out, json.dumps(text, indent=2) + "\n")


if __name__ == "__main__":
    main()
