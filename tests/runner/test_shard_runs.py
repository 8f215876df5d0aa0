"""A run in shares: each embeds its own recordings, waits for the others, and computes its own cells."""

import re
from pathlib import Path

from hypnos_bench.cli import run_command
from hypnos_bench.cluster.shard import Shard, in_shard

TOY = "toys.py:Arrays"
SHOTS = ["--shots", "40%", "--seeds", "6"]


def embedded():
    return {path.stem for path in Path("results").glob("embeddings/**/*.safetensors")}


def test_shares_together_are_one_run(nights, ask, toy, capsys):
    assert ask(TOY, more=[*SHOTS, "--results", "whole"]) == 0
    expected = {path.name: toy.comparable(cell) for path, cell in toy.cells("whole").items()}
    seen = set()
    for share in ("1/3", "2/3"):
        capsys.readouterr()
        assert ask(TOY, more=[*SHOTS, "--shard", share]) == 3
        last = capsys.readouterr().err.splitlines()[-1]
        missing = int(re.search(rf"shard {share} has embedded its share; (\d+) recordings belong to other", last)[1])
        assert missing == 12 - len(embedded())
        assert len(embedded()) > len(seen)
        seen = embedded()
    assert not toy.cells()
    assert ask(TOY, more=[*SHOTS, "--shard", "3/3"]) == 0
    assert "left to other shards" in capsys.readouterr().err
    counts = [len(toy.cells())]
    for share in ("1/3", "2/3"):
        assert ask(TOY, more=[*SHOTS, "--shard", share]) == 0
        counts.append(len(toy.cells()))
    assert 0 <= counts[0] <= counts[1] <= counts[2] == 6
    assert counts[0] < 6
    assert {path.name: toy.comparable(cell) for path, cell in toy.cells().items()} == expected
    capsys.readouterr()
    assert ask(TOY, more=SHOTS) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_recording_lost_by_its_own_shard_is_waited_for_by_nobody(nights, ask, toy):
    toy.embeddings(Path("emb"), nights, without=["p03n1", "p05n0"])
    for share in ("1/2", "2/2"):
        ask("precomputed:emb", more=["--shard", share])
    assert ask("precomputed:emb", more=["--shard", "1/2"]) == 0
    assert ask("precomputed:emb", more=["--shard", "2/2"]) == 0
    (cell,) = toy.cells().values()
    assert cell["n"]["recordings_test"] == 10
    assert {e["recording"] for e in cell["n"]["excluded"]} == {"p03n1", "p05n0"}


def test_what_was_lost_is_tried_again_in_shares_and_then_computed_in_shares(nights, ask, toy, busy, capsys):
    lost = next(p.stem for p in sorted(nights.glob("*.npz")) if in_shard("array-folder", p.stem, Shard(2, 2)))
    busy('RecordingError(recording.id, "no licence server")', lost)
    for share in ("1/2", "2/2", "1/2"):
        ask(TOY, more=[*SHOTS, "--shard", share])
    (before,) = {c["spec"]["sample"]["common"] for c in toy.cells().values()}
    Path("busy").write_text("")
    capsys.readouterr()
    assert ask(TOY, more=[*SHOTS, "--shard", "1/2", "--recompute"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "--recompute does not go with --shard" in last
    assert "hypnos-bench embed --retry --shard I/N for every share, and then run --shard without --recompute" in last
    for share in ("1/2", "2/2"):
        assert run_command(["embed", *toy.words[2:8], "--encoder", TOY, "--retry", "--shard", share]) == 0
    for share in ("1/2", "2/2"):
        assert ask(TOY, more=[*SHOTS, "--shard", share]) == 0
    after = [c["n"]["common"]["recordings"] for c in toy.cells().values() if c["spec"]["sample"]["common"] != before]
    assert after == [12] * 6
