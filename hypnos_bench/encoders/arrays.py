"""Reading other people's array files: sizes bounded before anything is allocated, no pickle, one-line errors."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 4 * 2**30
"""Largest single array that is read: a night at one float32 row of 768 x 8 per second is a fifth of it."""

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


def _read_npz(path: Path, wanted: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            arrays = {}
            for name in wanted:
                if name in members:
                    with archive.open(members[name]) as handle:
                        arrays[name] = _read_npy(handle, members[name].file_size, name)
            return arrays
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"not a whole .npz file ({error})") from error


def _read_npy(handle: IO[bytes], size: int, name: str) -> NDArray[Any]:
    version = np.lib.format.read_magic(handle)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"array {name!r} has unknown .npy version {version}")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(handle)
    if dtype.hasobject:
        raise ValueError(f"array {name!r} holds Python objects, which are never loaded; save numbers")
    n_bytes = math.prod(shape) * dtype.itemsize
    _check_size(name, n_bytes)
    if n_bytes > size:
        raise ValueError(f"array {name!r} claims {n_bytes} bytes in a file of {size}; it is cut off")
    raw = handle.read(n_bytes)
    if len(raw) != n_bytes:
        raise ValueError(f"array {name!r} is cut off")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


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
