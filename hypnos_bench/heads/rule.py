"""Which penalty of a cross-validated path is taken: the best, or the strongest that is hardly worse."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import UsageError

RULES: Mapping[str, str] = {"min": "cv-min", "one-se": "cv-1se"}
"""Values of a head's setting ``rule``, and how the choice is recorded in what it selected."""


def check_rule(head: str, rule: object) -> None:
    """Refuse a rule that does not exist.

    Raises
    ------
    UsageError
    """
    if rule not in RULES:
        raise UsageError(f"{head} head: rule must be one of {', '.join(RULES)}, not {rule!r}")


def pick(mean: NDArray[np.float64], excess_se: NDArray[np.float64], rule: str) -> int:
    """Position of the penalty to take on a path from strong to weak.

    Parameters
    ----------
    mean : ndarray, shape (penalties,)
        Held-out loss of each.
    excess_se : ndarray, shape (penalties,)
        Standard error of the *paired* differences (of persons, or of folds) to the best penalty: how hard a person or a
        fold is to predict says nothing about the penalty. It is much smaller than the standard error of the loss itself
        that Hastie, Tibshirani & Friedman (The Elements of Statistical Learning, 2nd ed., 7.10) take.
    rule : {"min", "one-se"}
        The best, or the strongest whose loss is within one such standard error of the best; of equals the strongest.
    """
    best = int(mean.argmin())
    if rule == "min":
        return best
    return int(np.flatnonzero(mean - mean[best] <= excess_se).min())
