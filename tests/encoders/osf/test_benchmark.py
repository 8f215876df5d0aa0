"""The benchmark's peer computes the same rows; nothing here looks at a clock."""

import argparse
import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "osf.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("benchmark_osf", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_sides_compute_the_same(script):
    found = script.turns(argparse.Namespace(epochs=5, rounds=1, size="vit_nano", sweep=False))
    assert 0 < found["max_difference"] < 1e-5
    assert found["bf16_least_cosine"] > 0.999
    assert set(found["cpu_s_per_hour"]) == {"ours", "plain", "ours, bf16"}


def test_a_night_goes_through(script, tmp_path):
    path = script.write_synthetic_psg(tmp_path / "night.edf", 65)
    for side in script.SIDES:
        found = script.night(path, side, argparse.Namespace(size="vit_nano"))
        assert found["rows"] == 2
        assert list(found["stages"]) == ["load", "prepare", "embed"]
