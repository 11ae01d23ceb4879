import base64
import functools
import gzip
import os
import pickle
import struct
import subprocess
import zlib

import numpy as np
import pandas as pd
import pytest
from hostile import read_apart
from old_pickles import TABLES

from seg_lib.data.pickles import pickle_to_npz, read_lungrads_pickle
from seg_lib.errors import DataWarning, InputError


def old_table() -> pd.DataFrame:
    """The table that ``old_pickles`` holds."""
    generator = np.random.RandomState(0)
    hu = [np.round(generator.uniform(-1000, 400, (5, 4))) for _ in range(3)]
    return pd.DataFrame(
        {
            "label1": ["LR2", "LR3", "LR4A"],
            "mask": [(slice_hu > 0).astype(np.int64) for slice_hu in hu],
            "hu_array": [np.where(slice_hu > -500, slice_hu, -0.0) for slice_hu in hu],
            "hu_array_old": hu,
        }
    )


NOTHING = object()


def one_row(mask=None, hu=None, lungrads="LR2") -> pd.DataFrame:
    """A good table of two rows, then one with the given cells."""
    table = old_table()
    mask = table["mask"][0] if mask is None else mask
    hu = table["hu_array_old"][0] if hu is None else hu
    hu = None if hu is NOTHING else hu
    row = pd.DataFrame({"label1": [lungrads], "mask": [mask], "hu_array_old": [hu]}, dtype=object)
    return pd.concat([table.iloc[:2], row], ignore_index=True)


def saved(table: object, path, protocol: int = 4):
    path.write_bytes(pickle.dumps(table, protocol=protocol))
    return path


def assert_same(records, table: pd.DataFrame):
    assert len(records) == len(table)
    for record, (_, row) in zip(records, table.iterrows(), strict=True):
        assert record.lungrads == row["label1"]
        assert record.mask.dtype == np.uint8 and record.hu.dtype == np.float32
        np.testing.assert_array_equal(record.mask, row["mask"])
        np.testing.assert_array_equal(record.hu, row["hu_array_old"].astype(np.float32))


# ---- good tables are never refused ----


@pytest.mark.parametrize("version", TABLES)
def test_tables_of_older_pandas_are_read(tmp_path, version):
    (tmp_path / "t.pkl").write_bytes(zlib.decompress(base64.b64decode(TABLES[version])))
    assert_same(read_lungrads_pickle(tmp_path / "t.pkl"), old_table())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("columns", [str, object])
def test_tables_of_this_pandas_are_read(tmp_path, protocol, columns):
    table = old_table().astype({"label1": columns})
    assert_same(read_lungrads_pickle(saved(table, tmp_path / "t.pkl", protocol)), table)


@pytest.mark.parametrize("hu_type", ["f8", "f4", "i2", "i4", ">f4"])
@pytest.mark.parametrize("mask_type", ["i8", "u1", "?", "f4"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_number_types(tmp_path, hu_type, mask_type, protocol):
    table = old_table().drop(columns="hu_array")
    table["hu_array_old"] = [hu.astype(hu_type) for hu in table["hu_array_old"]]
    table["mask"] = [mask.astype(mask_type) for mask in table["mask"]]
    assert_same(read_lungrads_pickle(saved(table, tmp_path / "t.pkl", protocol)), table)


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize(
    "view",
    [np.asfortranarray, lambda a: a[::-1, 1:], lambda a: np.broadcast_to(a[:1], a.shape)],
)
def test_memory_layouts(tmp_path, protocol, view):
    table = old_table()
    table["hu_array_old"] = [view(hu) for hu in table["hu_array_old"]]
    table["mask"] = [view(np.eye(5, 4, dtype=np.int64)) for _ in range(3)]
    assert_same(read_lungrads_pickle(saved(table, tmp_path / "t.pkl", protocol)), table)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.iloc[1:],
        lambda table: table[table["label1"] != "LR3"],
        lambda table: table.set_index(pd.Index(["a", "b", "c"])),
        lambda table: table.rename_axis("slice").reset_index(),
        lambda table: pd.concat([table] * 50, ignore_index=True),
        lambda table: table.assign(n=[1, 2, 3], f=[0.5, 1, 2], w=[4, 5, 6], done=[True] * 3),
        lambda table: table[["hu_array_old", "label1", "mask"]],
        lambda table: table.T.copy().T,
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_tables_that_were_worked_on(tmp_path, change, protocol):
    table = change(old_table())
    assert_same(read_lungrads_pickle(saved(table, tmp_path / "t.pkl", protocol)), table)


def test_a_compressed_table(tmp_path):
    (tmp_path / "t.pkl.gz").write_bytes(gzip.compress(pickle.dumps(old_table())))
    assert_same(read_lungrads_pickle(tmp_path / "t.pkl.gz"), old_table())


@pytest.mark.parametrize(
    ("offset", "kept_as"), [(0, np.int16), (0.25, np.float32), (-9e4, np.float32)]
)
def test_npz_holds_what_the_pickle_holds(tmp_path, offset, kept_as):
    table = old_table()
    table["hu_array_old"] = [hu + offset for hu in table["hu_array_old"]]
    with pytest.warns(DataWarning, match="split_provenance: unknown"):
        path = pickle_to_npz(saved(table, tmp_path / "t.pkl"), tmp_path / "out" / "t.npz")
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["hu"].dtype == kept_as and arrays["mask"].dtype == np.uint8
        np.testing.assert_array_equal(arrays["hu"], np.stack(table["hu_array_old"]))
        np.testing.assert_array_equal(arrays["mask"], np.stack(table["mask"]))
        assert arrays["lungrads"].tolist() == ["LR2", "LR3", "LR4A"]
        assert arrays["patient"].tolist() == ["t_0000", "t_0001", "t_0002"]


def test_npz_wants_slices_of_one_size(tmp_path):
    table = one_row(mask=np.zeros((3, 3)), hu=np.full((3, 3), -5.0))
    with pytest.warns(DataWarning), pytest.raises(InputError, match=r"\(3, 3\), \(5, 4\) pixels"):
        pickle_to_npz(saved(table, tmp_path / "t.pkl"), tmp_path / "t.npz")
    assert not (tmp_path / "t.npz").exists()


def test_padding_is_kept_in_hu(tmp_path):
    hu = np.array([[-1024.0, -2048.0, -3024.0, -1001.0]])
    path = saved(one_row(hu=hu, mask=np.array([[0, 0, 1, 0]])), tmp_path / "t.pkl")
    np.testing.assert_array_equal(read_lungrads_pickle(path)[2].hu, hu)


# ---- nothing in a pickle ever runs ----


class Evil:
    """Pickles as a call of ``function`` with ``args``."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def stack_global(module: str, name: str) -> bytes:
    """Protocol 4 code that calls ``module.name('touch marker')``."""
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    return texts + b"\x93\x8c\x0ctouch marker\x85R"


EVIL_OBJECTS = {
    "posix.system": Evil(os.system, "touch marker"),
    "builtins.exec": Evil(exec, "open('marker', 'w')"),
    "builtins.eval": Evil(eval, "open('marker', 'w')"),
    "builtins.__import__": Evil(__import__, "marker"),
    "subprocess.Popen": Evil(subprocess.Popen, ["touch", "marker"]),
    "subprocess.run": Evil(subprocess.run, ["touch", "marker"]),
    "numpy.fromfile": Evil(np.fromfile, "marker"),
    "pandas.eval": Evil(pd.eval, "1"),
}
EVIL_NAMES = [
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.testing", "runstring"),
    ("numpy", "testing.runstring"),
    ("numpy", "os.system"),
    ("numpy.core.multiarray", "_reconstruct.__globals__"),
    ("numpy.core.multiarray._reconstruct", "x"),
    ("builtins", "slice.__class__"),
    ("builtins", "getattr"),
    ("io", "open"),
    ("functools", "reduce"),
    ("operator", "methodcaller"),
    ("pandas.io.pickle", "read_pickle"),
    ("copyreg", "_reconstructor"),
    ("importlib", "import_module"),
    ("numpy.ndarray", "tofile"),
    ("numpy ndarray", ""),
    ("", ""),
]
OLD_PROTOCOL = {
    "os.system": b"cos\nsystem\n(S'touch marker'\ntR.",
    "posix.system": b"(S'touch marker'\niposix\nsystem\n.",
    "builtins.exec": b"(cbuiltins\nexec\nS'import os'\no.",
}


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", EVIL_OBJECTS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_payload_behind_a_good_table_does_not_run(workdir, name, protocol, packed):
    content = pickle.dumps((old_table(), EVIL_OBJECTS[name]), protocol=protocol)
    path = workdir / "t.pkl"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=r"nothing was run") as refusal:
        read_lungrads_pickle(path)
    assert str(refusal.value).startswith(f"{path}: ")
    if protocol > 2:  # protocol 2 uses the names of Python 2
        assert f"'{name}'" in str(refusal.value)
    assert os.listdir(workdir) == ["t.pkl"]


@pytest.mark.parametrize(("module", "name"), EVIL_NAMES)
def test_only_exact_names_are_allowed(workdir, module, name):
    good = pickle.dumps(old_table(), protocol=4)
    (workdir / "t.pkl").write_bytes(good[:-1] + stack_global(module, name) + b"\x86.")
    with pytest.raises(InputError, match=f"'{module}.{name}'.*nothing was run"):
        read_lungrads_pickle(workdir / "t.pkl")
    assert os.listdir(workdir) == ["t.pkl"]


@pytest.mark.parametrize("name", OLD_PROTOCOL)
def test_payloads_of_protocol_0(workdir, name):
    (workdir / "t.pkl").write_bytes(OLD_PROTOCOL[name])
    with pytest.raises(InputError, match=rf"'{name}'|instruction"):
        read_lungrads_pickle(workdir / "t.pkl")
    assert os.listdir(workdir) == ["t.pkl"]


def test_calling_an_allowed_name_calls_nothing(workdir):
    """Even ``partial`` and ``bytes`` are notes on paper, however they are put together."""
    evil = Evil(functools.partial, old_table)
    with pytest.raises(InputError, match="old_table.*nothing was run"):
        read_lungrads_pickle(saved((old_table(), evil), workdir / "t.pkl"))
    content = b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R."  # bytes(2**31 - 1)
    (workdir / "b.pkl").write_bytes(content)
    with pytest.raises(InputError, match="the file holds a bytes"):
        read_lungrads_pickle(workdir / "b.pkl")


def test_the_good_table_next_to_an_allowed_call_is_still_checked(workdir):
    with pytest.raises(InputError, match="the file holds a tuple"):
        read_lungrads_pickle(saved((old_table(), 1), workdir / "t.pkl"))


# ---- damaged files ----


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<html><body>Login</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"hello, this is text\n" * 20, "not a pickle|instruction"),
        (b"label1,mask,hu\nLR2,1,2\n", "not a pickle|instruction"),
        (b"PK\x03\x04" + bytes(100), "not a pickle|instruction"),
        (b"\x80\x04.", "not a pickle"),
        (b"\x80\x04NN.", "not a pickle"),
        (gzip.compress(pickle.dumps(old_table()))[:-20], "damaged or cut"),
        (gzip.compress(pickle.dumps(old_table()))[:-4] + bytes(4), "damaged or cut"),
        (pickle.dumps([1, 2]), "the file holds a list"),
        (pickle.dumps({"label1": 1}), "the file holds a dict"),
        (pickle.dumps(np.zeros(3)), "the file holds a _reconstruct|_frombuffer"),
        (pickle.dumps(pd.DataFrame({"a": [1], "mask": [2]})), "no column label1, .*found a, mask"),
        (pickle.dumps(old_table().iloc[:0]), "no rows"),
        (pickle.dumps(pd.concat([old_table()] * 2, axis=1)), "two columns of one name"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    path = tmp_path / "t.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as refusal:
        read_lungrads_pickle(path)
    assert str(refusal.value).startswith(f"{path}: ")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_table_cut_short_anywhere_is_refused(tmp_path, protocol):
    content = pickle.dumps(old_table(), protocol=protocol)
    path = tmp_path / "t.pkl"
    for length in range(1, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="t.pkl"):
            read_lungrads_pickle(path)


def test_random_damage_never_ends_in_another_error(tmp_path):
    path, generator = tmp_path / "t.pkl", np.random.default_rng(0)
    refused = 0
    for protocol in (2, 4, 5):
        content = pickle.dumps(old_table(), protocol=protocol)
        for _ in range(300):
            damaged = bytearray(content)
            for position in generator.integers(0, len(content), 4):
                damaged[position] = generator.integers(0, 256)
            path.write_bytes(damaged)
            try:
                read_lungrads_pickle(path)
            except InputError:
                refused += 1
    assert 400 < refused <= 900


# ---- rows that cannot be used ----

GOOD_MASK = old_table()["mask"][0]
GOOD_HU = old_table()["hu_array_old"][0]


def changed(array, value):
    array = array.astype(type(value))
    array[1, 2] = value
    return array


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"hu": changed(GOOD_HU, np.nan)}, r"hu_array_old: 1 pixels are NaN.*first at \(1, 2\)"),
        ({"hu": changed(GOOD_HU, -np.inf)}, "1 pixels are NaN or infinite"),
        ({"hu": changed(GOOD_HU, 1e300)}, "1 pixels are NaN or infinite"),
        ({"hu": GOOD_HU.astype(object)}, "hu_array_old: an array of Python objects"),
        ({"hu": GOOD_HU.astype(complex)}, "complex"),
        ({"hu": GOOD_HU.astype(str)}, "hu_array_old: an array of type U"),
        ({"hu": GOOD_HU[:-1]}, r"mask of shape \(5, 4\) on a slice of shape \(4, 4\)"),
        ({"hu": GOOD_HU[None]}, r"shape \(1, 5, 4\) instead of a slice"),
        ({"hu": GOOD_HU[0]}, r"shape \(4,\) instead of a slice"),
        ({"hu": GOOD_HU[:0]}, r"shape \(0, 4\)"),
        ({"hu": NOTHING}, "hu_array_old: NoneType instead of an array"),
        ({"hu": [[1, 2], [3, 4]]}, "list instead of an array"),
        ({"mask": GOOD_MASK * 2}, "mask: values 0, 2 instead of 0 and 1"),
        ({"mask": GOOD_MASK - 1}, "values -1, 0"),
        ({"mask": GOOD_MASK * 0.5}, "values 0, 0.5"),
        ({"mask": changed(GOOD_MASK, 128) + 127 * GOOD_MASK}, "instead of 0 and 1"),
        ({"mask": changed(GOOD_MASK, 255)}, "values 0, 1, 255"),
        ({"mask": changed(GOOD_MASK, np.nan)}, "values .*nan"),
        ({"mask": "LR2"}, "mask: str instead of an array"),
        ({"lungrads": None}, "label1: None instead of a class"),
        ({"lungrads": 3}, "label1: 3 instead of a class"),
        ({"lungrads": " "}, "instead of a class"),
    ],
)
def test_a_faulty_row_is_refused_by_number(tmp_path, cells, message):
    path = saved(one_row(**cells), tmp_path / "t.pkl")
    with pytest.raises(InputError, match=f"row 2, .*{message}") as refusal:
        read_lungrads_pickle(path)
    assert str(refusal.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"mask": GOOD_MASK * 255}, "1 of 3 slices have a mask of 0 and 255"),
        ({"mask": GOOD_MASK * 0}, "1 of 3 slices have an empty mask"),
        ({"hu": GOOD_HU * 0 - 1000}, "1 of 3 slices show nothing"),
        ({"hu": GOOD_HU + 1024}, "1 of 3 slices have no value below 0"),
    ],
)
def test_an_odd_row_is_read_with_a_warning(tmp_path, cells, message):
    table = one_row(**cells)
    with pytest.warns(DataWarning, match=message):
        records = read_lungrads_pickle(saved(table, tmp_path / "t.pkl"))
    table["mask"] = [mask > 0 for mask in table["mask"]]
    assert_same(records, table)


# ---- hostile sizes ----


HUGE = b"\x8a\x06\0\0\0\0\0\x01"  # 2**40


def array_code(shape: bytes, content: bytes) -> bytes:
    """Protocol 2 code of an int8 array; shape and content are pickle code too."""
    maker = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85N\x87R"
    number_type = b"cnumpy\ndtype\nX\x02\x00\x00\x00i1K\x00K\x01\x87R"
    return maker + b"(K\x01" + shape + number_type + b"\x89" + content + b"tb"


def frame_code(values: bytes, places: bytes) -> bytes:
    """Protocol 2 code of a DataFrame of one column 'mask', in one block."""
    names = array_code(b"K\x01\x85", b"]X\x04\0\0\0maska")
    index = b"cpandas.core.indexes.base\n_new_Index\nN}X\x04\0\0\0data" + names + b"s\x86R"
    block = b"cpandas._libs.internals\n_unpickle_block\n" + values + places + b"K\x02\x87R"
    manager = b"cpandas.core.internals.managers\nBlockManager\n"
    manager += b"]" + block + b"a" + b"]" + index + b"a\x86R"
    return b"\x80\x02cpandas.core.frame\nDataFrame\n)\x81}X\x04\0\0\0_mgr" + manager + b"sb."


def places_code(stop: bytes) -> bytes:
    return b"c__builtin__\nslice\nK\x00" + stop + b"K\x01\x87R"


def laughs() -> bytes:
    """A key that takes 2**60 steps to hash."""
    return (
        b"\x80\x04}"
        + b")\x94"
        + b"".join(b"h" + bytes([n]) * 1 + b"h" + bytes([n]) + b"\x86\x94" for n in range(60))
        + b"Ns."
    )


def shared_rows() -> bytes:
    """A table of 100,000 rows that all name one slice of 256 KB."""
    table = pd.DataFrame(
        {
            "label1": ["LR2"] * 100_000,
            "mask": [np.eye(512, dtype=np.uint8)] * 100_000,
            "hu_array_old": [np.full((512, 512), -7, np.int8)] * 100_000,
        },
    )
    table.loc[0, "hu_array_old"][0, 0] = -8
    return pickle.dumps(table)


TERABYTE = struct.pack("<Q", 2**40)
HOSTILE = {
    "bytes": lambda: b"\x80\x04\x8e" + TERABYTE + b"x.",
    "bytearray": lambda: b"\x80\x05\x96" + TERABYTE + b"x.",
    "text": lambda: b"\x80\x04\x8d" + TERABYTE + b"x.",
    "frame": lambda: b"\x80\x04\x95" + TERABYTE + b"N.",
    "memo": lambda: b"\x80\x04Nr\xfe\xff\xff\xff.",
    "long": lambda: b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "laughs": laughs,
    "instructions": lambda: b"\x80\x04" + b"]" * 3_000_000 + b".",
    "bomb": lambda: gzip.compress(b"\x80\x04\x8e" + TERABYTE) + gzip.compress(bytes(2**26)) * 50,
    "array": lambda: frame_code(array_code(HUGE + b"\x85", b"C\x00"), places_code(b"K\x01")),
    "rows": lambda: frame_code(array_code(HUGE + b"K\x00\x86", b"]"), places_code(b"K\x01")),
    "empty rows": lambda: frame_code(
        array_code(HUGE + b"K\x00\x86", b"C\x00"), places_code(b"K\x01")
    ),
    "places": lambda: frame_code(array_code(b"K\x01K\x01\x86", b"]Na"), places_code(HUGE)),
    "numbers": lambda: gzip.compress(
        frame_code(
            array_code(b"K\x01J\0\0\0\x08\x86", b"B\0\0\0\x08" + bytes(2**27)),
            places_code(b"K\x01"),
        ),
        compresslevel=1,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sizes_take_little_memory(tmp_path, name):
    path = tmp_path / "t.pkl"
    path.write_bytes(HOSTILE[name]())
    message, memory = read_apart("seg_lib.data.pickles", "read_lungrads_pickle", path)
    assert message.startswith(f"{path}: ")
    assert memory < 500


def test_a_small_file_does_not_become_a_large_table(tmp_path):
    path = tmp_path / "t.pkl"
    path.write_bytes(shared_rows())
    message, memory = read_apart("seg_lib.data.pickles", "read_lungrads_pickle", path)
    assert message == "100000"  # 100,000 rows of 1.3 MB, if each were copied
    assert memory < 500


def test_the_hostile_frames_are_frames_but_for_their_size(tmp_path):
    """The code above is right: with honest sizes it is a table of one column."""
    path = tmp_path / "t.pkl"
    path.write_bytes(frame_code(array_code(b"K\x01K\x01\x86", b"]Na"), places_code(b"K\x01")))
    with pytest.raises(InputError, match="no column label1, hu_array_old; found mask;"):
        read_lungrads_pickle(path)


ONE = places_code(b"K\x01")
DAMAGED = {
    "too few bytes": (HOSTILE["array"], "0 bytes for an array of shape"),
    "no end of rows": (HOSTILE["rows"], "a block of the impossible shape"),
    "more columns than rows": (HOSTILE["places"], "no pandas DataFrame"),
    "a key that is no text": (laughs, "not text"),
    "three dimensions": (
        lambda: frame_code(array_code(b"K\x01K\x01K\x01\x87", b"]Na"), ONE),
        "1 entries in an array of shape",
    ),
    "less than nothing": (
        lambda: frame_code(array_code(b"J\xff\xff\xff\xffK\x01\x86", b"C\x00"), ONE),
        "the impossible shape",
    ),
    "a number for an array": (lambda: frame_code(b"K\x07", ONE), "int instead of an array"),
    "a name twice": (
        lambda: (
            frame_code(array_code(b"K\x01K\x01\x86", b"]Na"), ONE)
            .replace(b"]X\x04\0\0\0maska", b"](X\x04\0\0\0maskX\x04\0\0\0maske")
            .replace(b"(K\x01K\x01\x85", b"(K\x01K\x02\x85", 1)
        ),
        "two columns of one name",
    ),
    "an empty stack": (lambda: b"\x80\x02R.", "too few things on the stack"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_frame_is_refused_with_what_is_wrong(tmp_path, name):
    content, message = DAMAGED[name]
    path = tmp_path / "t.pkl"
    path.write_bytes(content())
    with pytest.raises(InputError, match=message):
        read_lungrads_pickle(path)


def test_a_packed_file_that_grows_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("seg_lib.data.file_bytes.MAX_UNPACKED_BYTES", 2**20)
    path = tmp_path / "t.pkl"
    path.write_bytes(gzip.compress(bytes(2**20 + 1)))
    with pytest.raises(InputError, match="unpacks to more than 1 MB; unpack it with gunzip"):
        read_lungrads_pickle(path)
