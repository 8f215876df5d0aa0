"""Person-level bootstrap intervals of pooled metrics.

Persons are drawn, never epochs: units of a person are not independent, and an interval from drawn
epochs is several times too narrow. Percentile intervals (Efron & Tibshirani 1993, ch. 13); with
few persons (fewer than about 20) they cover less than they claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.metrics.classification import Ranking

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


def person_bootstrap_confusion(
    conf_by_person: NDArray[Any],
    metrics: Callable[[NDArray[np.int64]], Mapping[str, NDArray[np.float64]]],
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Intervals of pooled metrics of a confusion matrix.

    Parameters
    ----------
    conf_by_person : ndarray of int, shape (P, C, C)
        One matrix per person, all of a person's recordings added up.
    metrics : callable
        Maps matrices (n_boot, C, C) to values (n_boot,) by id, such as ``score_confusion``.
    n_boot, seed : int

    Returns
    -------
    dict of str to Interval or None
        ``None`` with fewer than two persons, or when most replicates are undefined.
    """
    n_persons, n_classes = conf_by_person.shape[:2]
    if n_persons < MIN_PERSONS:
        return dict.fromkeys(metrics(conf_by_person.sum(axis=0, keepdims=True)))
    weights = person_weights(n_persons, n_boot, seed)
    # Counts stay below 2**53, so the float product is exact and far faster than the integer one.
    pooled = weights.astype(np.float64) @ conf_by_person.reshape(n_persons, -1).astype(np.float64)
    replicates = metrics(np.rint(pooled).astype(np.int64).reshape(n_boot, n_classes, n_classes))
    return {metric: percentile_interval(values) for metric, values in replicates.items()}


def person_bootstrap_ranking(
    y_true: ArrayLike, score: ArrayLike, person: ArrayLike, n_persons: int, n_boot: int = 1000, seed: int = 0
) -> dict[str, Interval | None]:
    """Intervals of ``auroc`` and ``auprc``.

    Parameters
    ----------
    y_true : array of bool, shape (n,)
    score : array of float, shape (n,)
    person : array of int, shape (n,)
        Person codes 0..n_persons-1, in the order used for the confusion matrices.
    n_persons, n_boot, seed : int
    """
    if n_persons < MIN_PERSONS:
        return {"auroc": None, "auprc": None}
    area, precision = Ranking(y_true, score, person).score(person_weights(n_persons, n_boot, seed))
    return {"auroc": percentile_interval(area), "auprc": percentile_interval(precision)}
