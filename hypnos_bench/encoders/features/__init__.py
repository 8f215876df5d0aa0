"""Hand-made features of a PSG or ECG: the classical baseline every learned embedding has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Recording, n_epochs
from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions
from hypnos_bench.encoders.channels import nothing_usable, read_usable
from hypnos_bench.encoders.features import breathing, cardiac, effort, rhythm, spectral, waves
from hypnos_bench.encoders.features.epochs import Floats, gappy_epochs, microvolts
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.base import UNCALIBRATED, Signal
from hypnos_bench.spec import EPOCH_S


@dataclass(frozen=True)
class Block:
    """Columns made from one channel, or from two channels brought to one rate."""

    name: str
    channels: tuple[str, ...]
    columns: tuple[str, ...]
    min_rate_hz: float
    compute: Callable[..., Floats]  # (values of each channel, rate_hz, n_epochs) -> (n_epochs, len(columns))
    amplitudes: tuple[str, ...] = ()  # columns that mean nothing without calibration; the others have no unit
    optional: tuple[str, ...] = ()  # columns that an epoch may lack and be whole: nothing was there to be measured

    @property
    def required(self) -> list[int]:
        """Columns that make an epoch present."""
        return [k for k, name in enumerate(self.columns) if name not in self.optional]


BLOCKS = (
    *(
        Block(
            *(channel, (channel,), waves.EEG_NAMES, spectral.MIN_RATE_HZ, waves.eeg_features),
            amplitudes=waves.EEG_AMPLITUDES,
            optional=waves.EEG_OPTIONAL,
        )
        for channel in ("C3", "C4")
    ),
    *(
        Block(
            *(channel, (channel,), spectral.SPECTRAL_NAMES, spectral.MIN_RATE_HZ, spectral.spectral_features),
            amplitudes=spectral.SPECTRAL_AMPLITUDES,
        )
        for channel in ("E1", "E2")
    ),
    Block(
        *("EOG", ("E1", "E2"), spectral.EOG_NAMES, spectral.MIN_RATE_HZ, spectral.eog_features),
        amplitudes=spectral.EOG_AMPLITUDES,
    ),
    Block(
        *("Chin", ("Chin",), spectral.TONE_NAMES, spectral.MIN_RATE_HZ, spectral.tone_features),
        amplitudes=spectral.TONE_NAMES,
    ),
    Block("ECG", ("ECG",), rhythm.ECG_NAMES, cardiac.MIN_RATE_HZ, rhythm.ecg_features),
    *(
        Block(channel, (channel,), effort.BELT_NAMES, breathing.MIN_RATE_HZ, effort.belt_features)
        for channel in ("ABD", "THX")
    ),
    Block("Effort", ("ABD", "THX"), effort.BELTS_NAMES, breathing.MIN_RATE_HZ, effort.belts_features),
)

_BASE_NAMES = tuple(f"{block.name}.{column}" for block in BLOCKS for column in block.columns)
FEATURE_NAMES = (
    *_BASE_NAMES,
    *(f"{name}:z" for name in _BASE_NAMES),
    *(f"{name}:context" for name in _BASE_NAMES),
    *(f"{block.name}.present" for block in BLOCKS),
)
"""Names of the columns of an embedding, in order."""

CONTEXT_EPOCHS = 15
_MIN_FOR_Z = 10
_MAX_Z = 20.0
_VOLTAGES = ("C3", "C4", "E1", "E2", "Chin")


class FeaturesEncoder:
    """Spectra, spindles, slow waves, heart rhythm and breathing per 30-s epoch; needs no weights.

    Every feature comes three times: raw, as a robust z-score over its recording (median and
    interquartile range: takes out the person and the gain), and that z-score smoothed over 7.5 min
    (triangular, centred). The last two look at the whole recording, so rows are not causal.
    """

    title = "Classical features"

    def __init__(self, options: EncoderOptions) -> None:
        del options  # nothing to choose
        self._card = EncoderCard(
            id="features",
            title=self.title,
            version="3",  # 2: gaps; channels without calibration. 3: spindles, slow waves, rhythm, respiratory events
            step_s=EPOCH_S,
            window_s=None,
            causal=False,
            lag_rows=0,
            pretrained_on=(),
            channels=CANONICAL_CHANNELS,
            missing="a missing channel gives zeros and 0 in its presence column; in single epochs where a feature is "
            "undefined (flat, gaps, too few beats) it takes the recording's median and presence is 0; so does the size "
            "of spindles where there are none, with presence as it is; an epoch in which no channel was recorded is "
            "NaN; amplitudes of a channel without calibration count as undefined",
            settings={"context_epochs": CONTEXT_EPOCHS, "normalisation": "raw+robust-z+context", "bands": "0.5-30 Hz"},
            licence="MIT",
            dim=len(FEATURE_NAMES),
            note="Non-causal: the z-scores and their context use the whole recording.",
        )

    @property
    def card(self) -> EncoderCard:
        """What it is."""
        return self._card

    def encode(self, recording: Recording) -> Embedding:
        """Compute the features, shape (n_epochs, len(FEATURE_NAMES)) float32 under ``"features"``.

        A row is NaN as a whole when no channel was recorded in its epoch.

        Raises
        ------
        RecordingError
            When the recording is shorter than an epoch, or no channel is usable.
        """
        n = n_epochs(recording.duration_s())
        if n == 0:
            raise RecordingError(recording.id, f"shorter than one epoch of {EPOCH_S:g} s")
        signals, skipped = read_usable(recording, CANONICAL_CHANNELS, gaps=True)
        for block in BLOCKS:
            signal = signals.get(block.name)
            if signal is not None and signal.rate_hz < block.min_rate_hz:
                skipped[block.name] = f"sampled at {signal.rate_hz:g} Hz, needs {block.min_rate_hz:g} Hz"
                del signals[block.name]
        raw: list[Floats] = []
        present: list[Floats] = []
        usable = False
        for block in BLOCKS:
            values = _compute(block, signals, n)
            if values is None:
                raw.append(np.zeros((n, len(block.columns))))
                present.append(np.zeros(n))
            else:
                defined = np.isfinite(values[:, block.required])
                present.append(np.asarray(defined.all(axis=1), dtype=np.float64))
                raw.append(values)
                usable = usable or _somewhere_whole(defined)
        if not usable:
            raise nothing_usable(recording, skipped)
        presence = np.stack(present, axis=1)
        base = np.concatenate(raw, axis=1)
        z, context = normalise(base)
        rows = np.concatenate([_fill(base), z, context, presence], axis=1).astype(np.float32)
        rows[~presence.any(axis=1) & _unrecorded(signals, n)] = np.nan
        made_from = {name: signal.source for name, signal in signals.items()}
        return Embedding({"features": rows}, 0.0, EPOCH_S, made_from, skipped)


def normalise(base: Floats) -> tuple[Floats, Floats]:
    """Robust z-scores of each column over the recording, and their centred triangular means over 15 epochs.

    Undefined values give 0, as does a column with fewer than 10 defined values or without spread.
    """
    from scipy.ndimage import convolve1d

    defined = np.isfinite(base)
    z = np.zeros_like(base)
    for column in range(base.shape[1]):
        values = base[defined[:, column], column]
        if len(values) < _MIN_FOR_Z:
            continue
        low, middle, high = np.percentile(values, (25, 50, 75))
        if high - low > 1e-9 * max(abs(middle), 1e-3):
            z[:, column] = np.clip((base[:, column] - middle) / ((high - low) / 1.349), -_MAX_Z, _MAX_Z)
    z = np.where(defined, z, 0.0)
    reach = CONTEXT_EPOCHS // 2 + 1
    weights = (reach - np.abs(np.arange(1 - reach, reach))) / reach
    total = convolve1d(z, weights, axis=0, mode="constant")
    weight = convolve1d(defined.astype(np.float64), weights, axis=0, mode="constant")
    return z, total / np.maximum(weight, 1e-9)


def _compute(block: Block, signals: Mapping[str, Signal], n: int) -> Floats | None:
    """Compute a block's columns, or ``None`` when a channel of it is missing or nowhere defined."""
    if not all(channel in signals for channel in block.channels):
        return None
    rate = min(signals[channel].rate_hz for channel in block.channels)
    values = [_at_rate(channel, signals[channel], rate) for channel in block.channels]
    result = block.compute(*values, rate, n)
    if any(signals[channel].unit == UNCALIBRATED for channel in block.channels):
        result[:, [block.columns.index(name) for name in block.amplitudes]] = np.nan
    return result if np.isfinite(result).any() else None


def _somewhere_whole(defined: NDArray[np.bool_]) -> bool:
    """Whether in some epoch all columns are defined that are defined at all."""
    return bool(defined[:, defined.any(axis=0)].all(axis=1).any())


def _unrecorded(signals: Mapping[str, Signal], n: int) -> NDArray[np.bool_]:
    """Epochs that every channel lacks, by a gap or beyond its end; shape (n,)."""
    lacking = np.ones(n, dtype=np.bool_)
    for signal in signals.values():
        gappy = gappy_epochs(~np.isfinite(signal.values), signal.rate_hz, n)
        lacking[: len(gappy)] &= gappy
    return lacking


def _at_rate(channel: str, signal: Signal, rate_hz: float) -> Floats:
    values: Floats = np.asarray(signal.values, dtype=np.float64)
    if channel in _VOLTAGES and signal.unit != UNCALIBRATED:
        values = microvolts(values, signal.unit)
    if signal.rate_hz == rate_hz:
        return values
    from hypnos_bench.signals.resample import polyphase

    return np.asarray(polyphase(values, signal.rate_hz, rate_hz), dtype=np.float64)


def _fill(base: Floats) -> NDArray[np.float64]:
    """Undefined values as their column's median over the recording (0 when nothing is defined)."""
    filled = base.copy()
    for column in np.flatnonzero(~np.isfinite(base).all(axis=0)):
        defined = np.isfinite(base[:, column])
        filled[~defined, column] = np.median(base[defined, column]) if defined.any() else 0.0
    return filled
