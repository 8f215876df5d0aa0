"""From an EDF file, or channels at native rates, to what the tokenizers were trained on.

Per channel: resample, band-pass, notch, z-score, compression. Step by step and to the last bit as the published
package ``hypnos`` does it. The default path is causal, apart from the start values of the z-score.

Where samples are missing (NaN), a line bridges them, so that no filter spreads them. Seconds of which more than a tenth
is missing take no part in the z-score, which waits for the signal to come back, and are NaN in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import DataError
from hypnos_bench.signals import filters
from hypnos_bench.signals.base import UNCALIBRATED, Channel, Derivation, Signal
from hypnos_bench.signals.gaps import fill_gaps, missing_steps
from hypnos_bench.signals.normalise import compress, ema_zscore, winsorised_zscore
from hypnos_bench.signals.resample import resample

MIN_SECONDS = 6
"""Below this the tokenizers' last convolution has nothing to see."""


class _Band(NamedTuple):
    low_hz: float
    high_hz: float | None  # None: high-pass
    notch: bool


_BANDS: Mapping[str, _Band] = {
    "eeg": _Band(0.5, 45.0, True),
    "eog": _Band(0.5, 45.0, True),
    "emg": _Band(0.5, 45.0, True),
    "ecg": _Band(0.05, 45.0, True),
    "ppg": _Band(0.1, 30.0, False),
    "respiratory": _Band(0.05, None, False),
}


class ModalityLike(Protocol):
    """What preprocessing needs to know of a modality."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def channels(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def sample_rate(self) -> int: ...  # noqa: D102
    @property
    def preprocess_modality(self) -> str: ...  # noqa: D102


class MetadataLike(Protocol):
    """What preprocessing needs to know of a bundle: its modalities."""

    @property
    def modalities(self) -> Sequence[ModalityLike]: ...  # noqa: D102


def min_rate_hz(channel: str) -> float:
    """Lowest native rate at which a canonical channel is worth embedding: 32 Hz, or 4 Hz for belts."""
    return 4.0 if channel in ("ABD", "THX") else 32.0


def check_channel(signal: Signal, min_rate_hz: float = 1.0) -> str | None:
    """Say in one line why a channel must not be embedded, or return ``None`` when nothing speaks against it.

    An encoder that can deal with missing samples leaves them out before; a flat line carries nothing but would count
    as present; below `min_rate_hz` (:func:`min_rate_hz`) the band that a model looks at is not in the signal.
    """
    values = signal.values
    if len(values) == 0:
        return f"{signal.source}: empty"
    if signal.rate_hz < min_rate_hz:
        return f"{signal.source}: sampled at {signal.rate_hz:g} Hz, at least {min_rate_hz:g} Hz are needed"
    seconds = len(values) / signal.rate_hz
    if seconds < MIN_SECONDS:
        return f"{signal.source}: {seconds:g} s long, at least {MIN_SECONDS} s are needed"
    low, high = float(values.min()), float(values.max())  # NaN passes through both
    if not np.isfinite(low) or not np.isfinite(high):
        n = int(np.count_nonzero(~np.isfinite(values)))
        return f"{signal.source}: {n} of {len(values)} samples are not finite"
    if low == high:
        return f"{signal.source}: constant ({low:g}{' ' + signal.unit if signal.unit else ''}), not connected"
    return None


def check_difference(derivation: Derivation, channels: Sequence[Channel]) -> str | None:
    """Say in one line why two channels of a file must not be subtracted, or return ``None``.

    Stored integers without calibration may stand for anything, also when both channels are such.
    """
    raw = [c.label for c in channels if c.label in (derivation.plus, derivation.minus) and c.unit == UNCALIBRATED]
    if derivation.minus is None or not raw:
        return None
    return f"{derivation}: no difference can be taken, {' and '.join(map(repr, raw))} without calibration"


def preprocess_channels(
    signals: Mapping[str, Signal],
    metadata: MetadataLike,
    *,
    notch_freq: float = 50.0,
    causal: bool = True,
    tau_seconds: float = 60.0,
) -> dict[str, NDArray[np.float32]]:
    """Preprocess channels for the tokenizers.

    Parameters
    ----------
    signals : mapping of str to Signal
        Canonical channel to its signal; a channel that is absent has no entry.
    metadata : bundle metadata
    notch_freq : float
        Mains frequency where it was recorded, in Hz.
    causal : bool
        ``False``: zero-phase filters and one z-score over the recording.
    tau_seconds : float
        Time constant of the running z-score.

    Returns
    -------
    dict of str to ndarray of float32, shape (n_samples,)
        Per modality whose first channel is present, in the bundle's order, at the modality's rate. NaN in whole
        seconds where the signal was missing.

    Raises
    ------
    DataError
        When a signal is empty, slower than 1 Hz or too short to filter, or the bundle asks for an impossible filter.

    Notes
    -----
    Rates are taken as they are. The published package cuts them to whole hertz, so that a channel at 99.5 Hz is
    145 s too long after eight hours and its epochs drift; only `preprocess_edf` keeps that, for equal results.
    """
    ready = {}
    for modality in metadata.modalities:
        signal = signals.get(modality.channels[0])
        if signal is not None:
            ready[modality.name] = _preprocess(signal, modality, notch_freq, causal, tau_seconds)
    return ready


def preprocess_edf(
    edf_path: str | Path,
    metadata: MetadataLike,
    *,
    notch_freq: float = 50.0,
    causal: bool = True,
    tau_seconds: float = 60.0,
    channel_aliases: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Read and preprocess the channels of an EDF file that a bundle can use.

    Parameters
    ----------
    edf_path : path
    metadata : bundle metadata
    notch_freq, causal, tau_seconds
        See `preprocess_channels`.
    channel_aliases : mapping of str to sequence of str, optional
        More labels per canonical channel, preferred to the built-in ones.

    Returns
    -------
    dict of str to ndarray of float32, shape (n_samples,)

    Raises
    ------
    RecordingError
        When the file cannot be trusted or a channel cannot be read.
    DataError
        When it has no channel that the bundle can use, or a channel cannot be preprocessed.
    """
    from hypnos_bench.signals.channels import difference, resolve_montage
    from hypnos_bench.signals.edf import EdfFile

    file = EdfFile(edf_path)
    labels = [channel.label for channel in file.channels()]
    wanted = list(dict.fromkeys(modality.channels[0] for modality in metadata.modalities))
    montage = resolve_montage(labels, wanted, channel_aliases)
    if not montage:
        raise DataError(
            f"{file.path.name}: none of {', '.join(wanted)} found among its labels: {', '.join(labels) or 'none'}; "
            "name them with channel aliases"
        )
    ready: dict[str, NDArray[np.float32]] = {}
    for modality in metadata.modalities:
        derivation = montage.get(modality.channels[0])
        if derivation is None:
            continue
        reason = check_difference(derivation, file.channels())
        if reason is not None:
            raise DataError(f"{file.path.name}: {reason}")
        signal = _at_whole_hertz(file.read(derivation.plus))  # one channel in memory at a time
        if derivation.minus is not None:
            signal = difference(signal, _at_whole_hertz(file.read(derivation.minus)))
        ready[modality.name] = _preprocess(signal, modality, notch_freq, causal, tau_seconds)
    return ready


def _at_whole_hertz(signal: Signal) -> Signal:
    """The signal with its rate cut to whole hertz, as the published package reads it."""
    return replace(signal, rate_hz=float(int(signal.rate_hz)))


def _preprocess(
    signal: Signal, modality: ModalityLike, notch_hz: float, causal: bool, tau_s: float
) -> NDArray[np.float32]:
    native_hz, rate_hz = signal.rate_hz, modality.sample_rate
    if len(signal.values) == 0 or native_hz < 1:
        raise DataError(f"{signal.source}: {len(signal.values)} samples at {signal.rate_hz:g} Hz cannot be filtered")
    sections = filter_sections(modality, notch_hz)
    filled, gaps = fill_gaps(signal.values)
    values: NDArray[Any] = resample(filled, native_hz, rate_hz)
    missing = missing_steps(gaps, native_hz) if gaps.any() else None
    if causal:
        values = values.astype(np.float64)
        for sos in sections:
            values = filters.forward(sos, values)
        return _normalised(values, missing, rate_hz, partial(ema_zscore, rate_hz=rate_hz, tau_s=tau_s))
    for sos in sections:
        try:
            values = filters.zero_phase(sos, values)
        except ValueError as error:
            seconds = len(values) / rate_hz
            raise DataError(f"{signal.source}: {seconds:g} s are too short for the zero-phase filter") from error
    return _normalised(values, missing, rate_hz, winsorised_zscore)


def _normalised(
    values: NDArray[Any],
    missing: NDArray[np.bool_] | None,
    rate_hz: int,
    zscore: Callable[[NDArray[Any]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Z-score of what was recorded, as if it were one piece, and NaN in the seconds that are missing."""
    if missing is None:
        return compress(zscore(values))
    known = ~missing[np.minimum(np.arange(len(values)) // rate_hz, len(missing) - 1)]
    out = np.full(len(values), np.nan, dtype=np.float32)
    if known.any():
        out[known] = compress(zscore(values[known]))
    return out


def filter_sections(modality: ModalityLike, notch_hz: float) -> list[NDArray[np.float64]]:
    """Filters of a modality at its own rate, in order of use; each of shape (n_sections, 6).

    Raises
    ------
    DataError
        When the modality asks for an unknown filter or one that does not fit its rate.
    """
    band = _BANDS.get(modality.preprocess_modality)
    if band is None:
        raise DataError(
            f"bundle: modality {modality.name!r} asks for preprocessing {modality.preprocess_modality!r}; "
            f"known: {', '.join(_BANDS)}"
        )
    highest = max(band.high_hz or band.low_hz, notch_hz if band.notch else 0.0)
    if not highest < modality.sample_rate / 2 or (band.notch and not notch_hz > 0):
        raise DataError(
            f"modality {modality.name!r}: filters at {highest:g} Hz (notch {notch_hz:g} Hz) do not fit "
            f"its {modality.sample_rate} Hz"
        )
    sections = [filters.butterworth(band.low_hz, band.high_hz, modality.sample_rate)]
    if band.notch:
        sections.append(filters.notch(notch_hz, modality.sample_rate))
    return sections
