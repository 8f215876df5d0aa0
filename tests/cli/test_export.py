"""``export``: what it says, what it writes, how it ends; and the way back through ``embed``."""

import json
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cli import run_command

COHORT = ["--cohort", "array-folder", "--root", "nights"]


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("nights").mkdir()
    rng = np.random.default_rng(0)
    for name in ("p1", "p2"):
        np.savez(f"nights/{name}.npz", X=rng.normal(size=(40, 6)).astype("f4"), y=rng.integers(0, 5, 40))
    return tmp_path


def export(*words):
    return run_command(["export", *COHORT, "--encoder", "precomputed", *words])


def test_there_and_back(capsys):
    assert run_command(["embed", *COHORT, "--encoder", "precomputed"]) == 0
    assert export("--format", "npz", "--out", "arrays") == 0
    assert "2 written, 0 there already, 0 left out, in arrays" in capsys.readouterr().out
    assert export("--out", "arrays", "--json") == 0
    assert json.loads(capsys.readouterr().out)["kept"] == ["p1", "p2"]
    assert run_command(["embed", *COHORT, "--encoder", "precomputed:arrays", "--results", "again"]) == 0
    from safetensors.numpy import load_file

    found = {p.stem: load_file(p) for p in Path("again").glob("embeddings/**/*.safetensors")}
    for name in ("p1", "p2"):
        with np.load(f"nights/{name}.npz") as night:
            np.testing.assert_array_equal(found[name]["X"], night["X"])


def test_what_is_not_in_the_store_is_told(capsys):
    assert export("--out", "arrays") == 3
    assert "nothing was exported: p1: not in the store (missing); run hypnos-bench embed" in capsys.readouterr().err
    assert run_command(["embed", *COHORT, "--encoder", "precomputed"]) == 0
    next(Path("results").glob("embeddings/**/p1.safetensors")).unlink()
    capsys.readouterr()
    assert export("--out", "arrays") == 1
    assert "left out: p1: not in the store" in capsys.readouterr().err
    assert sorted(p.name for p in Path("arrays").iterdir()) == ["card.json", "p2.json", "p2.npz"]


def test_a_shape_that_does_not_fit(capsys):
    assert run_command(["embed", *COHORT, "--encoder", "precomputed"]) == 0
    assert export("--out", "arrays", "--format", "osf") == 3
    assert "6 columns; OSF rows have 768 or 1536: choose npz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cohort", "demo", "--out", "x"], "export needs one --encoder"),
        (["--encoder", "features", "--out", "x"], "export needs one --cohort"),
        (["--cohort", "demo", "--encoder", "features"], "export needs --out"),
        (["--cohort", "demo", "--encoder", "a", "--encoder", "b", "--out", "x"], "export needs one --encoder"),
        (["--cohort", "demo", "--encoder", "feature", "--out", "x"], "Did you mean 'features'"),
    ],
)
def test_usage(capsys, words, said):
    assert run_command(["export", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_formats_offered_are_those_that_can_be_written():
    from hypnos_bench.cli.export import FORMATS
    from hypnos_bench.exporting.writers import WRITERS

    assert set(FORMATS) == set(WRITERS)
