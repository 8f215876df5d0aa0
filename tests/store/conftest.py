"""Small recordings, embeddings and cells to store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import Embedding, EncoderCard
from hypnos_bench.signals.base import Channel, Signal
from hypnos_bench.spec import CellSpec, HeadSpec, Shots, SplitSpec
from hypnos_bench.store.cells import Cell
from hypnos_bench.store.side import ClassificationSide


@dataclass(frozen=True)
class NoSignals:
    path: Path = Path("none.edf")
    files: tuple[Path, ...] = ()
    seconds: float = 120.0

    def channels(self) -> tuple[Channel, ...]:
        return ()

    def duration_s(self) -> float:
        return self.seconds

    def read(self, label: str) -> Signal:
        raise AssertionError(label)


@dataclass(frozen=True)
class NoLabels:
    files: tuple[Path, ...] = ()


@pytest.fixture
def make_recording():
    def make(name: str = "r1", cohort: str = "toy", seconds: float = 120.0) -> Recording:
        return Recording(cohort, name, "p1", NoSignals(seconds=seconds), NoLabels(), {})

    return make


@pytest.fixture
def make_card():
    def make(**changes) -> EncoderCard:
        fields = {
            "id": "enc", "title": "Encoder", "version": "1", "step_s": 1.0, "window_s": None, "causal": True,
            "lag_rows": 1, "channels": ("C3",), "missing": "skipped", "weights": "ab" * 32,
            "settings": {"modalities": "mean"},
        }  # fmt: skip
        return EncoderCard(**{**fields, **changes})

    return make


@pytest.fixture
def embedding() -> Embedding:
    rng = np.random.default_rng(0)
    arrays = {"eeg_c3": rng.normal(size=(120, 8)).astype(np.float16), "ecg": rng.normal(size=(120, 6)).astype("f4")}
    return Embedding(arrays, 0.0, 1.0, {"eeg_c3": "C3 - A2", "ecg": "EKG"}, {"C4": "constant value"})


@pytest.fixture
def spec() -> CellSpec:
    return CellSpec(
        task={"id": "staging", "classes": ["W", "S"]},
        cohort={"id": "toy", "fingerprint": "f" * 64, "simulated": True},
        encoder={"id": "enc", "version": "1"},
        head=HeadSpec("linear", {"c": 1.0}),
        split=SplitSpec(),
        shots=Shots.parse("0.5%"),
        seed=3,
    )


@pytest.fixture
def side() -> ClassificationSide:
    rng = np.random.default_rng(1)
    unit_recording = np.repeat(np.arange(2, dtype=np.int32), 5)
    y_true, y_pred = (rng.integers(0, 2, 10).astype(np.int8) for _ in range(2))
    confusion = np.zeros((2, 2, 2), np.int64)
    np.add.at(confusion, (unit_recording, y_true, y_pred), 1)
    proba = rng.dirichlet([1, 1], 10).astype(np.float16)
    return ClassificationSide(["r1", "r2"], ["p1", "p2"], confusion, unit_recording, y_true, y_pred, proba=proba)


@pytest.fixture
def cell(spec) -> Cell:
    scores = {"kappa": {"value": np.float64(0.7), "low": 0.6, "high": float("nan"), "higher_is_better": True}}
    return Cell.of(spec, n={"persons": np.int64(2), "excluded": {"r9": "no EDF"}}, selected=({"c": 1.0},),
                   scores=scores, timing={"fit_s": 0.1}, provenance={"version": "0.1.0"})  # fmt: skip
