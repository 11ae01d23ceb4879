"""Cells that a spreadsheet program would compute, and numbers that it may."""

import csv

import pytest

from seg_lib.data.clinical_table import escaped
from seg_lib.tables import read_case_table, write_case_table


@pytest.mark.parametrize("number", [-1e-05, "-1e-05", "+2E+3", -1e22, "-1,5e3", "-7"])
def test_a_number_with_an_exponent_stays_a_number(number):
    assert escaped(number) == str(number)


@pytest.mark.parametrize("text", ["-1e5+cmd", "-1e", "-e5", "-1e5e5", "=1e5", "-1e5 "])
def test_what_only_begins_like_a_number_is_text(text):
    assert escaped(text) == "'" + text


def test_a_table_of_results_holds_no_formula_and_reads_back(tmp_path):
    """Names of files and reports of people come into it; the writer's own "-" stays."""
    names = ["=cmd|' /C calc'!A0", "@SUM(A1)", "-12", "'quoted'", "plain"]
    reports = ["=HYPERLINK(1)", "- nodule, 8 mm", "-0.5", "+", "T2"]
    numbers = {"Dice": 0.5, "IoU": 0.333, "HD": 1.0}
    rows = [{"ID": i, "Report": r} | numbers for i, r in zip(names, reports, strict=True)]
    write_case_table(tmp_path / "t.csv", rows)
    with open(tmp_path / "t.csv", newline="") as stream:
        cells = list(csv.DictReader(stream))
    assert [row["ID"] for row in cells] == [
        *("'=cmd|' /C calc'!A0", "'@SUM(A1)", "-12", "'quoted'", "plain"),
        *("-", "-"),
    ]
    assert [row["Report"] for row in cells[:5]] == [
        *("'=HYPERLINK(1)", "'- nodule, 8 mm", "-0.5", "'+", "T2"),
    ]
    back, printed = read_case_table(tmp_path / "t.csv")
    assert [(row["ID"], row["Report"]) for row in back] == list(zip(names, reports, strict=True))
    assert printed["Avr"]["Dice"] == 0.5
