"""What stands for the names by which NumPy arrays and PyTorch tensors are pickled: own code, sizes held against bytes.

Sources: ``ndarray.__reduce__`` (``numpy/_core/src/multiarray/methods.c``); ``torch/_utils.py`` and the legacy format
of ``torch.save`` (``torch/serialization.py``), in which a storage inside a pickle is written.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.exporting.plain_pickle import Buildable, Names, NotPlainError, run

_CODE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES: Mapping[str, str] = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8"}


class Dtype(Buildable):
    """A type of numbers whose byte order comes later."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise NotPlainError(f"holds an array of {str(code)[:30]!r}, not of numbers")
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        """Set the byte order."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise NotPlainError("describes a type of numbers as NumPy does not")
        if any(part is not None for part in state[2:5]):
            raise NotPlainError("holds an array with named fields")
        self.dtype = self.dtype.newbyteorder(state[1])


class Array(Buildable):
    """An array whose content comes later."""

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] | None = None

    def build(self, state: Any) -> None:
        """Set shape, type and content."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise NotPlainError("describes an array as NumPy does not")
        _, shape, dtype, fortran, content = state
        self.values = _array(content, dtype, shape, "F" if fortran is True else "C")


def plain_array(value: Any) -> NDArray[Any] | None:
    """The array or tensor that a pickle held, or ``None`` when `value` is none."""
    found = value.values if type(value) is Array else value
    return found if isinstance(found, np.ndarray) else None


def _reconstruct(*_: Any) -> Array:
    return Array()


def _nothing_to_call(*_: Any) -> None:
    raise NotPlainError("calls a name that only names a type")


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    return _array(content, dtype, shape, order)


def _scalar(dtype: Any, content: Any) -> Any:
    return _array(content, dtype, (), "C")[()].item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise NotPlainError("encodes a text in an unexpected way")
    return text.encode("latin-1")


def _empty_dict(*held: Any) -> dict[str, Any]:
    if held:
        raise NotPlainError("holds an ordered dict that is not empty")
    return {}


def _empty_bytes(*held: Any) -> bytes:
    """How protocols before 3 write no bytes at all; others come through `_encode`."""
    if held:
        raise NotPlainError("makes bytes in an unexpected way")
    return b""


def _array(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    if isinstance(content, str):  # protocols before 3 have no bytes
        content = content.encode("latin-1")
    if not isinstance(content, bytes) or type(dtype) is not Dtype or order not in ("C", "F"):
        raise NotPlainError("holds an array of objects, or one that NumPy would not write")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 4:
        raise NotPlainError(f"holds an array of impossible shape {str(shape)[:60]}")
    if math.prod(shape) * dtype.dtype.itemsize != len(content):
        raise NotPlainError(f"holds an array of shape {shape} in {len(content)} bytes")
    return np.frombuffer(content, dtype.dtype).reshape(shape, order=order)


def _load_storage(content: Any) -> NDArray[Any]:
    """The numbers of a storage that ``torch.save`` wrote in its legacy format, without copying them."""
    if not isinstance(content, bytes):
        raise NotPlainError("holds a tensor without bytes")
    if content[:2] == b"PK":
        raise NotPlainError("holds a tensor in the archive format of torch.save; save NumPy arrays instead")
    source = io.BytesIO(content)
    if run(source, {}) != _MAGIC or run(source, {}) != _PROTOCOL:
        raise NotPlainError("holds a tensor in a format that torch.save does not write")
    machine = run(source, {})
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise NotPlainError("holds a tensor of a big-endian machine")
    types = {("torch", name): _nothing_to_call for name in _STORAGES}
    name, key, count = run(source, types, _storage_reference)
    if run(source, {}) != [key]:
        raise NotPlainError("holds a tensor with several storages")
    head = source.read(8)
    dtype = np.dtype(_STORAGES[name])
    left = len(content) - source.tell()
    if len(head) != 8 or int.from_bytes(head, "little") != count or left != count * dtype.itemsize:
        raise NotPlainError(f"holds a tensor of {count} numbers in {left} bytes")
    return np.frombuffer(content, dtype, count=count, offset=source.tell())


def _storage_reference(reference: Any) -> tuple[str, str, int]:
    if not isinstance(reference, tuple) or len(reference) != 6 or reference[0] != "storage" or reference[5] is not None:
        raise NotPlainError("holds a tensor that is a view of something else")
    _, kind, key, _, count, _ = reference
    words = getattr(kind, "words", None)
    if words is None or type(key) is not str or type(count) is not int or count < 0:
        raise NotPlainError("holds a tensor whose storage is not described as torch.save does")
    return words[1], key, count


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> NDArray[Any]:
    if not isinstance(storage, np.ndarray) or storage.ndim != 1 or not isinstance(size, tuple):
        raise NotPlainError("holds a tensor without a storage")
    if not isinstance(stride, tuple) or len(stride) != len(size) or len(size) > 4:
        raise NotPlainError("holds a tensor of impossible shape")
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise NotPlainError("holds a tensor of impossible shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    count = math.prod(size)
    if count > len(storage) or (count and last >= len(storage)):
        raise NotPlainError(f"holds a tensor of shape {size} beyond its {len(storage)} numbers")
    steps = [step * storage.itemsize for step in stride]
    return np.ndarray(size, storage.dtype, storage.data, offset * storage.itemsize if count else 0, steps)


NAMES: Names = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _nothing_to_call,
    ("numpy", "dtype"): Dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty_bytes,
    ("collections", "OrderedDict"): _empty_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch.storage", "_load_from_bytes"): _load_storage,
}
"""Every global that is admitted, and the function of this suite that stands for it."""
