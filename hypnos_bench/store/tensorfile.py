"""Arrays plus a JSON header in one safetensors file that proves its own integrity.

Layout: an ordinary safetensors file whose metadata hold one entry, ``hypnos_bench``: canonical
JSON of the caller's header, the SHA-256 of the arrays and the SHA-256 of that JSON itself. One
entry, because the library writes several in random order and equal content must give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import DataError, IntegrityError
from hypnos_bench.spec import canonical_json, digest
from hypnos_bench.store.atomic import atomic_write

METADATA_KEY = "hypnos_bench"
_MAX_HEADER_BYTES = 16 * 2**20
_DTYPES = {"<f2": "F16", "<f4": "F32", "|i1": "I8", "<i4": "I32", "<i8": "I64", "<f8": "F64"}
_ITEM_BYTES = {name: np.dtype(code).itemsize for code, name in _DTYPES.items()}

Arrays = Mapping[str, NDArray[Any]]


def write_tensors(path: Path, arrays: Arrays, header: Mapping[str, Any]) -> None:
    """Write `arrays` and `header` atomically; equal content gives equal bytes.

    Raises
    ------
    DataError
        When the disk refuses.
    """
    # Written here rather than by the library, which copies every array and hides a full disk in its own error type.
    ready = {name: np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<")) for name, a in arrays.items()}
    body = {**header, "arrays_sha256": arrays_sha256(ready)}
    body["header_sha256"] = digest(body)
    entries: dict[str, Any] = {"__metadata__": {METADATA_KEY: canonical_json(body)}}
    # Wide types first keeps every array aligned, as the format asks.
    order = sorted(ready, key=lambda name: (-ready[name].itemsize, name))
    offset = 0
    for name in order:
        array = ready[name]
        entries[name] = {
            "dtype": _DTYPES[array.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    head = json.dumps(entries, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            handle.write(len(head).to_bytes(8, "little") + head)
            for name in order:
                if ready[name].size:
                    handle.write(ready[name].data)

    atomic_write(path, write)


def read_header(path: Path) -> dict[str, Any]:
    """Read and verify the header alone, and that the file is as long as it says; no array is read.

    Raises
    ------
    DataError
        When the file cannot be opened.
    IntegrityError
        When it is truncated, altered in its header, or not one of ours.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
                raise damaged(path, "no safetensors header, or cut off")
            raw = handle.read(length)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); rerun the step that writes it") from error
    try:
        entries = json.loads(raw)
        metadata = entries.pop("__metadata__")
        body = json.loads(metadata[METADATA_KEY])
        stated = body.pop("header_sha256")
        actual = digest(body)
        end = max((_end_of(entry) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, f"not a file written by hypnos-bench ({type(error).__name__} in its header)") from error
    if actual != stated:
        raise damaged(path, "its header does not match its own SHA-256")
    if size != 8 + length + end:
        raise damaged(path, f"{size} bytes long instead of {8 + length + end}")
    return dict(body)


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read header and arrays, both verified against their SHA-256. Raises as :func:`read_header`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    header = read_header(path)
    try:
        arrays = load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise damaged(path, f"unreadable arrays ({error})") from error
    if arrays_sha256(arrays) != header.get("arrays_sha256"):
        raise damaged(path, "its arrays do not match their SHA-256")
    return header, arrays


def arrays_sha256(arrays: Arrays) -> str:
    """SHA-256 over names, dtypes, shapes and contents in the order of names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(canonical_json([name, array.dtype.str, list(array.shape)]).encode())
        total.update(array.data if array.size else b"")
    return total.hexdigest()


def damaged(path: Path, reason: str) -> IntegrityError:
    """Build the one-line error for a stored file that cannot be trusted."""
    return IntegrityError(f"{path}: {reason}; delete it and rerun")


def _end_of(entry: Mapping[str, Any]) -> int:
    start, end = entry["data_offsets"]
    if end - start != math.prod(entry["shape"]) * _ITEM_BYTES[entry["dtype"]]:
        raise ValueError("shape and offsets disagree")
    return int(end)
