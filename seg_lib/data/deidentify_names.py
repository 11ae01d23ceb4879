"""Names, houses and places: patterns over one letter a word.

A text becomes a string with a letter for each word, and patterns read that string:

    "Seen by Dr. Okoro at Ashford General Hospital."   ->   "elt.XoXkh."

    X unknown, U unknown in capitals       e E English word with a capital, in capitals
    f F first name, in capitals            w first name that is a word; m a word of Latin form
    k word of medicine or of notes         q eponym
    t T title (sure, soft), g degree       h H hospital, other house
    p particle, o "of the", b "in"         r R role or what brings a name ("by"), with a capital
    c d noun that follows an eponym        v a "is", what people do; x l other word, unknown, known
    i one capital letter, n number         ' an 's; newline . , : ( - / themselves, _ the rest
"""

import re
from collections.abc import Iterator

from seg_lib.data.deidentify_words import WORDS, kind_in_small_letters, kind_of

TOKEN = re.compile(r"['’][st]\b|[^\W\d_]+(?:['’-](?!s\b)[^\W\d_]+)*(?!\w)|\w+|[^\w ]|  +")
PIECES = {
    "I": r"(?:(?:i\.?-?){1,3})",  # initials
    "P": r"(?:p\.?-?){0,3}",  # van der
    "LAST": r"(?:,?(?:<I>(?=[,_(\nlovrcab'ktTRn-]|$)|<I>?<P>[XfFwUm]|(?<=,)[eq](?=[,._o\n]))"
    r"|<I>?(?:<P>[eEq]|p{1,3}k)){0,4}",  # what goes on
    "NAME": r"<I>?(?:<P>[XfFwUmeq]|p{1,3}k)<LAST>",
    "LONE": r"<I>?(?:(?:<P>[XfFwUm]|p{1,3}k)<LAST>|<P>[eE](?:<I>|<P>[XfFwUme]|(?=[av]))<LAST>)",
}


def _pattern(text: str) -> re.Pattern:
    while found := re.search(r"<([A-Z]+)>", text):
        text = text.replace(found[0], PIECES[found[1]])
    return re.compile(text)


# Capitalised words with "of the" between: a house, if one of them says so and one is a name.
HOUSE = _pattern(r"(?:(?:[piT]\.?|[XfFwUmEeqhHk])'?o{0,3}){1,9}(?:p?[XfFwUmEeqhHk])")
# Sure signs; the group, if there is one, is the name. First titles, then what stands beside a name.
TITLED = [
    _pattern(r"(?<!n)[tT]\.?((?:[fFwX]|i\.?){0,2}k)(?=[(,.:'_\n]|$)"),
    _pattern(r"(?:[fFw](?:i\.?)?|(?<=[Rr:])i\.?)k(?=[,.(\n_'r]|$)"),
    _pattern(r"t[.:]?(?:[tT]\.?|[xl]\.(?=[tTXfFwUmeixl]))*(<I>?<P>[XfFwUmeEqkRHThx]<LAST>)"),
    _pattern(r"(?<!n)T\.?(<NAME>)"),
    _pattern(r"<NAME>(?=,?g)"),
    _pattern(r"g\.?(<NAME>)"),
]
SURE = [
    _pattern(r"[Rr][:(]\n?(<LONE>|<P>[XeEq](?=[,_\nn/(.]|$))"),
    _pattern(r"[Rr](<LONE>|q(?=[.,_\nabv]|$))"),
    _pattern(r"(?<![^\n:,_(RrotT*])(?:i\.){1,3}<P>(?:[XfwUe]|q(?!'?[cd]))<LAST>"),
    _pattern(r"(?:i\.){2,3}<P>[XfwUeqk]<LAST>|i\.<P>[Xf](?!'?[cd])<LAST>"),
    _pattern(r"(?:<P>m?[XUEewq],[fFwX]|(?<![^\n])U,[UFE]|Uf|F<I>?<P>U|[fweXU](?=\(r))<LAST>"),
    _pattern(r"[fw]<I>?(?:<P>[XfFwUmeEq]|p{1,3}k)<LAST>"),
]
# Words of medicine that look like names: Hartmann's procedure, Codman triangle; Creon 25,000, and
# a strange word that begins a sentence, if nobody does anything in it: Seminal vesicles.
EPONYM = _pattern(r"(?<![*i])[XfwmeU]{1,2}(?:'c|k?[cd])")
TERM = _pattern(r"(?<![fwi*])(?<!i\.)X{1,2}(?=n(?!-?n))|(?<![^.:\n])X(?=[cdk]|(?<=[.\n]X):)")
# The rest: unknown words anywhere, English words with a capital inside a sentence.
INSIDE = "(?<=[lovrcdxab])"
WEAK = _pattern(
    r"(?:(?<=[lovrcdxab,(])e{1,2})?[fwUm]?<I>?<P>X<LAST>(?:'(?![lcdekqva]))?|<I>?<P>f<LAST>"
    rf"|{INSIDE}[wem]{{1,3}}(?![:nhHk'])|(?<![^\n.])(?:[wU](?=[va])|[eqm](?=a))"
)
# In a text without capitals: first names, and unknown words beside what brings a name or a place.
SMALL = _pattern(
    r"<I>?f<LAST>|w(?:[XfUm]<LAST>|(?=[('a]))|(?<=[rbt])<I>?X<LAST>|(?<=\n)X<LAST>(?=[av])|X{1,3}(?=[('a])"
)
PHRASES = re.compile(rf"(?i)\b(?:{'|'.join(WORDS['phrases']).replace('_', '[ -]')})\b")
DRUGS = re.compile(
    r"(?i)\b(?:(?:medications?[^:\n.]{0,15}:|(?:pre)?meds\b|drugs?:|allerg\w+(?: to|:))"
    r"[^.\n]{1,150}|(?:takes|taking|treated with|prescribed|(?:re)?started|commenced"
    r"|(?:switched|changed) to|injections? of)[^.;\n]{1,60})"
)


def _is_house(kinds: str, before: str) -> bool:
    """Whether one of the words says house, and one is no word of medicine."""
    named = "[XfFwUmqipe]" if "h" in kinds or before not in "." else "[XfFwUmqip]"
    return bool(re.search("[hH]", kinds) and re.search(named, kinds))


def find_names(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, type) of names, hospitals and places; spans may overlap."""
    tokens = list(TOKEN.finditer(text))
    small = 100 * sum(map(str.isupper, text)) < len(text)
    letter = kind_in_small_letters if small else kind_of
    kinds = "".join([letter(token[0]) for token in tokens])
    drugs = [match.span() for match in DRUGS.finditer(text)]

    def spans(pattern: re.Pattern, kind: str = "NAME") -> Iterator[tuple[int, int, str]]:
        nonlocal kinds
        for match in pattern.finditer(kinds):
            start, end = match.span(pattern.groups)
            first, last = tokens[start].start(), tokens[end - 1].end()
            drug = pattern is WEAK and any(a <= first < b for a, b in drugs)
            if not drug and (pattern is not HOUSE or _is_house(match[0], kinds[:start][-1:])):
                kinds = kinds[:start] + "*" * (end - start) + kinds[end:]
                yield first, last, kind

    for match in PHRASES.finditer(text):
        inside = [match.start() <= token.start() < match.end() for token in tokens]
        kinds = "".join("k" if i else k for i, k in zip(inside, kinds, strict=True))
    yield from spans(HOUSE, "HOSPITAL")
    for pattern in TITLED:
        yield from spans(pattern)
    kinds = EPONYM.sub(lambda found: "k" * len(found[0]), kinds)
    for pattern in SURE:
        yield from spans(pattern)
    kinds = TERM.sub(lambda found: "k" * len(found[0]), kinds)
    yield from spans(SMALL if small else WEAK)
