"""Fake WFDB records: header and samples in the formats that the sets use, and ECGs with and without fibrillation."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Span

Format = Literal["16", "212", "16+24"]
"""16-bit words, pairs of 12-bit samples in three bytes, or 16-bit words in a MATLAB file of version 4."""

Channel = tuple[str, str, NDArray[np.float64]]
"""Label, unit, values."""

UNSTATED_GAIN = 200.0
"""Digital units per millivolt of a header that gives 0."""

_LARGEST = {"16": 32767, "16+24": 32767, "212": 2047}


def write_wfdb_record(
    folder: Path,
    name: str,
    rate_hz: float,
    channels: Sequence[Channel],
    comments: Sequence[str] = (),
    fmt: Format = "16",
    *,
    gain: float | Sequence[float] | None = None,
    baseline: int = 0,
    stated_gain: bool = True,
    start: str = "",
) -> Path:
    """Write ``<name>.hea`` with ``<name>.dat``, or with ``<name>.mat`` in the format of the CinC challenges.

    Parameters
    ----------
    folder : Path
    name : str
    rate_hz : float
    channels : sequence of (label, unit, values)
        All of one length; none for a header without signals.
    comments : sequence of str
    fmt : {"16", "212", "16+24"}
    gain : float or sequence of float, optional
        Digital units per physical unit, for all channels or one each; otherwise each channel fills most of its range.
    baseline : int
        Digital value of zero.
    stated_gain : bool
        Otherwise the header gives a gain of 0, and `UNSTATED_GAIN` is used.
    start : str
        Time of day and date, as the header has them.

    Returns
    -------
    Path
        Of the header.

    Raises
    ------
    ValueError
        When values do not fit their format.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n = len(channels[0][2]) if channels else 0
    samples = f"{name}.mat" if fmt == "16+24" else f"{name}.dat"
    lines = [" ".join(f"{name} {len(channels)} {rate_hz:g} {n} {start}".split())]
    columns = []
    for (label, unit, values), scale in zip(channels, _gains(channels, gain, fmt, stated_gain), strict=True):
        digital = np.rint(np.asarray(values) * scale).astype(np.int64) + baseline
        if np.abs(digital).max(initial=0) > _LARGEST[fmt]:
            raise ValueError(f"{name}: {label} does not fit format {fmt} with a gain of {scale:g}")
        checksum = (int(digital.sum()) + 0x8000) % 0x10000 - 0x8000
        stated = f"{scale:.10g}({baseline})/{unit}" if stated_gain else "0"
        bits = 12 if fmt == "212" else 16
        lines.append(f"{samples} {fmt} {stated} {bits} {baseline} {digital[0]} {checksum} 0 {label}")
        columns.append(digital)
    if columns:
        (folder / samples).write_bytes(_encoded(np.stack(columns, axis=1), fmt))
    header = folder / f"{name}.hea"
    header.write_text("\n".join([*lines, *(f"# {comment}" for comment in comments)]) + "\n", encoding="ascii")
    return header


def fake_beats(in_af: NDArray[np.bool_], rate_hz: float, rng: np.random.Generator) -> list[int]:
    """R peaks from 0.15 s on: steady outside fibrillation, irregular and faster in it."""
    edge = round(0.15 * rate_hz)
    beats, at = [], edge
    while at < len(in_af) - edge:
        beats.append(at)
        interval_s = rng.uniform(0.35, 0.95) if in_af[at] else 0.85 + 0.02 * rng.standard_normal()
        at += round(interval_s * rate_hz)
    return beats


def fake_ecg(
    beats: Sequence[int], in_af: NDArray[np.bool_], rate_hz: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Millivolts: R waves, a P wave before each beat outside fibrillation, fibrillatory waves in it."""
    n, half = len(in_af), round(0.2 * rate_hz)
    t_s = np.arange(-half, half + 1) / rate_hz
    r_wave = np.exp(-((t_s / 0.015) ** 2))
    p_wave = 0.15 * np.exp(-(((t_s + 0.16) / 0.025) ** 2))
    padded = np.zeros(n + 2 * half)
    for beat in beats:
        padded[beat : beat + 2 * half + 1] += r_wave if in_af[beat] else r_wave + p_wave
    ecg = padded[half : n + half] + 0.01 * rng.standard_normal(n)
    return ecg + np.where(in_af, 0.08 * np.sin(2 * np.pi * 6.5 * np.arange(n) / rate_hz), 0.0)


def in_codes(changes: Sequence[tuple[int, str]], n: int, codes: Sequence[str]) -> NDArray[np.bool_]:
    """Samples, of `n`, in which one of some rhythms holds."""
    inside = np.zeros(n, dtype=bool)
    stops = [sample for sample, _ in changes[1:]] + [n]
    for (start, code), stop in zip(changes, stops, strict=True):
        inside[start:stop] = code in codes
    return inside


def spans_of(
    changes: Sequence[tuple[int, str]], stop: int, rate_hz: float, unlabelled: Sequence[str] = ()
) -> tuple[Span, ...]:
    """Spans that should be read from rhythm changes when the last annotation is at `stop`."""
    stops = [sample for sample, _ in changes[1:]] + [stop]
    return tuple(
        Span(code, start / rate_hz, end / rate_hz)
        for (start, code), end in zip(changes, stops, strict=True)
        if end > start and code not in unlabelled
    )


def _gains(channels: Sequence[Channel], gain: float | Sequence[float] | None, fmt: Format, stated: bool) -> list[float]:
    if not stated:
        return [UNSTATED_GAIN] * len(channels)
    if gain is None:
        largest = [max(float(np.abs(values).max(initial=0.0)), 1e-6) for _, _, values in channels]
        return [float(f"{0.9 * _LARGEST[fmt] / value:.6g}") for value in largest]
    return [float(gain)] * len(channels) if isinstance(gain, (int, float)) else [float(value) for value in gain]


def _encoded(digital: NDArray[np.int64], fmt: Format) -> bytes:
    """Samples of shape (n, channels) as the file has them."""
    if fmt == "16":
        return digital.astype("<i2").tobytes()
    if fmt == "16+24":
        n, n_channels = digital.shape
        # MATLAB 4: little-endian 16-bit integers, rows (channels), columns, real, length of the name.
        return struct.pack("<5I4s", 30, n_channels, n, 0, 4, b"val") + digital.astype("<i2").tobytes()
    flat = digital.ravel()
    even = np.append(flat, 0)[: len(flat) + len(flat) % 2].reshape(-1, 2) & 0xFFF
    low, high = even[:, 0], even[:, 1]
    packed = np.stack([low & 0xFF, low >> 8 | high >> 8 << 4, high & 0xFF], axis=1).astype(np.uint8)
    # A last odd sample takes two bytes.
    return packed.tobytes()[: (3 * len(flat) + 1) // 2]
