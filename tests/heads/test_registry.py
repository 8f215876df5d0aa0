"""Heads by id: kinds, titles, settings that enter keys."""

import pytest

from hypnos_bench.errors import UsageError
from hypnos_bench.heads.linear import LINEAR_SETTINGS, fit_linear
from hypnos_bench.heads.registry import BUILT_IN, HEADS, default_settings, head_kind, head_title, is_seeded
from hypnos_bench.spec import canonical_json


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_head_loads_and_has_settings_that_can_enter_a_key(name):
    assert callable(HEADS.load(name))
    assert canonical_json(default_settings(name))
    assert head_kind(name) in ("classification", "regression", "survival")
    assert head_title(name)


def test_settings_are_a_copy_of_the_heads_own():
    assert HEADS.load("linear") is fit_linear
    assert default_settings("linear") == LINEAR_SETTINGS
    assert default_settings("linear") is not LINEAR_SETTINGS
    with pytest.raises(UsageError, match="Did you mean 'linear'"):
        default_settings("linar")


def test_the_seed_of_a_seeded_head_is_the_cells():
    assert is_seeded("mlp")
    assert not is_seeded("linear")
    assert "seed" not in default_settings("mlp")


def test_heads_of_other_packages_state_what_they_are(monkeypatch):
    def fit(rows, settings): ...

    fit.kind, fit.settings = "regression", {"depth": 3}
    monkeypatch.setattr(HEADS, "load", lambda name: fit)
    assert head_kind("forest") == "regression"
    assert default_settings("forest") == {"depth": 3}
    assert head_title("forest") == ""
    assert not is_seeded("forest")
