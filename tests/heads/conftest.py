"""Simulated embeddings: persons with offsets, wildly scaled features, classes that overlap."""

import numpy as np
import pytest

from hypnos_bench.heads.base import TrainingRows


@pytest.fixture(scope="session")
def make_rows():
    def make(n_persons=8, per_person=60, d=12, n_classes=3, seed=0, gap=1.0, flip=0.1, unscaled=False):
        rng = np.random.default_rng(seed)
        centres = gap * rng.standard_normal((n_classes, d)) / np.sqrt(d / 4)
        mix = rng.standard_normal((d, d)) / np.sqrt(d)
        person = np.repeat(np.arange(n_persons), per_person)
        y = rng.integers(0, n_classes, person.size)
        x = centres[y] + 0.4 * rng.standard_normal((n_persons, d))[person] + rng.standard_normal((person.size, d))
        x = x @ mix
        if unscaled:
            x = x * 10.0 ** rng.uniform(-4, 4, d) + 100 * rng.standard_normal(d)
        y = np.where(rng.random(y.size) < flip, rng.integers(0, n_classes, y.size), y)
        recording = person * 2 + (np.arange(person.size) % per_person >= per_person // 2)
        return TrainingRows(x.astype(np.float32), y.astype(np.int64), person, recording, n_classes)

    return make
