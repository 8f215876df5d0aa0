"""Short patterns of a series as hashes that survive small errors, for an index over all nights.

A pattern is fourteen consecutive RR intervals (or steps of an envelope), counted in units of their own typical
change. Where hearts differ by tens of milliseconds from beat to beat, an error of a few milliseconds then leaves
many patterns as they were; and where a heart hardly changes, the unit is finer. Patterns that change less than the
beats can be measured say nothing and are left out: otherwise every paced heart would match every other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT_RR, KEPT_ENVELOPE = 8, 32
"""One pattern in so many is kept, chosen by its hash and hence the same in every copy."""

_LENGTH = 14
_UNIT = 1.5  # quantisation step, in units of the pattern's typical change
_RUNGS = 6
_RR_LIMITS_MS = (300, 2500)
MIN_CHANGE_MS, MIN_CHANGE_DB = 4.0, 0.5
_ENVELOPE_STEP_S = 2.0
_MULTIPLIERS = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))  # MurmurHash3's finaliser
_WHEEL = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Patterns:
    """Kept patterns of one night: uint32 hashes and int32 times of their starts in ms, in order of time."""

    hashes: NDArray[np.uint32]
    times_ms: NDArray[np.int32]


def rr_patterns(beats_ms: NDArray[np.integer[Any]]) -> Patterns:
    """Patterns of consecutive RR intervals; none across an interval outside 0.3 to 2.5 s."""
    intervals = np.diff(beats_ms.astype(np.float64))
    if len(intervals) < _LENGTH:
        return _none()
    usable = (intervals >= _RR_LIMITS_MS[0]) & (intervals <= _RR_LIMITS_MS[1])
    windows = np.lib.stride_tricks.sliding_window_view(intervals, _LENGTH)
    whole = np.asarray(np.lib.stride_tricks.sliding_window_view(usable, _LENGTH).all(axis=1))
    steps = np.lib.stride_tricks.sliding_window_view(np.abs(np.diff(intervals)), _LENGTH - 1)
    return _kept(windows, steps, whole, beats_ms[: len(windows)], MIN_CHANGE_MS, KEPT_RR)


def envelope_patterns(codes: NDArray[np.integer[Any]], rate_hz: float, step_db: float, gap: int) -> Patterns:
    """Patterns of the envelope's changes over 2 s each, starting at every sample: copies need no common grid."""
    stride = round(_ENVELOPE_STEP_S * rate_hz)
    level = codes.astype(np.float64) * step_db
    if len(level) <= stride * _LENGTH:
        return _none()
    changes = level[stride:] - level[:-stride]
    usable = (codes[stride:] != gap) & (codes[:-stride] != gap)
    span = stride * (_LENGTH - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(changes, span)[:, ::stride]
    whole = np.asarray(np.lib.stride_tricks.sliding_window_view(usable, span)[:, ::stride].all(axis=1))
    times = np.rint(np.arange(len(windows)) * 1e3 / rate_hz).astype(np.int32)
    return _kept(windows, np.abs(windows), whole, times, MIN_CHANGE_DB, KEPT_ENVELOPE)


def _kept(
    windows: Floats,
    changes: Floats,
    usable: NDArray[np.bool_],
    times_ms: NDArray[np.integer[Any]],
    finest: float,
    one_in: int,
) -> Patterns:
    """Hash every usable window in units of its own typical change and keep one in `one_in`."""
    # The median, not the mean: one ectopic beat must not make the unit so coarse that all else looks equal.
    typical = np.median(changes, axis=1)
    rung = np.floor(np.log2(np.maximum(typical, 1e-9) / finest)).astype(np.int64)
    usable = usable & (rung >= 0)
    hashes = np.zeros(len(windows), np.uint64)
    for k in range(_RUNGS):
        chosen = usable & (np.minimum(rung, _RUNGS - 1) == k)
        unit = _UNIT * finest * 2.0 ** (k + 0.5)
        hashes[chosen] = _hash(np.rint(windows[chosen] / unit).astype(np.int64), k)
    kept = usable & (hashes % np.uint64(one_in) == 0)
    return Patterns((hashes[kept] >> np.uint64(32)).astype(np.uint32), times_ms[kept].astype(np.int32))


def _hash(words: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Hash of each row, shape (n,); arithmetic is modulo 2^64 by design."""
    state = np.full(len(words), seed + 1, np.uint64)
    for column in words.T:
        state = _mixed(state * _WHEEL + column.astype(np.uint64))
    return state


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for multiplier in _MULTIPLIERS:
        state = (state ^ (state >> np.uint64(33))) * multiplier
    return state ^ (state >> np.uint64(33))


def _none() -> Patterns:
    return Patterns(np.empty(0, np.uint32), np.empty(0, np.int32))
