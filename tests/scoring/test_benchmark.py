"""The script that measures bootstraps runs and says what it promises; nothing here looks at a clock."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "bootstrap.py"


@pytest.mark.slow
def test_the_quick_run_ends_in_one_json_line():
    done = subprocess.run([sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["benchmark"], result["n_boot"]) == ("bootstrap", 100)
    assert {"staging", "ranking", "others_share", "machine"} <= set(result)
    assert result["staging"]["recordings"] == 290
    assert result["ranking"]["epochs"] == 58_000
    assert result["ranking"]["auprc_error"] < 1e-4
    assert min(result[part][key] for part in ("staging", "ranking") for key in ("wall_s", "cpu_s", "peak_mb")) > 0
    # Encoders find the same persons hard, so their difference is known better than either of them.
    assert result["staging"]["kappa_difference_width"] < result["staging"]["kappa_width"] / 2
