"""`hypnos-bench doctor encoder`: exit codes, what goes where, and a process of its own."""

import json
import shutil
from pathlib import Path

import pytest

from hypnos_bench.cli import run_command

TOYS = Path(__file__).resolve().parents[1] / "conformance" / "toys.py"


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(TOYS, "toys.py")


@pytest.fixture
def no_process(monkeypatch):
    """Without the process that measures; it has a test of its own."""
    monkeypatch.setattr("hypnos_bench.conformance.check_process", lambda *_: [])


def doctor(*words):
    return run_command(["doctor", "encoder", *map(str, words)])


def test_a_good_encoder_is_0_with_a_line_per_check_also_in_a_process_of_its_own(capsys):
    assert doctor("toys.py:Staged", "--hours", 0.05, "--device", "cpu") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "Toy: toys.py:Staged, on synthetic recordings"
    assert lines[-1] == "toys.py:Staged: none failed."
    assert "cpu: asked for" in err
    assert "made again from its name there: bit-equal" in out
    speed = next(line for line in lines if "speed and memory" in line)
    assert "CPU s per hour of signal (from 0.05 h, twelve channels; one thread); peak" in speed
    assert len(lines) == 1 + 1 + 1 + 18 + 1 + 1


def test_a_bad_one_is_1_and_the_json_says_all(no_process, capsys):
    assert doctor("toys.py:CrashesOnMissing", "--json", "--device", "cpu") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["synthetic"] is True
    assert report["failed"] == ["missing channel", "no channel at all"]
    assert report["card"]["dim"] == 16
    check = next(check for check in report["checks"] if check["name"] == "rows")
    assert check["numbers"]["uncovered_s"] == 7.0
    assert doctor("toys.py:WrongDim", "--device", "cpu") == 1
    assert "1 of 16 checks failed: " not in (out := capsys.readouterr().out)
    assert "checks failed: rows, missing channel" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["toys.py:Godo"], 2, "Did you mean 'Good'?"),
        (["feature"], 2, "Did you mean 'features'?"),
        (["nothing_here:Encoder"], 2, "No module named 'nothing_here'"),
        (["hypnos", "--weights", "gone.safetensors", "--device", "cpu"], 3, "gone.safetensors"),
        (["features", "--hours", "0"], 2, "--hours"),
    ],
)
def test_what_cannot_be_asked(words, code, message, capsys):
    assert doctor(*words) == code
    assert message in capsys.readouterr().err


def test_show_tells_the_whole_card_and_the_settings_that_can_be_chosen(capsys):
    assert run_command(["show", "encoder", "toys.py:Good"]) == 0
    shown = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    shown = {name: value.strip() for name, value in shown.items()}
    assert shown["dim"] == "16"
    assert shown["pretrained on"] == "not known"  # its card says nothing
    assert shown["weights"] == shown["known settings"] == "none"
    assert shown["alignment"] == "one row per 10 s, causal"
    assert run_command(["show", "encoder", "sleepfm-untrained", "--json", "--device", "cpu"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["marks"] == ["untrained"]
    assert all(isinstance(values, list) or values is None for values in card["known_settings"].values())
    assert card["known_settings"]
