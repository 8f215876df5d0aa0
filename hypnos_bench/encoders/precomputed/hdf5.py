"""Bounded reading of HDF5 arrays: shapes and storage are checked before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import UsageError
from hypnos_bench.signals.arrays import MAX_BYTES

# What h5py raises on damaged files; it has no error class of its own.
_MALFORMED = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError)
_MAX_NAMES = 4096


def dataset_names(path: Path) -> list[str]:
    """Names at the root of a file. Raises as :func:`read_hdf5`."""
    with _opened(path) as file:
        if len(file) > _MAX_NAMES:
            raise ValueError(f"holds {len(file)} datasets, more than {_MAX_NAMES}")
        return [str(name) for name in file]


def read_hdf5(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Read the wanted datasets, or attributes, that lie at the root of a file.

    Raises
    ------
    ValueError
        When the file is damaged, or a dataset is linked, stored elsewhere, not written to its end, no numbers or
        larger than 4 GiB. One line, without the path.
    OSError
        When the file system fails.
    UsageError
        When ``h5py`` is not installed.
    """
    arrays: dict[str, NDArray[Any]] = {}
    with _opened(path) as file:
        for name in names:
            if name in file.attrs and name not in file:
                arrays[name] = np.asarray(file.attrs[name])
                continue
            link = type(file.get(name, getlink=True, default=None)).__name__
            if link == "NoneType":
                continue
            reason = f"a link ({link}) that is not followed" if link != "HardLink" else _fault(file[name])
            if reason:
                raise ValueError(f"dataset {name!r} is {reason}")
            arrays[name] = np.asarray(file[name][()])
    return arrays


def _fault(dataset: Any) -> str | None:
    """Why a dataset cannot be read, or ``None``. Nothing is read."""
    if not hasattr(dataset, "shape") or dataset.shape is None:
        return "no array"
    if dataset.dtype.kind not in "iuf" or dataset.dtype.itemsize > 8:
        return f"of type {dataset.dtype}, not of numbers"
    if dataset.size * dataset.dtype.itemsize > MAX_BYTES:
        return f"of shape {dataset.shape}: more than the {MAX_BYTES / 2**30:g} GiB allowed"
    if dataset.external or dataset.is_virtual:
        return "stored outside the file, where it is not looked for"
    written = dataset.size == 0 or dataset.id.get_storage_size() > 0
    if dataset.chunks is not None and dataset.size:
        chunks = math.prod(math.ceil(n / c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
        written = dataset.id.get_num_chunks() >= chunks
    return None if written else "not written to its end"


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise UsageError("HDF5 embeddings need the h5py package: pip install 'hypnos-bench[hdf5]'") from error
    module: ModuleType = h5py
    return module


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    h5py = _h5py()
    with path.open("rb"):
        pass  # a file that cannot be opened is told in the system's words
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except _MALFORMED as error:
        if isinstance(error, OSError) and error.errno:
            raise
        if type(error) is ValueError and str(error).startswith(("dataset ", "holds ")):
            raise
        text = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ValueError(f"cannot be read as HDF5 ({text[:120]})") from error
