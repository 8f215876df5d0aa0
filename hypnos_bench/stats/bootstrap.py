"""Person-level bootstrap intervals of pooled metrics.

Persons are drawn, never epochs: units of a person are not independent, and an interval from drawn
epochs is several times too narrow. Percentile intervals (Efron & Tibshirani 1993, ch. 13); with
few persons (fewer than about 20) they cover less than they claim.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_PERSONS = 2
"""With fewer persons nothing varies between replicates, and there is no interval."""

LEVEL = 0.95
"""Coverage of every interval."""


class Interval(NamedTuple):
    """Percentile interval, and the number of replicates in which the metric was defined."""

    low: float
    high: float
    n_valid: int


def person_weights(n_persons: int, n_boot: int, seed: int) -> NDArray[np.int64]:
    """How often each person is drawn in each replicate, shape (n_boot, n_persons); rows sum to n_persons.

    Depends on the three arguments alone: intervals of encoders that share persons (in the same
    order) use the same draws, so that their differences are paired.
    """
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, n_persons, size=(n_boot, n_persons))
    flat = drawn + n_persons * np.arange(n_boot)[:, None]
    return np.bincount(flat.ravel(), minlength=n_boot * n_persons).reshape(n_boot, n_persons).astype(np.int64)


def percentile_interval(replicates: ArrayLike) -> Interval | None:
    """Central 95% of the defined replicates; ``None`` when fewer than half (or fewer than two) are defined.

    A metric that most resamples cannot compute has no honest interval.
    """
    values = np.asarray(replicates, dtype=np.float64)
    valid = values[~np.isnan(values)]
    if valid.size < max(2, values.size / 2):
        return None
    low, high = np.quantile(valid, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), int(valid.size))


class Difference(NamedTuple):
    """Difference a - b of a pooled metric, with interval and p from shared draws of persons.

    `p` is two-sided and never below `min_p`. Bounds and p are NaN when fewer than half of the replicates (or fewer than
    two) define both sides; `n_valid` counts those that do.
    """

    value: float
    low: float
    high: float
    p: float
    n_valid: int
    min_p: float


def paired_difference(replicates_a: ArrayLike, replicates_b: ArrayLike, point_a: float, point_b: float) -> Difference:
    """Compare two encoders by bootstrap replicates that come from the same :func:`person_weights`.

    Parameters
    ----------
    replicates_a, replicates_b : array of float, shape (B,)
        The metric in each replicate; NaN where it is not defined. Replicates that only one side defines are left out.
    point_a, point_b : float
        The metric on the data themselves.

    Returns
    -------
    Difference
        Percentile interval, and p = 2 min(share of differences <= 0, share >= 0) with (b + 1) / (B + 1) for a share
        (Davison & Hinkley 1997, ch. 4), at most 1: no p below 2 / (B + 1) can come out. Where it is at most 0.05 the
        interval excludes 0, and it shares its weakness: with fewer than about 20 persons it is too small.

    Raises
    ------
    ValueError
        When shapes differ.
    """
    left, right = np.asarray(replicates_a, dtype=np.float64), np.asarray(replicates_b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"replicates must be two equally long rows, got {left.shape} and {right.shape}")
    # Rounded as in the paired tests: a difference of float noise is no difference.
    differences = np.round(left - right, 10)
    interval = percentile_interval(differences)
    valid = differences[~np.isnan(differences)]
    value, nan = float(point_a) - float(point_b), float("nan")
    if interval is None:
        return Difference(value, nan, nan, nan, int(valid.size), nan)
    shares = [(int((side * valid <= 0).sum()) + 1) / (valid.size + 1) for side in (1, -1)]
    return Difference(
        value, interval.low, interval.high, min(1.0, 2 * min(shares)), int(valid.size), 2 / (valid.size + 1)
    )
