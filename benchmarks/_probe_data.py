"""Simulated embeddings of nights, as hard for a solver as those of real encoders.

Features have variances that fall as k^-1.5, rotated, so that the largest eigenvalue is thousands of times the smallest;
every person is offset from all others; some columns sit far from zero. Stages follow each other as in
a night, with shares as in adults, and differ in a few hundred directions. Nothing here is a recording.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARES = (0.18, 0.08, 0.42, 0.14, 0.18)
"""Wake, N1, N2, N3, REM."""
_STAY = 0.8  # chance that an epoch's stage is the one before
_OFFSET_COLUMNS = 20


class Nights:
    """Persons with one night each; the same index gives the same night.

    Parameters
    ----------
    width : int
    seed : int
    separation : float
        Distance between stages, in standard deviations per direction.
    offset : float
        Spread of persons, likewise.
    """

    def __init__(self, width: int, seed: int = 0, separation: float = 0.33, offset: float = 0.5) -> None:
        rng = np.random.default_rng(seed)
        k = np.arange(width)
        self.width, self._seed, self._offset = width, seed, np.float32(offset)
        self._sd = ((k + 1) ** -0.75).astype(np.float32)
        rotation, _ = np.linalg.qr(rng.standard_normal((width, width)))
        self._rotation = rotation.astype(np.float32)
        falling = separation * np.exp(-k / max(width / 7.7, 1.0)) * self._sd
        self._centres = (rng.standard_normal((len(SHARES), width)) * falling).astype(np.float32)
        self._constant = np.zeros(width, dtype=np.float32)
        columns = rng.choice(width, min(_OFFSET_COLUMNS, width // 4), replace=False)
        self._constant[columns] = 5 * rng.standard_normal(columns.size)

    def night(self, person: int, epochs: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Rows (epochs, width) and stages of one person."""
        rng = np.random.default_rng([self._seed, person])
        drawn = rng.choice(len(SHARES), size=epochs, p=SHARES)
        stays = rng.random(epochs) < _STAY
        stays[0] = False
        y = drawn[np.maximum.accumulate(np.where(stays, 0, np.arange(epochs)))]
        x = rng.standard_normal((epochs, self.width), dtype=np.float32)
        x += self._offset * rng.standard_normal(self.width, dtype=np.float32)
        x *= self._sd
        x += self._centres[y]
        x = x @ self._rotation
        x += self._constant
        return x, y.astype(np.int64)

    def many(self, persons: range, epochs: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """Rows, stages and person codes of several persons."""
        n = len(persons) * epochs
        x, y = np.empty((n, self.width), dtype=np.float32), np.empty(n, dtype=np.int64)
        for i, person in enumerate(persons):
            x[i * epochs : (i + 1) * epochs], y[i * epochs : (i + 1) * epochs] = self.night(person, epochs)
        return x, y, np.repeat(np.arange(len(persons)), epochs)

    def pooled(self, folder: Any, persons: int, epochs: int) -> tuple[Any, NDArray[np.int64]]:
        """Float16 rows of many persons in a temporary file without a name, and their stages."""
        from hypnos_bench.store.pooled import PooledWriter

        stages = []
        with PooledWriter(folder, self.width, np.float16) as writer:
            for person in range(persons):
                x, y = self.night(person, epochs)
                writer.append(x.astype(np.float16))
                stages.append(y)
            return writer.finish(), np.concatenate(stages)
