"""Identifiers go, clinical words stay, and what may still hold one is held back."""

import json
import re
import sys
import time
from pathlib import Path

import pytest

from seg_lib import cli
from seg_lib.data.deidentify import deidentify
from seg_lib.errors import InputError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
from deidentification import held_back, measure  # noqa: E402
from made_up_notes import made_up_notes  # noqa: E402


@pytest.fixture(scope="module")
def development():
    return made_up_notes("development", 400, seed=3)


def test_recall_precision_and_terms_on_the_development_set(development):
    found = measure(development)
    assert found["recall"] >= 0.99 and min(found["recall_by_type"].values()) >= 0.95
    assert len(found["recall_by_type"]) == 9
    assert found["word_precision"] >= 0.90 and found["terms_kept"] >= 0.98


def test_the_held_out_set_is_told_apart_and_its_names_and_numbers_are_found():
    """Lower than on the development set, and so it is published."""
    found = measure(made_up_notes("held out", 400, seed=3))
    assert found["recall"] >= 0.90 and found["recall_by_type"]["NAME"] >= 0.95
    assert found["word_precision"] >= 0.90
    stored = json.loads((BENCHMARKS / "results" / "deidentification.json").read_text())["results"]
    assert stored["held out"]["recall"] == pytest.approx(found["recall"], abs=0.02)
    assert stored["development"]["recall"] >= 0.99


def test_the_measure_can_fail(development, monkeypatch):
    monkeypatch.setattr("deidentification.find_identifiers", lambda text: [(0, 3, "NAME")])
    found = measure(development)
    assert found["recall"] < 0.2 and found["word_precision"] < 0.9


def test_the_sets_share_neither_names_nor_templates():
    pools = json.loads((BENCHMARKS / "made_up_notes.json").read_text())
    for name in ("FIRST", "LAST", "CITY", "TEMPLATES", "MAILS", "IDS"):
        assert not set(pools[name]["development"]) & set(pools[name]["held out"]), name


def test_known_identifiers_go_whatever_the_rules_miss():
    for note in made_up_notes("held out", 60, seed=5):
        try:
            clean = deidentify(note.text, known=note.known)
        except InputError:
            continue  # held back, not written
        for start, end, kind in note.spans:
            value = note.text[start:end]
            if kind in ("NAME", "ID", "PHONE") and not value.isdigit():
                assert value not in clean


def test_a_thousand_notes_take_little_time(development):
    start = time.process_time()
    assert held_back(development) < 20
    assert (time.process_time() - start) * 1000 / len(development) < 2


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


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ("Jürgen Müller", "muller was here, and MUELLER, and Jurgen"),
        ("1950-04-03", "on 03.04.50, 4/3/1950, April 3, 1950 and 3-Apr-1950"),
        ("03/04/1950", "on 1950-04-03 or 1950-03-04"),
        ("00812345", "no 812345, 0081 2345, 812-345"),
        ("O'Hara", "o hara? no: O'HARA"),
    ],
)
def test_known_identifiers_go_in_all_spellings(known, text):
    clean = deidentify(text, known=[known]).lower()
    words = ("muller", "mueller", "jurgen", "1950", "apr", "812", "hara")
    assert not [word for word in words if word in clean], clean


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
    "piece", ["A ", "Aaa van ", "1 ", "12-", "a.b", "Dr. ", "St. ", "a@", "1234567890", "9 Oak "]
)
def test_no_text_keeps_a_rule_busy(piece):
    start = time.process_time()
    try:
        deidentify(piece * (20_000 // len(piece)) + "x")
    except InputError as held:
        assert re.match("line 1", str(held))
    assert time.process_time() - start < 5
