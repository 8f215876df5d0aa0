"""Reading other people's array files: sizes bounded before anything is allocated, no pickle, one-line errors."""

from __future__ import annotations

import ast
import json
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 4 * 2**30
"""Largest single array that is read: a night at one float32 row of 768 x 8 per second is a fifth of it."""

_MAX_HEADER_BYTES = 65536

SUFFIXES = (".npz", ".npy", ".safetensors")


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read the wanted arrays that `path` holds; a ``.npy`` file holds one, called ``X``.

    Safetensors metadata count as arrays too when they are numbers (``{"step_s": "30"}``).

    Raises
    ------
    ValueError
        When the file is damaged, holds objects, or an array is larger than 4 GiB. One line, without the path.
    OSError
        When the file cannot be opened.
    """
    wanted = tuple(names)
    if path.suffix == ".npz":
        return _read_npz(path, wanted)
    if path.suffix == ".npy":
        with path.open("rb") as handle:
            return {"X": _read_npy(handle, path.stat().st_size, "X")}
    return _read_safetensors(path, wanted)


def npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and type of every array of a ``.npz``, without unpacking them.

    Raises
    ------
    ValueError
        When the archive or a header is damaged. One line, without the path.
    OSError
        When the file cannot be opened.
    """
    headers = {}
    with _archive(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name != info.filename:
                with archive.open(info) as handle:
                    shape, _, dtype = _npy_header(handle, name)
                headers[name] = (shape, dtype)
    return headers


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise ValueError(f"not a whole .npz file ({error})") from error


def _read_npz(path: Path, wanted: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    arrays = {}
    with _archive(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        for name in wanted:
            if name in members:
                with archive.open(members[name]) as handle:
                    arrays[name] = _read_npy(handle, members[name].file_size, name)
    return arrays


def _read_npy(handle: IO[bytes], size: int, name: str) -> NDArray[Any]:
    shape, fortran, dtype = _npy_header(handle, name)
    if dtype.hasobject:
        raise ValueError(f"array {name!r} holds Python objects, which are never loaded; save numbers")
    n_bytes = math.prod(shape) * dtype.itemsize
    _check_size(name, n_bytes)
    if n_bytes > size:
        raise ValueError(f"array {name!r} claims {n_bytes} bytes in a file of {size}; it is cut off")
    raw = handle.read(n_bytes)
    if len(raw) != n_bytes:
        raise ValueError(f"array {name!r} is cut off")
    if handle.read(1):  # reaching the end also makes an archive check its checksum
        raise ValueError(f"array {name!r} is longer than its shape says")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def _npy_header(handle: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type; parsed here because numpy's parser lets damaged headers raise anything."""
    magic = handle.read(8)
    if len(magic) < 8 or magic[:6] != b"\x93NUMPY" or magic[6] not in (1, 2, 3):
        raise ValueError(f"array {name!r} is not in .npy format")
    length = int.from_bytes(handle.read(2 if magic[6] == 1 else 4), "little")
    try:
        header = ast.literal_eval(handle.read(min(length, _MAX_HEADER_BYTES)).decode("utf-8").strip())
        shape, fortran, dtype = header["shape"], header["fortran_order"], np.dtype(header["descr"])
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError(f"array {name!r} has a damaged .npy header") from error
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"array {name!r} has impossible shape {shape!r}")
    return shape, bool(fortran), dtype


def _read_safetensors(path: Path, wanted: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError, safe_open

    arrays: dict[str, NDArray[Any]] = {}
    try:
        with safe_open(path, "np") as file:
            held = set(file.keys())
            for name, text in (file.metadata() or {}).items():
                if name in wanted and name not in held:
                    arrays[name] = np.asarray(json.loads(text, parse_constant=_refuse), dtype=np.float64)
            for name in wanted:
                if name in held:
                    _check_size(name, 8 * math.prod(file.get_slice(name).get_shape()))
                    arrays[name] = file.get_tensor(name)
    except (SafetensorError, TypeError, KeyError) as error:
        raise ValueError(f"not a whole safetensors file, or of a type numpy lacks ({error})") from error
    return arrays


def _check_size(name: str, n_bytes: int) -> None:
    if n_bytes > MAX_BYTES:
        raise ValueError(f"array {name!r} is {n_bytes / 2**30:.1f} GiB, more than the {MAX_BYTES / 2**30:g} allowed")


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a number")
