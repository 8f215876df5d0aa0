"""``convert``: what it says, and that a hostile pickle ends it in one line."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cli import run_command

WORDS = ["convert", "sleepfm-2024", "--embeddings", "emb.pickle", "--events", "events.pickle", "--out", "out"]


class Runs:
    def __reduce__(self):
        return (os.mkdir, ("touched",))


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("events.pickle").write_bytes(pickle.dumps({"test": [("X/a/a_0.npy", "rem"), ("X/b/b_0.npy", "wake")]}))
    Path("emb.pickle").write_bytes(pickle.dumps([np.ones((2, 512), "f4")] * 3))


def test_it_says_what_it_wrote_and_that_starts_are_not_known(capsys):
    assert run_command([*WORDS, "--split", "test"]) == 0
    found = capsys.readouterr()
    assert "2 recordings written, 0 there already, 2 clips, 0 rows without a clip, in out" in found.out
    assert "2 recordings without --starts: clip 0 is placed at 0 s" in found.err


def test_starts(capsys):
    Path("starts.csv").write_text("record,start_s\na,90\nb,0\n")
    assert run_command([*WORDS, "--split", "test", "--starts", "starts.csv", "--json"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out)["written"] == ["a", "b"]
    assert not found.err
    assert json.loads(Path("out/a.json").read_text())["start_s"] == 90.0


@pytest.mark.parametrize(
    "text", ["record,start_s\na,x\n", "record,start_s\na,-1\n", "record,start_s\na,1\na,2\n", "a,b\n1,2\n"]
)
def test_starts_that_are_none(capsys, text):
    Path("starts.csv").write_text(text)
    assert run_command([*WORDS, "--split", "test", "--starts", "starts.csv"]) == 3
    assert "starts.csv" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["emb.pickle", "events.pickle"])
def test_a_hostile_pickle_is_not_run(capsys, name):
    Path(name).write_bytes(pickle.dumps([Runs()]))
    assert run_command([*WORDS, "--split", "test"]) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{name}: names" in err
    assert not Path("touched").exists()
    assert not Path("out").exists()


def test_a_missing_file(capsys):
    Path("emb.pickle").unlink()
    assert run_command([*WORDS, "--split", "test"]) == 3
    assert "emb.pickle" in capsys.readouterr().err
