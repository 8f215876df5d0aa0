"""``run`` from arrays on disk to cells: caching, failures, exclusions, kills. Small enough to run many times."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.report import figures

RUN = ["run", "staging", "--cohort", "array-folder", "--root", "nights", "--encoder", "precomputed", "--person-pattern", "^(p..)"]  # fmt: skip


def write_night(folder, name, seed, n_epochs=120, dim=6, stages=(0, 1, 2, 3, 4)):
    """A night whose features point to its stages, with an offset that belongs to the person."""
    rng = np.random.default_rng(seed)
    y = rng.choice(stages, n_epochs)
    centres = np.random.default_rng(0).normal(size=(5, dim)) * 1.5
    offset = np.random.default_rng(int(name[1:3])).normal(size=dim) * 0.5
    x = centres[y] + offset + rng.normal(size=(n_epochs, dim))
    np.savez(folder / f"{name}.npz", X=x.astype(np.float32), y=y)


@pytest.fixture(autouse=True)
def _pictures_are_not_drawn(request, monkeypatch):
    """Most of what a run this small costs would be its figures: one test here draws them, and those of the report."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(figures, "_render", lambda figure: {"svg": b"<svg/>", "png": b"not drawn"})


@pytest.fixture
def drawn():
    """Asked for by tests whose runs draw their figures."""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nights = tmp_path / "nights"
    nights.mkdir()
    for person in range(8):
        for night in range(2):
            write_night(nights, f"p{person:02d}n{night}", seed=10 * person + night)
    return tmp_path


def cells(folder="results"):
    return sorted(Path(folder).glob("cells/**/*.json"))


def comparable(path):
    """A cell without what may differ between two runs: timing, provenance and the hash over them."""
    cell = json.loads(path.read_text())
    return {k: v for k, v in cell.items() if k not in ("timing", "provenance", "sha256")}


def side_bytes(folder="results"):
    return {p.name: p.read_bytes() for p in Path(folder).glob("cells/**/*.safetensors")}


def test_a_run_prints_a_table_and_saves_cells(workplace, drawn, capsys):
    assert run_command([*RUN, "--shots", "20%", "--shots", "100%"]) == 0
    pictures = {p.suffix: p.read_bytes() for p in Path("reports").rglob("*") if p.suffix in (".png", ".svg")}
    assert pictures[".png"].startswith(b"\x89PNG")
    assert b"</svg>" in pictures[".svg"]
    out = capsys.readouterr().out
    assert "precomputed" in out
    assert len(cells()) == 5 + 1  # five draws of 20 %, one of everything
    cell = json.loads(cells()[0].read_text())
    assert cell["status"] == "ok"
    assert cell["n"]["persons_test"] == 8  # cross-validation tests everybody once
    assert cell["n"]["recordings_test"] == 16
    assert cell["n"]["units_test"] == 16 * 120
    assert all(fold["certificate"]["converged"] for fold in cell["selected"])
    score = cell["scores"]["kappa"]
    assert 0.3 < score["low"] < score["value"] < score["high"] < 1
    assert score["per_recording"]["n"] == 16


def test_a_second_run_does_nothing_and_says_so(workplace, capsys):
    assert run_command(RUN) == 0
    capsys.readouterr()
    before = {p: p.stat().st_mtime_ns for p in Path("results").rglob("*") if p.is_file()}
    assert run_command(RUN) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in Path("results").rglob("*") if p.is_file()} == before


def test_dry_run_counts_cells_and_writes_nothing(workplace, capsys):
    assert run_command([*RUN, "--shots", "20%", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["done"], plan["missing"], len(plan["cells"])) == (0, 5, 5)
    assert not Path("results").exists()
    assert run_command([*RUN, "--shots", "20%", "--seeds", "2"]) == 0
    capsys.readouterr()
    assert run_command([*RUN, "--shots", "20%", "--dry-run"]) == 0
    assert "5 cells: 2 done, 3 missing, 0 failed" in capsys.readouterr().out


def test_recompute_gives_the_same_cells(workplace):
    assert run_command([*RUN, "--shots", "30%"]) == 0
    first, sides = [comparable(p) for p in cells()], side_bytes()
    assert run_command([*RUN, "--shots", "30%", "--recompute"]) == 0
    assert [comparable(p) for p in cells()] == first
    assert side_bytes() == sides


def test_changed_data_is_another_cohort(workplace):
    assert run_command([*RUN, "--seeds", "1"]) == 0
    write_night(workplace / "nights", "p00n0", seed=999)
    assert run_command([*RUN, "--seeds", "1"]) == 0
    assert len(cells()) == 2


def test_one_bad_recording_is_listed_and_the_rest_goes_on(workplace, capsys):
    (workplace / "nights" / "p07n1.npz").write_bytes(b"not an archive")
    np.savez(workplace / "nights" / "p06n1.npz", X=np.full((10, 6), np.nan, np.float32), y=np.zeros(10, int))
    assert run_command([*RUN, "--seeds", "1"]) == 0
    excluded = {e["recording"]: e["reason"] for e in json.loads(cells()[0].read_text())["n"]["excluded"]}
    assert {"p07n1", "p06n1"} <= set(excluded)
    assert all(reason and "\n" not in reason for reason in excluded.values())
    assert "p07n1" in capsys.readouterr().out


def test_a_draw_with_one_stage_is_a_failed_cell_not_a_number(workplace, capsys):
    for person in range(8):
        for night in range(2):
            stages = (0, 1, 2, 3, 4) if person else (2,)
            write_night(workplace / "nights", f"p{person:02d}n{night}", seed=person, stages=stages)
    code = run_command([*RUN, "--shots", "1p", "--seeds", "12", "--split", "cv5"])
    states = [json.loads(p.read_text())["status"] for p in cells()]
    assert code == 1
    assert "failed" in states
    failed = next(c for c in map(lambda p: json.loads(p.read_text()), cells()) if c["status"] == "failed")  # noqa: C417
    assert not failed["scores"]
    assert "of 1 person(s) are N2: nothing to learn" in failed["message"]
    out = capsys.readouterr()
    assert "–" in out.out or "failed" in out.out


def test_more_persons_than_there_are_fails_with_one_line(workplace, capsys):
    assert run_command([*RUN, "--shots", "50p"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "50 training persons" in lines[0]
    assert not cells()
    assert not list(Path("results").rglob("*.safetensors"))  # refused before anything is embedded


def test_two_persons_are_too_few_for_a_result_and_the_table_says_so(workplace, capsys):
    for path in (workplace / "nights").glob("p0[2-7]*"):
        path.unlink()
    assert run_command([*RUN, "--seeds", "1"]) == 0
    assert "far too few persons for a result" in capsys.readouterr().out


def test_one_person_cannot_be_split(workplace, capsys):
    for path in (workplace / "nights").glob("p0[1-7]*"):
        path.unlink()
    assert run_command(RUN) == 2
    assert "at least 2 persons" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not cells()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_results_end_the_run(workplace, capsys):
    (workplace / "results").mkdir(mode=0o500)
    assert run_command(RUN) == 3
    assert "results" in capsys.readouterr().err


def test_results_that_is_a_file_ends_the_run_with_one_line(workplace, capsys):
    (workplace / "results").write_text("in the way")
    assert run_command(RUN) == 3
    assert "results" in capsys.readouterr().err.splitlines()[-1]


def test_altered_cell_is_an_integrity_error(workplace, capsys):
    assert run_command([*RUN, "--seeds", "1"]) == 0
    path = cells()[0]
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    assert run_command([*RUN, "--seeds", "1"]) == 4
    assert str(path) in capsys.readouterr().err


def test_a_small_edit_in_the_middle_of_a_large_label_file_is_another_cohort(tmp_path):
    """Labels are hashed whole: a corrected stage must never be served the old number."""
    from hypnos_bench.spec import files_fingerprint, files_sha256

    labels = tmp_path / "labels.xml"
    text = bytearray(b"x" * 800_000)
    labels.write_bytes(text)
    sampled, whole = files_fingerprint([labels], whole=0), files_sha256([labels])
    text[70_000] = ord("y")
    labels.write_bytes(text)
    assert files_fingerprint([labels], whole=0) == sampled  # what the fingerprint of large signals does not see
    assert files_sha256([labels]) != whole


def test_an_odd_width_is_left_out_with_its_reason(workplace):
    write_night(workplace / "nights", "p03n1", seed=1, dim=7)
    assert run_command([*RUN, "--seeds", "1"]) == 0
    excluded = {e["recording"]: e["reason"] for e in json.loads(cells()[0].read_text())["n"]["excluded"]}
    assert excluded == {"p03n1": "its embedding has 7 columns, most others have 6"}


def test_persons_that_nobody_named_are_pointed_out(workplace, capsys):
    assert run_command(RUN[:-2]) == 0
    assert "every recording counts as its own person" in " ".join(capsys.readouterr().out.split())
    assert run_command(RUN) == 0
    assert "every recording counts as its own person" not in " ".join(capsys.readouterr().out.split())


def test_folds_do_not_depend_on_what_an_encoder_could_embed(workplace):
    assert run_command([*RUN, "--seeds", "1"]) == 0
    first = json.loads(cells()[0].read_text())
    (workplace / "arrays").mkdir()
    for path in (workplace / "nights").glob("*.npz"):
        if not path.name.startswith("p05"):
            with np.load(path) as night:
                np.savez(workplace / "arrays" / path.name, X=night["X"], start_s=0.0, step_s=30.0)
    assert run_command([*RUN, "--seeds", "1", "--embeddings", "arrays"]) == 0
    other = next(c for c in (json.loads(p.read_text()) for p in cells()) if c["key"] != first["key"])
    assert other["n"]["persons_total"] == first["n"]["persons_total"] - 1
    assert other["provenance"]["split_hash"] == first["provenance"]["split_hash"]


@pytest.mark.parametrize("room", ["hypnos_bench.encoders.precomputed.files", "hypnos_bench.cohorts.array_folder"])
def test_a_passing_fault_is_tried_again(workplace, monkeypatch, capsys, room):
    module = importlib.import_module(room)
    read = module.read_arrays

    def stalled(path, names):
        if path.name == "p02n0.npz":
            raise OSError(5, "Input/output error")
        return read(path, names)

    monkeypatch.setattr(module, "read_arrays", stalled)
    assert run_command([*RUN, "--seeds", "1"]) == 0
    assert json.loads(cells()[0].read_text())["n"]["recordings_total"] == 15
    assert "p02n0" in "".join(capsys.readouterr())
    monkeypatch.setattr(module, "read_arrays", read)
    assert run_command([*RUN, "--seeds", "1"]) == 0
    counts = {json.loads(path.read_text())["n"]["recordings_total"] for path in cells()}
    assert 16 in counts  # another sample is another cell, where the first one had lost a recording


def test_damaged_embeddings_are_made_again(workplace, capsys):
    assert run_command([*RUN, "--seeds", "1"]) == 0
    whole = {p: p.read_bytes() for p in Path("results").glob("embeddings/**/*.safetensors")}
    first, second = sorted(whole)[:2]
    first.write_bytes(whole[first][:-1] + bytes([whole[first][-1] ^ 1]))
    second.write_bytes(whole[second][:50])
    assert run_command([*RUN, "--seeds", "2", "--recompute"]) == 0
    err = capsys.readouterr().err
    assert first.name in err
    assert "1 damaged embedding file" in err
    assert {p: p.read_bytes() for p in whole} == whole


def test_a_damaged_embedding_that_cannot_be_made_again_is_left_out(workplace, monkeypatch):
    assert run_command([*RUN, "--seeds", "1"]) == 0
    first = sorted(Path("results").glob("embeddings/**/*.safetensors"))[0]
    content = first.read_bytes()
    first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    from hypnos_bench.encoders.precomputed import PrecomputedEncoder
    from hypnos_bench.errors import RecordingError

    def broken(self, recording):
        raise RecordingError(recording.id, "broken on purpose")

    monkeypatch.setattr(PrecomputedEncoder, "encode", broken)
    assert run_command([*RUN, "--seeds", "1", "--recompute"]) == 0
    excluded = {e["recording"]: e["reason"] for e in json.loads(cells()[0].read_text())["n"]["excluded"]}
    assert excluded == {first.stem: "broken on purpose"}


def test_draws_skip_persons_without_embeddings(workplace):
    (workplace / "arrays").mkdir()
    for path in (workplace / "nights").glob("*.npz"):
        if path.name[:3] not in ("p01", "p02", "p05"):
            with np.load(path) as night:
                np.savez(workplace / "arrays" / path.name, X=night["X"], start_s=0.0, step_s=30.0)
    assert run_command([*RUN, "--shots", "1p", "--seeds", "6", "--embeddings", "arrays"]) == 0
    for path in cells():
        assert all(fold["persons_train"] == 1 for fold in json.loads(path.read_text())["n"]["folds"])


def test_a_closed_pipe_does_not_cost_the_report(workplace):
    command = f"{sys.executable} -m hypnos_bench {' '.join(RUN[:-1])} '{RUN[-1]}' --seeds 1 | head -c 0"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert Path("reports/staging-array-folder.md").is_file()


def test_a_lost_side_file_is_a_missing_cell(workplace):
    assert run_command([*RUN, "--seeds", "1"]) == 0
    side = next(Path("results").glob("cells/**/*.safetensors"))
    before = side.read_bytes()
    side.unlink()
    assert run_command([*RUN, "--seeds", "1"]) == 0
    assert side.read_bytes() == before


def test_one_bad_neighbour_does_not_hide_the_table(workplace, capsys):
    assert run_command([*RUN, "--seeds", "1"]) == 0
    cells()[0].with_name("stray.json").write_text("{}")
    assert run_command([*RUN, "--seeds", "2"]) == 0
    found = capsys.readouterr()
    assert "precomputed" in found.out
    assert "stray.json" in found.err
    assert run_command(["report"]) == 4
    assert "precomputed" in capsys.readouterr().out


def test_the_table_is_printed_even_when_the_report_cannot_be_written(workplace, capsys):
    (workplace / "reports").write_text("in the way")
    assert run_command([*RUN, "--seeds", "1"]) == 3
    found = capsys.readouterr()
    assert "precomputed" in found.out
    assert "reports" in found.err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are counted through /proc")
def test_killed_parents_leave_no_workers(workplace):
    def workers():
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                if b"spawn_main" in command and (entry / "cwd").readlink() == workplace:
                    found.append(int(entry.name))
            except OSError:
                continue  # gone meanwhile, or not ours
        return found

    words = [sys.executable, "-m", "hypnos_bench", *RUN, "--seeds", "1", "--workers", "2"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(workers()) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert workers()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers()


@pytest.mark.slow
def test_killed_at_any_moment_a_rerun_gives_the_same_cells(workplace):
    words = [sys.executable, "-m", "hypnos_bench", *RUN, "--shots", "30%", "--shots", "60%", "--seeds", "6", "--workers", "1"]  # fmt: skip
    assert run_command([*words[3:], "--results", "whole"]) == 0
    expected = {p.name: comparable(p) for p in cells("whole")}
    wanted = len(expected)
    for seen in (1, wanted // 3, 2 * wanted // 3):
        process = subprocess.Popen([*words, "--results", "cut"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(cells("cut")) < seen and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run_command([*words[3:], "--results", "cut"]) == 0
    assert {p.name: comparable(p) for p in cells("cut")} == expected
    assert side_bytes("cut") == side_bytes("whole")
    assert not list(Path("cut").rglob(".*tmp*"))
