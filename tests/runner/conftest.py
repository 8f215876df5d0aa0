"""Tiny cohorts on disk and toy encoders, so that whole runs take a second."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hypnos_bench.cli import run_command

TOYS = '''
import numpy as np
from hypnos_bench.encoders.base import Embedding, EncoderCard
from hypnos_bench.errors import RecordingError

CHANNELS = ("C3", "C4", "E1", "E2", "Chin", "ECG", "ABD", "THX")


class Arrays:
    """Rows of the recording's own array, times a constant."""

    card = EncoderCard("toy-arrays", "Toy", "1", 30.0, 30.0, False, 0, (), "none", pretrained_on=None)

    def __init__(self, options):
        pass

    def encode(self, recording):
        with np.load(recording.signals.path) as night:
            return Embedding({"x": (2 * night["X"]).astype(np.float32)}, 0.0, 30.0, {})


class Refuses(Arrays):
    """Nothing is good enough."""

    card = EncoderCard("toy-refuses", "Toy", "1", 30.0, 30.0, False, 0, (), "none")

    def encode(self, recording):
        raise RecordingError(recording.id, "not good enough")


class Montage:
    """Which channels are there, beside a little of the hypnogram; the same in every row of a stage."""

    card = EncoderCard("toy-montage", "Toy", "1", 30.0, 30.0, False, 0, CHANNELS, "zero", pretrained_on=())

    def __init__(self, options):
        pass

    def encode(self, recording):
        there = np.array([name in recording.montage for name in CHANNELS], np.float32)
        if not there.any():
            raise RecordingError(recording.id, "no channel is left")
        rows = int(recording.duration_s() // 30)
        rng = np.random.default_rng(len(recording.id) + rows)
        return Embedding({"x": (rng.normal(size=(rows, 8)) * there + there).astype(np.float32)}, 0.0, 30.0, {})
'''

ARRAYS = ["run", "staging", "--cohort", "array-folder", "--root", "nights", "--person-pattern", "^(p..)", "--head", "lda", "--split", "cv5"]  # fmt: skip


def write_nights(folder, n_persons=6, n_nights=2, n_epochs=40, dim=6):
    """Nights of array-folder whose features tell their stages."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, dim)) * 2
    for person in range(n_persons):
        for night in range(n_nights):
            y = np.arange(n_epochs) % 5
            x = (centres[y] + rng.normal(size=(n_epochs, dim))).astype(np.float32)
            np.savez(folder / f"p{person:02d}n{night}.npz", X=x, y=y)


def write_embeddings(folder, nights, without=(), short=()):
    """Embeddings made elsewhere: of all nights but some, and of some without their last two rows."""
    folder.mkdir(exist_ok=True)
    (folder / "card.json").write_text('{"partial": true}')
    for path in sorted(nights.glob("*.npz")):
        if path.stem not in without:
            with np.load(path) as night:
                x = night["X"][:-2] if path.stem in short else night["X"]
                np.savez(folder / path.name, X=x, start_s=0.0, step_s=30.0)


def load_cells(folder="results"):
    """Cells by the path of their file."""
    return {path: json.loads(path.read_text()) for path in sorted(Path(folder).glob("cells/**/*.json"))}


def cells_of(encoder, folder="results", **sample):
    """Cells of one encoder id, with a sample of this kind."""
    found = [c for c in load_cells(folder).values() if c["spec"]["encoder"]["id"] == encoder]
    return [c for c in found if all(c["spec"]["sample"][k] == v for k, v in sample.items())]


def comparable(cell):
    """A cell without what may differ between two runs."""
    return {k: v for k, v in cell.items() if k not in ("timing", "provenance", "sha256")}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder with the toy encoders in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toys.py").write_text(TOYS)
    return tmp_path


@pytest.fixture
def nights(place):
    """Six persons, two nights each."""
    write_nights(place / "nights")
    return place / "nights"


@pytest.fixture
def no_pages(monkeypatch):
    """Runs print their tables and draw no figures: these take most of the time, and have tests of their own."""
    monkeypatch.setattr("hypnos_bench.cli.run_text._write_reports", lambda *_: [])


@pytest.fixture
def ask(no_pages):
    """Function: run a task on the nights with some encoders; gives the exit code."""

    def run(*encoders, more=()):
        return run_command([*ARRAYS, *(word for name in encoders for word in ("--encoder", name)), *more])

    return run


BUSY = """
        if __import__("pathlib").Path("busy").read_text() == recording.id:
            raise {error}
"""


@pytest.fixture
def busy(nights):
    """Function: the toy fails on one recording, for as long as the file `busy` names it."""

    def spoil(error, name="p02n1"):
        first = "        with np.load(recording.signals.path) as night:"
        source = Path("toys.py").read_text()
        Path("toys.py").write_text(source.replace(first, BUSY.format(error=error) + first))
        Path("busy").write_text(name)

    return spoil


@pytest.fixture
def toy():
    """The functions of this file, which test modules cannot import."""
    return SimpleNamespace(
        words=ARRAYS, cells=load_cells, cells_of=cells_of, comparable=comparable, embeddings=write_embeddings
    )


@pytest.fixture(autouse=True)
def _no_pictures(undrawn):
    """Cells are looked at here, not pages."""
