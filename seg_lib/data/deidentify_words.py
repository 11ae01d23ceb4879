"""Word lists of `seg_lib.data.deidentify`, and one letter for the kind of every word.

`deidentify_words.txt` holds the lists in sections; `deidentify_english.txt` holds common English
words without their endings (from SCOWL, whose notice stands at its top).
"""

import re
from functools import lru_cache
from pathlib import Path

_HERE = Path(__file__)
_SECTIONS = re.split(r"(?m)^\[(\w+)\]$", _HERE.with_suffix(".txt").read_text(encoding="utf-8"))
WORDS = {k: set(v.split()) for k, v in zip(_SECTIONS[1::2], _SECTIONS[2::2], strict=True)}
_STEMS = _HERE.with_name("deidentify_english.txt").read_text(encoding="utf-8")
ENGLISH = set(re.sub(r"(?m)^#.*$", "", _STEMS).split())
ENDINGS = re.compile(r"(?:'?s|es|ed|d|ing|ly|er|r|ness|al|y|or|able|ment|ion)$")
# Endings of words of medicine and of names of drugs; of words that are rarely names; beginnings.
MEDICAL, ADJECTIVE = tuple(WORDS["endings"]), tuple(WORDS["adjective_endings"])
BEGINNING = re.compile(f"(?:{'|'.join(WORDS['beginnings'])})-?")


def _stems(word: str) -> list[str]:
    short = ENDINGS.sub("", word)
    if short == word:
        return [word]
    shorter = short[:-1] if short[-2:-1] == short[-1:] else short  # stopped, stop
    stems = [word, short, short + "e", shorter, word.removesuffix("s"), ENDINGS.sub("", short)]
    return [*stems, re.sub("i(?:e[sd]|ly)$", "y", word)]


def _any(names: str) -> set[str]:
    return set().union(*(WORDS[name] for name in names.split()))


KNOWN = _any("clinical plain nouns general roles link drugs")
NO_NAMES = _any("clinical plain")  # what is no name even if the patient is called so


def english(word: str) -> bool:
    """Whether a word in lower case, or its stem, is common English or a word of medicine."""
    stems = [*_stems(word), *_stems(BEGINNING.sub("", word, count=1))]
    return word in KNOWN or any(stem in ENGLISH for stem in stems)


PARTS = {"s", *WORDS["beginnings"]}  # Meckel's, Post-Whipple
# MHz, but no MacLeod.
UNIT = re.compile(r"(?!(?:Ma?c|D[eiu]?|L[ae]|V[ao]n|Fitz|O|St)[A-Z])[A-Z]\w?[A-Z]\w*$|\w+[A-Z]$")
MARKS = {"s": "'", "t": "p", "'": "'", "’": "'", " ": "\n", "&": "o"}  # 's, 't, a gap
LOWER = {"p": "particles", "o": "link", "b": "prepositions", "r": "roles", "a": "human"}
LOWER |= {"v": "acts", "c": "nouns", "d": "general"}
CAPITAL = {"h": "institutions", "t": "titles", "T": "softtitles", "p": "particles", "H": "houses"}


@lru_cache(100_000)
def kind_of(word: str) -> str:
    """One letter for the kind of a word: see `seg_lib.data.deidentify_tagger`."""
    if any(c.isdigit() for c in word):
        return "n"
    if not word[0].isalpha():
        return word if word in ".,:(-/\n" else MARKS.get(word[-1], "_")
    return (_small if word[0].islower() else _capital)(word, word.lower())


def _small(word: str, low: str) -> str:
    kinds = {kind: low in WORDS[name] for kind, name in LOWER.items()}
    kinds |= {"c": kinds["c"] or low.endswith(MEDICAL) or low.removesuffix("s") in WORDS["nouns"]}
    kinds = {"X": re.match(r"[a-z]{1,3}['’-][A-Z]", word)} | kinds  # al-Sayed, d'Arcy
    kinds |= {"x": not all(map(english, low.split("-"))), " ": low.endswith("ed")}
    return next((kind for kind, holds in kinds.items() if holds), "l").replace(" ", "v")


def _capital(word: str, low: str) -> str:
    parts, upper, eponyms = re.split("['’-]", low), word.isupper(), WORDS["eponyms"]
    known = (
        upper
        and low in WORDS["abbreviations"]
        or low in KNOWN
        or all(len(p) == 1 or p in KNOWN for p in parts)
    )
    plain = all(english(p) for p in parts)
    first = parts[0] in WORDS["first"]
    kinds = [("i", len(word) == 1), ("R", word in ("MR", "MS"))]  # magnetic resonance, or a title
    kinds += [("g", low in WORDS["degrees"] and (upper or low == "phd"))]
    kinds += [(k, low in WORDS[name] and not (k == "p" and upper)) for k, name in CAPITAL.items()]
    kinds += [("q", "-" in low and low in eponyms)]
    given = not (known or plain) and 1 < len(parts[0]) < 5 and len(parts[-1]) < 5
    kinds += [("k", "-" in word and word.split("-")[-1].islower() and not given)]  # not Hye-jin
    kinds += [("X", "-" in word and given and not upper and parts[0] not in eponyms)]
    kinds += [("F", first and upper), ("w", first and (known or english(low))), ("f", first)]
    kinds += [("X", low in WORDS["last"] and not upper)]
    kinds += [("R", low in WORDS["roles"]), ("m", low in WORDS["places"])]
    kinds += [("k", known or (low.endswith(MEDICAL) and len(low) > 5))]
    kinds += [("q", all(p in eponyms or p in KNOWN or p in PARTS for p in parts))]
    kinds += [("E", plain and upper), ("e", plain), ("U", upper or UNIT.match(word))]
    kinds += [("m", len(low) > 6 and low.endswith(ADJECTIVE)), ("X", True)]
    return next(kind for kind, holds in kinds if holds)


MODAL_WORDS = "may will mark bill sue art drew rob hope grant page pat"
MODAL = set(MODAL_WORDS.split())


def kind_in_small_letters(word: str) -> str:
    """The kind of a word in a text without capitals: what is neither English nor medicine is X."""
    low = word.lower()
    if word[:1].isupper() or not word.isalpha() or len(word) < 2:
        return "i" if word.isalpha() and word not in "aio" else kind_of(word)
    if low in ("dr", "mr", "mrs", "prof"):
        return "t"
    if low in WORDS["first"] and low not in KNOWN | MODAL:
        return "w" if english(low) else "f"
    strange = len(low) > 3 and not (english(low) or low.endswith(MEDICAL))
    return "X" if low in WORDS["last"] or (strange and kind_of(word) in "xX") else kind_of(word)
