"""All pairs of near-duplicate nights, without comparing all pairs: patterns vote for a pair and a time offset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.duplicates.agreement import Agreement, beats_agree, envelopes_agree
from hypnos_bench.duplicates.fingerprint import ENVELOPE_HZ, GAP, STEP_DB, Fingerprint

MIN_SHARE = 0.3
"""Share of the overlap that must agree; what unrelated and copied nights reach is in ``tests/duplicates``."""

MIN_STRETCHES = 8
"""Telling stretches, of about a minute each, that must agree."""

_MIN_VOTES = 4
_WINDOW_MS = 2000  # votes for one offset: clocks may part by so much within a night
_APART_MS = 15_000  # votes nearer than this share beats and count as one
_NEIGHBOURS = 32  # entries of one hash that vote with each other: a pattern that all share is no evidence
_TRIED = 3  # offsets per pair that are looked at
_SMOOTHED = 5  # votes
_MAX_ENTRIES = 10_000_000  # of the index; with more of them every second is left out, by content
_CELLS = 1 << 26
_FULL = 1 << 15  # a count that is high enough, and far from where it would wrap
_CHUNK = 1 << 20
_WHEEL = np.uint64(0x9E3779B97F4A7C15)

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """Two recordings of one night.

    Parameters
    ----------
    a, b : str
        Recording ids, `a` before `b`.
    share : float
        Share of the minutes of their overlap, as far as these can tell nights apart, in which they agree.
    offset_s : float
        What happens at t in `a` happens at t + `offset_s` in `b`.
    minutes : int
        Number of minutes (64 beats, of an ECG) that agree.
    """

    a: str
    b: str
    share: float
    offset_s: float
    minutes: int


@dataclass(frozen=True)
class _Votes:
    """Matches of patterns, sorted by pair and offset: `pair` is a * n + b for positions a < b."""

    pair: Ints
    offset_ms: Ints
    time_ms: Ints


def find_duplicates(fingerprints: Mapping[str, Fingerprint], *, min_share: float = MIN_SHARE) -> list[Pair]:
    """Pairs of recordings that hold the same night, sorted by ids.

    Time and memory grow with the number of recordings, not of pairs. `fingerprints` is gone through once, and
    asked again for the few that may be copies: a mapping that reads from disk keeps memory small. Fingerprints of
    different kinds or channels are not compared.

    What unrelated nights never reach is the point of both thresholds: `min_share` of the overlap, and
    `MIN_STRETCHES` minutes.
    """
    groups: dict[str, list[str]] = {}
    index: dict[str, tuple[NDArray[np.uint32], NDArray[np.int32]]] = {}
    for name in sorted(fingerprints):
        made = fingerprints[name]
        patterns = made.patterns()
        index[name] = (patterns.hashes, patterns.times_ms)
        groups.setdefault(made.comparable, []).append(name)
    found = []
    for names in groups.values():
        votes = _votes([index.pop(name) for name in names])
        for a, b, candidates in _candidates(votes, len(names)):
            pair = _confirmed(names[a], names[b], fingerprints, candidates, min_share)
            if pair is not None:
                found.append(pair)
    return sorted(found, key=lambda pair: (pair.a, pair.b))


def _votes(index: Sequence[tuple[NDArray[np.uint32], NDArray[np.int32]]]) -> _Votes:
    """Every two entries of one hash in different nights, as a vote; only votes that may have company are kept.

    Goes over the matches twice: counted first, in a table that chance collisions can only make too full, and
    kept where the table says that there are votes enough. Memory follows the entries, not the matches.
    """
    hashes = np.concatenate([entry[0] for entry in index])
    times = np.concatenate([entry[1] for entry in index])
    night = np.repeat(np.arange(len(index), dtype=np.int32), [len(entry[0]) for entry in index])
    while len(hashes) > _MAX_ENTRIES:
        kept_entries = hashes % 2 == 0
        hashes, times, night = hashes[kept_entries] // 2, times[kept_entries], night[kept_entries]
    order = np.argsort(hashes, kind="stable")  # within a hash: by night, then by time
    hashes, times, night = hashes[order], times[order], night[order]
    del order
    table = np.zeros(_CELLS, np.uint16)
    for pair, offset, _ in _matches(hashes, times, night, len(index)):
        for cells in _cells(pair, offset):
            np.add.at(table, cells[table[cells] < _FULL], np.uint16(1))
    kept: list[tuple[Ints, Ints, Ints]] = []
    for pair, offset, moment in _matches(hashes, times, night, len(index)):
        crowded = np.logical_or(*(table[cells] >= _MIN_VOTES for cells in _cells(pair, offset)))
        kept.append((pair[crowded], offset[crowded], moment[crowded]))
    if not kept:
        return _Votes(*(np.empty(0, np.int64) for _ in range(3)))
    pair, offset, moment = (np.concatenate(column) for column in zip(*kept, strict=True))
    order = np.lexsort((offset, pair))
    return _Votes(pair[order], offset[order], moment[order])


def _matches(
    hashes: NDArray[np.uint32], times: NDArray[np.int32], night: NDArray[np.int32], n_nights: int
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Pair, offset and time of matches, by distance in the sorted index."""
    first = np.arange(len(hashes) - 1)
    for lag in range(1, _NEIGHBOURS + 1):
        first = first[first < len(hashes) - lag]
        first = first[hashes[first] == hashes[first + lag]]  # equal entries lie together: no others come back
        if not first.size:
            return
        for start in range(0, len(first), _CHUNK):
            one = first[start : start + _CHUNK]
            one = one[night[one] != night[one + lag]]
            other = one + lag
            yield (
                night[one].astype(np.int64) * n_nights + night[other],
                times[other].astype(np.int64) - times[one],
                (times[one].astype(np.int64)),
            )


def _cells(pair: Ints, offset_ms: Ints) -> Iterator[NDArray[np.uint64]]:
    """Cells of the counting table on two grids, one of which holds any window of votes whole."""
    for shift in (0, _WINDOW_MS):
        bins = (offset_ms + shift) // (2 * _WINDOW_MS)
        words = (pair * (1 << 21) + bins).astype(np.uint64) * _WHEEL
        yield (words ^ (words >> np.uint64(32))) % np.uint64(_CELLS)


def _candidates(votes: _Votes, n_nights: int) -> Iterator[tuple[int, int, list[tuple[Ints, Ints]]]]:
    """Pairs with votes enough for some offset: positions, and per offset the votes' times and offsets."""
    # One ascending key for both, so that a search finds the end of each vote's window within its own pair.
    span = 1 << 34  # ms; more than twice the longest offset
    key = votes.pair * span + votes.offset_ms + (span >> 1)
    support = np.searchsorted(key, key + _WINDOW_MS, side="right") - np.arange(len(key))
    likely = np.flatnonzero(support >= _MIN_VOTES)
    cuts = np.flatnonzero(np.diff(votes.pair[likely])) + 1
    for starts in np.split(likely, cuts) if likely.size else []:
        pair = int(votes.pair[starts[0]])
        windows = []
        taken: list[int] = []
        for start in starts[np.argsort(-support[starts], kind="stable")]:
            if any(abs(votes.offset_ms[start] - offset) <= _WINDOW_MS for offset in taken):
                continue
            window = slice(int(start), int(start + support[start]))
            if len(np.unique(votes.time_ms[window] // _APART_MS)) >= _MIN_VOTES:
                windows.append((votes.time_ms[window], votes.offset_ms[window]))
                taken.append(int(votes.offset_ms[start]))
            if len(windows) == _TRIED:
                break
        if windows:
            yield pair // n_nights, pair % n_nights, windows


def _confirmed(
    a: str,
    b: str,
    fingerprints: Mapping[str, Fingerprint],
    candidates: Sequence[tuple[Ints, Ints]],
    min_share: float,
) -> Pair | None:
    """The pair at the best of its offsets, if the nights agree there."""
    one, other = fingerprints[a], fingerprints[b]
    best = max(
        (_agreement(one, other, times, offsets) for times, offsets in candidates),
        key=lambda agreement: (agreement.agreeing, agreement.share),
    )
    if best.share < min_share or best.agreeing < MIN_STRETCHES:
        return None
    return Pair(a, b, best.share, best.offset_ms / 1e3, best.agreeing)


def _agreement(one: Fingerprint, other: Fingerprint, times: Ints, offsets: Ints) -> Agreement:
    order = np.argsort(times, kind="stable")
    local = _running_median(offsets[order].astype(np.float64))
    if one.kind == "rr":
        return beats_agree(one.values, other.values, np.interp(one.values, times[order], local))
    at = np.arange(len(one.values)) * 1e3 / ENVELOPE_HZ
    return envelopes_agree(
        one.values.astype(np.int8, copy=False),
        other.values.astype(np.int8, copy=False),
        np.interp(at, times[order], local),
        rate_hz=ENVELOPE_HZ,
        step_db=STEP_DB,
        gap=GAP,
    )


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of each value with its neighbours: some votes are chance."""
    half = _SMOOTHED // 2
    padded = np.pad(values, half, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, _SMOOTHED), axis=1))
