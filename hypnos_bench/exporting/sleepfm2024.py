"""Embeddings of the SleepFM of 2024 (ICML): two pickles without times become one array file per recording.

``dataset_events_-1_<split>_emb.pickle`` is a list of three tensors (N, 512), respiratory, sleep stages and ECG, with
rows of length 1; row i is entry i of the split's list in ``dataset_events_-1.pickle``: (path of a 30-s clip, event).
A clip is called ``<record>_<index>.npy``. Upstream counts clips from 0, *after* it has cut a record up to its first
change of stage and left unscored stretches out (``0_extract_pretraining_data.py``), so index x 30 s is the time within
the record only for data that were prepared otherwise: where a record's first clip starts can be given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.precomputed.statement import CARD_FILE, NAN_ROWS
from hypnos_bench.errors import DataError
from hypnos_bench.exporting.pickled_arrays import NAMES, plain_array
from hypnos_bench.exporting.plain_pickle import read_pickle
from hypnos_bench.exporting.writers import json_bytes, put, safetensors_bytes
from hypnos_bench.spec import EPOCH_S, file_sha256
from hypnos_bench.store.atomic import safe_name

MODALITIES = ("respiratory", "sleep-stages", "ekg")
"""In the order of the pickle, and of the columns."""

SPLITS = ("pretrain", "train", "valid", "test")
WIDTH = 512
MAX_CLIPS = 20_000
"""Largest index of a clip: a week. A row is allocated for every one before it."""

_CLIP = re.compile(r"(?P<record>.+)_(?P<index>\d{1,9})\.npy", re.DOTALL)


@dataclass(frozen=True)
class Converted:
    """Recordings written and those there already; clips placed, and NaN rows between them."""

    written: tuple[str, ...]
    kept: tuple[str, ...]
    clips: int
    gaps: int


def convert_sleepfm_2024(
    embeddings: Path,
    events: Path,
    split: str,
    out: Path,
    *,
    modality: str | None = None,
    starts_s: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write ``<record>.safetensors`` with a row per 30-s clip, its sidecar, and ``card.json``.

    Parameters
    ----------
    embeddings, events : Path
        The two pickles. They are taken apart, never run (:mod:`hypnos_bench.exporting.plain_pickle`).
    split : str
        List of the events to which the rows belong.
    out : Path
    modality : str, optional
        One of `MODALITIES` (512 columns) instead of all three side by side (1536).
    starts_s : mapping of str to float, optional
        Record to the time of its clip 0 in seconds; 0 for records without one.
    overwrite : bool
        Replace other files of the same names.

    Raises
    ------
    DataError
        When a pickle holds anything but the layout above, counts differ, or a clip comes twice.
    """
    tables = _events(events)
    if split not in tables:
        raise DataError(f"{events}: has no list {split!r}; it has {', '.join(sorted(tables))}")
    placed = _placed(events, split, tables)
    x = _rows(embeddings, modality)
    if len(x[0]) != len(tables[split]):
        raise DataError(
            f"{embeddings}: {len(x[0])} rows, but the list {split!r} of {events} has {len(tables[split])} clips; "
            "choose the --split it was made of"
        )
    starts = starts_s or {}
    unknown = sorted(set(starts) - set(placed))
    if unknown:
        raise DataError(f"start of {unknown[0]!r} is given, but the list {split!r} has no such record")
    put(out / CARD_FILE, json_bytes(_card(modality)), overwrite=overwrite)
    source = f"rows of {embeddings.name} (sha256 {file_sha256(embeddings)}), list {split} of {events.name}"
    written: list[str] = []
    kept: list[str] = []
    gaps = 0
    for record, clips in sorted(placed.items()):
        rows = np.full((max(clips) + 1, WIDTH * len(x)), np.nan, np.float32)
        order = np.fromiter(clips.values(), np.int64, len(clips))
        rows[np.fromiter(clips, np.int64, len(clips))] = np.concatenate([array[order] for array in x], axis=1)
        gaps += len(rows) - len(clips)
        stem = safe_name(record)
        sidecar = {"recording": record, "start_s": float(starts.get(record, 0.0)), "step_s": EPOCH_S, "note": source}
        new = put(out / f"{stem}.safetensors", safetensors_bytes({"X": rows}), overwrite=overwrite)
        new = put(out / f"{stem}.json", json_bytes(sidecar), overwrite=overwrite) or new
        (written if new else kept).append(record)
    return Converted(tuple(written), tuple(kept), len(tables[split]), gaps)


def _events(path: Path) -> dict[str, list[Any]]:
    tables = read_pickle(path, NAMES)
    if not isinstance(tables, dict) or not tables or not all(isinstance(v, list) for v in tables.values()):
        raise DataError(f"{path}: expected a dict of lists ({', '.join(SPLITS)}) of (clip path, event)")
    return {str(name): entries for name, entries in tables.items()}


def _placed(path: Path, split: str, tables: Mapping[str, list[Any]]) -> dict[str, dict[int, int]]:
    """Record to {index of clip: row}."""
    placed: dict[str, dict[int, int]] = {}
    for row, entry in enumerate(tables[split]):
        record, index = _clip(path, split, row, entry)
        clips = placed.setdefault(record, {})
        if index in clips:
            raise DataError(f"{path}: clip {index} of {record!r} comes twice in {split!r} (rows {clips[index]}, {row})")
        clips[index] = row
    if not placed:
        raise DataError(f"{path}: the list {split!r} is empty")
    if not any(0 in clips for clips in placed.values()):
        others = (_clip(path, name, i, entry) for name, held in tables.items() for i, entry in enumerate(held))
        if not any(index == 0 for _, index in others):
            raise DataError(
                f"{path}: no record has a clip 0, although upstream counts from 0; rename the clips so that 0 is the "
                "first, or times would be 30 s late"
            )
    return placed


def _clip(path: Path, split: str, row: int, entry: Any) -> tuple[str, int]:
    clip = entry[0] if isinstance(entry, (tuple, list)) and len(entry) == 2 else None
    match = _CLIP.fullmatch(clip.replace("\\", "/").rsplit("/", 1)[-1]) if isinstance(clip, str) else None
    if match is None:
        raise DataError(
            f"{path}: entry {row} of {split!r} is {str(entry)[:80]!r}, expected ('.../<record>_<index>.npy', event)"
        )
    index = int(match["index"])
    if index >= MAX_CLIPS:
        raise DataError(f"{path}: entry {row} of {split!r}: clip {index} is beyond {MAX_CLIPS} clips of 30 s")
    return match["record"], index


def _rows(path: Path, modality: str | None) -> list[NDArray[np.float32]]:
    held = read_pickle(path, NAMES)
    arrays = [plain_array(value) for value in held] if isinstance(held, (list, tuple)) else []
    shapes = [None if array is None else array.shape for array in arrays]
    if len(arrays) != len(MODALITIES) or len(set(shapes)) > 1 or not _is_table(shapes[0]):
        raise DataError(
            f"{path}: expected a list of {len(MODALITIES)} arrays (N, {WIDTH}) ({', '.join(MODALITIES)}), "
            f"found {str(shapes)[:120] if arrays else type(held).__name__}"
        )
    chosen = range(len(MODALITIES)) if modality is None else [MODALITIES.index(modality)]
    rows: list[NDArray[np.float32]] = []
    for i in chosen:
        array = np.asarray(arrays[i], dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if bad.size:
            raise DataError(f"{path}: {MODALITIES[i]} holds NaN or infinity, first in row {bad[0]}")
        rows.append(array)
    return rows


def _is_table(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and len(shape) == 2 and shape[0] > 0 and shape[1] == WIDTH


def _card(modality: str | None) -> dict[str, Any]:
    names = MODALITIES if modality is None else (modality,)
    return {
        "id": "sleepfm-2024" if modality is None else f"sleepfm-2024-{modality}",
        "title": f"SleepFM (2024), {', '.join(names)}",
        "layout": "generic",
        "dim": WIDTH * len(names),
        "nan_rows": NAN_ROWS,
        "partial": True,
        "note": (
            "Row i is clip i, 30 s each, from the start in the sidecar. Upstream numbers clips after cutting a record "
            "up to its first change of stage and leaving unscored stretches out; check the start of each record."
        ),
    }
