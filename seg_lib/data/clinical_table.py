"""A spreadsheet as plain text cells, and a CSV in which no cell becomes a formula.

Nothing is guessed: bytes that are no UTF-8, a row that is too long, a column that is there twice
are refused with their line. Taught in lesson 14.
"""

import csv
import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seg_lib.data.case_rules import first_few
from seg_lib.data.file_bytes import first_bytes
from seg_lib.errors import InputError
from seg_lib.files import write_text

MAX_BYTES, MAX_MEMBERS = 32 * 2**20, 1000  # unpacked, and files in an XLSX
MAX_ROWS, MAX_COLUMNS = 100_000, 500
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")


class Cells(NamedTuple):
    """A table before anything is understood: stripped texts, rows with their number in the file."""

    columns: list[str]
    rows: list[tuple[int, list[str]]]
    path: Path


def read_cells(path: str | Path, encoding: str | None = None) -> Cells:
    """Read the first sheet of an XLSX file, or a CSV file (comma, semicolon or tab).

    Args:
        path: the file; what it is, is told by its first bytes.
        encoding: of a CSV that is neither UTF-8 nor UTF-16 with a mark, such as ``cp1252``.

    Raises:
        InputError: bytes that are no text, a NUL, an open quote, a row of another length than the
            header, a column without or with a repeated name, an XLSX that is damaged, unpacks to
            more than 32 MB or declares entities.
    """
    path = Path(path)
    packed = first_bytes(path, "a clinical table").startswith(b"PK\x03\x04")
    found = _xlsx_rows(path) if packed else _csv_rows(path, encoding)
    found = [(line, [cell.strip() for cell in row]) for line, row in found]
    found = [(line, row) for line, row in found if any(row)]
    if not found:
        raise InputError(f"{path}: the table is empty; save the sheet with its header line.")
    header_line, columns = found[0]
    width = len(columns)
    while columns and not columns[-1]:
        columns.pop()
    _check_columns(columns, f"{path}: line {header_line}")
    rows = []
    for line, row in found[1:]:
        if any(row[len(columns) :]) or (not packed and len(row) != width):
            raise InputError(
                f"{path}: line {line} has {len(row)} cells, the header has {width}, of which "
                f"{len(columns)} named; mend the line (double quotes around a text with commas)."
            )
        rows.append((line, (row + [""] * len(columns))[: len(columns)]))
    return Cells(columns, rows, path)


def _check_columns(columns: Sequence[str], where: str) -> None:
    repeated = {name for name in columns if columns.count(name) > 1}
    if repeated or "" in columns:
        raise InputError(
            f"{where}: columns without a name or with the same one "
            f"({first_few(repeated - {''})}) among: {', '.join(columns)}; name each once."
        )


def _csv_rows(path: Path, encoding: str | None) -> list[tuple[int, list[str]]]:
    content = path.read_bytes()
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: more than {MAX_BYTES // 2**20} MB; split the table.")
    text = _decoded(content, path, encoding)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{path}: line {line} holds a NUL character; save it as CSV UTF-8 again.")
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: {error}; mend its quotes.") from error


def _decoded(content: bytes, path: Path, encoding: str | None) -> str:
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    encoding = encoding or ("utf-16" if marked else "utf-8-sig")
    try:
        return content.decode(encoding)
    except LookupError as error:
        raise InputError(f"encoding '{encoding}' is unknown; cp1252 is a usual one.") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}: line {line} is not {encoding} text; save it as 'CSV UTF-8', or name its "
            "encoding (--encoding cp1252 for Excel on Windows)."
        ) from error


def _xlsx_rows(path: Path) -> list[tuple[int, list[str]]]:
    import openpyxl

    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of openpyxl, about styles
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # what the file declares may be a billion cells
            rows = []
            for line, row in enumerate(sheet.iter_rows(values_only=True), 1):
                if line > MAX_ROWS or len(row) > MAX_COLUMNS:
                    raise InputError(
                        f"{path}: more than {MAX_ROWS} rows or {MAX_COLUMNS} columns; delete "
                        "what lies outside the table."
                    )
                rows.append((line, [_text(value) for value in row]))
            book.close()
    except InputError:
        raise
    except Exception as error:  # openpyxl has no error of its own for damaged files
        raise InputError(
            f"{path}: this XLSX cannot be read ({type(error).__name__}); open it in a spreadsheet "
            "program and save it again, or as CSV UTF-8."
        ) from error
    return rows


def _check_archive(path: Path) -> None:
    """Refuse a bomb and every document type declaration before anything is unpacked for use."""
    from xml.sax.handler import ContentHandler

    from defusedxml import DefusedXmlException, sax

    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > MAX_BYTES or len(members) > MAX_MEMBERS:
            raise InputError(
                f"{path}: unpacks to {unpacked / 2**20:.0f} MB in {len(members)} files; a "
                f"clinical table has at most {MAX_BYTES // 2**20} MB: save the sheet alone as CSV."
            )
        for member in members:
            if not member.filename.lower().endswith((".xml", ".rels", ".vml")):
                continue
            try:
                with archive.open(member) as stream:
                    sax.parse(stream, ContentHandler(), forbid_dtd=True)
            except DefusedXmlException as error:
                raise InputError(
                    f"{path}: {member.filename} declares entities ({type(error).__name__}), "
                    "which no spreadsheet program does; do not trust this file."
                ) from error


def _text(value: object) -> str:
    """A cell of an XLSX file as text: 62.0 is ``62``, a date is its ISO form, nothing is empty."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def escaped(cell: object) -> str:
    """A cell that no spreadsheet program takes for a formula; numbers such as -512.5 stay."""
    text = "" if cell is None else str(cell)
    if text.lstrip(" ").startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text):
        return "'" + text
    return text


def write_table(path: str | Path, rows: Iterable[dict], columns: Sequence[str]) -> None:
    """Write rows as CSV in UTF-8, whole or not at all; what a row lacks is an empty cell."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([escaped(name) for name in columns])
    for row in rows:
        writer.writerow([escaped(row.get(name)) for name in columns])
    write_text(path, table.getvalue())
