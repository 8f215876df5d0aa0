"""PhysioNet WFDB records, through the optional ``wfdb`` package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import time
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hypnos_bench.errors import RecordingError, UsageError
from hypnos_bench.signals.base import Channel, Signal
from hypnos_bench.signals.labels import unique_labels

# Bytes per sample; packed formats share bytes between samples. FLAC formats have no fixed size and are not listed.
_SAMPLE_BYTES = {
    "8": 1.0,
    "16": 2.0,
    "24": 3.0,
    "32": 4.0,
    "61": 2.0,
    "80": 1.0,
    "160": 2.0,
    "212": 1.5,
    "310": 4 / 3,
    "311": 4 / 3,
}
_LONGEST_S = 7 * 86_400.0
# What wfdb raises on damaged text or bytes; it has no error class of its own.
_MALFORMED = (ValueError, IndexError, KeyError, TypeError, AttributeError, EOFError, OverflowError)


class WfdbFile:
    """A single-segment WFDB record as a `SignalFile`.

    Repeated or missing signal names become usable labels: the first ``ECG`` keeps its name, the second is
    ``"ECG#2"``; a nameless third signal is ``"#3"``.

    Parameters
    ----------
    header_path : path
        The ``.hea`` file.

    Raises
    ------
    UsageError
        When the ``wfdb`` package is not installed (on first use).
    """

    def __init__(self, header_path: str | Path) -> None:
        self._path = Path(header_path)

    @property
    def path(self) -> Path:
        """The header."""
        return self._path

    @property
    def files(self) -> tuple[Path, ...]:
        """The header and every signal file it names, whether they exist or not."""
        names = dict.fromkeys(self._header.file_name or ())
        return (self._path, *(self._path.parent / name for name in names))

    @property
    def comments(self) -> tuple[str, ...]:
        """Comment lines of the header, without the ``#``."""
        return tuple(self._header.comments or ())

    @cached_property
    def _header(self) -> Any:
        wfdb = _wfdb()
        if not self._path.is_file():
            raise RecordingError(self._path.name, f"no such header; looked in {self._path.parent}")
        try:
            header = wfdb.rdheader(str(self._path.with_suffix("")))
        except _MALFORMED as error:
            raise RecordingError(self._path.name, f"malformed WFDB header ({_brief(error)})") from error
        if not isinstance(header, wfdb.Record):
            raise RecordingError(self._path.name, "multi-segment record; convert it to one segment with WFDB's xform")
        if not (header.fs and math.isfinite(header.fs) and header.fs > 0):
            raise RecordingError(self._path.name, f"the header gives {header.fs} as sampling frequency")
        if len(header.sig_name or ()) != header.n_sig:
            listed = len(header.sig_name or ())
            raise RecordingError(
                self._path.name, f"cut off: it says {header.n_sig} signals and lists {listed}; fetch it again"
            )
        if (header.sig_len or 0) > _LONGEST_S * header.fs:
            raise RecordingError(self._path.name, f"the header gives {header.sig_len} samples: more than a week")
        return header

    @cached_property
    def _n_frames(self) -> int:
        """Frames in the record. A header may leave the length out; the signal file then tells."""
        stated = self._header.sig_len
        return int(stated) if stated else self._frames_held(self._header.file_name[0])

    def _frames_held(self, name: str) -> int:
        """Whole frames in one signal file."""
        h = self._header
        path = self._path.parent / name
        if not path.is_file():
            raise RecordingError(self._path.name, f"its signal file {name} is missing; fetch it beside the header")
        mine = [i for i, file_name in enumerate(h.file_name) if file_name == name]
        if h.fmt[mine[0]] not in _SAMPLE_BYTES:
            raise RecordingError(self._path.name, f"{name} has format {h.fmt[mine[0]]}, and the header gives no length")
        samples = (path.stat().st_size - (h.byte_offset[mine[0]] or 0)) / _SAMPLE_BYTES[h.fmt[mine[0]]]
        # A packed last frame may be cut off in the middle of its bytes: a small tolerance, then round down.
        return int((samples + 0.4) // sum(h.samps_per_frame[i] for i in mine))

    def channels(self) -> tuple[Channel, ...]:
        """Header entries in file order.

        Raises
        ------
        RecordingError
            When the header is missing or malformed, or gives no length and the signal file does not tell it.
        """
        h = self._header
        if not h.n_sig:
            return ()
        labels = unique_labels(name or "" for name in h.sig_name)
        return tuple(
            Channel(label, float(h.fs) * spf, unit or "", self._n_frames * spf)
            for label, unit, spf in zip(labels, h.units, h.samps_per_frame, strict=True)
        )

    @property
    def frames(self) -> tuple[float, int]:
        """Frames per second and their number: what annotations count in, whatever the rate of a channel."""
        return float(self._header.fs), self._n_frames

    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return self._n_frames / float(self._header.fs) if self._header.n_sig else 0.0

    def start_clock(self) -> time | None:
        """Time of day of the first sample, or ``None`` when the header does not say."""
        base_time: time | None = self._header.base_time
        return base_time

    def repairs(self) -> tuple[str, ...]:
        """What the header leaves open or repeats, and how it was read.

        Raises
        ------
        RecordingError
            As `channels`.
        """
        h = self._header
        lines = []
        if h.n_sig and not h.sig_len:
            lines.append(f"the header gives no length: {self._n_frames} frames, from the size of {h.file_name[0]}")
        names = [(name or "").strip() for name in h.sig_name or ()]
        for i, (name, label) in enumerate(zip(names, unique_labels(names), strict=True), start=1):
            if name != label:
                lines.append(f"the name of signal {i} is {f'{name!r} again' if name else 'blank'}: called {label!r}")
        return tuple(lines)

    def unreadable(self) -> Mapping[str, str]:
        """Channels whose signal file is shorter than the header says."""
        h = self._header
        reasons = {}
        for channel, name, form in zip(self.channels(), h.file_name or (), h.fmt or (), strict=True):
            if form in _SAMPLE_BYTES and (held := self._frames_held(name)) < self._n_frames:
                reasons[channel.label] = self._truncated(name, held)
        return reasons

    def _truncated(self, name: str, held: int) -> str:
        missing_s = (self._n_frames - held) / float(self._header.fs)
        there = f"{held} of {self._n_frames} samples are there, {missing_s:g} s missing"
        return f"{name} is truncated: {there}; fetch it again"

    def read(self, label: str) -> Signal:
        """Read one channel whole, in physical units; samples marked invalid are NaN.

        Raises
        ------
        RecordingError
            When there is no such channel, or its signal file is missing, truncated or malformed.
        """
        channels = self.channels()
        index = next((i for i, c in enumerate(channels) if c.label == label), None)
        if index is None:
            names = ", ".join(c.label for c in channels) or "none"
            raise RecordingError(self._path.name, f"no channel {label!r}; the record has: {names}")
        h = self._header
        name = h.file_name[index]
        if h.fmt[index] in _SAMPLE_BYTES and (held := self._frames_held(name)) < self._n_frames:
            raise RecordingError(self._path.name, self._truncated(name, held))
        try:
            # Not smoothed: each channel stays at its own rate, as many samples per frame as it has.
            record = _wfdb().rdrecord(str(self._path.with_suffix("")), channels=[index], smooth_frames=False)
        except (OSError, *_MALFORMED) as error:
            raise RecordingError(self._path.name, f"channel {label!r} cannot be read ({_brief(error)})") from error
        values = np.asarray(record.e_p_signal[0], dtype=np.float64)
        if len(values) != channels[index].n_samples:
            raise RecordingError(
                self._path.name, f"channel {label!r} has {len(values)} samples, not {channels[index].n_samples}"
            )
        return Signal(values, channels[index].rate_hz, channels[index].unit, label)


def _wfdb() -> ModuleType:
    try:
        import wfdb
    except ImportError as error:
        raise UsageError("this cohort needs the wfdb package: pip install 'hypnos-bench[wfdb]'") from error
    module: ModuleType = wfdb
    return module


def _brief(error: BaseException) -> str:
    """First line of a foreign error."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
