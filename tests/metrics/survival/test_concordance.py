"""Harrell's C against published values, lifelines, and counting by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.metrics.survival import concordance
from hypnos_bench.metrics.survival.concordance import Concordance
from hypnos_bench.metrics.survival.recalibration import fit_recalibration
from hypnos_bench.stats.bootstrap import person_weights

ROSSI = [-0.379422, -0.057438, 0.313900, -0.149796, -0.433704, -0.084871, 0.091497]


def lifelines_c(time, event, risk):
    from lifelines.utils import concordance_index

    return concordance_index(time, -np.asarray(risk), event)


def count_by_hand(time, event, risk, stratum):
    """Concordant, discordant, tied risk, same time, tied events, by looking at all pairs."""
    found = [0] * 5
    for i in range(len(time)):
        for j in range(len(time)):
            if i == j or not event[i] or stratum[i] != stratum[j]:
                continue
            same = time[i] == time[j]
            if same and event[j]:
                found[4] += i < j
            elif time[j] > time[i] or same:
                found[0 if risk[i] > risk[j] else 1 if risk[i] < risk[j] else 2] += 1
                found[3] += same
    return tuple(found)


def test_veterans_pairs_as_published(published):
    data = published("veteran")
    risk = data.x @ fit_recalibration(data.time, data.event, data.x).coefficients
    pairs = Concordance(data.time, data.event, risk).pairs()
    assert pairs == (6482, 2322, 0, 7, 39)  # the last by hand
    assert pairs.c == 0.7362562471603816


def test_rossi_with_published_coefficients(published):
    data = published("rossi")
    assert Concordance(data.time, data.event, data.x @ ROSSI).value() == pytest.approx(0.640329, abs=5e-7)


def test_whas500_as_published(published):
    data = published("whas500")
    risk = data.x @ fit_recalibration(data.time, data.event, data.x).coefficients
    assert Concordance(data.time, data.event, risk).value() == pytest.approx(0.784215, abs=5e-7)


def test_gbsg2_as_published(published):
    import pandas as pd
    from lifelines import CoxPHFitter

    data = published("GBSG2")
    frame = pd.DataFrame(data.x).assign(time=data.time, event=data.event).rename(columns=str)
    fitted = CoxPHFitter().fit(frame, "time", "event")
    risk = data.x @ fitted.params_.to_numpy()
    assert Concordance(data.time, data.event, risk).value() == pytest.approx(0.691851, abs=5e-7)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [30, 700])
def test_lifelines_agrees(simulate, n, ties):
    data = simulate(n, seed=n, ties=ties)
    ours = Concordance(data.time, data.event, data.risk).value()
    assert ours == pytest.approx(lifelines_c(data.time, data.event, data.risk), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.booleans(), st.integers(-2, 2), st.integers(0, 1)), min_size=1, max_size=14
    )
)
def test_all_pairs_are_counted_as_by_hand(rows):
    time, event, risk, stratum = (np.array(column) for column in zip(*rows))
    scored = Concordance(time, event, risk, stratum)
    by_hand = count_by_hand(time, event, risk, stratum)
    assert scored.pairs() == by_hand
    weights = np.random.default_rng(0).integers(0, 4, (3, len(rows)))
    again = [np.repeat(column, 1) for column in (time, event, risk, stratum)]
    np.testing.assert_array_equal(scored.replicates(np.ones((1, len(rows)), dtype=int)), [scored.pairs().c])
    for own, value in zip(weights, scored.replicates(weights)):
        repeated = Concordance(*(np.repeat(column, own) for column in again))
        np.testing.assert_equal(value, repeated.pairs().c)


def test_reversed_scores_mirror_c(simulate):
    data = simulate(300, ties=True)
    there, back = (Concordance(data.time, data.event, sign * data.risk).pairs() for sign in (1, -1))
    assert there.c + back.c == pytest.approx(1, abs=1e-15)
    assert there.c != 0.5
    assert (there.concordant, there.discordant) == (back.discordant, back.concordant)


def test_only_the_order_of_risks_and_times_counts(simulate):
    data = simulate(300, ties=True)
    pairs = Concordance(data.time, data.event, data.risk).pairs()
    assert Concordance(data.time**2, data.event, np.exp(3 * data.risk)).pairs() == pairs
    order = data.rng.permutation(300)
    assert Concordance(data.time[order], data.event[order], data.risk[order]).pairs() == pairs


def test_risks_a_hair_apart_are_not_tied():
    pairs = Concordance([1.0, 2.0], [1, 1], [1.0 + 2**-52, 1.0]).pairs()
    assert (pairs.concordant, pairs.tied_risk) == (1, 0)


def test_folds_are_never_compared(simulate):
    data = simulate(400)
    fold = data.rng.integers(0, 3, 400)
    shifted = data.risk + 100.0 * fold  # scales of their own
    pooled = Concordance(data.time, data.event, shifted, fold)
    parts = [
        Concordance(data.time[own], data.event[own], data.risk[own]).pairs() for own in (fold == k for k in range(3))
    ]
    assert pooled.pairs() == tuple(map(sum, zip(*parts)))
    assert pooled.value() != pytest.approx(Concordance(data.time, data.event, shifted).value(), abs=1e-3)


def test_a_horizon_is_follow_up_cut_there(simulate):
    data = simulate(500, ties=True)
    horizons = [2.0, 5.0, 9.5, np.inf]
    scored = Concordance(data.time, data.event, data.risk)
    at = scored.at_horizons(np.ones((1, 500), dtype=int), horizons)[:, 0]
    for h, value in zip(horizons, at):
        cut = lifelines_c(np.minimum(data.time, h), data.event & (data.time <= h), data.risk)
        assert value == pytest.approx(cut, abs=1e-12)
        assert scored.value(h) == value
    assert len(set(at)) == 4


def test_all_recordings_of_a_drawn_person_are_drawn(simulate):
    data = simulate(200, ties=True)
    person, fold = data.rng.integers(0, 60, 200), data.rng.integers(0, 2, 200)
    weights = person_weights(60, 20, 0)
    values = Concordance(data.time, data.event, data.risk, fold, person).replicates(weights)
    for own, value in zip(weights, values):
        times = own[person]
        repeated = (np.repeat(a, times) for a in (data.time, data.event, data.risk, fold))
        assert Concordance(*repeated).value() == value
    assert values.std() > 0.01


def test_blocks_and_types_of_weights_do_not_change_a_bit(simulate, monkeypatch):
    data = simulate(300, ties=True)
    weights = person_weights(300, 50, 1)
    scored = Concordance(data.time, data.event, data.risk)
    values, pairs = scored.at_horizons(weights, [3.0, np.inf]), scored.pairs()
    np.testing.assert_array_equal(scored.at_horizons(weights.astype(np.float64), [3.0, np.inf]), values)
    for name, size in (("_EVENTS_AT_ONCE", 7), ("_WEIGHTS_AT_ONCE", 900), ("_COMPARED_AT_ONCE", 2000)):
        monkeypatch.setattr(concordance, name, size)
    np.testing.assert_array_equal(scored.at_horizons(weights, [3.0, np.inf]), values)
    assert scored.pairs() == pairs


def test_without_comparable_pairs_there_is_no_c():
    weights = np.ones((2, 3), dtype=int)
    for time, event in (([1, 2, 3], [0, 0, 0]), ([1, 2, 3], [0, 0, 1]), ([2, 2, 2], [1, 1, 1])):
        scored = Concordance(time, event, [1.0, 2.0, 3.0])
        assert np.isnan(scored.value())
        assert np.isnan(scored.replicates(weights)).all()
    empty = Concordance([], [], [])
    assert np.isnan(empty.value())
    assert np.isnan(empty.replicates(weights)).all()
    one = Concordance([1, 2], [1, 0], [1.0, 0.0]).replicates([[1, 1], [2, 0]])
    np.testing.assert_array_equal(one, [1.0, np.nan])


def test_risks_must_be_numbers():
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        Concordance([1.0, 2.0], [1, 0], [np.nan, 1.0])
