"""What an EDF header says of each channel: label, unit, place inside a data record, calibration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from hypnos_bench.signals.base import UNCALIBRATED
from hypnos_bench.signals.edf_fields import FieldReader
from hypnos_bench.signals.labels import unique_labels

MAX_RATE_HZ = 1e6
"""No channel of a recording is faster: such a header is damaged."""

_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
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
_LIMITS = ("physical minimum", "physical maximum", "digital minimum", "digital maximum")
_UNUSED = ("transducer", "prefilter", "reserved")

Refuse = Callable[[str], NoReturn]


@dataclass(frozen=True)
class EdfChannel:
    """One channel's header entry.

    Parameters
    ----------
    label : str
        Unique in the file, see `unique_labels`.
    unit : str
        As stated; `UNCALIBRATED` when the values are stored integers.
    offset, per_record : int
        First byte inside a data record, and samples per record.
    scale, zero : float
        Physical value = scale * (zero + stored integer).
    fault : str or None
        Why no value can be given, although the rest of the file can be read.
    """

    label: str
    unit: str
    offset: int
    per_record: int
    scale: float
    zero: float
    fault: str | None = None


class _Calibration(NamedTuple):
    """Physical value = scale * (zero + stored integer), in the stated unit or in none."""

    scale: float = 1.0
    zero: float = 0.0
    fault: str | None = None
    known: bool = True


def parse_channels(
    fields: FieldReader, per_channel: bytes, n_signals: int, sample_bytes: int, refuse: Refuse
) -> tuple[tuple[EdfChannel, ...], tuple[EdfChannel, ...], int]:
    """Channels, annotation channels, and bytes per data record."""
    columns = _columns(per_channel, n_signals)
    labels = [fields.text(label, f"label of channel {i}") for i, label in enumerate(columns["label"], start=1)]
    channels: list[EdfChannel] = []
    annotations: list[EdfChannel] = []
    offset = 0
    for i, label in enumerate(_unique(fields, labels)):
        is_annotation = label in _ANNOTATIONS
        per_record = whole(fields, columns["samples per record"][i], f"samples per record of {label!r}", refuse)
        if per_record < 1:
            refuse(f"channel {label!r}: {per_record} samples per data record; the header is damaged")
        unit = fields.text(columns["unit"][i], f"unit of {label!r}")
        # The limits of annotation channels have no meaning.
        limits = {} if is_annotation else {name: columns[name][i] for name in _LIMITS}
        found = _Calibration() if is_annotation else _calibration(fields, limits, label)
        channel = EdfChannel(
            label=label,
            unit=unit if found.known else UNCALIBRATED,
            offset=offset,
            per_record=per_record,
            scale=found.scale,
            zero=found.zero,
            fault=found.fault,
        )
        (annotations if is_annotation else channels).append(channel)
        offset += per_record * sample_bytes
    return tuple(channels), tuple(annotations), offset


def unused_fields(per_channel: bytes, n_signals: int) -> dict[str, bytes]:
    """Fields that nothing depends on, by name."""
    columns = _columns(per_channel, n_signals)
    return {f"{name} of channel {i}": field for name in _UNUSED for i, field in enumerate(columns[name], start=1)}


def whole(fields: FieldReader, raw: bytes, what: str, refuse: Refuse) -> int:
    """Whole number without which the file cannot be read."""
    value = fields.whole(raw, what)
    if value is None:
        text = fields.ascii(raw, what)
        refuse(f"the header's {what} is {text!r}, not a whole number; the file is damaged or not an EDF")
    return value


def _columns(per_channel: bytes, n_signals: int) -> dict[str, list[bytes]]:
    """Raw fields of all channels by property."""
    columns: dict[str, list[bytes]] = {}
    at = 0
    for name, width in _FIELDS:
        columns[name] = [per_channel[at + i * width : at + (i + 1) * width] for i in range(n_signals)]
        at += width * n_signals
    return columns


def _unique(fields: FieldReader, labels: list[str]) -> list[str]:
    """Labels that identify each channel; those of annotations may be equal and stay."""
    unique = iter(unique_labels(label for label in labels if label not in _ANNOTATIONS))
    names = [label if label in _ANNOTATIONS else next(unique) for label in labels]
    for i, (label, name) in enumerate(zip(labels, names, strict=True), start=1):
        if name != label:
            fields.note(f"the label of channel {i} is {f'{label!r} again' if label else 'blank'}: called {name!r}")
    return names


def _calibration(fields: FieldReader, raw: dict[str, bytes], label: str) -> _Calibration:
    """Scale and zero, or why there are none. Maximum below minimum is allowed: the signal is then inverted."""
    limits = {}
    for name in _LIMITS:
        what = f"{name} of {label!r}"
        value = fields.number(raw[name], what)
        kind = "a whole number" if name.startswith("digital") else "a number"
        if value is None or (name.startswith("digital") and value != int(value)):
            return _no(f"its {name} is {fields.ascii(raw[name], what)!r}, not {kind}")
        limits[name] = value
    low, high = limits["physical minimum"], limits["physical maximum"]
    digital_low, digital_high = limits["digital minimum"], limits["digital maximum"]
    if digital_high <= digital_low:
        return _no(f"its digital range is {digital_low:g} to {digital_high:g}")
    if low == high:
        fields.note(
            f"channel {label!r} has no calibration, physical minimum and maximum are both {low:g}: "
            f"read as stored integers, unit {UNCALIBRATED!r}"
        )
        return _Calibration(known=False)
    scale = (high - low) / (digital_high - digital_low)
    zero = high / scale - digital_high if scale else math.nan
    if not (math.isfinite(scale) and math.isfinite(zero)):
        return _no(f"its physical range {low:g} to {high:g} cannot be computed with")
    return _Calibration(scale, zero)


def _no(fault: str) -> _Calibration:
    return _Calibration(math.nan, math.nan, fault)
