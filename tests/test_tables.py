"""Result tables: written, read back, and the faults of the published ones found.

The numbers are those of source documents 000 and 001; the case names are made up.
"""

import numpy as np
import pytest

from seg_lib.errors import InputError
from seg_lib.metrics import case_metrics
from seg_lib.tables import check_table, read_case_table, write_case_table


def rows_of(*cases):
    """Cases as ``read_case_table`` returns them."""
    return [{"ID": i, "Dice": d, "IoU": j, "HD": h} for i, d, j, h in cases]


TWO_CASES = rows_of(("case_a", 0.802, 0.670, 27.783), ("case_b", 0.804, 0.672, 2.209))
TWO_PRINTED = {
    "Avr": {"Dice": 0.803, "IoU": 0.671, "HD": 14.996},
    "Std": {"Dice": 0.001, "IoU": 0.001, "HD": 12.787},
}
FIVE_CASES = rows_of(
    ("case_a", 0.802, 0.670, 5.569),
    ("case_b", 0.804, 0.672, 2.209),
    ("case_c", 0.810, 0.672, 7.934),
    ("case_d", 0.798, 0.664, 4.449),
    ("case_e", 0.807, 0.670, 10.573),
)
FIVE_PRINTED = {
    "Avr": {"Dice": 0.802, "IoU": 0.666, "HD": 7.546},
    "Std": {"Dice": 0.006, "IoU": 0.004, "HD": 2.261},
}
TWENTY_DICE = [
    *[0.888, 0.589, 0.788, 0.845, 0.855, 0.854, 0.723, 0.87, 0.801, 0.272],
    *[0.311, 0.691, 0.74, 0.752, 0.461, 0.557, 0.47, 0.712, 0.728, 0.655],
]

# --- writing and reading


def test_table_as_written(tmp_path):
    write_case_table(tmp_path / "table.csv", TWO_CASES)
    assert (tmp_path / "table.csv").read_text() == (
        "no,ID,Avr,Dice,IoU,HD\n"
        "0,case_a,0.802,0.802,0.670,27.783\n"
        "1,case_b,0.804,0.804,0.672,2.209\n"
        "Avr,-,0.803,0.803,0.671,14.996\n"
        "Std,-,0.001,0.001,0.001,12.787\n"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_std_is_the_population_one(tmp_path):
    write_case_table(tmp_path / "t.csv", rows_of(("a", 0.2, 0.111, 1.0), ("b", 0.4, 0.25, 3.0)))
    _, printed = read_case_table(tmp_path / "t.csv")
    assert printed["Std"] == {"Avr": 0.1, "Dice": 0.1, "IoU": 0.07, "HD": 1.0}  # not 0.141


def test_rows_of_case_metrics_are_welcome(tmp_path):
    mask = np.ones((4, 4), dtype=bool)
    values = case_metrics(mask, mask, (1, 1))
    write_case_table(tmp_path / "t.csv", [{"case": "007", "patient": "x"} | values])
    rows, _ = read_case_table(tmp_path / "t.csv")
    assert rows == [{"ID": "007", "Avr": 1.0, "Dice": 1.0, "IoU": 1.0, "HD": 0.0}]


def test_written_tables_come_back_and_pass_their_own_check(tmp_path):
    dice = np.random.default_rng(0).uniform(0, 1, 30)
    rows = [
        {"ID": f"case, {i}", "Dice": d, "IoU": d / (2 - d), "HD": 50 * (1 - d), "Avr": d}
        for i, d in enumerate(dice)
    ]
    write_case_table(tmp_path / "t.csv", rows)
    back, printed = read_case_table(tmp_path / "t.csv")
    assert [row["ID"] for row in back] == [row["ID"] for row in rows]
    for row, again in zip(rows, back, strict=True):
        assert {n: again[n] for n in again if n != "ID"} == pytest.approx(
            {n: row[n] for n in row if n != "ID"}, abs=5.1e-4
        )
    assert check_table(back, printed, announced_cases=30) == []


def test_report_column(tmp_path):
    rows = [{**TWO_CASES[0], "Report": 'T2, "upper" lobe\nleft'}, TWO_CASES[1]]
    write_case_table(tmp_path / "t.csv", rows)
    back, printed = read_case_table(tmp_path / "t.csv")
    assert back[0]["Report"] == rows[0]["Report"]
    assert "Report" not in back[1] and printed == {
        name: {"Avr": values["Dice"], **values} for name, values in TWO_PRINTED.items()
    }


def test_the_twenty_cases_of_source_000_can_be_averaged_again(tmp_path):
    """Tabs, a column H, an Avr only, no numbers under Dice, IoU and H."""
    lines = ["ID\tAvr\tDice\tIoU\tH", *[f"c{i}\t{d}\t\t\t" for i, d in enumerate(TWENTY_DICE)]]
    (tmp_path / "seed.tsv").write_text("\n".join(lines) + "\n\n")
    rows, printed = read_case_table(tmp_path / "seed.tsv")
    average = [row["Avr"] for row in rows]
    assert printed == {} and rows[7] == {"ID": "c7", "Avr": 0.87}
    assert np.mean(average) == pytest.approx(0.678, abs=5e-4)
    assert np.std(average) == pytest.approx(0.177, abs=5e-4)  # 0.182 with n - 1
    assert (min(average), np.median(average), max(average)) == (0.272, 0.7255, 0.888)
    summary = {"Avr": {"Avr": 0.678, "Dice": 0.678}}
    assert check_table(rows, summary) == [
        "Avr of Dice is printed as 0.678, but Dice is not in every row"
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("ID,IoU\na,0.5\n", "needs ID and Dice"),
        ("ID,Dice,Dice\na,0.5,0.5\n", "each name once"),
        ("ID,Dice\na,0.5\nb,0,7\n", r"line 3: 3 cells under 2 columns"),
        ("ID,Dice\na,0.5\n\nb,good\n", r"line 4, Dice: 'good' is not a number"),
        ("ID,Dice\na,nan\n", r"line 2, Dice: 'nan' is not a number"),
        ("ID,Dice\na,inf\n", r"line 2, Dice: 'inf'"),
        (b"ID,Dice\n\xff\xfe,0.5\n", "cannot be read as a table in UTF-8"),
    ],
)
def test_unreadable_tables(tmp_path, text, says):
    path = tmp_path / "bad.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=rf"bad.csv.*{says}"):
        read_case_table(path)


def test_missing_table(tmp_path):
    with pytest.raises(InputError, match="absent.csv: cannot be read"):
        read_case_table(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no cases to write"),
        ([{"Dice": 0.5, "IoU": 0.3, "HD": 1.0}], "each case needs an ID"),
        ([{"ID": "a", "Dice": 0.5, "HD": 1.0}], "case a: IoU is None"),
        ([{"ID": "a", "Dice": 0.5, "IoU": 0.333, "HD": float("inf")}], "case a: HD is inf"),
        ([{"ID": "a", "Dice": "0.5", "IoU": 0.333, "HD": 1.0}], "case a: Avr is 0.5|Dice is 0.5"),
    ],
)
def test_rows_that_cannot_be_written(tmp_path, rows, says):
    with pytest.raises(InputError, match=says):
        write_case_table(tmp_path / "t.csv", rows)
    assert list(tmp_path.iterdir()) == []


# --- checking


def test_two_published_cases_are_consistent_but_too_few():
    assert check_table(TWO_CASES, TWO_PRINTED) == ["n = 2: an interval cannot be given"]


def test_five_published_cases_contradict_themselves():
    assert check_table(FIVE_CASES, FIVE_PRINTED) == [
        "row 3 (ID case_c): Dice 0.810 implies IoU 0.681, printed 0.672",
        "row 5 (ID case_e): Dice 0.807 implies IoU 0.676, printed 0.670",
        "Avr of Dice is printed as 0.802, the rows give 0.804",
        "Avr of IoU is printed as 0.666, the rows give 0.670",
        "Avr of HD is printed as 7.546, the rows give 6.147",
        "Std of Dice is printed as 0.006, the rows give 0.004",
        "Std of HD is printed as 2.261, the rows give 2.881",
    ]


def test_ten_announced_nine_listed():
    dice = [0.795, 0.800, 0.803, 0.798, 0.805, 0.796, 0.802, 0.799, 0.801]
    iou = [0.661, 0.667, 0.670, 0.665, 0.673, 0.662, 0.669, 0.666, 0.668]
    hd = [21.235, 18.121, 14.553, 17.843, 11.654, 23.776, 13.249, 19.384, 15.612]
    rows = rows_of(*zip("abcdefghi", dice, iou, hd, strict=True))
    printed = {"Avr": {"Dice": 0.800, "IoU": 0.667, "HD": 17.270}}
    assert check_table(rows, printed, announced_cases=10) == [
        "10 cases are announced, the table lists 9",
        "row 1 (ID a): Dice 0.795 implies IoU 0.660, printed 0.661",  # 0.7955 gives 0.6604 at most
    ]


def test_one_case_in_two_tables_with_two_distances():
    """Source 001: the same case has HD 27.783 in one table and 5.569 in the next."""
    findings = check_table(TWO_CASES + FIVE_CASES)
    assert "ID case_a appears 2 times with different HD" in findings
    assert "ID case_b appears 2 times with the same values" in findings
    changed = rows_of(("x", 0.5, 0.333, 1.0)) * 4 + rows_of(("x", 0.6, 0.429, 1.0))
    assert check_table(changed) == ["ID x appears 5 times with different Dice and IoU"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Dice": 1.2, "IoU": 1.5}, ["Dice is 1.2", "IoU is 1.5"]),
        ({"HD": -1.0}, ["HD is -1.0"]),
        ({"Dice": float("nan")}, ["Dice is nan"]),
    ],
)
def test_impossible_values(changes, says):
    rows = [dict(row) for row in FIVE_CASES]
    rows[0] |= changes
    found = [f for f in check_table(rows) if "impossible" in f]
    assert found == [f"row 1 (ID case_a): {what}, which is impossible" for what in says]


@pytest.mark.parametrize("dice", np.linspace(0, 1, 41).round(4).tolist())
def test_rounding_alone_is_never_a_finding(dice):
    rows = rows_of(*[(str(i), round(dice, 3), round(dice / (2 - dice), 3), 1.0) for i in range(5)])
    assert check_table(rows) == []


@pytest.mark.parametrize("seed", range(20))
def test_rounded_summaries_are_never_a_finding(seed):
    rng = np.random.default_rng(seed)
    exact = rng.uniform(0.3, 0.9, rng.integers(2, 9))
    rows = [{"ID": str(i), "Dice": round(d, 3)} for i, d in enumerate(exact)]
    for ddof in (0, 1):  # either form of the standard deviation is accepted
        printed = {
            "Avr": {"Dice": round(exact.mean(), 3)},
            "Std": {"Dice": round(exact.std(ddof=ddof), 3)},
        }
        assert [f for f in check_table(rows, printed) if "printed" in f] == []
    printed["Avr"]["Dice"] += 0.002
    assert len([f for f in check_table(rows, printed) if "Avr of Dice" in f]) == 1
