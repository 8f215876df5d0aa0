from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.cohorts.writers.array_folder import write_array_folder
from hypnos_bench.cohorts.writers.cpsc2021 import write_cpsc2021_tree
from hypnos_bench.cohorts.writers.edf_folder import write_edf_folder
from hypnos_bench.cohorts.writers.mros import write_mros_tree
from hypnos_bench.cohorts.writers.synthetic import random_events, random_stages, stage_signal


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "write",
    [
        lambda root, seed: write_mros_tree(root, 1, 1 / 60, seed),
        lambda root, seed: write_edf_folder(root, n_epochs=2, seed=seed),
        lambda root, seed: write_cpsc2021_tree(root, 2, 1, 0.1, seed),
        lambda root, seed: write_array_folder(root, 1, 1, seed=seed),
    ],
    ids=["mros", "edf-folder", "cpsc2021", "array-folder"],
)
def test_a_seed_settles_the_signals(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    written = [write(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    a, b, c = (contents(tmp_path / name) for name in "abc")
    if ".npz" in "".join(a):  # the archive holds the time of writing
        a, b, c = ({n: np.load(tmp_path / f / n)["X"].tobytes() for n in a} for f in "abc")
    assert written[0] == written[1]
    assert a == b
    assert a.keys() == c.keys()
    assert a != c


@given(st.integers(12, 200), st.integers(0, 100))
def test_twelve_epochs_hold_every_stage(n_epochs: int, seed: int) -> None:
    stages = random_stages(n_epochs, np.random.default_rng(seed))
    assert len(stages) == n_epochs
    assert set(stages) == {0, 1, 2, 3, 4}
    events = random_events(stages, np.random.default_rng(seed))
    assert events
    assert all(stages[int(e.start_s // 30)] > 0 for e in events)


@pytest.mark.parametrize("kind", ["eeg", "eog", "emg", "ecg", "effort", "reference"])
def test_signals_cover_the_epochs_and_what_follows(kind) -> None:  # type: ignore[no-untyped-def]
    values = stage_signal(kind, [0, -1, 4], 64.0, np.random.default_rng(0), extra_s=15.0)
    assert values.shape == (105 * 64,)
    assert np.isfinite(values).all()


def test_deep_sleep_is_slow_and_rem_is_limp() -> None:
    rng = np.random.default_rng(0)
    deep, rem = (stage_signal("eeg", [code], 100.0, rng) for code in (3, 4))
    assert np.abs(np.fft.rfft(deep))[45] > 5 * np.abs(np.fft.rfft(rem))[45]  # 1.5 Hz
    chin = stage_signal("emg", [0, 4], 100.0, rng)
    assert chin[:3000].std() > 5 * chin[3000:].std()
