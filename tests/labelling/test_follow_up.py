from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import Cohort, Outcome, Recording
from hypnos_bench.cohorts.card import WideOutcomes
from hypnos_bench.cohorts.outcomes import WideTable, read_wide
from hypnos_bench.cohorts.wide_outcomes import EVENT, EVENT_FREE, PREVALENT, UNTOLD
from hypnos_bench.labelling.follow_up import NO_TIME, outcome_ids, read_follow_up

Make = Callable[..., Recording]
BEFORE = Outcome(False, None, prevalent=True)
SPEC = WideOutcomes("is_event.csv", "time_to_event.csv", "days")


def wide(n: int, endpoints: int, seed: int = 0) -> WideTable:
    rng = np.random.default_rng(seed)
    codes = rng.choice([UNTOLD, EVENT_FREE, EVENT, PREVALENT], (n, endpoints)).astype(np.int8)
    years = np.where(rng.random((n, endpoints)) < 0.5, np.nan, rng.uniform(0.1, 9, (n, endpoints)))
    years[(codes == EVENT) | (codes == EVENT_FREE)] = 1.5
    names = {f"{k / 10:g}": k for k in range(endpoints)}
    return WideTable(SPEC, names, {f"r{i}": i for i in range(n)}, codes, years)


def test_every_way_to_say_it(make_recording: Make) -> None:
    told = {
        "a": Outcome(True, 2.0),
        "b": Outcome(False, 3.0),
        "c": BEFORE,
        "d": Outcome(True, None),
        "e": Outcome(False, float("nan")),
        "f": Outcome(True, 0.0),
        "g": Outcome(False, 0.0),
    }
    found = read_follow_up([make_recording(outcomes=told), make_recording("r2")], [*"abcdefgh"])
    codes = [EVENT, EVENT_FREE, PREVALENT, NO_TIME, NO_TIME, PREVALENT, UNTOLD, UNTOLD]
    assert found.codes.tolist() == [codes, [UNTOLD] * 8]
    assert found.at_risk.tolist() == [[True, True, *[False] * 6], [False] * 8]
    assert found.event.tolist() == [[True, *[False] * 7], [False] * 8]
    np.testing.assert_array_equal(found.years, [[2, 3, *[np.nan] * 6], [np.nan] * 8])
    assert found.of([1]).codes.tolist() == [[UNTOLD] * 8]


def test_arrays_say_what_the_outcomes_say_one_by_one(make_recording: Make) -> None:
    table = wide(5, 40)
    own = [{"0.3": Outcome(True, 9.0)}, {}, {"death": Outcome(False, 4.0)}, {"0.5": BEFORE}, {}]
    recordings = [make_recording(f"r{i}", outcomes=ChainMap(own[i], table.outcomes(f"r{i}"))) for i in range(5)]
    recordings.append(make_recording("r9", outcomes=table.outcomes("who")))
    wanted = ["1.1", "0.3", "death", "0.5", "3.9", "nowhere"]
    found = read_follow_up(recordings, wanted)
    slow = read_follow_up([make_recording(r.id, outcomes=dict(r.outcomes)) for r in recordings], wanted)
    np.testing.assert_array_equal(found.codes, slow.codes)
    np.testing.assert_array_equal(found.years, slow.years)
    assert found.codes[0, 1] == EVENT  # what stands in the cohort's own table goes first
    assert found.years[0, 1] == 9.0
    told = {name for r in recordings for name in r.outcomes}
    assert set(outcome_ids(recordings)) == told


def test_outcomes_are_listed_numbers_first_in_their_order(make_recording: Make) -> None:
    names = ["1000.0", "8.5", "Stroke", "8.0", "death", "40.10", "40.1"]
    recording = make_recording(outcomes={name: Outcome(False, 1.0) for name in names})
    assert outcome_ids([recording]) == ("8.0", "8.5", "40.1", "40.10", "1000.0", "Stroke", "death")


def test_an_outcome_that_nobody_is_told_of_is_not_listed(make_recording: Make) -> None:
    table = wide(3, 4)
    table.codes[:, 2] = UNTOLD
    recordings = [make_recording(f"r{i}", outcomes=table.outcomes(f"r{i}")) for i in range(3)]
    assert outcome_ids(recordings) == ("0", "0.1", "0.3")


def test_the_released_table(make_recording: Make, shared_data: Path) -> None:
    names = ("sleepfm_is_event.csv", "sleepfm_time_to_event.csv")
    table = read_wide(WideOutcomes(*names, "days"), shared_data / "survival")
    recording = make_recording(outcomes=table.outcomes("demo_psg"))
    wanted = outcome_ids([recording])
    assert len(wanted) == 1065
    found = read_follow_up([recording], wanted)
    assert found.at_risk.all()
    assert found.event.sum() == sum(outcome.event for outcome in recording.outcomes.values())


def test_twenty_thousand_recordings_of_a_thousand_outcomes_are_quick(make_recording: Make) -> None:
    n, m = 20_000, 1065
    codes = np.zeros((1, m), dtype=np.int8)
    table = WideTable(SPEC, {f"{k}": k for k in range(m)}, {"r": 0}, codes, np.ones((1, m)))
    base = make_recording(outcomes=table.outcomes("r"))
    started = time.process_time()
    wanted = outcome_ids([base] * n)
    found = read_follow_up([base] * n, wanted)
    used_s = time.process_time() - started
    assert found.codes.shape == (n, m)
    assert used_s < 10  # 0.7 s when measured; 21 million outcomes one by one take a minute


def test_people_have_a_fingerprint_of_their_own(make_recording: Make, make_cohort: Callable[..., Cohort]) -> None:
    table = wide(3, 6)

    def cohort(age: float = 60.0, years: float = 1.0, column: int | None = None) -> str:
        codes, spent = table.codes.copy(), table.years.copy()
        if column is not None:
            codes[1, column] = EVENT if codes[1, column] != EVENT else EVENT_FREE
        other = WideTable(SPEC, table.endpoints, table.place, codes, spent)
        chained = ChainMap({"own": Outcome(True, years)}, other.outcomes("r1"))
        recordings = [make_recording("r0", covariates={"age": age}), make_recording("r1", outcomes=chained)]
        return make_cohort(*recordings).people_fingerprint()

    assert cohort() == cohort()
    changed = [cohort(age=61.0), cohort(years=2.0), *(cohort(column=k) for k in range(6))]
    assert len({cohort(), *changed}) == 1 + len(changed)


def test_a_number_a_truth_value_and_a_word_are_different_people(
    make_recording: Make, make_cohort: Callable[..., Cohort]
) -> None:
    values = (1.0, True, "1.0", float("nan"), None)
    prints = {make_cohort(make_recording(covariates={"x": value})).people_fingerprint() for value in values}
    assert len(prints) == len(values)


def test_times_that_mean_nothing_are_not_in_the_fingerprint() -> None:
    table = wide(1, 4)
    table.codes[0] = [UNTOLD, EVENT, PREVALENT, EVENT_FREE]
    before = table.outcomes("r0").digest()
    table.years[0, [0, 2]] = 77.0
    assert table.outcomes("r0").digest() == before
    table.years[0, 1] = 78.0
    assert table.outcomes("r0").digest() != before
    renamed = WideTable(
        SPEC, {f"x{name}": i for name, i in table.endpoints.items()}, table.place, table.codes, table.years
    )
    assert renamed.outcomes("r0").digest() != table.outcomes("r0").digest()


@pytest.mark.parametrize("code", [UNTOLD, PREVALENT])
def test_nobody_who_is_not_at_risk_has_an_event_or_a_time(make_recording: Make, code: int) -> None:
    table = wide(1, 3)
    table.codes[0] = code
    table.years[0] = 4.0
    found = read_follow_up([make_recording(outcomes=table.outcomes("r0"))], ["0", "0.1"])
    assert not found.at_risk.any()
    assert not found.event.any()
    assert np.isnan(found.years).all()
