r"""The pieces that `seg_lib.data.deidentify_rules` is put together from, such as ``<MONTH>``.

A line that starts with spaces goes on with the line above.
"""

import re

from seg_lib.data.deidentify_words import COUNTRIES, FIRST_NAMES, STATES, STREETS

PIECES = r"""
MONTH     (?:(?i:<MON1>|<MON2>)|Mar(?:ch)?|May|MAR(?:CH)?|MAY)\b\.?
MON1      jan(?:uary)?|feb(?:ruary)?|apr(?:il)?|june?|july?
MON2      aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?
ANYMON    (?i:<MON1>|<MON2>|mar(?:ch)?|may)
ALONE     (?:January|February|April|June|July|August|September|October|November|December)\b
AFTER     (?i:in|of|since|until|till|from|to|by|last|next|this|early|late|mid|before|after|during
          |around|between|through|for|due|until)
ORDINAL   \d{1,2}(?:st|nd|rd|th)?
NTH       \d{1,2}(?:st|nd|rd|th)
WORDDAY   (?:(?:twenty|thirty)[ -])?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth
          |tenth|eleventh|twelfth|(?:thir|four|fif|six|seven|eigh|nine)teenth|twentieth|thirtieth)
UPTO      (?:\d{1,2}(?:st|nd|rd|th|\.)?(?: ?[-–/&] ?| to | and | or ))?
YEAR      (?:['’]\d\d|\d{4})\b
YEAR4     (?:19|20)\d\d
CLOCK     (?:(?:T|,? (?:at )?)\d{1,2}:\d\d(?::\d\d(?:\.\d{1,6})?)?
          (?: ?[ap]\.?m\b|Z|[+-]\d\d:?\d\d)?)?
WEEKDAY   (?i:Mon|Tues?|Wed(?:nes)?|Thu(?:rs?)?|Fri|Sat(?:ur)?|Sun)(?i:day)?\b\.?
DM        (?:<M0>/<D0>|<D0>/<M0>)(?![\w/]|[.,]\d)(?!<COUNT>)
D0        (?:0?[1-9]|[12]\d|3[01])
M0        (?:0?[1-9]|1[0-2])
DMSURE    (?:0[1-9]/\d\d|[123]\d/0[1-9]|(?:1[3-9]|2\d|3[01])/1[0-2]|1[12]/10|12/11)
UNITS     (?:mg|mcg|ml|mm|cm|Gy|ms|HU|mmHg|units?|years?|yrs?|months?|weeks?|days?|hours?|kg|%)
COUNT     [ -]?(?:<UNITS>|(?:[a-z]{3,12} )?(?:nodes?|cores?|samples?|cycles?|fractions?|cases)|lymph
          |of\b|LNs?\b|positive|involved|ago\b|lesions?|slices?|images?|points?|power|strength)
WHEN      (?:on|since|until|till|dated?|born|due|seen|visit(?:ed)?|(?:admit|re-?admit)ted|discharged
          |diagnosed|commencing|w/c|reviewed|letter|addendum|scan(?:ned)?|CTs?|MRI?|PET|x-?ray|CXR
          |biopsy|biopsied|bronchoscopy|surgery|operation|operated|<WHEN1>)
WHEN1     lobectomy|started|completed|finished|report(?:ed)?|dictated|signed|typed|ultrasound
          |imaging|exam(?:ination)?|appointment|clinic|next one|died|collected|received|referred
CAP       [A-ZÀ-Þ](?:\.|[A-Za-zÀ-ÿ'’-]{0,40})
PARTICLE  (?:\b(?:van|von|vom|der|den|de|di|da|del|della|dos|das|du|des|la|le|las|los|al|el|bin|bint
          |ibn|abu|ben|ten|ter|te|zu|zum|zur|af|av|op|ni|nic|mac|ui)[ -]|\bvan ['’]t |['’]t )
SURNAME   <PARTICLE>{0,3}(?:St\.? )?(?:[dloDLO]['’])?<CAP>
PERSON    <SURNAME>(?:[,;]? (?!<TITLE>)(?:[ye] )?<SURNAME>){0,3}
STREET    (?:<STREETS>)\b\.?
FLAT      (?:Flat|Apt|Apartment|Suite|Ste|Unit|Lot|Room|Tower|Building|Bldg|House
          |Level|Block|Floor|Shop)\.?
HOUSE     (?:<HOUSE1>|<HOUSE2> (?:Center|Centre|Institute|System|Clinic))\b
HOUSE1    Hospital|Hospice|Clinics?|Infirmary|Klinikum|Klinik|Sanatorium|Polyclinic|Surgery
HOUSE2    (?:Medical|Cancer|Health|Oncology|Imaging|Trauma|Surgery|Surgical|Care|Radiology)
WHERE     (?:,? [A-Z]{2},? \d{5}(?:-\d{4})?)
KIN       (?:wife|husband|partner|friend|neighbou?r|niece|nephew|aunt|uncle|cousin|carer|<KIN1>)
KIN1      son|daughter|brother|sister|mother|father|grandson|granddaughter
ROLE      (?:patient(?: name)?|name|pt|physician|radiologist|attending|consultant|<ROLE1>|<ROLE2>)
ROLE1     surgeon|oncologist|gp|cc|re|regarding|subject|next of kin|contact|author|signed|team
ROLE2     copy to|to|from|dear|spouse|caregiver|resident|reader|referrer|referring md|registrar
STAFF     (?:pt|gp|physicist|radiologist|oncologist|surgeon|registrar|resident|radiographer
          |pathologist|dosimetrist|physiotherapist|dietitian|social worker|<KIN>)
DONE      (?:signed|dictated|reported|reviewed|read|verified|approved|referred|seen|<DONE1>)
DONE1     accompanied|typed|transcribed|planned|contoured|checked|interpreted|authori[sz]ed
TITLE     (?:Drs?|DR|Mrs?|MRS?|Ms|MS|Miss|Mx|Prof|PROF|Professor|Doctor|Sir|Madam|Nurse|Sister
          |Herr|Frau|Mme|Mlle|M\.|Señora?|Senora?|Sra?|Signora?|Dhr|Mevr|Rev|Fr|Father|Lady|Lord
          |Capt|Captain|Sgt|Col|Major|Judge)\b\.?
LETTERED  (?:MD|M\.D\.|PhD|FRC[A-Z]{1,4}|RN|DO|MBBS|MBChB|MBBCh|NP|PA-C|MRCP|BSc|MSc|RT|DDS|DNP)
NUMBERED  (?:MRN|MFN|SSN|NHS|acc(?:ession)?|record|chart|case|hospital|patient|<NUM1>|<NUM2>|<NUM3>
          |<NUM4>)\b
NUM1      policy|insurance|account|study|order|specimen|licen[cs]e|serial|member|unit|lab|ID
NUM2      barcode|ref(?:erence)?|sample|visit|encounter|plate|device|passport|file|folder|invoice
NUM3      claim|episode|GMC|NPI|DEA|NINO|NI|CHI|VIN|UID|S/N|SN|EMPI|FIN|CSN|TFN|SIN|PIN|EHIC
NUM4      registration|reg|subject|health plan|medicare|medicaid|beneficiary|group|card|lot
          |implant|booking|prescription|pat|hosp|trial|acc#?|IBAN|BSN|URN|UMRN|PID|HN|PPS
PHONE     (?:tel|telephone|phone|fax|mob|mobile|cell|pager|beeper|bleep|ext|extension|call|dial
          |hotline|callback|switchboard)\b
EXT       (?:,? ?(?:ext|x|extension)\.? ?\d{1,6})?
SEP       (?:[ ./-]|\)[ /-]?| ?\((?:0\) ?)?| [-/] )?
LIVES     (?:lives|living|resides|residing|resident|born|moved|home|native|relocated|citizen)
DIGITS    (?:[ -]?\d[\w-]{0,8}\b(?! ?<UNITS>)){0,5}
TLD       (?:com|org|net|edu|gov|mil|int|info|biz|example|test|invalid|local|lan|localhost|internal
          |health|care|clinic|hospital|cloud|app|dev|<COUNTRIES>)
HOST      (?:[\w][\w-]{0,62}\.){1,6}
OF        (?:(?:de|du|des|di|del|dei|da|do|dos|das|la|le|los|las|el|l['’]|d['’])[ ]?){0,3}
ROAD      (?:rue|Rue|[Aa]venue|[Bb]oulevard|[Pp]lace|[Cc]hemin|[Ii]mpasse|[Qq]uai|[Aa]llee|Via|Viale
          |Vicolo|Piazza|Corso|[Cc]alle|Carrer|[Aa]venida|Paseo|Plaza|Rua|Travessa|Praca|Largo
          |Strada|[Uu]lica|[Uu]l\.)
STREETTAIL (?:,? [NSEW]{1,2}\b)?(?:,? \d{1,2}(?:st|nd|rd|th) Floor)?(?:,? (?:<FLAT> #?|#)\d\w{0,5})?
          (?:, [A-Z]{4,20}\b)?
ROADEND   (?:straße|strasse|str\.|weg|platz|allee|gasse|damm|ufer|graben|gracht|straat|laan|plein
          |kade|dijk|steeg|singel|gatan|gata|gade|gaten|vagen|vej|veien|steig|stieg|utca)
CODE      (?!\d{1,4}[ -]?<UNITS>)(?:(?=[\w/-]{0,20}\d)[\w/-]{4,40}(?:\.\d{2,9}){0,2}<DIGITS>
          |\d\d(?:\.\d\d){2,4}|(?-i:[A-Z]{1,5}) \d{2,}<DIGITS>|\d{2,4}(?: \d{2,4}\b){1,5})
"""
MORE_PIECES = {
    "FIRST": "|".join(sorted(FIRST_NAMES)),
    "STREETS": STREETS,
    "STATES": STATES,
    "COUNTRIES": COUNTRIES,
    "SOCIAL": "skype|twitter|instagram|facebook|linkedin|telegram|wechat|tiktok|snapchat",
    "HOLIDAY": "(?:Christmas|Easter|Thanksgiving|New Year['’]?s?|Boxing|Halloween|Ramadan|Whitsun)",
    "SURESTREET": "Street|Road|Lane|Avenue|Crescent|Boulevard|Cottages?|Farm|Lodge|Rectory|Manor",
    "DOOR": r"\b(?:No\. ?)?\d{1,5}(?:[-/–]\d{1,5})? ?[A-Za-z]?,?",
    "NUMERIC": r"(?:-\d{1,2}-|/ ?\d{1,2}/ ?|\. ?\d{1,2}\. ?)",
    "YY": r"(?:<YEAR>|\d\d\b(?! ?<UNITS>))",
    # An address runs to the end of the line or sentence; "St." ends none.
    "FREE": r"(?:[^\n.;]|\.(?=[^ \n])|(?<=St)\.|(?<=Ave)\.|(?<=Apt)\.|(?<=Rd)\.|(?<=No)\.){3,90}",
    "AREA": r"(?:\(\d{2,5}\)[ .-]?|\d{2,5}[ ./-])",
    "TOWN": r"(?: (?:of|in|at) (?:the )?<CAP>(?: <CAP>)?)",
}


def lines(text: str) -> list[tuple[str, str]]:
    """(name, pattern) of every line."""
    whole = re.sub(r"\n +", "", text.strip())
    return [tuple(line.split(maxsplit=1)) for line in whole.splitlines()]


_ALL = dict(lines(PIECES)) | MORE_PIECES


def pattern(text: str) -> re.Pattern:
    """A pattern with every ``<PIECE>`` replaced, and compiled."""
    while found := re.search(r"<([A-Z]+\d?)>", text):
        text = text.replace(found[0], _ALL[found[1]])
    return re.compile(text)
