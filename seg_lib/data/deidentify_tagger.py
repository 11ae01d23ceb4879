"""Names, houses and places: a linear tagger that weighs a word and the words around it.

    Seen by Okoro at Ashford General.      features of "Okoro": unknown, with a capital, after "by",
    O    O  NAME  O  HOSPITAL HOSPITAL     before "at" …: a weight each and class, summed, softmax

A text becomes a string with a letter for each word, its kind; a digit is what a rule has found:

    X unknown, U unknown in capitals       e E English word with a capital, in capitals
    f F first name, in capitals            w first name that is a word; m a word of Latin form
    k word of medicine or of notes         q eponym
    t T title (sure, soft), g degree       h H hospital, other house
    p particle, o "of the", b "in"         r R role or what brings a name ("by"), with a capital
    c d noun that follows an eponym        v a "is", what people do; x l other word, unknown, known
    i one capital letter, n number         ' an 's; | newline; . , : ( - / themselves, _ the rest

The weights lie in `deidentify_tagger.txt`, in hundredths; `benchmarks/train_tagger.py` makes them.
"""

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np

from seg_lib.data.deidentify_words import WORDS, kind_in_small_letters, kind_of

Span = tuple[int, int, str]
CLASSES = ("O", "NAME", "HOSPITAL", "ADDRESS", "DATE", "ID", "AGE")
RULES = {"DATE": "1", "ID": "2", "PHONE": "3", "EMAIL": "4", "URL": "5"}
RULES |= {"ADDRESS": "6", "NAME": "7", "AGE": "8"}
# Taken: what is an identifier with the higher probability, and beside it what is with the lower.
NAMES, NUMBERS, OLD_AGES, COMMON = (0.3, 0.1), (0.7, 0.4), (0.5, 0.4), (0.5, 0.2)
WEIGHTS = Path(__file__).with_suffix(".txt")
PLACES = range(-3, 4)
COMMON_KINDS = "lvabcdk"  # of English and of medicine
OLD = {"year-old", "yr-old", "year", "years", "yrs", "old"}  # what stands behind an age
LINE = [f"line={place}" for place in range(4)]

TOKEN = re.compile(r"['’][st]\b|[^\W\d_]+(?:['’-](?!s\b)[^\W\d_]+)*(?!\w)|\w+|[^\w ]|  +")
PHRASES = re.compile(rf"(?i)\b(?:{'|'.join(WORDS['phrases']).replace('_', '[ -]')})\b")
DRUGS = re.compile(
    r"(?i)\b(?:(?:medications?[^:\n.]{0,15}:|(?:pre)?meds\b|drugs?:|allerg\w+(?: to|:))"
    r"[^.\n]{1,150}|(?:takes|taking|treated with|prescribed|(?:re)?started|commenced"
    r"|(?:switched|changed) to|injections? of)[^.;\n]{1,60})"
)
# Hartmann's procedure, Codman triangle, but not behind a title: words of medicine.
EPONYM = re.compile(r"(?<![tTgi])(?<![tTg]\.)[XfwmeUq]{1,2}(?='c|k?[cd])")
OLDEST = re.compile(r"(?i)(?:9\d|1[01]\d)[fm]?|ninet.*|hundred|.*narians?")
LISTS = defaultdict(list)
for _name, _words in WORDS.items():
    for _word in _words:
        LISTS[_word].append(f"in={_name}")


def find_by_tagger(text: str, found: Iterable[Span]) -> Iterator[Span]:
    """(start, end, type) of what the tagger finds; ``found`` is what the rules have found."""
    tokens, kinds, drugs = read(text, found)
    if not tokens:
        return
    words = [token[0] for token in tokens]
    chances = probabilities(words, kinds, drugs)
    best = 1 + chances[:, 1:].argmax(axis=1)
    limits = np.array([_limits(*of) for of in zip(words, kinds, drugs, strict=True)])
    taken = _taken(1 - chances[:, 0], limits)
    for run, members in groupby(range(len(words)), key=taken.__getitem__):
        inside = [i for i in members if words[i][-1].isalnum()] if run else []
        for kind, same in groupby(inside, key=best.__getitem__):
            group = list(same)
            if CLASSES[kind] != "AGE" or any(OLDEST.fullmatch(words[i]) for i in group):
                yield tokens[group[0]].start(), tokens[group[-1]].end(), CLASSES[kind]


def read(text: str, found: Iterable[Span]) -> tuple[list[re.Match], str, list[bool]]:
    """The tokens of a text, a letter for the kind of each, and whether it is among drugs."""
    tokens = list(TOKEN.finditer(text))
    starts, ends = [t.start() for t in tokens], [t.end() for t in tokens]
    small = 100 * sum(map(str.isupper, text)) < len(text)
    kinds = [(kind_in_small_letters if small else kind_of)(token[0]) for token in tokens]
    spans = [(*match.span(), "k") for match in PHRASES.finditer(text)]
    spans += [(start, end, RULES[kind]) for start, end, kind in sorted(found)]
    for start, end, kind in spans:
        for i in range(bisect_right(ends, start), bisect_left(starts, end)):
            kinds[i] = kind
    drugs = [False] * len(tokens)
    for match in DRUGS.finditer(text):
        for i in range(bisect_right(ends, match.start()), bisect_left(starts, match.end())):
            drugs[i] = True
    letters = EPONYM.sub(lambda eponym: "k" * len(eponym[0]), "".join(kinds))
    return tokens, letters.replace("\n", "|"), drugs


@lru_cache(50_000)
def shape(word: str) -> str:
    """Xx of "Okoro", dd of "17": capitals, small letters, digits, at most ten signs."""
    signs = "".join("X" if c.isupper() else "x" if c.islower() else c for c in word)
    return re.sub("X{3,}", "XXX", re.sub("x{2,}", "xx", re.sub(r"\d", "d", signs)))[:10]


def features_of_word(word: str, kind: str, place: int) -> list[str]:
    """Names of the features that a word gives to the one that stands ``place`` words before it."""
    low = word.lower()
    names = [f"k={kind}"]
    if abs(place) < 3 and not word.isspace():
        names += [f"s={shape(word)}", f"w={low}", *LISTS.get(low, ())]
    if abs(place) < 2 and word[0].isalpha():
        names += [f"end={low[-3:]}", f"end={low[-2:]}"]
    if place == 0 and word[0].isalpha():
        names += [f"begin={low[:3]}", f"length={min(len(low), 12)}"]
    if place == 0 and OLDEST.fullmatch(word):
        names.append("oldest")
    return [f"{place}{name}" for name in names]


def features_of_kinds(five: str) -> list[str]:
    """Names of what five neighbours are together; the word itself is the third."""
    a, b, kind, d, e = five
    return [f"<{b}{kind}", f">{kind}{d}", f"={b}{kind}{d}", f"<{a}{b}{kind}", f">{kind}{d}{e}"]


def features_of_place(kinds: str, words: list[str], drugs: list[bool]) -> Iterator[list[str]]:
    """For each word, names of the words beside its kind, and of where in the text it stands."""
    beside = ["^", *("|" if word.isspace() else word.lower() for word in words), "^"]
    small, line = "" if any(map(str.isupper, words)) else "small", 0
    for kind, before, after, drug in zip(kinds, beside, beside[2:], drugs, strict=False):
        left, right = f"<w={before}={kind}", f">w={after}={kind}"
        yield [left, right, LINE[line], small, "drugs" if drug else "", "bias"]
        line = 0 if kind == "|" else min(line + 1, 3)


def probabilities(words: list[str], kinds: str, drugs: list[bool]) -> np.ndarray:
    """(words, classes): the probability of each class."""
    number, weights = _weights()
    places = features_of_place(kinds, words, drugs)
    scores = weights[[[number.get(name, -1) for name in names] for names in places]].sum(axis=1)
    around = f"^^{kinds}^^"
    scores += np.concatenate([_together(around[i : i + 5]) for i in range(len(words))])
    given = np.concatenate([_given(word, kind) for word, kind in zip(words, kinds, strict=True)])
    padded = np.zeros((len(words) + 6, len(CLASSES)), np.float32)
    for step in range(len(PLACES)):
        padded[6 - step : 6 - step + len(words)] += given[step :: len(PLACES)]
    scores += padded[3:-3]
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


@lru_cache(50_000)
def _together(five: str) -> np.ndarray:
    number, weights = _weights()
    return weights[[number.get(name, -1) for name in features_of_kinds(five)]].sum(axis=0)[None]


@lru_cache(50_000)
def _given(word: str, kind: str) -> np.ndarray:
    """(places, classes): what a word adds to the scores of those around it, and to its own."""
    number, weights = _weights()
    rows = [[number.get(n, -1) for n in features_of_word(word, kind, p)] for p in PLACES]
    return np.stack([weights[row].sum(axis=0) for row in rows])


@lru_cache(1)
def _weights() -> tuple[dict[str, int], np.ndarray]:
    """Rows of features by name, and the weights of the classes; the last row is zero."""
    text = WEIGHTS.read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if not line.startswith("# ")]
    weights = np.array([line[1:] for line in lines] + [[0] * len(CLASSES)], np.float32) / 100
    return {line[0]: row for row, line in enumerate(lines)}, weights


def _limits(word: str, kind: str, drug: bool) -> tuple[float, float]:
    """What probability makes a word sure, and what makes it likely beside a sure one."""
    if word.isspace() or word.lower() in OLD:
        return 2, 2
    if not word[-1].isalnum():
        return 2, NAMES[1]
    if not word.isalpha() and any(map(str.isdigit, word)):
        return OLD_AGES if OLDEST.fullmatch(word) else NUMBERS
    return COMMON if drug or kind in COMMON_KINDS else NAMES


def _taken(chance: np.ndarray, limits: np.ndarray) -> list[bool]:
    """Which words are taken out: the sure ones, and what stands beside them and is likely."""
    sure, likely = (chance[:, None] > limits).T
    run = np.cumsum(~likely)
    return (likely & np.isin(run, run[sure])).tolist()
