"""Whether two nights are the same where they are said to overlap: stretch by stretch, on the fingerprints themselves.

A stretch counts only when it could tell two nights apart. Hearts paced at one rate march in step for hours without
being one heart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.duplicates.patterns import MIN_CHANGE_DB, MIN_CHANGE_MS

BEATS = 64
"""Beats per stretch, about a minute."""

STRETCH_S = 60.0
"""Length of a stretch of an envelope."""

_TOLERANCE_MS = 40.0
_MIN_MATCHED = 0.7  # of a stretch's beats
_MIN_RR_CORRELATION = 0.5  # of beat-to-beat changes, where both say how much RR changed
_MIN_ENVELOPE_CORRELATION = 0.8
_MIN_TRIPLES = 16
_LAGS = 4  # samples around the stated offset at which an envelope is tried

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Stretches of the overlap that can tell nights apart, how many agree, and the median offset of these in ms."""

    telling: int
    agreeing: int
    offset_ms: float

    @property
    def share(self) -> float:
        """Share of telling stretches that agree; 0 without any."""
        return self.agreeing / self.telling if self.telling else 0.0


def beats_agree(a_ms: NDArray[np.integer[Any]], b_ms: NDArray[np.integer[Any]], offset_ms: Floats) -> Agreement:
    """Compare beats: those of `a`, moved by their local offset, should fall on beats of `b` and change as they do.

    Parameters
    ----------
    a_ms, b_ms : ndarray
        Beat times.
    offset_ms : ndarray, shape (len(a_ms),)
        What to add to each time of `a` to be on the clock of `b`, within some 150 ms.
    """
    moved = a_ms + offset_ms
    inside = (moved >= b_ms[0]) & (moved <= b_ms[-1])
    count = int(inside.sum()) // BEATS
    if not count or len(b_ms) < BEATS:
        return Agreement(0, 0, 0.0)
    a = moved[inside][: count * BEATS]
    nearest = _nearest(a, b_ms)
    apart = (b_ms[nearest] - a).reshape(count, BEATS)
    local = np.median(apart, axis=1, keepdims=True)
    matched = np.abs(apart - local) <= _TOLERANCE_MS
    changes_a = np.diff(a.reshape(count, BEATS), n=2, axis=1)
    changes_b = np.diff(b_ms[nearest].astype(np.float64).reshape(count, BEATS), n=2, axis=1)
    triples = matched[:, 2:] & matched[:, 1:-1] & matched[:, :-2]
    telling = np.median(np.abs(changes_a), axis=1) >= MIN_CHANGE_MS
    agree = telling & (matched.mean(axis=1) >= _MIN_MATCHED) & (triples.sum(axis=1) >= _MIN_TRIPLES)
    agree &= _correlation(changes_a, changes_b, triples) >= _MIN_RR_CORRELATION
    offsets = (offset_ms[inside][: count * BEATS].reshape(count, BEATS) + local)[agree]
    return Agreement(int(telling.sum()), int(agree.sum()), float(np.median(offsets)) if offsets.size else 0.0)


def envelopes_agree(
    a: NDArray[np.int8], b: NDArray[np.int8], offset_ms: Floats, *, rate_hz: float, step_db: float, gap: int
) -> Agreement:
    """Compare envelopes by their correlation within minutes, at the best of a few lags around the offset.

    Parameters
    ----------
    a, b : ndarray of int8
        Codes of `fingerprint.Fingerprint`.
    offset_ms : ndarray, shape (len(a),)
        As in `beats_agree`.
    """
    width = round(STRETCH_S * rate_hz)
    shift = np.rint(offset_ms * rate_hz / 1e3).astype(np.int64)
    to = np.arange(len(a)) + shift
    inside = (to >= _LAGS) & (to < len(b) - _LAGS)
    count = int(inside.sum()) // width
    if not count:
        return Agreement(0, 0, 0.0)
    rows_a = a[inside][: count * width].reshape(count, width)
    at = to[inside][: count * width].reshape(count, width)
    x, there = rows_a.astype(np.float64) * step_db, rows_a != gap
    telling = (there.mean(axis=1) >= _MIN_MATCHED) & (_spread(x, there) >= MIN_CHANGE_DB)
    best = np.full(count, -1.0)
    best_lag = np.zeros(count)
    for lag in range(-_LAGS, _LAGS + 1):
        rows_b = b[at + lag]
        found = _correlation(x, rows_b.astype(np.float64), there & (rows_b != gap))
        best_lag = np.where(found > best, lag, best_lag)
        best = np.maximum(best, found)
    agree = telling & (best >= _MIN_ENVELOPE_CORRELATION)
    offsets = (shift[inside][: count * width].reshape(count, width).mean(axis=1) + best_lag)[agree] * 1e3 / rate_hz
    return Agreement(int(telling.sum()), int(agree.sum()), float(np.median(offsets)) if offsets.size else 0.0)


def _nearest(times: Floats, among: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Index of the nearest of sorted `among` for each time."""
    right = np.clip(np.searchsorted(among, times), 1, len(among) - 1)
    return np.where(times - among[right - 1] <= among[right] - times, right - 1, right).astype(np.int64)


def _correlation(x: Floats, y: Floats, there: NDArray[np.bool_]) -> Floats:
    """Pearson correlation along rows, where `there`; 0 where a row is constant or empty."""
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    x = np.where(there, x - np.where(there, x, 0.0).sum(axis=1, keepdims=True) / count, 0.0)
    y = np.where(there, y - np.where(there, y, 0.0).sum(axis=1, keepdims=True) / count, 0.0)
    scale = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return np.asarray(np.where(scale > 0, (x * y).sum(axis=1) / np.where(scale > 0, scale, 1.0), 0.0))


def _spread(x: Floats, there: NDArray[np.bool_]) -> Floats:
    """Standard deviation along rows, where `there`."""
    count = np.maximum(there.sum(axis=1), 1)
    mean = np.where(there, x, 0.0).sum(axis=1) / count
    return np.asarray(np.sqrt((np.where(there, x - mean[:, None], 0.0) ** 2).sum(axis=1) / count))
