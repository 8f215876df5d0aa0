"""Samples that were never recorded (NaN): what a filter is given in their place, and which seconds they cost."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MAX_BRIDGED = 0.1
"""Share of a second, or of an epoch, that may be bridged; with more missing it counts as not recorded."""


def fill_gaps(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Bridge NaN and infinity linearly, so that no filter spreads them; also return where they were.

    A line has nothing in it that the high-pass of any channel lets through, so it leaves no step behind.
    """
    gaps = ~np.isfinite(values)
    if not gaps.any():
        return values, gaps
    if gaps.all():
        return np.zeros_like(values), gaps
    index = np.arange(len(values))
    return np.interp(index, index[~gaps], values[~gaps]), gaps


def missing_steps(gaps: NDArray[np.bool_], rate_hz: float, step_s: float = 1.0) -> NDArray[np.bool_]:
    """Steps of which more than a tenth of the samples is missing.

    Parameters
    ----------
    gaps : ndarray of bool, shape (n_samples,)
        Which samples are missing.
    rate_hz, step_s : float
        Each step holds at least one sample.

    Returns
    -------
    ndarray of bool, shape (ceil(n_samples / rate_hz / step_s),)
        A last step that is cut off counts by the samples it has.
    """
    n_steps = math.ceil(len(gaps) / (rate_hz * step_s) - 1e-6)
    edges = np.minimum(np.rint(np.arange(n_steps + 1) * rate_hz * step_s).astype(np.int64), len(gaps))
    before = np.concatenate([[0], np.cumsum(gaps)])
    share = np.diff(before[edges]) / np.maximum(np.diff(edges), 1)
    return np.asarray(share > MAX_BRIDGED + 1e-9)
