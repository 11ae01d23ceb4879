"""Train the tagger of `seg_lib.data.deidentify_tagger` on the development sets: its weights.

Softmax regression: Adagrad with an L1 penalty, in NumPy, so that most weights are zero. Beside each
note stands a changed copy, because the lists know the names of these authors and not of the next
one: half of the listed names become words of no list, and some copies are in capitals, in small
letters, or cut. A word is a feature only if two groups of authors use it.

    python benchmarks/train_tagger.py                          # the weights of the library
    python benchmarks/train_tagger.py --without "third author" --out FILE    # and measure on it

An author who is left out is still one on whose notes the rules and lists were mended: see
results/deidentification_before.json for rules that had not met the author either.
"""

import argparse
import random
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from pathlib import Path

import numpy as np
import scipy.sparse
from deidentification import FILES, development_notes, measure
from made_up_notes import SETS, Note

from seg_lib.data import deidentify_tagger as tagger
from seg_lib.data.deidentify import folded
from seg_lib.data.deidentify_rules import find_by_rules
from seg_lib.files import write_text

PHONES = {"PHONE": "ID", "EMAIL": "ID", "URL": "ID"}
NAMES = ("NAME", "HOSPITAL", "ADDRESS")
SYLLABLES = ["ba", "de", "fo", "gri", "hul", "jas", "kem", "lor", "mi", "nuk", "ob", "pra", "quen"]
SYLLABLES += ["ros", "si", "tav", "ul", "vor", "wex", "ya", "zan"]
OF_A_WORD = re.compile(r"(?:-?\d|[<>])w=(.+?)(?:=.)?$")
CASED, HIDDEN, CUT = 0.1, 0.5, 0.3
NOTES, RARE, EPOCHS, BATCH, RATE, PENALTY = 200, 10, 6, 512, 0.15, 1e-5


def training_sets(without: str = "") -> dict[str, list[Note]]:
    """The notes by group of authors; the two sets from templates are one group."""
    drawn = [n for name in SETS if name != without for n in development_notes(name, NOTES, 0)]
    read = {name: development_notes(name, 0, 0) for name in FILES if name != without}
    return {"templates": drawn} | read


def changed(note: Note, rng: random.Random) -> Note:
    """A copy with half of the listed names unknown, or in other letters, or only a piece of it."""
    text, letters = list(note.text), rng.random()
    tokens, kinds, _ = tagger.read(folded(note.text), ())
    strange: dict[str, str] = {}
    for token, kind in zip(tokens, kinds, strict=True):
        inside = any(s <= token.start() < e and k in NAMES for s, e, k in note.spans)
        if inside and kind in "fFwmq":
            new = "".join(rng.choices(SYLLABLES, k=len(token[0])))[: len(token[0])]
            new = new.upper() if token[0].isupper() else new.capitalize()
            new = new if rng.random() < HIDDEN else token[0]
            text[token.start() : token.end()] = strange.setdefault(token[0], new)
    words = "".join(text)
    words = words.upper() if letters < CASED else words.lower() if letters < 2 * CASED else words
    copy = note._replace(text=words if len(words) == len(note.text) else note.text)
    return piece(copy, rng) if rng.random() < CUT else copy


def piece(note: Note, rng: random.Random) -> Note:
    """What lies between two random words: a note may begin and end anywhere."""
    starts = [token.start() for token in tagger.TOKEN.finditer(note.text)]
    starts = [i for i in starts if not any(s < i < e for s, e, _ in note.spans)]
    first, last = sorted(rng.choices(starts, k=2))
    spans = [(s - first, e - first, k) for s, e, k in note.spans if first <= s and e <= last]
    return note._replace(text=note.text[first:last].rstrip(), spans=spans)


def labels(note: Note, tokens: list) -> list[int]:
    """The class of each token."""
    classes = [0] * len(tokens)
    starts, ends = [t.start() for t in tokens], [t.end() for t in tokens]
    for start, end, kind in note.spans:
        for i in range(bisect_right(ends, start), bisect_left(starts, end)):
            if not tokens[i][0].isspace():
                classes[i] = tagger.CLASSES.index(PHONES.get(kind, kind))
    return classes


def features(text: str) -> tuple[list, list[list[str]]]:
    """The tokens of a text, and the names of the features of each."""
    text = folded(text)
    tokens, kinds, drugs = tagger.read(text, find_by_rules(text))
    words = [token[0] for token in tokens]
    names = [list(filter(None, of)) for of in tagger.features_of_place(kinds, words, drugs)]
    around = f"^^{kinds}^^"
    for i, (word, kind) in enumerate(zip(words, kinds, strict=True)):
        names[i] += tagger.features_of_kinds(around[i : i + 5])
        for place in tagger.PLACES:
            if 0 <= i - place < len(words):
                names[i - place] += tagger.features_of_word(word, kind, place)
    return tokens, names


def shared_words(sets: dict[str, list[Note]]) -> set[str]:
    """Words that two groups of authors use, and four notes."""
    used = [Counter() for _ in sets]
    for counter, notes in zip(used, sets.values(), strict=True):
        for note in notes:
            counter.update({token[0].lower() for token in tagger.TOKEN.finditer(note.text)})
    every = sum(used, Counter())
    return {w for w, n in every.items() if n > 3 and sum(w in counter for counter in used) > 1}


def examples(sets: dict[str, list[Note]], seed: int = 0) -> tuple:
    """(tokens, features) of ones, the class of each token, and the names of the features."""
    rng, shared, column = random.Random(seed), shared_words(sets), {}
    columns, lengths, classes = [], [], []
    for note in (note for notes in sets.values() for note in notes):
        for copy in (note, changed(note, rng)):
            tokens, names = features(copy.text)
            classes += labels(copy, tokens)
            for of in names:
                of = [n for n in of if not (word := OF_A_WORD.match(n)) or word[1] in shared]
                columns += [column.setdefault(name, len(column)) for name in of]
                lengths.append(len(of))
    ends = np.concatenate([[0], np.cumsum(lengths)])
    shape = (len(lengths), len(column))
    x = scipy.sparse.csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape)
    often = np.flatnonzero(np.bincount(x.indices, minlength=len(column)) >= RARE)
    names = list(column)
    return x[:, often], np.array(classes), [names[i] for i in often]


def fit(x: scipy.sparse.csr_matrix, classes: np.ndarray, seed: int = 0) -> np.ndarray:
    """(features, classes): the weights, in hundredths."""
    weights = np.zeros((x.shape[1], len(tagger.CLASSES)), np.float32)
    squares = np.full_like(weights, 1e-8)
    truth = np.eye(weights.shape[1], dtype=np.float32)[classes]
    rng = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        order = rng.permutation(len(classes))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            scores = x[rows] @ weights
            odds = np.exp(scores - scores.max(axis=1, keepdims=True))
            error = odds / odds.sum(axis=1, keepdims=True) - truth[rows]
            slope = x[rows].T @ error / len(rows)
            squares += slope**2
            step = RATE / np.sqrt(squares)
            weights -= step * slope
            weights = np.sign(weights) * np.maximum(np.abs(weights) - step * PENALTY, 0)
    return np.rint(100 * weights).astype(int)


def write_weights(weights: np.ndarray, names: list[str], path: Path) -> None:
    """A line for each feature that has a weight."""
    lines = [f"# In hundredths: {' '.join(tagger.CLASSES)}. Made by benchmarks/train_tagger.py."]
    for name, row in sorted(zip(names, weights.tolist(), strict=True)):
        lines += [f"{name} {' '.join(map(str, row))}"] if any(row) else []
    write_text(path, "\n".join(lines) + "\n")


def main() -> None:
    """Train on every development set, or on all but one, and measure that one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--without", default="", choices=["", *FILES], help="the set left out")
    parser.add_argument("--out", type=Path, default=tagger.WEIGHTS)
    words = parser.parse_args()
    if words.without and words.out == tagger.WEIGHTS:
        parser.error("--without needs --out: the weights of the library know every set")
    x, classes, names = examples(training_sets(words.without))
    weights = fit(x, classes)
    write_weights(weights, names, words.out)
    print(f"{x.shape[0]} tokens, {x.shape[1]} features, {np.count_nonzero(weights)} weights")
    if words.without:
        tagger.WEIGHTS = words.out
        print(measure(development_notes(words.without, 0, 0)))


if __name__ == "__main__":
    main()
