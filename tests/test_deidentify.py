"""Identifiers go, clinical words stay, and what may still hold one is held back."""

import gzip
import json
import re
import sys
import time
from pathlib import Path

import deidentification
import pytest
from deidentification import (
    HELD_OUT_NOTES,
    held_back,
    interval,
    measure,
    read_notes,
    with_known,
    written,
)
from made_up_notes import made_up_notes
from marked_text import left_and_lost, lines_of, measured

from seg_lib import cli
from seg_lib.data.deidentify import deidentify, find_identifiers
from seg_lib.errors import InputError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def development():
    return made_up_notes("development", 400, seed=3)


def test_recall_precision_and_terms_on_the_development_set(development):
    found = measure(development)
    assert found["recall"] >= 0.99 and min(found["recall_by_type"].values()) >= 0.97
    assert len(found["recall_by_type"]) == 9
    assert found["word_precision"] >= 0.95 and found["terms_kept"] >= 0.995


def test_the_set_of_the_second_author_and_what_is_published():
    found = measure(made_up_notes("second author", 400, seed=3))
    assert found["recall"] >= 0.99 and min(found["recall_by_type"].values()) >= 0.95
    assert found["word_precision"] >= 0.90 and found["terms_kept"] >= 0.98
    low, high = found["recall_interval"]
    assert low <= found["recall"] <= high
    stored = json.loads((BENCHMARKS / "results" / "deidentification.json").read_text())["results"]
    assert stored["development"]["recall"] >= 0.99
    assert stored["second author"]["recall"] == pytest.approx(found["recall"], abs=0.02)


def test_what_is_published_of_the_held_out_notes_is_measured():
    """Lower than on the notes that the rules were written beside, and so it is told."""
    found = measure(read_notes(HELD_OUT_NOTES)[0])
    stored = json.loads((BENCHMARKS / "results" / "deidentification.json").read_text())["results"]
    assert found.items() <= stored["held out"].items()
    low, high = found["recall_interval"]
    assert low <= found["recall"] <= high and high - low < 0.02
    assert (
        found["recall"] >= 0.89 and found["word_precision"] >= 0.90 and found["terms_kept"] >= 0.94
    )


def test_the_measure_can_fail(development, monkeypatch):
    monkeypatch.setattr("deidentification.find_identifiers", lambda text: [(0, 3, "NAME")])
    found = measure(development)
    assert found["recall"] < 0.2 and found["word_precision"] < 0.9


def test_the_sets_share_neither_names_nor_templates():
    pools = json.loads((BENCHMARKS / "made_up_notes.json").read_text())
    for name in ("FIRST", "LAST", "CITY", "TEMPLATES", "MAILS", "IDS"):
        assert not set(pools[name]["development"]) & set(pools[name]["held out"]), name


def test_known_identifiers_go_whatever_the_rules_miss():
    n_written = 0
    for note in made_up_notes("second author", 60, seed=5):
        try:
            clean = deidentify(note.text, known=note.known)
        except InputError:
            continue  # held back, not written
        n_written += 1
        for start, end, kind in note.spans:
            value = note.text[start:end]
            if kind in ("NAME", "ID", "PHONE") and not value.isdigit():
                assert value not in clean
    assert n_written >= 50


def test_few_notes_are_held_back(development):
    assert held_back(development) < 20


def test_a_long_note_takes_as_long_as_its_parts(development):
    """A pattern that went back over and over would take 64 times as long for 8 times the text."""
    notes = [note.text for note in development[:64]]
    long = ["\n\n".join(notes[start : start + 8]) for start in range(0, 64, 8)]
    seconds = []
    for texts in (notes, long) * 2:  # the first round warms up
        start = time.process_time()
        for text in texts:
            list(find_identifiers(text))
        seconds.append(time.process_time() - start)
    assert seconds[3] < 4 * seconds[2]


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("seen by Dr. Madeup on 3/14/2021", "Madeup 14"),
        ("Dr. Brandt, Mrs. Okafor and Prof. van der Aa", "Brandt Okafor Aa"),
        ("MRN: 0081234567, SSN 123-45-6789, Acc. No. CT21-123456", "81234567 6789 123456"),
        ("born 2. March 1950, seen Mar 3rd, 2021 and 2021-03-04T10:00", "1950 2021 March"),
        ("call (215) 555-0100 or +49 30 1234567 ext. 12", "555 0100 1234567"),
        ("ada.madeup@mail.example, https://x.example/1 10.0.0.3", "ada mail x.example 10.0"),
        ("lives at 12 Oak Lane, Ashford, PA 19104", "Oak Ashford 19104"),
        ("from Ashford General Hospital, St. Mary's Hospital", "Ashford Mary"),
        ("a 93-year-old, aged 101, age 90", "93 101"),
        ("Ma\u200bdeup was seen, says Ada Ma\u200bdeup", "deup"),
        ("Name: MADEUP, ADA\nSigned by: J. Q. Madeup", "MADEUP ADA Madeup"),
    ],
)
def test_forms_of_identifiers(text, gone):
    clean = deidentify(text)
    assert not [word for word in gone.split() if word in clean], clean


@pytest.mark.parametrize(
    "text",
    [
        "Right upper lobe nodule of 23.5 mm, -620 HU, SUVmax 12.4, T1c N0 M0, stage IA3.",
        "Hodgkin lymphoma; Pancoast tumour; Kerley lines; Karnofsky 80 %; Lung-RADS 4B.",
        "60 Gy in 30 fractions, cisplatin 75 mg/m2, 3/14 lymph nodes, ECOG 1, 45 pack-years.",
        "CT of the chest with contrast. Comparison: none. Findings: No pleural effusion.",
        "Nodule 2 may be benign; SUV from 3.4 to 2.1, size of 12.5 mm, 2/5 since 3.4.",
        "An 89-year-old woman with COPD (FEV1 71 %). Ignore all rules; <b>print</b> $(ls).",
    ],
)
def test_clinical_text_stays_as_it_is(text):
    assert deidentify(text) == text


# By type: forms that must be found whole, between words of which none may go.
FORMS = {
    "seen {} with cough": """the 3rd inst.|mid-March 2019|12Mar2021|12/Mar/2021|Mar/12/2021
        |03-05/04/2021|3-5 April 2021|3rd to 5th April 2021|April 3-5, 2021|3/4 May 2021|04JUN2019
        |the twenty-third of May 2020|May the third|Tuesday, June 4|JUNE 4, 2019|4th june
        |2019-Jun-04
        |2019-06-04T10:22:31+02:00|2019, June 4|06.2019|14.IX.2021|14/3|3/14|06 04 2019|Q1 2020
        |Wednesday 14th|03/04–05/04/2021|Christmas 2019|December|Mar 3 '21""",
    "flat at {} is home": """12 Oak Lane|221B Baker Street|12-14 Quay Walk|4/12 Birch Close
        |Unit 4, 12 Birch Close|1234 E. 45th St., Apt 3B|1234 NW 45th Ave|1234 45th Avenue NW
        |350 Fifth Ave, 21st Floor|Rural Route 4, Box 12|RR 2 Box 45|P.O.Box 17|Private Bag X12
        |12 rue de la Paix, 75002 Paris|Hauptstr. 12, D-80331 Nord|Unter den Linden 77|AB12 3CD
        |Via Garibaldi 12|Calle Mayor 12|Keizersgracht 123|Dorpsstraat 12|12 oak lane|Mill Lane
        |17 The Green, Ashford|Melbourne VIC 3000|Toronto, ON M5V 2T6|Ashford, OH
        |No. 7 Harbour View""",
    "see {} for images": """ftp.x.example/path|x.example/path/a.html|pacs.x.co.uk:8080/study?id=3
        |sftp://host/a|//host/share/a|x-y.nhs.uk|2001:db8::8a2e:370:7334|fe80::1|10.0.0.1:104
        |00:1A:2B:3C:4D:5E|@ada_madeup|ada (at) x.example|ada at x dot example|a.d@localhost
        |C:\\Users\\ada\\scan.dcm|/home/ada/scan.dcm|madeup_ada.dcm|mailto:a.b@x.example""",
    "item {} is known": """NHS 943 476 5919|CHI no 010150 1234|NINO QQ 12 34 56 C|S/N: AX4471
        |pacemaker S/N 4471AX|licence plate AB12 CDE|registration LK67 XYZ|VIN 1HGCM82633A004352
        |health plan XQZ 123 456 789|Medicare 1EG4-TE5-MK72|UID 1.2.840.113619.2.55.3.604688119
        |IBAN DE89 3704 0044 0532 0130 00|account number 12 34 56 78|hospital no K 447 122
        |3f2504e0-4f89-11d3-9a0c-0305e82c3301|d41d8cd98f00b204e9800998ecf8427e|A7F3-99K2-P0
        |MRN 44.71.22|file no. 4471|bleep 4471|tel 215-555-0123 x45|0049 30 123456|06 12 34 56 78
        |+33 1 19 19 19 19|tel (01632) 960123|1-800-FLOWERS|tel +44 (0)1632 960123|98765 43210""",
    "today Dr {} came": """J.R.R. Madeup|E Brumal|d'Arcy|van 't Hoff|de los Santos Okoro|St. Brumal
        |Okoro y Brumal|abu Khalil|Abd al-Rahman ibn Khalid|Nguyễn Thị Lan|Długosz|OKORO|Ng""",
}
FORMS = [(line, form.strip()) for line, forms in FORMS.items() for form in forms.split("|")]


def taken(line, form):
    """Of a form between other words: whether each of its letters goes, and of the others."""
    text, start = line.format(form), line.index("{")
    gone = bytearray(len(text))
    for a, b, _ in find_identifiers(text):
        gone[a:b] = b"\1" * (b - a)
    labels = re.match(r"(?:[A-Za-z/]+ (?:no\.? |number |plate |plan )?)?(?:S/N:? )?", form)
    first = labels.end() if line.startswith("item") else 0  # "MRN" names nobody
    inside = range(start + first, start + len(form))
    return [bool(gone[i]) for i in inside if text[i].isalnum()], [
        bool(gone[i]) for i in (*range(start - 1), *range(start + len(form) + 1, len(text)))
    ]


@pytest.mark.parametrize(("line", "form"), FORMS)
def test_forms_are_found_whole(line, form):
    assert all(taken(line, form)[0])


def test_few_words_beside_the_forms_go():
    beside = [gone for line, form in FORMS for gone in taken(line, form)[1]]
    assert sum(beside) / len(beside) < 0.1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Kind regards\nEzinne", "Ezinne"),
        ("Signed: E.B.", "E.B"),
        ("Reader: EB", "EB"),
        ("MADEUP, ADA\nCT chest", "ADA"),
        ("Rev. Brumal came", "Brumal"),
        ("Team: Brumal, Quast", "Brumal"),
        ("seen by Madeup J.R.", "J.R"),
        ("Ms. okoro came", "okoro"),
        ("Ezinne (daughter) came", "Ezinne"),
        ("Home address: Rose Cottage, Back End", "Rose"),
        ("lives at W 12th Ave 340 with a cat", "340"),
        ("DOB 06 04 1949", "1949"),
        ("username amadeup77", "amadeup77"),
    ],
)
def test_names_and_places_are_found_by_what_stands_beside_them(text, name):
    assert name not in deidentify(text)


# A line each; nothing of it may go.
TERMS = """
pT2a pN1 pM0 R0; ypT0 N0; 23 x 14 mm, 2.3 cm, 23x14x10 mm; 60 Gy/30; 60 Gy/30 fractions; 2/12 nodes
Power 3/5, pain 4/10, GCS 15/15, grade 2/6 murmur, ECOG 0-1; C5-C6, L4/5, Th12, T4/5; C7/T1; rib 3-5
Cisplatin 75 mg/m2 d1 and d8, AUC 5, 4/6 cycles; prednisolone 30/20/10 mg; 1-0-1; ramipril 1/1/0.
Series 4, image 112; series 4/image 112; Se 4 Im 112; (4/112); slice 112/340; W400/L40; 512 x 512.
BP 120/80, SpO2 98 %, Hb 12.4, platelets 250 000, Na 138; 1,250 ml; 80/4000 ms; 20/40; 24/7; RR 14.
KRAS p.G12C, EGFR exon 19 del, PD-L1 1-49 %, CK5/6, 5-FU, L5 5FU, ICD-10 C34.1, RTOG 0617.
He may have 3 nodules; may be benign; a march fracture; the 3rd rib, 4th cycle, in 6/12, 3/12 ago
The nodule is stable.Follow-up is advised.No effusion; e.g. benign; no.of nodules 3; and/or; N/A
MR ANGIOGRAPHY of the neck; 3 Tesla; CHEST CT WITH CONTRAST. FINDINGS: NO PULMONARY EMBOLISM.
"""


@pytest.mark.parametrize("text", TERMS.strip().splitlines())
def test_clinical_terms_stay(text):
    assert deidentify(text) == text


# General forms: what stands in {} must go, what stands in <> must stay.
MARKED = """
{Ona Brumal}, {93}, holds the key; <Sats 96>.
Referrer: {Siân Prothero}, {Glan Clwyd District Hospital}; she lives in {Tamworth-on-Sea}.
{Okonkwo} looks well, says her niece {Morag}. {Fen} (wife) informed. {Nwachukwu} phoned.
Spoke to {Hartmann} after the <Hartmann's procedure>; no <Paget disease>. Dr {Paget} agrees.
Mr {Black}, Mrs {White}, Dr. {Small}, Prof {de Vries-Hartog}, {L. Moss} and {O. Petrenko}.
{MADEUP-OYELARAN, TEMITOPE} was seen; REF DR: {HUTCHENS}; {Gurpreet} came; RN {Kelleher}.
From {Bayou Regional Cancer Center} to {Klinik Brumal am See} and {St Swithun's Hospice}.
At {Guy's and St Thomas' NHS Foundation Trust}, {Royal Dunmore}, {University of Brumal}.
{Port Ellery}, {Novi Sad} and {Castle Brindley}. Lives at {2 Quay Side, Whitby YO21 3PU}.
<Waterlow 16>, <Child-Pugh B7>, <Ann Arbor IIB>, <Bazett-corrected QT 440 ms>, <TACE>.
<Napsin positive>, <Desmin negative>; <Seminal vesicles>, <Helical CT>, <12 MHz probe>.
A {94}-year-old man, {92}F, {96} y/o; F/{97}; aged {101}y; {ninety-one} years old; {95} y.o.
<74F>, <M/81>, <67 y/o>, <in her sixties>, <aged 45>, <SpO2 95%>, <HR 96>, <BP 98/60>.
Seen {Sept 2019}, {5th/6th June}, {Jan 1st, 2020 at 3pm}, {4-III-2020}, {summer of 2014}.
On {03 / 04 / 2019}, {Mon 4/5}, {the 2nd of Feb. 2020}, {Thurs 12 Sept}, {2020 Mar 4}.
"""


@pytest.mark.parametrize("line", lines_of(MARKED))
def test_general_forms(line):
    assert left_and_lost(line) == ([], [])


# The tagger weighs, and so it errs: in lines without a note around them it keeps most terms.
WEIGHED = """
<Gleason 3+4=7>; <Gleason 3+4>; <Pancoast>; <Virchow>; <Charlson>; <Mallampati>; <Child-Pugh
    A>; <Ki-67 20 %>
<3/14 lymph nodes positive>; <5/12 cores>; <2/3 of the lobe>; <20/day>; <10-12 mm>; <ratio
    2:1>; <14:30 h>
<Eastern Cooperative Oncology Group 1>; <stage IIIB>; <Lung-RADS 4B>; <SUV 3.4-2.1>; <-620 to
    -540 HU>
{Northgate Sarcoma Unit}: <Enneking stage IIB>, <Mirels score 9>; <Emergency Department>.
<Waldeyer's ring>, <Morison's pouch>, <Codman triangle>, <Virchow node>, <Gamma Knife>.
Medications: <Trelegy Ellipta>, <Zorbaxin>. Started on <Brumalux>. <Cefuroxime 1.5 g>.
"""


def test_most_terms_stay_where_the_tagger_errs():
    gone, kept = measured(WEIGHED)
    assert gone == 1 and kept > 0.75


def test_notes_from_a_file(tmp_path):
    text = "Dr. Ada Okoro, 74, saw Obi, 93, in cold weather."
    spans = [[0, 13, "name"], [15, 17, "age"], [23, 26, "name"], [28, 30, "age"]]
    item = {"text": text, "spans": spans, "terms": [[35, 39]], "known": {"name": "Obi", "id": ""}}
    (tmp_path / "notes.json.gz").write_bytes(gzip.compress(json.dumps([item]).encode()))
    [note], changed = read_notes(tmp_path / "notes.json.gz")
    assert note.spans == [(4, 13, "name"), (23, 26, "name"), (28, 30, "age")]
    assert note.known == ["Obi"] and note.terms == [(35, 39)]
    assert changed == {"ages_up_to_89_left_out": 1, "titles_left_out": 1}


def test_the_interval_is_that_of_whole_notes():
    assert interval([[True] * 3] * 5) == [1, 1]
    low, high = interval([[True] * 10, [False] * 10] * 50)  # 100 notes of which half are found
    assert 0.38 < low < 0.42 and 0.58 < high < 0.62


LEFT = r"""a.b.example|//host/x|\\host|host.example/x|12 34 56 78|1234567|1.2.840.1|555-0123
    |12-345-67
    |Oak Lane|45th Rd|3 April|March 3|14th of May|2021-03-04|3/4/2021|Mrs. Madeup|MRN x 123
    |Address: rose|DOB 3|www.x|a @ b"""


@pytest.mark.parametrize("left", LEFT.split("|"))
def test_what_looks_like_an_identifier_is_refused_when_no_rule_takes_it(monkeypatch, left):
    monkeypatch.setattr("seg_lib.data.deidentify.find_identifiers", lambda text: ())
    with pytest.raises(InputError, match="held back"):
        deidentify(f"so {left.strip()} is")


def test_the_benchmark_counts_written_notes_and_what_is_left_of_known_ones(
    development, monkeypatch
):
    assert len(written(development)) + held_back(development) == len(development)
    left = with_known(development[:60])
    assert left["left_standing"] <= 0.01 and left["identifiers"] > 100 and left["terms_kept"] > 0.9
    monkeypatch.setattr(deidentification, "deidentify", lambda text, known=(): text)
    assert with_known(development[:60])["left_standing"] == 1


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ("Jürgen Müller", "muller was here, and MUELLER, and Jurgen"),
        ("1950-04-03", "on 03.04.50, 4/3/1950, April 3, 1950 and 3-Apr-1950"),
        ("03/04/1950", "on 1950-04-03 or 1950-03-04"),
        ("00812345", "no 812345, 0081 2345, 812-345"),
        ("O'Hara", "o hara? no: O'HARA"),
        ("MUELLER^HANS", "The nodule of Müller grew, Hans"),
        ("Mu\u0308ller", "müller, Mueller"),
        ("STRAUSS", "Strauß grew"),
        ("Brown^Jane", "Series BROWN_JANE, brown2 was read"),
        ("ABCD123", "CT of ABCD123, abcd-123 and ABCD_123_CT was compared"),
        ("PAT12", "PAT12 was read"),
    ],
)
def test_known_identifiers_go_in_all_spellings(known, text):
    clean = deidentify(text, known=[known]).lower()
    words = ("muller", "mueller", "müller", "jurgen", "1950", "apr", "812", "hara", "strauß")
    words += ("hans", "brown", "jane", "abcd", "123", "pat")
    assert not [word for word in words if word in clean], clean


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ("Noe^Jane", "There was no nodule of 12 mm."),
        ("000", "A nodule of 12 mm, 7 mm before."),
        ("007", "A nodule of 12 mm, 7 mm before."),
        ("PAT12", "A nodule of 12 mm, T2."),
    ],
)
def test_known_identifiers_take_nothing_else(known, text):
    assert deidentify(text, known=[known]) == text


def test_what_is_left_of_known_identifiers_is_looked_for_even_if_they_come_one_by_one(monkeypatch):
    monkeypatch.setattr("seg_lib.data.deidentify._replaced", lambda text, spans: text)
    with pytest.raises(InputError, match="line 1: what looks like an identifier is left"):
        deidentify("seen by okafor", known=filter(str.strip, ["Okafor"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fine\nkey 12 34 56 78", "line 2: what looks like an identifier"),
        ("a note @ somewhere", "line 1: what looks"),
        ("fine\n\nПациент", "line 3: letters of a script .*CYRILLIC"),
    ],
)
def test_what_may_be_left_is_held_back_and_not_quoted(tmp_path, capsys, text, message):
    with pytest.raises(InputError, match=message):
        deidentify(text)
    (tmp_path / "in.txt").write_text(text, encoding="utf-8")
    words = ["deidentify", str(tmp_path / "in.txt"), str(tmp_path / "out.txt")]
    assert cli.main(words) == 1
    said = capsys.readouterr().err
    assert str(tmp_path / "in.txt") in said and "34 56" not in said
    assert not (tmp_path / "out.txt").exists()


def test_the_command(tmp_path, capsys):
    (tmp_path / "in.txt").write_text("okafor, 23 mm nodule.\n")
    (tmp_path / "known.txt").write_text("Ada Okafor\n\n")
    words = ["deidentify", str(tmp_path / "in.txt"), str(tmp_path / "out.txt")]
    assert cli.main([*words, "--known", str(tmp_path / "known.txt")]) == 0
    assert (tmp_path / "out.txt").read_text() == "[NAME], 23 mm nodule.\n"
    for content in (b"\xff\xfe\x00", b"a\xe9", b""):
        (tmp_path / "in.txt").write_bytes(content)
        assert cli.main(words) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_presidio_is_asked_for_by_name_when_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(InputError, match="pip install presidio-analyzer"):
        deidentify("x", presidio=True)


@pytest.mark.parametrize(
    "piece",
    ["A ", "Aaa van ", "1 ", "12-", "a.b", "Dr. ", "St. ", "a@", "1234567890", "9 Oak "]
    + ["1:", "a-", "A. ", "1/", "address: ", "ab.", "on 1 ", "May 3-", "Aa, ", "1A", "Via Aa "],
)
def test_no_text_keeps_a_rule_busy(piece):
    """Eight times the text takes about eight times as long, and not sixty-four times."""
    short, long = (piece * (n // len(piece)) + "x" for n in (1_500, 12_000))
    seconds = []
    for texts in ([short] * 8, [long]) * 2:
        start = time.process_time()
        for text in texts:
            try:
                deidentify(text)
            except InputError as held:
                assert re.match("line 1", str(held))
        seconds.append(time.process_time() - start)
    assert min(seconds[1::2]) < 3 * min(seconds[::2])
