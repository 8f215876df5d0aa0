"""Plug-ins that write down what they begin, and wait when they are held; the cluster tests install them."""

import dataclasses
import os
import time
from pathlib import Path

import numpy as np

from hypnos_bench.encoders.base import Embedding, EncoderCard
from hypnos_bench.errors import RecordingError
from hypnos_bench.heads.lda import LDA_SETTINGS, fit_lda


def begin(name):
    """Write a name into the log, and wait there while it is not among the first that the hold file lets through."""
    log, hold = Path(os.environ["SLOW_LOG"]), Path(os.environ["SLOW_HOLD"])
    with log.open("ab", buffering=0) as file:
        file.write(f"{name} {os.getpid()}\n".encode())
        end = file.tell()
    place = log.read_bytes()[:end].count(b"\n")
    while hold.exists() and place > int(hold.read_text() or 0):
        time.sleep(0.02)


def levels(recording, rows):
    """Standard deviation of each epoch of a channel of 128 Hz, shape (rows, 1)."""
    x = recording.signal("C3").values[: rows * 3840]
    return x.reshape(rows, 3840).std(axis=1, keepdims=True).astype(np.float32)


class Slow:
    """A level, one recording after the other."""

    card = EncoderCard("slow", "Slow", "1", 30.0, 30.0, False, 0, ("C3",), "none", dim=1)

    def __init__(self, options):
        pass

    def encode(self, recording):
        begin(recording.id)
        return Embedding({"x": levels(recording, int(recording.duration_s() // 30))}, 0.0, 30.0, {})


class Rough(Slow):
    """A level and much noise; one night is not good enough, and another lacks its last rows."""

    card = dataclasses.replace(Slow.card, id="rough", dim=4)

    def encode(self, recording):
        if recording.id == "night3":
            raise RecordingError(recording.id, "too rough")
        rows = int(recording.duration_s() // 30) - 2 * (recording.id == "night5")
        x = np.random.default_rng([*recording.id.encode()]).normal(size=(rows, 4)).astype(np.float32)
        x[:, :1] += levels(recording, rows) / 20
        return Embedding({"x": x}, 0.0, 30.0, {})


def slow_lda(rows, settings):
    """LDA, one fit after the other."""
    begin("fit")
    return fit_lda(rows, settings)


slow_lda.settings = LDA_SETTINGS


def tasks(dask_worker):
    """How much a worker has in work, in waiting or in memory."""
    return len(dask_worker.state.tasks)
