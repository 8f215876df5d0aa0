"""The throughput script runs on a CPU too, and says what it promises; nothing here looks at a clock."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def run(*words):
    command = [sys.executable, str(FOLDER / "gpu_throughput.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_stage_is_measured_and_the_check_passes(tmp_path):
    done = run("--device", "cpu", "--quick", "--nights", "2", "--hours", "0.02", "--check", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["benchmark"], result["precision"], result["weights"]) == (
        "gpu_throughput",
        "bf16",
        "random (untrained)",
    )
    assert result["check"]["tokens_equal_share"] > 0.999
    assert result["check"]["embedding_least_cosine"] >= 0.9999
    assert 0 < result["check"]["embedding_max_difference"] < 0.2
    assert set(result["stages"]) == {"tokenize", "temporal", "signals_to_device", "rows_to_host"}
    assert set(result["preparing"]) == set(result["end_to_end"]) == {"decoded", "edf"}
    assert all(each["s_per_night"] > 0 for each in result["stages"].values())
    assert all(each["nights_per_hour"] > 0 for part in ("preparing", "end_to_end") for each in result[part].values())
    assert not result["target"]["reached"]
    assert list(tmp_path.iterdir()) == []


def test_what_the_target_takes(monkeypatch):
    """10,000 nights of 8 h in an hour: 36 TFLOP/s in float32 beside 166 in the temporal stack."""
    monkeypatch.syspath_prepend(str(FOLDER))
    from _floor import work_per_second

    from hypnos_bench.hypnos.config import parse_config
    from hypnos_bench.hypnos.random_bundle import ASSUMED_RELEASED_CONFIG

    work = work_per_second(parse_config(json.loads(json.dumps(ASSUMED_RELEASED_CONFIG))))
    assert work.tokenizer * 80_000 / 1e12 == pytest.approx(36, rel=0.03)
    assert work.temporal * 80_000 / 1e12 == pytest.approx(166, rel=0.03)


@pytest.mark.parametrize("words", [["--nights", "1"], ["--precision", "fp8"], ["--hours", "0.001"]])
def test_nonsense_is_refused_before_anything_is_built(words):
    assert run(*words).returncode == 2


def test_a_device_that_is_not_there_is_said():
    done = run("--device", "cuda:99")
    assert done.returncode == 2
    assert done.stderr.startswith("error: device 'cuda")
