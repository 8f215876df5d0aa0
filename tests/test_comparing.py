"""Families of comparisons from scores per recording: pairing, averaging, counting, and what the verdict says."""

import math
from itertools import combinations

import numpy as np
import pytest

from hypnos_bench.comparing import PerRecording, compare, declare, pair_id
from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.stats.family import Family, benjamini_hochberg, bonferroni, holm
from hypnos_bench.stats.paired import signed_rank
from hypnos_bench.stats.shift import hodges_lehmann

NIGHTS = tuple(f"r{i:02d}" for i in range(20))


def scores(values, recordings=NIGHTS, persons=None, seeds=None):
    return PerRecording(recordings, persons or [r.replace("r", "p") for r in recordings], np.asarray(values), seeds)


def encoders(rng, shifts=(0.0, 0.0, 0.1, 0.3)):
    base = 0.6 + 0.1 * rng.standard_normal(len(NIGHTS))
    return {f"e{i}": scores(base + s + 0.05 * rng.standard_normal(len(NIGHTS))) for i, s in enumerate(shifts)}


def test_every_number_is_that_of_its_own_test():
    table = encoders(np.random.default_rng(0))
    found = compare(table, "kappa", True, table="staging, demo, 100%")
    assert [(c.a, c.b) for c in found] == list(combinations(table, 2))
    raw = [signed_rank(table[c.a].values, table[c.b].values) for c in found]
    assert [(c.p, c.effect, c.min_p, c.n_zero, c.method) for c in found] == [
        (t.p, t.effect, t.min_p, t.n_zero, t.method) for t in raw
    ]
    for c in found:
        shift = hodges_lehmann(table[c.a].values, table[c.b].values)
        assert (c.shift, c.low, c.high, c.coverage) == (shift.value, shift.low, shift.high, shift.coverage)
        assert (c.n_persons, c.n_pairs, c.n_undefined, c.only_a, c.only_b, c.n_seeds) == (20, 20, 0, 0, 0, 0)
        assert c.mean_a == pytest.approx(table[c.a].values.mean())
    p = [t.p for t in raw]
    np.testing.assert_array_equal([c.p_bh for c in found], benjamini_hochberg(p).p)
    np.testing.assert_array_equal([c.p_bonferroni for c in found], bonferroni(p).p)
    np.testing.assert_array_equal([c.p_holm for c in found], holm(p).p)
    assert {c.n_tests for c in found} == {6}
    best = next(c for c in found if (c.a, c.b) == ("e0", "e3"))
    assert best.better == "e3"
    assert best.shift < best.high < 0
    assert best.verdict.startswith("e3 better than e0: shift -0.")
    assert "Benjamini-Hochberg p = " in best.verdict
    assert best.verdict.endswith("over 6 tests, 20 persons")
    alike = next(c for c in found if (c.a, c.b) == ("e0", "e1"))
    assert alike.better is None
    assert alike.verdict.startswith("e0 and e1: no difference shown;")


def test_sides_are_symmetric_and_direction_is_the_metrics():
    table = encoders(np.random.default_rng(1))
    forth, back = compare(table, "kappa", True), compare(dict(reversed(table.items())), "kappa", True)
    mirrored = {pair_id(c.a, c.b): c for c in back}
    for c in forth:
        other = mirrored[pair_id(c.a, c.b)]
        assert (other.a, other.b) == (c.b, c.a)
        assert (other.p, other.p_bh, other.better) == (c.p, c.p_bh, c.better)
        assert (other.shift, other.low, other.high, other.effect) == pytest.approx(
            (-c.shift, -c.high, -c.low, -c.effect)
        )
    errors = {c.better for c in compare(table, "error", False) if "e3" in (c.a, c.b)}
    assert errors == {"e0", "e1", "e2"}


def test_pairing_is_by_recording_whatever_the_order():
    rng = np.random.default_rng(2)
    table = encoders(rng, (0.0, 0.2))
    plain = compare(table, "kappa", True)[0]
    order = rng.permutation(20)
    shuffled = scores(table["e1"].values[order], [NIGHTS[i] for i in order])
    assert compare({"e0": table["e0"], "e1": shuffled}, "kappa", True)[0] == plain


def test_recordings_that_one_side_lacks_are_counted():
    values = np.linspace(0.3, 0.7, 20)
    low = values - 0.05
    values[3] = low[4] = math.nan
    a = scores(values)
    b = scores(low[2:], NIGHTS[2:])
    found = compare({"a": a, "b": b}, "kappa", True)[0]
    assert (found.n_pairs, found.n_persons, found.n_undefined, found.only_a, found.only_b) == (16, 16, 2, 2, 0)
    assert found.mean_a - found.mean_b == pytest.approx(0.05)
    assert found.effect == 1.0
    assert found.p == found.min_p == 2 * 0.5**16
    other = compare({"b": b, "a": a}, "kappa", True)[0]
    assert (other.only_a, other.only_b) == (0, 2)


def test_nights_of_one_person_are_one_pair():
    rng = np.random.default_rng(3)
    persons = [f"p{i // 2}" for i in range(20)]
    a, b = rng.standard_normal((2, 20))
    a[0] = math.nan  # p0 keeps the second night, on both sides
    found = compare({"a": scores(a, persons=persons), "b": scores(b, persons=persons)}, "kappa", True)[0]
    assert (found.n_persons, found.n_pairs, found.n_undefined) == (10, 19, 1)
    d = (a - b).reshape(10, 2)
    expected = signed_rank(np.nanmean(d, axis=1), np.zeros(10))
    assert (found.p, found.effect) == (expected.p, expected.effect)
    assert found.mean_b == pytest.approx(np.mean([b[1], *b[2:].reshape(9, 2).mean(axis=1)]))
    assert found.min_p == 2 * 0.5**10


def test_seeds_are_averaged_before_testing():
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((2, 5, 20))
    found = compare({"a": scores(a), "b": scores(b)}, "kappa", True)[0]
    expected = signed_rank((a - b).mean(axis=0), np.zeros(20))
    assert (found.p, found.n_persons, found.n_seeds, found.seeds_left_out) == (expected.p, 20, 5, 0)
    # More seeds of the same scores are no more evidence.
    tripled = compare({"a": scores(np.tile(a, (3, 1))), "b": scores(np.tile(b, (3, 1)))}, "kappa", True)[0]
    assert tripled.p == found.p


def test_seeds_are_paired_and_failed_ones_left_out_on_both_sides():
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, 3, 20))
    shared = compare({"a": scores(a, seeds=(0, 1, 2)), "b": scores(b, seeds=(7, 2, 1))}, "kappa", True)[0]
    assert (shared.n_seeds, shared.seeds_left_out) == (2, 2)
    expected = (a[[1, 2]] - b[[2, 1]]).mean(axis=0)
    assert shared.p == signed_rank(expected, np.zeros(20)).p
    failed = a.copy()
    failed[1] = math.nan  # the fit of one seed failed
    found = compare({"a": scores(failed), "b": scores(b)}, "kappa", True)[0]
    assert found.p == signed_rank((a - b)[[0, 2]].mean(axis=0), np.zeros(20)).p
    assert found.mean_b == pytest.approx(b[[0, 2]].mean())
    with pytest.raises(UsageError, match="none in common"):
        compare({"a": scores(a, seeds=(0, 1, 2)), "b": scores(b, seeds=(3, 4, 5))}, "kappa", True)


def test_one_row_without_seeds_holds_for_all():
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((4, 20)), rng.standard_normal(20)
    found = compare({"a": scores(a, seeds=(3, 5, 7, 9)), "b": scores(b)}, "kappa", True)[0]
    assert found.n_seeds == 4
    assert found.p == signed_rank(a.mean(axis=0), b).p


def test_only_pairs_with_the_reference():
    table = encoders(np.random.default_rng(7))
    found = compare(table, "kappa", True, reference="e1")
    assert [(c.a, c.b) for c in found] == [("e0", "e1"), ("e2", "e1"), ("e3", "e1")]
    assert {c.n_tests for c in found} == {3}
    everything = {pair_id(c.a, c.b): c for c in compare(table, "kappa", True)}
    assert all(c.p_bonferroni <= everything[pair_id(c.a, c.b)].p_bonferroni for c in found)
    with pytest.raises(UsageError, match="reference 'e9' is none of"):
        compare(table, "kappa", True, reference="e9")


def test_the_family_is_declared_before():
    table = encoders(np.random.default_rng(8))
    family = declare("plan", ["e3", "e2", "e1", "e0"])
    assert {c.family for c in compare(table, "kappa", True, family=family)} == {"plan"}
    with pytest.raises(UsageError, match="without p: e0 vs e4"):
        compare(table, "kappa", True, family=declare("plan", [*table, "e4"]))
    with pytest.raises(UsageError, match="not declared: e0 vs e2"):
        compare(table, "kappa", True, family=Family("plan", ("e0 vs e1",)))
    with pytest.raises(UsageError, match="at least two"):
        declare("plan", ["e0"])
    with pytest.raises(UsageError, match="named twice"):
        declare("plan", ["e0", "e0"])


def test_an_encoder_without_scores_stays_in_the_family():
    table = encoders(np.random.default_rng(9))
    table["failed"] = scores(np.full(20, math.nan))
    found = compare(table, "kappa", True)
    lost = [c for c in found if c.b == "failed"]
    assert len(lost) == 4
    for c in lost:
        assert (c.n_persons, c.n_undefined, c.better) == (0, 20, None)
        assert all(math.isnan(v) for v in (c.p, c.p_bh, c.p_bonferroni, c.shift, c.low, c.mean_a, c.mean_b, c.effect))
        assert "cannot be compared" in c.verdict
    assert {(c.n_tests, c.family_undefined) for c in found} == {(6, 4)}


def test_too_few_persons_say_so():
    few = NIGHTS[:4]
    found = compare({"a": scores([0.9, 0.8, 0.9, 0.7], few), "b": scores([0.1, 0.2, 0.3, 0.2], few)}, "kappa", True)[0]
    assert (found.p, found.min_p, found.better) == (0.125, 0.125, None)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert "no p below 0.125" in found.verdict
    assert "too few persons for an interval" in found.verdict


def test_deciding_method():
    table = encoders(np.random.default_rng(10), (0.0, 0.025, 0.04, 0.05, 0.3))
    by = {m: compare(table, "kappa", True, method=m) for m in ("bh", "bonferroni", "holm")}
    for method, found in by.items():
        assert {c.decided_by for c in found} == {method}
        assert all((c.better is not None) == (getattr(c, f"p_{method}") <= 0.05) for c in found)
    decided = {m: sum(c.better is not None for c in found) for m, found in by.items()}
    assert decided["bonferroni"] < decided["bh"]


def against_nothing(differences, level=0.05):
    names = NIGHTS[: len(differences)]
    pair = {"a": scores(differences, names), "b": scores(np.zeros(len(names)), names)}
    return compare(pair, "kappa", True, level=level)[0]


def test_an_interval_that_holds_zero_beside_a_difference_is_explained():
    """Ties and zeros: p is at most 0.05, the interval touches 0."""
    tied = against_nothing(np.array([-1, 0, 1, 3, 3, 4, 6, 6]) / 100)
    assert tied.p <= 0.05
    assert tied.low == 0 < tied.high
    assert tied.better == "a"
    assert tied.verdict == (
        f"a better than b: shift {tied.shift:+.4f} [+0.0000, +0.0500], Benjamini-Hochberg p = {tied.p:.3g} over 1 test, "
        "8 persons; the interval holds 0 because it is conservative under ties and zeros"
    )
    clear = against_nothing(np.arange(1, 10) / 100)
    assert clear.low > 0
    assert clear.verdict.endswith("9 persons")


def test_an_interval_of_another_level_than_the_decision_is_explained():
    untied = np.array([-4, -2, 1, 3, 5, 6, 7, 8]) / 100
    loose = against_nothing(untied, level=0.2)
    assert 0.05 < loose.p <= 0.2
    assert loose.better == "a"
    assert loose.low < 0 < loose.high
    assert loose.verdict.endswith("8 persons; the interval is of 95%, the decision at level 0.2")
    strict = against_nothing(np.arange(1, 9) / 100, level=0.001)
    assert strict.better is None
    assert strict.low > 0
    assert "no p below" in strict.verdict
    assert strict.verdict.endswith("; the interval is of 95%, the decision at level 0.001")


def test_an_interval_that_excludes_zero_without_a_difference_is_explained():
    rng = np.random.default_rng(12)
    table = encoders(rng, (0.0, 0.0, 0.0, 0.0, 0.0, 0.035))
    found = compare(table, "kappa", True, method="bonferroni")
    apart = [c for c in found if c.better is None and (c.low > 0 or c.high < 0)]
    assert apart
    for c in found:
        told = "; the 95% interval is not adjusted for the number of tests"
        assert c.verdict.endswith(told) == (c in apart)
        assert c in apart or c.verdict.endswith("20 persons")


@pytest.mark.parametrize("level", [0.01, 0.05, 0.1])
def test_no_verdict_parts_from_its_interval_without_a_word(level):
    rng = np.random.default_rng(13)
    told = 0
    for _ in range(150):
        found = against_nothing(rng.integers(-2, 4, rng.integers(5, 20)) / 10, level)
        parts = (found.better is not None) != (found.low > 0 or found.high < 0) and math.isfinite(found.low)
        assert ("; the interval" in found.verdict) == parts
        told += parts
    assert told > 2


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="r00 stands twice"):
        scores([1, 2], ("r00", "r00"))
    with pytest.raises(DataError, match="seed 1 stands twice"):
        scores(np.zeros((2, 20)), seeds=(1, 1))
    with pytest.raises(DataError, match="infinite"):
        scores([math.inf], ("r00",))
    with pytest.raises(ValueError, match="must match"):
        scores([1.0, 2.0], ("r00",))
    with pytest.raises(ValueError, match="seeds for scores"):
        scores(np.zeros((2, 20)), seeds=(1,))
    a, b = scores([1.0], ("r00",), ["x"]), scores([1.0], ("r00",), ["y"])
    with pytest.raises(DataError, match="r00: of person x for a but of y for b"):
        compare({"a": a, "b": b}, "kappa", True)
