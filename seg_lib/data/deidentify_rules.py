r"""The rules of `seg_lib.data.deidentify`: a line each: type, where to try, pattern.

Where: ``9`` at a number (``+``: with the sign or bracket before it), ``A`` at a capitalised word
(``U``: in capitals), ``~x`` anywhere if the text has the pattern x, or the name of a list of words
``at_...``: right after one of them. ``<CAP>`` and the like stand for the pieces; a line that starts
with spaces goes on with the line above. A pattern with a group finds the group. All repetitions are
bounded, so that no text can keep a rule busy for long.
"""

import re
from collections import defaultdict
from collections.abc import Iterator

from seg_lib.data.deidentify_pieces import lines, pattern
from seg_lib.data.deidentify_words import WORDS

RULES_TEXT = r"""
EMAIL   ~@ \b(?:mailto:)?[\w.+-]{1,64}(?:@[\w-]{1,64}|\s?@\s?[\w-]{1,64}\.[\w-]{1,64})
        (?:\.[\w-]{1,64}){0,5}|\b[\w.+-]{1,64}@\[[\da-f.:]{3,40}\]|(?<![\w.])@\w{2,40}
EMAIL   ~(?i:[\[(\s]at[])\s].{1,60}?\b(?:\.|dot)\b) (?i)\b[\w.+-]{1,64}
        (?: ?[\[(] ?at ?[\])] ?[\w-]{1,64}(?: ?(?:\.|[\[(]\s?dot\s?[\])]) ?\w{1,64}){1,5}
        | at [\w-]{1,64}(?: dot \w{2,64}){1,5})
URL     ~//|\\\\|:\\ (?i)(?:\b[a-z][a-z\d+-]{1,9}://|(?<!\w)//(?=\w)|\\\\(?=\w)|(?
        <!\w)[a-z]:\\)[^\s,;]{1,300}
URL     ~/ (?<!\w)/(?:home|[Uu]sers|mnt|media|data|var|srv|export|tmp)/[^\s,;]{1,300}
URL     ~[\w-]\.[a-zA-Z] (?i)(?<![\w@])<HOST>(?:<TLDS>)\b(?:\:\d{1,5})?(?:[/?#][^\s,;]{0,300})?
URL     ~[\w-]\.[a-z] (?<![\w@])(?:[\w-]{1,63}\.){1,6}[a-z]{2,24}(?:\:\d{1,5})?/[^\s,;]{1,300}
URL     ~[a-z-]\.[a-z] (?<![\w@])(?=[\w.-]{0,40}[a-z]{3})(?:[a-z][a-z\d-]{1,62}\.){2,6}[a-z]{2,24}
        \b
URL     ~\.[a-z]{3} \b[\w-]{1,60}\.(?:dcm|nii|nrrd|jpe?g|png|pdf|docx?|xlsx?|zip|mha|dicom|csv)\b
URL     9 \d{1,3}(?:\.\d{1,3}){3}\b(?:[:/]\d{1,5}\b)?
URL     ~[:-]\w\w[:-]\w\w[:-]|\w:\w*: (?i)(?<![\w:.])(?:[\da-f]{1,4}[:-]){5,7}[\da-f]{1,4}(?![\w:])
URL     ~:: (?i)(?<![\w:.])(?:[\da-f]{1,4}:){0,6}:(?:[\da-f]{1,4}:){0,6}[\da-f]{1,4}(?:/\d{1,3})?
        (?![\w:])
URL     LOGIN (?i)(?: ?(?:name|id|handle))?(?:\s?[:=]\s?| (?=\S{0,20}[\d._]\w))([\w.-]{3,40})
DATE    9 \d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:\b|(?=[Tt]\d))<CLOCK>|<YEAR4>\. \d{1,2}\. \d{1,2}\b\.?
DATE    9 \d{1,2}\.(?i:[ivx]{1,4})\.(?:<YEAR4>|\d\d\b)|\d{1,2} [IVX]{1,4} <YEAR4>|<D0>\.[IVX]{1,4}\.
DATE    9 <D0>/<M0>-(?:0\d|1\d|2[0-6]|<YEAR4>)\b
DATE    9 <D0> \. <M0> \. (?:<YEAR4>|\d\d\b)|<D0> / <M0> / (?:<YEAR4>|\d\d\b)
DATE    9 <NTH> day of <ANYMON>(?:,? <YEAR>)?
DATE    9 <D0>\.?(?: de)? (?i:<FOREIGN>)\b(?:\.?(?: de)? <YEAR>)?
DATE    9 <ORDINAL>(?: of)? (?i:ja|fe|ma|ap|ju|au|ag|se|oc|no|de)[a-z]{2,8},? <YEAR4>\b
DATE    ~(?i:[jfmasond][a-z]{3,9}.\d) \b(?i:ja|fe|ma|ap|ju|au|ag|se|oc|no|de)[a-z]{2,8}[ ]<ORDINAL>
        ,? <YEAR4>\b
DATE    ~(?i:thousand|twenty|nineteen) (?i)\b(?:(?:the )?<WORDDAY>(?: of)? )?<ANYMON>(?:,? (?:the )?
        <WORDDAY>)?(?: of)?,? <WORDYEAR>\b
DATE    9 (?:\d{1,2}(?:[./]\d{1,2})?\.? ?[-–] ?)?\d{1,2}<NUMERIC>(?:\d{4}|\d{2})\b(?! ?<UNITS>)
        <CLOCK>
DATE    9 (?:0[1-9]|[12]\d|3[01]) (?:0[1-9]|1[0-2]) <YEAR4>\b|\d{1,2}[./-] ?[IVX]{1,4}[./-] ?
        <YEAR4>\b
DATE    9 <UPTO><ORDINAL>(?: of)?[ ./-]{0,3}<MONTH>(?:[,./]?[ -]{0,2}<YY>)?<CLOCK>
DATE    9 <ORDINAL>(?: of)?[ .-]{0,3}<ANYMON>\b\.?,?[ -]{0,2}<YY>|\d{1,2}<ANYMON>(?:\d{4}|\d\d)\b
DATE    9 <YEAR4>[ ,./-]{1,2}<MONTH>(?:[ .-]{0,2}\d{1,2}\b)?
DATE    9 <NTH>(?: of)? (?i:may|march)\b|<NTH> (?i:inst|ult|prox)\b\.?|<NTH> of (?:this|last
        |next) month
DATE    9 <YEAR4>(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[T_]?\d{4,6})?\b
DATE    9 <M0>/<YEAR4>\b|(?:0[1-9]|1[0-2])[.-]<YEAR4>\b|<YEAR4>-(?:0[1-9]|1[0-2])\b|[1-4]Q[ /-]?
        <YEAR4>\b
DATE    9 (?<![\w/.,-])(?<![Ii]mage )(?<![Ss]lice )(?<![Ss]eries )(?=<DMSURE>\b)<DM>|(?<![^\n])<DM>
        (?=[:,\n]|$)|(?<=, )<DM>(?=[\n)]|$)
DATE    THE (?i) (?:<UPTO><ORDINAL>|<WORDDAY>)(?: of)? <ANYMON>\b(?:,? <YEAR>)?| <NTH> (?:inst|ult
        |prox)\b| <NTH> of (?:this|last|next) month
DATE    NUMBERS (?i)(?:[ -]<WORDDAY>)?(?: of <ANYMON>|(?-i: <MONTH>))\b(?:,? <YEAR>)?
DATE    DAYS \.?,? (?:the )?(?:<NTH>\b|<DM>|(?=\d{1,4}[a-z./ -]|<MONTH>))
DATE    MONTHS <NOTMAY>\.?(?:[ /-](?:the )?<UPTO><ORDINAL>\b(?![.,]\d)(?! ?<UNITS>)(?:,? <YEAR>
        |[/-]<YEAR>)?<CLOCK>| (?:and|to|or|until|through|[-–]) (?=<MONTH>)|[-–/](?=<MONTH>)
        | (?:the )?(?i:<WORDDAY>)\b)
DATE    MONTHS (?i)(?:\.?[,/-]| of|\.)? ?<YEAR>| <NTH>\b|(?<=march) \d{1,2}\b(?! ?<UNITS>)
DATE    LONG \b
DATE    YEARS [ -]((?:19[3-9]|20[0-4])\d)\b(?![.,/:-]\d|[%/]| ?<UNITS>| ?(?:kcal|cells|steps
        |patients))
DATE    9 (?:1[3-9]|2\d|3[01])/(?:[1-9]|1[0-2])\b(?![\w/]|[.,]\d)(?!<COUNT>)(?<!\d0/5)(?<!\d0/10)
        (?<!25/5)(?<!24/7)
DATE    ~(?:mar|may).\d \b(?:mar|march|may) \d{1,2},? <YEAR4>\b<CLOCK>
DATE    ~> (?<=> )<DM>(?= )
DATE    ~(?i:new.year|day|eve|diwali|eid) \b(?:New Year|St\.? [A-Z][a-z]+['’]s Day|Good Friday|
        (?:Labor|Memorial|Independence|Veterans|Presidents|Australia|Anzac|Canada|Heritage) Day
        |Bank Holiday
        |Diwali|Eid|Holi|Onam|Hogmanay|Hanukkah|Passover|Mother['’]s Day)(?:['’]s)?(?: Day
        | Eve)?(?: <YEAR4>)?\b
DATE    MID [ -](?=<MONTH>)
DATE    AFTER [ -]((?:<ALONE>|March|May|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?))
        (?!\w)
DATE    AFTER \s(the <NTH>)(?=[,;)]|\.?\s{0,3}$|\. | (?:at|he|she|we|they|I|to|for|with)\b)
DATE    SEASONS [1-4]?(?: of)?[ /-]?<YEAR4>(?:/\d\d)?\b
DATE    HOLIDAYS (?i)(?: years?)?(?:['’]?s)?(?: (?:day|eve|sunday|monday))?(?:,? <YEAR4>)?\b
DATE    WHEN (?:[:,(]\s{0,3}|\s{1,3})(?:on |of |from |dated |was )?(?:[a-z]{1,12} ){0,2}(<DM>)
DATE    DATED \.?\s?:?\s?(\d{1,2} \d{1,2} (?:\d{4}|\d\d)\b|\d{1,2}\.\d{1,2}\.(?!\d)
        |\d{1,2}-\d{1,2}\b(?! ?<UNITS>|[-/]))
ID      NUMBERED (?i)['’]?s?\.?(?: plan)?(?:[ -]?(?:number|no\.?|num|nr\.?|id|plate|plan|code
        |#)){0,3}\s?[:#=-]?\s?(<CODE>)
ID      9 \d{3}-\d{2}-\d{4}\b|\d{2,}[-/]\d{4,}(?:-\d{1,4})?\b(?! ?<UNITS>)|\d{6}-\d{4}\b
        |\d{3}\.\d{4}\.\d{4}\.\d\d\b
ID      9 (?<![\d.,-])\d{5,}(?![.,]?\d)(?!<TAKEN>)|[012](?:\.\d{1,40}){4,24}\b
ID      9 \d{2,4}(?:-\d{2,4}){1,3}-[A-Z]\b|\d{3,}/\d{2,}/\d{2,}\b
ID      ~(?i:last.four|gate|door|safe) (?i)\b(?:last four|(?:gate|door)(?: code)?|key ?safe
        (?: code)?):? (\d{4,8})\b
ID      9U IMG_\w{4,30}|\d{4} \d{5} \d(?: ?/ ?\d)?\b|[A-Z]{2}\.\d/\d{3,9}\b
ID      9 (?!<YEAR4>)\d{4} \d{3}\b(?! ?<UNITS>|[ -]\d)|\d{7} [A-Z]\b
ID      9 \d\d\.\d\d\.(?:\d{3}\b|\d\d-\d{3}\.\d\d)
ID      9 (?!<YEAR4>/)\d{4,6}/[012]?\d\b(?! ?<UNITS>|[/.,]\d)
ID      9 \d{2}[A-Z]{0,2}[-:][A-Z]{1,2}-?\d{4,6}\b
ID      9 \d{2}[A-Z]-\d{5}\b|\d[A-Z]\d\d-\d{5}\b|\d{4}-\d{3}[A-Z]\b|\d\d-[A-Za-z]{1,2}-\d{4,6}\b
ID      U (?!BP|[A-Z]\d\d\.\d{1,2}\b|[CLST]\d\d[-/]\d\d\b)[A-Z]{1,4}-?\d{2,5}[./-]\d{2,5}
        (?:\.\d\d)?\b(?! ?<UNITS>)
ID      U [A-Z] (?:\d{4}-\d\d|\d\d/\d{4})\b
ID      U [A-Z]{3}[ -]\d{3}[ -]\d{3}\b|[A-Z]{1,3}\d{6,9}\(\d\)|S?X{4}\d{3}[A-Z]\b|X{4} X{4} \d{4}\b
ID      ~[a-z]\d{5} \b[a-z]{1,4}\d{5,9}[a-z]?\b|\b[A-Z]{2}_\d\d_\d{3}\b
PHONE   ~(?i:\bex.{0,8}\d) (?i)\b(?:ext?n?|extension)\.? ?\d{2,6}\b
PHONE   ~(?i:double|zero|\boh\b|four) (?i)\b(?:<DIGIT>[ ,-]{1,2}){5,14}<DIGIT>\b
PHONE   9 0\d{2,4} ?[/–-] ?\d{2,3}(?: \d{2,3}){1,3}\b|(?<![\d./-] )\d-\d{4}\b(?!-| ?<UNITS>)
PHONE   9 [689]\d{3} \d{4}\b(?! ?<UNITS>)
ADDRESS ~(?i:rural.route|county.road)|\b[NSEW]\.?.\d|\b[A-Z][a-z]+(?:.Wales
        |.Australia)?,?.\d{4}\b (?:\d{1,5} )?(?i:Rural Route|County Road) \d{1,3}\b|\b
        (?:<CAP> ){1,2}(?:Queensland|Victoria|Tasmania|Tas|Vic|New South Wales|South Australia
        |Western Australia),? \d{4}\b|[NSEW]\.? \d{1,3}(?:st|nd|rd|th) (?i:<STREETS>)\b
ADDRESS FLATS [ ]#?\d{0,4}[A-Z]?\b(?=, (?:\d|[A-Z][a-z])|\n)
ID      SITE (?: no\.?| number)? (\d{3,4})\b
ID      ~[a-z][/-]\d (?<![\w/-])(?:[a-z]{1,4}[/-]\d{3,9}/\d{2,9}|[a-z]{1,3}/\d{4,9})\b
ADDRESS U [AC-FHKNPRTV-Y]\d[\dW] ?(?=[A-Z]{0,3}\d)(?=\d{0,3}[A-Z])[\dAC-FHKNPRTV-Y]{4}\b
ADDRESS A (?<=, )(?:The Quay|(?:<CAP> ){1,2}(?i:<STREETS>)), <CAP>
ADDRESS 9 (?:\d{1,4} )?\d{1,2}(?:st|nd|rd|th) (?:Main|Cross)\b|\d{1,4} Sector \d{1,3}\b
ID      U [A-Z]{1,4}(?:[-/][A-Z]{1,3})?[-/]?(?:\d{1,9}[-/.])?\d{4,}[\w/-]*(?: / \d{1,5}\b)?
ID      U [A-Z]{2} ?\d\d ?\d\d ?\d\d ?[A-Z]\b|[A-Z]{2}\d\d [A-Z]{3}\b
ID      ~[\da-f]{16}|-[\da-f]{4}- (?i)\b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b|\b
        (?=[a-f]{0,30}\d)[\da-f]{16,64}\b
ID      9U (?=(?:[A-Z-]{0,9}\d){4})[A-Z\d]{2,8}(?:-[A-Z\d]{2,8}){2,6}\b
ID      9U (?=\d{0,19}[A-Z])(?=(?:[A-Z]{0,9}\d){4})[A-Z\d]{8,24}\b
PHONE   + (?:\(?\+|00(?=[1-9]))(?=(?:\D{0,3}\d){7})\d{1,3}\)?(?:<SEP>\d{1,12}){1,7}\b<EXT>
PHONE   + (?<![\d.])(?:\+?\d{1,3}[ .-]?)?<AREA>\d{3,4}(?:[ .-]?\d{2,5}){1,4}
        (?:\b(?! 000)|(?=x\d))<EXT>
PHONE   9 (?<![\d.])0\d(?:[ .-]\d\d){4}\b|\d{5} \d{5,6}\b|(?:1-)?8\d\d-[A-Z]{3,10}\b|\d{3} (?:CARE
        |HELP|CALL)\b
PHONE   PHONES (?i)(?:\s?(?:no\.?|number|at|on|is|under)){0,2}[.:#]*\s?#?(p?\+?\(?\d{1,5}(?:
        <SEP>\d{1,12}){1,6}|\(?\d{3,15})<EXT>
PHONE   ~\bx\d (?<![\d ] )\bx\d{4,5}\b
ADDRESS BOX (?i) ?#?[A-Z]?\d[\d ]*(?:, <CAP>)?
ADDRESS ~(?i:o\.?\s?b|\brr|\brural|\bbag) (?i)\b(?:(?:G?P\.? ?O\.? ?B(?:ox\b|\b\.?)|Post Office Box
        |(?:Private|Locked) Bag) ?#?[A-Z]?\d[\d ]*|(?:Rural (?:Route|Delivery)|RR ?#|(?:RR|HC
        |RFD) ?#?(?=\d{1,3},? Box)) ?\d{1,3}(?:,? Box \d{1,5})?)
ADDRESS ADDRESSES (?i)(?: is)?\s?:\s?(<FREE>)
ADDRESS LIVES \sat (?=[A-Z\d])(<FREE>?)(?= with | and | since |, (?:who|and)|[.;\n]|$)
ADDRESS 9A (?:<FLAT> #?[\w/]{1,6},? ?)?<DOOR> (?:(?:<SURNAME>|<NTH>) ){1,4}(?i:<STREETS>)\b\.?
        <STREETTAIL>
ADDRESS 9 \d{1,5} [a-z]{3,15} (?:street|road|lane|avenue|crescent|terrace|boulevard)\b
ADDRESS A (?:<CAP> ){1,3}(?:<SURESTREET>)\b(?: \d{1,4}\b)?
ADDRESS 9A (?:<DOOR> )?(?:County|State|US|Farm)? ?(?:County Ro?a?d|Route|Highway|Hwy
        |State Road) \d{1,4}\b
ADDRESS 9A [A-Z][a-z]{2,30}<ROADEND> \d{1,4}[a-z]?\b|\d{1,4} [A-Z][a-z]{2,30}<ROADEND>\b
ADDRESS 9 <DOOR> (?:bis |ter )?<ROAD> <OF><CAP>(?:[ -]<CAP>){0,3}
ADDRESS ROADS \.? <OF><CAP>(?:[ -]<CAP>){0,3},? (?:n[.º°]? ?)?\d{1,5}(?:[/-]\d{1,4})?[a-zA-Z]?\b
        (?:, \d{1,2}º? ?[A-Z]\b)?
ADDRESS A (?:Am|Im|An de[rnm]|Auf de[rm]|Unter den|In de[rn]|Zum
        |Zur) (?:<CAP> ){1,2}\d{1,4}[a-z]?\b
ADDRESS 9A (?:<DOOR> )?(?:<CAP>,? ){1,6}(?:[A-Z]{1,2}\d[A-Z\d]? ?\d(?!FU)[A-Z]{2}|[A-Z]{2},? \d{5}
        (?:-\d{4})?)\b
ADDRESS A (?:<CAP> ){0,2}<CAP>(?:<WHERE>|,? (?:NSW|VIC|QLD|TAS|ACT|SA|WA|NT),? \d{4})\b
ADDRESS A [A-Z][a-z]{2,20}(?: [A-Z][a-z]{2,20}){0,2}, (?:<STATES>)\b(?!-| ?\d{1,2}-)
ADDRESS A [A-Z]{1,2}\d[A-Z\d]? ?\d(?!FU)[A-Z]{2}\b|(?:<CAP>,? [A-Z]{2} )?[A-Z]\d[A-Z] \d[A-Z]\d\b
ADDRESS 9A (?:[A-Z]{1,2}-)?\d{5} <CAP>|\d{4} [A-Z]{2} [A-Z][a-z]{3,20}\b|\d\d-\d{3} <CAP>|(?<=, )
        (?:\d{4}|\d{3} \d\d) [A-Z][a-z]{3,20}\b
NAME    INITIALLED \sby:? ([a-z]{2,3})\b(?<!the)(?<!dr)(?<!mr)
NAME    INITIALLED (?i: by)?\s?:\s?([A-Z]\.?[A-Z]\.?(?:[A-Z]\.?)?|[a-z]{2,3})(?!\w)
NAME    ~[A-Za-z]\n|[a-z]$ (?m)(?<![\w/])([A-Z]{2,3}[/:][a-z]{2,3}|/[a-z]{2,3})$
AGE     9 ((?:9\d|1[01]\d))(?:<AGED>(?:[ -](?:old|of age)\b)?|(?: {0,2}/?|/)[FM]\b|f\b|(?<=9\d)m\b
        |(?=,? (?:male|female|man|woman|lady|gentleman|f|m (?:from|with|who))\b))(?<!\d C)
        (?<!\d F in)(?<!above 1\d\d F)(?<!temp 1\d\d F)(?<!of 1\d\d F)(?<!>1\d\d F)(?<!> 1\d\d F)
AGE     AGED (?:[ :]|is|was|of|at(?: \w+)?){0,4}((?:9\d|1[01]\d))(?!\w|\.\d)
AGE     SEXES [ /,-]{0,2}(9\d|1[01]\d)\b(?![./%\d]| ?<UNITS>)
AGE     TURNED (?i)(?: (?:of|at|to|be|is|was|now|nearly|almost)\b|['’]s| \d{1,3},){0,3} (9\d
        |1[01]\d)\b
        (?![./%-]\d|%| ?<UNITS>)
AGE     ~(?i:ninet) (?i)\b(?:(?:(?:early|mid|late)[ -])?nineties\b|ninety(?:[ -](?:one|two|three
        |four|five|six|seven|eight|nine))?
        \b(?! ?(?:per|%|degrees?|minutes?|hours?|days?|weeks?|units?|beats?|mg|ml)\b))
AGE     ~(?i:hundred) (?i)\b(?:a |one )?hundred(?: and [a-z]{3,8})?(?=[ -]years?\b)
AGE     ~(?i:hundred) (?i)\b(?:lived to|aged|turned|reached)(?: be)? ((?:one|a) hundred
        (?: and [a-z]{3,8})?)\b
AGE     ~19[0-3]\d 19[0-3]\d, (9\d|10\d)\b(?=[,.;)])
AGE     ~Was.\d Was (9\d|1[01]\d) at\b
AGE     9 ((?:9\d|1[01]\d)(?:st|nd|rd|th)) (?:birthday|year\b)
AGE     ~[09]0s (?i)\b(?:his|her|their|my|your)(?: (?:early|mid|late))?[ -](90s|100s)\b
AGE     ~(?i:hundred) (?i)\b((?:one|a) hundred(?: and)? (?:one|two|three|four|five|six|seven|eight
        |nine|ten))\b(?! ?(?:<UNITS>|per|times|steps|met|hundred|thousand|percent|beats|pounds))
AGE     ~[a-zA-Z.]\s(?:9|1[01])\d (?i)\b(?:you(?: are|['’]re)|I(?: am|['’]m)|s?he(?:['’]ll
        | will| shall) be|I (?:shall|will) be|being|is now|aet\.?|(?:alive|outlives \w{2,12}|going
        |died|dead|death|still) at|(?:lived|gets?|live|made it) to|\bd\.) (9\d|1[01]\d)\b(?![./%\d-]
        |,\d| ?<UNITS>| ?(?:bpm|mmol|g/|over|percent))
AGE     ~(?i:narian) (?i)\b(?:nonagenarian|(?:super)?centenarian)s?\b
"""


# A town after an address; the sign or bracket before a number; where a rule may begin.
TOWN = pattern(r"(?:, (?:<CAP>[ -]){0,2}<CAP>(?=[\n,.;)]|$)){1,3}")
SIGN = re.compile(r"\(?\+?$")
ANCHOR = re.compile(r"(?<!\w)(?:[A-Za-z]+|\d)")
AT, AFTER, ANYWHERE = defaultdict(list), defaultdict(list), []
for _kind, _line in lines(RULES_TEXT):
    _where, _rule = _line.split(maxsplit=1)
    _entry = (_kind, pattern(_rule))
    if _where[0] == "~":
        ANYWHERE.append((re.compile(_where[1:]), *_entry))
    for _place in _where if len(_where) <= 2 else ():
        AT[_place].append(_entry)
    for _word in WORDS.get(f"at_{_where.lower()}", ()):
        AFTER[_word].append(_entry)


def find_by_rules(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, type) of what the rules find; spans may overlap."""
    for gate, kind, rule in ANYWHERE:
        for match in rule.finditer(text) if gate.search(text) else ():
            yield *match.span(match.lastindex or 0), kind
    for anchor in ANCHOR.finditer(text):
        word, (start, end) = anchor[0], anchor.span()
        tries = [(end, rule) for rule in AFTER.get(word.lower(), ())]
        if word.isdigit():
            first = SIGN.search(text, max(0, start - 2), start).start()
            tries += [(start, rule) for rule in AT["9"]]
            tries += [(at, rule) for at in {first, start} for rule in AT["+"]]
        elif word[0].isupper():
            tries += [(start, rule) for rule in AT["A"]]
            tries += [(start, rule) for rule in AT["U"]] if word.isupper() else []
        for at, (kind, rule) in tries:
            if match := rule.match(text, at):
                first, last = match.span(match.lastindex or 0)
                town = TOWN.match(text, last) if kind == "ADDRESS" else None
                first = first if match.lastindex else min(start, at)
                yield first, town.end() if town else last, kind
