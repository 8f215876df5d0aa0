"""The benchmark of the C-index runs and says what it promises; nothing here looks at a clock."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "concordance.py"


def run(*words):
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_small_comparison_ends_in_one_json_line():
    done = run("--persons", "200", "--replicates", "20", "--calls", "3", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["benchmark"], result["persons"], result["replicates"]) == ("concordance", 200, 20)
    assert result["cpu_ratio"] > 0
    assert result["max_difference"] < 1e-12
    assert {"ours_cpu_s", "lifelines_cpu_s", "lifelines_calls", "auroc_cpu_s", "machine"} <= set(result)


@pytest.mark.slow
def test_nonsense_is_refused():
    done = run("--persons", "0")
    assert done.returncode == 2
    assert "must be at least 1, not 0" in done.stderr
