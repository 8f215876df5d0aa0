"""Rows as every layout gives them, and the checks that all of them pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """What a file holds for one recording.

    Parameters
    ----------
    arrays : mapping of str to ndarray, each of shape (n_rows, dim)
        float16 or float32, all of one shape.
    start_s, step_s : float
    skipped : mapping of str to str
        What was missing when the rows were made, or is missing in the file, and what stands in its place.
    short_s : float
        Seconds by which the rows of such a file end before their recording as a rule.
    """

    arrays: Mapping[str, NDArray[np.floating[Any]]]
    start_s: float
    step_s: float
    skipped: Mapping[str, str] = field(default_factory=dict)
    short_s: float = 0.0


def checked(name: str, x: NDArray[Any], *, nan_rows: bool) -> NDArray[np.floating[Any]]:
    """Rows as float16 or float32 in native order, other numbers as float32.

    Parameters
    ----------
    name : str
        Array, for messages.
    x : ndarray
        Expected shape (n_rows, dim).
    nan_rows : bool
        Whether rows may be NaN as a whole, where the model had no signal.

    Raises
    ------
    ValueError
        For another shape, no numbers, or values that are not finite.
    """
    if x.ndim != 2 or 0 in x.shape:
        hint = "; with layout osf (n_epochs, 2, 768) is read" if x.ndim == 3 else ""
        raise ValueError(f"{name} has shape {x.shape} instead of (n_rows, dim){hint}")
    if x.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {x.dtype}, not numbers")
    if x.dtype.newbyteorder("=") not in (np.float16, np.float32):
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused below
            x = x.astype(np.float32)
    x = np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("="))
    wrong = ~np.isfinite(x).all(axis=1)
    lost = np.isnan(x).all(axis=1)
    if lost.all():
        raise ValueError(f"{name} holds NaN only")
    bad = np.flatnonzero(wrong & ~lost if nan_rows else wrong)
    if bad.size:
        hint = '; rows that are NaN as a whole need "nan_rows": "no-signal"' if lost[bad[0]] else ""
        raise ValueError(f"{name} holds NaN or infinity, first in row {bad[0]} ({bad.size} of {len(x)} rows){hint}")
    return x


def one_dtype(arrays: Mapping[str, NDArray[np.floating[Any]]]) -> dict[str, NDArray[np.floating[Any]]]:
    """Arrays in the widest type among them."""
    dtype = np.result_type(*arrays.values())
    return {name: array.astype(dtype, copy=False) for name, array in arrays.items()}
