"""Rows a regression head may learn from, and what their targets must be like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError

_ULP = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class RegressionRows:
    """Rows a regression head may learn from; nothing else is shown to it.

    Parameters
    ----------
    x : ndarray of float32, shape (n, d)
    y : ndarray of float64, shape (n,)
        Target in the unit of the task (years, events per hour).
    person : ndarray of int64, shape (n,)
        Family codes: relatives share one, so that penalties are never chosen across a family.
    recording : ndarray of int64, shape (n,)
    """

    x: NDArray[np.float32]
    y: NDArray[np.float64]
    person: NDArray[np.int64]
    recording: NDArray[np.int64]


def target_moments(y: NDArray[np.float64], shape: tuple[int, int], person: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and population standard deviation of targets that a regression can learn from.

    `shape` is that of the rows; `person` is only counted, for the message.

    Raises
    ------
    FitError
        No rows, rows and targets that differ in number, NaN or infinity, or a constant target.
    """
    n = len(y)
    if n == 0 or shape[0] != n or shape[1] == 0:
        raise FitError(f"a regression needs rows with features and targets, got x {shape} and {n} targets")
    bad = int((~np.isfinite(y)).sum())
    if bad:
        raise FitError(f"{bad} of {n} training targets are NaN or infinite; leave those recordings out")
    centre = float(y[0] + (y - y[0]).mean())
    spread = float(np.sqrt(((y - centre) ** 2).mean()))
    if spread <= 4 * _ULP * abs(centre):
        raise FitError(
            f"all {n} training targets of {np.unique(person).size} person(s) are {centre:g}: nothing to learn; "
            "use more shots or another seed"
        )
    return centre, spread
