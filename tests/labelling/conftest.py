"""Recordings made by hand: labels that were never on disk, signals that have a length alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hypnos_bench.cohorts.base import Cohort, CohortCard, Recording, Scoring
from hypnos_bench.errors import RecordingError


@dataclass
class ToldLabels:
    """Annotations that are given, and how often they were read."""

    scoring: Scoring | None
    files: tuple[Path, ...] = ()
    rules: str = ""
    reads: list[int] = field(default_factory=list)

    def read(self) -> Scoring:
        self.reads.append(1)
        if self.scoring is None:
            raise RecordingError("r1", "no annotation file")
        return self.scoring


@dataclass(frozen=True)
class Length:
    seconds: float

    def duration_s(self) -> float:
        return self.seconds


@pytest.fixture(scope="session")
def make_recording() -> Callable[..., Recording]:
    def make(name: str = "r1", scoring: Scoring | None = None, duration_s: float = 0.0, **more: Any) -> Recording:
        told = {"cohort": "own", "person": name, "montage": {}, **more}
        return Recording(id=name, signals=Length(duration_s), labels=ToldLabels(scoring), **told)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., Cohort]:
    def make(*recordings: Recording) -> Cohort:
        by_id = tuple(sorted(recordings, key=lambda r: r.id))
        return Cohort(CohortCard("own", "Own", labels=("record",)), by_id, ())

    return make
