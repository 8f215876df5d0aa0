"""A fake folder of ready-made embeddings: one ``.npz`` per night, rows that depend on the stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hypnos_bench.cohorts.base import STAGES
from hypnos_bench.cohorts.writers.synthetic import Written, random_stages


def write_array_folder(
    root: Path, n_persons: int = 5, nights: int = 2, n_epochs: int = 60, dim: int = 8, seed: int = 0
) -> tuple[Written, ...]:
    """Write ``p01n1.npz`` … with ``X`` (n_epochs, dim) float32 and ``y`` (n_epochs,) int8.

    Each stage has its own mean row, shared by all persons, under unit noise; every tenth epoch is unscored.
    """
    rng = np.random.default_rng(seed)
    means = 2.0 * rng.standard_normal((len(STAGES), dim))
    root.mkdir(parents=True, exist_ok=True)
    written = []
    for i in range(1, n_persons + 1):
        for night in range(1, nights + 1):
            true = np.array(random_stages(n_epochs, rng), dtype=np.int8)
            x = means[true] + rng.standard_normal((n_epochs, dim))
            y = np.where(np.arange(n_epochs) % 10 == 9, -1, true).astype(np.int8)
            name = f"p{i:02d}n{night}"
            np.savez_compressed(root / f"{name}.npz", X=x.astype(np.float32), y=y)
            written.append(Written(name, f"p{i:02d}", None, n_epochs * 30.0, tuple(int(c) for c in y)))
    return tuple(written)
