"""Events and spans on a grid of epochs or windows, by a stated rule."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.cohorts.base import Event, Span
from hypnos_bench.errors import UsageError


@dataclass(frozen=True)
class OverlapRule:
    """When an epoch carries an event: it overlaps for at least so long, or takes at least such a share of the epoch.

    Papers disagree or are silent here, so the rule is part of a task's definition. The default asks for half a
    second: a touch by rounding does not count, and the shortest arousal (3 s) always does.

    Parameters
    ----------
    min_s : float
        Seconds of overlap that are needed; 0 takes any overlap.
    min_share : float
        Share of the epoch that is needed instead, 0..1; 0 leaves it to `min_s`. Both may be asked for.
    """

    min_s: float = 0.5
    min_share: float = 0.0

    def __post_init__(self) -> None:
        if not (self.min_s >= 0 and 0 <= self.min_share <= 1):
            raise UsageError(
                f"overlap rule: min_s = {self.min_s:g} must be at least 0, min_share = {self.min_share:g} within 0..1"
            )

    def __str__(self) -> str:
        parts = [f"an overlap of at least {self.min_s:g} s" if self.min_s else "any overlap"]
        if self.min_share:
            parts.append(f"at least {self.min_share:.0%} of the epoch")
        return " and ".join(parts)

    def holds(self, overlap_s: NDArray[np.float64], unit_s: float) -> NDArray[np.bool_]:
        """Whether each overlap is enough."""
        needed_s = max(self.min_s, self.min_share * unit_s)
        enough: NDArray[np.bool_] = (overlap_s > 0) & (overlap_s >= needed_s - 1e-9)
        return enough


def event_overlap_s(
    events: Sequence[Event], start_s: ArrayLike, unit_s: float, kinds: Collection[str]
) -> NDArray[np.float64]:
    """Seconds of each unit that events of some kinds cover; where events overlap each other, time counts once.

    Parameters
    ----------
    events : sequence of Event
    start_s : array_like, shape (n,)
        Ascending starts of the units.
    unit_s : float
        Length of a unit; units may overlap each other.
    kinds : collection of str

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    chosen = [(e.start_s, e.start_s + e.duration_s) for e in events if e.kind in kinds]
    return _cover_s(chosen, np.asarray(start_s, dtype=np.float64), unit_s)


def event_labels(
    events: Sequence[Event], start_s: ArrayLike, unit_s: float, kinds: Collection[str], rule: OverlapRule
) -> NDArray[np.bool_]:
    """Whether each unit carries an event of some kinds, shape (n,).

    An event without a duration was marked as a point: it labels the units that it stands in, whatever the rule.
    """
    starts = np.asarray(start_s, dtype=np.float64)
    points = np.sort([event.start_s for event in events if event.kind in kinds and event.duration_s == 0])
    within = np.searchsorted(points, starts + unit_s, side="left") > np.searchsorted(points, starts, side="left")
    return rule.holds(event_overlap_s(events, starts, unit_s, kinds), unit_s) | within


def span_shares(
    spans: Sequence[Span], start_s: ArrayLike, unit_s: float, codes: Collection[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of each window that spans of some codes cover, and the share that is labelled at all.

    With ``codes=("AFIB",)`` the first is the AF fraction of a window; it means something only where the second
    is 1, because what no span covers is unlabelled.

    Returns
    -------
    tuple of two ndarrays of float64, shape (n,)
    """
    starts = np.asarray(start_s, dtype=np.float64)
    of_codes = [(span.start_s, span.stop_s) for span in spans if span.code in codes]
    labelled = [(span.start_s, span.stop_s) for span in spans]
    # Sums of floats: without rounding a window that is covered whole might fall short of 1.
    part, whole = (np.round(_cover_s(stretches, starts, unit_s) / unit_s, 9) for stretches in (of_codes, labelled))
    return part, whole


def _cover_s(
    intervals: Sequence[tuple[float, float]], starts: NDArray[np.float64], unit_s: float
) -> NDArray[np.float64]:
    """Seconds of [start, start + unit) inside the union of intervals: a difference of the union's running length."""
    edges, lengths = [0.0], [0.0]
    for begin, end in sorted(intervals):
        begin = max(begin, edges[-1]) if len(edges) > 1 else begin
        if end <= begin:
            continue
        edges += [begin, end]
        lengths += [lengths[-1], lengths[-1] + end - begin]
    if len(edges) == 1:
        return np.zeros(len(starts))
    x, y = np.asarray(edges[1:]), np.asarray(lengths[1:])
    covered: NDArray[np.float64] = np.interp(starts + unit_s, x, y) - np.interp(starts, x, y)
    return np.clip(covered, 0.0, None)
