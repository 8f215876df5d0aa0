"""Declared families: published values, statsmodels as oracle, and nothing that slips in or out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.errors import UsageError
from hypnos_bench.stats.family import Family, adjust, benjamini_hochberg, bonferroni, holm

# Benjamini & Hochberg 1995, 15 p-values of a thrombolysis trial.
P_1995 = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
          0.7590, 1.0]  # fmt: skip
METHODS = {"bh": benjamini_hochberg, "bonferroni": bonferroni, "holm": holm}


def test_published_false_discovery_rates():
    adjusted = benjamini_hochberg(P_1995).p
    printed = [0.0015, 0.0030, 0.0095, 0.035625, 0.0603, 0.06385714, 0.06385714, 0.0645, 0.0765, 0.486]
    np.testing.assert_allclose(adjusted[:10], printed, rtol=1e-6)
    assert (adjusted <= 0.05).sum() == 4
    assert (bonferroni(P_1995).p <= 0.05).sum() == 3  # as the paper says


@pytest.mark.parametrize(("method", "name"), [("bh", "fdr_bh"), ("bonferroni", "bonferroni"), ("holm", "holm")])
def test_equals_statsmodels(method, name):
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels, the oracle, is not installed")
    rng = np.random.default_rng(0)
    for p in (P_1995, rng.random(40), np.round(rng.random(60) ** 3, 2), [0.3]):
        np.testing.assert_allclose(METHODS[method](p).p, multitest.multipletests(p, method=name)[1], rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_undefined_p_values_are_no_tests(method):
    with_nan = METHODS[method]([*P_1995[:7], math.nan, *P_1995[7:], math.nan])
    assert with_nan.n_undefined == 2
    np.testing.assert_array_equal(with_nan.p[~np.isnan(with_nan.p)], METHODS[method](P_1995).p)
    assert np.isnan(with_nan.p[[7, 16]]).all()
    assert METHODS[method]([math.nan]).n_undefined == 1
    with pytest.raises(ValueError, match="outside 0..1"):
        METHODS[method]([0.2, 1.2])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_values_keep_the_order_and_each_other(p):
    adjusted = {name: method(p).p for name, method in METHODS.items()}
    for values in adjusted.values():
        assert (values >= np.array(p)).all()
        assert (values <= 1).all()
        assert (np.diff(values[np.argsort(p, kind="stable")]) >= -1e-15).all()
    assert (adjusted["bh"] <= adjusted["holm"] + 1e-15).all()
    assert (adjusted["holm"] <= adjusted["bonferroni"] + 1e-15).all()


def test_a_family_is_adjusted_side_by_side():
    family = Family("staging, kappa", tuple(f"h{i}" for i in range(15)))
    p = {f"h{i}": value for i, value in reversed(list(enumerate(P_1995)))}
    found = adjust(family, p)
    assert list(found.bh) == list(family.members)
    assert found.adjusted == found.bh
    assert found.bh["h3"] == pytest.approx(0.035625)
    assert found.bonferroni["h3"] == pytest.approx(15 * 0.0095)
    assert found.holm["h3"] == pytest.approx(12 * 0.0095)
    assert adjust(family, p, "holm").adjusted == found.holm
    assert (found.n_tests, found.n_undefined) == (15, 0)
    undefined = adjust(family, p | {"h0": math.nan})
    assert (undefined.n_tests, undefined.n_undefined) == (14, 1)
    assert math.isnan(undefined.bh["h0"])
    assert undefined.bonferroni["h1"] == pytest.approx(14 * 0.0004)


def test_what_was_not_declared_is_refused():
    family = Family("table", ("a", "b"))
    with pytest.raises(UsageError, match="without p: b; not declared: c"):
        adjust(family, {"a": 0.1, "c": 0.1})
    with pytest.raises(UsageError, match="not declared: c"):
        adjust(family, {"a": 0.1, "b": 0.1, "c": 0.1})
    with pytest.raises(UsageError, match="without p: a, b"):
        adjust(family, {})
    with pytest.raises(UsageError, match="'fdr' is none of bh"):
        adjust(family, {"a": 0.1, "b": 0.1}, "fdr")
    with pytest.raises(UsageError, match="declared twice: a"):
        Family("table", ("a", "b", "a"))
    with pytest.raises(UsageError, match="no hypotheses"):
        Family("table", ())
