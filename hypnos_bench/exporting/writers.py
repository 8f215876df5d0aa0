"""Array files as bytes. Equal content gives equal bytes, so that what is there already can be told."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.store.atomic import atomic_write

Arrays = Mapping[str, NDArray[np.floating[Any]]]

_DATE = (1980, 1, 1, 0, 0, 0)  # archives store one; the day of the export would make equal files differ
_HDF5_CHUNK_ROWS = 128


def npy_bytes(arrays: Arrays) -> bytes:
    """One array as ``.npy``."""
    (array,) = arrays.values()
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def npz_bytes(arrays: Arrays) -> bytes:
    """Arrays as an uncompressed ``.npz``."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _DATE), npy_bytes({name: arrays[name]}))
    return out.getvalue()


def safetensors_bytes(arrays: Arrays) -> bytes:
    """Arrays as ``.safetensors``."""
    from safetensors.numpy import save

    content: bytes = save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())})
    return content


def hdf5_bytes(arrays: Arrays) -> bytes:
    """Arrays as datasets at the root of an HDF5 file, chunked by rows and without time stamps."""
    try:
        import h5py
    except ImportError as error:
        raise UsageError("writing HDF5 needs the h5py package: pip install 'hypnos-bench[hdf5]'") from error
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name in sorted(arrays):
            array = arrays[name]
            chunks = (min(_HDF5_CHUNK_ROWS, len(array)), *array.shape[1:])
            file.create_dataset(name, data=array, chunks=chunks, maxshape=(None, *array.shape[1:]), track_times=False)
    return out.getvalue()


def parquet_bytes(arrays: Arrays) -> bytes:
    """One array as Parquet: columns ``d0``, ``d1``, …, which keep its type."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError("writing Parquet needs the pyarrow package: pip install 'hypnos-bench[parquet]'") from error
    (array,) = arrays.values()
    table = pa.table({f"d{i}": pa.array(np.ascontiguousarray(array[:, i])) for i in range(array.shape[1])})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", use_dictionary=False)  # numbers of a network never repeat
    return out.getvalue()


WRITERS: Mapping[str, tuple[str, Callable[[Arrays], bytes]]] = {
    "npz": (".npz", npz_bytes),
    "npy": (".npy", npy_bytes),
    "h5": (".h5", hdf5_bytes),
    "safetensors": (".safetensors", safetensors_bytes),
    "parquet": (".parquet", parquet_bytes),
    "sleepfm": (".hdf5", hdf5_bytes),
    "osf": (".npy", npy_bytes),
}
"""Shape to the ending of its files and what writes them."""


def json_bytes(stated: Mapping[str, Any]) -> bytes:
    """A card or sidecar."""
    return (json.dumps(stated, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()


def put(path: Path, content: bytes, *, overwrite: bool) -> bool:
    """Write a file unless the same is there; returns whether it was written.

    Raises
    ------
    DataError
        When another file of that name is there and may not be replaced, or the disk refuses.
    """
    if path.is_file():
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return False
        if not overwrite:
            raise DataError(f"{path}: another file of that name is there; choose another --out, or --overwrite it")
    atomic_write(path, content, instead="--out DIR")
    return True
