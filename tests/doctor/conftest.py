"""Checkups by hand, and a cohort around them."""

from types import SimpleNamespace

import pytest

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Cohort, CohortCard
from hypnos_bench.doctor.checkup import Checkup

NIGHT = {"W": 100, "N1": 50, "N2": 500, "N3": 150, "R": 200, "unscored": 0}


@pytest.fixture
def night():
    """A checkup without fault, changed as asked."""

    def make(i=1, **changes):
        channels = CANONICAL_CHANNELS
        fields = {
            "recording": f"n{i:04d}",
            "person": f"p{i:04d}",
            "visit": None,
            "signal_file": f"n{i:04d}.edf",
            "annotation": "nsrr-xml",
            "duration_s": 30_000.0,
            "montage": {channel: f"{channel} - ref" for channel in channels},
            "rates_hz": dict.fromkeys(channels, 256.0),
            "units": dict.fromkeys(channels, "uV"),
            "labels": {"stage": NIGHT, "events": {"hypopnea": 3}},
            "epochs_with": {"arousal": 0, "respiratory": 3, "desaturation": 0},
        }
        return Checkup(**{**fields, **changes})

    return make


@pytest.fixture
def cohort_of():
    """A cohort whose recordings are those of some checkups."""

    def make(checkups, *, excluded=(), gaps=(), remarks=(), **card):
        fields = {"id": "made-up", "title": "Made-up nights", "labels": ("stage", "events"), **card}
        recordings = tuple(SimpleNamespace(id=c.recording, person=c.person, split_unit=c.person) for c in checkups)
        return Cohort(CohortCard(**fields), recordings, tuple(excluded), tuple(remarks), tuple(gaps))

    return make
