"""Layout ``generic``: rows and their times, as the file, its sidecar or the card state them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypnos_bench.encoders.precomputed.files import read_file
from hypnos_bench.encoders.precomputed.rows import Rows, checked
from hypnos_bench.encoders.precomputed.statement import NAN_ROWS, TIMES
from hypnos_bench.encoders.precomputed.times import times_of


def read_generic(path: Path, stated: Mapping[str, Any], held: Mapping[str, Any]) -> Rows:
    """Rows of a file of any format.

    Parameters
    ----------
    path : Path
    stated : mapping
        What card and sidecar say. ``arrays`` names the arrays to read (default: ``X``).
    held : mapping
        Times that hold where nothing else is said.

    Raises
    ------
    ValueError
        When an array or its times are missing or wrong, or two statements of the times differ.
    """
    names = tuple(stated.get("arrays", ("X",)))
    found = read_file(path, (*names, *TIMES))
    for name in names:
        if name not in found:
            raise ValueError(f"holds no array {name} of shape (n_rows, dim)")
    nan_rows = stated.get("nan_rows") == NAN_ROWS
    arrays = {name: checked(name, found[name], nan_rows=nan_rows) for name in names}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1:
        raise ValueError(f"arrays differ in shape: { {name: a.shape for name, a in arrays.items()} }")
    start_s, step_s = times_of(found, stated, next(iter(shapes))[0], held=held)
    return Rows(arrays, start_s, step_s, short_s=step_s)
