"""PhysioNet WFDB records and annotations, through the optional ``wfdb`` package."""

from __future__ import annotations

import math
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

    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return self._n_frames / float(self._header.fs) if self._header.n_sig else 0.0

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
            missing_s = (self._n_frames - held) / float(h.fs)
            raise RecordingError(
                self._path.name,
                f"{name} is truncated: {held} of {self._n_frames} samples are there, {missing_s:g} s missing; "
                "fetch it again",
            )
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


def read_wfdb_annotations(path_without_ext: str | Path, ext: str) -> list[tuple[int, str, str]]:
    r"""Annotations of a record.

    Parameters
    ----------
    path_without_ext : path
        The record's path without extension.
    ext : str
        Annotator, the file's extension without the dot: ``"atr"``.

    Returns
    -------
    list of (sample, symbol, aux_note)
        In file order; notes are stripped of trailing ``\x00``.

    Raises
    ------
    RecordingError
        When the file is missing or malformed.
    UsageError
        When the ``wfdb`` package is not installed.
    """
    path = Path(f"{path_without_ext}.{ext}")
    wfdb = _wfdb()
    if not path.is_file():
        raise RecordingError(path.name, f"no such annotation file; looked in {path.parent}")
    try:
        # The format ends with a zero word; wfdb would take a file that was cut off for a shorter one.
        if path.read_bytes()[-2:] != b"\x00\x00":
            raise RecordingError(path.name, "truncated: the end mark of WFDB annotations is missing; fetch it again")
        annotation = wfdb.rdann(str(path_without_ext), ext)
        return [
            (int(sample), str(symbol), str(note).rstrip("\x00"))
            for sample, symbol, note in zip(annotation.sample, annotation.symbol, annotation.aux_note, strict=True)
        ]
    except (OSError, *_MALFORMED) as error:
        raise RecordingError(path.name, f"malformed WFDB annotations ({_brief(error)})") from error


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
