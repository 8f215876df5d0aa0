"""Outcomes that cannot be fitted, or only just: each is told, none becomes a silent zero model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hypnos_bench.errors import FitError
from hypnos_bench.heads.cox.likelihood import compares
from hypnos_bench.heads.survival_rows import SurvivalRows

STATUSES: Mapping[str, str] = {
    "fitted": "a converged model",
    "few-events": "a converged model of fewer events than min_events: the penalty decides more than the data",
    "nobody-at-risk": "not fitted: every row is excluded",
    "no-events": "not fitted: nobody at risk has the event",
    "no-comparison": "not fitted: whoever is at risk at an event time has the event then",
    "too-few-events": "not fitted: fewer events than min_events and no penalty",
    "collinear": "not fitted: without a penalty the coefficients are not unique",
    "separated": "not fitted: without a penalty the coefficients are infinite",
    "unconverged": "not fitted: no solver reached its tolerance",
}
"""What became of an outcome."""


@dataclass(frozen=True)
class Triage:
    """What an outcome has to offer.

    Parameters
    ----------
    n, events, excluded : int
        Rows at risk, events among them, rows not at risk.
    status : str
        ``fitted`` and ``few-events`` are still to be fitted; any other is final.
    message : str
        Empty when there is nothing to say.
    """

    n: int
    events: int
    excluded: int
    status: str
    message: str

    @property
    def fits(self) -> bool:
        """Whether a model is to be tried."""
        return self.status in ("fitted", "few-events")


def none_fitted(outcomes: Sequence[Mapping[str, Any]]) -> FitError:
    """The error of rows that allow no model at all, from each outcome's ``name``, ``status`` and ``message``."""
    first = outcomes[0]
    told = f"{first['name']!r} ({first['status']}: {first['message']})"
    if len(outcomes) == 1:
        return FitError(f"outcome {told} cannot be fitted; use more shots or another outcome")
    counts = Counter(outcome["status"] for outcome in outcomes)
    listed = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return FitError(
        f"none of {len(outcomes)} outcomes can be fitted: {listed}; the first is {told}; "
        "use more shots or other outcomes"
    )


def check_rows(rows: SurvivalRows) -> None:
    """Refuse rows that do not fit together or times that cannot be.

    Raises
    ------
    FitError
        Naming the outcome where one is at fault.
    """
    n, m = len(rows.x), len(rows.names)
    if rows.x.ndim != 2 or n == 0 or rows.x.shape[1] == 0 or m == 0:
        raise FitError(f"the Cox head needs rows with features and outcomes, got x {rows.x.shape} and {m} outcome(s)")
    shapes = {rows.time.shape, rows.event.shape, rows.at_risk.shape}
    if shapes != {(n, m)} or rows.person.shape != (n,):
        raise FitError(
            f"the Cox head needs time, event and at_risk of shape {(n, m)} and person of shape {(n,)}, "
            f"got {rows.time.shape}, {rows.event.shape}, {rows.at_risk.shape} and {rows.person.shape}"
        )
    if len(set(rows.names)) != m:
        twice = sorted({name for name in rows.names if rows.names.count(name) > 1})
        raise FitError(f"outcome names must differ; {', '.join(twice[:5])} occur(s) more than once")
    bad = rows.at_risk & ~((rows.time > 0) & np.isfinite(rows.time))
    if bad.any():
        faulty = np.flatnonzero(bad.any(axis=0))
        more = f" (and {faulty.size - 1} more outcomes)" if faulty.size > 1 else ""
        raise FitError(
            f"outcome {rows.names[faulty[0]]!r}{more}: {int(bad[:, faulty[0]].sum())} row(s) at risk have a time that "
            "is missing, infinite or not positive; times count from the recording, and who had the event before is "
            "not at risk"
        )


def triage(rows: SurvivalRows, index: int, *, min_events: int, penalised: bool) -> Triage:
    """Sort outcome `index` of checked rows."""
    use = rows.at_risk[:, index]
    time, event = rows.time[use, index], rows.event[use, index]
    n, events = len(time), int(event.sum())
    counts = (n, events, len(use) - n)
    if n == 0:
        return Triage(*counts, "nobody-at-risk", f"all {len(use)} rows are excluded")
    if events == 0:
        return Triage(*counts, "no-events", f"none of {n} rows at risk has the event")
    if not compares(time, event):
        return Triage(*counts, "no-comparison", f"nobody at risk outlives the first of {events} event(s)")
    if events < min_events and not penalised:
        return Triage(*counts, "too-few-events", f"{events} event(s), fewer than {min_events}, and no penalty")
    tied = "; all times are tied" if np.ptp(time) == 0 else ""
    if events < min_events:
        return Triage(*counts, "few-events", f"{events} event(s), fewer than {min_events}: penalty decides{tied}")
    return Triage(*counts, "fitted", tied.removeprefix("; "))
