"""The probe benchmark runs and says what it promises; nothing here looks at a clock."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "probes.py"


def run(*words):
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_both_sides_solve_the_same_problem(tmp_path):
    done = run("--quick", "--newton", "--rows", "3000", "--width", "24", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["simulated"] is True
    found = result["sklearn"]
    assert result["cpu_ratio"] == found["cpu_ratio"] > 0
    assert found["loss"]["ours"] <= found["loss"]["newton"] * (1 + 1e-6)
    assert found["loss"]["newton"] <= found["loss"]["sklearn"] * (1 + 1e-6)
    assert found["loss"]["ours"] == pytest.approx(found["loss"]["sklearn"], rel=1e-5)
    assert set(found["peak_mb"]) == {"sklearn", "ours", "newton"}
    assert "simulated" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_cohorts_on_disk(tmp_path):
    words = ["--large", "--sweep", "--linear", "--nights", "60", "--epochs", "40", "--width", "8", "--seeds", "1"]
    done = run(*words, "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["disk"]["rows"] == 2400
    assert abs(result["disk"]["large"]["excess"]) < 1e-6
    assert [fit["budget"] for fit in result["disk"]["sweep"]["fits"]] == [0.01, 0.05, 0.1]
    assert result["disk"]["sweep"]["lambdas"] == 7
    assert len(result["linear"]["points"]) == 5
    assert list(tmp_path.iterdir()) == []


def test_nonsense_is_refused():
    done = run("--rows", "0")
    assert done.returncode == 2
    assert "must be at least 1, not 0" in done.stderr
