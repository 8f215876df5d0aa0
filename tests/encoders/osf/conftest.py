"""A small network with random weights, and files of it in the layouts that users hold."""

import pytest
import torch

from hypnos_bench.encoders.osf.layout import SIZES, Geometry
from hypnos_bench.encoders.osf.weights import random_state

SMALL = Geometry(width=32, depth=2, heads=2, hidden=64)
"""Heads are wider together (128) than the network, as in upstream's smallest size."""


@pytest.fixture(autouse=True)
def _small_is_known(monkeypatch):
    """A file without metadata must have one of the known sizes."""
    monkeypatch.setitem(SIZES, "vit_small_toy", SMALL)


@pytest.fixture
def metadata():
    """What upstream writes beside the weights."""
    patches = {"patch_size_time": 64, "patch_size_ch": 4, "lead_wise": 1, "width": 32, "depth": 2}
    signals = {"num_leads": 12, "sample_rate": 64, "window_size_sec": 30, "seq_len": 1920}
    return {"model_name": "dino", "encoder_name": "vit_toy", **signals, **patches}


@pytest.fixture
def state():
    return random_state(SMALL, 1)


@pytest.fixture
def released(tmp_path, metadata):
    """Write a payload as upstream publishes it, with other metadata where asked."""

    def write(state, name="osf_backbone.pth", **changed):
        torch.save({"state_dict": state, "metadata": metadata | changed}, tmp_path / name)
        return tmp_path / name

    return write
