"""EDF, EDF+ and BDF files: one channel at a time at its native rate, nothing kept open.

Samples are read directly, not through EDFlib: that library refuses a whole file for a blanked start date
(``00.00.00``, common in shared cohorts) or for one channel without calibration. Values agree with it to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np

from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.signals.base import Channel, Signal
from hypnos_bench.signals.edf_gaps import Timeline, read_timeline, runs
from hypnos_bench.signals.edf_header import EdfHeader, read_header
from hypnos_bench.signals.edf_records import blocks, first_onset_s, integers, parse_tals, rows

# Investigation, investigator and equipment that ``hypnos-bench synthesize`` writes into the recording field.
_SYNTHETIC = (["synthetic", "X", "hypnos-bench"], ["synthetic_untrained", "X", "hypnos-bench"])


class EdfFile:
    """An EDF, EDF+ or BDF file as a `SignalFile`.

    The header is parsed when first asked for. Repeated labels: the first keeps its name, later ones become
    ``"ECG#2"`` and so on. Annotation channels are no channels. Pauses of a discontinuous file (EDF+D) are NaN: sample
    i of a channel always lies i / rate seconds after the first.

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
        return read_header(self._path)

    @cached_property
    def _timeline(self) -> Timeline:
        return read_timeline(self._path, self._header)

    def channels(self) -> tuple[Channel, ...]:
        """Header entries in file order.

        Raises
        ------
        RecordingError
            When the file cannot be trusted: see `read_header`, and for EDF+D `read_timeline`.
        """
        h = self._header
        return tuple(
            Channel(c.label, c.per_record / h.record_s, c.unit, runs(self._timeline, h, c.per_record)[1])
            for c in h.channels
        )

    def duration_s(self) -> float:
        """Length of the recording in seconds, pauses included; 0 for a file of annotations only."""
        return self._timeline.duration_s

    def gaps(self) -> tuple[tuple[float, float], ...]:
        """Start and length of every pause in seconds from the first sample; none unless the file is EDF+D."""
        return self._timeline.pauses

    def repairs(self) -> tuple[str, ...]:
        """One line per thing in the header that was not as the standard wants it, and how it was read."""
        return self._header.repairs

    def unreadable(self) -> Mapping[str, str]:
        """Label to reason, for channels whose header entry leaves no way to compute values."""
        return {c.label: c.fault for c in self._header.channels if c.fault is not None}

    def start_clock(self) -> time | None:
        """Time of day of the first sample, or ``None`` when the file does not say.

        The date in the file is a placeholder in most shared cohorts and is not given.

        Raises
        ------
        RecordingError
            When the header cannot be trusted, or the file not be read.
        """
        h = self._header
        if h.start is None:
            return None
        try:
            onset_s = first_onset_s(self._path, h)
        except RecordingError as error:
            if error.__cause__ is not None:  # the disk, not the content
                raise
            return None  # who reads the annotations is told what is wrong with them
        return (datetime.combine(datetime(2000, 1, 1), h.start) + timedelta(seconds=onset_s % 86400)).time()

    @property
    def is_synthetic(self) -> bool:
        """Whether ``hypnos-bench synthesize`` generated the signals: its header says so."""
        return self._header.recording.split()[2:] in _SYNTHETIC

    def read(self, label: str) -> Signal:
        """Read one channel whole, in physical units; NaN where the recording paused.

        A channel without calibration is given as stored integers, in the unit `base.UNCALIBRATED`.

        Raises
        ------
        RecordingError
            When there is no such channel, or the file cannot be read to its end.
        DataError
            When this channel's values cannot be given, see `unreadable`.
        """
        h = self._header
        channel = next((c for c in h.channels if c.label == label), None)
        if channel is None:
            labels = ", ".join(c.label for c in h.channels) or "none"
            raise RecordingError(self._path.name, f"no channel {label!r}; the file has: {labels}")
        if channel.fault is not None:  # one channel's fault: the others stay usable
            raise DataError(f"{self._path.name}: channel {label!r} cannot be used: {channel.fault}")
        placed, n_samples = runs(self._timeline, h, channel.per_record)
        # The header was checked against the file's size, and pauses are bounded.
        values = np.full(n_samples, np.nan) if len(placed) > 1 else np.empty(n_samples)
        for run in placed:
            for first, block in blocks(self._path, h, channel, run.first, run.first + run.n_records):
                start = run.place + (first - run.first) * channel.per_record
                values[start : start + len(block) * channel.per_record] = integers(block).reshape(-1)
        values += channel.zero
        values *= channel.scale
        return Signal(values, channel.per_record / h.record_s, channel.unit, label)


MAX_ANNOTATIONS = 200_000
"""Annotations of one file; a night has some thousands."""

MAX_RECORD_BYTES = 4 * 1024 * 1024
"""Annotations of one data record: a whole night's hypnogram in one record takes some kilobytes."""


def read_edf_annotations(path: str | Path) -> list[tuple[float, float, str]]:
    """Annotations of an EDF+ or BDF+ file.

    Returns
    -------
    list of (start_s, duration_s, text)
        In file order; seconds from the first sample; a duration that is not stated is 0. Empty for plain EDF.

    Raises
    ------
    RecordingError
        When the file cannot be trusted, an annotation is malformed, or there are far too many.
    """
    path = Path(path)
    header = read_header(path)
    first_s = first_onset_s(path, header)
    found = []
    for index, channel in enumerate(header.annotations if header.plus else ()):
        if channel.per_record * header.sample_bytes > MAX_RECORD_BYTES:
            raise RecordingError(path.name, f"a data record with more than {MAX_RECORD_BYTES} bytes of annotations")
        for record, row in enumerate(rows(path, header, channel)):
            onsets = parse_tals(path, record, row.tobytes())
            for i, (start_s, duration_s, texts) in enumerate(onsets):
                # The first list of a record holds an empty text: it only says when the record begins.
                keep = texts[1:] if index == 0 and i == 0 and texts[:1] == [b""] else texts
                found += [(start_s - first_s, duration_s, _decode(text)) for text in keep if text]
            if len(found) > MAX_ANNOTATIONS:
                raise RecordingError(path.name, f"more than {MAX_ANNOTATIONS} annotations: this is no night's scoring")
    return found


def _decode(text: bytes) -> str:
    """UTF-8 as the standard asks; older exporters wrote Latin-1."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")
