"""Outcomes of many recordings as arrays: SleepFM's tables hold 1,065 for each, too many to look at one by one."""

from __future__ import annotations

import math
import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Outcome, Recording
from hypnos_bench.cohorts.wide_outcomes import EVENT, EVENT_FREE, PREVALENT, UNTOLD, WideRow

NO_TIME = 3
"""The event is known to have happened or not, but when is not: beside the codes of `wide_outcomes`."""

REASONS: Mapping[int, str] = {
    PREVALENT: "prevalent: had it before the recording",
    NO_TIME: "known without a time",
    UNTOLD: "not told",
}
"""Why somebody is not at risk, by code."""


@dataclass(frozen=True)
class FollowUp:
    """What became of n recordings under M outcomes.

    Parameters
    ----------
    outcomes : tuple of str, length M
    codes : ndarray of int8, shape (n, M)
        As in `wide_outcomes`, and `NO_TIME`.
    years : ndarray of float64, shape (n, M)
        NaN where not at risk.
    """

    outcomes: tuple[str, ...]
    codes: NDArray[np.int8]
    years: NDArray[np.float64]

    @property
    def at_risk(self) -> NDArray[np.bool_]:
        """Whether somebody was followed from the recording on, shape (n, M)."""
        return np.asarray((self.codes == EVENT) | (self.codes == EVENT_FREE))

    @property
    def event(self) -> NDArray[np.bool_]:
        """Whether it happened during follow-up, shape (n, M); false for those who are not at risk."""
        return np.asarray(self.codes == EVENT)

    def of(self, rows: Sequence[int]) -> FollowUp:
        """The same of some recordings."""
        index = np.asarray(rows, dtype=np.intp)
        return FollowUp(self.outcomes, self.codes[index], self.years[index])


def outcome_ids(recordings: Sequence[Recording]) -> tuple[str, ...]:
    """Outcomes of which any recording says something: numbers (phecodes) in order, then words."""
    seen: set[str] = set()
    wide: dict[int, tuple[Mapping[str, int], NDArray[np.bool_]]] = {}
    for recording in recordings:
        for part in _parts(recording.outcomes):
            if not isinstance(part, WideRow):
                seen.update(part)
            elif part.place:
                _, told = wide.setdefault(id(part.place), (part.place, np.zeros(len(part.place), dtype=bool)))
                told |= part.codes != UNTOLD
    for place, told in wide.values():
        seen.update(name for name, i in place.items() if told[i])
    return tuple(sorted(seen, key=_numbers_first))


def read_follow_up(recordings: Sequence[Recording], outcomes: Sequence[str]) -> FollowUp:
    """What the recordings say of some outcomes, row by row.

    An event at or before the recording is prevalent, and a follow-up that ended by then tells nothing.
    """
    column = {name: k for k, name in enumerate(outcomes)}
    codes = np.full((len(recordings), len(column)), UNTOLD, dtype=np.int8)
    years = np.full(codes.shape, np.nan)
    places: dict[int, tuple[NDArray[np.intp], NDArray[np.intp]]] = {}
    for i, recording in enumerate(recordings):
        for part in reversed(_parts(recording.outcomes)):  # the first part wins
            if isinstance(part, WideRow):
                if id(part.place) not in places:
                    pairs = [(part.place[name], k) for name, k in column.items() if name in part.place]
                    source, target = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
                    places[id(part.place)] = source, target
                source, target = places[id(part.place)]
                told = part.codes[source] != UNTOLD
                codes[i, target[told]] = part.codes[source[told]]
                years[i, target[told]] = part.years[source[told]]
                continue
            for name in column.keys() & part.keys():
                codes[i, column[name]], years[i, column[name]] = _cell(part[name])
    years[(codes != EVENT) & (codes != EVENT_FREE)] = np.nan
    return FollowUp(tuple(outcomes), codes, years)


def _parts(outcomes: Mapping[str, Outcome]) -> list[Any]:
    """The mappings that outcomes are looked up in, the first one first."""
    return list(outcomes.maps) if isinstance(outcomes, ChainMap) else [outcomes]


def _cell(outcome: Outcome) -> tuple[int, float]:
    if outcome.prevalent:
        return PREVALENT, math.nan
    if outcome.time_years is None or math.isnan(outcome.time_years):
        return NO_TIME, math.nan
    if outcome.time_years <= 0:
        return (PREVALENT if outcome.event else UNTOLD), math.nan
    return (EVENT if outcome.event else EVENT_FREE), outcome.time_years


def _numbers_first(name: str) -> tuple[bool, float, str]:
    number = re.fullmatch(r"\d+(\.\d+)?", name)
    return (number is None, float(name) if number else 0.0, name)
