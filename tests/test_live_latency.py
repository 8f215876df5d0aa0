"""The live benchmark feeds whole seconds and gets their rows; nothing here looks at a clock."""

import argparse
import importlib.util
from pathlib import Path

import pytest

from hypnos_bench.hypnos.random_bundle import SMALL_CONFIG, write_random_bundle

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "live_latency.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("live_latency", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_second_brings_its_own_row(script, tmp_path, dtype):
    path = write_random_bundle(tmp_path / "small.safetensors", config=SMALL_CONFIG)
    options = argparse.Namespace(context=12, seconds=5)
    row = script.measure(path, script.MONTAGES[1], dtype, options)
    assert row["rows_of_their_own_second"] == 5
    assert row["channels"] == 3
    assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["max_ms"]


def test_a_context_shorter_than_the_start_is_refused(script):
    with pytest.raises(argparse.ArgumentTypeError, match="at least 10, not 9"):
        script._seconds("9")


@pytest.mark.parametrize("word", ["0", "-2", "many"])
def test_threads_are_counted_from_one(script, monkeypatch, capsys, word):
    monkeypatch.setattr("sys.argv", ["live_latency.py", f"--threads={word}"])
    with pytest.raises(SystemExit) as stop:
        script.main()
    assert stop.value.code == 2
    assert "error: argument --threads: " in capsys.readouterr().err.splitlines()[-1]
