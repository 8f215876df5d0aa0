"""Where in time the data records of a discontinuous EDF+ file lie. A pause stays a pause.

Source: Kemp and Olivan 2003 (EDF+D): every record says when it begins, in its first annotation list.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.arrays import MAX_BYTES
from hypnos_bench.signals.edf_header import EdfHeader
from hypnos_bench.signals.edf_records import record_start_s, rows

_MAX_SPAN_S = 7 * 86400.0
_CLOCK_S = 1e-3  # record times are often printed to the millisecond only


class Timeline(NamedTuple):
    """When data records begin, in seconds from the first sample; ``None`` for a file without pauses."""

    starts_s: tuple[float, ...] | None
    duration_s: float
    pauses: tuple[tuple[float, float], ...]


class Run(NamedTuple):
    """Data records of one channel that follow each other, and the sample at which they begin."""

    first: int
    n_records: int
    place: int


def read_timeline(path: Path, h: EdfHeader) -> Timeline:
    """Read when the data records begin; only an EDF+D file can have pauses.

    A delay of at most half a sample of the fastest channel, or a millisecond when that is more, is no pause.

    Raises
    ------
    RecordingError
        When a record does not say when it begins, begins before the one before it has ended, or the file spans more
        than seven days or more samples than a channel may have.
    """
    if h.plus != "D" or not h.channels:
        return Timeline(None, h.n_records * h.record_s, ())
    if not h.annotations:
        raise RecordingError(path.name, "EDF+D without annotation channel: the times of its data records are unknown")
    slack_s = max(_CLOCK_S, 0.5 * h.record_s / max(c.per_record for c in h.channels))
    absolute_s = [record_start_s(path, i, row) for i, row in enumerate(rows(path, h, h.annotations[0]))]
    starts_s = tuple(start_s - absolute_s[0] for start_s in absolute_s)
    begin_s, n = 0.0, 0  # of the records since the last pause: small delays are told from their first, and add up
    pauses: list[tuple[float, float]] = []
    for record, start_s in enumerate(starts_s):
        end_s = begin_s + n * h.record_s
        if start_s < end_s - slack_s:
            raise RecordingError(
                path.name,
                f"discontinuous (EDF+D): data record {record + 1} begins at {start_s:g} s, {end_s - start_s:g} s "
                "before the one before it ends; its times cannot be trusted",
            )
        if start_s > end_s + slack_s:
            pauses.append((end_s, start_s - end_s))
            begin_s, n = start_s, 0
        n += 1
    duration_s = begin_s + n * h.record_s
    _refuse_too_long(path, h, duration_s)
    return Timeline(starts_s if pauses else None, duration_s, tuple(pauses))


def runs(timeline: Timeline, h: EdfHeader, per_record: int) -> tuple[list[Run], int]:
    """Where the records of one channel go, and the number of samples with the pauses.

    Every record begins within half a sample of its time (within a millisecond, for a channel above 500 Hz).
    """
    if timeline.starts_s is None:
        return [Run(0, h.n_records, 0)], h.n_records * per_record
    slack = max(0.5, _CLOCK_S / h.record_s * per_record)
    found: list[Run] = []
    end = 0
    for record, start_s in enumerate(timeline.starts_s):
        place = start_s / h.record_s * per_record
        if found and place <= end + slack:
            found[-1] = found[-1]._replace(n_records=found[-1].n_records + 1)
        else:
            end = math.floor(place + 0.5)
            found.append(Run(record, 1, end))
        end += per_record
    return found, end


def _refuse_too_long(path: Path, h: EdfHeader, duration_s: float) -> None:
    if duration_s > _MAX_SPAN_S:
        raise RecordingError(
            path.name,
            f"discontinuous (EDF+D): its records span {duration_s / 86400:.1f} days, more than 7; split the file",
        )
    samples = max(duration_s / h.record_s * c.per_record for c in h.channels)
    if samples * 8 > MAX_BYTES:
        raise RecordingError(
            path.name,
            f"discontinuous (EDF+D): with its pauses a channel has {samples:.0f} samples, "
            f"more than the {MAX_BYTES // 8} allowed; split the file",
        )
