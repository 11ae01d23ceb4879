"""Lines in which {what must go} and <what must stay> are marked."""

import re

from seg_lib.data.deidentify import find_identifiers


def left_and_lost(line: str) -> tuple[list[str], list[str]]:
    """What should have gone and did not go whole, and what should have stayed and did not."""
    text, gone, kept = "", [], []
    for part in re.split(r"(\{[^}]*\}|<[^>]*>)", line.replace(r"\n", "\n")):
        value = part[1:-1] if part[:1] in ("{", "<") else part
        if value != part:
            (gone if part[0] == "{" else kept).append((len(text), len(text) + len(value)))
        text += value
    taken = bytearray(len(text))
    for start, end, _ in find_identifiers(text):
        taken[start:end] = b"\1" * (end - start)
    left = [
        text[a:b]
        for a, b in gone
        if not all(taken[i] or not text[i].isalnum() for i in range(a, b))
    ]
    return left, [text[a:b] for a, b in kept if any(taken[a:b])]


def lines_of(marked: str) -> list[str]:
    """One for each line; what begins with spaces goes on with the line above."""
    return re.sub(r"\n +", " ", marked.strip()).splitlines()


def measured(marked: str) -> tuple[float, float]:
    """The share of what must go that goes, and of what must stay that stays."""
    left, lost = zip(*map(left_and_lost, lines_of(marked)), strict=True)
    gone, kept = (len(re.findall(form, marked)) for form in (r"\{[^}]*\}", "<[^>]*>"))
    return 1 - sum(map(len, left)) / gone, 1 - sum(map(len, lost)) / kept
