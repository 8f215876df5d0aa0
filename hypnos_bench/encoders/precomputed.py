"""Embeddings made elsewhere, by any model: one array file per recording, with explicit times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions
from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.registry import did_you_mean
from hypnos_bench.signals.arrays import SUFFIXES, read_arrays
from hypnos_bench.spec import EPOCH_S, digest, file_sha256
from hypnos_bench.store.atomic import safe_name

CARD_FILE = "card.json"
_TIMES = ("epoch_start_s", "start_s", "step_s")
_TIME_HELP = "add an array epoch_start_s, or the numbers start_s and step_s (to each file, or for all in card.json)"
_MAX_CARD_BYTES = 2**20


class PrecomputedEncoder:
    """Reads ``<recording id>.npz``, ``.npy`` or ``.safetensors`` from a folder.

    Each file holds ``X`` of shape (n_rows, dim) and says when its rows are: ``epoch_start_s`` (n_rows,), or
    ``start_s`` and ``step_s``. A file ``card.json`` in the folder may state ``start_s``, ``step_s``, ``lag_rows``,
    ``causal``, ``title``, ``licence``, ``note`` and ``pretrained_on`` for all of them.

    Without a folder the recording's own file is read when it is an ``.npz`` (cohort ``array-folder``), whose
    rule is one row per 30-s epoch from the start.
    """

    title = "Precomputed embeddings"

    def __init__(self, options: EncoderOptions) -> None:
        self.folder = options.embeddings
        if self.folder is not None and not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder; give the folder of array files with --embeddings DIR")

    @cached_property
    def card(self) -> EncoderCard:
        """What is known of it: only what ``card.json`` says. Its hash covers every array file of the folder."""
        stated = self._stated
        return EncoderCard(
            id="precomputed",
            title=str(stated.get("title", self.title)),
            version="1",
            step_s=None,
            window_s=None,
            causal=bool(stated.get("causal", False)),
            lag_rows=int(stated.get("lag_rows", 0)),
            channels=(),
            missing="whatever the model that made them did",
            weights=self._fingerprint(),
            settings={name: float(stated[name]) for name in ("start_s", "step_s") if name in stated},
            pretrained_on=tuple(str(cohort) for cohort in stated.get("pretrained_on", ())),
            licence=str(stated.get("licence", "")),
            note=str(stated.get("note", "")),
        )

    def encode(self, recording: Recording) -> Embedding:
        """Read a recording's array, float16 or float32 as it was saved (other numbers become float32).

        Raises
        ------
        RecordingError
            When there is no file or more than one, times are missing, uneven or beyond the recording,
            or the array holds NaN or infinity.
        """
        path = self._file(recording)
        try:
            arrays = read_arrays(path, ("X", *_TIMES))
            x = _rows(arrays)
            stated: dict[str, Any] = {name: self._stated[name] for name in _TIMES if name in self._stated}
            if self.folder is None and not any(name in arrays for name in _TIMES):
                stated = {"start_s": 0.0, "step_s": EPOCH_S}
            start_s, step_s = row_times({**stated, **arrays}, len(x))
            _check_extent(start_s, step_s, len(x), recording.duration_s())
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise RecordingError(recording.id, f"{path}: {reason}") from error
        return Embedding({"X": x}, start_s, step_s, {"X": f"rows of {path.name}"})

    @cached_property
    def _stated(self) -> dict[str, Any]:
        path = None if self.folder is None else self.folder / CARD_FILE
        return {} if path is None or not path.is_file() else read_card(path)

    def _files(self) -> list[Path]:
        return sorted(p for p in (self.folder or Path()).iterdir() if p.suffix in SUFFIXES and p.is_file())

    def _fingerprint(self) -> str | None:
        """Hash of all array files and their names, or ``None`` when the cohort's own fingerprint covers them."""
        if self.folder is None:
            return None
        files = self._files()
        if not files:
            raise DataError(f"{self.folder}: holds no {', '.join(SUFFIXES)} file; one per recording id is expected")
        return digest({path.name: file_sha256(path) for path in files})

    def _file(self, recording: Recording) -> Path:
        if self.folder is None:
            path = recording.signals.path
            if path.suffix != ".npz":
                raise RecordingError(recording.id, f"{path.name} holds no embeddings; give --embeddings DIR")
            return path
        candidates = [self.folder / f"{safe_name(recording.id)}{suffix}" for suffix in SUFFIXES]
        found = [path for path in candidates if path.is_file()]
        if len(found) != 1:
            what = f"{len(found)} files, keep one" if found else "no file"
            names = ", ".join(path.name for path in found or candidates)
            raise RecordingError(recording.id, f"{self.folder}: {what} ({names})")
        return found[0]


def row_times(times: Mapping[str, Any], n_rows: int) -> tuple[float, float]:
    """Start and step of rows in seconds from what a file states.

    Raises
    ------
    ValueError
        When times are missing, uneven or impossible, with what to add.
    """
    if "epoch_start_s" in times:
        starts = np.asarray(times["epoch_start_s"], dtype=np.float64)
        if starts.shape != (n_rows,):
            raise ValueError(f"epoch_start_s has shape {starts.shape}, X has {n_rows} rows; give one start per row")
        steps = np.diff(starts)
        step = _number(times, "step_s") if "step_s" in times else float(steps[0]) if len(steps) else None
        if step is None:
            raise ValueError("one row has no step; add step_s")
        if not np.isfinite(starts).all() or not np.allclose(steps, step, rtol=0, atol=1e-6):
            row = int(np.argmax(~np.isclose(steps, step, rtol=0, atol=1e-6))) + 1
            raise ValueError(
                f"epoch_start_s is not even: row {row} starts {steps[row - 1]:g} s after the one before, "
                f"step is {step:g} s; fill gaps with rows of the model, rows cannot be skipped"
            )
        start = float(starts[0])
    elif "start_s" in times and "step_s" in times:
        start, step = _number(times, "start_s"), _number(times, "step_s")
    else:
        raise ValueError(f"says not when its rows are; {_TIME_HELP}")
    if not (np.isfinite(start) and start >= 0 and np.isfinite(step) and step > 0):
        raise ValueError(f"impossible times: start {start:g} s, step {step:g} s")
    return start, step


def read_card(path: Path) -> dict[str, Any]:
    """Read ``card.json``. Raises ``DataError`` for unknown fields or wrong types, naming them."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "title": str, "licence": str, "note": str, "causal": bool, "lag_rows": int,
        "start_s": (int, float), "step_s": (int, float), "pretrained_on": list,
    }  # fmt: skip
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            raise DataError(f"{path}: larger than {_MAX_CARD_BYTES} bytes; it should hold a few lines")
        card = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(card, dict):
        raise DataError(f"{path}: not a JSON object")
    for name, value in card.items():
        if name not in kinds:
            raise DataError(
                f"{path}: unknown field {name!r}.{did_you_mean(name, kinds)} Known: {', '.join(sorted(kinds))}"
            )
        kind = kinds[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise DataError(f"{path}: field {name!r} is {value!r}, which is of the wrong type")
    return card


def _rows(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.floating[Any]]:
    if "X" not in arrays:
        raise ValueError("holds no array X of shape (n_rows, dim)")
    x = arrays["X"]
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"X has shape {x.shape} instead of (n_rows, dim)")
    if x.dtype.kind not in "fiu":
        raise ValueError(f"X holds {x.dtype}, not numbers")
    if x.dtype not in (np.float16, np.float32):
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused below
            x = x.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if bad.size:
        raise ValueError(f"X holds NaN or infinity, first in row {bad[0]} ({bad.size} of {len(x)} rows)")
    return np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("="))


def _check_extent(start_s: float, step_s: float, n_rows: int, duration_s: float) -> None:
    """Rows that run past the recording are the commonest sign of a wrong step or of another recording's file."""
    end_s = start_s + n_rows * step_s
    if end_s > duration_s + step_s + 1e-6:
        raise ValueError(
            f"its {n_rows} rows of {step_s:g} s end at {end_s:g} s, the recording at {duration_s:g} s; "
            "check step_s, start_s and that the file belongs to this recording"
        )


def _number(times: Mapping[str, Any], name: str) -> float:
    value = np.asarray(times[name])
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise ValueError(f"{name} is not one number")
    return float(value.reshape(()))
