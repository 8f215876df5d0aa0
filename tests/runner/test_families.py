"""Persons with one and the same recording stay on one side, and the cell says what was searched."""

import json
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cli import run_command

RUN = ["run", "staging", "--cohort", "array-folder", "--root", "nights", "--encoder", "precomputed", "--head", "lda", "--split", "cv5", "--person-pattern", "^(p..)"]  # fmt: skip


@pytest.fixture
def nights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "nights"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for person in range(6):
        y = rng.integers(0, 5, 60)
        x = (rng.normal(size=(60, 6)) + 2 * np.eye(5, 6)[y]).astype(np.float32)
        np.savez(folder / f"p{person:02d}n0.npz", X=x, y=y)
    (folder / "p99n0.npz").write_bytes((folder / "p03n0.npz").read_bytes())
    return folder


def only_cell():
    return json.loads(next(Path("results").glob("cells/**/*.json")).read_text())


def test_copies_are_one_family_and_are_told(nights, capsys):
    assert run_command([*RUN, "--duplicates", "check"]) == 0
    said = capsys.readouterr()
    assert "p03n0 and p99n0" in said.err
    assert "kept on one side: p03n0 = p99n0" in " ".join(said.out.split())  # wrapped to the terminal
    cell = only_cell()
    assert cell["n"]["duplicates"] == {"compared": 0, "not_compared": 7, "pairs": [["p03n0", "p99n0"]]}
    assert cell["spec"]["split"]["duplicates"] == "check"
    # Six families in five folds: one fold tests two of them, or the twins together.
    assert sorted(fold["persons_test"] for fold in cell["n"]["folds"]) in ([1, 1, 1, 2, 2], [1, 1, 1, 1, 3])


def test_nobody_searches_unasked(nights, capsys):
    assert run_command(RUN) == 0
    assert "duplicate" not in capsys.readouterr().out
    assert "duplicates" not in only_cell()["n"]


def test_a_cohort_is_compared_once_and_a_damaged_fingerprint_is_made_again_and_told(tmp_path, monkeypatch, capsys):
    from hypnos_bench.cohorts.writers.trees import write_tree

    monkeypatch.chdir(tmp_path)
    write_tree("apnea-ecg", Path("tree"), n_persons=4, n_epochs=24)
    words = ["run", "apnea-minute", "--cohort", "apnea-ecg", "--root", "tree", "--encoder", "features", "--head", "lda"]
    assert run_command(words) in (0, 1)
    stored = sorted(Path("results/fingerprints").rglob("*.safetensors"))
    assert stored
    stored[0].write_bytes(stored[0].read_bytes()[:-1])
    capsys.readouterr()
    assert run_command([*words, "--recompute"]) in (0, 1)
    assert "1 damaged fingerprint files were made again" in capsys.readouterr().err
