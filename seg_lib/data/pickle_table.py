"""From the notes of a pickled DataFrame to its columns, for every pandas since 0.25.

A DataFrame holds a manager, the manager holds blocks, and a block holds several columns at once in
one array. The names around these have changed with every pandas; the parts have not.
"""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seg_lib.data.pickle_machine import Note, read_notes
from seg_lib.errors import InputError

MAX_ENTRIES = 2_000_000  # in one block of cells; the real table has 708 rows and 4 columns
NUMBER_TYPE = re.compile(r"[biufc]\d{1,2}")


class Table:
    """The columns of a pickled DataFrame, read cell by cell."""

    def __init__(self, path: str | Path):
        """Read a pickle of protocol 2 or later, plain or gzip.

        Raises:
            InputError: not a pickled DataFrame, damaged, or it names something else than a table.
        """
        notes, self._bytes_left = read_notes(path)
        self._converted: dict[tuple[int, Callable], Any] = {}
        try:
            self.columns = dict(_columns(notes))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise InputError(
                f"{path}: no pandas DataFrame that can be read ({error}); expected a table with "
                "one row per slice, saved with DataFrame.to_pickle."
            ) from error

    def converted(self, cell: object, convert: Callable[[np.ndarray], Any]) -> Any:
        """What ``convert`` makes of the numbers in one cell.

        A cell that stands in many rows is converted once: a small file must not fill the memory.

        Raises:
            ValueError: the cell holds something else than numbers, or ``convert`` refuses them.
        """
        key = (id(cell), convert)
        if key not in self._converted:
            try:
                array = _array(cell)
            except (TypeError, LookupError, AttributeError, OverflowError) as error:
                raise ValueError(f"a damaged array ({error})") from error
            self._bytes_left -= array.nbytes
            if self._bytes_left < 0:
                raise ValueError("more numbers than the file can hold")
            self._converted[key] = convert(array)
        return self._converted[key]


def _columns(notes: object) -> Iterator[tuple[str, list]]:
    """Name and cells of each column."""
    if _name(notes) != "DataFrame":
        raise ValueError(f"the file holds a {_name(notes)}")
    manager = notes.state.get("_mgr", notes.state.get("_data"))
    if _name(manager) != "BlockManager":
        raise ValueError("the DataFrame has no BlockManager")
    if manager.args:  # pandas 1.3 and later: (blocks, axes)
        blocks, axes = manager.args
        pairs = [block.args[:2] for block in blocks]
    else:  # earlier: (axes, values, items, {"0.14.1": {"axes": ..., "blocks": ...}})
        newest = manager.state[3]["0.14.1"]
        axes = newest["axes"]
        pairs = [(block["values"], block["mgr_locs"]) for block in newest["blocks"]]
    (names,) = _rows(axes[0].args[1]["data"])
    if len(set(names)) < len(names):
        raise ValueError(f"two columns of one name among {names}")
    for values, places in pairs:
        rows = _rows(values)
        columns = range(*places.args) if _name(places) == "slice" else _array(places)
        for column, cells in zip(columns, rows, strict=True):
            yield names[column], cells


def _name(notes: object) -> str:
    """Name of what was to be made, such as ``BlockManager``, or the type of something plain."""
    return notes.name if isinstance(notes, Note) else type(notes).__name__


def _rows(notes: object) -> list[list]:
    """Entries of an array of at most two dimensions, row by row."""
    if _name(notes) == "__pyx_unpickle_NDArrayBacked":  # the text columns of pandas 3
        notes = next(part for part in notes.state if _name(part) == "_reconstruct")
    if _name(notes) == "_reconstruct" and isinstance(notes.state[4], list):
        _, shape, _, _, entries = notes.state
        if math.prod(shape) != len(entries) or len(shape) > 2:
            raise ValueError(f"{len(entries)} entries in an array of shape {shape}")
    else:
        array = np.atleast_2d(_array(notes))
        shape, entries = array.shape, array.ravel()
    if max(shape) > MAX_ENTRIES or math.prod(shape) > MAX_ENTRIES:
        raise ValueError(f"a block of the impossible shape {shape}")
    *n_rows, length = shape
    return [list(entries[n * length : (n + 1) * length]) for n in range(math.prod(n_rows))]


def _array(notes: object) -> np.ndarray:
    """An array of numbers; a view of the file wherever the file holds plain bytes."""
    if _name(notes) == "_frombuffer":
        content, type_notes, shape, order, *axis_order = notes.args
    elif _name(notes) == "_reconstruct":
        _, shape, type_notes, is_fortran, content = notes.state
        order, axis_order = "F" if is_fortran else "C", []
    else:
        raise ValueError(f"{_name(notes)} instead of an array")
    dtype, content = _dtype(type_notes), _content(content)
    shape = tuple(shape)
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"an array of the impossible shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes for an array of shape {shape} and type {dtype}")
    array = np.frombuffer(content, dtype)
    if order == "K" and axis_order:
        return array.reshape(shape).transpose(axis_order[0])
    return array.reshape(shape, order=order)


def _content(notes: object) -> memoryview | bytes:
    if isinstance(notes, memoryview):
        return notes
    if _name(notes) == "encode" and notes.args[1] == "latin1":  # protocol 2
        return notes.args[0].encode("latin1")
    if _name(notes) == "bytes" and notes.args == ():
        return b""
    raise ValueError("an array of Python objects instead of numbers")


def _dtype(notes: object) -> np.dtype:
    if _name(notes) != "dtype":
        raise ValueError("an array without a number type")
    code = notes.args[0]
    if not isinstance(code, str) or not NUMBER_TYPE.fullmatch(code):
        kind = "Python objects" if str(code).startswith("O") else f"type {code}"
        raise ValueError(f"an array of {kind} instead of numbers")
    byte_order = notes.state[1] if notes.state else "<"
    return np.dtype(code).newbyteorder(byte_order if byte_order in ("<", ">") else "=")
