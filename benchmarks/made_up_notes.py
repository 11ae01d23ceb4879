"""Made-up notes with marked identifiers: no such person, house or number exists.

Two sets, by two authors: ``development`` and ``second author``, with other templates, names and
spellings. The second had not seen the rules, which found 0.951 of its identifiers; then the rules
were rewritten beside both sets, so that neither says how they do on other texts. For that, measure
notes that the rules have not met: ``deidentification.py --held-out FILE``.
"""

import json
import random
import re
from pathlib import Path
from typing import NamedTuple

from seg_lib.data.deidentify import MONTHS


class Note(NamedTuple):
    """A note, its identifiers (start, end, type), and its clinical terms (start, end)."""

    text: str
    spans: list[tuple[int, int, str]]
    terms: list[tuple[int, int]]
    known: list[str]


# By name, then by set; in a template {KIND} is an identifier, <term> a term that must stay.
POOLS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
SETS = {"development": "development", "second author": "held out"}  # the name of a set in the file


def made_up_notes(which: str, n_notes: int, seed: int = 0) -> list[Note]:
    """``which`` is a name of `SETS`; the same seed gives the same notes."""
    rng = random.Random(f"{SETS[which]}:{seed}")
    return [_note(SETS[which], rng) for _ in range(n_notes)]


def _note(which: str, rng: random.Random) -> Note:
    template = rng.choice(POOLS["TEMPLATES"][which])
    text, spans, terms, known = "", [], [], []
    for part in re.split(r"(\{[A-Z]+\}|<[^>]+>)", template):
        if part.startswith("{"):
            kind, value = _identifier(part[1:-1], which, rng)
            label, _, value = value.rpartition("|")  # "MRN" names nobody, its number does
            text += label
            known.append(value)
            spans.append((len(text), len(text) + len(value), kind))
            text += value
        elif part.startswith("<"):
            terms.append((len(text), len(text) + len(part) - 2))
            text += part[1:-1]
        else:
            text += part
    # Ages of 89 and below are no identifiers.
    spans = [s for s in spans if s[2] != "AGE" or int(text[s[0] : s[1]]) > 89]
    return Note(text, spans, terms, known)


def _identifier(kind: str, which: str, rng: random.Random) -> tuple[str, str]:
    first, last = rng.choice(POOLS["FIRST"][which]), rng.choice(POOLS["LAST"][which])
    facts = {"last": last, "city": rng.choice(POOLS["CITY"][which]), "h": rng.randint(2, 240)}
    facts |= {"f": first.lower(), "l": re.sub(r"\W", "", last.lower())}
    facts |= {f"n{k}": f"{rng.randint(10 ** (k - 1), 10**k - 1)}" for k in (2, 3, 5, 6, 7, 8)}
    facts |= {
        "a": rng.randint(201, 989),
        "b": rng.randint(201, 989),
        "z": rng.randint(10001, 99950),
    }
    facts |= {"c": rng.randint(1000, 9999), "c2": rng.randint(1000, 9999)}
    month = rng.choice(MONTHS)
    facts |= {"m": MONTHS.index(month) + 1, "month": month, "mon": month[:3]}
    facts |= {"d": rng.randint(4, 19), "y": (year := rng.randint(1998, 2024)), "yy": year % 100}
    pools = {"DATE": "DATES", "PHONE": "PHONES", "ID": "IDS", "ADDRESS": "STREETS"}
    pools |= {"EMAIL": "MAILS", "URL": "URLS", "HOSPITAL": "HOUSES"}
    if kind in pools:
        return kind, rng.choice(POOLS[pools[kind]][which]).format(**facts)
    forms = {"NAME": f"{first} {last}", "LAST": last, "CITY": facts["city"]}
    forms["AGE"] = str(rng.choice([rng.randint(40, 89), rng.randint(90, 104)]))
    return {"LAST": "NAME", "CITY": "ADDRESS"}.get(kind, kind), forms[kind]
