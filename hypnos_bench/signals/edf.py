"""EDF, EDF+ and BDF files: one channel at a time at its native rate, nothing kept open.

Samples are read directly, not through EDFlib: that library refuses a whole file for a blanked start date
(``00.00.00``, common in shared cohorts) or for one channel without calibration. Values agree with it to the last bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.signals.base import Channel, Signal
from hypnos_bench.signals.edf_header import EdfChannel, EdfHeader, pread_record_range, read_header

_BLOCK_BYTES = 1 << 23
# Onset and duration of one time-stamped annotation list, then its texts.
_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14")


class EdfFile:
    """An EDF, EDF+ or BDF file as a `SignalFile`.

    The header is parsed when first asked for. Repeated labels: the first keeps its name, later ones become
    ``"ECG#2"`` and so on. Annotation channels are no channels.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self._path,)

    @cached_property
    def _header(self) -> EdfHeader:
        header = read_header(self._path)
        if header.plus == "D":
            _refuse_gaps(self._path, header)
        return header

    def channels(self) -> tuple[Channel, ...]:
        """Header entries in file order.

        Raises
        ------
        RecordingError
            When the file cannot be trusted: see `read_header`; or EDF+D whose data records leave gaps.
        """
        h = self._header
        return tuple(
            Channel(c.label, c.per_record / h.record_s, c.unit, c.per_record * h.n_records) for c in h.channels
        )

    def duration_s(self) -> float:
        """Length of the recording in seconds, 0 for a file of annotations only."""
        return self._header.n_records * self._header.record_s

    def start_time(self) -> time:
        """Time of day of the first sample. The date in the file is a placeholder in most shared cohorts.

        Raises
        ------
        RecordingError
            When the header's start is not a time of day.
        """
        h = self._header
        if h.start is None:
            raise RecordingError(self._path.name, "the header's start time is not a time of day (hh.mm.ss)")
        first_s = _first_onset_s(self._path, h)
        return (datetime.combine(datetime.min, h.start) + timedelta(seconds=first_s)).time()

    def read(self, label: str) -> Signal:
        """Read one channel whole, in physical units.

        Raises
        ------
        RecordingError
            When there is no such channel, or the file cannot be read to its end.
        DataError
            When this channel has no calibration.
        """
        h = self._header
        channel = next((c for c in h.channels if c.label == label), None)
        if channel is None:
            labels = ", ".join(c.label for c in h.channels) or "none"
            raise RecordingError(self._path.name, f"no channel {label!r}; the file has: {labels}")
        if channel.fault is not None:  # one channel's fault: the others stay usable
            raise DataError(f"{self._path.name}: channel {label!r} cannot be used: {channel.fault}")
        # The header was checked against the file's size, so this cannot exceed a few times that size.
        values = np.empty((h.n_records, channel.per_record))
        for first, rows in _blocks(self._path, h, channel):
            values[first : first + len(rows)] = _integers(rows)
        values += channel.zero
        values *= channel.scale
        return Signal(values.reshape(-1), channel.per_record / h.record_s, channel.unit, label)


def read_edf_annotations(path: str | Path) -> list[tuple[float, float, str]]:
    """Annotations of an EDF+ or BDF+ file.

    Returns
    -------
    list of (start_s, duration_s, text)
        In file order; seconds from the first sample; a duration that is not stated is 0. Empty for plain EDF.

    Raises
    ------
    RecordingError
        When the file cannot be trusted or an annotation is malformed.
    """
    path = Path(path)
    header = read_header(path)
    first_s = _first_onset_s(path, header)
    found = []
    for index, channel in enumerate(header.annotations if header.plus else ()):
        for record, row in enumerate(_rows(path, header, channel)):
            onsets = _parse_tals(path, record, row.tobytes())
            for i, (start_s, duration_s, texts) in enumerate(onsets):
                # The first list of a record holds an empty text: it only says when the record begins.
                keep = texts[1:] if index == 0 and i == 0 and texts[:1] == [b""] else texts
                found += [(start_s - first_s, duration_s, _decode(text)) for text in keep if text]
    return found


def _blocks(path: Path, h: EdfHeader, channel: EdfChannel) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Index of the first record, and one channel's bytes in records x samples x bytes, a few megabytes at a time."""
    step = max(1, _BLOCK_BYTES // h.record_bytes)
    stop_byte = channel.offset + channel.per_record * h.sample_bytes
    for first in range(0, h.n_records, step):
        n = min(step, h.n_records - first)
        data = np.frombuffer(pread_record_range(path, h, first, first + n), dtype=np.uint8)
        part = data.reshape(n, h.record_bytes)[:, channel.offset : stop_byte]
        yield first, np.ascontiguousarray(part).reshape(n, channel.per_record, h.sample_bytes)


def _integers(rows: NDArray[np.uint8]) -> NDArray[np.int16] | NDArray[np.int32]:
    """Little-endian two's complement of two or three bytes."""
    if rows.shape[-1] == 2:
        return rows.view("<i2")[..., 0]
    # Three bytes into the upper part of four, then an arithmetic shift that keeps the sign.
    wide = np.zeros((*rows.shape[:-1], 4), dtype=np.uint8)
    wide[..., 1:] = rows
    return wide.view("<i4")[..., 0] >> 8


def _rows(path: Path, h: EdfHeader, channel: EdfChannel) -> Iterator[NDArray[np.uint8]]:
    for _, rows in _blocks(path, h, channel):
        yield from rows


def _first_onset_s(path: Path, h: EdfHeader) -> float:
    """Seconds from the header's start to the first sample: EDF+ keeps the fraction of a second there."""
    if not h.plus or not h.annotations:
        return 0.0
    return _record_start_s(path, 0, next(_rows(path, h, h.annotations[0])))


def _record_start_s(path: Path, record: int, row: NDArray[np.uint8]) -> float:
    tals = _parse_tals(path, record, row.tobytes())
    if not tals:
        raise RecordingError(path.name, f"data record {record + 1} does not say when it begins; EDF+ requires it")
    return tals[0][0]


def _refuse_gaps(path: Path, h: EdfHeader) -> None:
    """EDF+D is fine when its records follow each other after all, as some exporters write them."""
    if not h.annotations:
        raise RecordingError(path.name, "EDF+D without annotation channel: the times of its data records are unknown")
    starts = [_record_start_s(path, i, row) for i, row in enumerate(_rows(path, h, h.annotations[0]))]
    gaps = np.diff(starts) - h.record_s
    if np.any(np.abs(gaps) > 1e-3):
        at = int(np.argmax(np.abs(gaps)))
        raise RecordingError(
            path.name,
            f"discontinuous (EDF+D): {int((np.abs(gaps) > 1e-3).sum())} gaps, the largest {gaps[at]:g} s after "
            f"{starts[at] - starts[0] + h.record_s:g} s; export it as a continuous EDF",
        )


def _parse_tals(path: Path, record: int, raw: bytes) -> list[tuple[float, float, list[bytes]]]:
    """Time-stamped annotation lists of one record: onset, duration, texts."""
    tals = []
    for part in raw.split(b"\x00"):
        if not part:
            continue
        match = _TAL.match(part)
        if match is None:
            raise RecordingError(path.name, f"malformed annotation in data record {record + 1}: {part[:40]!r}")
        texts = part[match.end() :].split(b"\x14")
        tals.append((float(match[1]), float(match[2] or 0), texts if texts[-1] else texts[:-1]))
    return tals


def _decode(text: bytes) -> str:
    """UTF-8 as the standard asks; older exporters wrote Latin-1."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")
