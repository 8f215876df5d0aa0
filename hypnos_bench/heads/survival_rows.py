"""Rows that a survival head may learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SurvivalRows:
    """Features of n recordings (or persons) and what became of them under M outcomes; nothing else is shown to a head.

    Parameters
    ----------
    x : ndarray of float32, shape (n, d)
        Finite.
    time : ndarray of float64, shape (n, M)
        Years from the recording to the event or to the end of follow-up; positive where `at_risk`, anything elsewhere.
    event : ndarray of bool, shape (n, M)
        Whether the event ended `time`; not read where nobody is at risk.
    at_risk : ndarray of bool, shape (n, M)
        False: the event came before the recording, or what became of the person is unknown. Such a row takes
        no part in that outcome.
    names : tuple of str, length M
        Outcome ids, each once.
    person : ndarray of int64, shape (n,)
        Group codes (persons, or families) that cross-validation keeps together.
    """

    x: NDArray[np.float32]
    time: NDArray[np.float64]
    event: NDArray[np.bool_]
    at_risk: NDArray[np.bool_]
    names: tuple[str, ...]
    person: NDArray[np.int64]
