"""`hypnos-bench doctor`: exit codes, what goes where, and how it ends early."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.image
import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cohorts.writers.array_folder import write_array_folder
from hypnos_bench.cohorts.writers.cpsc2021 import write_cpsc2021_tree
from hypnos_bench.cohorts.writers.edf_folder import write_edf_folder


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def ecg(tmp_path_factory):
    root = tmp_path_factory.mktemp("cpsc")
    write_cpsc2021_tree(root, minutes=0.5)
    return root


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    root = tmp_path_factory.mktemp("edf")
    write_edf_folder(root, ("nsrr-xml", "csv", "embedded"), n_epochs=12)
    return root


def doctor(*words):
    return run_command(["doctor", "cohort", *map(str, words)])


def test_nothing_lost_is_0_with_a_report_and_a_picture(ecg, capsys):
    assert doctor("cpsc2021", "--root", ecg) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "cpsc2021: nothing would be lost."
    assert "6 recordings of 3 persons" in out
    assert "annotated by: cpsc2021 6" in out
    assert err == f"picture: {Path('reports/doctor-cpsc2021.png')}\n"  # no bar: stderr is no terminal
    assert matplotlib.image.imread("reports/doctor-cpsc2021.png").shape == (990, 1650, 4)
    assert [path.name for path in Path("reports").iterdir()] == ["doctor-cpsc2021.png"]


def test_something_lost_is_1(nights, tmp_path, capsys):
    root = shutil.copytree(nights, tmp_path / "copy")
    (root / "night2.csv").unlink()
    assert doctor("edf-folder", "--root", root) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "edf-folder: something would be lost: 1 file or recording; see above."
    assert any(line.strip().startswith("night2: night2.edf: no sleep stage is scored") for line in lines)


def test_stages_alone_are_enough_for_a_folder(nights, capsys):
    assert doctor("edf-folder", "--root", nights, "--person-pattern", "(night.)") == 0
    out = capsys.readouterr().out
    assert "annotated by: nsrr-xml 1, csv-hypnogram 1, edf-plus 1" in out
    assert "usable: headers 3, stage 3, events 1" in out
    assert "its own person" not in out


def test_ready_made_embeddings(tmp_path, capsys):
    write_array_folder(tmp_path / "arrays", n_persons=2, nights=1)
    assert doctor("array-folder", "--root", "arrays") == 0
    out = capsys.readouterr().out
    assert "in no recording: C3, C4, E1, E2, Chin, ECG, ABD, THX" in out
    assert "a recording counts as its own person (--person-pattern)" in out


def test_no_usable_recording_is_3(nights, tmp_path, capsys):
    assert doctor("mros", "--root", tmp_path) == 3
    assert capsys.readouterr().out == ""
    for path in nights.glob("*.edf"):
        (tmp_path / path.name).write_bytes(path.read_bytes()[:2000])
    assert doctor("edf-folder", "--root", tmp_path) == 3
    out, err = capsys.readouterr()
    assert "night1, night2: (id).edf: truncated: " in out  # the report says why
    assert err.splitlines()[-1] == "error: cohort edf-folder: no usable recording: not one of 3 headers can be read"


def test_json_has_every_recording_and_every_reason(nights, tmp_path, capsys):
    root = shutil.copytree(nights, tmp_path / "copy")
    (root / "night2.csv").unlink()
    assert doctor("edf-folder", "--root", root, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert [c["recording"] for c in found["checkups"]] == ["night1", "night2", "night3"]
    first = found["checkups"][0]
    assert (first["annotation"], first["annotation_files"]) == ("nsrr-xml", ["night1-nsrr.xml"])
    assert first["montage"]["C3"] == "C3-M2"
    assert found["n_labelled"] == {"stage": 2, "events": 1}
    (case,) = found["losses"][0]["cases"]
    assert case["recording"] == "night2"
    assert found["verdict"].endswith("1 file or recording; see above.")
    assert (found["simulated"], found["persons_assumed"]) == (False, True)


def test_the_demo_cohort_is_healthy_and_marked_in_every_output(demo_cache, capsys):
    assert doctor("demo", "--cache", demo_cache, "--workers", 2) == 0
    out, _ = capsys.readouterr()
    assert out.splitlines()[0].startswith("SIMULATED: nobody was recorded. ")
    assert out.splitlines()[-1] == "SIMULATED: demo: nothing would be lost."
    assert doctor("demo", "--cache", demo_cache, "--json") == 0
    assert json.loads(capsys.readouterr().out)["simulated"] is True


def test_a_folder_that_cannot_be_written_costs_the_picture_only(ecg, tmp_path, capsys):
    (tmp_path / "reports").write_text("a file")
    assert doctor("cpsc2021", "--root", ecg) == 3
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "cpsc2021: nothing would be lost."
    (line,) = err.splitlines()
    assert "cannot be written" in line
    assert line.endswith("choose another --reports DIR")


def test_settings_of_a_user_count(nights, tmp_path, capsys):
    (tmp_path / "mine.toml").write_text('[cpsc2021.channels]\nC3 = ["Fp1"]\n')
    write_cpsc2021_tree(tmp_path / "cpsc", minutes=0.5)
    assert doctor("cpsc2021", "--root", "cpsc", "--cohort-settings", "mine.toml") == 1
    assert "C3 is made in no recording (say how: [channels] C3)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task", "staging"], "'task' is not one of 'cohort', 'encoder'"),
        (["cohort", "mross", "--root", "."], "mros"),
        (["cohort", "mros"], "needs --root"),
        (["cohort", "mros", "--root", ".", "--workers", "0"], "--workers"),
    ],
)
def test_wrong_words_are_2(words, message, capsys):
    assert run_command(["doctor", *words]) == 2
    assert message in capsys.readouterr().err


def test_real_records(shared_data, capsys):
    assert doctor("cpsc2021", "--root", shared_data / "cpsc2021-af") == 0
    out = capsys.readouterr().out
    assert "9 recordings of 3 persons" in out
    assert "ECG   II (9)" in out


# Test runners started in the background ignore SIGINT and pass that on, so it is set back first.
START = """
if __name__ == "__main__":
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from hypnos_bench.cli import main
    main()
"""


in_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc")


@pytest.fixture
def busy(nights, tmp_path):
    """A doctor with two workers over 3,000 nights, and its children."""
    root = tmp_path / "many"
    root.mkdir()
    for i in range(3000):
        os.link(nights / "night1.edf", root / f"n{i}.edf")
        os.link(nights / "night1-nsrr.xml", root / f"n{i}-nsrr.xml")
    (tmp_path / "start.py").write_text(START)
    words = [sys.executable, "start.py", "doctor", "cohort", "edf-folder", "--root", "many", "--workers", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, cwd=tmp_path, **pipes, text=True, start_new_session=True)
    until(lambda: len(children(process.pid)) >= 2 or process.poll() is not None)
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its workers too, should they have outlived it
    process.communicate(timeout=20)


@in_proc
@pytest.mark.parametrize("more_s", [0, 0.1, 0.4])
def test_ctrl_c_is_130_with_one_line_and_leaves_nothing(busy, tmp_path, more_s):
    time.sleep(more_s)
    left = children(busy.pid)
    os.killpg(busy.pid, signal.SIGINT)  # as a terminal does: to everybody
    out, err = busy.communicate(timeout=20)
    assert left
    assert (busy.returncode, out) == (130, "")
    assert err == "interrupted; what was finished is kept, rerun to go on\n"
    assert not (tmp_path / "reports").exists()
    until(lambda: not any(map(lives, left)))
    assert not [pid for pid in left if lives(pid)]


@in_proc
def test_a_killed_doctor_leaves_no_workers(busy):
    until(lambda: len(children(busy.pid)) >= 3)  # two, and the one that Python tracks resources with
    left = children(busy.pid)
    busy.kill()
    until(lambda: not any(map(lives, left)))
    assert len(left) == 3
    assert not [pid for pid in left if lives(pid)]


def until(done, seconds=20):
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def lives(pid):
    """Whether a process is there and not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
