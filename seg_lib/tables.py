"""Tables of results per case: write them, read them, and check whether their numbers can be true.

The format is that of the source documents 000 and 001 (MM-LLM-RO's result file): one line a case,
then the mean (Avr) and the population standard deviation (Std), three decimals:

    no,ID,Avr,Dice,IoU,HD
    0,case_07,0.802,0.802,0.670,5.569
    ...
    Avr,-,0.803,0.803,0.671,14.996
    Std,-,0.001,0.001,0.001,12.787

The column Avr is the mean Dice over the classes of a case; with one class it is the Dice. HD is in
mm here. Taught in notebook 13.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from statistics import fmean, pstdev, stdev

from seg_lib.data.clinical_table import escaped
from seg_lib.errors import InputError
from seg_lib.files import write_text

NUMBERS = ("Avr", "Dice", "IoU", "HD")
NAMES = {"ID": "case", "Dice": "dice", "IoU": "iou", "HD": "hd_mm", "Report": "report"}
FEWEST_FOR_AN_INTERVAL = 5
HALF = 0.0005  # a number printed with three decimals stands for all within this distance

Row = Mapping[str, str | float]


def write_case_table(path: str | Path, rows: Iterable[Row]) -> None:
    """Write one line per case, then Avr and Std (population), with three decimals.

    Args:
        path: the CSV; whole or not there at all.
        rows: one mapping per case with ID, Dice, IoU, HD, or with the names of
            ``evaluation.evaluate_cases``: case, dice, iou, hd_mm. Optional: Avr (otherwise the
            Dice), and Report, a text that becomes the last column. What a spreadsheet would take
            for a formula gets an apostrophe, which ``read_case_table`` takes off.

    Raises:
        InputError: no rows, a value missing or not finite; names the case.

    Source: 000, 001.
    """
    cases = [_named(row) for row in rows]
    if not cases:
        raise InputError(f"{path}: no cases to write; evaluate at least one.")
    report = ["Report"] if any("Report" in case for case in cases) else []
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["no", "ID", *NUMBERS, *report])
    for number, case in enumerate(cases):
        values = [f"{case[name]:.3f}" for name in NUMBERS]
        name, *told = (escaped(case.get(column)) for column in ("ID", *report))
        table.writerow([number, name, *values, *told])
    for name, summary in {"Avr": fmean, "Std": pstdev}.items():
        values = [f"{summary([case[column] for case in cases]):.3f}" for column in NUMBERS]
        table.writerow([name, "-", *values, *["" for _ in report]])
    write_text(path, text.getvalue())


def _named(row: Row) -> dict:
    """A row under the names of the table, its numbers checked."""
    case = {name: row.get(name, row.get(ours)) for name, ours in NAMES.items()}
    case = {name: value for name, value in case.items() if value is not None}
    case["Avr"] = row.get("Avr", case.get("Dice"))
    if "ID" not in case:
        raise InputError(f"a row with the keys {list(row)}; each case needs an ID.")
    for name in NUMBERS:
        if not isinstance(case.get(name), Real) or not math.isfinite(case[name]):
            raise InputError(
                f"case {case.get('ID')}: {name} is {case.get(name)}; it must be a finite number."
            )
    return case


def read_case_table(path: str | Path) -> tuple[list[dict], dict[str, dict[str, float]]]:
    """Read a table of results, ours or one copied from a report (commas or tabs).

    Args:
        path: text file whose header names ID and Dice; the columns no, Avr, IoU, HD (or H) and
            Report are optional, and a number may be blank.

    Returns:
        The cases, each a dict with ID and the numbers that are there; and the printed summary
        {"Avr": {"Dice": ..., ...}, "Std": {...}}, empty where the table has no such lines.

    Raises:
        InputError: names the file and the line.
    """
    lines = _lines(path)
    columns = [{"H": "HD"}.get(name.strip(), name.strip()) for name in lines[0][1]]
    if not {"ID", "Dice"} <= set(columns) or len(set(columns)) < len(columns):
        raise InputError(f"{path}: the header is {columns}; it needs ID and Dice, each name once.")
    rows, printed = [], {}
    for number, cells in lines[1:]:
        if len(cells) != len(columns):
            raise InputError(
                f"{path}, line {number}: {len(cells)} cells under {len(columns)} columns; fix it."
            )
        # without the apostrophe that ``escaped`` puts before a formula
        cells = [cell[1:] if escaped(cell[1:]) == cell else cell for cell in map(str.strip, cells)]
        texts = dict(zip(columns, cells, strict=True))
        values = {
            name: _number(texts[name], f"{path}, line {number}, {name}")
            for name in NUMBERS
            if texts.get(name, "") not in ("", "-")
        }
        summary = {"Avr", "Std"} & {texts.get("no"), texts["ID"]}
        if summary:
            printed[summary.pop()] = values
        else:
            extra = {"Report": texts["Report"]} if texts.get("Report") else {}
            rows.append({"ID": texts["ID"]} | values | extra)
    return rows, printed


def _lines(path: str | Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        table = csv.reader(io.StringIO(text), delimiter="\t" if "\t" in text else ",")
        lines = [(table.line_num, cells) for cells in table if any(map(str.strip, cells))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table in UTF-8 ({error}).") from error
    if not lines:
        raise InputError(f"{path}: the file is empty; it needs a header with ID and Dice.")
    return lines


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: '{text}' is not a number; write 0.802, or leave it blank.")
    return value


def check_table(
    rows: Sequence[Row],
    printed: Mapping[str, Mapping[str, float]] | None = None,
    announced_cases: int | None = None,
) -> list[str]:
    """Find what cannot be true in a table of results printed with three decimals.

    Args:
        rows: cases with ID, Dice and, where there, IoU and HD, as ``read_case_table`` returns them.
        printed: the summary lines, {"Avr": {"Dice": 0.802, ...}, "Std": {...}}.
        announced_cases: how many cases the title promises.

    Returns:
        Readable findings, none if all is well. Rounding is allowed for: a finding means that no
        numbers that round to the printed ones can be right.

    Source: 001, whose tables contain each of these faults.
    """
    findings = []
    if announced_cases is not None and announced_cases != len(rows):
        findings.append(f"{announced_cases} cases are announced, the table lists {len(rows)}")
    if len(rows) < FEWEST_FOR_AN_INTERVAL:
        findings.append(f"n = {len(rows)}: an interval cannot be given")
    for position, row in enumerate(rows, start=1):
        findings += [f"row {position} (ID {row['ID']}): {fault}" for fault in _row_faults(row)]
    findings += _repeated(rows)
    for name, values in (printed or {}).items():
        for column, value in values.items():
            findings += _summary_faults(name, column, value, rows)
    return findings


def _row_faults(row: Row) -> Iterable[str]:
    """Values out of range, and an IoU that is not D / (2 - D)."""
    for name in ("Dice", "IoU", "HD"):
        value = row.get(name)
        if value is not None and not 0 <= value <= (math.inf if name == "HD" else 1):
            yield f"{name} is {value}, which is impossible"
    dice, iou = row.get("Dice"), row.get("IoU")
    if dice is None or iou is None or not (0 <= dice <= 1 and 0 <= iou <= 1):
        return
    low, high = (d / (2 - d) for d in (dice - HALF, dice + HALF))
    if not low - HALF - 1e-9 <= iou <= high + HALF + 1e-9:
        yield f"Dice {dice:.3f} implies IoU {dice / (2 - dice):.3f}, printed {iou:.3f}"


def _repeated(rows: Sequence[Row]) -> Iterable[str]:
    """IDs that occur more than once, and in which columns they disagree with themselves."""
    for case, times in Counter(row["ID"] for row in rows).items():
        if times > 1:
            same = [row for row in rows if row["ID"] == case]
            differ = [n for n in ("Dice", "IoU", "HD") if len({row.get(n) for row in same}) > 1]
            what = f"different {' and '.join(differ)}" if differ else "the same values"
            yield f"ID {case} appears {times} times with {what}"


def _summary_faults(name: str, column: str, printed: float, rows: Sequence[Row]) -> Iterable[str]:
    """A printed mean or standard deviation that the rows do not give (Std: n or n - 1)."""
    values = [row[column] for row in rows if row.get(column) is not None]
    if len(values) != len(rows) or not values:
        yield f"{name} of {column} is printed as {printed:.3f}, but {column} is not in every row"
        return
    ways = [fmean] if name == "Avr" else [pstdev, stdev] if len(values) > 1 else [pstdev]
    computed = [way(values) for way in ways]
    # rounding moves each row by HALF at most, and so their mean (their spread by up to 1.42 HALF);
    # the printed summary is rounded once more
    slack = (2 if name == "Avr" else 2.42) * HALF + 1e-9
    if all(abs(value - printed) > slack for value in computed):
        yield f"{name} of {column} is printed as {printed:.3f}, the rows give {computed[0]:.3f}"
