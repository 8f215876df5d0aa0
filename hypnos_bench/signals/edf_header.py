"""The fixed ASCII header of EDF and BDF, parsed without touching samples, and checked against the file's size.

What is only written badly is repaired, with a line for each repair; what contradicts itself is refused. Sources: Kemp
et al. 1992 (EDF), Kemp and Olivan 2003 (EDF+), BioSemi (BDF).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import NamedTuple, NoReturn

from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.edf_channels import MAX_RATE_HZ, EdfChannel, Refuse, parse_channels, unused_fields, whole
from hypnos_bench.signals.edf_fields import FieldReader

_VERSIONS = {b"0       ": 2, b"0\0\0\0\0\0\0\0": 2, b"\xffBIOSEMI": 3}  # bytes per sample
_MAX_RECORD_S = 7 * 86400.0
# Name, first and last byte of what is stored once per file.
_FIXED = {
    "patient": (8, 88),
    "recording": (88, 168),
    "start date": (168, 176),
    "start time": (176, 184),
    "header length": (184, 192),
    "reserved": (192, 236),
    "number of data records": (236, 244),
    "duration of a data record": (244, 252),
    "number of signals": (252, 256),
}


@dataclass(frozen=True)
class EdfHeader:
    """What the header says, after it was found to agree with the file.

    Parameters
    ----------
    plus : str
        ``"C"`` or ``"D"`` for continuous and discontinuous EDF+, blank for plain EDF.
    start : time or None
        Time of day, ``None`` when the field is not a time. The date is not kept: cohorts blank it.
    recording : str
        Free text; in EDF+ start date, codes of investigation and investigator, equipment.
    sample_bytes : int
        2 in EDF, 3 in BDF.
    channels, annotations : tuple of EdfChannel
    repairs : tuple of str
        One line per thing that was not as the standard wants it, and how it was read.
    """

    plus: str
    start: time | None
    recording: str
    header_bytes: int
    n_records: int
    record_s: float
    record_bytes: int
    sample_bytes: int
    channels: tuple[EdfChannel, ...]
    annotations: tuple[EdfChannel, ...]
    repairs: tuple[str, ...]


class _Raw(NamedTuple):
    """Header bytes as they stand in the file."""

    size: int
    sample_bytes: int
    n_signals: int
    fixed: bytes
    per_channel: bytes


def read_header(path: Path) -> EdfHeader:
    """Parse the header of an EDF, EDF+ or BDF file and check that the file is whole.

    Raises
    ------
    RecordingError
        Not an EDF, empty, truncated, or a header that contradicts itself or the file's length. Bytes after the last
        data record are left out, with a line that says so, as long as they are fewer than a record: some writers pad
        their files. A file that was never closed (-1 data records) is read when it holds whole records only.
    """

    def refuse(reason: str) -> NoReturn:
        raise RecordingError(path.name, reason)

    fields = FieldReader()
    raw = _read_raw(path, fields, refuse)
    fixed = {name: raw.fixed[first:last] for name, (first, last) in _FIXED.items()}
    channels, annotations, record_bytes = parse_channels(
        fields, raw.per_channel, raw.n_signals, raw.sample_bytes, refuse
    )
    record_s = _record_s(fields, fixed["duration of a data record"], channels, refuse)
    stated = whole(fields, fixed["number of data records"], "number of data records", refuse)
    data_bytes = raw.size - len(raw.fixed) - len(raw.per_channel)
    n_records = _checked_length(fields, stated, record_s, record_bytes, data_bytes, refuse)
    plus = _plus(fields, fixed["reserved"], annotations)
    fields.start_date(fixed["start date"])
    start = fields.start_time(fixed["start time"])
    unused = {name: fixed[name] for name in ("patient", "recording")} | unused_fields(raw.per_channel, raw.n_signals)
    _note_unused(fields, unused)
    return EdfHeader(
        plus=plus,
        start=start,
        recording=fixed["recording"].decode("latin-1").strip("\x00 "),
        header_bytes=len(raw.fixed) + len(raw.per_channel),
        n_records=n_records,
        record_s=record_s,
        record_bytes=record_bytes,
        sample_bytes=raw.sample_bytes,
        channels=channels,
        annotations=annotations,
        repairs=fields.repairs,
    )


def _read_raw(path: Path, fields: FieldReader, refuse: Refuse) -> _Raw:
    try:
        size = path.stat().st_size
        if not path.is_file():
            refuse("not a regular file")
        with path.open("rb") as f:
            fixed = f.read(256)
            sample_bytes = _VERSIONS.get(fixed[:8])
            if not size:
                refuse("the file is empty; fetch it again")
            if sample_bytes is None or len(fixed) < 256:
                refuse("not an EDF or BDF file (it does not begin with an EDF header)")
            fields.raw(fixed[:8], "version")
            first, last = _FIXED["number of signals"]
            n_signals = whole(fields, fixed[first:last], "number of signals", refuse)
            header_bytes = 256 * (1 + n_signals)
            if n_signals < 1:
                refuse("the header lists no signals")
            if size < header_bytes:
                refuse(f"truncated: the header alone needs {header_bytes} bytes, the file has {size}; fetch it again")
            per_channel = f.read(header_bytes - 256)
    except OSError as error:
        raise RecordingError(path.name, f"cannot be opened ({error.strerror})") from error
    if len(per_channel) < header_bytes - 256:
        refuse("became shorter while it was read; fetch it again")
    first, last = _FIXED["header length"]
    stated = whole(fields, fixed[first:last], "header length", refuse)
    if stated != header_bytes:
        refuse(f"the header gives its own length as '{stated}' bytes, its signals need {header_bytes}")
    return _Raw(size, sample_bytes, n_signals, fixed, per_channel)


def _plus(fields: FieldReader, raw: bytes, annotations: Sequence[EdfChannel]) -> str:
    """``"C"`` or ``"D"`` of EDF+ and BDF+, blank otherwise."""
    reserved = fields.ascii(raw, "reserved field")
    if reserved[:5] in ("EDF+C", "EDF+D", "BDF+C", "BDF+D"):
        return reserved[4]
    for channel in annotations:
        fields.note(f"the reserved field does not say EDF+: the channel {channel.label!r} is left out")
    return ""


def _record_s(fields: FieldReader, raw: bytes, channels: Sequence[EdfChannel], refuse: Refuse) -> float:
    """Duration of a data record; 0 is for files of annotations only."""
    record_s = fields.number(raw, "duration of a data record")
    if record_s is None or not 0 <= record_s <= _MAX_RECORD_S or (record_s == 0 and channels):
        text = fields.ascii(raw, "duration of a data record")
        refuse(f"data records last {text!r} s according to the header; that is not a duration")
    for channel in channels:
        if channel.per_record > MAX_RATE_HZ * record_s:
            refuse(f"channel {channel.label!r}: {channel.per_record} samples in {record_s:g} s; the header is damaged")
    return record_s


def _checked_length(
    fields: FieldReader, n_records: int, record_s: float, record_bytes: int, data_bytes: int, refuse: Refuse
) -> int:
    """Number of data records, after comparing what the header says with what the file holds."""
    held, surplus = divmod(data_bytes, record_bytes)
    if n_records == 0:
        refuse("the header says zero data records: nothing was recorded, or the header was never completed")
    if n_records < 0:
        never_closed = f"the header says {n_records} data records (recording never closed)"
        if n_records != -1 or not held:
            refuse(f"{never_closed}; the file has room for {held}")
        if surplus:
            refuse(f"{never_closed}; the file holds {held} and a part of another: it was cut off, fetch it again")
        fields.note(f"{never_closed}: the {held} that the file holds are read")
        return held
    if held < n_records:
        missing_s = (n_records - held) * record_s
        refuse(f"truncated: {held} of {n_records} data records are there, {missing_s:g} s missing; fetch it again")
    if held > n_records:
        refuse(f"the header says {n_records} data records, the file holds {held}; one of them is wrong")
    if surplus:
        fields.note(
            f"{surplus} byte{'s' if surplus > 1 else ''} after the last data record, less than another one: left out"
        )
    return n_records


def _note_unused(fields: FieldReader, unused: dict[str, bytes]) -> None:
    """Say where fields that nothing depends on are not ASCII. What stands in them, a name perhaps, is not repeated."""
    odd = [name for name, field in unused.items() if not fields.raw(field, name).isascii()]
    if odd:
        fields.note(f"not ASCII, and not used: {', '.join(odd[:3])}{f' and {len(odd) - 3} more' if odd[3:] else ''}")
