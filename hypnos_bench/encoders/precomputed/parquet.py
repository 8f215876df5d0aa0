"""Bounded reading of Parquet: numeric columns are the dimensions, in the order of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.precomputed.statement import TIMES
from hypnos_bench.errors import UsageError
from hypnos_bench.signals.arrays import MAX_BYTES

_STARTS = "epoch_start_s"
_RESERVED = tuple(name for name in TIMES if name != _STARTS)


def read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    """Read ``X`` (n_rows, n_columns), and ``epoch_start_s`` (n_rows,) when there is such a column.

    float16 stays float16 and float32 stays float32 when all columns are; else X is float64. A null is NaN.

    Raises
    ------
    ValueError
        When the file is damaged, has a column that is not numeric, an index or times that would pass for a dimension,
        or is larger than 4 GiB unpacked. One line, without the path.
    OSError
        When the file cannot be opened.
    UsageError
        When ``pyarrow`` is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError("Parquet embeddings need the pyarrow package: pip install 'hypnos-bench[parquet]'") from error
    try:
        with path.open("rb") as handle, pq.ParquetFile(handle) as file:
            schema, n_rows = file.schema_arrow, file.metadata.num_rows
            columns = [name for name in schema.names if name != _STARTS]
            _check_columns(pa, schema, columns)
            dtype = _common_type(pa, [schema.field(name).type for name in columns])
            _check_size(n_rows, len(schema.names), dtype)
            x = np.empty((n_rows, len(columns)), dtype)
            starts = np.empty(n_rows, np.float64)
            done = 0
            for group in range(file.num_row_groups):  # one at a time: memory is X and a group, not twice X
                table = file.read_row_group(group, use_threads=False)
                rows = slice(done, done + table.num_rows)
                for i, name in enumerate(columns):
                    x[rows, i] = table.column(name).to_numpy()
                if _STARTS in schema.names:
                    starts[rows] = table.column(_STARTS).to_numpy()
                done += table.num_rows
    except (pa.ArrowException, KeyError) as error:
        text = (str(error).splitlines() or [""])[0]
        raise ValueError(f"cannot be read as Parquet ({text[:120]})") from error
    if done != n_rows:
        raise ValueError(f"holds {done} rows, its header says {n_rows}")
    return {"X": x, **({_STARTS: starts} if _STARTS in schema.names else {})}


def _check_columns(pa: Any, schema: Any, columns: list[str]) -> None:
    if not columns:
        raise ValueError("has no column of numbers")
    if len(set(schema.names)) != len(schema.names):
        raise ValueError("has two columns of one name")
    indices = _indices(schema)
    for name in schema.names:
        kind = schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise ValueError(f"column {name!r} holds {kind}, not numbers; keep numeric columns and {_STARTS}")
        if name in indices and name != _STARTS:
            raise ValueError(f"column {name!r} is a stored index that would pass for a dimension; write index=False")
        if name in _RESERVED:
            raise ValueError(
                f"column {name!r} would pass for a dimension; name the starts of rows {_STARTS}, and say start_s and "
                "step_s in card.json or the file's .json"
            )


def _indices(schema: Any) -> set[str]:
    """Columns that pandas wrote for the index of a table."""
    said = (schema.metadata or {}).get(b"pandas")
    try:
        stored = json.loads(said)["index_columns"] if said is not None else []
        # A range has no column; it is described by an object.
        named = {name for name in stored if isinstance(name, str)}
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError("its pandas metadata is damaged, so that an index could pass for a dimension") from error
    return named | {name for name in schema.names if name.startswith("__index_level_")}


def _common_type(pa: Any, kinds: list[Any]) -> np.dtype[Any]:
    if all(kind == pa.float16() for kind in kinds):
        return np.dtype(np.float16)
    if all(kind in (pa.float16(), pa.float32()) for kind in kinds):
        return np.dtype(np.float32)
    return np.dtype(np.float64)


def _check_size(n_rows: int, n_columns: int, dtype: np.dtype[Any]) -> None:
    n_bytes = n_rows * n_columns * dtype.itemsize
    if n_bytes > MAX_BYTES:
        raise ValueError(f"unpacks to {n_bytes / 2**30:.1f} GiB, more than the {MAX_BYTES / 2**30:g} allowed")
