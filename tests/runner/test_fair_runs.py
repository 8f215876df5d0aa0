"""Encoders of one run are compared on what all of them have, and a finished run is found done."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hypnos_bench.cli import run_command

TOY = "toys.py:Arrays"


def test_a_recording_lost_by_one_is_left_out_for_all_with_reasons_on_both_sides(nights, ask, capsys, toy):
    toy.embeddings(Path("emb"), nights, without=["p03n1"], short=["p01n0"])
    assert ask(TOY, "precomputed:emb") == 0
    said = capsys.readouterr().err
    assert "precomputed:emb lost 1 of 12 recordings" in said
    assert "2 epochs; compared on 11 recordings, 438 epochs in common" in said
    assert f"{TOY} lost" not in said
    (own,), (other,) = toy.cells_of("toy-arrays"), toy.cells_of("precomputed")
    assert own["spec"]["sample"] == other["spec"]["sample"]
    assert own["spec"]["sample"]["common"]
    for cell in (own, other):
        assert cell["n"]["common"] == {"recordings": 11, "units": 438}
        assert (cell["n"]["recordings_test"], cell["n"]["units_test"]) == (11, 438)
    assert own["n"]["lost"] == {"recordings": 0, "units": 0, "reasons": {}}
    assert (other["n"]["lost"]["recordings"], other["n"]["lost"]["units"]) == (1, 2)
    assert sum(other["n"]["lost"]["reasons"].values()) == 1
    (theirs,), (its,) = own["n"]["excluded"], other["n"]["excluded"]
    assert theirs["reason"] == f"not embedded by precomputed: {its['reason']}"
    assert own["n"]["units_dropped"] == {"without rows of another encoder": 2}
    assert other["n"]["units_dropped"] == {"without embedding rows": 2}
    assert own["provenance"]["split_hash"] == other["provenance"]["split_hash"]
    # 2 x the same rows: whatever differed in split, draw, units or bootstrap would show.
    assert own["scores"]["kappa"] == other["scores"]["kappa"]


def test_nothing_lost_by_anyone_is_the_plain_cell_of_every_run(nights, ask, toy):
    toy.embeddings(Path("emb"), nights)
    assert ask(TOY) == 0
    alone = toy.cells()
    assert ask(TOY, "precomputed:emb") == 0
    both = toy.cells()
    assert len(both) == 2
    assert all(both[path] == cell for path, cell in alone.items())
    assert {c["spec"]["sample"]["common"] for c in both.values()} == {""}


def test_losses_of_the_same_units_are_the_same_cell_whoever_stands_beside(nights, ask, toy):
    toy.embeddings(Path("emb"), nights, without=["p03n1"])
    assert ask("precomputed:emb") == 0
    (alone,) = toy.cells().values()
    assert ask("precomputed:emb", TOY) == 0
    assert len(toy.cells()) == 2
    assert alone in toy.cells().values()


@pytest.fixture
def counted(monkeypatch):
    """How often recordings were given to an encoder."""
    from hypnos_bench.runner import embedding

    calls, embed = [], embedding.embed_recordings

    def count(recordings, *words, **more):
        calls.append(len(recordings))
        return embed(recordings, *words, **more)

    monkeypatch.setattr(embedding, "embed_recordings", count)
    return calls


def test_a_finished_run_does_nothing_until_an_encoder_loses_something(nights, ask, capsys, counted, toy):
    toy.embeddings(Path("emb"), nights, without=["p03n1"])
    assert ask(TOY, "precomputed:emb") == 0
    first = toy.cells()
    del counted[:]
    capsys.readouterr()
    assert ask(TOY, "precomputed:emb") == 0
    assert "nothing to do: all 2 cells" in capsys.readouterr().err
    assert ask("precomputed:emb", TOY) == 0  # whoever is named first
    assert not counted
    (Path("emb") / "p04n0.npz").unlink()
    assert ask(TOY, "precomputed:emb") == 0
    assert len(counted) == 2
    later = {path: cell for path, cell in toy.cells().items() if path not in first}
    assert len(later) == 2
    assert {c["n"]["recordings_test"] for c in later.values()} == {10}


def test_before_embedding_keys_are_provisional_and_afterwards_final(nights, ask, capsys, toy):
    toy.embeddings(Path("emb"), nights, without=["p03n1"])
    assert ask(TOY, "precomputed:emb", more=["--dry-run"]) == 0
    assert "keys may change: recordings in common are not known before embedding" in capsys.readouterr().out
    assert not Path("results").exists()
    assert ask(TOY, "precomputed:emb") == 0
    capsys.readouterr()
    assert ask(TOY, "precomputed:emb", more=["--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["missing"]) == (2, 0)
    assert {c["key"] for c in told["cells"]} == {c["key"] for c in toy.cells().values()}
    assert not any(c["provisional"] for c in told["cells"])


def test_recompute_finds_out_anew_and_gives_the_same(nights, ask, counted, toy):
    toy.embeddings(Path("emb"), nights, without=["p03n1"])
    assert ask(TOY, "precomputed:emb") == 0
    before = {path: toy.comparable(cell) for path, cell in toy.cells().items()}
    del counted[:]
    assert ask(TOY, "precomputed:emb", more=["--recompute"]) == 0
    assert len(counted) == 2
    assert {path: toy.comparable(cell) for path, cell in toy.cells().items()} == before


def test_an_encoder_that_embeds_nothing_fails_alone(nights, ask, capsys, toy):
    assert ask(TOY, "toys.py:Refuses") == 1
    said = capsys.readouterr().err
    assert "toys.py:Refuses embedded nothing that can be used (12 recordings lost: p00n0: not good enough" in said
    (good,), (broken,) = toy.cells_of("toy-arrays"), toy.cells_of("toy-refuses")
    assert (good["status"], good["spec"]["sample"]["common"]) == ("ok", "")
    assert broken["status"] == "failed"
    assert "embedded nothing that can be used" in broken["message"]
    assert broken["n"]["lost"] == {"recordings": 12, "units": 0, "reasons": {"not good enough": 12}}
    assert broken["n"]["exposure"]["persons_test"] == 0
    assert ask(TOY, "toys.py:Refuses") == 1  # tried again, and the other found done
    assert len(toy.cells()) == 2


def test_when_nobody_embeds_anything_there_is_no_cell_at_all(nights, ask, capsys, toy):
    assert ask("toys.py:Refuses") == 3
    assert "not good enough" in capsys.readouterr().err.splitlines()[-1]
    assert not toy.cells()


def test_nothing_in_common_ends_the_run_with_what_each_has(nights, ask, capsys, toy):
    names = sorted(path.stem for path in nights.glob("*.npz"))
    toy.embeddings(Path("one"), nights, without=names[6:])
    toy.embeddings(Path("two"), nights, without=names[:6])
    assert ask("precomputed:one", "precomputed:two") == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert "6 from precomputed:one, 6 from precomputed:two, of 12 labelled" in last


def test_a_passing_loss_is_not_remembered(nights, ask, monkeypatch, capsys, toy):
    from hypnos_bench.embed import workers

    toy.embeddings(Path("emb"), nights)
    make = workers.Embedder.embed

    def stalled(self, unit):
        if unit[0].id == "p02n0":
            return workers.exclusion(unit[0], OSError(5, "Input/output error"))
        return make(self, unit)

    monkeypatch.setattr(workers.Embedder, "embed", stalled)
    assert ask(TOY, "precomputed:emb") == 0
    assert not list(Path("results").glob("plans/*"))
    assert all(c["n"]["excluded"][0]["transient"] for c in toy.cells().values())
    monkeypatch.setattr(workers.Embedder, "embed", make)
    assert ask(TOY, "precomputed:emb") == 0
    assert {c["n"]["recordings_test"] for c in toy.cells().values() if not c["spec"]["sample"]["common"]} == {12}


def test_a_plug_in_that_crashed_has_not_refused_the_recording(nights, ask, toy, busy):
    busy('__import__("torch").OutOfMemoryError("CUDA out of memory")')
    assert ask(TOY) == 0
    (cell,) = toy.cells().values()
    assert "CUDA out of memory" in cell["n"]["excluded"][0]["reason"]
    assert not list(Path("results").glob("embeddings/**/*.lost.json"))
    Path("busy").write_text("")
    assert ask(TOY) == 0
    assert [c["n"]["recordings_test"] for c in toy.cells_of("toy-arrays", common="")] == [12]


def test_what_was_refused_is_told_with_the_way_back_and_found_again_after_it(nights, ask, toy, busy, capsys):
    busy('RecordingError(recording.id, "no licence server")')
    assert ask(TOY) == 0
    Path("busy").write_text("")
    capsys.readouterr()
    assert ask(TOY) == 0
    assert "nothing to do" in capsys.readouterr().err
    Path("results/plans").rename("plans")
    assert ask(TOY) == 0
    said = capsys.readouterr().err
    assert f"{TOY}: 1 of these were refused by an earlier run and not tried again" in said
    assert "hypnos-bench embed --retry, or run --recompute" in said
    assert not toy.cells_of("toy-arrays", common="")
    assert run_command(["embed", *toy.words[2:8], "--encoder", TOY, "--retry"]) == 0
    assert ask(TOY) == 0
    assert [c["n"]["recordings_test"] for c in toy.cells_of("toy-arrays", common="")] == [12]
    assert ask(TOY) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_an_embedding_that_is_damaged_and_fails_in_passing_is_no_loss_for_good(nights, ask, toy, busy, monkeypatch):
    busy('OSError(5, "Input/output error")', name="")
    assert ask(TOY) == 0
    Path("busy").write_text("p02n1")
    (path,) = Path("results").glob("embeddings/**/p02n1.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert ask(TOY, more=["--shots", "50%"]) == 0
    assert all(c["n"]["excluded"][0]["transient"] for c in toy.cells().values() if c["n"]["excluded"])
    assert any(c["n"]["excluded"] for c in toy.cells().values())
    assert not list(Path("results").glob("plans/*"))


def test_cells_call_encoders_by_their_ids_and_never_by_a_path(nights, ask, toy):
    toy.embeddings(Path("emb"), nights, without=["p03n1"])
    toy.embeddings(Path("moved_emb"), nights, without=["p04n0"], short=["p01n0"])
    assert ask(TOY, "precomputed:emb", "precomputed:moved_emb") == 0
    (own,) = toy.cells_of("toy-arrays")
    names = {e["reason"].partition(": ")[0] for e in own["n"]["excluded"]}
    assert len(names) == 2
    assert all(re.fullmatch(r"not embedded by precomputed \([0-9a-f]{8}\)", name) for name in names)
    assert ask("precomputed:emb", "toys.py:Refuses") == 1
    (broken,) = toy.cells_of("toy-refuses")
    assert broken["message"].startswith("toy-refuses embedded nothing")
    plans = [path.read_text() for path in Path("results").glob("plans/*")]
    assert plans
    assert not any("precomputed:" in text for text in plans)


def test_the_same_encoder_twice_is_refused(nights, ask, capsys, toy):
    toy.embeddings(Path("emb"), nights)
    toy.embeddings(Path("copy"), nights)
    assert ask("precomputed:emb", "precomputed:copy") == 2
    assert "one and the same encoder" in capsys.readouterr().err


def test_files_of_nobody_are_told(nights, ask, capsys, toy):
    toy.embeddings(Path("emb"), nights)
    (Path("emb") / "p03n0.npz").rename(Path("emb") / "P3-N0.npz")
    assert ask("precomputed:emb") == 0
    assert "precomputed:emb: 1 files belong to no recording of array-folder: P3-N0.npz" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_while_encoders_differ_a_rerun_gives_the_same_cells(nights, toy):
    toy.embeddings(Path("emb"), nights, without=["p03n1"])
    words = [sys.executable, "-m", "hypnos_bench", *toy.words, "--encoder", TOY, "--encoder", "precomputed:emb", "--shots", "50%", "--seeds", "6", "--workers", "1"]  # fmt: skip
    assert subprocess.run([*words, "--results", "whole"], capture_output=True, check=False).returncode == 0
    expected = {path.name: toy.comparable(cell) for path, cell in toy.cells("whole").items()}
    assert len(expected) == 12
    for seen in (0, 5):
        process = subprocess.Popen([*words, "--results", "cut"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if len(list(Path("cut").glob("cells/**/*.json"))) > seen or (
                not seen and list(Path("cut").glob("embeddings/**/*.safetensors"))
            ):
                break
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run([*words, "--results", "cut"], capture_output=True, check=False).returncode == 0
    assert {path.name: toy.comparable(cell) for path, cell in toy.cells("cut").items()} == expected


def test_a_block_can_be_opened_elsewhere_and_gives_the_same_cells(nights, ask, toy, monkeypatch):
    """The seam for other machines: work travels as a pickle, rows are read from the results folder there."""
    from hypnos_bench import runner
    from hypnos_bench.runner.work import compute_cell, open_block

    toy.embeddings(Path("emb"), nights, without=["p03n1"], short=["p01n0"])
    assert ask(TOY, "precomputed:emb", more=["--results", "here"]) == 0

    def elsewhere(specs, work, data):
        block = open_block(pickle.loads(pickle.dumps(work)))
        for spec in specs:
            yield pickle.loads(pickle.dumps(compute_cell(block, spec)))
        block.close()

    execute = runner.execute
    monkeypatch.setattr(runner, "execute", lambda *words, **more: execute(*words, **{**more, "compute": elsewhere}))
    assert ask(TOY, "precomputed:emb", more=["--results", "there"]) == 0
    here, there = ({p.name: toy.comparable(c) for p, c in toy.cells(folder).items()} for folder in ("here", "there"))
    assert here == there
