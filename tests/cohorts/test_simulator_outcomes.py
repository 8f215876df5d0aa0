"""What becomes of simulated persons: one course of life each, seen from every visit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import Outcome
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.simulator import outcomes as simulated
from hypnos_bench.cohorts.simulator.build import Settings
from hypnos_bench.cohorts.simulator.outcomes import OUTCOMES, simulated_outcomes
from hypnos_bench.cohorts.simulator.person import draw_person, later_visit, years_since_first_visit

SETTINGS = Settings()


def course(settings: Settings = SETTINGS) -> list[dict[str, Outcome]]:
    return [simulated_outcomes(settings.seed, number, [1])[1] for number in range(1, settings.n_persons + 1)]


def test_ids_are_those_of_shhs() -> None:
    assert set(OUTCOMES) <= {endpoint.id for endpoint in load_layout("shhs").outcomes}


def test_the_default_cohort_has_events_censoring_and_prevalent_cases() -> None:
    people = course()
    for name in OUTCOMES:
        told = [person[name] for person in people]
        at_risk = [o for o in told if not o.prevalent]
        assert 5 <= sum(o.event for o in at_risk) <= len(at_risk) - 5, name
    assert sum(person["stroke"].prevalent or person["heart-failure"].prevalent for person in people) >= 3
    assert max(o.time_years or 0 for person in people for o in person.values()) > 10  # the longest horizon of the tasks


@given(st.integers(0, 2**32 - 1), st.integers(1, 500))
def test_one_course_of_life_from_every_visit(seed: int, number: int) -> None:
    told = simulated_outcomes(seed, number, [1, 2])
    assert told == simulated_outcomes(seed, number, [1, 2])
    between = years_since_first_visit(seed, number, 2)
    assert 5.5 <= between <= 7.5
    for name in OUTCOMES:
        first, second = told[1][name], told[2][name]
        if name.endswith("death"):
            assert not first.prevalent
            assert not second.prevalent  # who comes again is alive
        if first.prevalent:
            assert second == first
        elif second.prevalent:
            assert first.event
            assert (first.time_years or 0) <= between + 1e-3
        else:
            assert (first.event, second.event) == (second.event, first.event)
            assert (first.time_years or 0) - (second.time_years or 0) == pytest.approx(between, abs=2e-3)
    death, of_heart = told[1]["death"], told[1]["cvd-death"]
    assert of_heart.time_years == death.time_years
    assert death.event or not of_heart.event
    for name in ("stroke", "heart-failure"):
        assert told[1][name].prevalent or (told[1][name].time_years or 0) <= (death.time_years or 0)
    assert all(o.prevalent or (o.time_years or 0) > 0 for visit in told.values() for o in visit.values())


def test_years_between_visits_are_those_that_persons_age_by() -> None:
    for number in range(1, 30):
        person = draw_person(7, number)
        later = later_visit(person, 7, 2)
        years = years_since_first_visit(7, number, 2)
        assert later.age_years == pytest.approx(min(person.age_years + years, 90.0))
        assert years_since_first_visit(7, number, 1) == 0


def test_fibrillation_apnea_and_age_bring_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def mean_years(**traits: float | bool) -> float:
        monkeypatch.setattr(simulated, "draw_person", lambda seed, number: replace(draw_person(seed, number), **traits))
        told = [simulated_outcomes(1, number, [1])[1]["heart-failure"] for number in range(1, 400)]
        return float(np.mean([0.0 if o.prevalent else o.time_years for o in told]))

    plain = {"af": False, "ahi_per_h": 5.0, "age_years": 65.0}
    healthy = mean_years(**plain)
    for trait in ({"af": True}, {"ahi_per_h": 40.0}, {"age_years": 80.0}):
        assert mean_years(**{**plain, **trait}) < healthy - 0.5


def test_times_follow_the_hazard() -> None:
    """Gompertz: the cumulative hazard up to the time of the event is the standard exponential draw."""
    hazard, growth = 0.03, 0.09
    for standard in (0.01, 0.5, 3.0):
        years = simulated._years_until(standard, hazard, 0.0)
        assert hazard * (np.exp(growth * years) - 1) / growth == pytest.approx(standard)
        later = simulated._years_until(standard, hazard, 6.0)
        passed = hazard * (np.exp(growth * 6.0) - 1) / growth
        assert later > 6.0
        assert hazard * (np.exp(growth * later) - 1) / growth == pytest.approx(passed + standard)
