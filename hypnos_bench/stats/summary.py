"""Mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation over draws.

    Parameters
    ----------
    mean : float or None
        ``None`` when no value is defined.
    sd : float or None
        With n - 1 in the denominator; ``None`` with fewer than two values.
    n, n_undefined : int
        Values used, and values left out because they are NaN or missing.
    """

    mean: float | None
    sd: float | None
    n: int
    n_undefined: int


def summarise(values: Sequence[float | None]) -> Summary:
    """Summarise one metric over seeds; NaN and ``None`` are left out and counted."""
    numbers = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    defined = numbers[~np.isnan(numbers)]
    return Summary(
        mean=float(defined.mean()) if defined.size else None,
        sd=float(defined.std(ddof=1)) if defined.size > 1 else None,
        n=int(defined.size),
        n_undefined=int(numbers.size - defined.size),
    )
