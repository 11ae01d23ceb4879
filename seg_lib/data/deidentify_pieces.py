"""The pieces that the patterns of `seg_lib.data.deidentify_rules` are made of: a line each.

``<CAP>`` and the like stand for the pieces, in rules and in other pieces. A line that starts with
spaces goes on with the line above.
"""

import re

from seg_lib.data.deidentify_words import WORDS

PIECES_TEXT = r"""
MONTH   (?:(?i:<MON1>|<MON2>)|Mar(?:ch)?|May|MAR(?:CH)?|MAY)\b\.?
MON1    jan(?:uary)?|feb(?:ruary)?|apr(?:il)?|june?|july?
MON2    aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?
ANYMON  (?i:<MON1>|<MON2>|mar(?:ch)?|may)
NOTMAY  (?<!may)(?<!mar)(?<!march)
ALONE   (?:January|February|April|June|July|August|September|October|November|December)\b
ORDINAL \d{1,2}(?i:st|nd|rd|th)?
NTH     \d{1,2}(?i:st|nd|rd|th)
WORDDAY (?:(?:twenty|thirty)[ -])?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth
        |tenth|eleventh|twelfth|(?:thir|four|fif|six|seven|eigh|nine)teenth|twentieth|thirtieth)
UPTO    (?:\d{1,2}(?:st|nd|rd|th|\.)?(?: ?[-–/&] ?| to (?:the )?| and | or ))?
YEAR    (?:['’]\d\d|\d{4})\b
YEAR4   (?:19|20)\d\d
YY      (?:<YEAR>|\d\d\b(?! ?<UNITS>))
CLOCK   (?:(?:[Tt]|,?\s(?:at |AT |@ ?)?)(?:\d{1,2} ?[apAP][mM]\b|\d{1,2}[:.][0-5]\d(?::\d\d
        (?:\.\d{1,6})?)?(?: ?[apAP]\.?[mM]\b|Z|h\b
        |[+-]\d\d:?\d\d)?(?!\d|\.\d| ?<UNITS>)|[0-2]\d[0-5]\d ?[hH](?:rs)?\b))?
WORDYEAR (?:two thousand|twenty|nineteen)(?:[ -](?:and )?(?:twenty|thirty|forty|fifty|sixty|seventy
        |eighty|ninety|oh))?(?:[ -]?(?:and )?(?:one|two|three|four|five|six|seven|eight|nine|ten
        |eleven|twelve|\w{3,5}teen))?
DIGIT   (?:(?:double|treble|triple)[ -])?(?:oh|zero|nought|one|two|three|four|five|six|seven|eight
        |nine)
FOREIGN Januar[iy]?|Febru[ae]r[iy]?|Marz|Maart|Juni|Juli|August[ou]s?|Okto[bv]er|Dezember
        |Janvier|Fevrier|Mars|Avril|Juin|Juillet|Aout|Octobre|Decembre|Enero|Febrero|Marzo|Abril
        |Mayo|Junio|Julio|Agosto|Octubre|Noviembre|Diciembre|Gennaio|Febbraio|Aprile|Maggio|Giugno
        |Luglio|Settembre|Ottobre|Dicembre|Mai|Mei
NUMERIC (?:-\d{1,2}-| ?/ ?\d{1,2} ?/ ?|\. ?\d{1,2}\. ?)
DM      (?:<M0>/<D0>|<D0>/<M0>)(?![\w/]|[.,]\d)(?!<COUNT>)
D0      (?:0?[1-9]|[12]\d|3[01])
M0      (?:0?[1-9]|1[0-2])
DMSURE  (?:0[1-9]/\d\d|[123]\d/0[1-9]|(?:1[3-9]|2\d|3[01])/1[0-2]|1[12]/10|12/11)
UNITS   (?:mg|mcg|ml|mm|cm|Gy|ms|HU|mmHg|units?|years?|yrs?|months?|weeks?|days?|hours?|kg|%)
COUNT   [ -]?(?:<UNITS>|(?:[a-z]{3,12} )?(?:nodes?|cores?|samples?|cycles?|fractions?|cases)|lymph
        |of\b|LNs?\b|positive|involved|ago\b|lesions?|slices?|images?|points?|power|strength)
TAKEN   (?: ?(?:x ?\d|units?\b|IU\b|iu\b|tablets?\b|capsules?\b))
AGED    (?i:[ -]?(?:y\.o\.|(?:years?|yrs?|y/?o|y)\b))
CAP     [A-Z](?:\.|[A-Za-z'’-]{0,40})
PARTICLE (?:\b(?:van|von|vom|der|den|de|di|da|del|della|dos|das|du|des|la|le|las|los|al|el|bin|ibn
        |ten|ter|te|zu|zum|zur|af|av|op|mac)[ -])
SURNAME <PARTICLE>{0,3}(?:St\.? )?(?:[dloDLO]['’])?<CAP>
TITLE   (?:Drs?|DR|Mrs?|MRS?|Ms|MS|Miss|Prof|PROF)\b\.?
SURESTREET Street|Road|Lane|Avenue|Crescent|Boulevard|Cottages?|Farm|Lodge|Rectory|Manor
FLAT    (?:Flat|Apt|Apartment|Suite|Ste|Unit|Lot|Room|Tower|Building|Bldg|House|Level|Block|Floor
        |Shop)\.?
WHERE   (?:,? [A-Z]{2},? \d{5}(?:-\d{4})?)
DOOR    (?:No\. ?)?\d{1,5}(?:[-/–]\d{1,5})? ?[A-Za-z]?,?
FREE    (?:[^\n.;]|\.(?=[^ \n])|(?<=St)\.|(?<=Ave)\.|(?<=Apt)\.|(?<=Rd)\.|(?<=No)\.){3,90}
AREA    (?:\(\d{2,5}\)[ .-]?|0\d{1,4} [-/–] |\d{2,5}[ ./-])
EXT     (?:,? ?(?i:ext|x|extension)\.? ?\d{1,6})?
SEP     (?:[ ./-]|\)[ /-]?| ?\((?:0\) ?)?| [-/] )?
DIGITS  (?:[ -]?\d[\w-]{0,8}\b(?! ?<UNITS>)){0,5}
HOST    (?:[\w][\w-]{0,62}\.){1,6}
OF      (?:(?:de|du|des|di|del|dei|da|do|dos|das|la|le|los|las|el|l['’]|d['’])[ ]?){0,3}
ROAD    (?:rue|Rue|[Aa]venue|[Bb]oulevard|[Pp]lace|[Cc]hemin|[Ii]mpasse|[Qq]uai|[Aa]llee|Via|Viale
        |Vicolo|Piazza|Corso|[Cc]alle|Carrer|[Aa]venida|Paseo|Plaza|Rua|Travessa|Praca|Largo)
STREETTAIL (?:,? [NSEW]{1,2}\b)?(?:,? \d{1,2}(?:st|nd|rd|th) Floor)?(?:,? (?:<FLAT> #?
        |#)\d\w{0,5})?
ROADEND (?:strasse|str\.|weg|platz|allee|gasse|damm|ufer|graben|gracht|straat|laan|plein|kade|dijk
        |steeg|singel|gatan|gata|gade|gaten|vagen|vej|veien|steig|stieg|utca|stra.e)
CODE    (?!\d{1,4}[ -]?<UNITS>)(?:(?=[\w/-]{0,20}\d)[\w/-]{4,40}(?:\.\d{2,9}){0,2}<DIGITS>|\d\d
        (?:\.\d\d){2,4}|(?-i:[A-Z]{1,5}) (?=\d{4}|\d{2,3}[ -]\d\d)\d{2,}<DIGITS>|\d{2,4}
        (?: \d{2,4}\b){1,5})
"""


def lines(text: str) -> list[list[str]]:
    """The lines of a table, each cut after its first word."""
    return [line.split(maxsplit=1) for line in re.sub(r"\n +", "", text.strip()).splitlines()]


PIECES = dict(lines(PIECES_TEXT))
PIECES |= {name: "|".join(sorted(WORDS[name.lower()])) for name in ("STREETS", "TLDS", "STATES")}


def pattern(text: str, pieces: dict[str, str] = PIECES) -> re.Pattern:
    """A pattern with every ``<PIECE>`` replaced, and compiled."""
    while found := re.search(r"<([A-Z]+\d?)>", text):
        text = text.replace(found[0], pieces[found[1]])
    return re.compile(text)
