"""The fixed ASCII header of EDF and BDF, parsed without touching samples, and checked against the file's size.

Sources: Kemp et al. 1992 (EDF), Kemp and Olivan 2003 (EDF+), BioSemi (BDF).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import NoReturn

from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.labels import unique_labels

_VERSIONS = {b"0       ": 2, b"\xffBIOSEMI": 3}  # bytes per sample
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_NUMBER = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?")
# Name and width of what is stored per channel, one property of all channels after the other.
_FIELDS = (
    ("label", 16),
    ("transducer", 80),
    ("unit", 8),
    ("physical minimum", 8),
    ("physical maximum", 8),
    ("digital minimum", 8),
    ("digital maximum", 8),
    ("prefilter", 80),
    ("samples per record", 8),
    ("reserved", 32),
)


@dataclass(frozen=True)
class EdfChannel:
    """One channel's header entry.

    Parameters
    ----------
    label : str
        Unique in the file, see `unique_labels`.
    offset, per_record : int
        First byte inside a data record, and samples per record.
    scale, zero : float
        Physical value = scale * (zero + stored integer).
    fault : str or None
        Why no physical value can be given, although the rest of the file can be read.
    """

    label: str
    unit: str
    offset: int
    per_record: int
    scale: float
    zero: float
    fault: str | None = None


@dataclass(frozen=True)
class EdfHeader:
    """What the header says, after it was found to agree with the file.

    Parameters
    ----------
    plus : str
        ``"C"`` or ``"D"`` for continuous and discontinuous EDF+, blank for plain EDF.
    start : time or None
        Time of day, ``None`` when the field is not a time. The date is not kept: cohorts blank it.
    sample_bytes : int
        2 in EDF, 3 in BDF.
    channels, annotations : tuple of EdfChannel
    """

    plus: str
    start: time | None
    header_bytes: int
    n_records: int
    record_s: float
    record_bytes: int
    sample_bytes: int
    channels: tuple[EdfChannel, ...]
    annotations: tuple[EdfChannel, ...]


def read_header(path: Path) -> EdfHeader:
    """Parse the header of an EDF, EDF+ or BDF file and check that the file is whole.

    Raises
    ------
    RecordingError
        Not an EDF, empty, truncated, or a header that contradicts itself or the file's length. Bytes after the last
        data record are ignored as long as they are fewer than a record: some writers pad their files.
    """

    def refuse(reason: str) -> NoReturn:
        raise RecordingError(path.name, reason)

    try:
        size = path.stat().st_size
        with path.open("rb") as f:
            fixed = f.read(256)
            sample_bytes = _VERSIONS.get(fixed[:8])
            if not size:
                refuse("the file is empty; fetch it again")
            if sample_bytes is None or len(fixed) < 256:
                refuse("not an EDF or BDF file (it does not begin with an EDF header)")
            n_signals = _whole(fixed[252:256], "number of signals", refuse)
            header_bytes = 256 * (1 + n_signals)
            if n_signals < 1:
                refuse("the header lists no signals")
            if size < header_bytes:
                refuse(f"truncated: the header alone needs {header_bytes} bytes, the file has {size}; fetch it again")
            per_channel = f.read(header_bytes - 256)
    except OSError as error:
        raise RecordingError(path.name, f"cannot be opened ({error.strerror})") from error
    if _whole(fixed[184:192], "header length", refuse) != header_bytes:
        refuse(f"the header gives its own length as {_text(fixed[184:192])!r} bytes, its signals need {header_bytes}")

    channels, annotations, record_bytes = _parse_channels(per_channel, n_signals, sample_bytes, refuse)
    record_s = _number(fixed[244:252])
    if record_s is None or record_s < 0 or (record_s == 0 and channels):
        refuse(f"data records last {_text(fixed[244:252])!r} s according to the header; that is not a duration")
    n_records = _whole(fixed[236:244], "number of data records", refuse)
    _check_length(n_records, record_s, record_bytes, size - header_bytes, refuse)
    reserved = _text(fixed[192:236])
    return EdfHeader(
        plus=reserved[4] if reserved[:5] in ("EDF+C", "EDF+D", "BDF+C", "BDF+D") else "",
        start=_time_of_day(_text(fixed[176:184])),
        header_bytes=header_bytes,
        n_records=n_records,
        record_s=record_s,
        record_bytes=record_bytes,
        sample_bytes=sample_bytes,
        channels=channels,
        annotations=annotations,
    )


def _check_length(
    n_records: int, record_s: float, record_bytes: int, data_bytes: int, refuse: Callable[[str], NoReturn]
) -> None:
    held = data_bytes // record_bytes
    if n_records == 0:
        refuse("the header says zero data records: nothing was recorded, or the header was never completed")
    if n_records < 0:
        refuse(f"the header says {n_records} data records (recording never closed); the file has room for {held}")
    if held < n_records:
        missing_s = (n_records - held) * record_s
        refuse(f"truncated: {held} of {n_records} data records are there, {missing_s:g} s missing; fetch it again")
    if held > n_records:
        refuse(f"the header says {n_records} data records, the file holds {held}; one of them is wrong")


def _parse_channels(
    raw: bytes, n_signals: int, sample_bytes: int, refuse: Callable[[str], NoReturn]
) -> tuple[tuple[EdfChannel, ...], tuple[EdfChannel, ...], int]:
    """Channels, annotation channels, and bytes per data record."""
    columns: dict[str, list[bytes]] = {}
    at = 0
    for name, width in _FIELDS:
        columns[name] = [raw[at + i * width : at + (i + 1) * width] for i in range(n_signals)]
        at += width * n_signals
    labels = [_text(label) for label in columns["label"]]
    names = iter(unique_labels(label for label in labels if label not in _ANNOTATIONS))
    channels: list[EdfChannel] = []
    annotations: list[EdfChannel] = []
    offset = 0
    for i, label in enumerate(labels):
        per_record = _whole(columns["samples per record"][i], f"samples per record of {label!r}", refuse)
        if per_record < 1:
            refuse(f"channel {label!r}: {per_record} samples per data record; the header is damaged")
        scale, zero, fault = _calibration({name: column[i] for name, column in columns.items()})
        is_annotation = label in _ANNOTATIONS
        channel = EdfChannel(
            label=label if is_annotation else next(names),
            unit=_text(columns["unit"][i]),
            offset=offset,
            per_record=per_record,
            scale=scale,
            zero=zero,
            fault=fault,
        )
        (annotations if is_annotation else channels).append(channel)
        offset += per_record * sample_bytes
    return tuple(channels), tuple(annotations), offset


def _calibration(fields: dict[str, bytes]) -> tuple[float, float, str | None]:
    """Scale and zero, or why there are none. Maximum below minimum is allowed: the signal is then inverted."""
    limits = {}
    for name in ("physical minimum", "physical maximum", "digital minimum", "digital maximum"):
        value = _number(fields[name])
        if value is None:
            return math.nan, math.nan, f"its {name} is {_text(fields[name])!r}, not a number"
        limits[name] = value
    low, high = limits["physical minimum"], limits["physical maximum"]
    digital_low, digital_high = limits["digital minimum"], limits["digital maximum"]
    if digital_high <= digital_low:
        return math.nan, math.nan, f"its digital range is {digital_low:g} to {digital_high:g}"
    if low == high:
        return math.nan, math.nan, f"it has no calibration: physical minimum and maximum are both {low:g}"
    scale = (high - low) / (digital_high - digital_low)
    return scale, high / scale - digital_high, None


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").strip("\x00 ")


def _whole(raw: bytes, what: str, refuse: Callable[[str], NoReturn]) -> int:
    text = _text(raw)
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        refuse(f"the header's {what} is {text!r}, not a whole number; the file is damaged or not an EDF")
    return int(text)


def _number(raw: bytes) -> float | None:
    """Decimal field. Whole part and fraction are summed, as EDFlib does it, so that values agree to the last bit."""
    text = _text(raw)
    match = _NUMBER.fullmatch(text)
    if match and text.isascii() and (match[2] or match[3]):
        value = int(match[2] or 0) + int(match[3] or 0) / 10.0 ** len(match[3] or "")
        return -value if match[1] == "-" else value
    if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text, re.ASCII) and math.isfinite(float(text)):
        return float(text)
    return None


def _time_of_day(text: str) -> time | None:
    match = re.fullmatch(r"(\d\d)[.:](\d\d)[.:](\d\d)", text, re.ASCII)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59 or int(match[3]) > 59:
        return None
    return time(int(match[1]), int(match[2]), int(match[3]))


def pread_record_range(path: Path, header: EdfHeader, first: int, stop: int) -> bytes:
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
