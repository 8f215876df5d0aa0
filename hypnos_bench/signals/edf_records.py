"""Data records of an EDF or BDF file: stored integers of one channel, and time-stamped annotation lists."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.edf_channels import EdfChannel
from hypnos_bench.signals.edf_header import EdfHeader

Tal = tuple[float, float, list[bytes]]
"""Onset and duration in seconds, and texts, of one time-stamped annotation list."""

_BLOCK_BYTES = 1 << 23
_MAX_ONSET_S = 1e9  # thirty years: what is later is damage
_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14")


def blocks(
    path: Path, h: EdfHeader, channel: EdfChannel, first: int = 0, stop: int | None = None
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Index of the first record, and one channel's bytes in records x samples x bytes, a few megabytes at a time."""
    stop = h.n_records if stop is None else stop
    step = max(1, _BLOCK_BYTES // h.record_bytes)
    stop_byte = channel.offset + channel.per_record * h.sample_bytes
    for at in range(first, stop, step):
        n = min(step, stop - at)
        data = np.frombuffer(_record_bytes(path, h, at, at + n), dtype=np.uint8)
        part = data.reshape(n, h.record_bytes)[:, channel.offset : stop_byte]
        yield at, np.ascontiguousarray(part).reshape(n, channel.per_record, h.sample_bytes)


def integers(rows: NDArray[np.uint8]) -> NDArray[np.int16] | NDArray[np.int32]:
    """Little-endian two's complement of two or three bytes."""
    if rows.shape[-1] == 2:
        return rows.view("<i2")[..., 0]
    # Three bytes into the upper part of four, then an arithmetic shift that keeps the sign.
    wide = np.zeros((*rows.shape[:-1], 4), dtype=np.uint8)
    wide[..., 1:] = rows
    return wide.view("<i4")[..., 0] >> 8


def rows(path: Path, h: EdfHeader, channel: EdfChannel) -> Iterator[NDArray[np.uint8]]:
    """One channel's bytes record by record."""
    for _, block in blocks(path, h, channel):
        yield from block


def record_start_s(path: Path, record: int, row: NDArray[np.uint8]) -> float:
    """Seconds from the header's start to a data record, from its first annotation list.

    Raises
    ------
    RecordingError
        When the record does not say when it begins, or not legibly.
    """
    tals = parse_tals(path, record, row.tobytes())
    if not tals:
        raise RecordingError(path.name, f"data record {record + 1} does not say when it begins; EDF+ requires it")
    return tals[0][0]


def first_onset_s(path: Path, h: EdfHeader) -> float:
    """Seconds from the header's start to the first sample: EDF+ keeps the fraction of a second there."""
    if not h.plus or not h.annotations:
        return 0.0
    return record_start_s(path, 0, next(rows(path, h, h.annotations[0])))


def parse_tals(path: Path, record: int, raw: bytes) -> list[Tal]:
    """Time-stamped annotation lists of one record.

    Raises
    ------
    RecordingError
        When one is malformed.
    """
    tals = []
    for part in raw.split(b"\x00"):
        if not part:
            continue
        match = _TAL.match(part)
        if match is None or not (abs(onset_s := float(match[1])) <= _MAX_ONSET_S >= float(match[2] or 0)):
            raise RecordingError(path.name, f"malformed annotation in data record {record + 1}: {part[:40]!r}")
        texts = part[match.end() :].split(b"\x14")
        tals.append((onset_s, float(match[2] or 0), texts if texts[-1] else texts[:-1]))
    return tals


def _record_bytes(path: Path, header: EdfHeader, first: int, stop: int) -> bytes:
    """Bytes of data records `first` to `stop`. Raises ``RecordingError`` when the file ends early."""
    want = (stop - first) * header.record_bytes
    try:
        with path.open("rb") as f:
            f.seek(header.header_bytes + first * header.record_bytes, os.SEEK_SET)
            data = f.read(want)
    except OSError as error:
        raise RecordingError(path.name, f"cannot be read ({error.strerror})") from error
    if len(data) < want:
        raise RecordingError(path.name, "became shorter while it was read; fetch it again")
    return data
