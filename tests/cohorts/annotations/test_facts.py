from __future__ import annotations

import dataclasses

import pytest

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError


def test_sampling_is_rate_and_length() -> None:
    assert Facts(10.0, rate_hz=250.0, n_samples=2500).sampling() == (250.0, 2500)
    assert Facts(0.0, rate_hz=250.0, n_samples=0).sampling() == (250.0, 0)


@pytest.mark.parametrize(
    "facts",
    [Facts(10.0), Facts(10.0, rate_hz=250.0), Facts(10.0, n_samples=2500), Facts(10.0, rate_hz=0.0, n_samples=1)],
)
def test_without_a_rate_samples_have_no_time(facts: Facts) -> None:
    with pytest.raises(AnnotationError, match="counted in samples, but the header gives no sampling frequency"):
        facts.sampling()


def test_facts_are_not_changed_by_a_reader() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Facts(10.0).duration_s = 20.0  # type: ignore[misc]
