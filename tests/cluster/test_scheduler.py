"""Embedding through a real scheduler: the files of a local run, whoever is killed on the way."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cluster import units
from hypnos_bench.cluster.connect import open_cluster
from hypnos_bench.cohorts.base import CohortOptions
from hypnos_bench.cohorts.edf_folder import EdfFolder
from hypnos_bench.embed.crew import DaskCrew
from hypnos_bench.embed.workers import Setup
from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.errors import DataError

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="kill -9")]


def stored(results):
    return {path.name: path.read_bytes() for path in results.rglob("*.safetensors")}


def run_json(capsys, arguments):
    capsys.readouterr()
    code = run_command([*arguments, "--json"])
    out = capsys.readouterr()
    return code, json.loads(out.out)[0] if out.out else None, out.err


def test_a_killed_worker_costs_its_recording_only_and_strangers_are_refused(machines, tmp_path, capsys, monkeypatch):
    there = machines(free=0)
    there.start_scheduler()
    code, _, said = run_json(
        capsys, there.embed(tmp_path / "r", "--scheduler", there.scheduler_file, "--wait-workers", 1)
    )
    assert code == 3
    assert "has no workers after 1 s" in said or "no scheduler file there after 1 s" in said
    workers = [there.start_worker() for _ in range(2)]

    killed = []

    def kill():
        begun = there.until(there.begun)
        killed.extend(begun[0])
        os.kill(begun[0][1], signal.SIGKILL)
        there.hold.unlink()

    killer = threading.Thread(target=kill)
    killer.start()
    code, row, said = run_json(capsys, there.embed(tmp_path / "far"))
    killer.join()
    assert (code, row["embedded"], row["failed"]) == (0, there.count, []), said
    begun = there.begun()
    assert sorted(w.poll() is None for w in workers) == [False, True]
    assert [name for name, process in begun if process == killed[1]] == [killed[0]]  # it died over its first
    assert sorted(name for name, _ in begun) == sorted([*{name for name, _ in begun}, killed[0]])  # the others: once

    assert run_command(there.embed(tmp_path / "near", "--workers", 1)) == 0
    assert stored(tmp_path / "far") == stored(tmp_path / "near")
    assert len(stored(tmp_path / "far")) == there.count
    assert not list((tmp_path / "far").glob(".*"))

    _strangers(there, tmp_path, capsys, monkeypatch)


def _strangers(there, tmp_path, capsys, monkeypatch):
    """Workers that see another folder, have another release, or make another encoder of the same name."""
    with monkeypatch.context() as patch:
        patch.setattr(units, "atomic_write", lambda path, content: None)
        code, _, said = run_json(capsys, there.embed(tmp_path / "elsewhere"))
    assert code == 3
    assert "worker on " in said
    assert f"does not see {tmp_path / 'elsewhere'} as this machine does: put --results on" in said
    with monkeypatch.context() as patch:
        patch.setattr(units, "__version__", "99.0")
        code, _, said = run_json(capsys, there.embed(tmp_path / "newer"))
    assert code == 3
    assert "install 99.0 there" in said

    night = EdfFolder().open(CohortOptions(root=there.nights)).recordings[0]
    with open_cluster(str(there.scheduler_file), say=print) as cluster:
        crew = DaskCrew(cluster, print)
        setup = Setup("slow", "another definition", EncoderOptions(), tmp_path / "other", False)
        with pytest.raises(DataError, match=r"worker on .*encoder slow is not the same here"):
            list(crew.embed([(night, night.source_fingerprint())], setup))


def test_a_killed_command_resumes_where_it_was(machines, tmp_path, capsys):
    there = machines(free=1)
    there.start_scheduler()
    there.start_worker()
    results = tmp_path / "r"
    client = there.start("hypnos_bench", *there.embed(results))
    there.until(lambda: len(stored(results)) >= 1 and len(there.begun()) >= 2)
    client.send_signal(signal.SIGKILL)
    client.wait()
    # What waited is forgotten with the command; what the worker is at, it finishes.
    with open_cluster(str(there.scheduler_file), say=print) as cluster:
        there.until(lambda: not any(cluster.client.processing().values()))
    time.sleep(0.5)  # the worker is told a moment later
    there.hold.unlink()
    there.until(lambda: len(there.begun()) == len(stored(results)))
    done = stored(results)
    assert len(there.begun()) == len(done) == 2
    inodes = {path: path.stat().st_ino for path in results.rglob("*.safetensors")}

    code, row, said = run_json(capsys, there.embed(results))
    assert (code, row["embedded"], row["reused"]) == (0, there.count - len(done), len(done)), said
    assert len({name for name, _ in there.begun()}) == len(there.begun()) == there.count
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert run_command(there.embed(tmp_path / "near", "--workers", 1)) == 0
    assert stored(results) == stored(tmp_path / "near")
