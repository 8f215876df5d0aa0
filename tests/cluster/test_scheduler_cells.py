"""Cells through a real scheduler, and in shares: those of one process, whoever is killed on the way."""

import os
import re
import shutil
import signal
import sys
import threading

import pytest

pytest.importorskip("distributed")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="kill -9")]

CELLS = 12


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """Folder of the run that all others are compared with; `near` fills it once."""
    return tmp_path_factory.mktemp("one-process")


@pytest.fixture
def near(one_process, machines, run_json):
    """Results of one process of this machine."""
    if not (one_process / "cells").exists():
        code, cells, said = run_json(machines.run(one_process, "--workers", 1))
        assert (code, len(cells)) == (0, CELLS), said
        assert "rough lost 1 of 7 recordings (too rough), 2 epochs; compared on 6 recordings, 46 epochs" in said
        machines.hold(0)
        machines.let_go()
    return one_process


def embedded(near, results, but="nothing"):
    """A folder in which everything is embedded, but for one encoder's, and no cell computed."""
    shutil.copytree(near / "embeddings", results / "embeddings", ignore=shutil.ignore_patterns(f"{but}*"))
    return results


def saved(results):
    """Cell files, by what tells one writing of them from another."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in results.glob("cells/**/*.json")}


def test_cells_of_one_process_are_worth_comparing(near, comparable):
    cells, sides = comparable(near)
    kappas = [cell["scores"]["kappa"]["value"] for cell in cells.values()]
    assert (len(cells), len(sides)) == (CELLS, CELLS)
    assert len(set(kappas)) > CELLS // 3  # seeds and budgets tell
    assert {cell["status"] for cell in cells.values()} == {"ok"}


def test_a_worker_killed_in_mid_cells_costs_its_cell_only(machines, near, tmp_path, run_json, comparable):
    there, killed, results = machines, [], embedded(near, tmp_path / "far", but="rough")
    there.staff(2)
    there.hold(3)  # then both are in mid-cell, with cells done

    def kill():
        there.until(lambda: len(there.begun()) == 5 and saved(results))
        killed.append(there.begun()[-1][1])
        there.kill(killed[0])
        there.let_go()

    killer = threading.Thread(target=kill)
    killer.start()
    code, cells, said = run_json(there.run(results, *there.scheduled()))
    killer.join()
    assert (code, len(cells)) == (0, CELLS), said
    assert f"cells: {CELLS} computed, 0 found done, 0 failed" in said
    assert len(there.alive()) == 1
    again = len(there.begun()) - CELLS
    assert 0 < again <= 2  # what it was at; the one before it where nobody had fetched that yet
    assert comparable(results) == comparable(near)
    assert not list(results.glob(".*"))


def test_a_command_killed_in_mid_cells_resumes(machines, near, tmp_path, run_json, comparable):
    there, results = machines, embedded(near, tmp_path / "r")
    there.staff(1)
    there.hold(2)
    client = there.start("hypnos_bench", *there.run(results, *there.scheduled()))
    there.until(lambda: len(there.begun()) > 2 and saved(results))
    client.send_signal(signal.SIGKILL)
    client.wait()
    there.let_go()
    done = saved(results)
    assert 0 < len(done) <= 2

    code, _, said = run_json(there.run(results, "--workers", 1))
    assert code == 0
    assert f"cells: {CELLS - len(done)} computed, {len(done)} found done, 0 failed" in said
    assert sum(process == os.getpid() for _, process in there.begun()) == CELLS - len(done)
    assert {path: saved(results)[path] for path in done} == done
    assert comparable(results) == comparable(near)


def test_shares_of_cells_together_are_one_run(machines, near, tmp_path, run_json, comparable):
    results = embedded(near, tmp_path / "r")
    code, _, said = run_json(machines.run(results, "--workers", 1, "--shard", "1/2"))
    assert code == 0
    first = saved(results)
    left = int(re.search(r"cells: (\d+) computed, 0 found done, 0 failed, (\d+) left to other shards", said)[2])
    assert len(first) + left == CELLS
    assert 0 < left < CELLS
    code, _, said = run_json(machines.run(results, "--workers", 1, "--shard", "2/2"))
    assert code == 0
    assert f"cells: {left} computed, {len(first)} found done, 0 failed;" in said
    assert {path: saved(results)[path] for path in first} == first
    assert comparable(results) == comparable(near)
