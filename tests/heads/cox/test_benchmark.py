"""The benchmark runs at toy size and says what it promises; nothing here looks at a clock."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "cox.py"
SMALL = ("--persons", "300", "--features", "6", "--outcomes", "4", "--rounds", "1", "--sample", "1")


def run(*words):
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


@pytest.fixture
def cox(monkeypatch):
    """The script as a module whose sides run in this process; `--path` below gives them processes of their own."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import cox

    def side(command, **_):
        assert command[:3] == [sys.executable, str(SCRIPT), "--child"]
        monkeypatch.setattr(sys, "argv", command[1:])
        with redirect_stdout(io.StringIO()) as said:
            cox.main()
        return subprocess.CompletedProcess(command, 0, said.getvalue(), None)

    monkeypatch.setattr(cox, "subprocess", SimpleNamespace(run=side, PIPE=subprocess.PIPE))
    return cox


@pytest.mark.slow
def test_a_small_comparison_ends_in_one_json_line(cox, monkeypatch, capsys):
    pytest.importorskip("torchsurv", reason="torchsurv is not installed")
    pytest.importorskip("lifelines", reason="lifelines is not installed")
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *SMALL])
    cox.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["benchmark"], result["m"], result["d"]) == ("cox", 4, 6)
    assert result["cpu_ratio"] == min(result["cpu_ratios"].values()) > 0
    assert result["coefficient_difference"]["ours"] <= 1e-4
    assert result["coefficient_difference"]["torchsurv"] <= 1e-2
    assert result["lifelines_128"]["coefficient_difference"]["lifelines"] <= 1e-3
    assert {"machine", "used_by_others", "goals", "runs"} <= set(result)
    assert all(run["peak_mb"] > 0 for run in result["runs"].values())


@pytest.mark.slow
def test_this_package_alone():
    done = run("--path", *SMALL)
    assert done.returncode == 0, done.stderr
    ours = json.loads(done.stdout.splitlines()[-1])["ours"]
    assert sum(ours["rules"].values()) == ours["outcomes"] == 4
    assert ours["worst_share_of_tolerance"] <= 1


def test_nonsense_is_refused():
    assert run("--quick", "--large").returncode == 2
    done = run("--outcomes", "2", "--sample", "3")
    assert done.returncode == 2
    assert "as many outcomes as are sampled" in done.stderr
