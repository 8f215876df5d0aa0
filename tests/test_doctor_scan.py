"""The doctor's benchmark runs and says what it promises; nothing here looks at a clock."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "doctor_scan.py"


def run(*words):
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


def test_a_small_scan_ends_in_one_json_line(tmp_path):
    done = run("--recordings", "3", "--workers", "1", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["benchmark"], result["recordings"]) == ("doctor_scan", 3)
    assert result["epochs"] == 3 * 8 * 120
    assert 0.25 < result["annotation_mb"] < 0.4
    assert result["seconds"] > 0
    assert result["recordings_per_s"] > 0
    assert {"peak_mb", "others_share", "machine"} <= set(result)
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_options():
    done = run("--help")
    assert done.returncode == 0
    assert {"--quick", "--recordings", "--workers", "--folder"} <= set(done.stdout.replace("[", " ").split())


def test_nonsense_is_refused():
    done = run("--recordings", "0")
    assert done.returncode == 2
    assert "must be at least 1, not 0" in done.stderr
