"""Weights of the released names and shapes, drawn once, and recordings under their files' own labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.sleepfm import SleepFMUntrained, weights


@pytest.fixture(scope="session")
def state():
    """The untrained encoder's tensors, without prefix."""
    drawn = weights.random_state(0)
    return {name.removeprefix("module."): torch.from_numpy(np.array(value)) for name, value in drawn.items()}


@pytest.fixture(scope="session")
def checkpoint(state, tmp_path_factory):
    """A file as training writes it."""
    path = tmp_path_factory.mktemp("sleepfm") / "best.pt"
    beside = {"epoch": 0, "best_loss": np.float64(1.5), "temperature": torch.zeros(1), "optim_dict": {"state": {}}}
    torch.save({**beside, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path


@pytest.fixture(scope="session")
def make_untrained(untrained_cache):
    """Make an untrained encoder with settings of its own; all share one model."""
    first = SleepFMUntrained(EncoderOptions(cache=untrained_cache, device="cpu"))

    def make(*, per_modality=False, **settings):
        chosen = {"sleepfm-untrained": {name: str(value) for name, value in settings.items()}}
        options = EncoderOptions(cache=untrained_cache, device="cpu", settings=chosen, per_modality=per_modality)
        encoder = SleepFMUntrained(options)
        encoder.__dict__.update(_weights=first._weights, _model=first._model)  # drawn and built once
        return encoder

    return make


RATES = {"EEG": 128, "EEG(sec)": 128, "EOG(L)": 128, "SaO2": 1, "THOR RES": 16, "ECG": 256, "EMG": 128}


def make_signals(seconds, rates=RATES, seed=0):
    """Smooth noise under labels of SHHS."""
    rng = np.random.default_rng(seed)
    made = {}
    for label, rate in rates.items():
        x = rng.normal(size=int(seconds * rate))
        made[label] = (float(rate), "uV", 20 * (x + np.convolve(x, np.ones(5), "same")))
    return made


@pytest.fixture(scope="session")
def signals_of():
    return make_signals
