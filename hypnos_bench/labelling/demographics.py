"""Age, sex, BMI and the like as numbers that a head can take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.errors import DataError

SEX_CODES = {"male": 1.0, "female": 0.0}


def read_demographics(recordings: Sequence[Recording], names: Sequence[str]) -> NDArray[np.float64]:
    """Covariates of recordings, shape (n, k); NaN where missing.

    Numbers stand as they are, yes and no as 1 and 0, ``sex`` as male 1 and female 0. A column that no recording has
    is NaN throughout; `fill_missing` makes it a constant.

    Raises
    ------
    DataError
        When a covariate holds words: there is no order in which they could be numbers.
    """
    found = np.full((len(recordings), len(names)), np.nan)
    for i, recording in enumerate(recordings):
        for k, name in enumerate(names):
            if name in recording.covariates:
                found[i, k] = _number(recording, name)
    return found


def _number(recording: Recording, name: str) -> float:
    value = recording.covariates[name]
    if value is None:
        return math.nan
    if isinstance(value, str):
        if name == "sex" and value in SEX_CODES:
            return SEX_CODES[value]
        raise DataError(
            f"{recording.cohort}: {recording.id}: {name} is {value!r}: only numbers and sex can stand beside an "
            "embedding; leave it out of demographics"
        )
    number = float(value)
    return number if math.isfinite(number) else math.nan


def fill_missing(values: NDArray[np.float64], training: NDArray[np.bool_]) -> tuple[NDArray[np.float64], int]:
    """Put the training rows' mean where a value is missing, in training and test rows alike.

    The mean is that of all training rows of the fold, also of those whom a head then sets aside to choose its penalty
    (inner cross-validation) or when to stop: in those inner comparisons the missing values of the persons set aside
    are filled with a mean that knows of them. Test persons never enter it.

    Of a column that no training row has, nothing can be learnt: it is 0 in every row, also where a test row has it.
    A column that is constant in training stays so; what heads do with constant columns holds for it.

    Parameters
    ----------
    values : ndarray of float64, shape (n, k)
        NaN where missing.
    training : ndarray of bool, shape (n,)

    Returns
    -------
    tuple of ndarray of float64 (n, k) and int
        The filled values, and how many were put in.
    """
    missing = np.isnan(values)
    known = ~missing & training[:, None]
    count = known.sum(axis=0)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1)
    replaced = missing | (count == 0)
    return np.where(replaced, mean, values), int(replaced.sum())
