"""Embedding through a real scheduler: the files of a local run, whoever is killed on the way."""

import signal
import sys
import threading

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

pytest.importorskip("distributed")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="kill -9")]


def stored(results):
    return {path.name: path.read_bytes() for path in results.rglob("*.safetensors")}


def test_a_killed_worker_costs_its_recording_only_and_strangers_are_refused(machines, tmp_path, run_json, monkeypatch):
    there = machines
    code, _, said = run_json(there.embed(tmp_path / "far", "--scheduler", tmp_path / "none", "--wait-workers", 0))
    assert code == 3
    assert "no scheduler file there after 0 s" in said
    there.staff(2)
    there.hold(0)
    killed = []

    def kill():
        killed.extend(there.until(there.begun)[0])
        there.kill(killed[1])
        there.let_go()

    killer = threading.Thread(target=kill)
    killer.start()
    code, rows, said = run_json(there.embed(tmp_path / "far", *there.scheduled()))
    killer.join()
    assert (code, rows[0]["embedded"], rows[0]["failed"]) == (0, there.count, []), said
    begun = there.begun()
    assert len(there.alive()) == 1
    assert [name for name, process in begun if process == killed[1]] == [killed[0]]  # it died over its first
    assert sorted(name for name, _ in begun) == sorted([*{name for name, _ in begun}, killed[0]])  # the others: once

    assert run_command(there.embed(tmp_path / "near", "--workers", 1)) == 0
    assert stored(tmp_path / "far") == stored(tmp_path / "near")
    assert len(stored(tmp_path / "far")) == there.count
    assert not list((tmp_path / "far").glob(".*"))

    _strangers(there, tmp_path, run_json, monkeypatch)


def _strangers(there, tmp_path, run_json, monkeypatch):
    """Workers that see another folder, have another release, or make another encoder of the same name."""
    with monkeypatch.context() as patch:
        patch.setattr(units, "atomic_write", lambda path, content: None)
        code, _, said = run_json(there.embed(tmp_path / "elsewhere", *there.scheduled()))
    assert code == 3
    assert "worker on " in said
    assert f"does not see {tmp_path / 'elsewhere'} as this machine does: put --results on" in said
    with monkeypatch.context() as patch:
        patch.setattr(units, "__version__", "99.0")
        code, _, said = run_json(there.embed(tmp_path / "newer", *there.scheduled()))
    assert code == 3
    assert "install 99.0 there" in said

    night = EdfFolder().open(CohortOptions(root=there.nights)).recordings[0]
    with open_cluster(str(there.scheduler_file), say=print) as cluster:
        crew = DaskCrew(cluster, print)
        setup = Setup("slow", "another definition", EncoderOptions(), tmp_path / "other", False)
        with pytest.raises(DataError, match=r"worker on .*encoder slow is not the same here"):
            list(crew.embed([(night, night.source_fingerprint())], setup))


def test_a_killed_command_resumes_where_it_was(machines, tmp_path, run_json):
    there = machines
    there.staff(1)
    there.hold(1)
    results = tmp_path / "r"
    client = there.start("hypnos_bench", *there.embed(results, *there.scheduled()))
    there.until(lambda: len(stored(results)) == 1 and len(there.begun()) > 1)
    client.send_signal(signal.SIGKILL)
    client.wait()
    there.let_go()
    # What waited is forgotten with the command; what a worker is at, it finishes.
    from slow_toy import tasks

    with open_cluster(str(there.scheduler_file), say=print) as cluster:
        there.until(lambda: not any(cluster.client.run(tasks).values()))
    done = stored(results)
    assert len(there.begun()) == len(done) < there.count
    inodes = {path: path.stat().st_ino for path in results.rglob("*.safetensors")}

    code, rows, said = run_json(there.embed(results, *there.scheduled()))
    assert (code, rows[0]["embedded"], rows[0]["reused"]) == (0, there.count - len(done), len(done)), said
    assert len({name for name, _ in there.begun()}) == len(there.begun()) == there.count
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert run_command(there.embed(tmp_path / "near", "--workers", 1)) == 0
    assert stored(results) == stored(tmp_path / "near")
