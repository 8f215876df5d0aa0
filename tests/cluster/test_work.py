"""The work of a block of cells, pickled and opened as a worker would: the same cells, or a clear word."""

import dataclasses
import json
import pickle
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("distributed")

from hypnos_bench.cluster import units
from hypnos_bench.cluster.units import Lost
from hypnos_bench.cluster.worker import _find
from hypnos_bench.embed.crew import LocalCrew
from hypnos_bench.store.embeddings import EmbeddingStore

REASON = "its worker died 4 times over"


class Elsewhere:
    """Stands for a cluster: does every unit here, on work that came through pickle; some it loses."""

    def __init__(self):
        self.lost, self.opened = (), 0

    def meet(self, results):
        """Something happens to the results folder before a worker opens it."""

    def run_units(self, cluster, work, several, results, *, say):
        work = pickle.loads(pickle.dumps(work))
        assert results.is_absolute()
        assert work.setup.request.results == results
        self.meet(results)
        state, self.opened = _find(work.start)(work.setup), self.opened + 1
        for index, unit in enumerate(several):
            found = Lost(REASON) if index in self.lost else _find(work.do)(state, pickle.loads(pickle.dumps(unit)))
            yield index, pickle.loads(pickle.dumps(found))
        state.close()


@pytest.fixture
def elsewhere(monkeypatch):
    made = Elsewhere()

    @contextmanager
    def open_crew(values):
        yield SimpleNamespace(cluster=None, say=print, embed=LocalCrew().embed) if values["scheduler"] else None

    monkeypatch.setattr(units, "run_units", made.run_units)
    monkeypatch.setattr("hypnos_bench.cli.run.open_crew", open_crew)
    return made


@pytest.fixture
def ask(machines, tmp_path, monkeypatch, run_json):
    """Function: a run of quick encoders, here or elsewhere."""
    monkeypatch.chdir(tmp_path)

    def run(results, *more):
        asked = ["run", "staging", "--cohort", "edf-folder", "--root", str(machines.nights), "--duplicates", "off"]
        asked += ["--encoder", "slow", "--encoder", "rough", "--head", "lda", "--seeds", "2", "--results", results]
        return run_json([*asked, *more])

    return run


def test_cells_from_elsewhere_are_those_of_here_also_where_modalities_are_masked(ask, elsewhere, comparable):
    more = ("--shots", "50%", "--seeds", "1", "--modalities", "eeg", "--masking", "test")
    for results, where in (("here", ("--workers", "1")), ("there", ("--scheduler", "x"))):
        code, cells, said = ask(results, *more, *where)
        assert (code, len(cells)) == (0, 4), said
    assert elsewhere.opened == 4  # blocks: two encoders, each whole and masked
    assert comparable("here") == comparable("there")


def test_a_cell_over_which_workers_die_is_a_failed_one_and_tried_again(ask, elsewhere, comparable):
    elsewhere.lost = (1,)
    code, cells, said = ask("there", "--shots", "50%", "--scheduler", "x")
    assert (code, [c["status"] for c in cells]) == (1, ["ok", "failed"] * 2)
    assert f"failed cell: slow, embedding, edf-folder, lda, 50%, seed 1: {REASON}" in said
    failed = json.loads(Path(cells[1]["path"]).read_text())
    assert (failed["message"], failed["n"]["common"]["recordings"], failed["side"]) == (REASON, 6, None)
    code, _, said = ask("there", "--shots", "50%", "--workers", "1")
    assert code == 0
    assert "cells: 2 computed, 2 found done, 0 failed" in said
    assert ask("here", "--shots", "50%", "--workers", "1")[0] == 0
    assert comparable("here") == comparable("there")


def test_a_worker_that_finds_other_rows_says_so(ask, elsewhere, monkeypatch):
    def meet(results):
        load = EmbeddingStore.load

        def shorter(self, card, recording, fingerprint):
            found = load(self, card, recording, fingerprint)
            cut = {name: x[:-3] for name, x in found.arrays.items()} if recording.id == "night2" else found.arrays
            return dataclasses.replace(found, arrays=cut)

        monkeypatch.setattr(EmbeddingStore, "load", shorter)

    elsewhere.meet = meet
    code, _, said = ask("there", "--shots", "50%", "--scheduler", "x")
    assert code == 3
    assert "there: slow: 1 of 6 recordings are not as the run found them (night2: its embedding has other rows)" in said
    assert "see that this machine sees the same folder, and rerun" in said
