"""Write EDF files: the demo cohort and the fake cohorts of the tests are real files, read by the real reader.

Written directly rather than through a library: equal input gives equal bytes whatever is installed, and a night of
ten channels takes a fraction of a second. Source: Kemp et al. 1992 (EDF), Kemp and Olivan 2003 (EDF+).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import DataError

_DIGITAL_MAX = 32767  # symmetric range: zero stays exactly zero, and so does a flat line
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MAX_RECORD_S = 3600
_BLOCK_RECORDS = 256  # converted at a time, so that intermediates stay in cache


class _Column(NamedTuple):
    """One channel as the file stores it."""

    label: str
    unit: str
    physical_max: str  # as printed in the header
    per_record: int
    values: NDArray[np.floating[Any]]


def write_edf(
    path: str | Path,
    channels: Sequence[tuple[str, float, str, ArrayLike]],
    *,
    start: datetime = datetime(1985, 1, 1, 22, 0, 0),
    annotations: Sequence[tuple[float, float, str]] = (),
    recording: str = "X X X",
    record_starts_s: Sequence[float] | None = None,
) -> None:
    """Write an EDF file, or EDF+ when there are annotations or pauses.

    Parameters
    ----------
    path : path
        Replaced when it exists, and only once the new file is complete.
    channels : sequence of (label, rate_hz, unit, values)
        Values in `unit`, shape (n_samples,). All channels must last equally long to within one data record; the
        last record is filled up by repeating the last value. May be empty when there are annotations.
    start : datetime
        Start of the recording, 1985 to 2084, whole seconds.
    annotations : sequence of (start_s, duration_s, text)
        Seconds from `start`. A duration of 0 is written as none.
    recording : str
        Investigation, investigator and equipment, as EDF+ wants them in the header: three words, "X" for unknown.
    record_starts_s : sequence of float, optional
        Where every data record begins, in seconds from `start`, to the microsecond: the file becomes discontinuous
        (EDF+D). The values hold no samples for the pauses.

    Raises
    ------
    DataError
        When EDF cannot hold it: non-finite values, long or non-ASCII labels, unequal lengths, odd rates.

    Notes
    -----
    Samples are 16 bit over plus or minus the channel's largest magnitude. A record lasts the shortest whole number
    of seconds that holds a whole number of samples of every channel.
    """
    path = Path(path)
    if not 1985 <= start.year <= 2084 or start.microsecond:
        raise DataError(f"{path.name}: EDF cannot start at {start}; use whole seconds in 1985 to 2084")
    if not channels and not annotations:
        raise DataError(f"{path.name}: nothing to write; give channels or annotations")
    record_s = _record_duration_s(path.name, [rate for _, rate, _, _ in channels])
    if not recording.isascii() or len(recording.split()) != 3 or len(recording) > 80 - len("Startdate 01-JAN-1985 "):
        raise DataError(f"{path.name}: recording {recording!r} must be three short ASCII words, 'X' for unknown")
    columns = [_column(path.name, record_s, *channel) for channel in channels]
    n_records = _n_records(path.name, columns)
    tals = None
    if annotations or record_starts_s is not None:
        starts_s = [r * record_s for r in range(n_records)] if record_starts_s is None else record_starts_s
        if len(starts_s) != n_records or any(b - a < record_s - 1e-6 for a, b in pairwise(starts_s)):
            raise DataError(f"{path.name}: {len(starts_s)} starts for {n_records} records of {record_s} s, in order")
        tals = _annotation_records(annotations, starts_s)
    plus = "" if tals is None else "EDF+C" if record_starts_s is None else "EDF+D"

    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as f:
        f.write(_header(path.name, columns, start, recording, n_records, record_s if columns else 0, tals, plus))
        for first in range(0, n_records, _BLOCK_RECORDS):
            f.write(_records(columns, first, min(first + _BLOCK_RECORDS, n_records), tals).data)
    partial.replace(path)


def _record_duration_s(name: str, rates_hz: Sequence[float]) -> int:
    """Shortest whole number of seconds that holds whole samples of every channel."""
    record_s = 1
    for rate_hz in rates_hz:
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise DataError(f"{name}: sampling rate {rate_hz} Hz; use a positive number")
        record_s = math.lcm(record_s, Fraction(rate_hz).limit_denominator(_MAX_RECORD_S).denominator)
        if record_s > _MAX_RECORD_S:
            raise DataError(f"{name}: rates {rates_hz} share no data record of at most {_MAX_RECORD_S} s; round them")
    return record_s


def _column(name: str, record_s: int, label: str, rate_hz: float, unit: str, values: ArrayLike) -> _Column:
    """Check one channel and choose its physical range."""
    samples = np.asarray(values)
    if samples.dtype not in (np.float32, np.float64):
        samples = samples.astype(np.float64)
    if samples.ndim != 1 or samples.size == 0:
        raise DataError(f"{name}: channel {label!r} has shape {samples.shape}; give one row of samples")
    peak = max(float(samples.max()), -float(samples.min()))
    if not math.isfinite(peak):
        raise DataError(f"{name}: channel {label!r} holds NaN or infinite values, which EDF cannot store")
    physical_max = _seven_characters(peak or 1.0)
    if physical_max is None:
        raise DataError(f"{name}: channel {label!r} reaches {peak:g} {unit}, too large for an EDF header; change unit")
    return _Column(label, unit, physical_max, round(rate_hz * record_s), samples)


def _seven_characters(peak: float) -> str | None:
    """Decimal of at most seven characters (the eighth is for the sign), rounded up so that nothing is clipped."""
    for decimals in range(5, -1, -1):
        text = f"{math.ceil(peak * 10**decimals) / 10**decimals:.{decimals}f}"
        if len(text) <= 7:
            return text
    return None


def _n_records(name: str, columns: Sequence[_Column]) -> int:
    counts = [-(-len(c.values) // c.per_record) for c in columns] or [1]
    if max(counts) - min(counts) > 1:
        short = columns[counts.index(min(counts))].label
        raise DataError(f"{name}: channel {short!r} has {min(counts)} data records, another has {max(counts)}")
    return max(counts)


def _records(columns: Sequence[_Column], first: int, stop: int, tals: Sequence[bytes] | None) -> NDArray[np.int16]:
    """Data records `first` to `stop`: every channel's samples, then the annotations."""
    tal_samples = len(tals[0]) // 2 if tals else 0
    out = np.empty((stop - first, sum(c.per_record for c in columns) + tal_samples), dtype="<i2")
    at = 0
    for c in columns:
        part = c.values[first * c.per_record : stop * c.per_record]
        digital = np.multiply(part, _DIGITAL_MAX / float(c.physical_max))
        np.rint(digital, out=digital)
        missing = (stop - first) * c.per_record - len(digital)
        if missing:
            last = np.rint(c.values[-1] * (_DIGITAL_MAX / float(c.physical_max)))
            digital = np.concatenate([digital, np.full(missing, last)])
        out[:, at : at + c.per_record] = digital.reshape(stop - first, c.per_record)
        at += c.per_record
    if tals:
        out[:, at:] = np.frombuffer(b"".join(tals[first:stop]), dtype="<i2").reshape(stop - first, tal_samples)
    return out


def _annotation_records(annotations: Sequence[tuple[float, float, str]], starts_s: Sequence[float]) -> list[bytes]:
    """Annotation bytes of every record, all equally long: first the record's own start, then a share of the list.

    The standard lets an annotation lie in any record, so they are spread evenly to keep records small.
    """
    ordered = sorted(annotations, key=lambda a: a[0])
    records = [f"{'' if start_s < 0 else '+'}{_number(start_s)}\x14\x14\x00".encode() for start_s in starts_s]
    for i, (start_s, duration_s, text) in enumerate(ordered):
        if any(c in text for c in "\x00\x14\x15") or not text:
            raise DataError(f"annotation {text!r} at {start_s} s is empty or holds a control character")
        duration = f"\x15{_number(duration_s)}" if duration_s > 0 else ""
        sign = "" if start_s < 0 else "+"
        records[i * len(records) // len(ordered)] += f"{sign}{_number(start_s)}{duration}\x14{text}\x14\x00".encode()
    width = max(map(len, records))
    width += width % 2
    return [r.ljust(width, b"\x00") for r in records]


def _number(value: float) -> str:
    """Plain decimal to the microsecond, without an exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _header(
    name: str,
    columns: Sequence[_Column],
    start: datetime,
    recording: str,
    n_records: int,
    record_s: int,
    tals: Sequence[bytes] | None,
    plus: str,
) -> bytes:
    """Fixed ASCII header: 256 bytes for the file, 256 for every channel."""
    rows: list[tuple[str, str, str, str, str, int]] = [
        (c.label, c.unit, f"-{c.physical_max}", c.physical_max, f"-{_DIGITAL_MAX}", c.per_record) for c in columns
    ]
    if tals:
        rows.append(("EDF Annotations", "", "-1", "1", "-32768", len(tals[0]) // 2))
    started = f"Startdate {start.day:02d}-{_MONTHS[start.month - 1]}-{start.year} {recording}"
    fields: list[tuple[object, int]] = [
        ("0", 8),
        ("X X X X", 80),
        (started, 80),
        (f"{start.day:02d}.{start.month:02d}.{start.year % 100:02d}", 8),
        (f"{start.hour:02d}.{start.minute:02d}.{start.second:02d}", 8),
        (256 * (1 + len(rows)), 8),
        (plus, 44),
        (n_records, 8),
        (record_s, 8),
        (len(rows), 4),
    ]
    # One property of every channel after the other.
    fields += [(label, 16) for label, *_ in rows]
    fields += [("", 80)] * len(rows)  # transducer
    fields += [(unit, 8) for _, unit, *_ in rows]
    fields += [(low, 8) for _, _, low, *_ in rows]
    fields += [(high, 8) for _, _, _, high, *_ in rows]
    fields += [(digital_low, 8) for *_, digital_low, _ in rows]
    fields += [(_DIGITAL_MAX, 8)] * len(rows)
    fields += [("", 80)] * len(rows)  # prefilter
    fields += [(samples, 8) for *_, samples in rows]
    fields += [("", 32)] * len(rows)
    return b"".join(_field(name, text, width) for text, width in fields)


def _field(name: str, value: object, width: int) -> bytes:
    text = str(value)
    if len(text) > width or not text.isascii() or (text and not text.isprintable()):
        raise DataError(f"{name}: EDF header field {text!r} is not printable ASCII of at most {width} characters")
    return text.ljust(width).encode("ascii")
