"""A pickle is a program. This is the whole machine it runs on, and it cannot call anything.

Python's own unpickler calls whatever function the file names, so a pickle from the internet may do
anything its author likes. A table needs 40 of the 68 instructions (see ``pickletools``) and 27
names. Here an instruction to call a function only *notes down* the call (``Note``); pickle_table.py
reads the numbers out of the notes. No class of the file is ever looked up, imported or built.
"""

import dataclasses
import pickletools
from pathlib import Path

from seg_lib.data.file_bytes import mapped_bytes
from seg_lib.errors import InputError

MAX_INSTRUCTIONS = 2_000_000  # a row of the table takes about 40

# Exact names only, by module.
ALLOWED = {
    "_codecs": {"encode"},  # protocol 2: bytes as text
    "__builtin__": {"bytes", "slice"},
    "builtins": {"slice"},
    "functools": {"partial"},  # pandas 1.3 and 1.4
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},  # NumPy 1
    "numpy._core.multiarray": {"_reconstruct", "scalar"},  # NumPy 2
    "numpy.core.numeric": {"_frombuffer"},  # the same two, protocol 5
    "numpy._core.numeric": {"_frombuffer"},
    "pandas": {"DataFrame", "Index", "RangeIndex", "StringDtype"},  # pandas 3
    "pandas.arrays": {"StringArray"},
    "pandas._libs.arrays": {"__pyx_unpickle_NDArrayBacked"},
    "pandas._libs.internals": {"_unpickle_block"},  # pandas 1.4 and later
    "pandas.core.frame": {"DataFrame"},  # pandas 0.25 to 2
    "pandas.core.indexes.base": {"Index", "_new_Index"},
    "pandas.core.indexes.numeric": {"Int64Index"},
    "pandas.core.indexes.range": {"RangeIndex"},
    "pandas.core.internals.blocks": {"new_block"},
    "pandas.core.internals.managers": {"BlockManager"},
}


@dataclasses.dataclass(eq=False)
class Note:
    """A function or class that the file names, and the call it asks for: written down, not done."""

    name: str
    args: tuple | None = None  # None: named, not called
    state: object = None


def read_notes(path: str | Path) -> tuple[object, int]:
    """Follow the instructions of a pickle without carrying out a single call.

    Returns:
        What the pickle (protocol 2 or later, plain or gzip) would have returned, with a ``Note`` in
        place of every object that is not a plain number, text, list, tuple or dict; and the number
        of bytes it was read from.

    Raises:
        InputError: not a pickle, damaged, or it names something that a table never needs.
    """
    data = mapped_bytes(path, "a pickle")
    machine = Machine(memoryview(data), path)
    position = 0
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count > MAX_INSTRUCTIONS:
                raise InputError(f"{path}: far more instructions than a table of slices has.")
            machine.step(opcode.name, argument, position)
        (result,) = machine.stack
    except InputError:
        raise
    # What the file says may be nonsense in any way: too few things on the stack, a list where a
    # number belongs, text that is not UTF-8.
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path}: not a pickle, cut short or damaged (byte {position}: {error}); copy or "
            "download it again."
        ) from error
    return result, len(data)


class Machine:
    """The stack, the marks and the memo that pickle instructions work on."""

    def __init__(self, data: memoryview, path: str | Path):
        """Start with nothing on the stack."""
        self.data, self.path = data, path
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def step(self, name: str, argument: object, position: int) -> None:
        """Carry out one instruction."""
        if name in PLAIN:
            self.stack.append(argument)
        elif name in PREFIX_BYTES:
            # A view of the file, not a copy: the real table has four gigabytes of them.
            start = position + PREFIX_BYTES[name]
            self.stack.append(self.data[start : start + len(argument)])
        elif name in RESULTS:
            count, result = RESULTS[name]
            self.stack.append(result(*self.taken(count)))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            named = argument.split(" ", 1) if name == "GLOBAL" else self.taken(2)
            self.stack.append(self.allowed(*named))
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        else:
            self.keep_place(name, argument, position)

    def keep_place(self, name: str, argument: object, position: int) -> None:
        """The instructions that leave the stack as it is, and those that no table needs."""
        if name == "MARK":
            self.marks.append(len(self.stack))
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name == "FRAME" and argument > len(self.data) - position:
            raise ValueError(f"a frame of {argument} bytes in a file of {len(self.data)}")
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise InputError(
                f"{self.path}: the pickle instruction {name} is not needed for a table of slices, "
                "so the file was not read further; save the table again with DataFrame.to_pickle."
            )

    def allowed(self, module: object, name: object) -> Note:
        """Refuse every name that is not on the list, dotted names included."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name that is not text")
        if name not in ALLOWED.get(module, ()):
            raise InputError(
                f"{self.path}: the pickle wants to use '{module}.{name}', which a table of slices "
                "never needs; nothing was run. Do not open it with other programs. If the file is "
                "your own, save the table with plain columns (astype(object)) and to_pickle."
            )
        return Note(name)

    def taken(self, count: int | str) -> list:
        """Take ``count`` things from the stack, all above the last mark, or one more than that."""
        if count in (TO_MARK, ONE_BELOW_MARK):
            start = self.marks.pop() - (count == ONE_BELOW_MARK)
        else:
            start = len(self.stack) - count
        if start < 0:
            raise ValueError("too few things on the stack")
        things = self.stack[start:]
        del self.stack[start:]
        return things


def _called(maker: object, args: object) -> Note:
    if not isinstance(maker, Note) or not isinstance(args, tuple):
        raise TypeError("a call of something that is no function")
    return Note(maker.name, args)


def _with_state(made: object, state: object) -> Note:
    if not isinstance(made, Note):
        raise TypeError("a state for something that takes none")
    made.state = state
    return made


def _with_items(target: object, *items: object) -> list:
    if not isinstance(target, list):
        raise TypeError("a list item outside a list")
    target.extend(items)
    return target


def _with_entries(target: object, *entries: object) -> dict:
    keys, values = entries[::2], entries[1::2]
    # Only text: the hash of a tuple nested sixty times over takes for ever.
    if not isinstance(target, dict) or not all(isinstance(key, str) for key in keys):
        raise TypeError("a dict entry outside a dict, or under a key that is not text")
    target.update(zip(keys, values, strict=True))
    return target


PLAIN = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
PLAIN |= {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
# Bytes before the content: the instruction and its length.
PREFIX_BYTES = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9, "BYTEARRAY8": 9}
TO_MARK, ONE_BELOW_MARK = "to the mark", "to the mark and one more"
# What an instruction takes from the stack, and what it puts there made of them.
RESULTS = {
    "NONE": (0, lambda: None),
    "NEWTRUE": (0, lambda: True),
    "NEWFALSE": (0, lambda: False),
    "EMPTY_TUPLE": (0, tuple),
    "EMPTY_LIST": (0, list),
    "EMPTY_DICT": (0, dict),
    "TUPLE": (TO_MARK, lambda *things: things),
    "TUPLE1": (1, lambda *things: things),
    "TUPLE2": (2, lambda *things: things),
    "TUPLE3": (3, lambda *things: things),
    "APPEND": (2, _with_items),
    "APPENDS": (ONE_BELOW_MARK, _with_items),
    "SETITEM": (3, _with_entries),
    "SETITEMS": (ONE_BELOW_MARK, _with_entries),
    "REDUCE": (2, _called),
    "NEWOBJ": (2, _called),
    "BUILD": (2, _with_state),
}
