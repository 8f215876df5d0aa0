"""Layouts ``sleepfm-5s`` and ``sleepfm-5min``: HDF5 files as ``generate_embeddings.py`` of SleepFM (2026) writes them.

Root datasets ``BAS``, ``RESP``, ``EKG``, ``EMG``, each (n_rows, 128) float32; row i starts at 5 s x i or 300 s x i. The
last partial 5 minutes have no rows. The files are opened for appending, so one that was written again for a shorter
recording keeps the tail of the longer one: modalities of different lengths are the sign of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.base import mean_over_modalities
from hypnos_bench.encoders.precomputed.files import HDF5, read_file
from hypnos_bench.encoders.precomputed.rows import Rows, checked, one_dtype
from hypnos_bench.encoders.precomputed.statement import NAN_ROWS, TIMES
from hypnos_bench.encoders.precomputed.times import first_start, times_of

MODALITIES = ("BAS", "RESP", "EKG", "EMG")
"""In the order of the columns of ``concat``."""

WIDTH = 128
WINDOW_S = 300.0
STEPS_S: Mapping[str, float] = {"sleepfm-5s": 5.0, "sleepfm-5min": 300.0}
DIMS: Mapping[str, int] = {"concat": 512, "concat-presence": 516, "mean": 128}

_Floats = NDArray[np.floating[Any]]


def read_sleepfm(path: Path, stated: Mapping[str, Any], duration_s: float, *, per_modality: bool = False) -> Rows:
    """Rows of all modalities, combined.

    Parameters
    ----------
    path : Path
    stated : mapping
        What card and sidecar say. ``combination``: ``concat`` (512 columns in the order of `MODALITIES`; a modality
        that is not in the file is zeros), ``concat-presence`` (the same and four columns of 1 or 0), ``mean`` (128,
        over those that are there). ``crop``: ``shortest`` accepts modalities of different lengths. ``tail``: ``short``
        accepts 5-s rows after the last whole window, as this suite makes them and SleepFM does not.
    duration_s : float
        Length of the recording, which tells 5-s rows from 5-min rows when no layout is stated.
    per_modality : bool
        Leave modalities apart, without those that are not in the file.

    Raises
    ------
    ValueError
        When the file holds none of them, or shapes, times or the number of rows do not fit.
    """
    if path.suffix not in HDF5:
        raise ValueError(f"SleepFM embeddings are {' or '.join(HDF5)} files, not {path.suffix}")
    held = read_file(path, (*MODALITIES, *TIMES))
    found = {name: held[name] for name in MODALITIES if name in held}
    if not found:
        raise ValueError(f"holds none of the datasets {', '.join(MODALITIES)}")
    nan_rows = stated.get("nan_rows") == NAN_ROWS
    arrays = one_dtype({name: checked(name, array, nan_rows=nan_rows) for name, array in found.items()})
    widths = {name: array.shape[1] for name, array in arrays.items() if array.shape[1] != WIDTH}
    if widths:
        raise ValueError(f"columns {widths}, expected {WIDTH} per modality")
    arrays = _one_length(arrays, crop=stated.get("crop") == "shortest")
    n_rows = len(next(iter(arrays.values())))
    left_s = duration_s - first_start(held, stated)
    step_s = STEPS_S[stated["layout"]] if stated.get("layout") in STEPS_S else _step(n_rows, left_s)
    start_s, step_s = times_of(held, stated, n_rows, layout_step_s=step_s)
    _check_count(n_rows, step_s, duration_s - start_s, stated)
    combination = "apart" if per_modality else stated.get("combination", "concat")
    absent = [name for name in MODALITIES if name not in arrays]
    instead = "zeros in its columns" if combination.startswith("concat") else "takes no part"
    return Rows(
        dict(arrays) if per_modality else {"X": _combined(arrays, combination)},
        start_s,
        step_s,
        skipped=dict.fromkeys(absent, f"not in {path.name}: {instead}"),
        short_s=WINDOW_S,
    )


def whole_rows(seconds: float, step_s: float) -> int:
    """Rows that SleepFM writes: those of whole 5-min windows."""
    return math.floor(seconds / WINDOW_S + 1e-6) * round(WINDOW_S / step_s)


def _check_count(n_rows: int, step_s: float, seconds: float, stated: Mapping[str, Any]) -> None:
    """Refuse another number of rows than SleepFM writes for so many seconds."""
    whole, short = whole_rows(seconds, step_s), stated.get("tail") == "short"
    in_window = round(WINDOW_S / step_s)
    most = math.floor(seconds / step_s + 1e-6) if short and step_s < WINDOW_S else whole
    if n_rows > most:
        hint = "the rest is of another recording, or the file is another one's"
        if not short and step_s < WINDOW_S and n_rows * step_s <= seconds + 1e-6:
            hint = 'say "tail": "short" in card.json when rows go on to the end of the recording'
    elif n_rows < whole and not stated.get("partial", False):
        hint = 'say "partial": true in card.json or the file\'s .json when rows may end early'
    elif n_rows % in_window and not short:
        hint = f"rows come {in_window} by {in_window}"
    else:
        return
    raise ValueError(
        f"its {n_rows} rows of {step_s:g} s end at {n_rows * step_s:g} s, the recording at {seconds:g} s: SleepFM "
        f"writes {whole}, those of whole windows of {WINDOW_S:g} s; {hint}"
    )


def _one_length(arrays: dict[str, _Floats], *, crop: bool) -> dict[str, _Floats]:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) == 1:
        return arrays
    if not crop:
        counts = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise ValueError(
            f"modalities differ in rows ({counts}): SleepFM appends to old files, so a longer one may end in rows of "
            'another recording; write the file again, or say "crop": "shortest" in card.json'
        )
    return {name: array[: min(lengths.values())] for name, array in arrays.items()}


def _step(n_rows: int, duration_s: float) -> float:
    """The one of the two steps with which rows end within the last 5 minutes of the recording."""
    fitting = [step for step in STEPS_S.values() if 0 <= duration_s - n_rows * step < WINDOW_S]
    if len(fitting) != 1:
        ends = " or ".join(f"{n_rows * step:g} s with rows of {step:g} s" for step in STEPS_S.values())
        raise ValueError(
            f"its {n_rows} rows end at {ends}, the recording at {duration_s:g} s: say which they are with "
            f'"layout": "{next(iter(STEPS_S))}" or "{list(STEPS_S)[1]}" in card.json'
        )
    return fitting[0]


def _combined(arrays: Mapping[str, _Floats], combination: str) -> _Floats:
    if combination == "mean":
        return mean_over_modalities(arrays)
    some = next(iter(arrays.values()))
    width = WIDTH * len(MODALITIES)
    x = np.zeros((len(some), DIMS[combination]), some.dtype)
    there = np.zeros((len(some), len(MODALITIES)), np.bool_)
    for i, name in enumerate(MODALITIES):
        if name in arrays:
            there[:, i] = ~np.isnan(arrays[name]).any(axis=1)
            x[there[:, i], i * WIDTH : (i + 1) * WIDTH] = arrays[name][there[:, i]]
    if combination == "concat-presence":
        x[:, width:] = there
    x[~there.any(axis=1)] = math.nan
    return x
