"""What a score is stored as, and the draws of persons that all scores share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.metrics.catalogue import Metric
from hypnos_bench.stats.bootstrap import MIN_PERSONS, percentile_interval, person_weights

F64 = NDArray[np.float64]

BOOTSTRAP_SEED = 0
"""One seed for all cells: cells that test the same persons share their replicates, so differences are paired."""


def person_codes(persons: Sequence[str]) -> tuple[NDArray[np.intp], list[str]]:
    """Code of each recording's person, and the persons in the order of codes.

    Persons are ordered by id, whatever the order of recordings: that makes draws the same for every encoder.
    """
    names, codes = np.unique(np.asarray(persons, dtype=str), return_inverse=True)
    return codes, names.tolist()


def draws(n_persons: int, n_boot: int) -> NDArray[np.int64] | None:
    """How often each person is drawn, shape (n_boot, n_persons); ``None`` where too few to draw from."""
    return person_weights(n_persons, n_boot, BOOTSTRAP_SEED) if n_persons >= MIN_PERSONS else None


def entry(
    metric: Metric, value: float, replicates: F64 | None, single: F64 | None = None, absent: Sequence[str] = ()
) -> dict[str, Any]:
    """One score of a cell.

    Parameters
    ----------
    metric : Metric
    value : float
        On the test data themselves; NaN becomes ``None``.
    replicates : ndarray, shape (B,), optional
        The metric in each bootstrap replicate; without them there is no interval.
    single : ndarray, shape (R,), optional
        The metric recording by recording.
    absent : sequence of str
        Classes that the truth lacks.

    Returns
    -------
    dict
        ``value``, ``low`` and ``high`` (95 % percentile interval), ``n_boot`` (replicates in which the metric was
        defined), ``higher_is_better``; ``target`` where a metric can miss on both sides; ``classes_absent`` where it
        averages over classes; ``per_recording`` (:func:`spread`) where given.
    """
    found = None if replicates is None else percentile_interval(replicates)
    made: dict[str, Any] = {
        "value": None if np.isnan(value) else float(value),
        "low": found.low if found else None,
        "high": found.high if found else None,
        "n_boot": found.n_valid if found else 0,
        "higher_is_better": metric.higher_is_better,
    }
    if metric.target is not None:
        made["target"] = metric.target
    if metric.over_classes:
        made["classes_absent"] = list(absent)
    if single is not None:
        made["per_recording"] = spread(single)
    return made


def spread(values: F64) -> dict[str, Any]:
    """Mean, sd (n - 1) and median of the defined values, ``n`` of them, and ``n_undefined`` others."""
    defined = values[~np.isnan(values)]
    counts = {"n": int(defined.size), "n_undefined": int(values.size - defined.size)}
    if defined.size == 0:
        return {"mean": None, "sd": None, "median": None, **counts}
    sd = float(defined.std(ddof=1)) if defined.size > 1 else None
    return {"mean": float(defined.mean()), "sd": sd, "median": float(np.median(defined)), **counts}
