import numpy as np
import pytest

from hypnos_bench.metrics.catalogue import METRICS
from hypnos_bench.scoring.entries import draws, entry, person_codes, spread


def test_persons_are_ordered_by_id_whatever_the_order_of_recordings():
    codes, names = person_codes(["p10", "p2", "p10", "p1"])
    assert names == ["p1", "p10", "p2"]
    assert codes.tolist() == [1, 2, 1, 0]


def test_draws_are_shared_and_need_two_persons():
    np.testing.assert_array_equal(draws(5, 40), draws(5, 40))
    assert draws(5, 40).shape == (40, 5)
    assert draws(1, 40) is None


def test_entry_by_hand():
    replicates = np.array([np.nan, *np.linspace(0, 1, 41)])
    made = entry(METRICS["kappa"], 0.5, replicates, np.array([0.4, np.nan, 0.6]))
    assert (made["low"], made["high"]) == pytest.approx((0.025, 0.975))
    assert (made["value"], made["n_boot"], made["higher_is_better"]) == (0.5, 41, True)
    assert made["per_recording"] == {
        "mean": 0.5, "sd": pytest.approx(np.sqrt(0.02)), "median": 0.5, "n": 2, "n_undefined": 1,
    }  # fmt: skip
    assert set(made) == {"value", "low", "high", "n_boot", "higher_is_better", "per_recording"}


def test_entry_without_a_value_or_replicates():
    made = entry(METRICS["bias"], float("nan"), None)
    assert made == {
        "value": None, "low": None, "high": None, "n_boot": 0, "higher_is_better": False, "target": 0.0,
    }  # fmt: skip
    assert entry(METRICS["auroc-macro"], 0.7, None, absent=["N3"])["classes_absent"] == ["N3"]
    assert entry(METRICS["auroc-macro"], 0.7, None)["classes_absent"] == []


def test_spread_of_little():
    assert spread(np.array([np.nan])) == {"mean": None, "sd": None, "median": None, "n": 0, "n_undefined": 1}
    assert spread(np.array([0.3])) == {"mean": 0.3, "sd": None, "median": 0.3, "n": 1, "n_undefined": 0}
