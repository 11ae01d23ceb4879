"""A pickle is a program. This is the whole machine it runs on, and it cannot call anything.

Python's own unpickler builds objects by calling whatever function the file names, so a pickle from
the internet may do anything its author likes. A table needs 40 of the 68 instructions and 26 names.
Here an instruction to call a function only *notes down* the call (``Made``); the next module reads
the numbers out of the notes. No class of the file is ever looked up, imported or built.

Instructions: ``pickletools`` of the Python standard library, which also splits the file into them.
"""

import dataclasses
import pickletools
from collections.abc import Callable
from pathlib import Path

from seg_lib.data.file_bytes import mapped_bytes
from seg_lib.errors import InputError

MAX_INSTRUCTIONS = 2_000_000  # a row of the table takes about 40

# Exact names only. Beside each, who writes it.
ALLOWED = {
    ("_codecs", "encode"),  # protocol 2: bytes as text
    ("__builtin__", "bytes"),
    ("__builtin__", "slice"),
    ("builtins", "slice"),
    ("functools", "partial"),  # pandas 1.3 and 1.4
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),  # NumPy 1
    ("numpy._core.multiarray", "_reconstruct"),  # NumPy 2
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),  # the same two, protocol 5
    ("numpy._core.numeric", "_frombuffer"),
    ("pandas", "DataFrame"),  # pandas 3
    ("pandas", "Index"),
    ("pandas", "RangeIndex"),
    ("pandas", "StringDtype"),
    ("pandas.arrays", "StringArray"),
    ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
    ("pandas._libs.internals", "_unpickle_block"),  # pandas 1.4 and later
    ("pandas.core.frame", "DataFrame"),  # pandas 0.25 to 2
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.numeric", "Int64Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
    ("pandas.core.internals.blocks", "new_block"),
    ("pandas.core.internals.managers", "BlockManager"),
}


@dataclasses.dataclass(frozen=True)
class Named:
    """A function or class that the file names; only the name."""

    module: str
    name: str


@dataclasses.dataclass(eq=False)
class Made:
    """A call that the file asks for, written down instead of carried out."""

    maker: "Named | Made"
    args: tuple
    state: object = None


def read_notes(path: str | Path) -> tuple[object, int]:
    """Follow the instructions of a pickle without carrying out a single call.

    Args:
        path: a pickle of protocol 2 or later, plain or gzip.

    Returns:
        What the pickle would have returned, with ``Made`` in place of every object that is not a
        plain number, text, list, tuple or dict; and the number of bytes it was read from.

    Raises:
        InputError: not a pickle, damaged, or it names something that a table never needs.
    """
    path = Path(path)
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
    return result, len(machine.data)


class Machine:
    """The stack, the marks and the memo that pickle instructions work on."""

    def __init__(self, data: memoryview, path: Path):
        """Start with nothing on the stack."""
        self.data, self.path = data, path
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def step(self, name: str, argument: object, position: int) -> None:
        """Carry out one instruction."""
        if name in PUSHED_AS_IS:
            self.stack.append(argument)
        elif name in PREFIX_BYTES:
            # A view of the file, not a copy: the real table has four gigabytes of them.
            start = position + PREFIX_BYTES[name]
            self.stack.append(self.data[start : start + len(argument)])
        elif name in ACTIONS:
            ACTIONS[name](self, argument)
        elif name == "FRAME" and argument > len(self.data) - position:
            raise ValueError(f"a frame of {argument} bytes in a file of {len(self.data)}")
        elif name == "INST":
            self.name_allowed(*argument.split(" ", 1))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise InputError(
                f"{self.path}: the pickle instruction {name} is not needed for a table of slices, "
                "so the file was not read further; save the table again with DataFrame.to_pickle."
            )

    def name_allowed(self, module: str, name: str) -> Named:
        """Refuse every name that is not on the list, dotted names included."""
        if (module, name) not in ALLOWED:
            raise InputError(
                f"{self.path}: the pickle wants to use '{module}.{name}', which a table of slices "
                "never needs; nothing was run. Do not open it with other programs. If the file is "
                "your own, save the table with plain columns (astype(object)) and to_pickle."
            )
        return Named(module, name)

    def since_mark(self) -> list:
        """Take everything above the last mark from the stack."""
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def last(self, count: int) -> tuple:
        """Take ``count`` things from the stack."""
        if count > len(self.stack):
            raise ValueError("too few things on the stack")
        taken = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return taken


def _global(machine: Machine, argument: str) -> None:
    machine.stack.append(machine.name_allowed(*argument.split(" ", 1)))


def _stack_global(machine: Machine, _: object) -> None:
    module, name = machine.last(2)
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError("a name that is not text")
    machine.stack.append(machine.name_allowed(module, name))


def _call(machine: Machine, _: object) -> None:
    maker, args = machine.last(2)
    if not isinstance(maker, Named | Made) or not isinstance(args, tuple):
        raise TypeError("a call of something that is no function")
    machine.stack.append(Made(maker, args))


def _build(machine: Machine, _: object) -> None:
    made, state = machine.last(2)
    if not isinstance(made, Made):
        raise TypeError("a state for something that takes none")
    machine.stack.append(made)
    made.state = state


def _append(machine: Machine, items: list) -> None:
    if not isinstance(machine.stack[-1], list):
        raise TypeError("a list item outside a list")
    machine.stack[-1].extend(items)


def _set_items(machine: Machine, items: list) -> None:
    keys, values = items[::2], items[1::2]
    # Only text: the hash of a tuple nested sixty times over takes for ever.
    if not isinstance(machine.stack[-1], dict) or not all(isinstance(key, str) for key in keys):
        raise TypeError("a dict entry outside a dict, or under a key that is not text")
    machine.stack[-1].update(zip(keys, values, strict=True))


def _memoize(machine: Machine, key: int | None) -> None:
    machine.memo[len(machine.memo) if key is None else key] = machine.stack[-1]


PUSHED_AS_IS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
# Bytes before the content: the instruction and its length.
PREFIX_BYTES = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9, "BYTEARRAY8": 9}
ACTIONS: dict[str, Callable] = {
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.last(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.last(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.last(3)),
    "APPEND": lambda machine, _: _append(machine, machine.last(1)),
    "APPENDS": lambda machine, _: _append(machine, machine.since_mark()),
    "SETITEM": lambda machine, _: _set_items(machine, machine.last(2)),
    "SETITEMS": lambda machine, _: _set_items(machine, machine.since_mark()),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "BUILD": _build,
    "MEMOIZE": _memoize,
    "BINPUT": _memoize,
    "LONG_BINPUT": _memoize,
    "BINGET": lambda machine, key: machine.stack.append(machine.memo[key]),
    "LONG_BINGET": lambda machine, key: machine.stack.append(machine.memo[key]),
}
