"""Recordings that have a length and nothing else."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from hypnos_bench.cohorts.base import Recording


@dataclass(frozen=True)
class Silence:
    seconds: float
    path: Path = Path("night.edf")
    files: tuple[Path, ...] = ()

    def duration_s(self):
        return self.seconds


@pytest.fixture(scope="session")
def memory_recording():
    return lambda signals, seconds, name: Recording("toy", name, name, Silence(seconds), None, {})
