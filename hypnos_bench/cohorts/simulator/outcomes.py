"""What becomes of a simulated person: deaths, strokes and heart failure that their age, rhythm and apnea bring on.

No file of the cohort holds this: it is drawn from the persons alone when the cohort is opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hypnos_bench.cohorts.base import Outcome
from hypnos_bench.cohorts.simulator.person import Person, draw_person, years_since_first_visit
from hypnos_bench.cohorts.simulator.processes import stream

OUTCOMES = ("death", "cvd-death", "stroke", "heart-failure")
"""Ids as those of SHHS."""

_GROWTH = 0.09  # of every hazard per year of life
_OBSERVED_YEARS = (7.0, 13.0)  # from the first visit, where nothing happens before
_LOST_PER_YEAR = 0.02
_SEEN_AFTER_YEARS = 0.1  # the last visit itself is part of the follow-up
_YEARS_BEFORE = 3.0  # how long the hazard of a disease has been at work when the person is first seen


def simulated_outcomes(seed: int, number: int, visits: Sequence[int]) -> dict[int, dict[str, Outcome]]:
    """Outcomes of person `number` by visit, counted from its recording; same seed, same course of life.

    A disease may have begun before the recording: then it is prevalent. Death ends the follow-up of diseases, and
    death of another cause that of cardiovascular death. Who comes to a later visit was alive until then.
    """
    starts = {visit: years_since_first_visit(seed, number, visit) for visit in visits}
    person = draw_person(seed, number)
    rng = stream(seed, number, 0, "outcomes")
    hazards = _hazards_per_year(person)
    last = max(starts.values())
    years = {
        name: _years_until(float(rng.exponential()), hazard, last if name.endswith("death") else 0.0)
        for name, hazard in hazards.items()
    }
    had_it = [name for name in ("stroke", "heart-failure") if rng.random() < min(0.5, _YEARS_BEFORE * hazards[name])]
    lost = float(rng.exponential(1 / _LOST_PER_YEAR))
    observed = max(min(float(rng.uniform(*_OBSERVED_YEARS)), lost), last + _SEEN_AFTER_YEARS)
    events = {**years, **dict.fromkeys(had_it, -math.inf), "death": min(years["cvd-death"], years["other-death"])}
    end = min(observed, events["death"])
    return {visit: {name: _counted(events[name], end, start) for name in OUTCOMES} for visit, start in starts.items()}


def _hazards_per_year(person: Person) -> Mapping[str, float]:
    """Hazards at the first visit."""
    old = (person.age_years - 71) / 10
    apnea = math.log2((1 + person.ahi_per_h) / 10)  # doublings from nine events per hour
    af = float(person.af)
    return {
        "cvd-death": 0.020 * math.exp(0.8 * old + 0.9 * af + 0.35 * apnea),
        "other-death": 0.022 * math.exp(0.9 * old),
        "stroke": 0.022 * math.exp(0.7 * old + 1.2 * af + 0.2 * apnea),
        "heart-failure": 0.028 * math.exp(0.8 * old + 1.0 * af + 0.35 * apnea + 0.03 * (person.bmi_kg_m2 - 27.5)),
    }


def _years_until(standard: float, hazard: float, not_before: float) -> float:
    """Time of an event of Gompertz hazard, given that it has not happened yet; `standard` is exponential."""
    passed = hazard * math.expm1(_GROWTH * not_before) / _GROWTH
    return math.log1p(_GROWTH * (passed + standard) / hazard) / _GROWTH


def _counted(event: float, end: float, start: float) -> Outcome:
    """One outcome as seen from a recording `start` years after the first."""
    if event <= start:
        return Outcome(event=False, time_years=None, prevalent=True)
    happened = event <= end
    return Outcome(event=happened, time_years=max(round((event if happened else end) - start, 3), 0.001))
