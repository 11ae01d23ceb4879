"""Lines of notes of many structures, ages, notes in small letters, sets in files."""

import json

import deidentification
import pytest
from deidentification import (
    FILES,
    development_notes,
    keep_before,
    measure,
    told_before,
)
from marked_text import left_and_lost, lines_of, measured

from seg_lib.data.deidentify import deidentify

# What stands in {} must go, what stands in <> must stay.
MARKED = r"""
{Brumal} – bed 6 – {Quast} – <post stent>; <Stent> – bed 7. {Zorb}'s daughter came; <Patient's>
    list.
Clinic letter. {Brumal, R}. DOB {1.2.50}. {ROSE QUAST}. CHART 12345. <CT CHEST>. <NAD>.
Our ref: {AB}/{C.D.}/x. <Given frailty>. Subject initials {Q.Z.}  Signed {AB} {1.2.2020}.
PATIENT: {BRUMAL, SUNG-HO}   MR: x. {Hye-jin Quast} came. <Bazett-corrected> QT; <x-ray>.
Registrar {RT Naidu} spoke; <MRI> then {Rukhsana binte Yusuf}; <CT> {Okafor}. Mother, nee
    {Quastova}.
Mr {Wilfred Day} | x. Miss {Joy Field}: <PEG> site. Fr {Field} (chaplain). {H.L. Sharp}. <neuts>.
{Dr Brumal & Associates}, {Dr Quast and Partners, Hollin Lane Surgery}; {Sai Nursing Home}; {Ward
    7B}.
At {Royal Ashford Infirmary} now; back to the {RAI}. {Pine Hollow Memorial} ED. <MDT>.
She turned {94}; lived to {one hundred}; in her {nineties}; this {nonagenarian}; he is {98},
    <well>.
Ona Brumal, {93}, holds key. <At 89>. <ninety minutes>. <HR 98>. <Sats 96>. <above 101 F>. <turned
    88>.
In her {mid-nineties}? Pt {94}f, <74f>. {101}-YR-OLD. Was {92} at the time. <a hundred beats>.
ERCP {20/7}; died {2012}; quit {2003}; {New Year 1998}; {Labor Day 2017}; {St Patrick's Day}. >>
    {26/2} – ok.
<C5/6>, <20/40>, <FEV1 2.1>, <2/12 nodes>, <in 2000 ml>, <60/30> Gy. {Oct 3rd, 2020 @ 07:24}. {NOV
    9TH, 2020}.
No {02-57-16-K}; NI {HF 99 86 20 N}; {HN-9024 / 59}; slide {hp/9866/3202}; last four {8605}.
    <mk-3475>.
<Creon 25000> x10, <Creon 25000 units>; {IMG_3249_083}; Medicare {3624 05851 4 / 0}; HP {9000
    0122}.
<fit for Whipple>. D. <Lambert-Eaton antibodies>. <18 Fr Foley>. <PEG>, <SCLC>, <SMV>,
    <Port-a-Cath>.
"""
# The tagger weighs, and so it errs: of lines without a note around them it finds most.
WEIGHED = r"""
On {Ward 4 (Male)} at {St Anna's}. <Ward round>. Tumour board, {RAI}, x. <Seen at MDT>. <At CT>.
{Wad Melati} x.
Preferred: {Kit}\nGoes by "{Brumo}". Seen with {Ada Brumal} ({Dolly}). Old: "{Old Mr Bell}", bed 2.
From: {F Brumal}, {Ona Quast}\n{FB}: resectable. {OQ} agreed; <CT> agreed; <MRI> chest.
1. {BRUMAL Ona} (x)\n2   {Quast, Ada}    x. Present: {Day}/{Long}/{Wood}\nReply.
IR {Brumal} called. Spoke w {Con} today. {Snow}/84F. <stage>/84. d/w {Hope}: yes. → {Grey} (ENT).
\nRTs: {AB}/{CD}. x | {AB}\nJOB 123456/{QZ} x. Read back | RB {KT} | y.
At {Brumal District General} and {Hexley Private}. <General> anaesthetic. {Lotus Scan & Scope
    Centre}.
Copy: {BRIDGE HOUSE SURGERY}, {CLONBRACK}. <GENERAL SURGERY>. Called to {4 Tower}, x. <Tower of
    pills>.
To: {The Old Mill, 12 Larch Road, Ashford, Co. Mayo, F26 B5J7}. BIBA from {Apartment 4, Larch
    Terrace}.
{H. No. 7-1-212, 58 4th Main, 7th Cross, Ashford 540797}. {73 Rural Route 3}. {N 9th Street}. <T4
    N0>.
{Ashford Falls}-born. {Lancs} Council. Staying at {Villa 9}, {12 Oak Tce}. <Unit dose>. <Lot>.
<Lambert-Eaton> and <Post-Whipple>; <Ludwig's angina>; <circle of Willis>; <Meckel's cave>; <level
    Ib>.
"""


@pytest.mark.parametrize("line", lines_of(MARKED))
def test_general_forms(line):
    assert left_and_lost(line) == ([], [])


def test_most_names_go_and_most_terms_stay_where_the_tagger_errs():
    gone, kept = measured(MARKED + WEIGHED)
    assert gone > 0.88 and kept > 0.85


SMALL = """pt zubair quastova 72 m from brumalgaon c/o cheek ulcer. dr p. mirza to see, \
dictated by dr ivy field. bx at lotus scan & diagnostic centre. slide no b-4241/36. \
attender rukhsana (sister). the lesion may be benign, with mild pain. documented 9/6/19 ra"""


def test_a_note_in_small_letters():
    clean = deidentify(SMALL)
    for word in ("zubair", "quastova", "brumalgaon", "mirza", "ivy", "4241", "rukhsana"):
        assert word not in clean, (word, clean)
    assert "cheek ulcer" in clean and "may be benign, with mild pain" in clean
    assert not clean.endswith("ra")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a 91-year-old woman with cough", "a woman aged 90 or older with cough"),
        ("This 92 yo frail man came", "This frail man aged 90 or older came"),
        ("She is 95 years old.", "She is aged 90 or older."),
        ("a 93-year-old, frail", "a person aged 90 or older, frail"),
        ("A 94-year-old retired farmer", "A person aged 90 or older, retired farmer"),
        ("aged 96 years, stable", "aged 90 or older, stable"),
        ("an 89-year-old woman, 45 years old", "an 89-year-old woman, 45 years old"),
        ("turned 91 in clinic", "turned 90 or older in clinic"),
    ],
)
def test_ages_read_well(monkeypatch, text, clean):
    monkeypatch.setattr("seg_lib.data.deidentify.find_by_tagger", lambda *_: [])
    assert deidentify(text) == clean


FLOORS = {  # name -> recall, word precision, terms kept: a little below what was measured
    "third author": (0.98, 0.96, 0.995),
    "fourth author": (0.975, 0.945, 0.995),
    "british": (0.965, 0.91, 0.955),
    "american": (0.95, 0.89, 0.94),
    "european": (0.95, 0.925, 0.955),
    "asian and african": (0.935, 0.89, 0.955),
    "telegraphic": (0.87, 0.905, 0.96),
    "forms": (0.955, 0.91, 0.95),
    "specialists": (0.965, 0.825, 0.91),
    "narrative": (0.96, 0.905, 0.97),
}


@pytest.mark.parametrize("name", FILES)
def test_the_sets_in_files(name):
    found = measure(development_notes(name, 0, 0))
    assert found["notes"] == (600 if "author" in name else 400)
    recall, precision, terms = FLOORS[name]
    assert found["recall"] >= recall
    lowest = 0.95 if "author" in name else 0.75  # addresses of Asia and Africa are found least
    assert min(found["recall_by_type"].values()) >= lowest
    assert found["word_precision"] >= precision and found["terms_kept"] >= terms


def test_the_rules_are_better_than_before_they_met_the_styles():
    before = json.loads(deidentification.BEFORE.read_text())
    before = before["rules mended on four sets, tagger trained on four"]
    assert len(before) == len(FILES) - 2
    for name, found in before.items():
        for floor, of in zip(FLOORS[name], ("recall", "word_precision", "terms_kept"), strict=True):
            assert floor > found[of], (name, of)


def test_what_was_measured_before_the_rules_were_mended(tmp_path, monkeypatch):
    stages = json.loads(deidentification.BEFORE.read_text())
    third, fourth, *_ = FILES
    two, three = "rules mended on two sets", "rules mended on three sets"
    tagger = ", tagger trained on three"
    for stage, name in ((two, third), (three, fourth)):
        before, after = stages[stage][name], stages[stage + tagger][name]
        assert before["recall"] < 0.9 and after["recall"] > before["recall"] + 0.04
        assert after["word_precision"] > 0.9 and after["terms_kept"] > 0.96
    told = told_before()
    assert all(f"{f['recall']:.3f} ({n})" in told for s in stages.values() for n, f in s.items())
    monkeypatch.setattr(deidentification, "measure", lambda notes: {"recall": len(notes)})
    keep_before("first", ["development"], tmp_path / "x.json")
    keep_before("second", ["third author"], tmp_path / "x.json")
    kept = json.loads((tmp_path / "x.json").read_text())
    assert kept["first"]["development"]["recall"] == 1000
    assert kept["second"]["third author"]["recall"] == 600
    (tmp_path / "y.json").write_text(json.dumps({"first": {"a": {"recall": 0.5}}}))
    assert "first: 0.500 (a)" in told_before(tmp_path / "y.json")


def test_what_looks_like_a_number_of_a_person_and_is_none():
    kept = "C34.11 and I26.99; bp 120/80; BP120/80; T10-12; report pT2N1M0; BL 450 ml; 5-6 weeks."
    assert deidentify(kept) == kept


@pytest.mark.parametrize(
    "line",
    [
        "Came on {3.vii.17}, again on {26.II.2021}, then on {10 . 7 . 21} and {12/9-23}.",
        "Seen {the third of march two thousand and twenty four} and {6th day of June 2023}.",
        "Labs {Septmber 5, 2013}, scan {7 Juli 2021}, biopsy {21 Jan 2018 14.38}.",
        "Ring {oh one five nine six double eight five double six three}, {ext 4471}, pgr {p6006}.",
        "Mother lived to {one hundred and two}; her {101st} birthday; in his {90s}; you are {94}.",
    ],
)
def test_spellings_of_the_eight_styles(line):
    assert left_and_lost(line) == ([], [])
