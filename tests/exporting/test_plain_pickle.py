"""Pickles are taken apart, never run. Python's own pickle is the oracle for plain data, and writes the hostile ones."""

import collections
import io
import os
import pickle
import struct
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.errors import DataError
from hypnos_bench.exporting import plain_pickle
from hypnos_bench.exporting.pickled_arrays import NAMES, plain_array
from hypnos_bench.exporting.plain_pickle import NotPlainError, read_pickle, run

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=9)
plain = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(plain, st.sampled_from(PROTOCOLS))
def test_plain_data_come_out_as_python_reads_them(value, protocol):
    found = run(io.BytesIO(pickle.dumps(value, protocol=protocol)), {})
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_and_long_lists(protocol):
    ordered = collections.OrderedDict(a=1, b=[2])
    assert run(io.BytesIO(pickle.dumps(ordered, protocol=protocol)), NAMES) == dict(ordered)
    shared = ["x"] * 3
    value = {"a": [(f"p/r_{i}.npy", "rem") for i in range(2500)], "b": [shared, shared]}
    assert run(io.BytesIO(pickle.dumps(value, protocol=protocol)), {}) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i8", "?"])
def test_numpy_arrays(protocol, dtype):
    x = np.arange(24).reshape(4, 6).astype(dtype)
    for array in (x, np.asfortranarray(x), x[:, ::2], x[:0], np.array(x[0, 0])):
        found = plain_array(run(io.BytesIO(pickle.dumps(array, protocol=protocol)), NAMES))
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype
    assert run(io.BytesIO(pickle.dumps([x[1, 1]], protocol=protocol)), NAMES) == [x[1, 1]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_torch_tensors(protocol, dtype):
    base = torch.arange(24).reshape(4, 6).to(dtype)
    tensors = [base, base.T, base[1:, 2:], base[:0], base.clone().requires_grad_()]
    found = run(io.BytesIO(pickle.dumps(tensors, protocol=protocol)), NAMES)
    for array, tensor in zip(found, tensors):
        np.testing.assert_array_equal(plain_array(array), tensor.detach().numpy())


class Calls:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


MARKER = "touched"


def nested_torch_save():
    """A tensor whose storage bytes are themselves a pickle that runs code when torch loads them carelessly."""
    inner = io.BytesIO()
    torch.save(Calls(os.mkdir, (MARKER,)), inner, _use_new_zipfile_serialization=False)
    return Calls(torch.storage._load_from_bytes, (inner.getvalue(),))


def set_state():
    holder = Calls(collections.OrderedDict, (), {"__setstate__": 1})
    return [holder]


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


CALL = b"(" + text(MARKER) + b"tR."
HOSTILE = {
    "system": pickle.dumps(Calls(os.mkdir, (MARKER,))),
    "in a list": pickle.dumps([1, [2, Calls(os.mkdir, (MARKER,))]]),
    "eval": pickle.dumps(Calls(eval, (f"__import__('os').mkdir('{MARKER}')",))),
    "exec protocol 0": pickle.dumps(Calls(exec, (f"import os; os.mkdir('{MARKER}')",)), protocol=0),
    "getattr": pickle.dumps(Calls(getattr, (os.mkdir, "__call__"))),
    "nested torch": pickle.dumps(nested_torch_save()),
    "torch.load": pickle.dumps(Calls(torch.load, (MARKER,))),
    "numpy.load": b"cnumpy\nload\n" + CALL,
    "dotted name": b"\x80\x04" + text("numpy") + text("ndarray.__class__.__base__") + b"\x93" + CALL,
    "dotted module": b"cnumpy.core.multiarray.os\nmkdir\n" + CALL,
    "stack global of a number": b"\x80\x04K\x01" + text("x") + b"\x93.",
    "stack global of a tuple": b"\x80\x04)" + text("ndarray") + b"\x93.",
    "name with a space": b"cos mkdir\nx\n" + CALL,
    "reduce without a name": b"(" + text("a") + b"tR.",
    "reduce of a text": text("os.mkdir") + CALL,
    "reduce with a list": b"cnumpy\nndarray\n]R.",
    "type called": b"cnumpy\nndarray\n" + CALL,
    "type called directly": b"ctorch\nFloatStorage\n" + CALL,
    "inst": b"(S'touched'\nios\nmkdir\n.",
    "obj": b"(cos\nmkdir\n" + text(MARKER) + b"o.",
    "newobj": b"\x80\x02cos\nmkdir\n(" + text(MARKER) + b"t\x81.",
    "newobj_ex": b"\x80\x04" + text("os") + text("mkdir") + b"\x93)}\x92.",
    "build on a list": b"]}b.",
    "build on a name": b"cnumpy\nndarray\n}b.",
    "setstate": pickle.dumps(set_state()),
    "ext1": b"\x80\x02\x82\x01.",
    "ext2": b"\x80\x02\x83\x01\x00.",
    "ext4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "persid": b"Pname\n.",
    "binpersid": text("name") + b"Q.",
    "next buffer": b"\x80\x05\x97.",
    "object array": pickle.dumps(np.array([{}, None], dtype=object)),
    "structured array": pickle.dumps(np.zeros(2, dtype=[("a", "f4")])),
    "set": pickle.dumps({1, 2}),
    "class instance": pickle.dumps(collections.Counter("ab")),
    "unhashable key": b"}](K\x01u.",
    "list as key": b"}]K\x01s.",
    "pops the mark": b"((" + b"0" * 4 + b".",
    "append to a tuple": b")K\x01a.",
    "tuple from nothing": b"K\x01\x86.",
    "get of nothing": b"h\x05.",
    "stop at once": b".",
    "two values": b"K\x01K\x02.",
    "open mark": b"(K\x01.",
    "cut off": pickle.dumps(["abc"] * 9)[:-4],
    "no stop": b"]",
    "empty": b"",
    "text": b"hello",
    "more after the end": pickle.dumps([1]) + b"rest",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles_are_refused_in_one_line_and_not_run(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pickle"
    path.write_bytes(HOSTILE[case])
    before = set(sys.modules)
    with pytest.raises(DataError) as error:
        read_pickle(path, NAMES)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert error.value.exit_code == 3
    assert [p.name for p in tmp_path.iterdir()] == ["x.pickle"]
    assert not set(sys.modules) - before - {"mmap", "pickletools"}


def test_the_hostile_ones_would_run_under_pickle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE["in a list"])
    assert (tmp_path / MARKER).is_dir()


def test_a_refusal_says_what_and_where(tmp_path):
    path = tmp_path / "x.pickle"
    path.write_bytes(HOSTILE["system"])
    with pytest.raises(DataError, match=r"x.pickle: names '\w+' 'mkdir', which is no plain data \(byte \d+\); only"):
        read_pickle(path, NAMES)


BOMBS = {
    "nested tuples": b")" + b"\x85" * 5000 + b".",
    "nested lists": b"]" * 500 + b"a" * 499 + b".",
    "marks": b"(" * 5000 + b".",
    "stack": b"K\x01" * 200_000 + b".",
    "memo doubling": b"]q\x00"
    + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60))
    + b".",
    "claims a text of 2 GiB": b"X\xff\xff\xff\x7fabc.",
    "claims bytes of an exabyte": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.",
    "number of a megabyte": b"\x80\x02\x8b" + struct.pack("<i", 10**6) + b"\x01" * 10**6 + b".",
    "decimal of a megabyte": b"L" + b"9" * 10**6 + b"L\n.",
    "memo index beyond all": b"K\x01r\xff\xff\xff\xffj\xff\xff\xff\xfe.",
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_are_refused(case):
    with pytest.raises(NotPlainError):
        run(io.BytesIO(BOMBS[case]), NAMES)


def test_instructions_are_counted(monkeypatch):
    monkeypatch.setattr(plain_pickle, "MAX_INSTRUCTIONS", 100)
    with pytest.raises(NotPlainError, match="more than 100 instructions"):
        run(io.BytesIO(pickle.dumps(list(range(200)))), {})


def tensor_pickle(change):
    """A pickled tensor with its storage bytes changed."""
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    storage = io.BytesIO()
    torch.save(tensor.storage(), storage, _use_new_zipfile_serialization=False)
    return pickle.dumps(
        Calls(torch._utils._rebuild_tensor_v2, change(Calls(torch.storage._load_from_bytes, (storage.getvalue(),))))
    )


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(
    "shape",
    [
        (0, (2, 4), (3, 1)),
        (1, (2, 3), (3, 1)),
        (0, (10**9, 10**9), (0, 0)),
        (0, (2, 3), (-3, 1)),
        (0, (2,), (3, 1)),
        (-1, (2, 3), (3, 1)),
        (0, (True, 3), (3, 1)),
    ],
)
def test_tensors_may_not_reach_beyond_their_storage(shape):
    raw = tensor_pickle(lambda storage: (storage, *shape, False, collections.OrderedDict()))
    with pytest.raises(NotPlainError, match="tensor"):
        run(io.BytesIO(raw), NAMES)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_storages_may_not_claim_more_than_their_bytes():
    raw = tensor_pickle(lambda storage: (storage, 0, (2, 3), (3, 1), False, collections.OrderedDict()))
    np.testing.assert_array_equal(run(io.BytesIO(raw), NAMES), [[0, 1, 2], [3, 4, 5]])
    count = b"K\x06N"  # number of values in the reference to the storage
    for claim in (b"K\x07N", b"J\xff\xff\xff\x7fN"):
        longer = raw.replace(count, claim)
        assert longer != raw
        with pytest.raises(NotPlainError):
            run(io.BytesIO(longer), NAMES)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_altered_pickles_give_plain_data_or_an_error(position, flip):
    raw = bytearray(pickle.dumps({"a": [("x_0.npy", "rem"), np.arange(3.0), torch.zeros(2)]}, protocol=4))
    raw[position % len(raw)] ^= flip
    try:
        found = run(io.BytesIO(bytes(raw)), NAMES)
    except NotPlainError:
        return
    assert type(found) in (dict, list, tuple, str, int, float, bytes, bool, type(None))


def test_this_suite_never_imports_pickle_to_read():
    import inspect

    from hypnos_bench.exporting import pickled_arrays

    for module in (plain_pickle, pickled_arrays):
        assert "import pickle\n" not in inspect.getsource(module)
        assert "torch.load(" not in inspect.getsource(module)
