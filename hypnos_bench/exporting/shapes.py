"""An embedding in the shape that was asked for, or the reason why it does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.base import Embedding
from hypnos_bench.encoders.precomputed.osf import WIDTH as OSF_WIDTH
from hypnos_bench.encoders.precomputed.sleepfm import MODALITIES, STEPS_S, WINDOW_S, whole_rows
from hypnos_bench.encoders.precomputed.sleepfm import WIDTH as SLEEPFM_WIDTH
from hypnos_bench.encoders.precomputed.statement import NAN_ROWS
from hypnos_bench.labelling.pooling import pool
from hypnos_bench.spec import EPOCH_S

_ONE_ARRAY = ("npy", "parquet")


@dataclass(frozen=True)
class Shaped:
    """Arrays as a file holds them, what its sidecar must say, and what the card of its folder must say."""

    arrays: Mapping[str, NDArray[np.floating[Any]]]
    sidecar: Mapping[str, Any]
    card: Mapping[str, Any] = field(default_factory=dict)


def pooled_to_epochs(embedding: Embedding) -> Embedding:
    """Means over the rows of each 30-s epoch from the start of the recording, modality by modality.

    As ``run`` pools: an epoch takes the rows of its own time, whatever the encoder's lag. The last epoch is left out
    when it lacks a row; an epoch before the first row, or with a row without signal, is NaN.

    Raises
    ------
    ValueError
        When rows do not divide an epoch, or there is no whole epoch.
    """
    step = embedding.step_s
    if step > EPOCH_S or abs(EPOCH_S / step - round(EPOCH_S / step)) > 1e-6:
        raise ValueError(f"rows of {step:g} s do not divide epochs of {EPOCH_S:g} s")
    n_rows = len(next(iter(embedding.arrays.values())))
    end_s = embedding.start_s + n_rows * step
    n_epochs = int(np.floor(end_s / EPOCH_S + 1e-6))
    if n_epochs < 1:
        raise ValueError(f"{n_rows} rows of {step:g} s fill no epoch of {EPOCH_S:g} s")
    starts = np.arange(n_epochs, dtype=np.float64) * EPOCH_S
    arrays = {
        name: pool(replace(embedding, arrays={name: array}), starts, EPOCH_S, 0)
        for name, array in embedding.arrays.items()
    }
    if all(np.isnan(array).all() for array in arrays.values()):
        raise ValueError(f"no epoch of {EPOCH_S:g} s has all its rows")
    return replace(embedding, arrays=arrays, start_s=0.0, step_s=EPOCH_S)


def shaped(embedding: Embedding, shape: str, duration_s: float) -> Shaped:
    """Put an embedding into a shape of :data:`~hypnos_bench.exporting.writers.WRITERS`; values stay as they are.

    Raises
    ------
    ValueError
        When its rows or columns do not fit the shape, with what would.
    """
    n_rows = len(next(iter(embedding.arrays.values())))
    sidecar: dict[str, Any] = {
        "start_s": embedding.start_s,
        "step_s": embedding.step_s,
        "channels": dict(embedding.channels),
        "skipped": dict(embedding.skipped),
    }
    if any(np.isnan(array).any() for array in embedding.arrays.values()):
        sidecar["nan_rows"] = NAN_ROWS
    if shape == "sleepfm":
        return _sleepfm(embedding, sidecar, n_rows, duration_s)
    if duration_s - embedding.start_s - n_rows * embedding.step_s > embedding.step_s:
        sidecar["partial"] = True
    if shape == "osf":
        return _osf(embedding, sidecar)
    return _generic(embedding, sidecar, shape)


def _generic(embedding: Embedding, sidecar: dict[str, Any], shape: str) -> Shaped:
    if len(embedding.arrays) == 1:
        (array,) = embedding.arrays.values()
        return Shaped({"X": array}, sidecar, {"layout": "generic", "dim": int(array.shape[1])})
    if shape in _ONE_ARRAY:
        names = ", ".join(embedding.arrays)
        raise ValueError(f"one array per modality ({names}), a .{shape} file holds one: choose npz, h5 or safetensors")
    return Shaped(embedding.arrays, {**sidecar, "arrays": sorted(embedding.arrays)}, {"layout": "generic"})


def _osf(embedding: Embedding, sidecar: dict[str, Any]) -> Shaped:
    if len(embedding.arrays) != 1:
        raise ValueError(f"one array per modality ({', '.join(embedding.arrays)}); OSF files hold one: choose npz")
    (array,) = embedding.arrays.values()
    if embedding.step_s != EPOCH_S:
        raise ValueError(
            f"rows of {embedding.step_s:g} s; OSF files hold one per {EPOCH_S:g} s: add --pool-epochs, or choose npz"
        )
    if array.shape[1] == OSF_WIDTH:
        return Shaped({"X": array}, sidecar, {"layout": "osf", "part": "cls"})
    if array.shape[1] == 2 * OSF_WIDTH:
        return Shaped({"X": array.reshape(len(array), 2, OSF_WIDTH)}, sidecar, {"layout": "osf", "part": "both"})
    raise ValueError(f"{array.shape[1]} columns; OSF rows have {OSF_WIDTH} or {2 * OSF_WIDTH}: choose npz")


def _sleepfm(embedding: Embedding, sidecar: dict[str, Any], n_rows: int, duration_s: float) -> Shaped:
    layout = next((name for name, step in STEPS_S.items() if step == embedding.step_s), None)
    other = sorted(set(embedding.arrays) - set(MODALITIES))
    if other:
        raise ValueError(
            f"arrays {', '.join(other)}; SleepFM files hold {', '.join(MODALITIES)}: embed with --encoder sleepfm "
            "--per-modality, or choose npz"
        )
    widths = {array.shape[1] for array in embedding.arrays.values()}
    if widths != {SLEEPFM_WIDTH}:
        raise ValueError(f"columns {sorted(widths)}; SleepFM rows have {SLEEPFM_WIDTH} per modality: choose npz")
    if layout is None or embedding.start_s != 0:
        raise ValueError(
            f"rows of {embedding.step_s:g} s from {embedding.start_s:g} s; SleepFM files hold rows of 5 s or 300 s "
            "from the start: choose npz"
        )
    whole = whole_rows(duration_s, embedding.step_s)
    if n_rows < whole:
        sidecar["partial"] = True
    if n_rows > whole or n_rows % round(WINDOW_S / embedding.step_s):
        sidecar["tail"] = "short"  # SleepFM itself drops what fills no window
    return Shaped(embedding.arrays, sidecar, {"layout": layout})
