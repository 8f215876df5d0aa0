"""HDF5 recordings in the layout of the Dreem Open Datasets, through the optional ``h5py`` package.

One dataset per channel below the group ``signals``; a label is a dataset's path (``signals/eeg/C3_M2``). Rates stand
in the root attribute ``description``, a JSON list of ``{"path", "fs"}``, or in an attribute ``fs``.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import time
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.signals.base import Channel, Signal

GROUP = "signals"
"""Group below which channels lie."""

HYPNOGRAM = "hypnogram"
"""Dataset of the scorers' consensus."""

UNITS_UV: Mapping[str, float] = {"uv": 1.0, "µv": 1.0, "μv": 1.0, "mv": 1e3, "v": 1e6}
"""Units of voltage, case folded, in microvolts; the second and third are the micro sign and the Greek letter."""

PLAUSIBLE_UV = (0.1, 5000.0)
"""Typical deviation from the median of an EEG, EOG, EMG or ECG channel."""

MAX_CHANNEL_BYTES = 2**30
"""Largest channel that is read, as float64: six days at 250 Hz."""

MAX_EPOCHS = 100_000
"""Longest hypnogram that is read: more than a month."""

_MAX_DESCRIPTION = 1 << 20
_MAX_NODES = 4096
_MAX_DEPTH = 8
_LENGTH_SLACK_S = 1.0
# What h5py raises on damaged files; it has no error class of its own.
_MALFORMED = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError)


@dataclass(frozen=True)
class _Header:
    channels: tuple[Channel, ...]
    unreadable: Mapping[str, str]
    repairs: tuple[str, ...]


class Hdf5File:
    """A recording of the Dreem layout as a `SignalFile`.

    Links to elsewhere and datasets whose samples lie outside the file are never followed.

    Parameters
    ----------
    path : path
    unit : str, optional
        Unit of the samples: V, mV or uV. It wins over the attribute ``unit`` of a dataset or its group, and is needed
        where a file has none. Either is held against the samples: see `read`.
    rate_hz : float, optional
        Sampling rate of every channel, for files that do not state it, or state two.

    Raises
    ------
    UsageError
        For a unit or rate that is none; when ``h5py`` is not installed (on first use).
    """

    def __init__(self, path: str | Path, unit: str | None = None, rate_hz: float | None = None) -> None:
        if unit is not None and unit.casefold() not in UNITS_UV:
            raise UsageError(f"unit {unit!r} of {path} is unknown; known: V, mV, uV")
        if rate_hz is not None and not (math.isfinite(rate_hz) and rate_hz > 0):
            raise UsageError(f"rate_hz {rate_hz!r} of {path}: expected a sampling rate above 0")
        self._path, self._unit, self._rate_hz = Path(path), unit, rate_hz

    @property
    def settings(self) -> str:
        """What the caller said of unit and rate: part of a recording's fingerprint."""
        return "" if self._unit is None and self._rate_hz is None else f"unit {self._unit}, rate {self._rate_hz} Hz"

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self._path,)

    @cached_property
    def _header(self) -> _Header:
        with _opened(self._path) as file:
            return _read_header(file, self._path.name, self._unit, self._rate_hz)

    def channels(self) -> tuple[Channel, ...]:
        """Channels in the order of the file; those of `unreadable` are left out.

        Raises
        ------
        RecordingError
            When the file is damaged, has no channels, or does not state a rate or unit.
        """
        return self._header.channels

    def duration_s(self) -> float:
        """Length of the shortest channel: all of them end within a second."""
        return min(channel.n_samples / channel.rate_hz for channel in self._header.channels)

    def repairs(self) -> tuple[str, ...]:
        """Where a setting was preferred to what the file states."""
        return self._header.repairs

    def start_clock(self) -> time | None:
        """Nothing: the format has no local time of day, and hypnograms need none."""
        return None

    def unreadable(self) -> Mapping[str, str]:
        """Label to reason, of what looks like a channel but must not or cannot be read."""
        return self._header.unreadable

    def read(self, label: str) -> Signal:
        """Read one channel.

        Raises
        ------
        RecordingError
            When there is no such channel or the file is damaged; or when its amplitude, taken in the unit of the file
            or of the setting, cannot be that of a living person: the unit is wrong.
        DataError
            When only this channel cannot be read.
        """
        header = self._header
        if label in header.unreadable:
            raise DataError(f"{self._path.name}: channel {label!r} is {header.unreadable[label]}")
        channel = next((c for c in header.channels if c.label == label), None)
        if channel is None:
            names = ", ".join(c.label for c in header.channels)
            raise RecordingError(self._path.name, f"no channel {label!r}; the file has: {names}")
        with _opened(self._path) as file, np.errstate(invalid="ignore"):  # some kinds of NaN complain when widened
            values = np.asarray(file[label][()], dtype=np.float64)
        if values.shape != (channel.n_samples,):
            raise RecordingError(self._path.name, f"channel {label!r} has another length than when it was listed")
        self._check_unit(values, channel)
        return Signal(values, channel.rate_hz, channel.unit, label)

    def _check_unit(self, values: NDArray[np.float64], channel: Channel) -> None:
        scale = UNITS_UV.get(channel.unit.casefold())
        amplitude = typical_deviation(values)
        low, high = PLAUSIBLE_UV
        if scale is None or amplitude == 0 or low <= amplitude * scale <= high:
            return
        fitting = [name for name in ("V", "mV", "uV") if low <= amplitude * UNITS_UV[name.casefold()] <= high]
        hint = f"in {' or '.join(fitting)} it would fit" if fitting else "no unit of voltage makes it fit"
        raise RecordingError(
            self._path.name,
            f"channel {channel.label!r} deviates from its median by {amplitude:.3g} {channel.unit} = "
            f"{amplitude * scale:.3g} uV, biosignals by {low:g} to {high:g} uV; {hint}: set the unit of its samples in "
            "the cohort settings ([units])",
        )


def typical_deviation(values: NDArray[np.float64]) -> float:
    """Median of the absolute deviations from the median that are not 0; 0 for a constant channel.

    Deviations of 0 say nothing about the unit, and a channel may be off for most of the night. Samples that are not
    finite do not count.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # damaged samples may be 1e308
        deviations = np.abs(finite - np.median(finite))
    deviations = deviations[deviations > 0]
    return float(np.median(deviations)) if deviations.size else 0.0


def load_hypnogram(path: str | Path) -> list[int]:
    """Stage numbers of a file's dataset ``hypnogram``, one per 30-s epoch, as they are.

    Raises
    ------
    RecordingError
        When the file is damaged, or the dataset is missing, too long, or holds anything but whole numbers.
    UsageError
        When ``h5py`` is not installed.
    """
    path = Path(path)
    with _opened(path) as file:
        reason = _no_hard_link(file, HYPNOGRAM) or _fault(file[HYPNOGRAM], MAX_EPOCHS)
        if reason:
            raise RecordingError(path.name, f"its dataset {HYPNOGRAM!r} is {reason}")
        values = np.asarray(file[HYPNOGRAM][()])
    if not (np.isfinite(values).all() and np.array_equal(values, np.rint(values))):
        raise RecordingError(path.name, f"its dataset {HYPNOGRAM!r} holds values that are no whole numbers")
    return [int(value) for value in values]


def _read_header(file: Any, name: str, unit: str | None, rate_hz: float | None) -> _Header:
    reason = _no_hard_link(file, GROUP)
    if reason or not hasattr(file[GROUP], "keys"):
        raise RecordingError(
            name, f"its group {GROUP!r} is {reason or 'no group'}; the file holds: {', '.join(file) or 'nothing'}"
        )
    unreadable: dict[str, str] = {}
    found = list(_datasets(file[GROUP], GROUP, unreadable, name))
    described = _described_rates(file, name)
    channels, repairs = [], []
    for label, dataset in found:
        stated_hz = _stated_rate(dataset, described.get(label), label, name, rate_hz)
        stated = _text(dataset.attrs.get("unit", dataset.parent.attrs.get("unit", "")))
        if unit is None and not stated:
            raise RecordingError(
                name, f"channel {label!r} has no unit; say it in the cohort settings ([units]): V, mV or uV"
            )
        if unit is not None and stated and UNITS_UV.get(stated.casefold()) != UNITS_UV[unit.casefold()]:
            repairs.append(f"{label}: taken as {unit}, though the file says {stated}")
        channels.append(Channel(label, stated_hz, stated if unit is None else unit, int(dataset.shape[0])))
    longest_s = max((c.n_samples / c.rate_hz for c in channels), default=0.0)
    for channel in channels:
        if (seconds := channel.n_samples / channel.rate_hz) < longest_s - _LENGTH_SLACK_S:
            unreadable[channel.label] = f"{seconds:g} s long, but the recording lasts {longest_s:g} s"
    channels = [channel for channel in channels if channel.label not in unreadable]
    if not channels:
        raise RecordingError(name, f"no channel can be read below {GROUP!r}; {_listed(unreadable)}")
    return _Header(tuple(channels), unreadable, tuple(repairs))


def _datasets(group: Any, label: str, unreadable: dict[str, str], name: str) -> Iterator[tuple[str, Any]]:
    """Usable datasets below `group`; the others go to `unreadable`. A group may contain itself: depth is bounded."""
    pending = [(label, group, 0)]
    seen = 0
    while pending:
        prefix, parent, depth = pending.pop(0)
        for key in parent:
            seen += 1
            if seen > _MAX_NODES or depth > _MAX_DEPTH:
                raise RecordingError(name, f"more than {_MAX_NODES} entries, or groups deeper than {_MAX_DEPTH}")
            path = f"{prefix}/{key}"
            reason = _no_hard_link(parent, key)
            node = None if reason else parent[key]
            if node is not None and hasattr(node, "keys"):
                pending.append((path, node, depth + 1))
                continue
            reason = reason or _fault(node, MAX_CHANNEL_BYTES // 8)
            if reason:
                unreadable[path] = reason
            else:
                yield path, node


def _no_hard_link(group: Any, key: str) -> str | None:
    """Why an entry is not part of this file, or ``None``."""
    link = group.get(key, getlink=True, default=None)
    kind = type(link).__name__
    if link is None:
        return "missing"
    return None if kind == "HardLink" else f"a link ({kind}) that is not followed; copy the dataset into the file"


def _fault(dataset: Any, max_values: int) -> str | None:
    """Why a dataset cannot be read, or ``None``. Nothing is read."""
    if not hasattr(dataset, "shape"):
        return "no dataset"
    if dataset.dtype.kind not in "iuf" or dataset.dtype.itemsize > 8:
        return f"of type {dataset.dtype}, not of numbers"
    if dataset.shape is None or len(dataset.shape) != 1 or dataset.shape[0] == 0:
        return f"of shape {dataset.shape}, expected one row of samples"
    if dataset.shape[0] > max_values:
        return f"{dataset.shape[0]} values long, above the limit of {max_values}"
    if dataset.external or dataset.is_virtual:
        return "stored outside the file, where it is not looked for"
    written = dataset.id.get_storage_size() > 0
    if dataset.chunks is not None:
        written = dataset.id.get_num_chunks() == math.ceil(dataset.shape[0] / dataset.chunks[0])
    return None if written else "not written to its end"


def _described_rates(file: Any, name: str) -> dict[str, float]:
    """Rates of the root attribute ``description`` by path; none when it is missing."""
    if "description" not in file.attrs:
        return {}
    text = _text(file.attrs["description"])
    if len(text) > _MAX_DESCRIPTION:
        raise RecordingError(name, f"its attribute 'description' has {len(text)} characters")
    try:
        entries = json.loads(text)
        if not isinstance(entries, list):
            raise TypeError(f"a JSON {type(entries).__name__}")
        return {str(entry["path"]).strip("/"): float(entry["fs"]) for entry in entries}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RecordingError(
            name, f"its attribute 'description' is no JSON list of path and fs ({str(error)[:60]})"
        ) from error


def _stated_rate(dataset: Any, described: float | None, label: str, name: str, override: float | None) -> float:
    """Sampling rate of a channel; the setting wins, and two different statements are not chosen between."""
    if override is not None:
        return override
    attribute = dataset.attrs.get("fs", dataset.parent.attrs.get("fs"))
    stated = [float(np.asarray(rate).reshape(-1)[0]) for rate in (described, attribute) if rate is not None]
    if not stated or any(rate != stated[0] for rate in stated) or not (math.isfinite(stated[0]) and stated[0] > 0):
        said = " and ".join(f"{rate:g} Hz" for rate in stated) or "no sampling rate"
        raise RecordingError(
            name, f"channel {label!r} states {said}; give the right one in the cohort settings: [layout] rate_hz"
        )
    return stated[0]


def _text(attribute: Any) -> str:
    """An attribute that should be a text, which HDF5 may give as bytes."""
    value = attribute.item() if isinstance(attribute, np.ndarray) and attribute.size == 1 else attribute
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _listed(unreadable: Mapping[str, str]) -> str:
    return "; ".join(f"{label} is {reason}" for label, reason in list(unreadable.items())[:3]) or "it is empty"


def import_h5py() -> ModuleType:
    """Import the optional package. Raises ``UsageError`` when it is not installed."""
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise UsageError("this cohort needs the h5py package: pip install 'hypnos-bench[hdf5]'") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    h5py = import_h5py()
    if not path.is_file():
        raise RecordingError(path.name, f"no such file; looked in {path.parent}")
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except _MALFORMED as error:
        text = (str(error).splitlines() or [""])[0] or type(error).__name__
        # An error number is the operating system's: a fault of the moment. Without one the file itself is damaged.
        cause = error if isinstance(error, OSError) and error.errno else None
        raise RecordingError(path.name, f"cannot be read as HDF5 ({text[:120]}); fetch it again") from cause
