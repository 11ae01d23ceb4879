r"""The rules of `seg_lib.data.deidentify`: a line each, the type of identifier and a pattern.

``<CAP>`` and the like stand for the pieces of `seg_lib.data.deidentify_pieces`; a line that starts
with spaces goes on with the line above. A pattern with a group finds the group. A type with ``?``
counts only where a word of it may be a name. All repetitions are bounded, so that no text can
keep a rule busy for long. ``(?i)`` ignores case.
"""

import re

from seg_lib.data.deidentify_pieces import lines, pattern

RULES_TEXT = r"""
EMAIL     \b[\w.+-]{1,64}(?:@[\w-]{1,64}|\s?@\s?[\w-]{1,64}\.[\w-]{1,64})(?:\.[\w-]{1,64}){0,5}
EMAIL     \b[\w.+-]{1,64}@\[[\da-f.:]{3,40}\]
EMAIL     (?i)\b[\w.+-]{1,64} ?[\[(] ?at ?[\])] ?[\w-]{1,64}(?: ?(?:\.|[\[(] ?dot ?[\])]) ?
          \w{1,64}){1,5}
EMAIL     (?i)\b[\w.+-]{1,64} at [\w-]{1,64}(?: dot \w{2,64}){1,5}
URL       (?i)(?:\b[a-z][a-z\d+-]{1,9}://|www\.|\bmailto:|(?<!\w)//(?=\w)|\\\\(?=\w))[^\s,;]{1,300}
URL       (?<!\w)(?:[A-Z]:\\|/(?:home|[Uu]sers|mnt|media|data|var|srv|export|tmp)/)[^\s,;]{1,300}
URL       (?i)(?<![\w@])<HOST><TLD>\b(?:\:\d{1,5})?(?:[/?#][^\s,;]{0,300})?
URL       (?<![\w@])(?:[\w-]{1,63}\.){1,6}[a-z]{2,24}(?:\:\d{1,5})?/[^\s,;]{1,300}
URL       (?<![\w@])(?=[\w.-]{0,40}[a-z]{3})(?:[a-z][a-z\d-]{1,62}\.){2,6}[a-z]{2,24}\b
URL       \b[\w-]{1,60}\.(?:dcm|nii|nrrd|jpe?g|png|pdf|docx?|xlsx?|zip|mha|dicom|csv)\b
URL       \b\d{1,3}(?:\.\d{1,3}){3}\b(?:[:/]\d{1,5}\b)?
URL       (?i)(?<![\w:.])(?:[\da-f]{1,4}[:-]){5,7}[\da-f]{1,4}(?![\w:])
URL       (?i)(?<![\w:.])(?:[\da-f]{1,4}:){0,6}:(?:[\da-f]{1,4}:){0,6}[\da-f]{1,4}(?:/\d{1,3})?(?![
          \w:])
URL       (?<![\w.])@\w{2,40}
URL       (?i)\b(?:user(?: ?name| ?id)?|login|<SOCIAL>)(?: name| id| handle)?\s?[:=]\s?([
          \w.-]{3,40})
URL       (?i)\b(?:user ?(?:name|id)|login|<SOCIAL>) (?=\S{0,20}[\d._]\w)([\w.-]{3,40})
DATE      \b\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:\b|(?=T))<CLOCK>
DATE      \b(?:\d{1,2}(?:[./]\d{1,2})?\.? ?[-–] ?)?\d{1,2}<NUMERIC>(?:\d{4}|\d{2})\b(?! ?<UNITS>)
          <CLOCK>
DATE      \b(?:0[1-9]|[12]\d|3[01]) (?:0[1-9]|1[0-2]) <YEAR4>\b
DATE      (?i)\b(?:d\.?o\.?b\b\.?|born|birth|dated?|on)\s?:?\s?(\d{1,2} \d{1,2} (?:\d{4}|\d\d))\b
DATE      \b\d{1,2}\. ?[IVX]{1,4}\. ?<YEAR4>\b
DATE      \b<WEEKDAY>,? (?:the )?(?:<NTH>\b|(?=\d{1,4}[a-z./ -]|<MONTH>))
DATE      \b(?i:mid|early|late)[ -](?=<MONTH>)
DATE      (?:\bthe )?\b<UPTO><ORDINAL>(?: of)?[ ./-]{0,3}<MONTH>(?:[,./]?[ -]{0,2}<YY>)?<CLOCK>
DATE      (?i)\b<ORDINAL>(?: of)?[ .-]{0,3}<ANYMON>\b\.?,?[ -]{0,2}<YY>
DATE      \b\d{1,2}<ANYMON>(?:\d{4}|\d\d)\b
DATE      \b<MONTH>[ /-](?:the )?<UPTO><ORDINAL>\b(?![.,]\d)(?! ?<UNITS>)(?:,? <YEAR>|[/-]<YEAR>)?
          <CLOCK>
DATE      \b<YEAR4>[ ,./-]{1,2}<MONTH>(?:[ .-]{0,2}\d{1,2}\b)?
DATE      (?i)\b<ANYMON>\b\.?(?:[,/-]| of)? ?<YEAR>
DATE      \b<MONTH>(?: (?:and|to|or|until|through|[-–]) |[-–/])(?=<MONTH>)
DATE      \b<AFTER>[ -]((?:<ALONE>|March|May|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b
          \.?))\b
DATE      \b<ALONE>
DATE      (?i)\b<NTH>(?: of)? (?:may|march)\b|\b(?:may|march) <NTH>\b|\bmarch \d{1,2}\b(?! ?<UNITS>)
DATE      (?:\bthe )?\b(?i:<WORDDAY>)(?i: of <ANYMON>| <MONTH>)\b(?:,? <YEAR>)?
DATE      \b<MONTH> (?:the )?(?i:<WORDDAY>)\b
DATE      (?i)\b(?:the )?<NTH> (?:inst|ult|prox)\b\.?|\b(?:the )?<NTH> of (?:this|last|next) month
DATE      \b(?i:on|by|until|since|dated) (the <NTH>)(?=[,;)]|\.?\s{0,3}$|\. | (?:at|he|she|we|they
          |I|to|for|with)\b)
DATE      (?i)\b(?:spring|summer|autumn|fall|winter|Q[1-4]|[1-4]Q|H[12])(?: of)?[ /-]?<YEAR4>(?:/\d
          \d)?\b
DATE      \b<HOLIDAY>(?: (?:Day|Eve|Sunday|Monday))?(?:,? <YEAR4>)?\b
DATE      \b\d{1,2}:\d\d(?::\d\d)?(?: ?[ap]m| h)?,?(?: on)? (?=\d{1,2}[./-]\d|\d{4}-|
          <ORDINAL> <MONTH>|<MONTH>)
DATE      (?<![\w/.,-])(?<![Ii]mage )(?<![Ss]lice )(?<![Ss]eries )(?=<DMSURE>\b)<DM>
DATE      (?i)\b<WHEN>[:,(]? {0,2}(?:on |of |from |dated |was )?(<DM>)
DATE      \b<LETTERED>,? (<DM>)
DATE      (?m)^(<DM>)(?=[:,])
DATE      (?i)\b(?:on|dated|born|signed)\s(\d{1,2}\.\d{1,2}\.)(?!\d)
DATE      (?i)\bdated?:? (\d{1,2}-\d{1,2})\b(?!-)
DATE      \b<YEAR4>(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[T_]?\d{4,6})?\b
DATE      \b<M0>/<YEAR4>\b|\b(?:0[1-9]|1[0-2])[.-]<YEAR4>\b|\b<YEAR4>-(?:0[1-9]|1[0-2])\b
ID        (?i)\b<NUMBERED>['’]?s?\.?(?:[ -]?(?:number|no\.?|num|nr\.?|id|plate|code|#)){0,3}\s?
          [:#=-]?\s?(<CODE>)
ID        \b\d{3}-\d{2}-\d{4}\b|#\s?\d{4,}|\b\d{2,}[-/]\d{4,}\b(?! ?<UNITS>)
ID        \b[A-Z]{1,4}[-/]?(?:\d{1,9}[-/.])?\d{4,}[\w/-]*
ID        \b[A-Z]{2} ?\d\d ?\d\d ?\d\d ?[A-D]\b|\b[A-Z]{2}\d\d [A-Z]{3}\b
ID        \b[A-Z]{2}\d\d(?: ?[A-Z\d]{4}){3,7}(?: ?[A-Z\d]{1,3})?\b
ID        \b[012](?:\.\d{1,40}){4,24}\b
ID        (?i)\b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b|\b(?=[a-f]{0,30}\d)[\da-f]{16,64}\b
ID        \b(?=(?:[A-Z-]{0,9}\d){4})[A-Z\d]{2,8}(?:-[A-Z\d]{2,8}){2,6}\b
ID        \b(?=\d{0,19}[A-Z])(?=(?:[A-Z]{0,9}\d){4})[A-Z\d]{8,24}\b
ID        \b(?i:plate|reg(?:istration)?)(?: no\.?)?:? ([A-Z\d]{1,4}[ -](?=[A-Z ]{0,3}\d)[A-Z
          \d]{1,3} ?\d{0,4})\b
ID        \b\d{6}-\d{4}\b|\b\d{3}\.\d{4}\.\d{4}\.\d\d\b
ID        (?<![\d.,-])\d{5,}(?![.,]\d)
PHONE     (?i)(?<!\w)(?:\(?\+|00(?=[1-9]))(?=(?:\D{0,3}\d){7})\d{1,3}\)?(?:<SEP>\d{1,12}){1,7}\b
          <EXT>
PHONE     (?i)(?<![\d.])(?:\+?\d{1,3}[ .-]?)?<AREA>\d{3,4}(?:[ .-]?\d{2,5}){1,4}\b(?! 000)<EXT>
PHONE     (?<![\d.])0\d(?:[ .-]\d\d){4}\b|\b\d{5} \d{5,6}\b
PHONE     (?i)\b<PHONE>(?:\s?(?:no\.?|number|at|on|is)){0,2}[.:#]*\s?#?(\+?\(?\d{1,5}(?:<SEP>
          \d{2,12}){1,6}|\d{3,15})<EXT>
PHONE     (?i)\b(?:number is|[TFM]:|reached? (?:at|on|under))\s?(\+?\(?\d{1,5}(?:<SEP>
          \d{2,12}){1,6})
PHONE     \b(?:1-)?8\d\d-[A-Z]{3,10}\b|\b\d{3} [A-Z]{4}(?=\b)(?<=CARE|HELP|CALL)|(?<![\d ] )\bx
          \d{4,5}\b
ADDRESS   \bBox \d{2,5}, <CAP>
ADDRESS   (?i)\baddress(?: is)?\s?:\s?(<FREE>)
ADDRESS   \b(?i:<LIVES>) at (?=[A-Z\d])(<FREE>?)(?= with | and | since |, (?:who|and)|[.;\n]|$)
ADDRESS   \bc/o (?=<TITLE> |\d{1,4} [A-Z])(<FREE>)
ADDRESS   \b(?:<FLAT> #?[\w/]{1,6},? ?)?<DOOR> (?:(?:<SURNAME>|<NTH>) ){1,4}(?i:<STREET>)
          <STREETTAIL>
ADDRESS   \b(?:<FLAT> #?\w{1,6}(?:/\w{1,4})?,? )?<DOOR> <NTH> (?i:<STREET>)<STREETTAIL>
ADDRESS   \b\d{1,5} [a-z]{3,15} (?:street|road|lane|avenue|crescent|terrace|boulevard)\b
ADDRESS   \b(?:<CAP> ){1,3}(?:<SURESTREET>)\b(?: \d{1,4}\b)?
ADDRESS   \b(?:<DOOR> )?(?:County|State|US|Farm)? ?(?:County Ro?a?d|Route|Highway|Hwy
          |State Road) \d{1,4}\b
ADDRESS   (?i)\b(?:Rural (?:Route|Delivery)|RR ?#|(?:RR|HC|RFD) ?#?(?=\d{1,3},? Box)) ?\d{1,3}
          (?:,? Box \d{1,5})?
ADDRESS   \b(?:Apt|Apartment|Suite|Ste)\.? #?\d{1,4}[A-Z]?\b|\bFlat \d{1,3}(?:/\d{1,2}|[A-Z])?(?=,)
ADDRESS   \b[A-ZÄÖÜ][a-zäöüß]{2,30}<ROADEND> \d{1,4}[a-z]?\b|\b\d{1,4} [A-Z][a-zß-ÿ]{2,30}<ROADEND>
          \b
ADDRESS   \b<DOOR> (?:bis |ter )?<ROAD> <OF><CAP>(?:[ -]<CAP>){0,3}
ADDRESS   \b<ROAD> <OF><CAP>(?:[ -]<CAP>){0,3},? (?:n[.º°]? ?)?\d{1,5}(?:[/-]\d{1,4})?[a-zA-Z]?\b
          (?:, \d{1,2}º? ?[A-Z]\b)?
ADDRESS   \b(?:Calle|Carrera|Avenida) \d{1,3}\w? (?:No\.?|#) ?\d{1,3}-\d{1,3}\b
ADDRESS   \b(?:Am|Im|An de[rnm]|Auf de[rm]|Unter den|In de[rn]|Zum|Zur) (?:<CAP> ){1,2}\d{1,4}
          [a-z]?\b
ADDRESS   \b(?:<CAP> ){1,3}\d{1,4}[a-z]?, (?:[A-Z]{1,2}-)?\d{4,5}(?: [A-Z]{2})? <CAP>
ADDRESS   \b(?:<CAP> ){0,2}<CAP><WHERE>\b
ADDRESS?  \b([A-Z][a-z]{2,20}(?: [A-Z][a-z]{2,20}){0,2}, (?:<STATES>))\b(?! ?\d{1,2}-)
ADDRESS   \b(?:<CAP> ){0,2}<CAP>,? (?:NSW|VIC|QLD|TAS|ACT|SA|WA|NT),? \d{4}\b
ADDRESS   \b[A-Z]{1,2}\d[A-Z\d]? ?\d(?!FU)[A-Z]{2}\b|\b(?:<CAP>,? [A-Z]{2} )?[A-Z]\d[A-Z] \d[A-Z]\d
          \b
ADDRESS   \b(?:[A-Z]{1,2}-)?\d{5} <CAP>|, (?:\d{4}|\d{3} \d\d) [A-Z][a-z]{3,20}\b|\b
          \d{4} [A-Z]{2} [A-Z][a-z]{3,20}|\b\d\d-\d{3} <CAP>
ADDRESS   (?i)\b(?:G?P\.? ?O\.? ?B(?:ox\b|\b\.?)|Post Office Box|(?:Private|Locked) Bag|Postfach
          |Apartado) ?#?[A-Z]?\d[\d ]*
ADDRESS   \b<LIVES>(?: alone| with <KIN>)? (?:in|at|of|to|from) (<CAP>(?:,? <CAP>){0,3})
HOSPITAL  \b<PARTICLE>{0,3}(?:<CAP>\.?[ -](?:(?:of|and|for|the|de) ){0,2}){1,5}<HOUSE><TOWN>?
HOSPITAL  \b<HOUSE><TOWN>
HOSPITAL  \b(?:University|Universit[a-zäöü]+|Institute|College) (?:of |Hospital )?<CAP>(?: <CAP>)?
NAME?     \b<TITLE>(?: med\.| univ\.| habil\.| Dr\.?)* (<PERSON>)
NAME?     \b(?:Dr|Mr|Mrs|Ms|DR|MRS)\.? ([a-zß-ÿ'’-]{3,30})\b
NAME?     \b(?i:<ROLE>\s?:\s{0,3}|<DONE>(?: electronically)? (?:by|with)\s?:?\s?)(<PERSON>)
NAME?     \b(?:his|her|the|their|with|patient's) (?:\w+ )?<KIN>,? (<PERSON>)
NAME?     \b(?i:<STAFF>)\.? (<PERSON>)
NAME?     \b(<PERSON>),? (?:\((?:his |her |the )?<KIN>\)|<LETTERED>\b)
NAME?     (?i:regards|sincerely|faithfully|truly|wishes|thanks|thank you),?\s{1,6}(?:<TITLE> )?(
          <PERSON>)
NAME?     \b(?:[A-Z]\. ?){1,3}<PARTICLE>{0,3}[A-ZÀ-Þ][a-zß-ÿ]{2,}(?:-[A-Z][a-z]+)?
NAME?     \b[A-ZÀ-Þ'-]{3,30},? (?:<FIRST>)\b
NAME?     \b(?i:patient|pt):? ([A-Z]{2,30}, [A-Z]{2,30}(?: [A-Z]\b)?)
NAME?     \b(?i:typed|dictated|transcribed) by:? ([a-z]{2,3})\b
NAME?     (?m)^([A-ZÀ-Þ][A-Za-zÀ-ÿ'’-]{1,30}, [A-ZÀ-Þ][A-Za-zÀ-ÿ'’-]{1,30})\b(?! (?:and|or)\b|,)
NAME?     \b<CAP>(?: <SURNAME>){0,3} <PARTICLE>{1,3}<CAP>
NAME      \b(?i:initials|reader|typist|signed|typed|dictated|checked)(?: by)?\s?:\s?([A-Z]\.?[A-Z]
          \.?(?:[A-Z]\.?)?)(?!\w)
NAME      (?m)(?<![\w/])([A-Z]{2,3}[/:][a-z]{2,3}|/[a-z]{2,3})$
AGE       \b(?:9\d|1[01]\d)(?=[ -]?(?:years?|yrs?|y/?o)\b)
AGE       (?i)(?:(?<=\bage )|(?<=\baged )|(?<=\bage: ))(?:9\d|1[01]\d)\b
"""
RULES = [(kind, pattern(rule)) for kind, rule in lines(RULES_TEXT)]
# A word that may be a name; the word that follows a first name; letters; particles before a name.
WORD = re.compile(
    r"\b[A-ZÀ-Þ](?:['’][A-ZÀ-Þ])?[a-zß-ÿ]+(?:['’-][A-ZÀ-Þ]?[a-zß-ÿ]+)*(?:[A-Z][a-z]+)?"
)
SURNAME = pattern(r" <PARTICLE>{0,3}(?:[A-Z]\. ?)?[A-ZÀ-Þ](?:['’][A-ZÀ-Þ])?[a-zß-ÿ]+[\w'’-]*")
LETTERS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
PARTICLES, PARTICLES_BEFORE = pattern("<PARTICLE>"), pattern("<PARTICLE>{1,3}$")
INITIALS_BEFORE = re.compile(r"(?:\b[A-Z](?:\.[ -]?| |(?=-[A-Z]\.))){1,3}$|\b[A-Z]{2} $")
INITIALS_AFTER = re.compile(
    r",? [A-Z]\.(?:[ -]?[A-Z]\.){0,2}| (?![ALRI]\b)[A-Z](?= [a-z])"
    r"| (?![LRI]\b)[A-Z]{1,2}(?=[,.;)]|$| \()"
)
MEDICAL = re.compile(
    "(?:omas?|itis|osis|pathy|ectomy|graphy|scopy|emia|tions?|sion|mab|nib|platin|taxel|mycin|ology"
    "|ologist|plasty|lysis|ectasis)$"
)
# What only people do: marks the first word of a sentence as a name.
ACTS = re.compile(
    " (?:reports|reported|noted|recalls|smokes|smoked|worked|drinks|wants|prefers|attended"
    "|describes|complained|mentioned|requests|requested|refused|refuses|understands|died|quit|stopped|lost"
    "|gained|received|completed|underwent|recommends|recommended|suggested|advised|performed|wrote"
    "|presented|presents|denies|denied|states|stated|called|complains|agrees|agreed|lives|returned"
    "|came|said|asked|declined|consented|tolerated|feels|wishes|works|will (?:see|call|return)"
    "|(?:was|is|has been) (?:seen|referred|admitted|reviewed|discharged|informed|an? ))"
)
# What looks like an identifier after all rules: the text is held back.
RESIDUAL_TEXT = r"""
@|//|\\\\|(?i:www\.)
(?!\d{1,3}(?: 000)+\b)\d[\d ]{4,}\d|(?<![\d.])\d{5,}|(?:\d{1,9}\.){3,9}\d
\d{2,}-\d{3,}-\d{2,}|\b\d{4}-\d\d?-\d\d?\b|\b\d\d?/\d\d?/\d{2,4}\b(?! ?<UNITS>)|\b\d{3}[.-]\d{4}\b
\b(?:Dr|Mr|Mrs|Ms|Prof|MRS|PROF)\.? [A-Z][A-Za-z]
\b[a-z][\w-]{1,62}\.[a-z]{2,24}/\w|\b[\w-]{1,62}\.<TLD>\b
\b(?:[a-z][a-z-]{2,40}\.){2,6}[a-z]{2,24}\b
\b\d{1,2}(?:st|nd|rd|th)?(?: of)?[ /.-]?<MONTH>(?<![A-Z]{3})|\b(?:<ALONE>|May|March)[ .,/-]{0,2}\d
\b(?:[A-Z][a-z]{1,40}|\d{1,3}(?:st|nd|rd|th)) (?:<SURESTREET>|Ave|Blvd|Rd|Ln|Pkwy)\b
(?i:\baddress\s?:\s?(?=[a-z\d])|\bdate of birth\s?:?\s?\d|\bdob\s?:?\s?\d)
(?i:\b(?:MRN|SSN|NHS|passport|telephone|fax)\b[^\n\[]{0,12}\d{3})
"""
RESIDUAL = pattern("|".join(RESIDUAL_TEXT.strip().splitlines()))
