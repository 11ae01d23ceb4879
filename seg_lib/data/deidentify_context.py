r"""Names and houses by the structure around them: a list, a header, a signature, a handover.

A line each: type, ``<<words>>`` of which the text must have one, pattern. The group is what was
found, and counts only if one of its words is no word of medicine: "Hope – bed 6" is a name, "Stent
– bed 6" is none. ``INITIALS`` are names that always count, ``SMALL`` is a house in small letters.
``<CAPS>`` and the like stand for the pieces. All repetitions are bounded.
"""

import re
from collections.abc import Iterator

from seg_lib.data.deidentify_words import KNOWN, WORDS

PIECES = {
    "CAP": r"(?!(?:Mrs?|Ms|Miss|Dr|Prof|Fr|Sr)\b)[A-Z][A-Za-z'’-]{1,40}(?!\w)",
    "TAIL": r"[A-Za-z'’-]{0,40}(?: <CAP>)?",
    "CAPS": r"(?:(?:[A-Z]\.? ?){0,3}(?:<PART> )?<CAP>(?: <PART>)?(?: <CAP>){0,2})",
    "PART": r"(?:ap|ab|bin|binte?i?|bte|ferch|van|von|de|di|da|la|al|el|der|den)",
    "INI": r"(?:[A-Z]\.?[ -]?[A-Z]\.?(?:[A-Z]\.?){0,2})",
    "KIN": r"(?:husband|wife|son|daughter|brother|sister|nephew|niece|mother|father|partner|aunt"
    r"|uncle|cousin|neighbour|neighbor|carer|friend|grandson|granddaughter)",
    "OWNS": r"(?:wedding|birthday|funeral|clinic|patient|pt|goal|list|records|team|firm"
    r"|office|house)",
    "SAYS": r"(?:says|said|agreed|agrees|thinks|felt|wants|wanted|cried|happy|aware|informed|asked"
    r"|noted|to (?:d/w|chase|book|discuss|review|see|call|email|arrange)|will|present|presented)",
    "HOUSES": r"(?i:Surgery|Practice|Health Centre|Medical Centre|Hospital|Clinic|Centre|Medical)",
    "SMALLHOUSE": r"(?:hospital|infirmary|institute(?: of [a-z]+)?|clinic|centre|center|hospice"
    r"|private|general|opd|lab|bay|nursing home|surgery|family practice|practice|partners"
    r"|infusion suite)",
    "STOP": r"(?=[.,;:)\n|–?-]| [–|-]| (?:ED|Pathology|cannot|on|at|"
    r"under|and|A&E|now|for|with|was|in|to|from|MDT)\b|$)",
}
RULES_TEXT = r"""
NAME <<bed |Bed |SR|side room>> (?:^|[.:;>–-] |\n)(<CAPS>) [–-] (?:[Bb]ed|SR|side room)\b
NAME <<ed >> [Bb]ed \w{1,3} [–-] (<CAPS>) [–-]
NAME <<'s|’s>> \b(<CAP>)['’]s (?:<KIN>|<OWNS>)\b
NAME <<(>> \b(<CAP>) \((?:his|her|their|the)? ?<KIN>\b
NAME <<"|“>> (?:prefers|goes by|[Kk]nown as|[Cc]alled|[Nn]ickname|aka)\b[^\n"“]{0,12}["“]
        (<CAPS>)["”]
NAME \b(?:[Rr]e|RE|Subject|SUBJECT|Hi|Hello|Hallo|Morning|S/N|SN)[:.]? (<CAPS>)
NAME << list| firm| team>> (?:\(|, )(<CAPS>) (?:list|firm|team)\b
NAME <<"|“>> ["“](?:Old|Young|Little|Big) (?:Mr|Mrs|Miss|Ms) (<CAPS>)["”]
NAME <<"|“>> ["“]((?:Old|Young|Little|Big) (?:Mr|Mrs|Miss|Ms) <CAPS>)["”]
NAME (?<!\d )\b(?:Dr|Mr|Mrs|Ms|Miss|Prof|Fr|Sr)\.? (<CAPS>)<STOP>
NAME \b(?:Pres|REQ|Req|Asst|Anaes|Crew|Trainee|trainee|NOK|Clinician|Validated|acknowledged|stamp
        |faithfully
        |sincerely|regards|wishes|[Tt]riage by|trainee|PI|Endoscopist|ORDERING|ANESTHESIA
        |ATTENDING|SURGEON|ASSISTANT|Operator|tech|photographer|physics
        |physicist|Prescriber|Planner|Caregiver|POA|Physician|resident|Consulted|navigator|Scribe
        |counsellor|Veteran
        |request|FOLLOW-UP|Preferred|First|Last|Visited|Actions|reg|IR|[Ss]poke (?:w|w/|to|with)
        |dosimetry|alt|Name|Follow up|attender|CPEX|Case \d{1,2})[:.,]{0,2}\s(<CAPS>)
NAME <<husband|wife|son|daughter|sister|brother|nephew|niece|mother|father|partner|friend>> \b
        (<CAP>),? (?:and|&) (?:his |her )?<KIN>\b
NAME <<: prefers>> (?:^|[.\n] |\n)(<CAP>): prefers
NAME <<PATIENT:|NAME:|Patient:|Name:|IC:>> (?:PATIENT|NAME|Patient|Name|NAME/IC|Name/IC): +(<CAPS>
        (?:, <CAP>)?(?: <CAP>)?(?: [A-Z]\b)?)
NAME \. ([A-Z][A-Z'’-]+(?: [A-Z][A-Z'’-]+){1,3})(?=\. \d)
NAME <<ed >> [Bb]ed \d{1,3}:? (<CAPS>)(?= \d|[/:(]| –| /)
NAME <<Chart |MRN |URN >> (?:Chart|MRN|URN) [\d-]{5,14} (<CAPS>)
NAME <</>> \b(<CAP>)/\d{2,3} ?[MFmf]\b
NAME << rn| md| np| pa| lpn| rd>> (?:\. |\n)([a-z]{1,2}\.? [a-z]{3,20}) (?:rn|md|np|pa|lpn|rd)\b
INITIALS \d ([A-Z]\.?[A-Z]\.?[A-Z]?\.?/[A-Z]\.?[A-Z]\.?[A-Z]?)\s{0,2}$
INITIALS <<RT|JOB>> (?:RTs?: ?|JOB \d{4,9}/)([A-Z]{2,3}(?:/[A-Z]{2,3})?)\b
INITIALS <<| >> \| ([A-Z]{2,3}|[A-Z]\.[A-Z]\.)(?=\n|$| \| [a-z])
INITIALS <<| >> \| RB ([A-Z]{2,3})\b
INITIALS (?:^|\n)(<INI>) (?=\d{6,10}\b|\d{3}-\d{3})
INITIALS (?:[Bb]y|TRANSCRIBED|Subj \d{3}-\d{3},) (<INI>)(?= \d|,|\.)
NAME <<née|nee |maiden>> \b(?:nee|née|maiden name) (<CAPS>)
NAME <<CHART|Chart|MRN|DOB|NHS|Hosp>> (?:^|\n|[.>] |\d  +)(<CAPS>,? <CAP>(?: [A-Z]\b)?)\.? (?=
        (?:CHART|Chart|MRN|DOB|NHS|Hosp)\b)
NAME (?:^|\n|\. |Pt |pt |Name |report: |\) |\d  +)(<CAPS>, <CAP>(?: <CAP>)?(?: [A-Z]\b)?)(?=\.| \d
        |,? DOB| {2,})
NAME (?:^|\n)(<CAPS>, [A-Z])\b
INITIALS (?:[Ii]nitials:? |Signed |SIGNED |TYPED |Typed |acknowledged |Patient )(<INI>)(?![\w-])
INITIALS << bleep| ext| / >> (?:^|\n)>{0,3} ?(<INI>)(?= bleep\b| ext\b| / )
INITIALS <<>>> (?:^|\n)> ?(<INI>)(?=\n|$)
NAME (?:^|\n)(<INI>)(?=\n|$)
INITIALS <<?>> [?] (<INI>)(?=\n|$)
INITIALS <<screened by>> screened by (<INI>)\b
NAME (?:[.?!] )(<INI>)(?=\n|$)
NAME \b(<INI>)(?:,? \(?\d{2,3} ?/? ?[MFmf]\b| <SAYS>\b)
INITIALS <<Our >> \bOur [Rr]ef:? (<INI>)/
INITIALS <<Our >> \bOur [Rr]ef:? <INI>/(<INI>)/
INITIALS \d[./-]\d{1,2}[./-]\d{2,4} ([A-Za-z]{2,3})\s{0,2}$
INITIALS <<agreed|noted|aware|to d/w|to chase>> (?:^|\n|\. |> )([A-Z]{2,3})(?= (?:agreed|noted
        |aware|to d/w|to chase))
INITIALS (?:^|[\n.;>)] |CNS |\n)((?:(?:[A-Z](?:\. ?| )){1,3}|[A-Z]{2,3} )
        (?:<PART> )?[A-Z][a-z]<TAIL>)(?=,? (?:\d{1,2} [A-Z][a-z]{2}|\d{1,2}(?:st|nd|rd|th)? [A-Z]
        |\d{1,2}[/.]\d|\d{8}|pager|RN\b|PGY|ext\b|bleep|CT\d|ST\d|FY\d|SHO|SpR))
INITIALS (?:[.\n] |\n)((?:(?:[A-Z](?:\. ?| )){1,3}|(?!CT|MR|PE|II)[A-Z]{2,3} )
        (?:<PART> )?[A-Z][a-z]<TAIL>)\s{0,2}$
INITIALS <<Present: >> Present: ((?:<CAP>/){1,8}<CAP>)
NAME [a-z] ([A-Z]{2})\.?\s{0,2}$
NAME <<approve|to replan>> [–-] (<CAP>)(?= [–-] approve| to replan)
NAME <<CNS >> CNS ((?:[A-Z]\.? ?){1,3}<CAP>)
NAME \b[Bb]y ([A-Z]\.[A-Z]\.(?:[A-Z]\.)?|[A-Z]{2,3})(?= and\b| on\b|[,.;\n]|$)
NAME <<(|  >> (?:^|\n)\d{1,2}\.? +((?:[A-Z'’-]{2,30} ){1,3}[A-Z][a-z]+|<CAPS>, <CAP>(?: [A-Z]\b)?)
        (?= ?\(|  )
NAME <<→|> >> [→>] (<CAP>)(?= \(| for| to)
NAME <<w |W >> \b(?:w|d/w|D/W|D/w|c/w) (<CAP>)(?=[:.,;\n])
HOSPITAL <<St|ST|Saint>> \b((?:St|ST|Saint)\.? <CAP>['’][sS](?: on <CAP>)?)\b
HOSPITAL << General>> \b(<CAP>(?: <CAP>)? (?:District|County|Regional|University|City|Royal
        |Community) General)\b
HOSPITAL <<General|Private|GENERAL|PRIVATE>> (?:\b(?:at|to|from|in|attend|attended)|[,(:\n>?.–-]|^
        | |\b\d{4}) ?(<CAP>(?: <CAP>)? (?:General|Private|GENERAL|PRIVATE))<STOP>
HOSPITAL <<Partners|Associates|PARTNERS|ASSOCIATES>> \b((?:Drs?|DRS?)\.? <CAPS> (?:&|and
        |AND) (?:Partners|Associates|PARTNERS|ASSOCIATES)(?:, (?:<CAP> ){1,3}<HOUSES>)?)
HOSPITAL \b((?:Dr|DR|Sir|Lady|Queen|King|Shri|Smt)\.? (?:<CAP> ){1,4}<HOUSES>)\b
HOSPITAL <<Home|Lab|Opd|OPD|Bay|Nursing>> \b((?:<CAP> ){1,3}(?:Nursing Home|Care Home
        |Residential Home|Lab|Laboratory|Opd|OPD|Linac Bay|Nursing home))\b
HOSPITAL <<SURGERY|PRACTICE|MEDICAL|CENTRE|WARD|UNIT|GROUP>> (?:, |\n|^|: )((?:<CAP> ){1,3}
        (?:SURGERY|PRACTICE|MEDICAL|MEDICAL CENTRE|HEALTH CENTRE|WARD|UNIT|GROUP))<STOP>
HOSPITAL <<&>> \b((?:<CAP> ){1,3}(?:Scan )?& (?:<CAP> ){1,3}(?:Unit|Centre|Center|Clinic|Institute
        |Hospital))\b
HOSPITAL << Block>> \b(?:[Aa]t|[Ii]n|[Tt]o|[Oo]n|[Ff]rom) (<CAP> Block)\b
HOSPITAL << clinic>> \b(<CAP> clinic)(?= drop| on\b)
HOSPITAL <<Memorial|MEMORIAL|Care|CARE|Family Med|FAMILY MED>> \b((?:<CAP> ){1,3}(?:Memorial
        |MEMORIAL|Primary Care|PRIMARY CARE|Cancer Care|Family Medicine|FAMILY MEDICINE)
        (?: [–-] <CAP>(?: <CAP>)?)?)<STOP>
HOSPITAL <<Drs >> \b(Drs <CAP>(?:, <CAP>)? (?:&|and|en) <CAP>)
HOSPITAL <<Wad >> \b(Wad <CAP>)
HOSPITAL <<Unit|Tower|North|South|East|West>> \b(Unit \d{1,2} (?:North|South|East|West)
        |\d{1,2} (?:Tower|North|South|East|West))(?=[,.|)\n]| [|A-Z\d]|$)
HOSPITAL <<round (|Onc |   >> (?:round \(|Onc |\)   )([A-Z]{3,7}(?:-[A-Z])?)(?=[).]|   )
HOSPITAL (?:^|\n)([A-Z]{3,7}) (?=Thoracic|Lung|Breast|Head|Upper|GI|HPB|Tumou?r|Sarcoma)
HOSPITAL <<HOSPITAL|INFIRMARY>> (?:^|\n|[.,] )((?:[A-Z]{2,20}(?:['’]S)? ){1,6}(?:HOSPITAL
        |INFIRMARY))\b
ADDRESS <<-born>> \b(<CAP>(?: <CAP>)?)-born\b
HOSPITAL <<ard |WARD>> \b((?:Ward|WARD|ward) (?:[A-Z]?\d{1,2}[A-Z]?)\b(?: \([A-Z][a-z]{2,10}\))?)
        (?! ?rounds?)
HOSPITAL << Ward>> \b((?:<CAP> ){1,2}Ward(?: \d{1,2}[A-Z]?)?)\b
HOSPITAL \b(?:at|to|from|[Bb]oard,|Surgeon \||Site \d{3}|MDT,) ([A-Z]{3,6})(?=[.,;)\n |])
HOSPITAL <<MDT|LIST|CLINIC|WARD>> (?:^|\n)([A-Z]{3,6})(?= (?:[A-Z]{2,8} )?(?:MDT|LIST|CLINIC
        |WARD)\b)
HOSPITAL <<escalated>> <CAP> \(([A-Z]{3,6})\); (?=escalated)
ADDRESS << Council>> \b((?:Co\.? |County )?<CAP>(?: <CAP>)?) (?:County |City |Borough )?Council\b
SMALL <<hospital|infirmary|institute|clinic|cent|hospice|private|general|opd|lab|bay|home|surgery
        |practice|partners|suite>> \b(?:at|to|from|of|in) ((?:the )?(?:(?!(?:at|to|from|of|in|on
        |the|and) )[a-z.'’]+ |& |and (?=partners)){1,4}<SMALLHOUSE>
        (?:, (?:[a-z]+ ){1,2}<SMALLHOUSE>)?)\b
ADDRESS <<BIBA|brought in|resid|stay|liv>> \b(?:BIBA|brought in|resident|residing|stay(?:ing)?
        |lives|living) (?:from|at|in) ((?:The )?<CAP>(?: (?:na |<CAP>|\d{1,3})){0,3})
ADDRESS <<City>> \bCity[^:\n]{0,14}: ([^\n]{3,50})
ADDRESS <<visiting|stay>> (?:visiting|stay(?:ing)? with) (?:\w+ ){1,2}in (<CAP>(?: <CAP>)?)
"""


def _pattern(text: str) -> re.Pattern:
    while found := re.search(r"<([A-Z]+)>", text):
        text = text.replace(found[0], PIECES[found[1]])
    return re.compile(text)


def _lines(text: str) -> Iterator[list[str]]:
    for line in re.sub(r"\n +", "", text.strip()).splitlines():
        yield line.split(maxsplit=1)


RULES = []
for _kind, _line in _lines(RULES_TEXT):
    _gate, _, _rule = _line[2:].partition(">> ") if _line[:2] == "<<" else ("", "", _line)
    RULES.append((_kind, _gate.split("|"), _pattern(_rule)))
WORD = re.compile(r"[^\W\d_]+")
ENDINGS = tuple(WORDS["endings"])
NOBODY = KNOWN | WORDS["titles"] | WORDS["roles"] | WORDS["human"]


def find_in_context(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, type) of what stands where a name or a house stands; spans may overlap."""
    for kind, gate, rule in RULES:
        for match in rule.finditer(text) if any(word in text for word in gate) else ():
            if kind == "INITIALS" or names_somebody(match[1]):
                yield *match.span(1), {"INITIALS": "NAME", "SMALL": "HOSPITAL"}.get(kind, kind)


def names_somebody(words: str) -> bool:
    """Whether a word is unknown, or a first name; a house may be of common words."""
    every = [word for word in WORD.findall(words) if len(word) > 1]
    if not every:
        return True
    every = [w.lower() for w in every if not (w.isupper() and w.lower() in WORDS["abbreviations"])]
    if re.match(r"(?i)ward [a-z]?\d", words):
        return True
    return any(w in WORDS["first"] or not (w in NOBODY or w.endswith(ENDINGS)) for w in every)
